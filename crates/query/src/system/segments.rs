//! `sys.segments`, the ledger: committed segments from the cluster's state, the others as the
//! servers count them now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, Schema};
use datafusion::common::Result;
use schemas::TableType;
use schemas::cluster::ClusterState;
use schemas::segment::SegmentRecord;

use super::{
    CONSUMING, CONSUMING_SCHEMA, INDEXES, INDEXES_SCHEMA, SystemTables, flag, from_servers, int,
    long, text, time,
};
use crate::context::QueryContext;

/// Table, partition, sequence.
type Key = (String, i32, i32);
/// Live numbers of a segment that is not committed: end, rows, rejected, filtered, absent,
/// unnested, merged.
type Numbers = [i64; 7];
type Live = BTreeMap<Key, Numbers>;
/// Index → the servers that have it.
type Indexes = BTreeMap<Key, BTreeMap<String, BTreeSet<String>>>;

/// How long the broker's state may be behind that of a server.
const STATE_WAIT: Duration = Duration::from_millis(500);

impl SystemTables {
    pub(super) async fn segments(&self, context: &QueryContext) -> Result<RecordBatch> {
        let (live, indexes) = tokio::join!(
            from_servers(context, CONSUMING, &CONSUMING_SCHEMA),
            from_servers(context, INDEXES, &INDEXES_SCHEMA),
        );
        let (live, indexes) = (live_numbers(&live), indexes_of(&indexes));
        let cluster = self.state_that_knows(&live).await;
        let cluster = context.caller.visible(&cluster);
        let mut rows: Vec<SegmentRow<'_>> = Vec::new();
        let mut tables: Vec<_> = cluster.tables.values().collect();
        tables.sort_by_key(|table| table.spec.physical_name());
        for table in tables {
            for segment in &table.segments {
                let record = &segment.record;
                let id = record.id;
                let key = (
                    id.table.to_string(),
                    id.partition as i32,
                    id.sequence as i32,
                );
                let live = live.get(&key).filter(|_| !record.is_done()).copied();
                let servers: Vec<&str> = segment.online.iter().map(|s| s.0.as_str()).collect();
                let everywhere = |has: &BTreeSet<String>| servers.iter().all(|s| has.contains(*s));
                let indexes = indexes.get(&key).into_iter().flatten();
                let indexes = indexes.filter(|(_, has)| everywhere(has));
                let indexes: Vec<&str> = indexes.map(|(index, _)| index.as_str()).collect();
                rows.push(SegmentRow {
                    table: table.spec.name.as_str(),
                    table_type: table.spec.table_type,
                    is_seen: !segment.hidden,
                    record,
                    live,
                    servers: servers.join(","),
                    indexes: indexes.join(", "),
                });
            }
        }
        segments_batch(&rows)
    }

    /// A server may already consume behind a segment whose commit has not reached this broker, or
    /// have sealed one of which only the begin of the next is known here.
    async fn state_that_knows(&self, live: &Live) -> Arc<ClusterState> {
        let mut cluster = self.cluster.clone();
        let knows = |state: &Arc<ClusterState>| !is_behind(state, live);
        let waited = tokio::time::timeout(STATE_WAIT, cluster.wait_for(knows)).await;
        if let Ok(Ok(state)) = waited {
            return Arc::clone(&state);
        }
        Arc::clone(&self.cluster.borrow())
    }
}

/// Whether a partition is consumed behind the last segment that `state` knows of it.
fn is_behind(state: &ClusterState, live: &Live) -> bool {
    let mut newest: BTreeMap<(String, i32), i32> = BTreeMap::new();
    for segment in state.tables.values().flat_map(|table| &table.segments) {
        let id = segment.record.id;
        let of_partition = newest
            .entry((id.table.to_string(), id.partition as i32))
            .or_insert(0);
        *of_partition = (*of_partition).max(id.sequence as i32);
    }
    let segments = state.tables.values().flat_map(|table| &table.segments);
    let mut open = segments.map(|segment| &segment.record);
    // The one who has sealed it counts it no more, and another replica may be behind.
    let is_uncounted = open.any(|record| {
        let (partition, sequence) = (record.id.partition as i32, record.id.sequence as i32);
        let of_partition = (record.id.table.to_string(), partition);
        let has_next = newest
            .get(&of_partition)
            .is_some_and(|last| *last > sequence);
        let key = (of_partition.0, partition, sequence);
        let counted = live.get(&key).map(|numbers| numbers[0]);
        let is_whole = counted.is_some_and(|end| record.end.is_none_or(|known| known <= end));
        !record.is_done() && has_next && !is_whole
    });
    is_uncounted
        || live.keys().any(|(table, partition, sequence)| {
            let known = newest.get(&(table.clone(), *partition));
            // While its commit is under way a segment has a successor that nobody else knows.
            let before = (table.clone(), *partition, *sequence - 1);
            known.is_some_and(|known| known < sequence) && !live.contains_key(&before)
        })
}

