//! The way of one text through the states.
//!
//! Input: a text. Output: where it matches, and the path that led there. Invariant: what
//! is passed over at once leads where its bytes lead one by one.
//!
//! Most of a log line are words that its daemon always says, or text that leaves the
//! state as it is. Of the former it is remembered what eight bytes lead to after a state:
//! where they come again, one comparison stands for eight steps. The latter is one entry
//! of the path, however long it is, and passed over sixteen bytes at once in a state that
//! no printable character changes.

use super::super::program::Program;
use super::hints::{Calm, Stretch, Table, walk_on};
use super::leaps::LEAP;
use super::{
    Cache, DEAD, Found, GIVE_UP, LOOP, MARK, NO_PATTERN, PATH, PATTERN_AT, PLAIN, RUN, STATE,
    STEPPED, Stop, UNKNOWN, entry, next_of, steps_of,
};

/// What ended a stretch of steps.
enum Ended {
    /// The bytes that it was for.
    Bytes,
    /// A state that led to itself for a while.
    Loop,
    /// No thread is left.
    Dead,
}

/// Where a search is.
pub(super) struct Position {
    pub state: u32,
    pub at: usize,
    /// Entries of the path.
    pub path: usize,
    pub found: Option<Found>,
    /// The path was too long; its beginning is lost.
    pub lost: bool,
}

impl Cache {
    /// Where the first expression from `from` on matches. Its path is [`PATH`] long if some of
    /// it is lost.
    pub(super) fn run(
        &mut self,
        program: &Program,
        text: &[u8],
        from: usize,
    ) -> Result<Option<Found>, Stop> {
        let state = self.start(program, from)?;
        let mut position = Position { state, at: 0, path: 0, found: None, lost: false };
        // Each byte and the text's end add one entry at most, a leap less than it has bytes.
        let room = (text.len() + LEAP).min(PATH);
        if self.path.len() < room {
            self.path.resize(room, 0);
        }
        let mut dead = false;
        while position.at < text.len() && !dead {
            let (mut begin, mut last) = (None, text.len());
            if let Some(bytes) = text[position.at..].first_chunk::<LEAP>()
                && (self.hints[position.state as usize].leaps || self.leaps.may_look())
            {
                match self.leap(*bytes, &mut position) {
                    Ok(()) => continue,
                    Err(wanted) => begin = wanted,
                }
            }
            if let Some(begin) = &begin {
                last = begin.at + LEAP;
            }
            let mut more = true;
            while more {
                let ended = self.steps(program, &text[..last], &mut position)?;
                dead = matches!(ended, Ended::Dead);
                more = begin.is_some() && !dead && position.at < last;
            }
            if let Some(begin) = begin {
                self.learn(&begin, &position);
            }
        }
        if !dead {
            self.closer(program, program.end_class(), &mut position)?;
        }
        if position.lost {
            position.found = position.found.map(|found| Found { path: PATH, ..found });
        }
        Ok(position.found)
    }

    /// Steps over bytes one by one.
    #[inline]
    fn steps(
        &mut self,
        program: &Program,
        text: &[u8],
        position: &mut Position,
    ) -> Result<Ended, Stop> {
        while position.at < text.len() {
            self.make_room(position);
            let table = Table { program, entries: &self.table, width: self.width };
            let from = (position.state, position.at);
            let path = &mut self.path[position.path..];
            let Stretch { state, at, count, next } =
                walk_on(table, &mut self.hints, path, from, text);
            (position.state, position.at) = (state, at);
            position.path += count;
            if next >= MARK {
                let class = usize::from(program.classes[usize::from(text[position.at])]);
                if self.closer(program, class, position)? {
                    return Ok(Ended::Dead);
                }
            } else if next >= LOOP {
                self.stay(program, text, position)?;
                return Ok(Ended::Loop);
            }
        }
        Ok(Ended::Bytes)
    }

