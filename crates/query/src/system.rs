//! System tables: `sys.segments` (the ledger), `sys.rejected_rows`, `sys.tables`.
//!
//! Sealed segments come from the cluster's state. What only servers know (rows that are being
//! consumed, rejected rows) is asked of all of them; replicas are counted once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::Result;
use futures::future::join_all;
use rpc::Network;
use schemas::cluster::{ClusterState, Role};
use schemas::proto::SystemRowsRequest;
use schemas::segment::SegmentRecord;
use tokio::sync::watch;

use crate::ipc::decode_batches;

pub const REJECTED_ROWS: &str = "rejected_rows";
pub const CONSUMING: &str = "consuming";

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

#[derive(Debug)]
pub struct SystemTables {
    cluster: watch::Receiver<Arc<ClusterState>>,
    network: Arc<dyn Network>,
}

/// Live numbers of a segment that is not committed: end, rows, rejected, filtered, absent.
type Live = BTreeMap<(String, i32, i32), [i64; 5]>;

impl SystemTables {
    pub fn new(cluster: watch::Receiver<Arc<ClusterState>>, network: Arc<dyn Network>) -> Self {
        Self { cluster, network }
    }

    async fn from_servers(&self, cluster: &ClusterState, table: &str) -> Vec<RecordBatch> {
        let request = SystemRowsRequest {
            table: table.to_owned(),
            deadline_ms: 0,
        };
        let servers = cluster
            .instances
            .values()
            .filter(|i| i.alive && i.role == Role::Server);
        let answers = join_all(servers.map(async |server| {
            let reply = self
                .network
                .server(server)?
                .system_rows(request.clone())
                .await?;
            decode_batches(&reply.batches)
                .map_err(|error| schemas::Fault::internal(error.to_string()))
        }))
        .await;
        let mut batches = Vec::new();
        for answer in answers {
            match answer {
                Ok(answer) => batches.extend(answer),
                Err(fault) => tracing::warn!(table, cause = %fault, "a server gave no rows"),
            }
        }
        batches
    }

    async fn segments(&self, cluster: &ClusterState) -> Result<RecordBatch> {
        let live = live_numbers(&self.from_servers(cluster, CONSUMING).await);
        let mut rows: Vec<(&str, &SegmentRecord, Option<[i64; 5]>, String)> = Vec::new();
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
                let now = if record.is_done() {
                    None
                } else {
                    live.get(&key).copied()
                };
                let servers: Vec<&str> = segment.online.iter().map(|s| s.0.as_str()).collect();
                rows.push((table.spec.name.as_str(), record, now, servers.join(",")));
            }
        }
        segments_batch(&rows)
    }

    async fn rejected_rows(&self, cluster: &ClusterState) -> Result<RecordBatch> {
        let batches = self.from_servers(cluster, REJECTED_ROWS).await;
        let all = arrow::compute::concat_batches(&REJECTED_SCHEMA, &batches)?;
        // Replicas reject the same rows.
        use arrow::array::AsArray;
        use arrow::datatypes::{Int32Type, Int64Type};
        let tables = all.column(0).as_string_view();
        let partitions = all.column(1).as_primitive::<Int32Type>();
        let offsets = all.column(2).as_primitive::<Int64Type>();
        let mut seen = std::collections::HashSet::new();
        let first = (0..all.num_rows())
            .map(|row| seen.insert((tables.value(row), partitions.value(row), offsets.value(row))));
        let keep: arrow::array::BooleanArray = first.map(Some).collect();
        Ok(arrow::compute::filter_record_batch(&all, &keep)?)
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

/// Of several replicas the one that is farthest.
fn live_numbers(batches: &[RecordBatch]) -> Live {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int32Type, Int64Type};
    let mut live = Live::new();
    for batch in batches {
        let number =
            |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        let small =
            |column: usize, row: usize| batch.column(column).as_primitive::<Int32Type>().value(row);
        for row in 0..batch.num_rows() {
            let key = (
                batch.column(0).as_string_view().value(row).to_owned(),
                small(1, row),
                small(2, row),
            );
            let numbers = [3, 4, 5, 6, 7].map(|column| number(column, row));
            let known = live.entry(key).or_insert(numbers);
            if known[0] < numbers[0] {
                *known = numbers;
            }
        }
    }
    live
}

fn segments_batch(
    rows: &[(&str, &SegmentRecord, Option<[i64; 5]>, String)],
) -> Result<RecordBatch> {
    let int = |name: &str| Field::new(name, DataType::Int32, false);
    let schema = Schema::new(vec![
        text("table"),
        text("segment"),
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
    ]);
    let texts = |of: &dyn Fn(&SegmentRecord) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            rows.iter().map(|(_, record, ..)| of(record)),
        ))
    };
    let ints = |of: &dyn Fn(&SegmentRecord) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            rows.iter().map(|(_, record, ..)| of(record) as i32),
        ))
    };
    let longs = |of: &dyn Fn(&SegmentRecord, Option<[i64; 5]>) -> Option<i64>| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|(_, record, live, _)| of(record, *live))
                .collect::<Int64Array>(),
        )
    };
    let times = |of: &dyn Fn(&SegmentRecord) -> Option<i64>| -> ArrayRef {
        let values = rows.iter().map(|(_, record, ..)| of(record));
        Arc::new(values.collect::<TimestampMillisecondArray>())
    };
    let tables = rows.iter().map(|(table, ..)| *table);
    let servers = rows.iter().map(|(.., servers)| servers.as_str());
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
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

const NAMES: [&str; 3] = ["segments", REJECTED_ROWS, "tables"];

#[async_trait]
impl SchemaProvider for SystemTables {
    fn table_names(&self) -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let cluster = Arc::clone(&self.cluster.borrow());
        let rows = match name {
            "segments" => self.segments(&cluster).await?,
            REJECTED_ROWS => self.rejected_rows(&cluster).await?,
            "tables" => Self::tables(&cluster)?,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(MemTable::try_new(
            rows.schema(),
            vec![vec![rows]],
        )?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }
}
