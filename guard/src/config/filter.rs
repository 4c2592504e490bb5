//! A jail's filter: from its files and options to the text that is compiled.
//!
//! Input: `filter = name[option=value]` and the jail's own options. Output:
//! [`FilterSource`]. For each value the jail's own option counts first, then the option
//! in brackets, `[Init]`, `[Definition]`, `[DEFAULT]`; then its `<tags>` are replaced.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::interpolate::{Scope, Values};
use crate::config::layers::{Layer, Merged, Setting, Tree};
use crate::config::option_list::Named;
use crate::config::tags;
use crate::config::text::Text;
use crate::core::filter::FilterText;

/// Options that a filter gives to its jail.
const OPTIONS: [&str; 7] =
    ["prefregex", "failregex", "ignoreregex", "journalmatch", "maxlines", "datepattern", "usedns"];

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
}

impl FilterFiles {
    /// Reads the files of a filter.
    pub(crate) fn read(tree: &Tree, named: &Named, diagnostics: &mut Diagnostics) -> Checked<Self> {
        let name = &named.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        if name.as_str().starts_with('.') || !name.as_str().chars().all(plain) {
            return Err(Diagnostic::error(format!("`{name}` is no filter name"))
                .at(name)
                .help("write the name of a file in filter.d without its extension")
                .into());
        }
        let merged = tree.read(&format!("filter.d/{name}"), diagnostics);
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
        let says = |section: &str, key: &str| {
            merged.section(section).is_some_and(|section| section.keys.contains_key(key))
        };
        // The journal's lines have no date before them: Fail2Ban tells filters so.
        if !arguments.contains_key("logtype") && !says("Definition", "logtype") {
            arguments.insert("logtype".to_owned(), Text::generated("journal"));
        }
        let mut merged = merged;
        drop_orphaned_prefix(&mut merged);
        Ok(Self { name: name.clone(), merged, arguments })
    }

    /// Every value that the filter has, for `%(known/name)s` in the jail. A value that
    /// cannot be expanded is left out.
    pub(crate) fn known(&self, jail: &Values) -> Values {
        let mut names: Vec<String> = self.arguments.keys().cloned().collect();
        for section in ["Init", "Definition", "DEFAULT"] {
            names.extend(
                self.merged.section(section).into_iter().flat_map(|s| s.keys.keys().cloned()),
            );
        }
        let value = |name: String| Some((self.option(&name, jail)?.ok()?, name));
        names.into_iter().filter_map(value).map(|(value, name)| (name, value)).collect()
    }

    /// The filter with everything expanded. `jail` holds the jail's options.
    pub(crate) fn resolve(&self, jail: &Values) -> Checked<FilterSource> {
        let option = |name: &str| match jail.get(name) {
            Some(value) => Ok(value.clone()),
            None => self.option(name, jail).unwrap_or_else(|| Ok(Text::default())),
        };
        let lines = |name| Ok::<_, Box<Diagnostic>>(option(name)?.split(|c| c == '\n'));
        let source = FilterSource {
            name: self.name.clone(),
            prefregex: option("prefregex")?,
            failregex: lines("failregex")?,
            ignoreregex: lines("ignoreregex")?,
            journalmatch: option("journalmatch")?,
            maxlines: option("maxlines")?,
        };
        if source.failregex.is_empty() {
            return Err(Diagnostic::error(format!("filter `{}` has no failregex", self.name))
                .at(&self.name)
                .help("give it a [Definition] with `failregex = …`, one expression a line")
                .into());
        }
        Ok(source)
    }

    /// A value with its tags replaced.
    fn option(&self, name: &str, jail: &Values) -> Option<Checked<Text>> {
        let raw = self.untagged(name, jail)?;
        let lookup = |tag: &str| self.untagged(&tag.to_lowercase(), jail);
        Some(raw.and_then(|raw| tags::expand(name, raw, &lookup)))
    }

    fn untagged(&self, name: &str, jail: &Values) -> Option<Checked<Text>> {
        let nothing = Values::new();
        let scope =
            |section, fixed| Scope { merged: &self.merged, section, fixed, known: &nothing };
        let init_has = |name: &str| {
            self.merged.section("Init").is_some_and(|init| init.keys.contains_key(name))
        };
        if let Some(argument) = self.arguments.get(name) {
            return Some(Ok(argument.clone()));
        }
        if let Some(known) = name.strip_prefix("known/").filter(|known| init_has(known)) {
            return scope("Init", &nothing).value(known);
        }
        if init_has(name) {
            return scope("Init", &nothing).value(name);
        }
        let mut fixed = jail.clone();
        fixed.extend(self.arguments.iter().map(|(name, value)| (name.clone(), value.clone())));
        scope("Definition", &fixed).tag_value(name)
    }
}

impl FilterSource {
    /// What the compiler takes.
    pub(crate) fn text(&self) -> FilterText {
        let strings = |texts: &[Text]| texts.iter().map(ToString::to_string).collect();
        FilterText {
            name: self.name.to_string(),
            prefregex: self.prefregex.to_string(),
            failregex: strings(&self.failregex),
            ignoreregex: strings(&self.ignoreregex),
            ..FilterText::default()
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