    /// Notes steps, taken before the byte that comes next and before so many more.
    fn push(&mut self, position: &mut Position, steps: u32, more: usize) -> Result<(), Stop> {
        let place = |place: usize| u32::try_from(place).map_err(|_| Stop);
        let (mut at, more) = (place(position.at)?, place(more)?);
        if more > 0 {
            self.make_room(position);
            self.path[position.path] = entry(more, PLAIN);
            position.path += 1;
            at |= RUN;
        }
        self.make_room(position);
        self.path[position.path] = entry(at, steps);
        position.path += 1;
        Ok(())
    }

    /// Gives the path's beginning up if there is no room for one more entry.
    fn make_room(&self, position: &mut Position) {
        if position.path >= self.path.len() {
            (position.path, position.lost) = (0, true);
        }
    }

    /// A step that needs a closer look. Returns whether no thread is left.
    fn closer(
        &mut self,
        program: &Program,
        class: usize,
        position: &mut Position,
    ) -> Result<bool, Stop> {
        let place = self.row(position.state) + class;
        if next_of(self.table[place]) == UNKNOWN {
            self.compute(program, position.state, class)?;
        }
        let (next, steps) = (next_of(self.table[place]), steps_of(self.table[place]));
        if next == GIVE_UP {
            return Err(Stop);
        }
        if next & STEPPED != 0 {
            let begin = steps as usize;
            if self.steps[begin + PATTERN_AT].first_write != NO_PATTERN {
                position.found = Some(Found { at: position.at, steps: begin, path: position.path });
            }
            self.push(position, steps, 0)?;
        }
        position.state = next & STATE;
        position.at += 1;
        Ok(position.state == DEAD)
    }

    /// Passes over the bytes that leave a state as it is by the same steps as the next one
    /// does.
    #[inline(never)]
    fn stay(
        &mut self,
        program: &Program,
        text: &[u8],
        position: &mut Position,
    ) -> Result<(), Stop> {
        let state = position.state;
        if let Calm::Unknown(_) = self.hints[state as usize].calm {
            let is_calm = self.is_calm(program, state)?;
            self.hints[state as usize].calm = if is_calm { Calm::Yes } else { Calm::No };
        }
        let row = self.row(state)..self.row(state) + self.width;
        let class = |byte: u8| usize::from(program.classes[usize::from(byte)]);
        let rest = &text[position.at..];
        let row = &self.table[row];
        let entry = rest.first().map_or(0, |byte| row[class(*byte)]);
        let mut stayed = 0;
        let hint = &self.hints[state as usize];
        if hint.calm == Calm::Yes && row[class(b' ')] == entry {
            let is_printable = |byte: u8| byte.wrapping_sub(b' ') < 0x60;
            let printable =
                |chunk: &&[u8; 16]| chunk.iter().fold(true, |all, byte| all & is_printable(*byte));
            stayed = rest.as_chunks().0.iter().take_while(printable).count() * 16;
            while rest.get(stayed).is_some_and(|byte| is_printable(*byte)) {
                stayed += 1;
            }
        }
        let stays = |byte: &&u8| hint.leads(**byte, entry) || row[class(**byte)] == entry;
        stayed += rest[stayed..].iter().take_while(stays).count();
        if next_of(entry) & STEPPED != 0 {
            self.push(position, steps_of(entry), stayed.saturating_sub(1))?;
        }
        position.at += stayed;
        Ok(())
    }

    /// Whether every byte from the space to the end of ASCII leaves a state as it is, by
    /// the same steps.
    #[cold]
    fn is_calm(&mut self, program: &Program, state: u32) -> Result<bool, Stop> {
        let class = |byte: u8| usize::from(program.classes[usize::from(byte)]);
        for byte in b' '..0x80 {
            let place = self.row(state) + class(byte);
            if next_of(self.table[place]) == UNKNOWN {
                self.compute(program, state, class(byte))?;
            }
            let entry = self.table[place];
            let loops = (LOOP..MARK).contains(&next_of(entry));
            if !loops || entry != self.table[self.row(state) + class(b' ')] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
