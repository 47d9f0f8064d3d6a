//! A cluster for tests: servers that execute fragments over tables in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use access::Caller;
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::compute::is_null;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::common::{Result as DfResult, internal_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::conjunction;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use parking_lot::Mutex;
use rpc::{AnswerStream, FragmentApi, InProcessNetwork};
use runtime::ManualClock;
use schemas::arrow::tested_by;
use schemas::cluster::{ClusterState, InstanceState, Role, SegmentState, TableState};
use schemas::proto::{
    FragmentAnswer, FragmentRequest, MissingSegment, ScanStats, SegmentRef, SystemRowsReply,
    SystemRowsRequest,
};
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::{Fault, InstanceId, SegmentId, TableId, TableSpec};
use tokio::sync::watch;

use crate::codec::{PLAN_FORMAT, ScanFactory, decode_plan};
use crate::ipc::encode_batches;
use crate::parameters::Parameters;
use crate::scan_exec::ScanDescription;
use crate::system::BrokerTables;
use crate::{
    Answer, Dialect, Options, Planner, PlannerConfig, QueryContext, QueryStats, Servers, Statement,
};

pub(super) const NOW_MS: i64 = 1_400_000_000_000;

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    pub(super) refuses: Option<Fault>,
    /// Partition and sequence of segments that it does not have, though it should.
    pub(super) lost: HashSet<(TableId, u32, u32)>,
    /// Its answers end before their last message.
    pub(super) breaks_off: bool,
    /// It never answers.
    pub(super) hangs: bool,
}

/// Rows by segment, in the columns of the spec and the virtual ones.
type Held = HashMap<SegmentId, RecordBatch>;

#[derive(Debug, Default)]
pub(super) struct FakeServer {
    pub(super) held: Held,
    pub(super) manners: Mutex<Manners>,
    pub(super) requests: Mutex<Vec<FragmentRequest>>,
    pub(super) given_up: AtomicUsize,
    pub(super) system: HashMap<String, RecordBatch>,
}

#[derive(Debug)]
struct MemoryScan(HashMap<TableId, Vec<RecordBatch>>);

/// A column as a server gives it: with defaults in the place of nulls where none may be.
fn seen(batch: &RecordBatch, field: &Field) -> ArrayRef {
    let column = |name: &str| batch.column_by_name(name).expect("a column of the spec");
    if let Some(tested) = tested_by(field.name()) {
        return Arc::new(is_null(column(tested)).unwrap());
    }
    let own = column(field.name());
    match own.as_primitive_opt::<Int32Type>() {
        Some(numbers) if !field.is_nullable() => {
            let filled = numbers.iter().map(|number| number.unwrap_or(i32::MIN));
            Arc::new(Int32Array::from_iter_values(filled))
        }
        _ => Arc::clone(own),
    }
}

impl ScanFactory for MemoryScan {
    fn scan(&self, description: ScanDescription) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = self.0.get(&description.table);
        let rows = rows.ok_or_else(|| internal_datafusion_err!("a table that was not given"))?;
        let schema = &description.table_schema;
        let in_order = |batch: &RecordBatch| {
            let columns = schema.fields().iter().map(|field| seen(batch, field));
            RecordBatch::try_new(Arc::clone(schema), columns.collect())
        };
        let rows: Result<Vec<_>, _> = rows.iter().map(in_order).collect();
        let mut plan: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&[rows?], Arc::clone(schema), None)?;
        if !description.filters.is_empty() {
            let all = conjunction(description.filters.clone());
            plan = Arc::new(FilterExec::try_new(all, plan)?);
        }
        let columns = description.projection.iter().map(|at| {
            let name = schema.field(*at).name();
            let column = datafusion::physical_expr::expressions::col(name, schema)?;
            Ok((column, name.clone()))
        });
        let columns = columns.collect::<DfResult<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
    }
}

fn decoded(
    request: &FragmentRequest,
    task: &TaskContext,
    rows: Arc<MemoryScan>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let parameters = Parameters::from_bytes(&request.parameters)?;
    Ok(decode_plan(&request.plan, &parameters, task, rows)?.plan)
}

