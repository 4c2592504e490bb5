//! One filter of a directory, without a jail: for looking at it, and for tests.
//!
//! Input: a directory that holds `filter.d`, a filter's name and the options that would
//! stand in brackets behind it. Output: the [`FilterText`] that a jail with that filter
//! would compile.

use std::path::Path;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::filter::FilterFiles;
use crate::config::interpolate::Values;
use crate::config::layers::Tree;
use crate::config::option_list::Named;
use crate::config::text::Text;
use crate::core::filter::FilterText;

/// Reads `filter.d/NAME` below `directory` as `filter = NAME[option=value]` means it.
///
/// # Errors
/// All that is wrong with it.
pub fn filter_alone(
    directory: &Path,
    name: &str,
    options: &[(String, String)],
) -> Result<FilterText, Diagnostics> {
    let tree = Tree { vendor: directory.to_owned(), directory: directory.to_owned() };
    let option = |(name, value): &(String, String)| (name.clone(), Text::generated(value.as_str()));
    let named =
        Named { name: Text::generated(name), options: options.iter().map(option).collect() };
    let mut found = Diagnostics::default();
    let mut read = || -> Result<FilterText, Box<Diagnostic>> {
        let files = FilterFiles::read(&tree, &named, &mut found)?;
        Ok(files.resolve(&Values::new())?.text(&Text::default(), &mut found))
    };
    match read() {
        Ok(text) if !found.has_errors() => Ok(text),
        Ok(_) => Err(found),
        Err(problem) => {
            found.push(*problem);
            Err(found)
        }
    }
}
