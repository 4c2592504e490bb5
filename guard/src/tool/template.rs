//! Lines that an expression matches, made from the expression.
//!
//! Input: a converted expression. Output: [`Template`]s: literal text, places of the
//! address, and wildcards, which whoever is logged may have filled. Look-around is left
//! out, so a template is a guess; whoever uses it asks the filter whether it is right.

use fancy_regex::{Absent, Expr};

/// How many templates an expression gives: optional parts in or out, first or last of
/// alternatives.
pub(super) const VARIANTS: usize = 4;

/// Bytes after which a template is given up.
const LONGEST: usize = 4_096;

/// Characters tried for a class, plainest first.
const CHARACTERS: &str = "a1A xX.-_:/\"'[](){}<>=,;@#%&*+?!|\\~^$\t";

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The daemon's own words.
    Literal(String),
    /// Where the address stands.
    Host,
    /// `.*` and the like, with text that fits: whatever is logged of others.
    Wild(String),
    /// `\S+` and the like, with text that fits: one word, the daemon's or another's.
    Word(String),
    /// What `failregex` is tried on, in a `prefregex`.
    Content,
}

/// A line with places to fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Piece>);

impl Template {
    /// A line that the expression probably matches; `None` when there is no saying.
    pub(super) fn of(expression: &str, variant: usize) -> Option<Self> {
        let tree = Expr::parse_tree(expression).ok()?;
        let mut names = Vec::new();
        for (name, numbers) in &tree.named_groups {
            names.extend(numbers.iter().map(|number| (*number, name.as_str())));
        }
        let mut builder = Builder {
            names,
            variant,
            group: 0,
            captured: Vec::new(),
            pieces: Vec::new(),
            bytes: 0,
        };
        builder.add(&tree.expr)?;
        let mut template = Self(builder.pieces).split_at_spaces();
        // What begins a line and is a word is the host.
        if let [Piece::Wild(first) | Piece::Word(first), Piece::Literal(next), ..] =
            template.0.as_mut_slice()
            && first == "x"
            && next.starts_with(' ')
        {
            *first = "pve".to_owned();
        }
        Some(template)
    }

    /// The line with an address in its places.
    pub(super) fn render(&self, address: &str) -> String {
        let mut line = String::new();
        for piece in &self.0 {
            line.push_str(piece.text(address));
        }
        line
    }

    /// The template with another in the place of its content.
    pub(super) fn with_content(&self, content: &Self) -> Self {
        let inner = |piece: &Piece| match piece {
            Piece::Content => content.0.clone(),
            other => vec![other.clone()],
        };
        Self(self.0.iter().flat_map(inner).collect())
    }

    /// Where the first address stands.
    pub(super) fn host(&self) -> Option<usize> {
        self.0.iter().position(|piece| *piece == Piece::Host)
    }

    /// Each word a piece of its own, so that an attack can begin with any of them.
    fn split_at_spaces(self) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in self.0 {
            match (piece, pieces.last_mut()) {
                (Piece::Literal(text), Some(Piece::Literal(last))) => last.push_str(&text),
                (piece, _) => pieces.push(piece),
            }
        }
        let mut split = Vec::new();
        for piece in pieces {
            let Piece::Literal(text) = piece else {
                split.push(piece);
                continue;
            };
            let mut start = 0;
            for (at, _) in text.match_indices(' ').filter(|(at, _)| *at > 0) {
                split.push(Piece::Literal(text[start..at].to_owned()));
                start = at;
            }
            split.push(Piece::Literal(text[start..].to_owned()));
        }
        Self(split)
    }
}

impl Piece {
    /// The text of the piece.
    pub(super) fn text<'t>(&'t self, address: &'t str) -> &'t str {
        match self {
            Self::Literal(text) | Self::Wild(text) | Self::Word(text) => text,
            Self::Host => address,
            Self::Content => "",
        }
    }
}

