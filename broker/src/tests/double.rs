//! A controller that publishes one state, a server that holds one batch, and a client.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Float64Array, Int32Array, RecordBatch,
    StringViewArray, TimestampMillisecondArray,
};
use async_trait::async_trait;
use datafusion::common::Result as DfResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_expr::conjunction;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use query::codec::{PLAN_FORMAT, ScanFactory, decode_plan};
use query::ipc::encode_batches;
use query::parameters::Parameters;
use query::scan_exec::ScanDescription;
use rpc::{AnswerStream, ControlApi, FragmentApi, InProcessNetwork, UpdateStream};
use runtime::{SystemClock, TaskGroup};
use schemas::arrow::full_schema;
use schemas::cluster::{InstanceState, Role, SegmentState, Servers, TableState};
use schemas::proto::*;
use schemas::segment::{SegmentRecord, SegmentStatus};
use schemas::table::ColumnSpec;
use schemas::{DataType, Fault, FieldRole, InstanceId, SegmentId, TableSpec, TableType};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Broker, Config, Limits, Parts};

/// Age of the newest row when a server answers.
pub(super) const NEWEST_AGE_MS: i64 = 40;

pub(super) fn spec() -> TableSpec {
    let columns = [
        ("id", DataType::Int),
        ("name", DataType::String),
        ("score", DataType::Double),
        ("ok", DataType::Boolean),
        ("ts", DataType::Timestamp),
        ("raw", DataType::Bytes),
    ];
    let columns =
        columns.map(|(name, data_type)| ColumnSpec::new(name, data_type, FieldRole::Dimension));
    TableSpec {
        time_column: Some("ts".to_owned()),
        ..TableSpec::new(
            "things".parse().unwrap(),
            TableType::Offline,
            columns.to_vec(),
        )
    }
}

fn rows(spec: &TableSpec) -> RecordBatch {
    let full = full_schema(spec, NullMode::Defaults);
    let own: Vec<usize> = (0..spec.columns.len()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2, 3])),
        Arc::new(StringViewArray::from(vec!["a", "b", "ü\"\n"])),
        Arc::new(Float64Array::from(vec![1.0, f64::NAN, 12_345_678.5])),
        Arc::new(BooleanArray::from(vec![true, false, true])),
        Arc::new(TimestampMillisecondArray::from(vec![
            0,
            1_356_998_400_120,
            5,
        ])),
        Arc::new(BinaryViewArray::from_iter_values([
            &[10u8, 255][..],
            &[],
            &[0],
        ])),
    ];
    RecordBatch::try_new(Arc::new(full.project(&own).unwrap()), columns).unwrap()
}

pub(crate) fn state(spec: &TableSpec, online: &[&str]) -> TableState {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence: 0,
    };
    let mut record = SegmentRecord::consuming(id, spec, 0, 0);
    record.status = SegmentStatus::Done;
    record.ledger.rows = 3;
    let online: Servers = online
        .iter()
        .map(|name| InstanceId((*name).into()))
        .collect();
    TableState {
        spec: spec.clone(),
        segments: vec![SegmentState {
            record,
            assigned: online.clone(),
            online,
            hidden: false,
        }]
        .into(),
        paused: false,
        time_boundary_ms: Some(77),
        reloads: Vec::new(),
        orders: Default::default(),
    }
}

struct Server {
    rows: RecordBatch,
    late_by: Arc<Mutex<Duration>>,
}

#[derive(Debug)]
struct OneBatch(RecordBatch);

impl ScanFactory for OneBatch {
    fn scan(&self, description: ScanDescription) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = &description.table_schema;
        let columns = schema
            .fields()
            .iter()
            .map(|field| Arc::clone(&self.0[field.name().as_str()]));
        let rows = RecordBatch::try_new(Arc::clone(schema), columns.collect())?;
        let mut plan: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&[vec![rows]], Arc::clone(schema), None)?;
        if !description.filters.is_empty() {
            let filter = conjunction(description.filters.clone());
            plan = Arc::new(FilterExec::try_new(filter, plan)?);
        }
        let columns = description.projection.iter().map(|at| {
            let name = schema.field(*at).name();
            Ok((col(name, schema)?, name.clone()))
        });
        let columns = columns.collect::<DfResult<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
    }
}

