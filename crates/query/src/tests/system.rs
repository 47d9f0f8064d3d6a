//! System tables: sealed segments from the state, the rest from servers, replicas once.

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::Int64Array;
use async_trait::async_trait;
use schemas::cluster::SegmentState;
use schemas::task::{ReconcilerStatus, Task, TaskKind};
use schemas::{Fault, TableId, proto};

use super::double::Cluster;
use super::*;
use crate::system::{
    CONSUMING, CONSUMING_SCHEMA, INDEXES, INDEXES_SCHEMA, REJECTED_ROWS, REJECTED_SCHEMA,
};

fn consuming(table: TableId, partition: i32, end: i64, rows: i64) -> RecordBatch {
    let long = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let int = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let id: ArrayRef = Arc::new(StringViewArray::from_iter_values([table.to_string()]));
    let columns = vec![
        id,
        int(partition),
        int(2),
        long(end),
        long(rows),
        long(1),
        long(0),
        long(0),
        long(0),
        long(0),
    ];
    RecordBatch::try_new(Arc::clone(&CONSUMING_SCHEMA), columns).unwrap()
}

/// Of the first segment of a partition.
fn indexes(table: TableId, partition: i32, of: &[(&str, &str)]) -> RecordBatch {
    let text = |texts: Vec<&str>| Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef;
    let int = |value: i32| Arc::new(Int32Array::from(vec![value; of.len()])) as ArrayRef;
    let table = table.to_string();
    let columns = vec![
        text(vec![&table; of.len()]),
        int(partition),
        int(0),
        text(of.iter().map(|(server, _)| *server).collect()),
        text(of.iter().map(|(_, index)| *index).collect()),
    ];
    RecordBatch::try_new(Arc::clone(&INDEXES_SCHEMA), columns).unwrap()
}

fn rejected(offsets: &[i64]) -> RecordBatch {
    let same = |text: &'static str| {
        Arc::new(StringViewArray::from_iter_values(
            offsets.iter().map(|_| text),
        )) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        same("flights"),
        Arc::new(offsets.iter().map(|_| Some(0)).collect::<Int32Array>()),
        Arc::new(Int64Array::from(offsets.to_vec())),
        Arc::new(
            offsets
                .iter()
                .map(|_| Some(5))
                .collect::<TimestampMillisecondArray>(),
        ),
        same("no time"),
        same("{}"),
    ];
    RecordBatch::try_new(Arc::clone(&REJECTED_SCHEMA), columns).unwrap()
}

/// Knows one task, and is asked for nothing else.
struct OneTask;

fn no<T>() -> Result<T, Fault> {
    Err(Fault::unavailable("not asked for in these tests"))
}

#[async_trait]
impl rpc::ControlApi for OneTask {
    async fn watch(&self, _: proto::WatchRequest) -> Result<rpc::UpdateStream, Fault> {
        no()
    }
    async fn heartbeat(&self, _: proto::HeartbeatRequest) -> Result<proto::HeartbeatReply, Fault> {
        no()
    }
    async fn segment_consumed(
        &self,
        _: proto::SegmentConsumedRequest,
    ) -> Result<proto::SegmentConsumedReply, Fault> {
        no()
    }
    async fn commit_start(
        &self,
        _: proto::CommitStartRequest,
    ) -> Result<proto::CommitReply, Fault> {
        no()
    }
    async fn commit_end(&self, _: proto::CommitEndRequest) -> Result<proto::CommitReply, Fault> {
        no()
    }
    async fn add_segment(&self, _: proto::AddSegmentRequest) -> Result<proto::CommitReply, Fault> {
        no()
    }
    async fn lease_task(&self, _: proto::LeaseTaskRequest) -> Result<proto::LeaseTaskReply, Fault> {
        no()
    }
    async fn finish_task(
        &self,
        _: proto::FinishTaskRequest,
    ) -> Result<proto::FinishTaskReply, Fault> {
        no()
    }
    async fn tasks(&self, _: proto::TasksRequest) -> Result<proto::TasksReply, Fault> {
        let keys = vec!["a".to_owned(), "b".to_owned()];
        let segments = Vec::new();
        let task = Task {
            leased_until_ms: i64::MAX,
            leased_by: "Minion_a".to_owned(),
            attempts: 2,
            last_error: "no room".to_owned(),
            ..Task::new(TaskKind::RemoveObjects { keys, segments })
        };
        let status = ReconcilerStatus {
            name: "moves".to_owned(),
            controller: "Controller_a".to_owned(),
            passes: 7,
            summary: "nothing is on its way".to_owned(),
            ..ReconcilerStatus::default()
        };
        Ok(proto::TasksReply {
            tasks: vec![serde_json::to_vec(&task).unwrap().into()],
            reconcilers: vec![serde_json::to_vec(&status).unwrap().into()],
        })
    }
}

