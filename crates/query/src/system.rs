//! System tables: `sys.segments` (the ledger), `sys.rejected_rows`, `sys.tables`.
//!
//! Sealed segments come from the cluster's state. What only servers know (rows that are being
//! consumed, rejected rows, indexes) is asked of all of them; replicas are counted once. Users read
//! `docs/reference/system-tables.md`, which a test holds to the schemas here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::Result;
use futures::future::join_all;
use schemas::Fault;
use schemas::cluster::{ClusterState, InstanceState, Role};
use schemas::proto::SystemRowsRequest;
use schemas::segment::SegmentRecord;
use tokio::sync::watch;

use crate::context::QueryContext;
use crate::ipc::decode_batches;

pub const REJECTED_ROWS: &str = "rejected_rows";
pub const CONSUMING: &str = "consuming";
pub const INDEXES: &str = "indexes";

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
}

/// Rows that were not taken.
pub static REJECTED_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("table"),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        time("time"),
        text("reason"),
        text("payload"),
    ]))
});

/// Counts of segments that are not committed, as a server has them.
pub static CONSUMING_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let numbers = ["end_offset", "rows", "rejected", "filtered", "absent"];
    let mut fields = vec![
        text("table_id"),
        Field::new("partition", DataType::Int32, false),
        Field::new("sequence", DataType::Int32, false),
    ];
    fields.extend(
        numbers
            .iter()
            .map(|name| Field::new(*name, DataType::Int64, false)),
    );
    Arc::new(Schema::new(fields))
});

/// Indexes of sealed segments that a server uses, a row for each.
pub static INDEXES_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("table_id"),
        Field::new("partition", DataType::Int32, false),
        Field::new("sequence", DataType::Int32, false),
        text("server"),
        text("index"),
    ]))
});

/// Answers from the newest state that the broker has: what a server commits while it is asked must
/// not be lost between its answer and an older state.
#[derive(Debug)]
pub(crate) struct SystemTables {
    cluster: watch::Receiver<Arc<ClusterState>>,
}

/// Table, partition, sequence.
type Key = (String, i32, i32);
/// Live numbers of a segment that is not committed: end, rows, rejected, filtered, absent.
type Live = BTreeMap<Key, [i64; 5]>;
/// Index → the servers that have it.
type Indexes = BTreeMap<Key, BTreeMap<String, BTreeSet<String>>>;

/// How long the broker's state may be behind that of a server.
const STATE_WAIT: Duration = Duration::from_millis(500);

impl SystemTables {
    pub(crate) const NAMES: [&str; 3] = ["segments", REJECTED_ROWS, "tables"];

    pub(crate) fn new(cluster: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { cluster }
    }

    pub(crate) async fn table(
        &self,
        name: &str,
        context: &QueryContext,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let rows = match name {
            "segments" => self.segments(context).await?,
            REJECTED_ROWS => rejected_rows(context).await?,
            "tables" => Self::tables(&context.cluster)?,
            _ => return Ok(None),
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        Ok(Some(Arc::new(table)))
    }

    async fn segments(&self, context: &QueryContext) -> Result<RecordBatch> {
        let (live, indexes) = tokio::join!(
            from_servers(context, CONSUMING, &CONSUMING_SCHEMA),
            from_servers(context, INDEXES, &INDEXES_SCHEMA),
        );
        let (live, indexes) = (live_numbers(&live), indexes_of(&indexes));
        let cluster = self.state_that_knows(&live).await;
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
                    record,
                    live,
                    servers: servers.join(","),
                    indexes: indexes.join(", "),
                });
            }
        }
        segments_batch(&rows)
    }

    /// A server may already consume behind a segment whose commit has not reached this broker.
    async fn state_that_knows(&self, live: &Live) -> Arc<ClusterState> {
        let mut cluster = self.cluster.clone();
        let knows = |state: &Arc<ClusterState>| !is_behind(state, live);
        let waited = tokio::time::timeout(STATE_WAIT, cluster.wait_for(knows)).await;
        if let Ok(Ok(state)) = waited {
            return Arc::clone(&state);
        }
        Arc::clone(&self.cluster.borrow())
    }

    fn tables(cluster: &ClusterState) -> Result<RecordBatch> {
        let mut tables: Vec<_> = cluster.tables.values().collect();
        tables.sort_by_key(|table| table.spec.physical_name());
        let schema = Schema::new(vec![
            text("table"),
            text("type"),
            text("id"),
            long("segments"),
        ]);
        let names = tables.iter().map(|table| table.spec.name.to_string());
        let types = tables.iter().map(|table| table.spec.table_type.to_string());
        let ids = tables.iter().map(|table| table.spec.id.to_string());
        let counts = tables.iter().map(|table| table.segments.len() as i64);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(names)),
            Arc::new(StringViewArray::from_iter_values(types)),
            Arc::new(StringViewArray::from_iter_values(ids)),
            Arc::new(Int64Array::from_iter_values(counts)),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
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
    live.keys().any(|(table, partition, sequence)| {
        let known = newest.get(&(table.clone(), *partition));
        // While its commit is under way a segment has a successor that nobody else knows.
        let before = (table.clone(), *partition, *sequence - 1);
        known.is_some_and(|known| known < sequence) && !live.contains_key(&before)
    })
}