impl FakeServer {
    async fn answer(&self, request: FragmentRequest) -> Result<FragmentAnswer, Fault> {
        let lost = self.manners.lock().lost.clone();
        let mut rows: HashMap<TableId, Vec<RecordBatch>> = HashMap::new();
        let mut missing = Vec::new();
        for scan in &request.tables {
            let table = TableId::from_bytes(&scan.table_id).unwrap();
            let of_table = rows.entry(table).or_default();
            let lacks = |segment| MissingSegment {
                table_id: scan.table_id.clone(),
                segment: Some(segment),
            };
            let mut take = |partition, sequence| {
                let id = SegmentId {
                    table,
                    partition,
                    sequence,
                };
                let held = self.held.get(&id);
                match held.filter(|_| !lost.contains(&(table, partition, sequence))) {
                    Some(batch) => of_table.push(batch.clone()),
                    None => return false,
                }
                true
            };
            for sealed in &scan.sealed {
                if !take(sealed.partition, sealed.sequence) {
                    missing.push(lacks(*sealed));
                }
            }
            for run in &scan.consuming {
                let (partition, mut sequence) = (run.partition, run.from_sequence);
                if !take(partition, sequence) {
                    let (crc, sequence) = (0, run.from_sequence);
                    missing.push(lacks(SegmentRef {
                        partition,
                        sequence,
                        crc,
                    }));
                    continue;
                }
                sequence += 1;
                while take(partition, sequence) {
                    sequence += 1;
                }
            }
        }
        let docs_total = rows
            .values()
            .flatten()
            .map(|batch| batch.num_rows() as u64)
            .sum();
        let session = SessionContext::new();
        let task: Arc<TaskContext> = session.task_ctx();
        let failed = |error| crate::to_fault(&error, "");
        let plan = decoded(&request, &task, Arc::new(MemoryScan(rows))).map_err(failed)?;
        let schema = plan.schema();
        let batches = collect(plan, task).await.map_err(failed)?;
        let batches = encode_batches(&schema, &batches).unwrap();
        Ok(FragmentAnswer {
            batches,
            last: true,
            stats: Some(ScanStats {
                docs_total,
                ..ScanStats::default()
            }),
            missing,
            ..FragmentAnswer::default()
        })
    }
}

/// The network hands out `Arc<dyn FragmentApi>`; the test keeps the server.
struct Handle(Arc<FakeServer>);

/// A request that was given up.
struct Dropped(Arc<FakeServer>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl FragmentApi for Handle {
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault> {
        self.0.requests.lock().push(request.clone());
        if let Some(fault) = self.0.manners.lock().refuses.clone() {
            return Err(fault);
        }
        if self.0.manners.lock().hangs {
            let dropped = Dropped(Arc::clone(&self.0));
            let never = futures::stream::pending().map(move |answer| {
                let _until_it_is_given_up = &dropped;
                answer
            });
            return Ok(never.boxed());
        }
        let last = !self.0.manners.lock().breaks_off;
        let answer = match self.0.answer(request).await {
            Ok(answer) => FragmentAnswer { last, ..answer },
            Err(fault) => FragmentAnswer {
                last: true,
                fault: Some(fault.into()),
                ..FragmentAnswer::default()
            },
        };
        Ok(futures::stream::iter([Ok(answer)]).boxed())
    }

    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        if let Some(fault) = self.0.manners.lock().refuses.clone() {
            return Err(fault);
        }
        let rows = self.0.system.get(&request.table);
        let batches =
            rows.map(|rows| encode_batches(&rows.schema(), std::slice::from_ref(rows)).unwrap());
        Ok(SystemRowsReply {
            batches: batches.unwrap_or_default(),
            fault: None,
        })
    }
}

/// A table and where its segments are.
pub(super) struct Laid {
    pub(super) state: TableState,
    rows: Vec<RecordBatch>,
}

impl Laid {
    pub(super) fn new(spec: TableSpec) -> Self {
        Self {
            state: TableState {
                spec,
                segments: Default::default(),
                paused: false,
                time_boundary_ms: None,
                reloads: Vec::new(),
                orders: Default::default(),
            },
            rows: Vec::new(),
        }
    }

    pub(super) fn segment(
        mut self,
        (partition, sequence): (u32, u32),
        status: SegmentStatus,
        servers: &[&str],
        rows: RecordBatch,
    ) -> Self {
        let spec = &self.state.spec;
        let id = SegmentId {
            table: spec.id,
            partition,
            sequence,
        };
        let start = i64::from(sequence) * 100;
        let mut record = SegmentRecord::consuming(id, spec, start, 0);
        record.status = status;
        if status == SegmentStatus::Done {
            record.end = Some(start + 100);
            record.crc = 7 + sequence;
            record.ledger = Ledger {
                rows: rows.num_rows() as u64,
                ..Ledger::default()
            };
        }
        let servers: schemas::cluster::Servers = servers
            .iter()
            .map(|name| InstanceId((*name).to_owned()))
            .collect();
        self.state.segments.put(SegmentState {
            record,
            assigned: servers.clone(),
            online: servers,
            hidden: false,
        });
        let at = self
            .state
            .segments
            .iter()
            .position(|one| one.record.id == id);
        self.rows.insert(at.unwrap(), rows);
        self
    }
}

