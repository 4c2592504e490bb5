//! What a date says, and the point in time that it means.
//!
//! Input: the text of a date's parts, or numbers of them. Output: a [`Timestamp`].
//! What a date leaves out is taken from the present: without a year it is the last one
//! that is not more than a day ahead, without a day it is the last such time of day.
//! Fractions of a second do not count, except in those of the epoch.

use jiff::civil::{self, DateTime};

use super::zone::{Zone, offset_minutes};
use crate::core::time::Timestamp;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// One part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    YearOfCentury,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    HourOfTwelve,
    AmPm,
    Minute,
    Second,
    WeekdayName,
    /// From Sunday, which is 0.
    Weekday,
    WeekFromSunday,
    WeekFromMonday,
    Zone,
    /// Seconds since the epoch with an optional fraction.
    Epoch,
    /// The same; with 13 digits milliseconds, with 16 microseconds.
    LongEpoch,
    /// TAI64N in hexadecimal.
    Tai64n,
}

/// What a date says of its zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum ZoneSaid {
    #[default]
    Nothing,
    /// Minutes ahead of UTC.
    Ahead(i32),
    /// A name that stands for no offset.
    Unknown,
}

/// A date in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub year: Option<i16>,
    pub month: Option<i8>,
    pub day: Option<i8>,
    pub hour: i8,
    pub minute: i8,
    pub second: i8,
    pub zone: ZoneSaid,
    /// The whole of it, for dates that need no calendar.
    pub instant: Option<Timestamp>,
    pub rest: Rest,
}

/// Parts that hardly any date has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    hour_of_twelve: Option<i8>,
    afternoon: Option<bool>,
    day_of_year: Option<i16>,
    /// Days after Monday.
    weekday: Option<i16>,
    week: Option<i16>,
    week_from_monday: bool,
}

impl Fields {
    /// Takes one part in. Nothing when its text makes no sense.
    pub(super) fn set(&mut self, field: Field, text: &str) -> Option<()> {
        match field {
            Field::Year => self.year = Some(text.parse().ok()?),
            Field::YearOfCentury => {
                let year: i16 = text.parse().ok()?;
                self.year = Some(if year <= 2000 { year + 2000 } else { year });
            }
            Field::Month => self.month = Some(text.parse().ok()?),
            Field::MonthName => self.month = Some(month(text.as_bytes())?),
            // A day below ten may have a blank before it.
            Field::Day => self.day = Some(text.trim_start().parse().ok()?),
            Field::DayOfYear => self.rest.day_of_year = Some(text.parse().ok()?),
            Field::Hour => self.hour = text.parse().ok()?,
            Field::HourOfTwelve => {
                self.rest.hour_of_twelve = Some(text.trim_start().parse().ok()?);
            }
            Field::AmPm => self.rest.afternoon = Some(text.eq_ignore_ascii_case("pm")),
            Field::Minute => self.minute = text.parse().ok()?,
            Field::Second => self.second = text.parse().ok()?,
            Field::WeekdayName => self.rest.weekday = Some(weekday(text)?),
            Field::Weekday => self.rest.weekday = Some((text.parse::<i16>().ok()? + 6) % 7),
            Field::WeekFromSunday | Field::WeekFromMonday => {
                self.rest.week = Some(text.parse().ok()?);
                self.rest.week_from_monday = field == Field::WeekFromMonday;
            }
            Field::Zone => {
                self.zone = offset_minutes(text).map_or(ZoneSaid::Unknown, ZoneSaid::Ahead);
            }
            Field::Epoch => self.instant = Some(epoch(text, false)?),
            Field::LongEpoch => self.instant = Some(epoch(text, true)?),
            Field::Tai64n => {
                let seconds = text.get(2..17)?;
                let seconds = i64::from_str_radix(seconds, 16).ok()?;
                self.instant = Some(Timestamp::from_seconds(seconds));
            }
        }
        Some(())
    }

    /// The hour from 0 to 23.
    fn hour(&self) -> i8 {
        let Some(hour) = self.rest.hour_of_twelve else { return self.hour };
        hour % 12 + if self.rest.afternoon == Some(true) { 12 } else { 0 }
    }

    /// Month and day of a date that says them in another way.
    fn day_in_year(&self, year: i16) -> Option<(i8, i8)> {
        let first = civil::Date::new(year, 1, 1).ok()?;
        let day_of_year = match (self.rest.day_of_year, self.rest.week, self.rest.weekday) {
            (Some(day), _, _) => day,
            (None, Some(week), Some(weekday)) => {
                let shift = i16::from(!self.rest.week_from_monday);
                let first = i16::from(first.weekday().to_monday_zero_offset());
                let (first, weekday) = ((first + shift) % 7, (weekday + shift) % 7);
                // Week 0 holds the days before the first whole week.
                match week {
                    0 => 1 + weekday - first,
                    _ => 1 + (7 - first) % 7 + (week - 1) * 7 + weekday,
                }
            }
            _ => return None,
        };
        let date = first.checked_add(jiff::Span::new().days(i64::from(day_of_year) - 1)).ok()?;
        Some((date.month(), date.day()))
    }

