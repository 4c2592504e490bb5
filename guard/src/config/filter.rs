//! A jail's filter: from its files and options to the text that is compiled.
//!
//! Input: `filter = name[option=value]` and the jail's own options. Output:
//! [`FilterSource`]. A value is looked up in the option in brackets, then `[Init]`, then
//! `[Definition]`, then `[DEFAULT]`; then its `<tags>` are replaced. Beside the jail's own
//! option of the same name, as in Fail2Ban:
//!
//! - what is given in brackets or in `[Init]` counts together with the jail's for
//!   `failregex`, `ignoreregex` and `journalmatch`, before it for `prefregex`, `maxlines`
//!   and `usedns`, and after it for `datepattern`;
//! - what only `[Definition]` gives, the jail's replaces.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::interpolate::{NOTHING, Scope, Values};
use crate::config::layers::{Layer, Merged, Setting, Tree};
use crate::config::option_list::Named;
use crate::config::tags;
use crate::config::text::Text;
use crate::core::date::Zone;
use crate::core::filter::{FilterText, UseDns};

/// Options that a filter gives to its jail.
pub(crate) const OPTIONS: [&str; 7] =
    ["prefregex", "failregex", "ignoreregex", "journalmatch", "maxlines", "datepattern", "usedns"];

/// Options of a jail that `<tags>` of its filter can name.
const TAGGED: [&str; 3] = ["enabled", "backend", "filter"];

/// A filter as its files give it, for one jail.
#[derive(Debug)]
pub(crate) struct FilterFiles {
    name: Text,
    merged: Merged,
    arguments: Values,
}

/// A filter with everything expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterSource {
    /// Its name.
    pub(crate) name: Text,
    /// `prefregex`; blank for none.
    pub(crate) prefregex: Text,
    /// `failregex`, one expression each.
    pub(crate) failregex: Vec<Text>,
    /// `ignoreregex`, one expression each.
    pub(crate) ignoreregex: Vec<Text>,
    /// `journalmatch`; blank for none.
    pub(crate) journalmatch: Text,
    /// `maxlines`; blank for none.
    pub(crate) maxlines: Text,
    /// `datepattern`; blank for none.
    pub(crate) datepattern: Text,
    /// `usedns`; blank for none.
    pub(crate) usedns: Text,
}

impl FilterFiles {
    /// Reads the files of a filter.
    pub(crate) fn read(tree: &Tree, named: &Named, diagnostics: &mut Diagnostics) -> Checked<Self> {
        let name = &named.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+/".contains(c);
        let outside = |part: &str| part.is_empty() || part.starts_with('.');
        if name.as_str().split('/').any(outside) || !name.as_str().chars().all(plain) {
            return Err(Diagnostic::error(format!("`{name}` is no filter name"))
                .at(name)
                .help("write the name of a file in filter.d without its extension")
                .into());
        }
        Self::read_from(tree, &format!("filter.d/{name}"), named, diagnostics)
    }

    /// Reads the files of a filter that lie elsewhere below the tree: `file` is their
    /// path without extension.
    pub(crate) fn read_from(
        tree: &Tree,
        file: &str,
        named: &Named,
        diagnostics: &mut Diagnostics,
    ) -> Checked<Self> {
        let name = &named.name;
        let merged = tree.read(file, diagnostics);
        if merged.files == 0 {
            return Err(missing(tree, name));
        }
        if merged.broken || merged.defaults.broken || merged.sections.iter().any(|s| s.broken) {
            let what = format!("the files of filter `{name}` have errors");
            return Err(Diagnostic::error(what).at(name).help("mend what is named above").into());
        }
        let mut arguments = Values::new();
        for (option, value) in &named.options {
            // Every jail hands its mode on; most filters have only the normal one.
            let normal = option == "mode" && value.as_str() == "normal";
            if !normal && !OPTIONS.contains(&option.as_str()) && !mentions(&merged, option) {
                diagnostics.push(
                    Diagnostic::warning(format!("filter `{name}` has no use for `{option}`"))
                        .at(value)
                        .help("look in the filter's file for the options that it has"),
                );
            }
            arguments.insert(option.to_lowercase(), value.clone());
        }
        for init in merged.section("Init").into_iter().chain(merged.section("Definition")) {
            for (key, settings) in &init.keys {
                if let (Some(at), Some(last)) = (key.find('?'), settings.last()) {
                    diagnostics.push(conditional(&key[..at], &last.key));
                }
            }
        }
        let mut merged = merged;
        drop_orphaned_prefix(&mut merged);
        Ok(Self { name: name.clone(), merged, arguments })
    }

    /// Every value that the filter has, for `%(known/name)s` in the jail. A value that
    /// cannot be expanded is left out. `jail` holds the jail's options so far.
    pub(crate) fn known(&self, jail: &Values) -> Values {
        let resolution = self.with(jail);
        let mut names: Vec<String> = resolution.arguments.keys().cloned().collect();
        for section in ["Init", "Definition", "DEFAULT"] {
            names.extend(
                self.merged.section(section).into_iter().flat_map(|s| s.keys.keys().cloned()),
            );
        }
        let value = |name: String| Some((resolution.option(&name)?.ok()?, name));
        names.into_iter().filter_map(value).map(|(value, name)| (name, value)).collect()
    }