pub(super) struct Cluster {
    pub(super) servers: HashMap<String, Arc<FakeServer>>,
    pub(super) state: watch::Sender<Arc<ClusterState>>,
    /// What the clock says, and whose turn it is.
    pub(super) now_ms: AtomicI64,
    /// By which servers are late.
    pub(super) clock: Arc<ManualClock>,
    /// What is known of servers from query to query; `None`: nothing.
    pub(super) known: Option<Arc<Servers>>,
    /// Of every query.
    pub(super) options: Options,
    pub(super) turn: AtomicUsize,
    pub(super) planner: Arc<Planner>,
    pub(super) network: Arc<InProcessNetwork>,
    /// Who asks.
    pub(super) caller: Caller,
    tables: Vec<Laid>,
}

/// What a query gave.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) stats: QueryStats,
    pub(super) columns: Vec<String>,
}

impl Cluster {
    pub(super) fn new(servers: &[&str], tables: Vec<Laid>) -> Self {
        Self::with_system(servers, tables, HashMap::new(), 64 << 20)
    }

    pub(super) fn with_system<'a>(
        servers: &[&'a str],
        tables: Vec<Laid>,
        mut system: HashMap<&'a str, HashMap<String, RecordBatch>>,
        memory_bytes: u64,
    ) -> Self {
        let network = Arc::new(InProcessNetwork::default());
        let mut state = ClusterState {
            version: 1,
            ..ClusterState::default()
        };
        let mut running = HashMap::new();
        for name in servers {
            let mut server = FakeServer {
                system: system.remove(name).unwrap_or_default(),
                ..FakeServer::default()
            };
            for table in &tables {
                for (segment, rows) in table.state.segments.iter().zip(&table.rows) {
                    if segment.online.iter().any(|id| id.0 == *name) {
                        let rows = with_virtual_columns(rows, &segment.record);
                        server.held.insert(segment.record.id, rows);
                    }
                }
            }
            let server = Arc::new(server);
            network.register_server(name, Arc::new(Handle(Arc::clone(&server))));
            running.insert((*name).to_owned(), server);
            let id = InstanceId((*name).to_owned());
            state.instances.insert(id.clone(), instance(id));
        }
        for table in &tables {
            let id = table.state.spec.id;
            state.tables.insert(id, Arc::new(table.state.clone()));
        }
        let (state, watched) = watch::channel(Arc::new(state));
        let config = PlannerConfig { memory_bytes };
        let planner = Arc::new(Planner::new(&config, watched, Arc::new(OwnTables)).unwrap());
        Self {
            servers: running,
            state,
            now_ms: AtomicI64::new(NOW_MS),
            clock: ManualClock::at_ms(NOW_MS),
            known: None,
            options: Options::default(),
            turn: AtomicUsize::new(0),
            network,
            caller: Caller::anyone(),
            planner,
            tables,
        }
    }

    pub(super) fn manners(&self, server: &str, change: impl FnOnce(&mut Manners)) {
        change(&mut self.servers[server].manners.lock());
    }

    pub(super) async fn standard(&self, sql: &str) -> Result<Given, Fault> {
        self.run(sql, Dialect::Standard).await
    }

    pub(super) async fn pinot(&self, sql: &str) -> Result<Given, Fault> {
        self.run(sql, Dialect::Pinot).await
    }

    async fn run(&self, sql: &str, dialect: Dialect) -> Result<Given, Fault> {
        let options = self.options.clone();
        let statement = Arc::new(self.planner.parse(sql, dialect, options, 10).await?);
        let context = Arc::new(self.context(&statement)?);
        let Answer { schema, batches } = self.planner.answer(&statement, &context).await?;
        let columns = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let stats = context.stats.lock().clone();
        Ok(Given {
            batches,
            stats,
            columns,
        })
    }

