use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// Saturday, 14 November 2026, 12:00:00 UTC.
const NOW: i64 = 1_794_657_600;

fn zone() -> Zone {
    Zone::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"))
}

fn dates(pattern: &str) -> Dates {
    Dates::compile(pattern, zone()).unwrap_or_else(|(pattern, why)| panic!("{pattern}: {why}"))
}

/// The time of one line, and the line without its date.
fn read(dates: &Dates, line: &str) -> (Dating, String) {
    let dating = dates.read(line, Timestamp::from_seconds(NOW), &mut Memory::default());
    let rest = format!("{}{}", &line[..dating.cut.start], &line[dating.cut.end..]);
    (dating, rest)
}

/// Civil time in the tests' zone.
fn local(text: &str) -> Timestamp {
    let now = Timestamp::from_seconds(NOW);
    zone().instant(text.parse::<DateTime>().expect("a time"), now).expect("an instant")
}

#[test]
fn every_default_form() {
    let dates = dates("");
    for (line, time, rest) in [
        ("2005-01-23T21:59:59.981746+01:00 x", "2005-01-23T21:59:59", " x"),
        ("2005-01-23 21:59:59 x", "2005-01-23T21:59:59", " x"),
        ("2005/01/23  8:59:59 x", "2005-01-23T08:59:59", " x"),
        ("2006.12.21 06:43:20 x", "2006-12-21T06:43:20", " x"),
        ("2005-01-23T20:59:59Z x", "2005-01-23T21:59:59", " x"),
        ("2005-01-23T22:59:59 +0200 x", "2005-01-23T21:59:59", " x"),
        ("Sun Jan 23 21:59:59.011 2005 x", "2005-01-23T21:59:59", " x"),
        ("Sun Jan 23 2005 21:59:59.011 x", "2005-01-23T21:59:59", " x"),
        ("Jan 23 21:59:59 x", "2026-01-23T21:59:59", " x"),
        ("jAN  3 21:59:59 x", "2026-01-03T21:59:59", " x"),
        ("23/01/2005 21:59:59 x", "2005-01-23T21:59:59", " x"),
        ("17-07-08 17:23:25 x", "2008-07-17T17:23:25", " x"),
        ("[31/Oct/2006:09:22:55 -0000] x", "2006-10-31T10:22:55", "[] x"),
        ("26-Jul-2007 15:20:52.252 x", "2007-07-26T15:20:52", " x"),
        ("05/20/2008:01:57:39 x", "2008-05-20T01:57:39", " x"),
        ("01-27-2012 16:22:44.252 x", "2012-01-27T16:22:44", " x"),
        ("130322 11:46:11 x", "2013-03-22T11:46:11", " x"),
        ("<09/16/08@05:03:30> x", "2008-09-16T05:03:30", " x"),
        ("Apr 27, 2013 2:33:06 PM x", "2013-04-27T14:33:06", " x"),
        ("Apr 27, 2013 12:33:06 am x", "2013-04-27T00:33:06", " x"),
        ("Apr-27-13 02:33:06 x", "2013-04-27T02:33:06", " x"),
        ("20050123T215959 x", "2005-01-23T21:59:59", " x"),
        ("20050123-21:59:59 x", "2005-01-23T21:59:59", " x"),
        ("PDT Apr 16 14:05:29 x", "2026-04-16T23:05:29", " x"),
        ("+00:00 Apr 16 21:05:29 x", "2026-04-16T23:05:29", " x"),
        ("1106513999 x", "2005-01-23T21:59:59", " x"),
        ("[1106513999] x", "2005-01-23T21:59:59", "[] x"),
        ("audit(1106513999.000:7) x", "2005-01-23T21:59:59", "audit(:7) x"),
        ("@4000000041f4104f00000000 x", "2005-01-23T21:59:59", " x"),
        ("host: 2005-01-23 21:59:59 x", "2005-01-23T21:59:59", "host:  x"),
        ("11:46:11 x", "2026-11-14T11:46:11", " x"),
        ("14:46:11 x", "2026-11-13T14:46:11", " x"),
    ] {
        let (dating, found) = read(&dates, line);
        assert_eq!(dating.from, DateFrom::Line, "{line}");
        assert_eq!(dating.time, local(time), "{line}");
        assert_eq!(found, rest, "{line}");
    }
}

