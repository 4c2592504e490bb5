//! Which entries are new, whatever the clock said when they were written.
//!
//! libsystemd puts entries into the order of their sequence numbers only within what one
//! journald wrote. Else it goes by the clock, which may be set, and go back over a boot: then
//! entries of this boot would be taken for old ones and never be read, and old ones be read
//! again. Within a boot another clock counts that nobody sets. So this boot's entries are
//! read from their beginning once the others' are, from then on no other's, and of one boot
//! none that is older than what was read.
//!
//! Input: where reading begins, and the moments of entries. Output: what to do with them.
//! Invariant: entries of this boot come after all others, and no other's come after one of
//! them. Where the clock went back over a boot *and* journald had to begin a new file, what
//! lies further back than the boot before may be read again.

use systemd::id128::Id128;

use super::Start;

/// When an entry was received: in which boot, and microseconds since that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) boot: Id128,
    pub(super) micros: u64,
}

/// What has been read, by boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boots {
    stage: Stage,
    /// The last entry that was new.
    newest: Option<Moment>,
    /// The entry after which reading began, until a later one was read.
    begun_after: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody knows which boot is this one: all entries are new.
    All,
    /// All of them, until there is nothing more to read; then this boot's.
    Undecided(Id128),
    /// All but this boot's, whose turn comes when there is nothing more to read.
    Others(Id128),
    /// This boot's. What else comes only seems to be later.
    This(Id128),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It was not read before.
    New,
    /// It may be the one after which reading began.
    Begin,
    /// It was read before.
    Old,
    /// The same, and of another boot: libsystemd would take what this boot's journald writes
    /// next for older, and not give it.
    Stray,
    /// It is passed over for now, and comes later.
    Later,
}

impl Boots {
    /// What to begin with, if this is `boot`.
    pub(super) fn begin(boot: Option<Id128>, start: &Start) -> Self {
        let last = match start {
            Start::After(position) => moment_of(&position.place),
            Start::Since(_) => None,
        };
        let stage = match (boot, last) {
            (None, _) => Stage::All,
            (Some(boot), None) => Stage::Undecided(boot),
            (Some(boot), Some(last)) if last.boot == boot => Stage::This(boot),
            (Some(boot), Some(_)) => Stage::Others(boot),
        };
        Self { stage, newest: last, begun_after: last }
    }

    /// Whether nothing needs to be asked of entries.
    pub(super) fn takes_all(&self) -> bool {
        self.stage == Stage::All
    }

    /// Whether this boot's turn is yet to come.
    pub(super) fn reads_others(&self) -> bool {
        matches!(self.stage, Stage::Others(_))
    }

    /// What an entry of this moment is.
    pub(super) fn age(&self, moment: Moment) -> Age {
        match self.stage {
            Stage::All => return Age::New,
            Stage::Others(this) if this == moment.boot => return Age::Later,
            Stage::This(this) if this != moment.boot => return Age::Stray,
            Stage::Undecided(_) | Stage::Others(_) | Stage::This(_) => {}
        }
        let newest = self.newest.filter(|newest| newest.boot == moment.boot);
        if newest.is_some_and(|newest| moment.micros < newest.micros) {
            Age::Old
        } else if self.begun_after == Some(moment) {
            Age::Begin
        } else {
            Age::New
        }
    }

    /// Notes a new entry.
    pub(super) fn note(&mut self, moment: Moment) {
        self.newest = Some(moment);
        self.begun_after = self.begun_after.filter(|begun| *begun == moment);
    }

    /// The moment of the last entry that was new.
    pub(super) fn newest(&self) -> Option<Moment> {
        self.newest
    }

    /// When there is nothing more to read: the boot to whose beginning to go, if any. Say
    /// [`Self::turn`] once that is done.
    pub(super) fn ended(&mut self) -> Option<Id128> {
        match self.stage {
            Stage::Undecided(boot) => {
                self.stage = Stage::This(boot);
                None
            }
            Stage::Others(boot) => Some(boot),
            Stage::All | Stage::This(_) => None,
        }
    }