/// The rows of all servers. Who does not answer is named in a warning.
async fn from_servers(context: &QueryContext, table: &str, schema: &SchemaRef) -> Vec<RecordBatch> {
    let request = SystemRowsRequest {
        table: table.to_owned(),
        deadline_ms: context.deadline_ms,
    };
    let servers = context
        .cluster
        .instances
        .values()
        .filter(|i| i.alive && i.role == Role::Server);
    let left_ms = context.deadline_ms - context.clock.now_ms();
    let timeout = Duration::from_millis(left_ms.max(0) as u64 / 2);
    let answers = join_all(servers.map(async |server| {
        let rows = rows_of(context, server, request.clone(), schema);
        let rows = tokio::time::timeout(timeout, rows).await;
        let late = || Fault::timeout("it did not answer in time");
        rows.unwrap_or_else(|_| Err(late()))
            .map_err(|fault| (&server.id, fault))
    }))
    .await;
    let mut batches = Vec::new();
    for answer in answers {
        match answer {
            Ok(answer) => batches.extend(answer),
            Err((server, fault)) => {
                let warning = format!("rows of `{server}` are not included: {fault}");
                let mut stats = context.stats.lock();
                if !stats.warnings.contains(&warning) {
                    stats.warnings.push(warning);
                }
            }
        }
    }
    batches
}

async fn rows_of(
    context: &QueryContext,
    server: &InstanceState,
    request: SystemRowsRequest,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>, Fault> {
    let reply = context.network.server(server)?.system_rows(request).await?;
    if let Some(fault) = reply.fault {
        return Err(fault.into());
    }
    if reply.batches.is_empty() {
        return Ok(Vec::new());
    }
    let damaged = |error: ArrowError| Fault::internal(format!("its answer is damaged: {error}"));
    let batches = decode_batches(&reply.batches).map_err(damaged)?;
    let batches = batches
        .into_iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec()));
    batches.collect::<Result<_, _>>().map_err(damaged)
}

async fn rejected_rows(context: &QueryContext) -> Result<RecordBatch> {
    let batches = from_servers(context, REJECTED_ROWS, &REJECTED_SCHEMA).await;
    let all = arrow::compute::concat_batches(&REJECTED_SCHEMA, &batches)?;
    // Replicas reject the same rows.
    let tables = all.column(0).as_string_view();
    let partitions = all.column(1).as_primitive::<Int32Type>();
    let offsets = all.column(2).as_primitive::<Int64Type>();
    let mut seen = HashSet::new();
    let first = (0..all.num_rows())
        .map(|row| seen.insert((tables.value(row), partitions.value(row), offsets.value(row))));
    let keep: BooleanArray = first.map(Some).collect();
    Ok(arrow::compute::filter_record_batch(&all, &keep)?)
}

/// Of several replicas the one that is farthest.
fn live_numbers(batches: &[RecordBatch]) -> Live {
    let mut live = Live::new();
    for batch in batches {
        let number =
            |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let key = key_at(batch, row);
            let numbers = [3, 4, 5, 6, 7].map(|column| number(column, row));
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
    record: &'a SegmentRecord,
    live: Option<[i64; 5]>,
    servers: String,
    indexes: String,
}

/// A number of a segment: from its record, or as servers count now.
type Number = dyn Fn(&SegmentRecord, Option<[i64; 5]>) -> Option<i64>;

fn segments_batch(rows: &[SegmentRow<'_>]) -> Result<RecordBatch> {
    let int = |name: &str| Field::new(name, DataType::Int32, false);
    let schema = Schema::new(vec![
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
        long("bytes"),
        long("crc"),
        time("created"),
        time("sealed"),
        text("servers"),
        text("indexes"),
    ]);
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
        longs(&|record, _| Some(record.bytes as i64)),
        longs(&|record, _| Some(i64::from(record.crc))),
        times(&|record| Some(record.created_ms)),
        times(&|record| record.sealed_ms),
        Arc::new(StringViewArray::from_iter_values(servers)),
        Arc::new(StringViewArray::from_iter_values(indexes)),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
