//! PostgreSQL's TO_CHAR of numbers: digits as a pattern like `FM999,990.00` places them.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, literal};
use crate::rows::{Rows, TEXT};

/// Digits that a number may have in a pattern.
const DIGITS_MAX: usize = 60;
/// Letters behind the digits that mean something else to PostgreSQL.
const OTHER_LETTERS: [&str; 9] = ["S", "MI", "PL", "SG", "PR", "TH", "RN", "V", "EEEE"];

#[derive(Debug)]
struct Pattern<'a> {
    /// Neither blanks before the digits nor zeros behind them.
    fills: bool,
    prefix: &'a str,
    /// `9`, `0` and `,`.
    whole: String,
    /// `9` and `0`; `None`: there is no point.
    part: Option<String>,
    suffix: &'a str,
}

impl<'a> Pattern<'a> {
    /// `None`: it is none of those that are known here.
    fn parse(text: &'a str) -> Option<Self> {
        let (fills, text) = match text.strip_prefix("FM") {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        let is_place = |c: char| matches!(c, '9' | '0' | ',' | '.' | 'G' | 'D');
        let begin = text.find(is_place)?;
        let (prefix, rest) = text.split_at(begin);
        let end = rest.find(|c| !is_place(c)).unwrap_or(rest.len());
        let (places, suffix) = rest.split_at(end);
        let places = places.replace('G', ",").replace('D', ".");
        let (whole, part) = match places.split_once('.') {
            Some((whole, part)) => (whole.to_owned(), Some(part.to_owned())),
            None => (places, None),
        };
        let upper = suffix.to_uppercase();
        let is_other = |c: char| c.is_alphanumeric();
        let is_known = !prefix.contains(is_other)
            && !prefix.contains('%')
            && !suffix.contains(|c: char| c.is_ascii_digit())
            && !OTHER_LETTERS.iter().any(|letters| upper.contains(letters))
            && part.as_ref().is_none_or(|part| !part.contains([',', '.']))
            && places_in(&whole) + part.as_deref().map_or(0, places_in) > 0
            && whole.len() + part.as_ref().map_or(0, String::len) <= DIGITS_MAX;
        is_known.then_some(Self {
            fills,
            prefix,
            whole,
            part,
            suffix,
        })
    }

    fn write(&self, number: f64) -> String {
        let decimals = self.part.as_ref().map_or(0, String::len);
        let digits = format!("{:.*}", decimals, number.abs());
        let (whole, part) = digits.split_once('.').unwrap_or((&digits, ""));
        let places = places_in(&self.whole);
        let mut written = match number.is_finite() && whole.len() <= places {
            true => self.placed(whole, part),
            // There is no room for it.
            false => {
                let all = self.whole.replace(['9', '0'], "#");
                let part = self.part.as_ref().map(|part| "#".repeat(part.len()));
                part.map_or_else(|| all.clone(), |part| format!("{all}.{part}"))
            }
        };
        let sign = if number < 0.0 { "-" } else { "" };
        if self.fills {
            let places = self.whole.len() + self.part.as_ref().map_or(0, |part| part.len() + 1);
            let width = places + 1 - sign.len();
            written = format!("{sign}{written}");
            let missing = (width + sign.len()).saturating_sub(written.len());
            written.insert_str(0, &" ".repeat(missing));
        } else {
            written.insert_str(0, sign);
        }
        format!("{}{written}{}", self.prefix, self.suffix)
    }

    /// Without blanks before.
    fn placed(&self, whole: &str, part: &str) -> String {
        let places = places_in(&self.whole);
        let mut digits = std::iter::repeat_n('0', places - whole.len()).chain(whole.chars());
        let mut written = String::new();
        let mut left = places;
        for place in self.whole.chars() {
            if place == ',' {
                written.push_str(if written.is_empty() { "" } else { "," });
                continue;
            }
            let digit = digits.next().unwrap_or('0');
            // The last one of a number without a part is always there.
            let is_last = left == 1 && self.part.is_none();
            left -= 1;
            if digit != '0' || place == '0' || !written.is_empty() || is_last {
                written.push(digit);
            }
        }
        let Some(pattern) = &self.part else {
            return written;
        };
        let kept = match self.fills {
            true => part.len(),
            false => {
                let wanted = pattern.rfind('0').map_or(0, |at| at + 1);
                wanted.max(part.trim_end_matches('0').len())
            }
        };
        if written.is_empty() && kept == 0 {
            written.push('0');
        }
        format!("{written}.{}", &part[..kept])
    }
}

fn places_in(pattern: &str) -> usize {
    pattern.chars().filter(|c| matches!(c, '9' | '0')).count()
}

fn unknown(pattern: &str) -> datafusion::common::DataFusionError {
    wrong(format!(
        "TO_CHAR: `{pattern}` is no pattern of a number; one has 9, 0, a comma and a point, FM \
         before them and other signs around"
    ))
}

/// Whether TO_CHAR with this pattern is of a number.
pub fn is_number_pattern(pattern: &str) -> bool {
    Pattern::parse(pattern).is_some()
}

fn to_char(rows: &Rows) -> Result<ArrayRef> {
    let mut known: Option<(&str, Pattern<'_>)> = None;
    rows.try_map2(|number: f64, text: &str| {
        if known.as_ref().is_none_or(|(of, _)| *of != text) {
            let pattern = Pattern::parse(text).ok_or_else(|| unknown(text))?;
            known = Some((text, pattern));
        }
        Ok(known.as_ref().map(|(_, pattern)| pattern.write(number)))
    })
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        Plain::new(
            "number_to_char",
            &[Takes::Double, Takes::Text],
            TEXT,
            to_char,
        )
        .checks(|values| match literal(values, 1) {
            Some(text) if !is_number_pattern(text) => Err(unknown(text)),
            _ => Ok(()),
        })
        .says(
            Section::Text,
            "NUMBER_TO_CHAR(number, 'pattern')",
            "What TO_CHAR gives of a number: a digit for each `9` and `0` (which is there also \
                 where the number has none), `,` between thousands and `.` before the part; `FM` \
                 first leaves blanks and zeros at the ends out. A number without room is shown \
                 as `#`.",
            &[
                ("NUMBER_TO_CHAR(1234.5, 'FM9,999,990.00')", "1,234.50"),
                ("NUMBER_TO_CHAR(0.257, 'FM990.0%')", "0.3%"),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15 answers.
    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        let numbers = [0.0, 0.5, 12.0, -12.0, 1234.567, -1234.567, 1e7];
        for (pattern, wanted) in [
            (
                "9,999.99",
                "[      .00]|[      .50]|[    12.00]|[   -12.00]|[ 1,234.57]|[-1,234.57]|\
                 [ #,###.##]",
            ),
            (
                "FM9,999.99",
                "[0.]|[.5]|[12.]|[-12.]|[1,234.57]|[-1,234.57]|[#,###.##]",
            ),
            (
                "FM9,999.00",
                "[.00]|[.50]|[12.00]|[-12.00]|[1,234.57]|[-1,234.57]|[#,###.##]",
            ),
            (
                "990.00",
                "[   0.00]|[   0.50]|[  12.00]|[ -12.00]|[ ###.##]|[-###.##]|[ ###.##]",
            ),
            (
                "FM990.00%",
                "[0.00%]|[0.50%]|[12.00%]|[-12.00%]|[###.##%]|[-###.##%]|[###.##%]",
            ),
            ("999", "[   0]|[   0]|[  12]|[ -12]|[ ###]|[-###]|[ ###]"),
            (
                "0000",
                "[ 0000]|[ 0000]|[ 0012]|[-0012]|[ 1235]|[-1235]|[ ####]",
            ),
            (
                "$9,999.99",
                "[$      .00]|[$      .50]|[$    12.00]|[$   -12.00]|[$ 1,234.57]|[$-1,234.57]|\
                 [$ #,###.##]",
            ),
            (
                "99,999,999",
                "[          0]|[          0]|[         12]|[        -12]|[      1,235]|\
                 [     -1,235]|[ 10,000,000]",
            ),
            (".99", "[ .##]|[ .##]|[ .##]|[-.##]|[ .##]|[-.##]|[ .##]"),
            (
                "9,999 EUR",
                "[     0 EUR]|[     0 EUR]|[    12 EUR]|[   -12 EUR]|[ 1,235 EUR]|[-1,235 EUR]|\
                 [ #,### EUR]",
            ),
        ] {
            let known = Pattern::parse(pattern).unwrap();
            let written = numbers.map(|number| format!("[{}]", known.write(number)));
            assert_eq!(written.join("|"), wanted, "{pattern}");
        }
        for other in [
            "999MI",
            "YYYY-MM-DD",
            "%H:%M",
            "9.9.9",
            "RN",
            "999th",
            "",
            "FM",
        ] {
            assert!(!is_number_pattern(other), "{other}");
        }
    }
}
