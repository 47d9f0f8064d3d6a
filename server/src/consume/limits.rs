//! When a consuming segment is sealed.

use std::time::Duration;

use schemas::segment::SegmentRecord;
use schemas::table::FlushLimits;
use segment::MutableSegment;

pub(super) const ROWS: &str = "ROWS";

/// How far a segment may grow past its limits while the one before it is still being committed.
const SLACK: u64 = 2;

/// The first limit that is reached, by its name in the protocol. A segment that holds nothing is
/// never sealed.
pub(crate) fn reached(
    limits: &FlushLimits,
    segment: &MutableSegment,
    age: Duration,
) -> Option<&'static str> {
    let rows = u64::from(segment.row_count());
    if rows >= limits.rows_max {
        Some(ROWS)
    } else if segment.next_offset() == segment.start_offset() {
        None
    } else if segment.memory_bytes() >= limits.bytes_max {
        Some("SIZE")
    } else if age.as_millis() as i64 >= limits.age_max_ms && holds_anything(segment) {
        Some("TIME")
    } else {
        None
    }
}

/// Newest sealed segments from which the size of a row is learned.
pub(super) const LEARNED_FROM: usize = 8;
/// A segment has at most so many times the rows of the largest of them.
const GROWTH_MAX: u64 = 4;
const ROWS_LEAST: u64 = 10_000;

/// What a sealed segment tells of those that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sealed {
    at_ms: Option<i64>,
    rows: u64,
    bytes: u64,
}

impl Sealed {
    pub(crate) fn of(record: &SegmentRecord) -> Option<Self> {
        (record.is_done() && record.ledger.rows > 0).then_some(Self {
            at_ms: record.sealed_ms,
            rows: record.ledger.rows,
            bytes: record.bytes,
        })
    }
}

/// Leaves those that are learned from.
pub(crate) fn newest_first(sealed: &mut Vec<Sealed>) {
    sealed.sort_unstable_by(|a, b| b.cmp(a));
    sealed.truncate(LEARNED_FROM);
}

/// With a target for the size of sealed segments, the rows that make it, as far as earlier ones
/// tell.
pub(crate) fn learned(limits: FlushLimits, sealed: &[Sealed]) -> FlushLimits {
    let Some(target) = limits.sealed_bytes else {
        return limits;
    };
    let rows: u64 = sealed.iter().map(|one| one.rows).sum();
    let bytes: u64 = sealed.iter().map(|one| one.bytes).sum();
    let Some(most) = sealed.iter().map(|one| one.rows).max() else {
        return limits;
    };
    let wanted = u128::from(target) * u128::from(rows) / u128::from(bytes.max(1));
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let least = ROWS_LEAST.min(limits.rows_max);
    let rows_max = wanted.min(most.saturating_mul(GROWTH_MAX)).max(least);
    FlushLimits { rows_max, ..limits }
}

/// Offsets without rows alone are not worth a segment.
pub(crate) fn holds_anything(segment: &MutableSegment) -> bool {
    let ledger = segment.ledger();
    ledger.rows + ledger.rejected + ledger.filtered > 0
}

/// The segment has its rows; replicas that all end it here need not load what another committed.
pub(crate) fn is_complete(limits: &FlushLimits, segment: &MutableSegment) -> bool {
    u64::from(segment.row_count()) >= limits.rows_max
}

/// It has its rows or its bytes.
pub(crate) fn is_full(limits: &FlushLimits, segment: &MutableSegment) -> bool {
    is_complete(limits, segment) || segment.memory_bytes() >= limits.bytes_max
}

/// Whether every replica has exactly these rows when it has as many: the same messages make the
/// same ones. What one has learned, has put together or has taken beyond its limit is its own.
pub(crate) fn ends_alike(limits: &FlushLimits, segment: &MutableSegment) -> bool {
    u64::from(segment.row_count()) == limits.rows_max
        && limits.sealed_bytes.is_none()
        && segment.spec().pipeline.roll_up.is_empty()
}

/// The segment is so far past its limits that consumption has to wait.
pub(crate) fn overflows(limits: &FlushLimits, segment: &MutableSegment) -> bool {
    u64::from(segment.row_count()) >= limits.rows_max.saturating_mul(SLACK)
        || segment.memory_bytes() >= limits.bytes_max.saturating_mul(SLACK)
}

/// Rows that still fit: up to the limit first, past it when the end cannot be agreed on.
pub(crate) fn room(limits: &FlushLimits, segment: &MutableSegment) -> usize {
    let rows = u64::from(segment.row_count());
    let limit = match rows < limits.rows_max {
        true => limits.rows_max,
        false => limits.rows_max.saturating_mul(SLACK),
    };
    usize::try_from(limit.saturating_sub(rows)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use schemas::segment::{Ledger, SegmentStatus};
    use schemas::{SegmentId, TableId, TableSpec, TableType};

    use super::*;

    #[test]
    fn rows_follow_from_the_size_of_earlier_segments() {
        let spec = TableSpec::new("t".parse().unwrap(), TableType::Realtime, Vec::new());
        let record = |sequence: u32, rows: u64, bytes: u64| {
            let id = SegmentId {
                table: TableId::random(),
                partition: 0,
                sequence,
            };
            SegmentRecord {
                status: SegmentStatus::Done,
                sealed_ms: Some(i64::from(sequence)),
                bytes,
                ledger: Ledger {
                    rows,
                    ..Ledger::default()
                },
                ..SegmentRecord::consuming(id, &spec, 0, 0)
            }
        };
        let limits = FlushLimits {
            rows_max: 100_000,
            sealed_bytes: Some(10_000_000),
            ..FlushLimits::default()
        };
        let rows = |records: &[SegmentRecord]| {
            let mut sealed: Vec<Sealed> = records.iter().filter_map(Sealed::of).collect();
            newest_first(&mut sealed);
            learned(limits, &sealed).rows_max
        };
        assert_eq!(rows(&[]), 100_000);
        assert_eq!(
            rows(&[record(0, 0, 500)]),
            100_000,
            "nothing is told by no rows"
        );
        assert_eq!(rows(&[record(0, 100_000, 20_000_000)]), 50_000);
        assert_eq!(
            rows(&[record(0, 100_000, 2_000_000)]),
            400_000,
            "step by step"
        );
        assert_eq!(rows(&[record(0, 10, 5_000)]), 10_000);
        // What rows were long ago does not matter.
        let mut many: Vec<_> = (1..=8).map(|at| record(at, 100_000, 5_000_000)).collect();
        many.push(record(0, 1_000_000, 1_000_000_000));
        assert_eq!(rows(&many), 200_000);
        let by_rows = FlushLimits::default();
        let sealed: Vec<Sealed> = many.iter().filter_map(Sealed::of).collect();
        assert_eq!(learned(by_rows, &sealed), by_rows);
    }
}