    /// The filter with everything expanded. `jail` holds the jail's options; its
    /// `backend` says whether the lines are the journal's, which have no date before them.
    pub(crate) fn resolve(&self, jail: &Values) -> Checked<FilterSource> {
        let resolution = self.with(jail);
        let together = |name: &str| resolution.together(name);
        let first = |name: &str| resolution.first(name);
        let source = FilterSource {
            name: self.name.clone(),
            prefregex: first("prefregex")?,
            failregex: together("failregex")?.split(|c| c == '\n'),
            ignoreregex: together("ignoreregex")?.split(|c| c == '\n'),
            journalmatch: together("journalmatch")?,
            maxlines: first("maxlines")?,
            datepattern: match jail.get("datepattern") {
                Some(value) => value.clone(),
                None => first("datepattern")?,
            },
            usedns: first("usedns")?,
        };
        if source.failregex.is_empty() {
            return Err(Diagnostic::error(format!("filter `{}` has no failregex", self.name))
                .at(&self.name)
                .help("give it a [Definition] with `failregex = …`, one expression a line")
                .into());
        }
        Ok(source)
    }

    fn with(&self, jail: &Values) -> Resolution<'_> {
        let mut arguments = self.arguments.clone();
        // Filters are told by whom the lines are kept, unless they say so themselves.
        let given = arguments.get("logtype").is_some_and(|value| value.len() > 0);
        let definition = self.merged.section("Definition");
        if !given && !definition.is_some_and(|section| section.keys.contains_key("logtype")) {
            let journal = jail.get("backend").is_some_and(|b| b.as_str().starts_with("systemd"));
            let logtype = Text::generated(if journal { "journal" } else { "file" });
            arguments.insert("logtype".to_owned(), logtype);
        }
        let with_arguments = |values: Values| {
            let mut values = values;
            values.extend(arguments.iter().map(|(name, value)| (name.clone(), value.clone())));
            values
        };
        let tagged = |(name, _): &(&String, &Text)| TAGGED.contains(&name.as_str());
        let tagged = jail.iter().filter(tagged).map(|(name, value)| (name.clone(), value.clone()));
        Resolution {
            merged: &self.merged,
            given: jail.clone(),
            options: with_arguments(jail.clone()),
            tagged: with_arguments(tagged.collect()),
            arguments,
        }
    }
}

/// A filter for one jail, while its values are looked up.
struct Resolution<'a> {
    merged: &'a Merged,
    /// Options in brackets.
    arguments: Values,
    /// Options of the jail.
    given: Values,
    /// What `%(name)s` finds before the filter's own: the jail's options, then those in
    /// brackets over them.
    options: Values,
    /// The same for `<name>`.
    tagged: Values,
}

impl Resolution<'_> {
    /// What is given in brackets or `[Init]` and what the jail gives, else the
    /// definition's.
    fn together(&self, name: &str) -> Checked<Text> {
        let outer = self.given_outside(name).transpose()?;
        let parts: Vec<&Text> = outer.iter().chain(self.given.get(name)).collect();
        if parts.is_empty() {
            return self.option(name).unwrap_or_else(|| Ok(Text::default()));
        }
        let mut all = Text::default();
        for part in parts {
            if all.len() > 0 {
                all.push_str("\n");
            }
            all.push(part);
        }
        Ok(all)
    }

    /// What is given in brackets or `[Init]`, else what the jail gives, else the
    /// definition's.
    fn first(&self, name: &str) -> Checked<Text> {
        let given = || self.given.get(name).map(|value| Ok(value.clone()));
        let found = self.given_outside(name).or_else(given).or_else(|| self.option(name));
        found.unwrap_or_else(|| Ok(Text::default()))
    }

    /// What is given in brackets or `[Init]`, its tags replaced.
    fn given_outside(&self, name: &str) -> Option<Checked<Text>> {
        let given = self.arguments.contains_key(name) || self.init_has(name);
        self.option(name).filter(|_| given)
    }

    /// A value with its tags replaced.
    fn option(&self, name: &str) -> Option<Checked<Text>> {
        let raw = self.untagged(name, &self.options)?;
        if self.depends_on_family(name) {
            return Some(raw);
        }
        let lookup = |tag: &str| {
            let tag = tag.to_lowercase();
            if self.depends_on_family(&tag) { None } else { self.untagged(&tag, &self.tagged) }
        };
        Some(raw.and_then(|raw| tags::expand(name, raw, &lookup)))
    }

    fn untagged(&self, name: &str, outer: &Values) -> Option<Checked<Text>> {
        let scope = |section, fixed| Scope { merged: self.merged, section, fixed, known: &NOTHING };
        if let Some(argument) = self.arguments.get(name) {
            return Some(Ok(argument.clone()));
        }
        if let Some(known) = name.strip_prefix("known/").filter(|known| self.init_has(known)) {
            return scope("Init", &NOTHING).value(known);
        }
        if self.init_has(name) {
            return scope("Init", &NOTHING).value(name);
        }
        scope("Definition", outer).tag_value(name)
    }

    fn init_has(&self, name: &str) -> bool {
        self.merged.section("Init").is_some_and(|init| init.keys.contains_key(name))
    }

    /// Whether `[Init?family=…]` gives the name a value.
    fn depends_on_family(&self, name: &str) -> bool {
        let init = self.merged.section("Init");
        let of_name = |key: &String| key.strip_prefix(name).is_some_and(|k| k.starts_with('?'));
        init.is_some_and(|init| init.keys.keys().any(of_name))
    }
}

