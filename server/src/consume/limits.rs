//! When a consuming segment is sealed.

use std::time::Duration;

use schemas::table::FlushLimits;
use segment::MutableSegment;

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
        Some("ROWS")
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

/// Offsets without rows alone are not worth a segment.
pub(crate) fn holds_anything(segment: &MutableSegment) -> bool {
    let ledger = segment.ledger();
    ledger.rows + ledger.rejected + ledger.filtered > 0
}

/// The segment has its rows; replicas that all end it here need not load what another committed.
pub(crate) fn is_complete(limits: &FlushLimits, segment: &MutableSegment) -> bool {
    u64::from(segment.row_count()) >= limits.rows_max
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
