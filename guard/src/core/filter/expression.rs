//! One compiled expression and what its named groups capture.
//!
//! Input: a text that ends in its only newline. Output: the spans of the groups that
//! mean something to a filter. Invariant: a search ends; in the linear-time engine by
//! its nature, in the backtracking one by a limit that is reported.

use std::ops::Range;

use super::Limits;
use super::automaton::{Pattern, Relaxed, Spans, relax};
use super::captured::{Captured, Field, Piece};
use super::convert::{Lines, convert};
use super::tags;

/// A span of bytes in the text that was searched.
pub(super) type Span = Range<usize>;

/// The search was given up: it took more steps than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepLimit;

/// An expression, ready to search.
#[derive(Debug)]
pub(super) struct Expression {
    engine: Engine,
    groups: Groups,
    /// The same for an automaton, unless that cannot be.
    relaxed: Option<Relaxed>,
    /// Names of the groups that mean something.
    wanted: Vec<String>,
    /// What they mean, by number and by place in `wanted`.
    by_number: Vec<(usize, Field)>,
    by_place: Vec<(usize, Field)>,
}

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking { regex: Box<fancy_regex::Regex>, text_bytes: usize },
}

/// Numbers of the groups that mean something; more than one stands for the first
/// that captures any text.
#[derive(Debug, Default)]
struct Groups {
    ip4: Vec<usize>,
    ip6: Vec<usize>,
    dns: Vec<usize>,
    id: Vec<usize>,
    prefix_length: Option<usize>,
    user: Vec<usize>,
    connection: Option<usize>,
    no_failure: Option<usize>,
    gained: Option<usize>,
    forget: Option<usize>,
    content: Option<usize>,
}

/// What an expression is meant for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meaning {
    /// What it is searched in.
    pub lines: Lines,
    /// Whether `<HOST>` may be a name.
    pub names: bool,
}

/// A match with all that it captured by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub whole: Span,
    /// Groups that took part, in their order.
    pub groups: Vec<(String, Span)>,
}

