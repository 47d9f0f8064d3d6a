//! All that is known here of `datafusion-distributed`, and what it lacks.
//!
//! It cuts a plan into stages, sends each to the servers that carry it out, and lets them fetch
//! rows from each other. What it leaves to others is done here and in [`super::exec`]:
//! - **Where rows are is a fact, the number of tasks is a hint.** A plan is used only when every
//!   stage has its fragments on the servers that hold their rows ([`placed`]); else the broker
//!   gathers.
//! - **No deadline**: fragments know theirs and end with a fault, joins with a condition look at
//!   the one that is sent along, and the broker drops the query, which ends its streams and with
//!   them the tasks on all servers.
//! - **No retries, and nobody is to blame**: a channel names the server that it did not reach, in
//!   the fault; the query is planned anew without it. A frozen server is noticed by whoever looks
//!   after servers, long before HTTP/2 does.
//! - **Errors travel as text**: [`super::fault`].
//! - **What has ended is kept until something new comes**: a server lets nothing come ([`swept`]).
//! - **Streams that end early are reset**, which HTTP/2 counts against a connection: `rpc` raises
//!   those limits, and exchanges have connections of their own.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, plan_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::grpc::create_worker_client;
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, DesiredTaskCountEvent, DesiredTaskCountEventResponse,
    DistributedExec, DistributedExt, DistributedLeafExec, DistributedMetricsFormat,
    ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse, MaybeEncoded,
    NetworkBoundaryExt, RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, SetPlanRequest, TaskKey, Worker,
    WorkerChannel, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
    WorkerResolver, WorkerSessionBuilder, WorkerToCoordinatorMsg,
    rewrite_distributed_plan_with_metrics,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use rpc::{Door, Network};
use runtime::CancellationToken;
use schemas::cluster::InstanceState;
use schemas::proto::ScanStats;
use schemas::{Fault, InstanceId};
use tokio::runtime::Handle;
use url::Url;
use uuid::Uuid;

use super::Host;
use super::fault::Told;
use super::leaf::{FragmentsExec, LeafCodec, Share, counted};
use crate::context::QueryContext;
use crate::fault::from_fault;
use crate::gather::RemoteExec;
use crate::watched::{Deadline, Watch, watched};

type Plan = Arc<dyn ExecutionPlan>;
type Servers = Arc<[InstanceState]>;

/// What servers counted comes after the rows; nobody waits longer for it.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// Epoch milliseconds, and milliseconds.
const DEADLINE: &str = "x-tannin-deadline-ms";
const TIMEOUT: &str = "x-tannin-timeout-ms";
/// Of a stage that does nothing.
const SWEEPS: &str = "x-tannin-sweeps";
const SWEPT_EVERY: Duration = Duration::from_millis(500);

/// A plan in stages.
pub(super) struct Spread {
    plan: Plan,
    config: SessionConfig,
}

impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spread").field("plan", &self.plan).finish()
    }
}

