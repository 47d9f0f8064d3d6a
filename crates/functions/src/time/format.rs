//! How times are written in a column: `1:HOURS:EPOCH`, `SIMPLE_DATE_FORMAT|yyyyMMdd|Europe/Berlin`,
//! `TIMESTAMP`; and granularities: `15:MINUTES`, `DAYS|1`.

use datafusion::common::Result;

use super::pattern::{Pattern, plain};
use super::unit::{Field, TimeUnit};
use super::zone::Zone;
use crate::arguments::wrong;

#[derive(Clone, Debug)]
pub(crate) enum Format {
    Epoch { unit: TimeUnit, size: i64 },
    Timestamp,
    Text { pattern: Pattern, zone: Zone },
}

impl Format {
    pub(crate) fn parse(text: &str, function: &str) -> Result<Self> {
        let fault = || {
            wrong(format!(
                "{function}: `{text}` is no format of times; known are 1:HOURS:EPOCH or \
                 EPOCH|HOURS|1, 1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd or \
                 SIMPLE_DATE_FORMAT|yyyyMMdd|Europe/Berlin, and TIMESTAMP"
            ))
        };
        let size = |text: &str| text.trim().parse().ok().filter(|size| *size > 0i64);
        if text.trim().starts_with(|c: char| c.is_ascii_digit()) {
            let parts: Vec<&str> = text.splitn(4, ':').collect();
            let (Some(size), [_, unit, kind, rest @ ..]) = (size(parts[0]), &parts[..]) else {
                return Err(fault());
            };
            return match (kind.to_ascii_uppercase().as_str(), rest) {
                ("EPOCH", []) => Ok(Self::Epoch {
                    unit: TimeUnit::parse(unit, function)?,
                    size,
                }),
                ("TIMESTAMP", []) => Ok(Self::Timestamp),
                ("SIMPLE_DATE_FORMAT", [pattern]) => Self::text(pattern, None, function),
                _ => Err(fault()),
            };
        }
        let parts: Vec<&str> = text.split('|').map(str::trim).collect();
        match (parts[0].to_ascii_uppercase().as_str(), &parts[1..]) {
            ("TIMESTAMP", []) => Ok(Self::Timestamp),
            ("EPOCH", []) => Ok(Self::Epoch {
                unit: TimeUnit::Milliseconds,
                size: 1,
            }),
            ("EPOCH", [unit, rest @ ..]) => Ok(Self::Epoch {
                unit: TimeUnit::parse(unit, function)?,
                size: match rest {
                    [] => 1,
                    [one] => size(one).ok_or_else(fault)?,
                    _ => return Err(fault()),
                },
            }),
            ("SIMPLE_DATE_FORMAT", []) => Self::text("yyyy-MM-dd'T'HH:mm:ssZZ", None, function),
            ("SIMPLE_DATE_FORMAT", [pattern]) => Self::text(pattern, None, function),
            ("SIMPLE_DATE_FORMAT", [pattern, zone]) => Self::text(pattern, Some(zone), function),
            _ => Err(fault()),
        }
    }

    /// A zone may stand behind the pattern too: `yyyyMMdd tz(Europe/Berlin)`.
    fn text(pattern: &str, zone: Option<&str>, function: &str) -> Result<Self> {
        let lower = pattern.to_ascii_lowercase();
        let (pattern, zone) = match (lower.rfind("tz("), pattern.trim_end().strip_suffix(')')) {
            (Some(at), Some(inside)) => (pattern[..at].trim_end(), Some(&inside[at + 3..])),
            _ => (pattern, zone),
        };
        Ok(Self::Text {
            pattern: Pattern::parse(pattern, function)?,
            zone: match zone {
                Some(zone) => Zone::parse(zone, function)?,
                None => Zone::Utc,
            },
        })
    }

    pub(crate) fn is_epoch_ms(&self) -> bool {
        matches!(
            self,
            Self::Epoch {
                unit: TimeUnit::Milliseconds,
                size: 1
            }
        )
    }

    /// Of a number; texts are read by [`Self::read`].
    pub(crate) fn ms_of(&self, value: i64) -> i64 {
        match self {
            Self::Epoch { unit, size } => unit.to_ms(value.saturating_mul(*size)),
            _ => value,
        }
    }

    /// Of a text; numbers are counted, whatever they are written as.
    pub(crate) fn read(&self, text: &str) -> Option<i64> {
        match self {
            Self::Text { pattern, zone } => pattern.read(text, *zone),
            Self::Epoch { .. } => text.trim().parse().ok().map(|value| self.ms_of(value)),
            Self::Timestamp => super::text::time_of(text),
        }
    }

    pub(crate) fn write(&self, ms: i64, to: &mut String) -> Option<()> {
        match self {
            Self::Text { pattern, zone } => pattern.write(ms, *zone, to),
            _ => plain(ms, to),
        }
    }
}

/// Epoch milliseconds of a literal in a format.
pub fn time_in(text: &str, format: &str, function: &str) -> Result<i64> {
    let read = Format::parse(format, function)?.read(text);
    read.ok_or_else(|| wrong(format!("{function}: `{text}` is no time as `{format}`")))
}

/// Milliseconds of a granularity, `15:MINUTES`.
pub fn granularity_of(text: &str, function: &str) -> Result<i64> {
    let Granularity { size, unit } = Granularity::parse(text, function)?;
    Ok(unit.to_ms(size))
}

/// What times are cut to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granularity {
    pub(crate) size: i64,
    pub(crate) unit: TimeUnit,
}

