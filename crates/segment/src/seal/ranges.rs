//! Least and greatest values for the segment's record, by which brokers prune.
//!
//! A range holds every stored value, the defaults of nulls among them, so that leaving a segment
//! out never changes an answer.

use arrow::datatypes::{Decimal256Type, DecimalType, i256};
use schemas::arrow::{BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE};
use schemas::{DataType, TableSpec, Value};

use super::Range;

/// Records stay small: longer strings have no range.
const TEXT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Ranges<'a> {
    spec: &'a TableSpec,
    columns: Vec<(String, Value, Value)>,
}

impl<'a> Ranges<'a> {
    pub(super) fn new(spec: &'a TableSpec) -> Self {
        Self {
            spec,
            columns: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, column: &str, range: Range) {
        let is_known = self.spec.column(column).is_some();
        if let (true, Some((least, greatest))) = (is_known, range) {
            self.columns.push((column.to_owned(), least, greatest));
        }
    }

    /// In epoch milliseconds; `None` where the unit of the time column is not known.
    pub(super) fn time_range(&self) -> Option<(i64, i64)> {
        let name = self.spec.time_column.as_deref()?;
        let column = self.spec.column(name)?;
        let unit_ms = match (&column.time_format, column.data_type) {
            (_, DataType::Timestamp) | (None, _) => 1,
            (Some(format), _) => unit_ms(format)?,
        };
        let (_, least, greatest) = self.columns.iter().find(|(column, ..)| column == name)?;
        match (least, greatest) {
            (Value::Long(least), Value::Long(greatest)) => Some((
                least.saturating_mul(unit_ms),
                greatest.saturating_mul(unit_ms),
            )),
            _ => None,
        }
    }

    pub(super) fn into_columns(self) -> Vec<(String, Value, Value)> {
        self.columns
    }
}

/// Of `1:DAYS:EPOCH` and `EPOCH|DAYS|1`.
fn unit_ms(format: &str) -> Option<i64> {
    let parts: Vec<&str> = format.split([':', '|']).collect();
    if !parts.contains(&"EPOCH") {
        return None;
    }
    let size = parts
        .iter()
        .find_map(|part| part.parse().ok())
        .unwrap_or(1_i64);
    let unit = parts.iter().find_map(|part| match *part {
        "MILLISECONDS" => Some(1),
        "SECONDS" => Some(1000),
        "MINUTES" => Some(60_000),
        "HOURS" => Some(3_600_000),
        "DAYS" => Some(86_400_000),
        _ => None,
    })?;
    Some(unit * size)
}

pub(super) fn of_strings((least, greatest): (&[u8], &[u8])) -> Range {
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (text.len() <= TEXT_MAX).then(|| Value::String(text.to_owned()))
    };
    Some((text(least)?, text(greatest)?))
}

/// Both zeros are in a range that ends with either, so that it serves every way to compare them.
/// NaN is compared in more than one way as well: beside it nothing has a range.
pub(super) fn of_doubles(values: &[f64]) -> Range {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    let least = if least == 0.0 { -0.0 } else { least };
    let greatest = if greatest == 0.0 { 0.0 } else { greatest };
    Some((Value::Double(least), Value::Double(greatest)))
}

/// Of unscaled values, as text in decimal.
pub(super) fn of_decimals(values: &[i256]) -> Range {
    let text = |value: &i256| {
        let text = Decimal256Type::format_decimal(*value, BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE);
        Value::String(text)
    };
    Some((text(values.iter().min()?), text(values.iter().max()?)))
}

#[cfg(test)]
mod tests {
    use super::{of_doubles, of_strings, unit_ms};
    use schemas::Value;

    #[test]
    fn ranges_of_doubles_hold_both_zeros_and_no_nan() {
        let range = |values: &[f64]| {
            let Some((Value::Double(least), Value::Double(greatest))) = of_doubles(values) else {
                return None;
            };
            Some((least.to_bits(), greatest.to_bits()))
        };
        let bits = |least: f64, greatest: f64| Some((least.to_bits(), greatest.to_bits()));
        assert_eq!(range(&[0.0]), bits(-0.0, 0.0));
        assert_eq!(range(&[3.0, -0.0, 1.0]), bits(-0.0, 3.0));
        assert_eq!(
            range(&[-1.0, f64::NEG_INFINITY]),
            bits(f64::NEG_INFINITY, -1.0)
        );
        assert_eq!(range(&[1.0, f64::NAN, 2.0]), None);
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn units() {
        assert_eq!(unit_ms("1:DAYS:EPOCH"), Some(86_400_000));
        assert_eq!(unit_ms("EPOCH|SECONDS|5"), Some(5000));
        assert_eq!(unit_ms("EPOCH|MILLISECONDS"), Some(1));
        assert_eq!(unit_ms("SIMPLE_DATE_FORMAT|yyyy"), None);
    }

    #[test]
    fn long_strings_have_no_range() {
        assert!(of_strings((b"a", b"b")).is_some());
        assert!(of_strings((b"a", &[b'b'; 65])).is_none());
    }
}