#[tokio::test]
async fn tasks_are_those_of_the_controller() {
    let cluster = with_rows();
    let sql = "SELECT kind, state, objects, attempts, leased_by, last_error FROM sys.tasks \
               WHERE kind NOT LIKE 'reconcile_%'";
    let given = cluster.standard(sql).await.unwrap();
    let wanted = "remove_objects|RUNNING|2|2|Minion_a|no room";
    assert_eq!(given.rows(), [wanted]);
    let sql = "SELECT id, kind, state, attempts, leased_by, summary FROM sys.tasks WHERE \
               kind LIKE 'reconcile_%'";
    let given = cluster.standard(sql).await.unwrap();
    let wanted = "moves|reconcile_moves|RUNNING|7|Controller_a|nothing is on its way";
    assert_eq!(given.rows(), [wanted]);
}

fn with_rows() -> Cluster {
    let flights = laid_flights();
    let table = flights.state.spec.id;
    let of_server = |live: RecordBatch, offsets: &[i64], indexes: RecordBatch| {
        HashMap::from([
            (CONSUMING.to_owned(), live),
            (INDEXES.to_owned(), indexes),
            (REJECTED_ROWS.to_owned(), rejected(offsets)),
        ])
    };
    let of_s1 = [("s1", "star_tree(a,b)"), ("s1", "inverted(a)")];
    // Another server still has the segment, and does not answer for it.
    let of_s2 = [("s2", "bloom(a)"), ("s1", "inverted(a)")];
    let rows = HashMap::from([
        (
            "s1",
            of_server(
                consuming(table, 0, 211, 10),
                &[3, 4],
                indexes(table, 0, &of_s1),
            ),
        ),
        (
            "s2",
            of_server(
                consuming(table, 1, 225, 24),
                &[4, 5],
                indexes(table, 1, &of_s2),
            ),
        ),
    ]);
    let tables = vec![flights, laid_airlines()];
    let cluster = Cluster::with_system(&["s1", "s2"], tables, rows, 1 << 20);
    cluster.network.register_controller(Arc::new(OneTask));
    cluster
}

#[tokio::test]
async fn the_ledger_joins_state_and_servers() {
    let cluster = with_rows();
    let sql = "SELECT \"partition\", sequence, status, start_offset, end_offset, \"rows\", rejected, \
               servers FROM sys.segments WHERE \"table\" = 'flights' ORDER BY 1, 2";
    assert_eq!(
        cluster.standard(sql).await.unwrap().rows(),
        [
            "0|0|DONE|0|100|100|0|s1",
            "0|1|DONE|100|200|110|0|s1",
            "0|2|IN_PROGRESS|200|211|10|1|s1",
            "1|0|DONE|0|100|50|0|s2",
            "1|1|DONE|100|200|40|0|s2",
            "1|2|IN_PROGRESS|200|225|24|1|s2",
        ]
    );
    let indexes = "SELECT \"partition\", indexes FROM sys.segments WHERE \"table\" = 'flights' \
                   AND sequence = 0 ORDER BY 1";
    assert_eq!(
        cluster.standard(indexes).await.unwrap().rows(),
        ["0|inverted(a), star_tree(a,b)", "1|bloom(a)"]
    );
    let tables = "SELECT \"table\", type, segments FROM sys.tables ORDER BY 1";
    let tables = cluster.standard(tables).await.unwrap();
    assert_eq!(tables.rows(), ["airlines|OFFLINE|1", "flights|REALTIME|6"]);
}

const REFERENCE: &str = include_str!("../../../../docs/reference/system-tables.md");