impl FilterSource {
    /// What the compiler takes. Values that mean nothing are told, and what is used
    /// instead; `timezone` is the jail's `logtimezone`.
    pub(crate) fn text(&self, timezone: &Text, found: &mut Diagnostics) -> FilterText {
        let strings = |texts: &[Text]| texts.iter().map(ToString::to_string).collect();
        FilterText {
            name: self.name.to_string(),
            prefregex: self.prefregex.to_string(),
            failregex: strings(&self.failregex),
            ignoreregex: strings(&self.ignoreregex),
            max_lines: self.max_lines(found),
            date_pattern: self.datepattern.trimmed().to_string(),
            log_timezone: timezone.trimmed().to_string(),
            host_zone: Zone::new(jiff::tz::TimeZone::system()),
            use_dns: self.use_dns(found),
        }
    }

    fn max_lines(&self, found: &mut Diagnostics) -> usize {
        match self.maxlines.as_str().trim() {
            "" => 1,
            lines => lines.parse().ok().filter(|lines| *lines > 0).unwrap_or_else(|| {
                found.push(
                    Diagnostic::error(format!("maxlines = `{lines}` is no number of lines"))
                        .at(&self.maxlines)
                        .help("write a whole number from 1, such as `maxlines = 10`"),
                );
                1
            }),
        }
    }

    fn use_dns(&self, found: &mut Diagnostics) -> UseDns {
        match self.usedns.as_str().trim().to_lowercase().as_str() {
            "yes" => UseDns::Yes,
            "no" => UseDns::No,
            "raw" => UseDns::Raw,
            "" | "warn" => UseDns::Warn,
            other => {
                found.push(
                    Diagnostic::warning(format!("usedns = `{other}` is taken as `no`"))
                        .at(&self.usedns)
                        .help("write yes, warn, no or raw"),
                );
                UseDns::No
            }
        }
    }

    /// Where an expression stands that the compiler complains about.
    pub(crate) fn find(&self, expression: &str) -> Option<&Text> {
        let all = self.failregex.iter().chain(&self.ignoreregex).chain([&self.prefregex]);
        all.into_iter().find(|text| text.as_str() == expression)
    }
}

/// A host's `X.conf` that gives its own `failregex` does not build on the vendor's
/// `prefregex`: the two are written for each other. It may name it with `%(known/…)s`,
/// or change single values in `X.local`.
fn drop_orphaned_prefix(merged: &mut Merged) {
    let Some(definition) = merged.sections.iter_mut().find(|s| s.name.as_str() == "Definition")
    else {
        return;
    };
    let by_host = |setting: &Setting| {
        setting.layer == Layer::Conf && !setting.value.as_str().contains("known/failregex")
    };
    let replaced = definition.keys.get("failregex").is_some_and(|all| all.iter().any(by_host));
    let vendors = |settings: &Vec<Setting>| settings.iter().all(|s| s.layer == Layer::Vendor);
    if replaced && definition.keys.get("prefregex").is_some_and(vendors) {
        definition.keys.remove("prefregex");
    }
}

/// Whether a filter's files use an option.
fn mentions(merged: &Merged, option: &str) -> bool {
    crate::config::interpolate::is_referenced(merged, &option.to_lowercase())
}

fn missing(tree: &Tree, name: &Text) -> Box<Diagnostic> {
    let names = tree.filter_names();
    let near = nearest(name.as_str(), names.iter().map(String::as_str));
    let path = tree.directory.join(format!("filter.d/{name}.conf"));
    let write = format!("write {}", path.display());
    Diagnostic::error(format!("there is no filter `{name}`"))
        .at(name)
        .help(match near {
            Some(near) => format!("did you mean `{near}`? Otherwise {write}"),
            None => format!("{write}, or use one of: {}", names.join(", ")),
        })
        .into()
}

/// What `[Init?family=inet6]` does in a filter.
fn conditional(name: &str, key: &Text) -> Diagnostic {
    Diagnostic::warning(format!("`<{name}>` is not replaced: a filter knows no condition"))
        .at(key)
        .help("sections such as [Init?family=inet6] are for actions; give one value in [Init]")
}
