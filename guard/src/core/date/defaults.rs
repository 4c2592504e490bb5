//! The forms of dates that are looked for without a `datepattern`, and what the words of
//! that language stand for: `EPOCH`, `TAI64N`, `{DATE}`, `{^LN-BEG}`, `{NONE}`.
//!
//! Input: a pattern. Output: the templates that it stands for, in the order in which they
//! are tried. Each form is first looked for at the begin of the line, then anywhere.

use std::sync::{Arc, LazyLock};

use super::fast::Form;
use super::pattern::{self, EPOCH, LONG_EPOCH, Parsed};
use super::template::{Shared, Template};

const AT_BEGIN: &str = "{^LN-BEG}";

/// Forms by their pattern, with how they are read by hand, in Fail2Ban's order.
const FORMS: [(&str, Option<Form>); 17] = [
    // 2005-01-23T21:59:59.981746+01:00, 2005/01/23 21:59:59, 2006.12.21 06:43:20
    (
        concat!(
            r"(?:%ExY-%m-%d|%ExY/%m/%d|%ExY\.%m\.%d)(?:T|  ?)",
            r"%H:%M:%S(?:[.,]%f)?(?:\s*%z)?"
        ),
        Some(Form::Iso),
    ),
    // Sun Jan 23 21:59:59.011 2005, Jan 23 21:59:59
    (r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?", Some(Form::Syslog)),
    // Sun Jan 23 2005 21:59:59.011
    (r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?", None),
    // 23/01/2005 21:59:59, 17-07-08 17:23:25
    (r"(?:%d/%m/|%d-%m-)(?:%ExY|%Exy) %k:%M:%S", None),
    // 31/Oct/2006:09:22:55 -0000, 26-Jul-2007 15:20:52.252
    (r"(?:%d/%b/|%d-%b-)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?", None),
    // 05/20/2008:01:57:39
    ("%m/%d/%ExY:%H:%M:%S", None),
    // 01-27-2012 16:22:44.252
    (r"%m-%d-%ExY %k:%M:%S(?:\.%f)?", None),
    ("EPOCH", Some(Form::Epoch)),
    // 21:59:59
    ("{^LN-BEG}%H:%M:%S", None),
    // <09/16/08@05:03:30>
    ("^<%m/%d/%Exy@%H:%M:%S>", None),
    // 130322 11:46:11
    ("%Exy%Exm%Exd  ?%H:%M:%S", None),
    // Apr 27, 2013 2:33:06 PM
    ("%b %d, %ExY %I:%M:%S %p", None),
    // Apr-27-13 02:33:06
    ("^%b-%d-%Exy %k:%M:%S", None),
    // 20050123T215959, 20050123-21:59:59
    (r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?", None),
    // PDT Apr 16 21:05:29
    (r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?", None),
    // +00:00 Jan 23 21:59:59.011 2005
    (r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?", None),
    ("TAI64N", None),
];

/// How much a form at the begin of a line counts beside one anywhere.
const WEIGHT_AT_BEGIN: f64 = 100.0;

/// All forms, shared by all who use them.
static DEFAULTS: LazyLock<Vec<Shared>> = LazyLock::new(|| {
    let free = |(pattern, _): &&(&str, _)| !pattern.starts_with('^') && !pattern.starts_with('{');
    let at_begin = FORMS
        .iter()
        .filter(free)
        .map(|(pattern, form)| own(&format!("{AT_BEGIN}{pattern}"), WEIGHT_AT_BEGIN, *form));
    at_begin.chain(FORMS.iter().map(|(pattern, form)| own(pattern, 1.0, *form))).collect()
});

/// One of the forms above.
fn own(pattern: &str, weight: f64, form: Option<Form>) -> Shared {
    let parsed = word(pattern).map_or_else(|| pattern::parse(pattern), Ok);
    let parsed = parsed.unwrap_or_else(|error| panic!("date form `{pattern}`: {error}"));
    Arc::new(Template::later(pattern, parsed, weight, form))
}

/// `EPOCH`, `LEPOCH` and `TAI64N`, alone or at the begin of the line.
fn word(pattern: &str) -> Option<Parsed> {
    let upper = pattern.to_ascii_uppercase();
    let (at_begin, name) = match upper.strip_prefix(AT_BEGIN).or(upper.strip_prefix('^')) {
        Some(name) => (true, name),
        None => (false, upper.as_str()),
    };
    let (group, anywhere) = match name {
        // The audit log has it in parentheses, nsd in brackets.
        "EPOCH" => (format!("(?P<epoch>{EPOCH})"), r"(?:^\[?|\baudit\()"),
        "LEPOCH" => (format!("(?P<lepoch>{LONG_EPOCH})"), r"(?:^\[?|\baudit\()"),
        "TAI64N" => ("(?P<tai64n>@[0-9a-f]{24})".to_owned(), ""),
        _ => return None,
    };
    let before = if at_begin { r"^(?:\W{0,2})?" } else { anywhere };
    Some(Parsed {
        expression: format!(r"{before}{group}(?:\b{{start-half}}|\b{{end-half}})"),
        backtracking: false,
        anchored: at_begin,
    })
}

/// The templates that one line of a `datepattern` stands for.
///
/// # Errors
/// What in it cannot be used.
pub(super) fn templates(pattern: &str) -> Result<Vec<Shared>, String> {
    let upper = pattern.to_ascii_uppercase();
    match upper.as_str() {
        "{DEFAULT}" => return Ok(all()),
        "{^LN-BEG}" => {
            let mut all = all();
            all.retain(|template| template.is_anchored());
            return Ok(all);
        }
        "{NONE}" => return Template::new("{NONE}", "{UNB}^").map(|none| vec![Arc::new(none)]),
        _ => {}
    }
    if let Some(parsed) = word(pattern) {
        return Ok(vec![Arc::new(Template::later(&upper, parsed, 1.0, form(&upper)))]);
    }
    let places: Vec<usize> = upper
        .match_indices("{DATE}")
        .map(|(at, _)| at)
        .filter(|at| !upper[..*at].ends_with('\\'))
        .collect();
    if places.is_empty() {
        return Template::new(pattern, pattern).map(|template| vec![Arc::new(template)]);
    }
    let mut templates = Vec::new();
    for (form, _) in FORMS {
        let mut whole = pattern.to_owned();
        let plain = form.strip_prefix(AT_BEGIN).unwrap_or(form);
        for place in places.iter().rev() {
            whole.replace_range(*place..place + "{DATE}".len(), plain);
        }
        // The words mean something only when nothing is around them.
        if plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            if let Some(parsed) = word(&whole) {
                templates.push(Arc::new(Template::later(&whole, parsed, 1.0, None)));
            }
        } else if templates.is_empty() {
            templates.push(Arc::new(Template::new(&whole, &whole)?));
        } else {
            let parsed = pattern::parse(&whole)?;
            templates.push(Arc::new(Template::later(&whole, parsed, 1.0, None)));
        }
    }
    Ok(templates)
}

/// All forms.
pub(super) fn all() -> Vec<Shared> {
    DEFAULTS.clone()
}

fn form(word: &str) -> Option<Form> {
    (word == "EPOCH" || word == "{^LN-BEG}EPOCH").then_some(Form::Epoch)
}

/// The same form twice, once only by its expression.
#[cfg(test)]
pub(super) fn pair(number: usize, at_begin: bool) -> (Template, Template) {
    let (pattern, form) = FORMS[number];
    let pattern = if at_begin { format!("{AT_BEGIN}{pattern}") } else { pattern.to_owned() };
    let parsed = word(&pattern).map_or_else(|| pattern::parse(&pattern), Ok).expect("a form");
    let template = |form| Template::later(&pattern, parsed.clone(), 1.0, form);
    (template(form), template(None))
}