impl Spread {
    /// `None`: the servers cannot carry it out.
    pub(super) async fn of(
        plan: Plan,
        session: &SessionState,
        context: &Arc<QueryContext>,
        servers: &Servers,
    ) -> Result<Option<Self>> {
        let urls = servers.iter().map(url_of).collect::<Result<Vec<_>>>()?;
        let state = SessionStateBuilder::new_from_existing(session.clone())
            .with_query_planner(Arc::new(Planned(plan)))
            .with_distributed_planner()
            .with_distributed_user_codec(LeafCodec::default())
            .with_distributed_worker_resolver(Workers(urls))
            .with_distributed_channel_resolver(Channels(Arc::clone(&context.network)))
            // Each input of a union runs on all servers: that is where its rows are.
            .with_distributed_children_isolator_unions(false)?
            .with_distributed_passthrough_headers(headers_of(context))?;
        let state = with_handlers(state, context, servers).build();
        let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(DFSchema::empty()),
        });
        let planner = Arc::clone(state.query_planner());
        let plan = planner.create_physical_plan(&nothing, &state).await?;
        if !plan.is::<DistributedExec>() {
            return Ok(None);
        }
        let [head] = plan.children()[..] else {
            return plan_err!("a plan in stages without a head");
        };
        let head = at_the_broker(Arc::clone(head))?;
        if !all_placed(&head, servers)? {
            return Ok(None);
        }
        let plan = DistributedExec::new(head).with_metrics_collection(true);
        Ok(Some(Self {
            plan: Arc::new(plan),
            config: state.config().clone(),
        }))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn execute(&self, task: &TaskContext) -> Result<SendableRecordBatchStream> {
        let task = TaskContext::new(
            None,
            "exchange".to_owned(),
            self.config.clone(),
            Default::default(),
            Default::default(),
            Default::default(),
            Default::default(),
            task.runtime_env(),
        );
        self.plan.execute(0, Arc::new(task))
    }

    /// What servers said of themselves, once all rows are there: the newest time of a row, and the
    /// stages with what they did.
    pub(super) async fn counted(&self, to: &mut ScanStats) -> (i64, Option<String>) {
        let format = DistributedMetricsFormat::Aggregated;
        let measured = rewrite_distributed_plan_with_metrics(Arc::clone(&self.plan), format);
        let Ok(Ok(measured)) = tokio::time::timeout(COUNTED_WITHIN, measured).await else {
            return (0, None);
        };
        let mut newest = 0;
        let looked = measured.apply(|node| {
            if let Some(metrics) = node.metrics() {
                newest = newest.max(counted(&metrics, to));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let shown = looked.ok().map(|_| self.lines(&measured, true));
        (newest, shown)
    }

    pub(super) fn shown(&self) -> String {
        self.lines(&self.plan, false)
    }

    /// `plan` may be wrapped, to hold metrics; fragments are shown from what was planned.
    fn lines(&self, plan: &Plan, with_metrics: bool) -> String {
        let mut fragments = Vec::new();
        fragments_of(&self.plan, &mut fragments);
        let mut lines = Lines {
            text: String::new(),
            fragments: fragments.into_iter(),
            with_metrics,
        };
        for head in plan.children() {
            lines.add(head, 0);
        }
        lines.text
    }
}

/// When the query ends, for joins that look at many pairs from one row to the next.
fn headers_of(context: &QueryContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DEADLINE, HeaderValue::from(context.deadline_ms));
    headers.insert(TIMEOUT, HeaderValue::from(context.timeout_ms));
    headers
}

fn watch_of(headers: &HeaderMap, host: &dyn Host) -> Watch {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let at_ms = text(DEADLINE).and_then(|text| text.parse().ok());
    let timeout_ms = text(TIMEOUT).and_then(|text| text.parse().ok());
    Watch {
        // Who gives up drops the streams.
        cancel: CancellationToken::new(),
        deadline: at_ms.map(|at_ms| Deadline {
            clock: Arc::clone(host.clock()),
            at_ms,
            timeout_ms: timeout_ms.unwrap_or(0),
        }),
    }
}

fn with_handlers(
    state: SessionStateBuilder,
    context: &Arc<QueryContext>,
    servers: &Servers,
) -> SessionStateBuilder {
    let tasks = servers.len();
    let (routed, scaled) = (Arc::clone(servers), Arc::clone(servers));
    let context = Arc::clone(context);
    state
        .with_distributed_desired_task_count_handler(move |ev: DesiredTaskCountEvent<'_>| {
            let remote = ev.plan.downcast_ref::<RemoteExec>()?;
            let tasks = if remote.parts().count() > 1 { tasks } else { 1 };
            Some(Ok(DesiredTaskCountEventResponse::desired(tasks)))
        })
        .with_distributed_scale_up_leaf_node_handler(move |ev: ScaleUpLeafNodeEvent<'_>| {
            ev.plan.downcast_ref::<RemoteExec>()?;
            let leaf = leaf(ev.plan, ev.task_count, &scaled, &context);
            Some(leaf.map(ScaleUpLeafNodeEventResponse::new))
        })
        .with_distributed_route_tasks_handler(move |ev: RouteTasksEvent<'_>| {
            let placed = placed(ev.plan, ev.task_count, &routed).transpose()?;
            let urls = placed.and_then(|on| on.into_iter().map(url_of).collect());
            Some(urls.map(RouteTasksEventResponse::new))
        })
}