#[test]
fn what_looks_like_a_date_is_none() {
    let dates = dates("");
    for line in [
        "",
        "no date",
        "12345678901234 x",
        "x2005-01-23 21:59:59",
        "2005-13-23 21:59:59",
        "1905-01-23 21:59:59",
        "2005-01/23 21:59:59",
        "Foo 23 21:59:59",
    ] {
        let (dating, rest) = read(&dates, line);
        // A time of day may be left of it, but not at the begin of the line.
        assert_eq!((dating.from, rest.as_str()), (DateFrom::Reading, line));
        assert_eq!(dating.time, Timestamp::from_seconds(NOW));
    }
}

#[test]
fn a_year_that_is_missing_is_the_last_that_is_not_ahead() {
    let dates = dates("");
    for (line, time) in [
        ("Nov 14 13:00:00", "2026-11-14T13:00:00"),
        ("Nov 15 12:59:59", "2026-11-15T12:59:59"),
        ("Nov 15 13:01:00", "2025-11-15T13:01:00"),
        ("Dec 31 23:59:59", "2025-12-31T23:59:59"),
        ("Jan  1 00:00:00", "2026-01-01T00:00:00"),
        ("Feb 29 10:00:00", "2024-02-29T10:00:00"),
    ] {
        assert_eq!(read(&dates, line).0.time, local(time), "{line}");
    }
}

/// On 25 October 2026 clocks showed 02:00 to 03:00 twice: from 00:00 and from 01:00 UTC.
#[test]
fn an_hour_that_comes_twice_is_the_one_in_which_it_is_read() {
    let (dates, mut memory) = (dates(""), Memory::default());
    let midnight = 1_792_886_400;
    let mut read = |line: &str, now: i64| {
        let now = Timestamp::from_seconds(midnight + now);
        dates.read(line, now, &mut memory).time.seconds() - midnight
    };
    for (form, at) in [("2026-10-25 02:30:10 x", 1_810), ("Oct 25 02:30:10 x", 1_810)] {
        assert_eq!(read(form, at), at, "{form}");
        assert_eq!(read(form, at + 3_600), at + 3_600, "{form}");
        assert_eq!(read(form, at + 3_595), at + 3_600, "{form}: a clock that is ahead");
    }
    // The neighbours come once; what was skipped in spring is taken to lie behind the gap.
    assert_eq!(read("2026-10-25 01:59:59 x", 9_000), -1);
    assert_eq!(read("2026-10-25 03:00:00 x", 9_000), 7_200);
    let spring = local("2026-03-29T02:30:00").seconds();
    assert_eq!(spring, local("2026-03-29T03:30:00").seconds());
}

#[test]
fn a_line_without_date_is_as_old_as_the_one_before() {
    let (dates, mut memory) = (dates(""), Memory::default());
    let now = Timestamp::from_seconds(NOW);
    let mut time = |line| {
        let dating = dates.read(line, now, &mut memory);
        (dating.from, now.seconds() - dating.time.seconds())
    };
    assert_eq!(time("none"), (DateFrom::Reading, 0));
    assert_eq!(time("Nov 14 12:59:30 x"), (DateFrom::Line, 30));
    assert_eq!(time("none"), (DateFrom::EarlierLine, 30));
    assert_eq!(time("2026-02-30 12:59:30 x"), (DateFrom::EarlierLine, 30));
    assert_eq!(time("Nov 14 12:59:00 x"), (DateFrom::Line, 60));
    assert_eq!(time("none"), (DateFrom::Reading, 0));
}

