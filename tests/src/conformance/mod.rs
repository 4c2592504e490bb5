//! Fail2Ban's sample corpus, run against guard with Fail2Ban's own filters.
//!
//! Input: a directory with filters, one with sample logs, one with filters that only the
//! corpus uses; by default those of Debian's package, read in place. Output: [`Report`].
//! Invariant: every line that the corpus says something about is checked at least once, or
//! the run fails; no filter is treated differently by its name.
//!
//! The world of the corpus: it is [`NOW`], in [`ZONE`], nobody is ignored and no name is
//! resolved.

mod check;
mod condition;
mod corpus;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use guard::config::filter_alone;
use guard::core::date::Zone;
use guard::core::filter::{Filter, FilterText, Limits, UseDns};

use crate::fail2ban::Package;

use check::Instance;
use corpus::{Options, Step};
use stage::Stage;

/// The time at which the corpus is read, in seconds since the epoch: 2005-08-14 10:00 UTC.
const NOW: i64 = 1_124_013_600;

/// The time zone in which it is read.
const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";

/// Where a corpus lies.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The directory that holds `filter.d`, or that directory itself.
    pub filters: PathBuf,
    /// One file of sample lines for each filter.
    pub logs: PathBuf,
    /// Filters that only the corpus uses, if it has any.
    pub test_filters: Option<PathBuf>,
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// With the filters that people use.
    pub stock: Count,
    /// With those that only the corpus uses.
    pub own: Count,
    /// Checks that failed, and what kept lines from being checked.
    pub failures: Vec<Failure>,
    /// Filters of which the corpus has no samples.
    pub without_samples: Vec<String>,
}

/// Checks that were made: a line with one set of options is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Filters.
    pub filters: usize,
    /// All checks.
    pub checks: usize,
    /// Those that passed.
    pub passed: usize,
}

/// A check that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The filter with its options.
    pub filter: String,
    /// The sample file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What the corpus wants.
    pub expected: String,
    /// What guard did.
    pub got: String,
}

impl Report {
    /// Whether anything was checked and nothing failed.
    pub fn is_good(&self) -> bool {
        self.stock.checks > 0 && self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        if !self.without_samples.is_empty() {
            writeln!(f, "without samples: {}", self.without_samples.join(", "))?;
        }
        if self.own.filters > 0 {
            writeln!(f, "{} that only the corpus uses", self.own)?;
        }
        write!(f, "{}", self.stock)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filters, checks, passed } = self;
        write!(f, "{passed} of {checks} checks pass: {filters} filters")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.file.display(), self.line, self.filter)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  got:      {}", self.got)
    }
}

impl Corpus {
    /// The corpus in the named directories: filters, logs and test filters. What is not
    /// named is that of Debian's package; test filters are looked for beside the logs.
    ///
    /// # Errors
    /// When the package is needed and cannot be fetched.
    pub fn named_or_debians([filters, logs, test_filters]: [Option<PathBuf>; 3]) -> Result<Self> {
        if let (Some(filters), Some(logs)) = (&filters, &logs) {
            let beside = logs.join("../../config/filter.d");
            let test_filters = test_filters.or_else(|| beside.is_dir().then_some(beside));
            return Ok(Self { filters: filters.clone(), logs: logs.clone(), test_filters });
        }
        let package = Package::fetch()?;
        Ok(Self {
            filters: filters.unwrap_or_else(|| package.configuration()),
            logs: logs.unwrap_or_else(|| package.sample_logs()),
            test_filters: test_filters.or_else(|| Some(package.test_filters())),
        })
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the directories cannot be read. What is wrong with single files is in the
    /// report.
    pub fn run(&self) -> Result<Report> {
        let configuration = match self.filters.join("filter.d").is_dir() {
            true => self.filters.clone(),
            false => self.filters.parent().map(Path::to_owned).unwrap_or_default(),
        };
        let filters = configuration.join("filter.d");
        let mut run = Run {
            logs: &self.logs,
            report: Report::default(),
            count: Count::default(),
            unchecked: unchecked(&self.logs)?,
        };
        let zone = jiff::tz::TimeZone::posix(ZONE).context("the zone of the corpus")?;
        let zone = Zone::new(zone);
        for name in names(&filters, |name| !name.ends_with("common"))? {
            run.filter(&configuration, &name, &zone);
        }
        run.report.stock = std::mem::take(&mut run.count);
        if let Some(test_filters) = &self.test_filters {
            let inner = test_filters.join("filter.d");
            let test_filters = if inner.is_dir() { &inner } else { test_filters };
            let stage = Stage::new(&configuration, test_filters)?;
            for name in names(test_filters, |name| name.starts_with("zzz-"))? {
                run.filter(stage.directory(), &name, &zone);
            }
            run.report.own = run.count;
        }
        run.complain_about_unchecked();
        Ok(run.report)
    }
}

/// Names of the `.conf` files in a directory, sorted.
fn names(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = directory.read_dir().with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let path = PathBuf::from(entry?.file_name());
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let is_conf = path.extension().is_some_and(|extension| extension == "conf");
        names.extend(name.filter(|name| is_conf && !name.starts_with('.') && wanted(name)));
    }
    if names.is_empty() {
        bail!("{} holds no filter", directory.display());
    }
    names.sort();
    Ok(names)
}

/// Lines by the name of their file.
type Lines = BTreeMap<String, BTreeSet<usize>>;

/// Every line of the corpus that says what it must give.
fn unchecked(logs: &Path) -> Result<Lines> {
    let mut all = Lines::new();
    for entry in logs.read_dir().with_context(|| format!("list {}", logs.display()))? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        // What is wrong with a file is told when it is run; then it is never empty.
        let lines = corpus::read(&path).map_or(BTreeSet::from([0]), |steps| {
            let sample = |step: &Step| match step {
                Step::Line(line) if line.is_sample => Some(line.number),
                _ => None,
            };
            steps.iter().filter_map(sample).collect()
        });
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        all.insert(name.unwrap_or_default(), lines);
    }
    if all.values().all(BTreeSet::is_empty) {
        bail!("{} holds no sample", logs.display());
    }
    Ok(all)
}

