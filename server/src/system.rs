//! Rows of the system tables that only servers know: rejected rows, counts of what is consumed,
//! consumers, indexes.
//!
//! The schemas are the broker's (`query::system`); replicas answer alike, the broker counts once.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::error::ArrowError;
use query::system::{CONSUMERS_SCHEMA, CONSUMING_SCHEMA, INDEXES_SCHEMA, REJECTED_SCHEMA};
use schemas::proto::ConsumerState;
use schemas::segment::Ledger;
use schemas::{Fault, FaultKind, InstanceId, Offset, SegmentId};
use segment::{MutableSegment, RejectedRow, SegmentView};

use crate::store::segment_fault;
use crate::view::{Table, TableView};

fn arrow_fault(error: &ArrowError) -> Fault {
    Fault::from_chain(FaultKind::Internal, error)
}

/// Rejected rows that are shown of each table: the newest, not older than this, so many, and so
/// many bytes of them. The ledgers count all.
const REJECTED_AGE_MAX_MS: i64 = 7 * 24 * 3600 * 1000;
const REJECTED_ROWS_MAX: usize = 10_000;
const REJECTED_BYTES_MAX: usize = 16 << 20;

/// Reads files: for a compute thread.
pub(crate) fn rejected_rows(tables: &[Arc<Table>], now_ms: i64) -> Result<RecordBatch, Fault> {
    let mut rows: Vec<(String, RejectedRow)> = Vec::new();
    for table in tables {
        let view = table.view();
        let name = view.spec.name.to_string();
        let newest = newest_rejected(segments_of(&view), now_ms - REJECTED_AGE_MAX_MS)?;
        rows.extend(newest.into_iter().map(|row| (name.clone(), row)));
    }
    let texts = |of: &dyn Fn(&(String, RejectedRow)) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(of)))
    };
    let longs = |of: fn(&RejectedRow) -> i64| rows.iter().map(move |(_, row)| of(row));
    let columns: Vec<ArrayRef> = vec![
        texts(&|(name, _)| name.clone()),
        Arc::new(Int32Array::from_iter_values(
            rows.iter().map(|(_, row)| row.partition as i32),
        )),
        Arc::new(Int64Array::from_iter_values(longs(|row| row.offset))),
        Arc::new(TimestampMillisecondArray::from_iter_values(longs(|row| {
            row.time_ms
        }))),
        texts(&|(_, row)| row.reason.clone()),
        texts(&|(_, row)| String::from_utf8_lossy(&row.payload).into_owned()),
    ];
    RecordBatch::try_new(Arc::clone(&REJECTED_SCHEMA), columns).map_err(|e| arrow_fault(&e))
}

/// The segments of all partitions, the newest first.
fn segments_of(view: &TableView) -> Vec<SegmentView> {
    let sealed = view.sealed().values().map(|segment| segment.view());
    let runs = view.runs().map(MutableSegment::view);
    let mut segments: Vec<SegmentView> = sealed.chain(runs).collect();
    segments.sort_by_key(|segment| (Reverse(segment.id().sequence), segment.partition()));
    segments
}