struct Builder<'t> {
    /// Names of groups by number.
    names: Vec<(usize, &'t str)>,
    variant: usize,
    /// Number of the last group that was opened.
    group: usize,
    /// What groups came out as, for references back.
    captured: Vec<(usize, Vec<Piece>)>,
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Builder<'_> {
    /// Adds what an expression matches; `None` when the template is given up.
    fn add(&mut self, expression: &Expr) -> Option<()> {
        match expression {
            Expr::Literal { val, .. } => self.literal(val)?,
            Expr::Any { .. } => self.literal("x")?,
            Expr::Delegate { inner, casei } => self.literal(&character(inner, *casei)?)?,
            Expr::Concat(parts) => {
                for part in parts {
                    self.add(part)?;
                }
            }
            Expr::Alt(branches) => self.alternative(branches)?,
            Expr::Group(inner) => self.grouped(inner)?,
            Expr::AtomicGroup(inner) => self.add(inner)?,
            Expr::Repeat { child, lo, hi, .. } => self.repeated(child, *lo, *hi)?,
            Expr::Backref { group, .. } => {
                let found = self.captured.iter().find(|(number, _)| number == group);
                let pieces = found.map(|(_, pieces)| pieces.clone()).unwrap_or_default();
                self.pieces.extend(pieces);
            }
            Expr::Conditional { condition, true_branch, false_branch } => {
                // Whether the condition holds depends on what optional part was taken.
                let holds = match condition.as_ref() {
                    Expr::BackrefExistsCondition { group, .. } => {
                        self.captured.iter().any(|(number, _)| number == group)
                    }
                    _ => true,
                };
                let (taken, other) =
                    if holds { (true_branch, false_branch) } else { (false_branch, true_branch) };
                if holds {
                    self.add(taken)?;
                    self.group += groups(other);
                } else {
                    self.group += groups(other);
                    self.add(taken)?;
                }
            }
            Expr::LookAround(inner, _) => self.group += groups(inner),
            Expr::Absent(Absent::Expression { exp, .. }) => self.add(exp)?,
            _ => {}
        }
        Some(())
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        self.bytes += text.len();
        if self.bytes > LONGEST {
            return None;
        }
        // A newline is the end of the line, not a part of it.
        self.pieces.push(Piece::Literal(text.replace('\n', "")));
        Some(())
    }

    fn alternative(&mut self, branches: &[Expr]) -> Option<()> {
        let host = branches.iter().position(|branch| self.holds_host(branch));
        let last = branches.len().saturating_sub(1);
        let chosen = host.unwrap_or(if self.variant & 2 == 0 { 0 } else { last });
        for (number, branch) in branches.iter().enumerate() {
            if number == chosen { self.add(branch)? } else { self.group += groups(branch) }
        }
        Some(())
    }

    fn grouped(&mut self, inner: &Expr) -> Option<()> {
        self.group += 1;
        let number = self.group;
        let name = self.names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        match name {
            Some("ip4" | "ip6" | "dns" | "fid") => {
                self.group += groups(inner);
                self.pieces.push(Piece::Host);
            }
            Some("content") => {
                self.group += groups(inner);
                self.pieces.push(Piece::Content);
            }
            _ => {
                let start = self.pieces.len();
                self.add(inner)?;
                self.captured.push((number, self.pieces[start.min(self.pieces.len())..].to_vec()));
            }
        }
        Some(())
    }

    fn repeated(&mut self, child: &Expr, lo: usize, hi: usize) -> Option<()> {
        if let (true, Some(spaces)) = (hi > 20, is_wide(child)) {
            let opens_tag =
                matches!(self.pieces.last(), Some(Piece::Literal(text)) if text.ends_with('['));
            let text = if opens_tag { "1234]: ".to_owned() } else { "x".repeat(lo.max(1)) };
            self.bytes += text.len();
            self.group += groups(child);
            self.pieces.push(if spaces { Piece::Wild(text) } else { Piece::Word(text) });
            return Some(());
        }
        let wanted = hi > 0 && (self.variant & 1 == 1 || self.holds_host(child));
        let times = lo.max(usize::from(wanted));
        let before = self.group;
        for _ in 0..times {
            // Groups are numbered by where they stand, however often they repeat.
            self.group = before;
            self.add(child)?;
        }
        self.group = before + groups(child);
        Some(())
    }

    /// Whether an expression that comes next has the address in it.
    fn holds_host(&self, expression: &Expr) -> bool {
        let numbers = self.group + 1..self.group + 1 + groups(expression);
        let hosts = ["ip4", "ip6", "dns", "fid", "content"];
        // The tree is counted in order, and branches before were counted already or not:
        // names tell better.
        self.names.iter().any(|(number, name)| hosts.contains(name) && numbers.contains(number))
    }
}