/// A run in progress.
struct Run<'a> {
    logs: &'a Path,
    report: Report,
    /// Of the filters that are run now.
    count: Count,
    /// Lines that no check has reached yet.
    unchecked: Lines,
}

impl Run<'_> {
    /// Runs the samples of one filter.
    fn filter(&mut self, directory: &Path, name: &str, zone: &Zone) {
        if !self.logs.join(name).is_file() {
            self.report.without_samples.push(name.to_owned());
            return;
        }
        self.count.filters += 1;
        let mut files = vec![name.to_owned()];
        let mut instances = Instances { directory, name, zone, all: Vec::new() };
        let mut common = Options::new();
        let mut current: Option<Vec<usize>> = None;
        let mut next = 0;
        while let Some(file) = files.get(next).cloned() {
            next += 1;
            let path = self.logs.join(&file);
            let steps = match corpus::read(&path) {
                Ok(steps) => steps,
                Err(error) => {
                    self.broken(name, &path, 0, &error);
                    continue;
                }
            };
            let mut skipping = false;
            for step in steps {
                match step {
                    Step::FileOptions(options) => common = options,
                    Step::AddFile(name) => files.push(name),
                    Step::FilterOptions(all) => {
                        skipping = false;
                        let mut chosen = Vec::new();
                        for options in all {
                            let mut merged = common.clone();
                            merged.extend(options);
                            match instances.choose(&merged, &mut skipping) {
                                Ok(instance) => chosen.extend(instance),
                                Err(error) => self.broken(name, &path, 0, &error),
                            }
                        }
                        current = Some(chosen);
                    }
                    Step::Line(_) if skipping => {}
                    Step::Line(line) => {
                        if current.is_none() {
                            let plain = instances.choose(&Options::new(), &mut false);
                            match plain {
                                Ok(instance) => current = Some(instance.into_iter().collect()),
                                Err(error) => {
                                    self.broken(name, &path, 0, &error);
                                    return;
                                }
                            }
                        }
                        for number in current.clone().unwrap_or_default() {
                            self.check(name, &file, &path, &line, &mut instances.all[number]);
                        }
                    }
                }
            }
        }
    }

    fn check(
        &mut self,
        name: &str,
        file: &str,
        path: &Path,
        line: &corpus::Line,
        instance: &mut Instance,
    ) {
        if let Some(constraint) = line.expected.get("constraint").and_then(|c| c.as_str()) {
            match condition::holds(constraint, name, &instance.options) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.broken(name, path, line.number, &error),
            }
        }
        if let Some(lines) = self.unchecked.get_mut(file) {
            lines.remove(&line.number);
        }
        self.count.checks += 1;
        match instance.check(line) {
            Ok(()) => self.count.passed += 1,
            Err((expected, got)) => self.report.failures.push(Failure {
                filter: instance.title.clone(),
                file: path.to_owned(),
                line: line.number,
                expected,
                got: format!("{got}: {}", line.text),
            }),
        }
    }

    fn broken(&mut self, filter: &str, file: &Path, line: usize, error: &anyhow::Error) {
        self.report.failures.push(Failure {
            filter: filter.to_owned(),
            file: file.to_owned(),
            line,
            expected: "something that can be checked".to_owned(),
            got: format!("{error:#}"),
        });
    }

    /// Lines that were never reached are failures: nothing is left out in silence.
    fn complain_about_unchecked(&mut self) {
        for (file, lines) in std::mem::take(&mut self.unchecked) {
            let Some(first) = lines.first() else { continue };
            let error = anyhow::anyhow!("{} sample lines were never checked", lines.len());
            self.broken("none", &self.logs.join(&file), *first, &error);
        }
    }
}

/// A filter with its different options.
struct Instances<'a> {
    directory: &'a Path,
    name: &'a str,
    zone: &'a Zone,
    all: Vec<Instance>,
}

impl Instances<'_> {
    /// The number of the instance with these options; nothing if their condition does not
    /// hold, in which case lines are skipped.
    fn choose(&mut self, options: &Options, skipping: &mut bool) -> Result<Option<usize>> {
        if let Some(condition) = options.get("test.condition") {
            *skipping = !condition::holds(condition, self.name, options)?;
        }
        if *skipping {
            return Ok(None);
        }
        let own = |(name, _): &(&String, &String)| !name.starts_with("test.");
        let of_filter: Vec<(String, String)> =
            options.iter().filter(own).map(|(name, value)| (name.clone(), value.clone())).collect();
        let title = match options.get("test.filter-name") {
            Some(title) => format!("{}{title}", self.name),
            None => {
                let shown: Vec<String> =
                    of_filter.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{}[{}]", self.name, shown.join(", "))
            }
        };
        if let Some(number) = self.all.iter().position(|instance| instance.title == title) {
            // What a filter remembers goes on, but the runner's own options are new.
            self.all[number].options = options.clone();
            return Ok(Some(number));
        }
        let text = filter_alone(self.directory, self.name, &of_filter)
            .map_err(|problems| anyhow::anyhow!("{title} cannot be read: {problems}"))?;
        let text = FilterText { use_dns: UseDns::Raw, host_zone: self.zone.clone(), ..text };
        let filter = Filter::compile(&text, Limits::default()).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{title} does not compile: {}", told.join("; "))
        })?;
        self.all.push(Instance::new(title, options.clone(), filter));
        Ok(Some(self.all.len() - 1))
    }
}