/// A variant for each task, with the fragments of its server; with one task for all there is one
/// that has them all.
fn leaf(plan: &Plan, tasks: usize, servers: &Servers, context: &QueryContext) -> Result<Plan> {
    let Some(remote) = plan.downcast_ref::<RemoteExec>() else {
        return plan_err!("{} is no leaf of a stage", plan.name());
    };
    let shares: Vec<Share> = remote
        .parts()
        .map(|part| Share {
            server: part.server.id.0.clone(),
            request: Some(remote.request(context, part)),
        })
        .collect();
    let is_one_each = tasks == servers.len();
    let partitions = if is_one_each { 1 } else { shares.len().max(1) };
    let variants = (0..tasks).map(|task| {
        let own = shares.iter().filter(|share| match is_one_each {
            true => share.server == servers[task].id.0,
            false => task == 0,
        });
        let ordering = plan.properties().output_ordering().cloned();
        let (own, schema) = (own.cloned().collect(), plan.schema());
        Arc::new(FragmentsExec::new(own, partitions, schema, ordering, None)) as Plan
    });
    let variants: Vec<Plan> = variants.collect();
    Ok(Arc::new(DistributedLeafExec::try_new(
        Arc::clone(plan),
        variants,
    )?))
}

/// The part above all stages: the broker asks for fragments itself.
fn at_the_broker(head: Plan) -> Result<Plan> {
    let changed = head.transform_down(|node| {
        if node.is_network_boundary() {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match node.downcast_ref::<DistributedLeafExec>() {
            Some(leaf) => Transformed::yes(Arc::clone(leaf.original())),
            None => Transformed::no(node),
        })
    })?;
    Ok(changed.data)
}