/// Of several replicas the one that is farthest.
fn live_numbers(batches: &[RecordBatch]) -> Live {
    let mut live = Live::new();
    for batch in batches {
        let number =
            |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let key = key_at(batch, row);
            let numbers = [3, 4, 5, 6, 7, 8, 9].map(|column| number(column, row));
            let known = live.entry(key).or_insert(numbers);
            if known[0] < numbers[0] {
                *known = numbers;
            }
        }
    }
    live
}

fn key_at(batch: &RecordBatch, row: usize) -> Key {
    let small = |column: usize| batch.column(column).as_primitive::<Int32Type>().value(row);
    let table = batch.column(0).as_string_view().value(row).to_owned();
    (table, small(1), small(2))
}

fn indexes_of(batches: &[RecordBatch]) -> Indexes {
    let mut indexes = Indexes::new();
    for batch in batches {
        let text = |column: usize, row| batch.column(column).as_string_view().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let own = indexes.entry(key_at(batch, row)).or_default();
            own.entry(text(4, row)).or_default().insert(text(3, row));
        }
    }
    indexes
}

/// One row of `sys.segments`.
struct SegmentRow<'a> {
    table: &'a str,
    table_type: TableType,
    /// By queries.
    is_seen: bool,
    record: &'a SegmentRecord,
    live: Option<Numbers>,
    servers: String,
    indexes: String,
}

/// A number of a segment: from its record, or as servers count now.
type Number = dyn Fn(&SegmentRecord, Option<Numbers>) -> Option<i64>;

fn segments_schema() -> Schema {
    Schema::new(vec![
        text("table"),
        text("name"),
        int("partition"),
        int("sequence"),
        text("status"),
        long("start_offset"),
        long("end_offset"),
        long("rows"),
        long("rejected"),
        long("filtered"),
        long("absent"),
        long("unnested"),
        long("merged"),
        long("bytes"),
        long("crc"),
        time("created"),
        time("sealed"),
        text("servers"),
        text("indexes"),
        text("type"),
        flag("seen"),
    ])
}

fn segments_batch(rows: &[SegmentRow<'_>]) -> Result<RecordBatch> {
    let schema = segments_schema();
    let texts = |of: &dyn Fn(&SegmentRecord) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            rows.iter().map(|row| of(row.record)),
        ))
    };
    let ints = |of: &dyn Fn(&SegmentRecord) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            rows.iter().map(|row| of(row.record) as i32),
        ))
    };
    let longs = |of: &Number| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| of(row.record, row.live))
                .collect::<Int64Array>(),
        )
    };
    let times = |of: &dyn Fn(&SegmentRecord) -> Option<i64>| -> ArrayRef {
        let values = rows.iter().map(|row| of(row.record));
        Arc::new(values.collect::<TimestampMillisecondArray>())
    };
    let tables = rows.iter().map(|row| row.table);
    let servers = rows.iter().map(|row| row.servers.as_str());
    let indexes = rows.iter().map(|row| row.indexes.as_str());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(tables)),
        texts(&|record| &record.name),
        ints(&|record| record.id.partition),
        ints(&|record| record.id.sequence),
        texts(&|record| {
            if record.is_done() {
                "DONE"
            } else {
                "IN_PROGRESS"
            }
        }),
        longs(&|record, _| Some(record.start)),
        longs(&|record, live| record.end.or(live.map(|l| l[0])).or(Some(record.start))),
        longs(&|record, live| Some(live.map_or(record.ledger.rows as i64, |l| l[1]))),
        longs(&|record, live| Some(live.map_or(record.ledger.rejected as i64, |l| l[2]))),
        longs(&|record, live| Some(live.map_or(record.ledger.filtered as i64, |l| l[3]))),
        longs(&|record, live| Some(live.map_or(record.ledger.absent as i64, |l| l[4]))),
        longs(&|record, live| Some(live.map_or(record.ledger.unnested as i64, |l| l[5]))),
        longs(&|record, live| Some(live.map_or(record.ledger.merged as i64, |l| l[6]))),
        longs(&|record, _| Some(record.bytes as i64)),
        longs(&|record, _| Some(i64::from(record.crc))),
        times(&|record| Some(record.created_ms)),
        times(&|record| record.sealed_ms),
        Arc::new(StringViewArray::from_iter_values(servers)),
        Arc::new(StringViewArray::from_iter_values(indexes)),
        Arc::new(StringViewArray::from_iter_values(
            rows.iter().map(|row| row.table_type.to_string()),
        )),
        Arc::new(BooleanArray::from(
            rows.iter().map(|row| row.is_seen).collect::<Vec<_>>(),
        )),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