/// How many groups an expression has.
fn groups(expression: &Expr) -> usize {
    let own = usize::from(matches!(expression, Expr::Group(_)));
    own + expression.children_iter().map(groups).sum::<usize>()
}

/// Whether a repeated expression takes almost any text; then whether that may have
/// spaces in it.
fn is_wide(expression: &Expr) -> Option<bool> {
    match expression {
        Expr::Any { .. } => Some(true),
        Expr::Delegate { inner, casei } => {
            let class = compiled(inner, *casei)?;
            let wide = ["x", ".", "="].iter().all(|c| class.is_match(c));
            wide.then(|| class.is_match(" "))
        }
        Expr::Concat(parts) => {
            let mut parts = parts.iter().filter(|part| !matches!(part, Expr::LookAround(..)));
            let only = parts.next()?;
            if parts.next().is_some() { None } else { is_wide(only) }
        }
        Expr::Group(inner) => is_wide(inner),
        _ => None,
    }
}

/// A character of a class.
fn character(class: &str, ignore_case: bool) -> Option<String> {
    let class = compiled(class, ignore_case)?;
    let all = CHARACTERS.chars().chain((' '..='~').chain('\u{a0}'..='\u{ff}'));
    let mut buffer = [0; 4];
    all.into_iter().find(|c| class.is_match(c.encode_utf8(&mut buffer))).map(String::from)
}

fn compiled(class: &str, ignore_case: bool) -> Option<regex::Regex> {
    let flags = if ignore_case { "(?i)" } else { "" };
    regex::Regex::new(&format!("^{flags}(?:{class})$")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(expression: &str, variant: usize) -> String {
        Template::of(expression, variant).expect("a template").render("H")
    }

    #[test]
    fn a_template_is_a_line_that_the_expression_matches() {
        let host = r"\[?(?:(?:::f{4,6}:)?(?P<ip4>[0-9]{1,3}(?:\.[0-9]{1,3}){3})|(?P<ip6>:+))\]?";
        for (expression, variant, line) in [
            (r"^a{2}b?c", 0, "aac"),
            (r"^a{2}b?c", 1, "aabc"),
            (r"^(?:one|two) \d{3}", 0, "one 111"),
            (r"^(?:one|two) \d{3}", 2, "two 111"),
            (r"^x(?!y)(?=z)z", 0, "xz"),
            (r"^user .* [^:]+: \S*$", 0, "user x x: x"),
            (r"^d\[.*: fail", 0, "d[1234]: : fail"),
            (r"^(a|b) \1$", 2, "b b"),
        ] {
            assert_eq!(rendered(expression, variant), line, "{expression}");
        }
        assert_eq!(rendered(&format!("from {host} port"), 0), "from H port");
        assert_eq!(rendered(&format!("(?:no|from {host}) port"), 0), "from H port");
    }

    #[test]
    fn wildcards_are_told_from_the_daemons_own_words() {
        let Template(pieces) =
            Template::of(r"^fail \w+ for .* in \d+ (?:(?!a).)*?$", 0).expect("one");
        let wild = pieces.iter().filter(|piece| matches!(piece, Piece::Wild(_))).count();
        assert_eq!(wild, 2, "{pieces:?}");
        let Template(pieces) = Template::of(r"^\S+ failed", 0).expect("one");
        assert_eq!(pieces[0], Piece::Word("pve".to_owned()));
    }
}