#[async_trait]
impl FragmentApi for Server {
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault> {
        // The broker looks whether the server is there.
        if request.plan.is_empty() {
            let nothing = FragmentAnswer {
                last: true,
                ..FragmentAnswer::default()
            };
            return Ok(stream::iter([Ok(nothing)]).boxed());
        }
        let late_by = *self.late_by.lock();
        tokio::time::sleep(late_by).await;
        let task = SessionContext::new().task_ctx();
        let parameters = Parameters::from_bytes(&request.parameters).unwrap();
        let factory = Arc::new(OneBatch(self.rows.clone()));
        let plan = decode_plan(&request.plan, &parameters, &task, factory)
            .unwrap()
            .plan;
        let schema = plan.schema();
        let batches = collect(plan, task).await.unwrap();
        let answer = FragmentAnswer {
            batches: encode_batches(&schema, &batches).unwrap(),
            last: true,
            stats: Some(ScanStats {
                segments_queried: 5,
                segments_processed: 1,
                segments_matched: 1,
                docs_total: 3,
                docs_scanned: 2,
                indexes: vec!["inverted(name)".to_owned()],
                segments_pruned: 4,
                native_operators: 1,
                ..ScanStats::default()
            }),
            progress: vec![TableProgress {
                newest_event_ms: SystemClock::shared().now_ms() - NEWEST_AGE_MS,
                ..TableProgress::default()
            }],
            ..FragmentAnswer::default()
        };
        Ok(stream::iter([Ok(answer)]).boxed())
    }

    async fn system_rows(&self, _: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        Ok(SystemRowsReply::default())
    }
}

/// Publishes the states one after the other, each when the one before was waited for.
struct Controller(Mutex<Vec<ClusterUpdate>>);

fn no<T>() -> Result<T, Fault> {
    Err(Fault::internal("not in this test"))
}

#[async_trait]
impl ControlApi for Controller {
    async fn watch(&self, _: WatchRequest) -> Result<UpdateStream, Fault> {
        let updates = std::mem::take(&mut *self.0.lock());
        let paced = stream::iter(updates.into_iter().enumerate()).then(async |(at, update)| {
            tokio::time::sleep(Duration::from_millis(300 * at as u64)).await;
            Ok(update)
        });
        Ok(paced.chain(stream::pending()).boxed())
    }
    async fn heartbeat(&self, _: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        Ok(HeartbeatReply::default())
    }
    async fn segment_consumed(
        &self,
        _: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        no()
    }
    async fn commit_start(&self, _: CommitStartRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn commit_end(&self, _: CommitEndRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn add_segment(&self, _: AddSegmentRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn lease_task(&self, _: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        no()
    }
    async fn finish_task(&self, _: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        no()
    }
}

pub(super) struct Running {
    pub(super) broker: Broker,
    pub(super) late_by: Arc<Mutex<Duration>>,
    address: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A broker over the states, which the controller publishes one after the other.
pub(super) async fn running(spec: &TableSpec, states: Vec<TableState>) -> Running {
    let instances = [InstanceState {
        id: InstanceId("s1".to_owned()),
        role: Role::Server,
        address: String::new(),
        alive: true,
        plan_format: PLAN_FORMAT,
        exchange_format: 0,
        leads: false,
    }];
    let updates = states.iter().enumerate().map(|(at, state)| ClusterUpdate {
        version: at as u64 + 1,
        complete: at == 0,
        tables: vec![serde_json::to_vec(state).unwrap().into()],
        removed_tables: Vec::new(),
        instances: serde_json::to_vec(&instances).unwrap().into(),
        ..ClusterUpdate::default()
    });
    let network = InProcessNetwork::default();
    network.register_controller(Arc::new(Controller(Mutex::new(updates.collect()))));
    let late_by = Arc::default();
    let server = Server {
        rows: rows(spec),
        late_by: Arc::clone(&late_by),
    };
    network.register_server("s1", Arc::new(server));
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = http.local_addr().unwrap().to_string();
    let config = Config {
        instance: InstanceId("Broker_127.0.0.1_8099".to_owned()),
        address: address.clone(),
        version: "0.1.0",
        query_timeout_ms: 10_000,
        default_limit: 10,
        memory_bytes: 64 << 20,
        limits: Limits {
            running_max: 32,
            waiting_max: 100,
            wait_max: Duration::from_secs(1),
        },
        entrance: rest::Entrance::default(),
        hedge_percent: 5,
        exchange_rows_min: 0,
        tenant_quotas: Vec::new(),
        examples: vec![("All".to_owned(), "SELECT 1".to_owned())],
        settings: Vec::new(),
    };
    let parts = Parts {
        network: Arc::new(network),
        membership: rpc::Membership::passing(SystemClock::shared()),
        clock: SystemClock::shared(),
        tasks: TaskGroup::new("broker"),
        http,
        streams: Arc::new(::stream::KafkaStreams),
    };
    let broker = crate::start(config, parts).await.unwrap();
    let running = Running {
        broker,
        late_by,
        address,
    };
    while running.get("/version").await.status != 200
        || running.broker.queries.cluster().version == 0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running
}

impl Running {
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "", &body.to_string()).await
    }

    /// The single-stage door.
    pub(super) async fn pinot(&self, sql: &str) -> Value {
        self.post("/query/sql", &serde_json::json!({ "sql": sql }))
            .await
            .json()
    }

    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }
}