    /// The boot whose entries alone are new, if it is so.
    pub(super) fn this(&self) -> Option<Id128> {
        match self.stage {
            Stage::This(boot) => Some(boot),
            Stage::All | Stage::Undecided(_) | Stage::Others(_) => None,
        }
    }

    /// Goes on with a boot from its beginning.
    pub(super) fn turn(&mut self, boot: Id128) {
        *self = Self { stage: Stage::This(boot), newest: None, begun_after: None };
    }
}

/// The moment of the entry that a cursor names (`s=…;i=…;b=BOOT;m=MICROS;…`, in hexadecimal).
fn moment_of(cursor: &str) -> Option<Moment> {
    let part = |name: &str| cursor.split(';').find_map(|part| part.strip_prefix(name));
    let boot = Id128::from_cstr(part("b=")?).ok()?;
    Some(Moment { boot, micros: u64::from_str_radix(part("m=")?, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::Position;
    use crate::core::time::Timestamp;

    const HERE: &str = "0123456789abcdef0123456789abcdef";
    const THERE: &str = "fedcba9876543210fedcba9876543210";

    fn id(text: &str) -> Id128 {
        Id128::from_cstr(text).expect("an id")
    }

    fn at(boot: &str, micros: u64) -> Moment {
        Moment { boot: id(boot), micros }
    }

    fn after(boot: &str) -> Start {
        let place = format!("s=1f;i=2;b={boot};m=1f;t=4;x=5");
        let time = Timestamp::default();
        Start::After(Position { source: "journal".to_owned(), place, time })
    }

    #[test]
    fn in_the_same_boot_what_is_older_was_read() {
        let mut boots = Boots::begin(Some(id(HERE)), &after(HERE));
        assert!(!boots.reads_others());
        let ages = |boots: &Boots, micros: &[u64]| -> Vec<Age> {
            micros.iter().map(|micros| boots.age(at(HERE, *micros))).collect()
        };
        assert_eq!(ages(&boots, &[30, 31, 32]), [Age::Old, Age::Begin, Age::New]);
        assert_eq!(boots.age(at(THERE, 99)), Age::Stray);
        assert_eq!(boots.this(), Some(id(HERE)));
        boots.note(at(HERE, 31));
        assert_eq!(ages(&boots, &[31]), [Age::Begin], "others may have come with it");
        boots.note(at(HERE, 40));
        assert_eq!(ages(&boots, &[31, 40, 41]), [Age::Old, Age::New, Age::New]);
        assert_eq!(boots.ended(), None);
    }

    #[test]
    fn after_a_boot_the_others_come_first() {
        let mut boots = Boots::begin(Some(id(HERE)), &after(THERE));
        assert!(boots.reads_others());
        assert_eq!(boots.age(at(HERE, 1)), Age::Later);
        assert_eq!(boots.age(at(THERE, 30)), Age::Old);
        assert_eq!(boots.age(at(THERE, 32)), Age::New);
        assert_eq!(boots.ended(), Some(id(HERE)));
        boots.turn(id(HERE));
        assert_eq!(boots.age(at(HERE, 1)), Age::New);
        assert_eq!(boots.age(at(THERE, 99)), Age::Stray);
    }

    #[test]
    fn from_a_time_on_all_come_until_there_are_no_more() {
        for start in [Start::Since(Timestamp::default()), after("no id")] {
            let mut boots = Boots::begin(Some(id(HERE)), &start);
            assert_eq!(boots.age(at(THERE, 1)), Age::New);
            assert_eq!(boots.ended(), None);
            assert_eq!(boots.age(at(THERE, 1)), Age::Stray);
        }
        assert!(Boots::begin(None, &after(THERE)).takes_all());
    }
}