impl Granularity {
    pub(crate) fn parse(text: &str, function: &str) -> Result<Self> {
        let fault = || {
            wrong(format!(
                "{function}: `{text}` is no granularity; 15:MINUTES or MINUTES|15 is"
            ))
        };
        let (size, unit) = match (text.split_once(':'), text.split_once('|')) {
            (Some((size, unit)), _) | (None, Some((unit, size))) => (size, unit),
            (None, None) => ("1", text),
        };
        let size = size.trim().parse().ok().filter(|size| *size > 0i64);
        Ok(Self {
            size: size.ok_or_else(fault)?,
            unit: TimeUnit::parse(unit, function)?,
        })
    }

    /// Multiples since the epoch, or, with a zone or for months and years, those of the calendar.
    pub(crate) fn floor(self, ms: i64, zone: Option<Zone>) -> Option<i64> {
        let length = self.unit.ms().checked_mul(self.size);
        match (zone, length) {
            (None, Some(length @ 1..)) => {
                // Below a millisecond everything is whole.
                let is_fine = self.unit.field().is_none();
                Some(if is_fine {
                    ms
                } else {
                    ms - ms.rem_euclid(length)
                })
            }
            _ => self.floor_in(ms, zone.unwrap_or(Zone::Utc)),
        }
    }

    /// The begin of its unit, at a multiple within the next greater unit.
    fn floor_in(self, ms: i64, zone: Zone) -> Option<i64> {
        let Some(field) = self.unit.field() else {
            return Some(ms);
        };
        if self.size == 1 {
            return field.floor(ms, zone);
        }
        let within = match field {
            Field::Millisecond => Field::Second,
            Field::Second => Field::Minute,
            Field::Minute => Field::Hour,
            Field::Hour => Field::Day,
            Field::Day => Field::Month,
            Field::Week | Field::Month | Field::Quarter => Field::Year,
            Field::Year => {
                let local = Field::Year.floor_local(zone.to_local(ms))?;
                let years = TimeUnit::Years.of_ms(local) + 1970;
                let begin = years - years.rem_euclid(self.size);
                return Some(zone.to_utc(TimeUnit::Years.to_ms(begin - 1970)));
            }
        };
        let local = zone.to_local(ms);
        let (begin, own) = (within.floor_local(local)?, field.floor_local(local)?);
        let count = field.between(begin, own)?;
        let floor = field.add(count - count.rem_euclid(self.size), begin, Zone::Utc)?;
        Some(match field {
            Field::Millisecond | Field::Second | Field::Minute => ms - (local - floor),
            _ => zone.to_utc(floor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_in_their_forms() {
        for (text, value, ms) in [
            ("1:HOURS:EPOCH", 2, 7_200_000),
            ("5:MINUTES:EPOCH", 2, 600_000),
            ("EPOCH|SECONDS|10", 2, 20_000),
            ("EPOCH|DAYS", 1, 86_400_000),
            ("EPOCH", 7, 7),
            ("1:MILLISECONDS:TIMESTAMP", 7, 7),
            ("timestamp", 7, 7),
        ] {
            assert_eq!(Format::parse(text, "f").unwrap().ms_of(value), ms, "{text}");
        }
        for (text, value, ms) in [
            ("1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd", "19700102", 86_400_000),
            (
                "1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd tz(Asia/Kolkata)",
                "19700102",
                66_600_000,
            ),
            (
                "SIMPLE_DATE_FORMAT|yyyy-MM-dd HH:mm|Asia/Kolkata",
                "1970-01-02 05:30",
                86_400_000,
            ),
            ("SIMPLE_DATE_FORMAT", "1970-01-01T01:00:00+01:00", 0),
        ] {
            assert_eq!(
                Format::parse(text, "f").unwrap().read(value),
                Some(ms),
                "{text}"
            );
        }
        for text in [
            "",
            "1:DAYS",
            "0:DAYS:EPOCH",
            "1:FORTNIGHTS:EPOCH",
            "EPOCH|DAYS|1|2",
            "x|y",
        ] {
            assert!(Format::parse(text, "F").is_err(), "{text}");
        }
    }

    #[test]
    fn granularities_cut() {
        let floor = |text: &str, ms: i64, zone: Option<&str>| {
            let zone = zone.map(|zone| Zone::parse(zone, "f").unwrap());
            Granularity::parse(text, "f")
                .unwrap()
                .floor(ms, zone)
                .unwrap()
        };
        let ms = 1_719_841_507_987; // 2024-07-01 13:45:07.987
        assert_eq!(floor("15:MINUTES", ms, None), 1_719_841_500_000);
        assert_eq!(floor("MINUTES|30", ms, None), 1_719_840_600_000);
        assert_eq!(floor("7:DAYS", ms, None) % (7 * 86_400_000), 0);
        assert_eq!(floor("1:MICROSECONDS", ms, None), ms);
        assert_eq!(
            floor("1:DAYS", ms, Some("America/New_York")),
            1_719_806_400_000
        );
        assert_eq!(
            floor("6:HOURS", ms, Some("America/New_York")),
            1_719_828_000_000
        );
        assert_eq!(floor("2:DAYS", ms, Some("UTC")), 1_719_792_000_000);
        assert_eq!(floor("1:MONTHS", ms, None), 1_719_792_000_000);
        assert_eq!(floor("1:YEARS", ms, None), 1_704_067_200_000);
        assert_eq!(floor("10:YEARS", ms, None), 1_577_836_800_000);
        assert!(Granularity::parse("0:DAYS", "f").is_err());
    }
}