fn all_placed(plan: &Plan, servers: &Servers) -> Result<bool> {
    let mut all = true;
    plan.apply(|node| {
        if let Some(boundary) = node.as_network_boundary() {
            let tasks = boundary.input_stage().task_count();
            for stage in node.children() {
                all &= placed(stage, tasks, servers)?.is_some();
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

/// Who carries out each task of a stage; `None`: one would need what is on two servers.
fn placed<'s>(
    stage: &Plan,
    tasks: usize,
    servers: &'s [InstanceState],
) -> Result<Option<Vec<&'s InstanceState>>> {
    let mut needed: Vec<Option<&str>> = vec![None; tasks];
    let mut fits = tasks <= servers.len();
    stage.apply(|node| {
        if node.is_network_boundary() {
            return Ok(TreeNodeRecursion::Jump);
        }
        fits &= !node.is::<RemoteExec>();
        let Some(leaf) = node.downcast_ref::<DistributedLeafExec>() else {
            return Ok(TreeNodeRecursion::Continue);
        };
        fits &= leaf.variants().len() == tasks;
        for (needed, variant) in needed.iter_mut().zip(leaf.variants()) {
            let variant = variant.downcast_ref::<FragmentsExec>();
            for share in variant.into_iter().flat_map(|leaf| leaf.shares.iter()) {
                let server = servers.iter().find(|server| server.id.0 == share.server);
                let server = server.map(|server| server.id.0.as_str());
                fits &= server.is_some() && needed.is_none_or(|other| Some(other) == server);
                *needed = server;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let place = |(task, needed): (usize, Option<&str>)| match needed {
        Some(id) => servers.iter().find(|server| server.id.0 == id),
        None => servers.get(task),
    };
    let places: Option<Vec<_>> = needed.into_iter().enumerate().map(place).collect();
    Ok(places.filter(|_| fits))
}

/// A plan that is there already.
#[derive(Debug)]
struct Planned(Plan);

#[async_trait]
impl QueryPlanner for Planned {
    async fn create_physical_plan(&self, _: &LogicalPlan, _: &dyn Session) -> Result<Plan> {
        Ok(Arc::clone(&self.0))
    }
}

struct Workers(Vec<Url>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// With the name of the server as its path: whoever does not reach it can tell.
fn url_of(server: &InstanceState) -> Result<Url> {
    url(&server.address, &server.id.0)
}

fn url(address: &str, name: &str) -> Result<Url> {
    Url::parse(&format!("http://{address}/{name}")).map_err(|error| {
        let what = format!("`{address}` is no address of a server: {error}");
        from_fault(Fault::internal(what))
    })
}

struct Channels(Arc<dyn Network>);

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let server = InstanceId(url.path().trim_start_matches('/').to_owned());
        let (host, port) = (url.host_str().unwrap_or(""), url.port_or_known_default());
        let address = format!("{host}:{}", port.unwrap_or(0));
        let blamed = |fault| Told {
            fault,
            server: Some(server.clone()),
        };
        let channel = self.0.channel(&address).map_err(blamed)?;
        Ok(Box::new(NamedChannel {
            inner: create_worker_client(channel),
            server,
        }))
    }
}

/// A channel whose faults name the server at its end.
struct NamedChannel {
    inner: Box<dyn WorkerChannel>,
    server: InstanceId,
}

/// An error of the way, as such; others as they are.
fn named(error: DataFusionError, server: &InstanceId) -> DataFusionError {
    let of_the_way = match &error {
        DataFusionError::External(cause) => rpc::fault_of_the_way(&**cause),
        _ => None,
    };
    let Some(fault) = of_the_way else {
        return error;
    };
    let message = format!("server `{server}` broke off an exchange: {}", fault.message);
    let told = Told {
        fault: Fault { message, ..fault },
        server: Some(server.clone()),
    };
    told.into()
}

#[async_trait]
impl WorkerChannel for NamedChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let server = self.server.clone();
        let inner = &mut self.inner;
        let answers = inner.coordinator_channel(headers, request, messages, metrics, task);
        let answers = answers.await.map_err(|error| named(error, &server))?;
        Ok(answers.map_err(move |error| named(error, &server)).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let server = &self.server;
        let rows = self
            .inner
            .execute_task(headers, request, metrics, task)
            .await;
        let rows = rows.map_err(|error| named(error, server))?.into_iter();
        let rows = rows.map(|rows| {
            let server = server.clone();
            rows.map_err(move |error| named(error, &server)).boxed()
        });
        Ok(rows.collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await
    }
}

/// What a server answers other servers and brokers, on the runtime `on`.
pub fn door(host: Arc<dyn Host>, on: Handle) -> Door {
    let trust = host.trust().clone();
    let alive = Alive::default();
    let worker = Worker::from_session_builder(Stages {
        functions: crate::session::functions(),
        host,
        alive: alive.clone(),
    });
    on.spawn(swept(worker.clone(), alive));
    Door::new(worker.into_worker_server(), &trust, on)
}

/// What the stages run with that somebody still holds.
#[derive(Clone, Debug, Default)]
struct Alive(Arc<Mutex<Vec<Weak<RuntimeEnv>>>>);

impl Alive {
    fn any(&self) -> bool {
        let mut known = self.0.lock();
        known.retain(|stage| stage.strong_count() > 0);
        !known.is_empty()
    }
}

/// Ends with the runtime on which it runs. A worker forgets a stage that has ended when the next
/// one comes, and with it the build sides of its joins: so one comes that does nothing.
async fn swept(worker: Worker, alive: Alive) {
    loop {
        tokio::time::sleep(SWEPT_EVERY).await;
        if alive.any()
            && let Err(error) = sweep(&worker).await
        {
            tracing::debug!(cause = %error, "stages that have ended are not swept");
        }
    }
}

async fn sweep(worker: &Worker) -> Result<()> {
    let nothing = SetPlanRequest {
        task_key: TaskKey {
            query_id: Uuid::new_v4(),
            stage_id: 0,
            task_number: 0,
        },
        task_count: 1,
        plan: MaybeEncoded::Decoded(Arc::new(EmptyExec::new(Arc::new(Schema::empty())))),
        work_unit_feed_declarations: Vec::new(),
        target_worker_url: url("127.0.0.1:1", "nobody")?,
        query_start_time_ns: 0,
    };
    let messages = futures::stream::empty().boxed();
    let mut headers = HeaderMap::new();
    headers.insert(SWEEPS, HeaderValue::from_static("true"));
    let answers = worker.coordinator_channel(headers, nothing, messages);
    answers.await?.for_each(|_| async {}).await;
    Ok(())
}

/// Makes what a stage runs with.
struct Stages {
    functions: SessionState,
    host: Arc<dyn Host>,
    alive: Alive,
}

#[async_trait]
impl WorkerSessionBuilder for Stages {
    async fn build_session_state(&self, mut context: WorkerQueryContext) -> Result<SessionState> {
        let config = context.builder.config().take().unwrap_or_default();
        let watch = watch_of(&context.headers, &*self.host);
        let config = config
            .with_distributed_worker_plan_rewrite_handler(move |ev: WorkerPlanRewriteEvent<'_>| {
                watched(ev.plan, &watch).map(WorkerPlanRewriteEventResponse::new)
            })
            .with_target_partitions(1)
            .with_sort_spill_reservation_bytes(64 << 10)
            .with_distributed_channel_resolver(Channels(Arc::clone(self.host.network())))
            .with_distributed_user_codec(LeafCodec {
                host: Some(Arc::clone(&self.host)),
            });
        let runtime = self.host.runtime().map_err(from_fault)?;
        if !context.headers.contains_key(SWEEPS) {
            self.alive.0.lock().push(Arc::downgrade(&runtime));
        }
        let state = SessionStateBuilder::new_from_existing(self.functions.clone())
            .with_config(config)
            .with_runtime_env(runtime);
        Ok(state.build())
    }
}

/// Fragments in the order of their leaves.
fn fragments_of(plan: &Plan, to: &mut Vec<String>) {
    if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
        let remote = leaf.original().downcast_ref::<RemoteExec>();
        to.push(remote.map_or_else(String::new, |remote| remote.shown().to_owned()));
    } else if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        to.push(remote.shown().to_owned());
    }
    let children = plan.children().into_iter();
    children.for_each(|child| fragments_of(child, to));
}

/// An operator a line, indented by two spaces a level.
struct Lines {
    text: String,
    fragments: std::vec::IntoIter<String>,
    with_metrics: bool,
}

impl Lines {
    fn line(&mut self, depth: usize, line: &str) {
        self.text.push_str(&"  ".repeat(depth));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn add(&mut self, plan: &Plan, depth: usize) {
        let line = match self.with_metrics {
            true => DisplayableExecutionPlan::with_metrics(plan.as_ref())
                .one_line()
                .to_string(),
            false => displayable(plan.as_ref()).one_line().to_string(),
        };
        self.line(depth, &line);
        if matches!(plan.name(), "DistributedLeafExec" | "RemoteExec") {
            let fragment = self.fragments.next().unwrap_or_default();
            for line in fragment.lines() {
                self.line(depth + 1, line);
            }
        }
        for child in plan.children() {
            self.add(child, depth + 1);
        }
    }
}