fn newest_rejected(
    newest_first: impl IntoIterator<Item = SegmentView>,
    since_ms: i64,
) -> Result<Vec<RejectedRow>, Fault> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for segment in newest_first {
        let rejected = segment.rejected().map_err(|error| segment_fault(&error))?;
        for row in rejected.into_iter().rev() {
            bytes += row.reason.len() + row.payload.len();
            if rows.len() == REJECTED_ROWS_MAX || bytes > REJECTED_BYTES_MAX {
                return Ok(rows);
            }
            if row.time_ms >= since_ms {
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Every segment that may not be committed yet, as far as it is now.
pub(crate) fn consuming(tables: &[Arc<Table>]) -> Result<RecordBatch, Fault> {
    let mut rows: Vec<(SegmentId, Offset, Ledger)> = Vec::new();
    for table in tables {
        let view = table.view();
        rows.extend(view.runs().map(|segment| {
            let ledger = segment.ledger();
            let end = segment.start_offset() + ledger.total() as i64;
            (segment.id(), end, ledger)
        }));
        rows.extend(just_sealed(&view));
    }
    let ints = |of: fn(&SegmentId) -> u32| {
        let values = rows.iter().map(move |(id, ..)| of(id) as i32);
        Arc::new(Int32Array::from_iter_values(values)) as ArrayRef
    };
    let counts = |of: fn(&Ledger) -> u64| {
        let values = rows.iter().map(move |(.., ledger)| of(ledger) as i64);
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let tables = rows.iter().map(|(id, ..)| id.table.to_string());
    let ends = rows.iter().map(|(_, end, _)| *end);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(tables)),
        ints(|id| id.partition),
        ints(|id| id.sequence),
        Arc::new(Int64Array::from_iter_values(ends)),
        counts(|ledger| ledger.rows),
        counts(|ledger| ledger.rejected),
        counts(|ledger| ledger.filtered),
        counts(|ledger| ledger.absent),
        counts(|ledger| ledger.unnested),
        counts(|ledger| ledger.merged),
    ];
    RecordBatch::try_new(Arc::clone(&CONSUMING_SCHEMA), columns).map_err(|e| arrow_fault(&e))
}

/// How far each partition is consumed here.
pub(crate) fn consumers(tables: &[Arc<Table>], server: &InstanceId) -> Result<RecordBatch, Fault> {
    let mut rows: Vec<(String, ConsumerState)> = Vec::new();
    for table in tables {
        let name = table.view().spec.name.to_string();
        let consumers = table.consumers().into_values();
        rows.extend(consumers.map(|status| (name.clone(), status.state)));
    }
    let texts = |of: fn(&ConsumerState) -> &str| {
        let values = rows.iter().map(|(_, state)| of(state));
        Arc::new(StringViewArray::from_iter_values(values)) as ArrayRef
    };
    let longs = |of: fn(&ConsumerState) -> Option<i64>| {
        let values = rows.iter().map(|(_, state)| of(state));
        Arc::new(values.collect::<Int64Array>()) as ArrayRef
    };
    let names = rows.iter().map(|(name, _)| name.as_str());
    let partitions = rows.iter().map(|(_, state)| state.partition as i32);
    let newest = rows.iter().map(|(_, state)| state.newest_event_ms);
    let newest = newest.map(|newest_ms| (newest_ms > 0).then_some(newest_ms));
    let rates = rows.iter().map(|(_, state)| state.rows_per_second);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(Int32Array::from_iter_values(partitions)),
        Arc::new(StringViewArray::from_iter_values(
            rows.iter().map(|_| server.0.as_str()),
        )),
        texts(|state| &state.state),
        texts(|state| &state.detail),
        longs(|state| Some(state.next_offset)),
        longs(|state| (state.log_end_offset >= 0).then_some(state.log_end_offset)),
        longs(|state| Some(state.rows as i64)),
        longs(|state| Some(state.rejected as i64)),
        texts(|state| &state.last_rejection),
        Arc::new(newest.collect::<TimestampMillisecondArray>()),
        Arc::new(Float64Array::from_iter_values(rates)),
    ];
    RecordBatch::try_new(Arc::clone(&CONSUMERS_SCHEMA), columns).map_err(|e| arrow_fault(&e))
}

/// The indexes of sealed segments that queries use here.
pub(crate) fn indexes(tables: &[Arc<Table>], server: &InstanceId) -> Result<RecordBatch, Fault> {
    let mut rows: Vec<(SegmentId, String)> = Vec::new();
    for table in tables {
        for segment in table.view().sealed().values() {
            let indexes = segment.indexes().iter();
            rows.extend(indexes.map(|index| (segment.id(), index.key().to_string())));
        }
    }
    let ints = |of: fn(&SegmentId) -> u32| {
        let values = rows.iter().map(move |(id, _)| of(id) as i32);
        Arc::new(Int32Array::from_iter_values(values)) as ArrayRef
    };
    let tables = rows.iter().map(|(id, _)| id.table.to_string());
    let servers = rows.iter().map(|_| server.0.as_str());
    let names = rows.iter().map(|(_, name)| name.as_str());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(tables)),
        ints(|id| id.partition),
        ints(|id| id.sequence),
        Arc::new(StringViewArray::from_iter_values(servers)),
        Arc::new(StringViewArray::from_iter_values(names)),
    ];
    RecordBatch::try_new(Arc::clone(&INDEXES_SCHEMA), columns).map_err(|e| arrow_fault(&e))
}

/// The last sealed segment of each partition that consumes: its commit may be under way.
fn just_sealed(view: &TableView) -> Vec<(SegmentId, Offset, Ledger)> {
    let last = view.partitions().filter_map(|partition| {
        let first = view.run(partition).first()?.id().sequence;
        view.find(partition, first.checked_sub(1)?)
    });
    last.map(|segment| (segment.id(), segment.end(), segment.ledger()))
        .collect()
}
