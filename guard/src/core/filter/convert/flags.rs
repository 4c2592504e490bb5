//! Flags of an expression, and how far they reach.

/// Flags in effect. The engine knows `i` and `s`; the others change what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub ignore_case: bool,
    pub dot_all: bool,
    pub multi_line: bool,
    pub verbose: bool,
    pub ascii: bool,
}

impl Flags {
    /// Switches the flag of a letter.
    pub(super) fn set(&mut self, letter: char, on: bool) -> Result<(), String> {
        match letter {
            'i' => self.ignore_case = on,
            's' => self.dot_all = on,
            'm' => self.multi_line = on,
            'x' => self.verbose = on,
            'a' if on => self.ascii = true,
            'u' if on => self.ascii = false,
            _ => return Err(format!("flag `{letter}` is not supported")),
        }
        Ok(())
    }

    /// Those of both.
    pub(super) fn union(self, other: Self) -> Self {
        Self {
            ignore_case: self.ignore_case || other.ignore_case,
            dot_all: self.dot_all || other.dot_all,
            multi_line: self.multi_line || other.multi_line,
            verbose: self.verbose || other.verbose,
            ascii: self.ascii || other.ascii,
        }
    }
}

/// What expressions are searched in, and how they look at its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) enum Lines {
    /// One line.
    #[default]
    One,
    /// Several lines, of which only the first begin and the last end count.
    AsOne,
    /// Several lines, each with its begin and end.
    Each,
}
