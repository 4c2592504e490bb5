//! Which expressions of a filter can match the same line.
//!
//! Input: converted expressions. Output: for each the later ones that may match where it
//! does. `fail2ban-regex` tries every expression on every line; most begin with words
//! that rule each other out, and those need no try. Invariant: a pair that could match
//! one line is never left out.

use fancy_regex::{Assertion, Expr};

/// Beginnings that an expression may have before it is called anything.
const MOST_HEADS: usize = 64;
/// Bytes of a beginning that are looked at.
const LONGEST: usize = 24;

/// A text that a match begins with, and whether more of the expression may follow it
/// directly.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    text: String,
    open: bool,
}

/// For each expression the numbers, from 0, of the later ones that may match too.
pub fn later_partners(expressions: &[&str]) -> Vec<Vec<usize>> {
    let trees: Vec<Vec<Expr>> = expressions.iter().map(|text| parts(text)).collect();
    let shared = shared_beginning(&trees);
    let heads: Vec<Option<Vec<Head>>> =
        trees.iter().map(|parts| heads_after(parts, shared)).collect();
    let may_meet = |a: usize, b: usize| match (&heads[a], &heads[b]) {
        (Some(a), Some(b)) => a.iter().any(|a| b.iter().any(|b| meet(a, b))),
        _ => true,
    };
    let count = expressions.len();
    (0..count).map(|a| (a + 1..count).filter(|b| may_meet(a, *b)).collect()).collect()
}

fn meet(a: &Head, b: &Head) -> bool {
    a.text.starts_with(&b.text) || b.text.starts_with(&a.text)
}

fn parts(expression: &str) -> Vec<Expr> {
    match Expr::parse_tree(expression).map(|tree| tree.expr) {
        Ok(Expr::Concat(parts)) => parts,
        Ok(other) => vec![other],
        Err(_) => Vec::new(),
    }
}

/// How many leading parts all expressions have in common, if these can match a line's
/// beginning in one way only: nothing in them is repeated that could also eat what
/// follows them.
fn shared_beginning(trees: &[Vec<Expr>]) -> usize {
    let Some(first) = trees.first() else { return 0 };
    let same = |at: usize| trees.iter().all(|parts| parts.get(at) == first.get(at));
    let mut count = 0;
    while count < first.len() && same(count) {
        count += 1;
    }
    // Behind a wildcard with spaces the rest may begin anywhere.
    let certain = |part: &Expr| !part.has_descendant_or_self(|e| matches!(e, Expr::Any { .. }));
    let certain = first[..count].iter().take_while(|part| certain(part)).count();
    if certain == count {
        count
    } else {
        usize::from(matches!(first.first(), Some(Expr::Assertion(_))))
    }
}

/// With what an expression goes on after its first parts; nothing if that can be
/// anything, or if it may begin anywhere in the line.
fn heads_after(parts: &[Expr], shared: usize) -> Option<Vec<Head>> {
    let anchored = match parts.first()? {
        Expr::Assertion(assertion) => is_start(assertion),
        _ => false,
    };
    if !anchored {
        return None;
    }
    let mut heads = vec![Head { text: String::new(), open: true }];
    for part in &parts[shared.max(1)..] {
        if heads.iter().all(|head| !head.open) {
            break;
        }
        heads = joined(&heads, &heads_of(part))?;
    }
    Some(heads)
}

fn is_start(assertion: &Assertion) -> bool {
    matches!(assertion, Assertion::StartText)
}

/// Each beginning continued with each.
fn joined(before: &[Head], after: &[Head]) -> Option<Vec<Head>> {
    let mut all: Vec<Head> = Vec::new();
    for head in before {
        if !head.open || head.text.len() >= LONGEST {
            all.push(Head { text: head.text.clone(), open: false });
            continue;
        }
        for next in after {
            all.push(Head { text: format!("{}{}", head.text, next.text), open: next.open });
        }
    }
    all.dedup();
    (all.len() <= MOST_HEADS).then_some(all)
}

/// With what a match of an expression begins.
fn heads_of(expression: &Expr) -> Vec<Head> {
    let any = || vec![Head { text: String::new(), open: false }];
    let nothing = || vec![Head { text: String::new(), open: true }];
    match expression {
        Expr::Literal { val, casei: false } => vec![Head { text: val.clone(), open: true }],
        Expr::Delegate { inner, casei } => class_heads(inner, *casei).unwrap_or_else(any),
        Expr::Group(inner) => heads_of(inner),
        Expr::AtomicGroup(inner) => heads_of(inner),
        Expr::Empty | Expr::LookAround(..) => nothing(),
        Expr::Concat(parts) => {
            let mut heads = nothing();
            for part in parts {
                if heads.iter().all(|head| !head.open) {
                    break;
                }
                match joined(&heads, &heads_of(part)) {
                    Some(next) => heads = next,
                    None => return any(),
                }
            }
            heads
        }
        Expr::Alt(branches) => {
            let all: Vec<Head> = branches.iter().flat_map(heads_of).collect();
            if all.len() > MOST_HEADS { any() } else { all }
        }
        Expr::Repeat { child, lo, hi, .. } => {
            let once = heads_of(child);
            let mut all = match (lo, hi) {
                (_, 1) => once,
                _ => once.into_iter().map(|head| Head { open: false, ..head }).collect(),
            };
            if *lo == 0 {
                all.extend(nothing());
            }
            all
        }
        _ => any(),
    }
}

/// The characters of a small class, such as `[iI]`.
fn class_heads(class: &str, ignore_case: bool) -> Option<Vec<Head>> {
    let flags = if ignore_case { "(?i)" } else { "" };
    let class = regex::Regex::new(&format!("^{flags}(?:{class})$")).ok()?;
    let mut buffer = [0; 4];
    // What takes a letter that is not ASCII takes many.
    if ["é", "ſ", "\u{212a}", "٣", "\u{a0}"].iter().any(|other| class.is_match(other)) {
        return None;
    }
    let all: Vec<Head> = (0..=127u8)
        .map(char::from)
        .filter(|c| class.is_match(c.encode_utf8(&mut buffer)))
        .map(|c| Head { text: c.to_string(), open: true })
        .collect();
    (!all.is_empty() && all.len() <= 4).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_rule_each_other_out_are_told() {
        let partners = later_partners(&[
            "^[iI]nvalid user .* from",
            "^(?:Failed|Denied) (?:password|none) for",
            "^Failed (?:none|publickey) for",
            "^(?:error: )?Failed publickey for",
            "User .* from",
            "^Invalid x",
        ]);
        // 4 may begin anywhere.
        assert_eq!(partners, [vec![4], vec![2, 4], vec![3, 4], vec![4], vec![5], vec![]]);
    }

    #[test]
    fn a_common_beginning_is_left_out() {
        let partners = later_partners(&[
            r"^\s*\S+ d\[\d+\]: Invalid",
            r"^\s*\S+ d\[\d+\]: Failed",
            r"^\s*\S+ d\[\d+\]: Fail.d",
        ]);
        assert_eq!(partners, [vec![], vec![2], vec![]]);
        // Behind a wildcard there is no telling.
        let partners = later_partners(&[r"^.*: Invalid", r"^.*: Failed"]);
        assert_eq!(partners, [vec![1], vec![]]);
    }
}
