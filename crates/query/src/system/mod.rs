//! System tables, the schema `sys`.
//!
//! What the cluster's state says is told from it. What only servers know (rows that are being
//! consumed, rejected rows, indexes, consumers) is asked of all of them; replicas are counted once.
//! Nobody sees rows about a table that he may not read, nor about nodes without leave to.
//! Users read `docs/reference/system-tables.md`, which a test holds to the schemas here.

mod described;
mod functions;
mod information;
mod partitions;
mod segments;
mod tasks;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use access::{Action, Caller};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use futures::future::join_all;
use schemas::Fault;
use schemas::cluster::{ClusterState, InstanceState, Role};
use schemas::proto::SystemRowsRequest;
use tokio::sync::watch;

pub(crate) use information::CATALOG;

use crate::context::QueryContext;
use crate::fault::from_fault;
use crate::ipc::decode_batches;

/// The schemas of tables that nobody made.
pub(crate) const SYSTEM_SCHEMA: &str = "sys";
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// Told by the broker that is asked.
pub const QUERIES: &str = "queries";
pub const METRICS: &str = "metrics";
pub const SETTINGS: &str = "settings";

/// What a broker knows by itself.
pub trait BrokerTables: fmt::Debug + Send + Sync {
    /// `None`: it has no such table.
    /// Those that the caller may see.
    fn rows(&self, table: &str, caller: &Caller) -> Option<Result<RecordBatch, ArrowError>>;
}

pub const REJECTED_ROWS: &str = "rejected_rows";
pub const CONSUMING: &str = "consuming";
pub const CONSUMERS: &str = "consumers";
pub const INDEXES: &str = "indexes";
pub const INGEST_EVENTS: &str = "ingest_events";

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn text_or_null(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, false)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
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
    let numbers = [
        "end_offset",
        "rows",
        "rejected",
        "filtered",
        "absent",
        "unnested",
        "merged",
    ];
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

/// What happened to consumption, as each server saw it.
pub static INGEST_EVENTS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        time("time"),
        text("table"),
        int("partition"),
        text("server"),
        text("kind"),
        long("from_offset"),
        long("to_offset"),
        text("text"),
    ]))
});

/// Consumers of partitions as their server sees them; replicas have a row each.
pub static CONSUMERS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("table"),
        int("partition"),
        text("server"),
        text("state"),
        text("detail"),
        Field::new("next_offset", DataType::Int64, false),
        long("log_end_offset"),
        Field::new("rows", DataType::Int64, false),
        Field::new("rejected", DataType::Int64, false),
        text("last_rejection"),
        time("newest_event"),
        Field::new("rows_per_second", DataType::Float64, false),
    ]))
});

/// Answers from the newest state that the broker has: what a server commits while it is asked must
/// not be lost between its answer and an older state.
#[derive(Debug)]
pub(crate) struct SystemTables {
    cluster: watch::Receiver<Arc<ClusterState>>,
    functions: RecordBatch,
    broker: Arc<dyn BrokerTables>,
}

impl SystemTables {
    pub(crate) const NAMES: [&str; 12] = [
        "columns",
        "functions",
        INGEST_EVENTS,
        METRICS,
        "nodes",
        "partitions",
        QUERIES,
        REJECTED_ROWS,
        "segments",
        SETTINGS,
        "tables",
        "tasks",
    ];

    /// The functions are those of `session`.
    pub(crate) fn new(
        cluster: watch::Receiver<Arc<ClusterState>>,
        session: &SessionState,
        broker: Arc<dyn BrokerTables>,
    ) -> Result<Self> {
        Ok(Self {
            cluster,
            broker,
            functions: functions::functions(session)?,
        })
    }

    /// A table of one of the schemas above.
    pub(crate) async fn table(
        &self,
        (schema, name): (&str, &str),
        context: &QueryContext,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let cluster = &context.cluster;
        let is_of_nodes = ["nodes", METRICS, SETTINGS].contains(&name);
        if schema == SYSTEM_SCHEMA && is_of_nodes {
            let checked = context.caller.check_cluster(Action::Read);
            checked.map_err(from_fault)?;
        }
        let rows = match (schema, name) {
            (SYSTEM_SCHEMA, "columns") => described::columns(cluster)?,
            (SYSTEM_SCHEMA, "functions") => self.functions.clone(),
            (SYSTEM_SCHEMA, "nodes") => described::nodes(cluster)?,
            (SYSTEM_SCHEMA, "partitions") => partitions::partitions(context).await?,
            (SYSTEM_SCHEMA, "segments") => self.segments(context).await?,
            (SYSTEM_SCHEMA, REJECTED_ROWS) => rejected_rows(context).await?,
            (SYSTEM_SCHEMA, INGEST_EVENTS) => ingest_events(context).await?,
            (SYSTEM_SCHEMA, "tables") => described::tables(cluster)?,
            (SYSTEM_SCHEMA, "tasks") => tasks::tasks(context).await?,
            (INFORMATION_SCHEMA, name) => match information::table(name, cluster)? {
                Some(rows) => rows,
                None => return Ok(None),
            },
            (SYSTEM_SCHEMA, name) => match self.broker.rows(name, &context.caller) {
                Some(rows) => rows?,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        Ok(Some(Arc::new(table)))
    }

    pub(crate) fn names(schema: &str) -> &'static [&'static str] {
        match schema {
            SYSTEM_SCHEMA => &Self::NAMES,
            INFORMATION_SCHEMA => &information::NAMES,
            _ => &[],
        }
    }
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
        let asked = context.servers.asked(&server.id);
        let rows = rows_of(context, server, request.clone(), schema);
        let rows = tokio::select! {
            biased;
            rows = tokio::time::timeout(timeout, rows) => {
                rows.unwrap_or_else(|_| Err(Fault::timeout("it did not answer in time")))
            }
            () = context.servers.silent(&server.id) => {
                Err(Fault::unavailable("it does not answer"))
            }
        };
        if rows.is_ok() {
            asked.heard();
        }
        // It tells nothing about queries.
        asked.refused();
        rows.map_err(|fault| (&server.id, fault))
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

async fn ingest_events(context: &QueryContext) -> Result<RecordBatch> {
    let batches = from_servers(context, INGEST_EVENTS, &INGEST_EVENTS_SCHEMA).await;
    let all = arrow::compute::concat_batches(&INGEST_EVENTS_SCHEMA, &batches)?;
    visible(context, all, 1)
}

/// The rows of tables that the caller may read; `column` has their names.
fn visible(context: &QueryContext, all: RecordBatch, column: usize) -> Result<RecordBatch> {
    let tables = all.column(column).as_string_view().iter();
    let may = |table: Option<&str>| context.caller.may(Action::Read, table.unwrap_or_default());
    let keep: BooleanArray = tables.map(|table| Some(may(table))).collect();
    Ok(arrow::compute::filter_record_batch(&all, &keep)?)
}

async fn rejected_rows(context: &QueryContext) -> Result<RecordBatch> {
    let batches = from_servers(context, REJECTED_ROWS, &REJECTED_SCHEMA).await;
    let all = arrow::compute::concat_batches(&REJECTED_SCHEMA, &batches)?;
    let all = visible(context, all, 0)?;
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
