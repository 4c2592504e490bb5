//! Time zones: the host's own, `logtimezone`, and those that a date names.
//!
//! Input: a zone's text, or a civil time. Output: an offset or a point in time.
//! Invariant: nothing here reads the host's settings; its zone comes in as a value.

use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::core::time::Timestamp;

/// Microseconds that a log's clock may be ahead of the reader's.
const AHEAD: i64 = 60_000_000;

/// The zone in which dates without one are meant. UTC unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// A zone of the time zone database, such as the host's own.
    pub fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// A zone as `logtimezone` writes it: `UTC`, `UTC+0200`, `-0530`, `CET`.
    ///
    /// # Errors
    /// What can be written.
    pub fn parse(text: &str) -> Result<Self, UnknownZone> {
        let minutes = offset_minutes(text.trim()).ok_or_else(|| UnknownZone(text.to_owned()))?;
        let offset = jiff::tz::Offset::from_seconds(minutes * 60);
        offset.map(|offset| Self(TimeZone::fixed(offset))).map_err(|_| UnknownZone(text.to_owned()))
    }

    /// The point in time that clocks of this zone show as `civil`, seen from `now`. Of two
    /// the later one, unless it is ahead: lines are read as they are written, and a failure
    /// that is taken for an hour old bans nobody. If clocks skip it, as far after the skip
    /// as it is after its begin.
    pub(super) fn instant(
        &self,
        civil: jiff::civil::DateTime,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(civil);
        let is_twice = matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. });
        let micros = |instant: jiff::Timestamp| Timestamp::from_micros(instant.as_microsecond());
        if is_twice {
            let later = micros(ambiguous.later().ok()?);
            if later.micros() <= now.micros().saturating_add(AHEAD) {
                return Some(later);
            }
        }
        ambiguous.compatible().ok().map(micros)
    }

    /// What clocks of this zone show.
    pub(super) fn civil(&self, time: Timestamp) -> Option<jiff::civil::DateTime> {
        let instant = jiff::Timestamp::from_microsecond(time.micros()).ok()?;
        Some(self.0.to_datetime(instant))
    }
}

/// Text that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone: write an offset such as UTC+0200, or an abbreviation such as CET")]
pub struct UnknownZone(String);

/// Minutes by which a zone is ahead of UTC: an abbreviation, an offset, or both, which
/// then add up. Abbreviations stand for fixed offsets.
pub(super) fn offset_minutes(text: &str) -> Option<i32> {
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(at);
    let base = if name.is_empty() && !offset.is_empty() { 0 } else { abbreviation(name)? };
    let Some(sign) = offset.chars().next() else { return Some(base) };
    let digits = &offset[1..];
    let (hours, minutes) = match digits.len() {
        2 => (digits, "0"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let number = |text: &str| {
        (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (hours, minutes): (i32, i32) = (number(hours)?, number(minutes)?);
    if hours > 19 {
        return None;
    }
    let offset = hours * 60 + minutes;
    Some(base + if sign == '-' { -offset } else { offset })
}

/// Abbreviations by their offset in minutes. Where one is used by several zones, the one
/// that Fail2Ban means.
const ABBREVIATIONS: [(i32, &str); 35] = [
    (-660, "NUT SST"),
    (-600, "CKT HAST HST TAHT TKT"),
    (-570, "MART MIT"),
    (-540, "AKST GAMT GIT HADT HNY"),
    (-480, "AKDT CIST HAY HNP PST PT"),
    (-420, "HAP HNR MST PDT"),
    (-360, "CST EAST GALT HAR HNC MDT"),
    (-300, "CDT COT EASST ECT EST ET HAC HNE PET"),
    (-270, "HLV VET"),
    (-240, "AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-210, "HNT NST NT"),
    (-180, "ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT"),
    (-150, "HAT NDT"),
    (-120, "BRST FNT PMDT UYST WGST"),
    (-60, "AZOT CVT EGT"),
    (0, "EGST GMT UTC WET WT"),
    (60, "CET DFT WAT WEDT WEST"),
    (120, "CAT CEDT CEST EET SAST WAST"),
    (180, "EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (300, "AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (330, "SLT"),
    (345, "NPT"),
    (360, "ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (480, "ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (540, "AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "AEST PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (720, "ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT"),
];

fn abbreviation(name: &str) -> Option<i32> {
    if let [letter] = name.as_bytes() {
        // Military zones: A to M are ahead, N to Y behind, J is none.
        return Some(match letter {
            b'Z' => 0,
            b'A'..=b'I' => i32::from(letter - b'A' + 1) * 60,
            b'K'..=b'M' => i32::from(letter - b'A') * 60,
            b'N'..=b'Y' => -i32::from(letter - b'N' + 1) * 60,
            _ => return None,
        });
    }
    if ["FJST", "NZDT"].contains(&name) {
        return Some(780);
    }
    let among = |names: &str| names.split(' ').any(|known| known == name);
    ABBREVIATIONS.iter().find(|(_, names)| among(names)).map(|(minutes, _)| *minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_offsets() {
        for (text, minutes) in [
            ("UTC", Some(0)),
            ("Z", Some(0)),
            ("A", Some(60)),
            ("M", Some(720)),
            ("N", Some(-60)),
            ("Y", Some(-720)),
            ("J", None),
            ("CEST", Some(120)),
            ("NPT", Some(345)),
            ("+0530", Some(330)),
            ("-05:30", Some(-330)),
            ("+02", Some(120)),
            ("UTC+0200", Some(120)),
            ("CET+0100", Some(120)),
            ("", None),
            ("XYZ", None),
            ("utc", None),
            ("+2", None),
            ("+0x00", None),
            ("+2000", None),
            ("CET+é", None),
        ] {
            assert_eq!(offset_minutes(text), minutes, "{text}");
        }
    }

    #[test]
    fn an_unknown_log_time_zone_is_named() {
        let error = Zone::parse("Mars").expect_err("no zone");
        assert!(error.to_string().starts_with("`Mars` is no time zone"));
        assert!(Zone::parse("UTC+0200").is_ok());
    }
}