    /// The point in time, seen from `now`. Nothing for a day that no calendar has.
    fn resolve(&self, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let offset = match self.zone {
            ZoneSaid::Nothing => None,
            ZoneSaid::Ahead(minutes) => Some(i64::from(minutes) * 60_000_000),
            ZoneSaid::Unknown => return None,
        };
        let instant = |civil: DateTime| match offset {
            None => zone.instant(civil, now),
            Some(ahead) => {
                let utc = Zone::default().instant(civil, now)?;
                Some(Timestamp::from_micros(utc.micros() - ahead))
            }
        };
        let today = match offset {
            None => zone.civil(now)?,
            Some(ahead) => Zone::default().civil(Timestamp::from_micros(now.micros() + ahead))?,
        };
        let year = self.year.unwrap_or(today.year());
        let (month, day) = match (self.month, self.day) {
            (Some(month), Some(day)) => (Some(month), Some(day)),
            (month, day) => match self.day_in_year(year) {
                Some((month, day)) => (Some(month), Some(day)),
                None => (month, day),
            },
        };
        let at = |year, month, day| {
            // Leap seconds have no place of their own.
            DateTime::new(year, month, day, self.hour(), self.minute, self.second.min(59), 0).ok()
        };
        let (month, day) = match (month, day) {
            (None, None) => {
                let found = instant(at(year, today.month(), today.day())?)?;
                if self.year.is_some() || found <= now {
                    return Some(found);
                }
                let yesterday = jiff::Span::new().days(-1);
                return instant(at(year, today.month(), today.day())?.checked_add(yesterday).ok()?);
            }
            (month, day) => (month?, day?),
        };
        let latest = now.micros().saturating_add(DAY);
        if self.year.is_some() {
            return instant(at(year, month, day)?);
        }
        // The last such day, which for 29 February is up to eight years ago.
        let mut candidates = (0..=8).filter_map(|ago| instant(at(year - ago, month, day)?));
        candidates.find(|found| found.micros() <= latest)
    }
}

/// The last conversion, because most lines are logged in the same minute as the one
/// before.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    known: Option<(Minute, i64)>,
}

/// All that the begin of a minute follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Minute {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    zone: ZoneSaid,
    /// The minute in which they are read: what a date leaves out depends on it, and which
    /// one is meant where a clock shows the same hour twice.
    read: i64,
}

impl Clock {
    /// The point in time that a date means, seen from `now`.
    pub(super) fn instant(
        &mut self,
        fields: &Fields,
        now: Timestamp,
        zone: &Zone,
    ) -> Option<Timestamp> {
        if fields.instant.is_some() {
            return fields.instant;
        }
        if fields.rest != Rest::default() || fields.day.is_none() {
            return fields.resolve(now, zone);
        }
        let minute = Minute {
            year: fields.year,
            month: fields.month,
            day: fields.day,
            hour: fields.hour,
            minute: fields.minute,
            zone: fields.zone,
            read: now.micros().div_euclid(60_000_000),
        };
        let begin = match self.known {
            Some((known, begin)) if known == minute => begin,
            _ => {
                let begin = Fields { second: 0, ..*fields }.resolve(now, zone)?.micros();
                self.known = Some((minute, begin));
                begin
            }
        };
        let second = i64::from(fields.second.clamp(0, 59));
        Some(Timestamp::from_micros(begin + second * 1_000_000))
    }
}

/// The number of a month by its English name or the first three letters of it.
pub(super) fn month(name: &[u8]) -> Option<i8> {
    let [a, b, c] = name.get(..3)?.try_into().ok()?;
    let letters = [a, b, c].map(|letter: u8| letter | 0x20);
    Some(match &letters {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

/// Days after Monday.
fn weekday(name: &str) -> Option<i16> {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let name = name.get(..3)?;
    (0..).zip(days).find(|(_, day)| name.eq_ignore_ascii_case(day)).map(|(number, _)| number)
}

/// Seconds since the epoch, with a fraction; in the long form also milliseconds and
/// microseconds, told by the number of digits.
fn epoch(text: &str, long: bool) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number: i64 = whole.parse().ok()?;
    let (unit, digits) = match whole.len() {
        16.. if long => (1, 0),
        13.. if long => (1_000, 3),
        _ => (1_000_000, 6),
    };
    let mut micros = number.checked_mul(unit)?;
    let mut place = unit / 10;
    for digit in fraction.bytes().take(digits) {
        micros += i64::from(digit.checked_sub(b'0')?) * place;
        place /= 10;
    }
    Some(Timestamp::from_micros(micros))
}
