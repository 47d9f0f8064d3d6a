//! The time boundary of a hybrid table: up to it rows come from the OFFLINE part, after it from the
//! REALTIME one.
//!
//! Invariant, as in Pinot: it lies a whole unit before the newest row of the OFFLINE part, so that
//! a last day (or hour) that is not all there yet is read from the stream; unless somebody said
//! that it is all there.

use crate::segment::SegmentRecord;
use crate::table::{ColumnSpec, TableSpec};
use crate::types::DataType;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Of an OFFLINE table with these sealed segments; `None`: there are none, or no time column.
pub fn time_boundary_ms<'a>(
    spec: &TableSpec,
    sealed: impl Iterator<Item = &'a SegmentRecord>,
) -> Option<i64> {
    let column = spec.column(spec.time_column.as_deref()?)?;
    let (ends, rounds): (Vec<i64>, Vec<Option<i64>>) = sealed
        .filter_map(|record| Some((end_ms(record)?, record.marks.round_ms)))
        .unzip();
    let newest = ends.into_iter().max()?;
    let hourly = spec.batch.hourly && time_unit_ms(column).is_none_or(|unit| unit < DAY_MS);
    let boundary = newest - if hourly { HOUR_MS } else { DAY_MS };
    Some(match rounds.into_iter().flatten().max() {
        // Just before a moment to which times are cut: of such a span all or nothing is read.
        Some(round) => (boundary + 1).div_euclid(round) * round - 1,
        None => boundary,
    })
}

/// Up to where rows of a segment may have been in time, before their times were cut.
fn end_ms(record: &SegmentRecord) -> Option<i64> {
    let (_, newest) = record.time_range?;
    Some(match record.marks.round_ms {
        Some(round) => newest.div_euclid(round) * round + round - 1,
        None => newest,
    })
}

/// The time of the newest row of these segments.
pub fn newest_ms<'a>(
    spec: &TableSpec,
    sealed: impl Iterator<Item = &'a SegmentRecord>,
) -> Option<i64> {
    spec.time_column.as_ref()?;
    sealed.filter_map(end_ms).max()
}

/// How many milliseconds one means in a time column of whole numbers; `None`: it is none, or its
/// format is no count since 1970.
pub fn time_unit_ms(column: &ColumnSpec) -> Option<i64> {
    match (&column.time_format, column.data_type) {
        (None, DataType::Long) => Some(1),
        (Some(format), DataType::Long | DataType::Int) => epoch_unit_ms(format),
        _ => None,
    }
}

/// Of `1:DAYS:EPOCH` and `EPOCH|DAYS|1`.
fn epoch_unit_ms(format: &str) -> Option<i64> {
    let parts: Vec<&str> = format.split([':', '|']).collect();
    let size: i64 = parts.iter().find_map(|part| part.parse().ok()).unwrap_or(1);
    let unit = parts.iter().find_map(|part| match *part {
        "MILLISECONDS" => Some(1),
        "SECONDS" => Some(1000),
        "MINUTES" => Some(60_000),
        "HOURS" => Some(HOUR_MS),
        "DAYS" => Some(DAY_MS),
        _ => None,
    })?;
    (parts.contains(&"EPOCH") && size > 0).then_some(unit * size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldRole, SegmentId, TableType};

    #[test]
    fn it_lies_a_unit_before_the_newest_row() {
        let mut column = ColumnSpec::new("ts", DataType::Long, FieldRole::DateTime);
        let mut spec = TableSpec::new(
            "t".parse().unwrap(),
            TableType::Offline,
            vec![column.clone()],
        );
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence: 0,
        };
        let until = |newest: i64| SegmentRecord {
            time_range: Some((0, newest)),
            ..SegmentRecord::consuming(
                id,
                &TableSpec::new("t".parse().unwrap(), TableType::Offline, vec![]),
                0,
                0,
            )
        };
        let records = [until(3 * DAY_MS), until(5 * DAY_MS)];
        assert_eq!(
            time_boundary_ms(&spec, records.iter()),
            None,
            "no time column"
        );
        spec.time_column = Some("ts".to_owned());
        assert_eq!(time_boundary_ms(&spec, records.iter()), Some(4 * DAY_MS));
        assert_eq!(time_boundary_ms(&spec, [].iter()), None);
        spec.batch.hourly = true;
        assert_eq!(
            time_boundary_ms(&spec, records.iter()),
            Some(5 * DAY_MS - HOUR_MS)
        );
        // Rows whose times were cut to days count up to the end of their day.
        let cut = |newest: i64| {
            let mut record = until(newest);
            record.marks.round_ms = Some(DAY_MS);
            record
        };
        let some_cut = [until(5 * DAY_MS + 7), cut(3 * DAY_MS)];
        spec.batch.hourly = false;
        let boundary = time_boundary_ms(&spec, some_cut.iter());
        assert_eq!(boundary, Some(4 * DAY_MS - 1));
        let all_cut = [cut(5 * DAY_MS), cut(3 * DAY_MS)];
        assert_eq!(newest_ms(&spec, all_cut.iter()), Some(6 * DAY_MS - 1));
        let boundary = time_boundary_ms(&spec, all_cut.iter());
        assert_eq!(boundary, Some(5 * DAY_MS - 1));
        spec.batch.hourly = true;
        column.time_format = Some("1:DAYS:EPOCH".to_owned());
        assert_eq!(time_unit_ms(&column), Some(DAY_MS));
        spec.columns = vec![column];
        assert_eq!(time_boundary_ms(&spec, records.iter()), Some(4 * DAY_MS));
    }
}