impl Expression {
    /// Compiles an expression as Fail2Ban's filters write it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn compile(text: &str, meaning: Meaning, limits: Limits) -> Result<Self, String> {
        let converted = convert(&tags::expand(text, meaning.names), meaning.lines)?;
        let engine = if converted.backtracking {
            let regex = fancy_regex::RegexBuilder::new(&converted.expression)
                .backtrack_limit(limits.steps)
                .delegate_size_limit(limits.compiled_bytes)
                .build()
                .map_err(|error| error.to_string())?;
            Engine::Backtracking { regex: Box::new(regex), text_bytes: limits.backtracking_bytes }
        } else {
            let regex = regex::RegexBuilder::new(&converted.expression)
                .size_limit(limits.compiled_bytes)
                .build()
                .map_err(|error| last_line(&error.to_string()))?;
            Engine::Linear(regex)
        };
        let names: Vec<Option<&str>> = match &engine {
            Engine::Linear(regex) => regex.capture_names().collect(),
            Engine::Backtracking { regex, .. } => regex.capture_names().collect(),
        };
        let groups = Groups::from_names(&names);
        let named = |number: &usize| names[*number].map(str::to_owned);
        let wanted: Vec<String> = groups.numbers().iter().filter_map(named).collect();
        let places: Vec<Option<&str>> = wanted.iter().map(|name| Some(name.as_str())).collect();
        let by_place = Groups::from_names(&places).fields();
        let by_number = groups.fields();
        let relaxed = relax(&converted.expression);
        Ok(Self { relaxed, groups, wanted, by_number, by_place, engine })
    }

    /// The expression for an automaton.
    pub(super) fn pattern(&self) -> Option<Pattern<'_>> {
        Some(Pattern { relaxed: self.relaxed.as_ref()?, wanted: &self.wanted })
    }

    /// Notes what an automaton captured for [`Expression::pattern`] in a text that has
    /// `offset` bytes before it.
    #[inline]
    pub(super) fn capture(&self, spans: &Spans, offset: usize, captured: &mut Captured) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        *captured = Captured::of(&self.by_place, |place| {
            let (start, end) = spans.ends(place)?;
            Piece::new(start.checked_add(offset)?, end.checked_add(offset)?)
        });
    }

    /// The converted expression.
    pub(super) fn converted(&self) -> &str {
        match &self.engine {
            Engine::Linear(regex) => regex.as_str(),
            Engine::Backtracking { regex, .. } => regex.as_str(),
        }
    }

    /// Whether it can say who failed.
    pub(super) fn names_address(&self) -> bool {
        let groups = &self.groups;
        [&groups.ip4, &groups.ip6, &groups.dns, &groups.id].iter().any(|all| !all.is_empty())
    }

    /// Whether it can say which connection a line belongs to.
    pub(super) fn names_connection(&self) -> bool {
        self.groups.connection.is_some()
    }

    /// Everything that it captures by name where it matches first.
    pub(super) fn named(&self, text: &str) -> Option<Named> {
        let mut named = Named::default();
        let mut push = |name: Option<&str>, span: Option<Span>| {
            if let (Some(name), Some(span)) = (name, span) {
                named.groups.push((name.to_owned(), span));
            }
        };
        match &self.engine {
            Engine::Linear(regex) => {
                let captures = regex.captures(text)?;
                for (number, name) in regex.capture_names().enumerate() {
                    push(name, captures.get(number).map(|found| found.range()));
                }
                named.whole = captures.get(0)?.range();
            }
            Engine::Backtracking { text_bytes, .. } if text.len() > *text_bytes => return None,
            Engine::Backtracking { regex, .. } => {
                let captures = regex.captures(text).ok()??;
                for (number, name) in regex.capture_names().enumerate() {
                    push(name, captures.get(number).map(|found| found.range()));
                }
                named.whole = captures.get(0)?.range();
            }
        }
        Some(named)
    }

    /// Whether it matches anywhere.
    pub(super) fn is_match(&self, text: &str) -> Result<bool, StepLimit> {
        match &self.engine {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking { text_bytes, .. } if text.len() > *text_bytes => Err(StepLimit),
            Engine::Backtracking { regex, .. } => regex.is_match(text).map_err(|_| StepLimit),
        }
    }

    /// Searches the text. Without a match the linear-time engine allocates nothing.
    pub(super) fn search(&self, text: &str) -> Result<Option<Captured>, StepLimit> {
        match &self.engine {
            Engine::Linear(regex) => {
                if !regex.is_match(text) {
                    return Ok(None);
                }
                let captures = regex.captures(text);
                Ok(captures
                    .map(|c| Captured::of(&self.by_number, |i| Piece::of(&c.get(i)?.range()))))
            }
            Engine::Backtracking { text_bytes, .. } if text.len() > *text_bytes => Err(StepLimit),
            Engine::Backtracking { regex, .. } => {
                let captures = regex.captures(text).map_err(|_| StepLimit)?;
                Ok(captures
                    .map(|c| Captured::of(&self.by_number, |i| Piece::of(&c.get(i)?.range()))))
            }
        }
    }
}

impl Groups {
    fn from_names(names: &[Option<&str>]) -> Self {
        let number = |name: &str| names.iter().position(|group| *group == Some(name));
        let all = |name: &str, alternate: &str| -> Vec<usize> {
            let mut alternates: Vec<(&str, usize)> = names
                .iter()
                .enumerate()
                .filter_map(|(i, group)| Some(((*group)?, i)))
                .filter(|(name, _)| is_alternate(name, alternate))
                .collect();
            alternates.sort_unstable();
            number(name).into_iter().chain(alternates.iter().map(|(_, i)| *i)).collect()
        };
        Self {
            ip4: all("ip4", "ip4"),
            ip6: all("ip6", "ip6"),
            dns: all("dns", "dns"),
            id: all("fid", "id"),
            prefix_length: number("cidr"),
            user: all("user", "user"),
            connection: number("mlfid"),
            no_failure: number("nofail"),
            gained: number("mlfgained"),
            forget: number("mlfforget"),
            content: number("content"),
        }
    }

