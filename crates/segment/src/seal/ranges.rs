//! Least and greatest values for the segment's record, by which brokers prune.
//!
//! A range holds every stored value, the defaults of nulls among them, so that leaving a segment
//! out never changes an answer.

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

#[cfg(test)]
mod tests {
    use super::{of_strings, unit_ms};

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
