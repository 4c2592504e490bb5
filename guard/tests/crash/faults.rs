//! What goes wrong, and when: a plan that is worked off as the agent reaches places at
//! which something can.
//!
//! Input: a plan, and each place that is reached. Output: whether what is about to happen
//! there happens. Invariant: once the agent is dead nothing happens any more until
//! [`recovered`], and the same plan on the same timeline does the same.

use std::cell::RefCell;
use std::collections::VecDeque;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The agent is killed; the number decides what of a write in hand was done.
    Kill(u64),
    /// The machine loses power; the number decides what of the unsynced writes is on the
    /// disk.
    PowerLoss(u64),
    /// So many writes find the disk full.
    Full(u8),
    /// So many writes or syncs fail.
    Broken(u8),
    /// The kernel refuses so many changes.
    Refused(u8),
    /// The store wants all that is known.
    Lacking,
}

/// A fault after so many further places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) after: u16,
    pub(crate) fault: Fault,
}

/// Where something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before a change of a file.
    Write,
    /// Before a sync of a file.
    Sync,
    /// Before or after a transaction.
    Transaction,
    /// Before a change of the kernel, and before each job of the enforcer.
    Kernel,
}

/// Why what was about to happen does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The agent dies here: the number of the [`Fault`].
    Struck(u64),
    /// The agent is dead already.
    Dead,
    Full,
    Broken,
    Refused,
}

/// How the agent died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Kill,
    PowerLoss(u64),
}

#[derive(Default)]
struct Course {
    plan: VecDeque<Planned>,
    death: Option<Death>,
    full: u8,
    broken: u8,
    refused: u8,
    lacking: bool,
}

thread_local! {
    static COURSE: RefCell<Course> = RefCell::default();
}

/// Begins with a plan.
pub(crate) fn plan(plan: &[Planned]) {
    COURSE.set(Course { plan: plan.iter().copied().collect(), ..Course::default() });
}

/// How the agent died, if it did.
pub(crate) fn death() -> Option<Death> {
    COURSE.with_borrow(|course| course.death)
}

/// The agent lives again, or another does.
pub(crate) fn recovered() {
    COURSE.with_borrow_mut(|course| course.death = None);
}

/// Whether the store wants all that is known; once for each time.
pub(crate) fn lacking() -> bool {
    COURSE.with_borrow_mut(|course| std::mem::take(&mut course.lacking))
}

/// Takes note that the agent got here.
pub(crate) fn reach(place: Place) -> Result<(), Failure> {
    COURSE.with_borrow_mut(|course| {
        if course.death.is_some() {
            return Err(Failure::Dead);
        }
        match course.plan.front_mut() {
            Some(Planned { after: 0, fault }) => {
                let fault = *fault;
                course.plan.pop_front();
                match fault {
                    Fault::Kill(number) => {
                        course.death = Some(Death::Kill);
                        return Err(Failure::Struck(number));
                    }
                    Fault::PowerLoss(number) => {
                        course.death = Some(Death::PowerLoss(number));
                        return Err(Failure::Struck(number));
                    }
                    Fault::Full(times) => course.full = times,
                    Fault::Broken(times) => course.broken = times,
                    Fault::Refused(times) => course.refused = times,
                    Fault::Lacking => course.lacking = true,
                }
            }
            Some(next) => next.after -= 1,
            None => {}
        }
        let (left, failure) = match place {
            Place::Write if course.full > 0 => (&mut course.full, Failure::Full),
            Place::Write | Place::Sync if course.broken > 0 => {
                (&mut course.broken, Failure::Broken)
            }
            Place::Kernel if course.refused > 0 => (&mut course.refused, Failure::Refused),
            _ => return Ok(()),
        };
        *left -= 1;
        Err(failure)
    })
}

/// Numbers that look random and are the same each time (splitmix64).
pub(crate) struct Numbers(pub u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).expect("small")).expect("small")
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
