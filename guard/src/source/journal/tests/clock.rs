//! A clock that is set back and forth, and boots: no entry is missed or given twice,
//! wherever the reader was stopped meanwhile.

use systemd::id128::Id128;

use super::*;

/// Seconds by which the clock is set after each entry.
const STEPS: [i64; 8] = [0, 3_600, -7_200, 40, -1, -86_400, 172_800, 0];

/// Reads what `write` writes in one go, and stopped after each entry of it and started anew.
fn nothing_is_missed(write: impl Fn(&mut Journal, usize), count: usize) {
    let begin = |journal: &Journal, start: Start| {
        let boot = Id128::from_cstr(journal.boot_id()).ok();
        assert!(boot.is_some());
        Reading::begin(Options { boot, ..journal.options(start) })
    };
    let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    for stop in 0..=count {
        let mut journal = Journal::new();
        let mut reading = begin(&journal, BEGINNING);
        (0..stop).for_each(|number| write(&mut journal, number));
        assert_eq!(reading.until(stop).messages(), names[..stop]);
        if stop > 0 {
            let (_, position) = reading.finish();
            (stop..count).for_each(|number| write(&mut journal, number));
            reading = begin(&journal, Start::After(position));
        } else {
            (stop..count).for_each(|number| write(&mut journal, number));
        }
        reading.until(count - stop);
        if stop < count {
            let (batches, position) = reading.finish();
            let entries = batches.iter().flat_map(|batch| &batch.entries);
            let rest: Vec<_> = entries.map(|entry| entry.message().to_owned()).collect();
            assert_eq!(rest, names[stop..], "stopped after {stop}");
            // And where that ended is the end.
            write(&mut journal, count);
            reading = begin(&journal, Start::After(position));
            assert_eq!(reading.until(1).messages(), [count.to_string()], "stopped after {stop}");
        }
    }
}

#[test]
fn steps_of_the_clock_in_one_file() {
    let write = |journal: &mut Journal, number: usize| {
        journal.append("system.journal", &[sshd(&number.to_string())]);
        journal.step(STEPS[number % STEPS.len()]);
    };
    nothing_is_missed(write, STEPS.len());
}

#[test]
fn steps_of_the_clock_with_a_rotation_after_each() {
    let write = |journal: &mut Journal, number: usize| {
        journal.append(&format!("system@{number}.journal"), &[sshd(&number.to_string())]);
        journal.step(STEPS[number % STEPS.len()]);
    };
    nothing_is_missed(write, STEPS.len());
}

/// Seconds by which the clock is set in the middle of a boot, and between it and the next.
type Boot = (i64, i64);
const DAY: i64 = 86_400;

/// In each boot something is read, the clock is set, more is read, and something is not.
fn boots(boots: &[Boot], file: impl Fn(usize) -> String) {
    let mut journal = Journal::new();
    let (mut start, mut unread) = (BEGINNING, Vec::new());
    for (boot, (within, after)) in boots.iter().enumerate() {
        let message = |number: usize| format!("{number} of boot {boot}");
        let mut expected: Vec<String> = std::mem::take(&mut unread);
        for number in 0..2 {
            expected.push(message(number));
            journal.append(&file(boot), &[sshd(&message(number))]);
        }
        let mut options = journal.options(start);
        options.boot = Id128::from_cstr(journal.boot_id()).ok();
        assert!(options.boot.is_some());
        let mut reading = Reading::begin(options);
        reading.until(expected.len());
        journal.step(*within);
        expected.push(message(2));
        journal.append(&file(boot), &[sshd(&message(2))]);
        reading.until(expected.len());
        let (batches, position) = reading.finish();
        let entries = batches.iter().flat_map(|batch| &batch.entries);
        let messages: Vec<_> = entries.map(|entry| entry.message().to_owned()).collect();
        assert_eq!(messages, expected, "in boot {boot}");
        for number in 3..5 {
            journal.append(&file(boot), &[sshd(&message(number))]);
            unread.push(message(number));
        }
        start = Start::After(position);
        journal.step(*after);
        journal.reboot();
    }
}

#[test]
fn boots_with_one_file() {
    let steps = [
        (0, 0),
        (0, 3_600),
        (-7_200, 0),
        (0, -7_200),
        (3_600, -DAY),
        (10, 1),
        (-3 * DAY, 0),
        (0, 0),
    ];
    boots(&steps, |_| "system.journal".to_owned());
}

/// As after boots that were cut off: journald begins anew to count its entries.
#[test]
fn boots_with_a_file_each() {
    let steps = [
        (0, DAY),
        (0, 3_600 + DAY),
        (-7_200, DAY),
        (0, -7_200),
        (DAY, DAY),
        (DAY, -3_600),
        (DAY, 1),
        (0, 0),
    ];
    boots(&steps, |boot| format!("system@{boot}.journal"));
}

/// The same with several files in each boot, whose entries only the other clock orders.
#[test]
fn boots_with_a_file_for_each_entry() {
    let number = std::cell::Cell::new(0);
    boots(&[(0, DAY), (-7_200, DAY), (3_600, DAY), (-60, 0)], |boot| {
        number.set(number.get() + 1);
        format!("system@{boot}-{}.journal", number.get())
    });
}

/// What is taken for old at the end of a batch does not have the batch read again.
#[test]
fn what_seems_to_be_old_takes_the_position_back_to_nothing() {
    let mut journal = Journal::new();
    let boot = Id128::from_cstr(journal.boot_id()).ok();
    let read = |journal: &Journal, start: Start, expected: &str| {
        let mut reading = Reading::begin(Options { boot, ..journal.options(start) });
        assert_eq!(reading.until(1).messages(), [expected]);
        Start::After(reading.finish().1)
    };
    journal.append("system.journal", &[sshd("0")]);
    let start = read(&journal, BEGINNING, "0");
    journal.append("system.journal", &[sshd("1")]);
    journal.monotonic -= 5_000_000;
    journal.append("system.journal", &[sshd("from before")]);
    let start = read(&journal, start, "1");
    journal.monotonic += 10_000_000;
    journal.append("system.journal", &[sshd("2")]);
    read(&journal, start, "2");
}