#[test]
fn own_patterns() {
    for (pattern, line, time, rest) in [
        (r"^\[%Y-%m-%d %H:%M:%S\]", "[1999-01-02 03:04:05] x", "1999-01-02T03:04:05", " x"),
        ("^L %d/%m/%Y - %H:%M:%S", "L 02/01/2009 - 03:04:05: x", "2009-01-02T03:04:05", ": x"),
        (r"^[^\[]*\[({DATE})", "h [02/Jan/2009:03:04:05] x", "2009-01-02T03:04:05", "h [] x"),
        (r"^<co ts={DATE}\s+", "<co ts=2009-01-02T03:04:05 x", "2009-01-02T03:04:05", "x"),
        ("{^LN-BEG}%b %d, %ExY %l:%M %p", "Jan 2, 2009  3:04 PM x", "2009-01-02T15:04:00", " x"),
        ("t={EPOCH}", "a t=1230861845.500 x", "2009-01-02T03:04:05.5", "a  x"),
        ("t=({LEPOCH})", "t=1230861845000 x", "2009-01-02T03:04:05", "t= x"),
        ("%Y %j %H:%M", "2009 002 03:04 x", "2009-01-02T03:04:00", " x"),
        ("%Y %W %a %H:%M", "2009 00 Fri 03:04 x", "2009-01-02T03:04:00", " x"),
        (r"%Y(?P<_s>[-.])%m(?P=_s)%d", "2009.01.02 x", "2009-01-02T00:00:00", " x"),
        ("%d %B %Y %H%%%M", "2 january 2009 03%04 x", "2009-01-02T03:04:00", " x"),
        ("%c", "Fri Jan 02 03:04:05 2009 x", "2009-01-02T03:04:05", " x"),
        ("%Y-%m-%d\n%d.%m.%Y", "x 02.01.2009", "2009-01-02T00:00:00", "x "),
        ("%Y-%m-%d %H:%M %ExZ", "2009-01-02 02:04 UTC x", "2009-01-02T03:04:00", " x"),
        ("%Y-%m-%d %H:%M %Exz", "2009-01-02 02:04 CET-0100 x", "2009-01-02T03:04:00", " x"),
        ("**%Y-%m-%d**", "x2009-01-02x", "2009-01-02T00:00:00", "xx"),
    ] {
        let (dating, found) = read(&dates(pattern), line);
        assert_eq!((dating.time, found.as_str()), (local(time), rest), "{pattern}");
        assert_eq!(dating.from, DateFrom::Line, "{pattern}");
    }
}

#[test]
fn patterns_are_bound_as_they_say() {
    for (pattern, line, found) in [
        ("%Y-%m-%d", "x2009-01-02", false),
        ("%Y-%m-%d", "x 2009-01-02", true),
        ("{UNB}%Y-%m-%d", "x2009-01-02", true),
        ("{^LN-BEG}%Y-%m-%d", "x 2009-01-02", false),
        ("{^LN-BEG}%Y-%m-%d", "[ 2009-01-02", true),
        ("{^LN-BEG}%Y-%m-%d", "[< 2009-01-02", false),
        ("{^LN-BEG}EPOCH", "x 1230861845", false),
        ("{^LN-BEG}", "x 2009-01-02 03:04:05", false),
        ("{DEFAULT}", "x 2009-01-02 03:04:05", true),
        ("{NONE}", "2009-01-02 03:04:05", false),
        ("EPOCH", "2009-01-02 03:04:05", false),
        (r"^W:()**", "W: 2009-01-02 03:04:05", false),
        ("%Y-%m-%d$", "2009-01-02 x", false),
        ("%Y-%m-%d$", "x 2009-01-02", true),
    ] {
        let (dating, rest) = read(&dates(pattern), line);
        assert_eq!(dating.from == DateFrom::Line, found, "{pattern}: {line}");
        assert!(found || rest == line, "{pattern}: {line}");
    }
}

#[test]
fn a_pattern_that_cannot_be_used_is_named() {
    for pattern in ["%Q", "%", "(%Y", "%Ex", "a\n%Y-%m-%d [", "{DATE}("] {
        let (named, why) = Dates::compile(pattern, Zone::default()).expect_err(pattern);
        assert!(pattern.contains(&named) && !why.is_empty(), "{pattern}");
    }
}

#[test]
fn the_form_that_was_found_is_found_again_in_its_place() {
    let (dates, mut memory) = (dates(""), Memory::default());
    let now = Timestamp::from_seconds(NOW);
    let mut rest = |line: &str| {
        let cut = dates.read(line, now, &mut memory).cut;
        format!("{}{}", &line[..cut.start], &line[cut.end..])
    };
    for _ in 0..3 {
        assert_eq!(
            rest("h1 2026-11-14 12:00:00 at 2026-11-13 12:00:00"),
            "h1  at 2026-11-13 12:00:00"
        );
        assert_eq!(rest("Nov 14 12:00:00 2 x 2026-11-13 12:00:00"), " 2 x 2026-11-13 12:00:00");
    }
}

/// A time between 2000 and 2025, in whole seconds, away from changes of the clock.
fn times() -> impl Strategy<Value = Timestamp> {
    (946_684_800..1_735_689_600_i64).prop_map(Timestamp::from_seconds)
}