/// Name and type of each column of the table with this heading.
fn documented(table: &str) -> Vec<(String, String)> {
    let heading = format!("## `sys.{table}`");
    let section = REFERENCE.split_once(&heading).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let columns = section.lines().filter(|line| line.starts_with("| `"));
    let columns = columns.map(|line| {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap().trim_matches('`');
        (name.to_owned(), cells.next().unwrap().to_owned())
    });
    columns.collect()
}

#[tokio::test]
async fn the_reference_names_every_column() {
    let cluster = with_rows();
    for table in crate::system::SystemTables::NAMES {
        let given = cluster
            .standard(&format!("SELECT * FROM sys.{table}"))
            .await;
        let schema = given.unwrap().batches[0].schema();
        let columns = schema.fields().iter().map(|field| {
            let shown = match field.data_type().to_string().as_str() {
                "Utf8View" => "STRING",
                "Int32" => "INT",
                "Int64" => "LONG",
                "Float64" => "DOUBLE",
                "Boolean" => "BOOLEAN",
                "Timestamp(ms)" => "TIMESTAMP",
                other => panic!("{other}"),
            };
            (field.name().clone(), shown.to_owned())
        });
        assert_eq!(columns.collect::<Vec<_>>(), documented(table), "{table}");
    }
    let documented = REFERENCE.matches("\n## `sys.").count();
    assert_eq!(documented, crate::system::SystemTables::NAMES.len());
}

#[tokio::test]
async fn a_ledger_that_does_not_add_up_is_found() {
    let cluster = with_rows();
    let query = REFERENCE.split("```sql\n").nth(1).unwrap();
    let query = query.split("```").next().unwrap();
    let query = format!("{query} HAVING \"table\" = 'flights'");
    let mut rows = cluster.standard(&query).await.unwrap().rows();
    rows.sort();
    // Sealed segments of this cluster hold more or fewer rows than offsets: that is found.
    assert_eq!(rows, ["flights|0|-10", "flights|1|110"]);
}

#[tokio::test]
async fn rejected_rows_of_replicas_are_seen_once() {
    let cluster = with_rows();
    let sql = "SELECT \"table\", \"offset\", reason FROM sys.rejected_rows ORDER BY 2";
    let given = cluster.standard(sql).await.unwrap();
    let wanted = [
        "flights|3|no time",
        "flights|4|no time",
        "flights|5|no time",
    ];
    assert_eq!(given.rows(), wanted);
    assert!(given.stats.warnings.is_empty());
    cluster.manners("s1", |m| m.refuses = Some(Fault::unavailable("gone")));
    let given = cluster.standard(sql).await.unwrap();
    assert_eq!(given.rows(), wanted[1..]);
    assert!(
        given.stats.warnings[0].contains("`s1`"),
        "{:?}",
        given.stats.warnings
    );
}

/// The replica that has sealed the segment counts it no more, and the other one is behind.
#[tokio::test]
async fn the_ledger_waits_for_a_seal_that_others_know() {
    let cluster = with_rows();
    let is_open = |one: &&mut SegmentState| one.record.id.partition == 0 && !one.record.is_done();
    change(&cluster, "flights_REALTIME", |table| {
        let open = table.segments.iter_mut().find(is_open).unwrap();
        open.record.end = Some(260);
        let mut next = open.clone();
        next.record.id.sequence += 1;
        (next.record.start, next.record.end) = (260, None);
        table.segments.put(next);
    });
    let sql = "SELECT sequence, status, start_offset, end_offset, \"rows\", rejected \
               FROM sys.segments WHERE \"table\" = 'flights' AND \"partition\" = 0 ORDER BY 1";
    let committed = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        change(&cluster, "flights_REALTIME", |table| {
            let sealed = &mut table.segments.iter_mut().find(is_open).unwrap().record;
            sealed.status = SegmentStatus::Done;
            (sealed.ledger.rows, sealed.ledger.rejected) = (58, 2);
        });
    };
    let (given, ()) = tokio::join!(cluster.standard(sql), committed);
    assert_eq!(
        given.unwrap().rows()[2..],
        ["2|DONE|200|260|58|2", "3|IN_PROGRESS|260|260|0|0"]
    );
}