    /// Of a query that begins now.
    pub(super) fn context(&self, statement: &Statement) -> Result<QueryContext, Fault> {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        let known = self.known.clone().unwrap_or_else(|| {
            let clock = Arc::clone(&self.clock) as Arc<dyn runtime::Clock>;
            Arc::new(Servers::new(clock, Arc::new(()), 0))
        });
        let (turn, standing) = known.standing(self.turn.load(Ordering::Relaxed));
        Ok(QueryContext {
            network: Arc::clone(&self.network) as Arc<dyn rpc::Network>,
            clock: ManualClock::at_ms(now_ms),
            cluster: self.caller.visible(&self.state.borrow()),
            caller: self.caller.clone(),
            turn,
            deadline_ms: now_ms + 10_000,
            timeout_ms: 10_000,
            stop: Default::default(),
            null_mode: statement.null_mode,
            options: statement.scan_options()?,
            after: Default::default(),
            stats: Mutex::default(),
            indexes: Arc::default(),
            servers: Arc::clone(&known),
            standing,
            fixed_replica: statement.options.flag("useFixedReplica") == Some(true),
            allows_partial: statement.options.flag("allowPartialResults") == Some(true),
            exchanges: Default::default(),
            gathers: Default::default(),
            overflowed: Default::default(),
            gate: Arc::new(crate::Open),
            failed: Mutex::default(),
        })
    }

    /// The same statement by DataFusion alone, over all rows of the tables in one place.
    pub(super) async fn oracle(&self, sql: &str) -> Vec<RecordBatch> {
        let mut config = datafusion::prelude::SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let session = SessionContext::new_with_config(config);
        for table in &self.tables {
            let schema = table.rows[0].schema();
            let rows = vec![table.rows.clone()];
            let memory = datafusion::datasource::MemTable::try_new(schema, rows).unwrap();
            let name = table.state.spec.name.to_string();
            session.register_table(name, Arc::new(memory)).unwrap();
        }
        session.sql(sql).await.unwrap().collect().await.unwrap()
    }
}

/// The rows of a segment as a server has them: message i of it has offset `start` + i.
fn with_virtual_columns(rows: &RecordBatch, record: &SegmentRecord) -> RecordBatch {
    let count = rows.num_rows();
    let partition = Int32Array::from(vec![record.id.partition as i32; count]);
    let offsets = record.start..record.start + count as i64;
    let virtual_columns: [(&str, ArrayRef); 6] = [
        (
            "$segmentName",
            Arc::new(StringViewArray::from(vec![record.name.as_str(); count])),
        ),
        (
            "$docId",
            Arc::new(Int32Array::from_iter_values(0..count as i32)),
        ),
        ("$partition", Arc::new(partition.clone())),
        ("$partitionId", Arc::new(partition)),
        ("$offset", Arc::new(Int64Array::from_iter_values(offsets))),
        (
            "$ingestTime",
            Arc::new(TimestampMillisecondArray::from(vec![NOW_MS; count])),
        ),
    ];
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    for (name, column) in virtual_columns {
        fields.push(Arc::new(Field::new(
            name,
            column.data_type().clone(),
            false,
        )));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

pub(super) fn instance(id: InstanceId) -> InstanceState {
    InstanceState {
        address: String::new(),
        id,
        role: Role::Server,
        alive: true,
        plan_format: PLAN_FORMAT,
        exchange_format: 0,
        leads: false,
    }
}

impl Given {
    pub(super) fn rows(&self) -> Vec<String> {
        shown(&self.batches)
    }
}

/// One line of text for each row.
pub(super) fn shown(batches: &[RecordBatch]) -> Vec<String> {
    use arrow::util::display::array_value_to_string;
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter();
            let cells = cells.map(|column| array_value_to_string(column, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

/// As a broker has them, without rows.
#[derive(Debug)]
struct OwnTables;

impl BrokerTables for OwnTables {
    fn rows(&self, table: &str, _: &Caller) -> Option<Result<RecordBatch, ArrowError>> {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let long = |name: &str| Field::new(name, DataType::Int64, true);
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let fields = match table {
            "metrics" => vec![
                text("metric"),
                text("labels"),
                number("value"),
                text("description"),
            ],
            "settings" => vec![text("setting"), text("value"), text("default")],
            "queries" => vec![
                long("id"),
                text("state"),
                text("sql"),
                text("client_id"),
                Field::new("started", time, true),
                number("elapsed_ms"),
                number("cpu_ms"),
                long("rows"),
                long("docs_scanned"),
                long("servers"),
                text("plan"),
                text("error"),
                text("principal"),
            ],
            _ => return None,
        };
        Some(Ok(RecordBatch::new_empty(Arc::new(Schema::new(fields)))))
    }
}