proptest! {
    #[test]
    fn what_is_written_is_read(time in times(), fraction in 0..1_000_000_u32, form in 0..14_usize) {
        let civil = zone().civil(time).expect("in range");
        let forms = [
            ("", format!("%Y-%m-%dT%H:%M:%S.{fraction:06}%z")),
            ("", "%Y-%m-%d %H:%M:%S%:z".to_owned()),
            ("", format!("%Y/%m/%d %H:%M:%S,{fraction:06}")),
            ("", "%a %b %d %H:%M:%S %Y".to_owned()),
            ("", format!("%a %b %d %Y %H:%M:%S.{fraction}")),
            ("", "%d/%m/%Y %H:%M:%S".to_owned()),
            ("", "[%d/%b/%Y:%H:%M:%S %z]".to_owned()),
            ("", "%m/%d/%Y:%H:%M:%S".to_owned()),
            ("", "%y%m%d %H:%M:%S".to_owned()),
            ("", "%b %d, %Y %I:%M:%S %p".to_owned()),
            ("", "%b-%d-%y %H:%M:%S".to_owned()),
            ("", "%Y%m%dT%H%M%S".to_owned()),
            ("%Y %j %H:%M:%S", "%Y %j %H:%M:%S".to_owned()),
            ("%A, %d. %B %y %k:%M:%S", "%A, %d. %B %y %k:%M:%S".to_owned()),
        ];
        let (pattern, written) = &forms[form];
        let zoned = jiff::Timestamp::from_second(time.seconds()).expect("in range");
        let zoned = zoned.to_zoned(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"));
        let line = format!("{} host x", zoned.strftime(written));
        // In the hour that comes twice only dates with a zone are certain.
        let now = Timestamp::from_seconds(NOW);
        let certain = written.contains('z') || zone().instant(civil, now) == Some(time);
        prop_assume!(certain);
        let (dating, rest) = read(&dates(pattern), &line);
        prop_assert_eq!(dating.time, time, "{}", line);
        prop_assert!(rest == " host x" || rest == "[] host x", "{}", line);
    }

    #[test]
    fn reading_by_hand_and_by_expression_agree(
        begin in r"[ \[<x(]{0,3}",
        date in prop_oneof![
            r"(Jan|Feb|nov|Mai) [ 0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]",
            r"20[0-9]{2}[-/.][01][0-9][-/.][0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]",
            r"[0-9]{9,12}",
        ],
        fraction in r"|[.,][0-9]{0,7}",
        end in r"(| |  |\t|:|\]|x|é|_|Z|ZZ|UTC|[+-][012][0-9](:?[0-9]{1,3})?| 20[0-9]{1,3}| [+-]0[0-9]00| Zx)x?",
    ) {
        let line = format!("{begin}{date}{fraction}{end}");
        for (form, pattern) in [
            (fast::Form::Iso, 0),
            (fast::Form::Syslog, 1),
            (fast::Form::Epoch, 7),
        ] {
            for anchored in [true, false] {
                let (by_hand, by_expression) = defaults::pair(pattern, anchored);
                prop_assert!(fast::read(form, line.as_bytes(), 0, anchored).is_none() || by_hand.find(&line, 0, line.len(), &mut None).is_some());
                let first = by_hand.find(&line, 0, line.len(), &mut None);
                let second = by_expression.find(&line, 0, line.len(), &mut None);
                prop_assert_eq!(first, second, "{}", line);
            }
        }
    }

    #[test]
    fn no_line_makes_it_panic(lines in prop::collection::vec(r"\PC{0,20}|([0-9]{1,4}[-/: T.,]){1,8}é?|(Jan )?[0-9 :é]{1,20}", 1..6)) {
        thread_local! {
            static DATES: Vec<Dates> = ["", "{^LN-BEG}", r"^[^\[]*\[({DATE})", "%Y-%m-%d", "{NONE}", "EPOCH"]
                .iter().map(|pattern| dates(pattern)).collect();
        }
        DATES.with(|all| for dates in all {
            let mut memory = Memory::default();
            for line in &lines {
                let dating = dates.read(line, Timestamp::from_seconds(NOW), &mut memory);
                assert!(line.get(dating.cut).is_some());
            }
        });
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in r"(\{\^LN-BEG\}|\{UNB\}|\^|\*\*|\()?(%[a-zA-Z%]|%Ex[YmdHMSyzZkl]|[\[\]() .*$\\?:-]|\{DATE\}|\{EPOCH\}){0,6}") {
        if let Ok(dates) = Dates::compile(&pattern, Zone::default()) {
            dates.read("2009-01-02 03:04:05 x", Timestamp::from_seconds(NOW), &mut Memory::default());
        }
    }
}