    /// The numbers of all of them.
    fn numbers(&self) -> Vec<usize> {
        let lists = [&self.ip4, &self.ip6, &self.dns, &self.id, &self.user].into_iter().flatten();
        let single = [
            self.prefix_length,
            self.connection,
            self.no_failure,
            self.gained,
            self.forget,
            self.content,
        ];
        lists.copied().chain(single.into_iter().flatten()).collect()
    }

    /// All of them, each with the field that it is for, in order of preference.
    fn fields(&self) -> Vec<(usize, Field)> {
        let lists: [&[usize]; 10] = [
            &[self.ip4.as_slice(), &self.ip6].concat(),
            &self.dns,
            &self.id,
            self.prefix_length.as_slice(),
            &self.user,
            self.connection.as_slice(),
            self.no_failure.as_slice(),
            self.gained.as_slice(),
            self.forget.as_slice(),
            self.content.as_slice(),
        ];
        let lists = lists.into_iter().enumerate();
        lists.flat_map(|(field, groups)| groups.iter().map(move |group| (*group, field))).collect()
    }
}

/// Whether a group is `alt_NAME` or `alt_NAME_1`, `alt_NAME_2` and so on.
pub(super) fn is_alternate(group: &str, name: &str) -> bool {
    let Some(rest) = group.strip_prefix("alt_").and_then(|rest| rest.strip_prefix(name)) else {
        return false;
    };
    match rest.strip_prefix('_') {
        Some(number) => !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    }
}

/// The engine's message without the picture that it draws above.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Expression {
        Expression::compile(text, Meaning::default(), Limits::default()).expect("an expression")
    }

    fn captured<'t>(
        text: &str,
        haystack: &'t str,
        pick: fn(&Captured) -> Option<Piece>,
    ) -> &'t str {
        let found = expression(text).search(haystack).expect("within limits").expect("a match");
        pick(&found).map_or("", |piece| &haystack[piece.span()])
    }

    #[test]
    fn addresses_are_captured_in_every_form() {
        for (text, address) in [
            ("from 192.0.2.1 port", "192.0.2.1"),
            ("from ::ffff:192.0.2.1 port", "192.0.2.1"),
            ("from [2001:db8::1] port", "2001:db8::1"),
            ("from ::1 port", "::1"),
            ("from 2001:db8:: port", "2001:db8::"),
            ("from 2001:db8:1:2:3:4:5:6 port", "2001:db8:1:2:3:4:5:6"),
        ] {
            assert_eq!(captured("from <HOST> port", text, |c| c.address), address, "{text}");
        }
        for none in ["from host port", "from 1.2.3 port", "from :1 port", "from 192.0.2.1x port"] {
            assert_eq!(expression("from <HOST> port").search(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn an_alternate_group_fills_in_for_an_empty_one() {
        let text = "a=<F-USER>[a-z]*</F-USER> b=<F-ALT_USER>[a-z]*</F-ALT_USER>";
        assert_eq!(captured(text, "a=x b=y", |c| c.user), "x");
        assert_eq!(captured(text, "a= b=y", |c| c.user), "y");
        assert_eq!(captured(text, "a= b=", |c| c.user), "");
    }

    #[test]
    fn look_around_backtracks_and_the_rest_does_not() {
        let is_linear = |text| matches!(expression(text).engine, Engine::Linear(_));
        assert!(is_linear("^a<HOST>$"));
        assert!(!is_linear("^(?!b)a<HOST>$"));
        assert!(!is_linear(r"^(a)\1<HOST>$"));
    }

    #[test]
    fn a_catastrophic_expression_is_given_up() {
        let slow = expression(r"^(?=(a+)+$)<HOST>");
        let nested = expression(r"^(?:(a|a|aa)+\1)+x<HOST>$");
        let text = format!("{}!\n", "a".repeat(60));
        assert_eq!(nested.search(&text), Err(StepLimit));
        assert_eq!(nested.search("aax192.0.2.1\n").map(|c| c.is_some()), Ok(true));
        // The inner part is linear, so this one ends by itself.
        assert_eq!(slow.search(&text), Ok(None));
        let long = "a".repeat(Limits::default().backtracking_bytes + 1);
        assert_eq!(slow.search(&long), Err(StepLimit));
    }
}
