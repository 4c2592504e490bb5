//! How far pieces of an expression reach.
//!
//! Input: the rest of an expression. Output: lengths in bytes, and numbers of groups.
//! Invariant: what stands in a class or after a backslash opens and closes nothing.

/// The length of a class from its bracket on.
pub(super) fn class_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => depth += 1,
            ']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The length of what is in a group up to its closing parenthesis.
pub(super) fn group_length(text: &str) -> Option<usize> {
    let mut depth = 1usize;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\\' => at += 1 + text[at + 1..].chars().next()?.len_utf8(),
            '[' => at += class_end(&text[at..])?,
            _ => {
                depth = match c {
                    '(' => depth + 1,
                    ')' => depth - 1,
                    _ => depth,
                };
                if depth == 0 {
                    return Some(at);
                }
                at += c.len_utf8();
            }
        }
    }
    None
}

/// How many groups capture in a balanced piece of an expression.
pub(super) fn captures_in(text: &str) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\\' => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            '[' => at += class_end(&text[at..]).unwrap_or(1),
            _ => {
                let rest = &text[at..];
                let named = rest.starts_with("(?P<")
                    || (rest.starts_with("(?<")
                        && !rest.starts_with("(?<=")
                        && !rest.starts_with("(?<!"));
                if named || (c == '(' && !rest.starts_with("(?")) {
                    count += 1;
                }
                at += c.len_utf8();
            }
        }
    }
    count
}
