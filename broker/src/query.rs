//! Running a query: parse, plan, execute, within its deadline; and the list of those that run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parking_lot::Mutex;
use query::{
    Answer, Dialect, Options, Planner, PlannerConfig, QueryContext, QueryStats, Statement,
    is_settings_only, timed_out,
};
use rpc::Network;
use runtime::{CancellationToken, Clock};
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use tokio::sync::watch;

use crate::Config;
use crate::admission::Admission;
use crate::cursors::Cursors;
use crate::metrics::BrokerMetrics;

#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) config: Config,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_ms: i64,
    pub(crate) cursors: Cursors,
    planner: Planner,
    admission: Admission,
    network: Arc<dyn Network>,
    cluster: watch::Receiver<Arc<ClusterState>>,
    running: Mutex<BTreeMap<u64, Running>>,
    next_id: AtomicU64,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Running {
    sql: String,
    client_id: Option<String>,
    stop: CancellationToken,
}

/// A query as a door hands it over.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) sql: String,
    pub(crate) dialect: Dialect,
    pub(crate) options: Options,
}

/// A query's end, good or bad.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: u64,
    /// As it was sent: places in faults are of it.
    pub(crate) sql: String,
    pub(crate) elapsed: Duration,
    pub(crate) stats: QueryStats,
    pub(crate) statement: Option<Arc<Statement>>,
    pub(crate) result: Result<Rows, Fault>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Of a request that only sets options: clients send them alone, for a session that is none.
    fn none() -> Self {
        Self {
            schema: Arc::new(Schema::empty()),
            batches: Vec::new(),
        }
    }
}

/// When a query must have ended, after how long that is, and what ends it before.
#[derive(Clone, Debug)]
struct TimeLimit {
    timeout_ms: u64,
    /// Epoch milliseconds.
    deadline_ms: i64,
    stop: CancellationToken,
}

/// A query in the list of those that run, until it is dropped: also when its client goes away.
struct Registered<'a> {
    queries: &'a Queries,
    id: u64,
    stop: CancellationToken,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.queries.running.lock().remove(&self.id);
    }
}

/// How often a query is planned again because nobody had a segment.
const ATTEMPTS_MAX: u32 = 5;
/// How long it then waits for news; servers are heard every second.
const STATE_WAIT: Duration = Duration::from_millis(1500);
/// Of the memory of queries, what kept answers may have.
const CURSORS_SHARE: usize = 4;
/// Longer time-outs are cut to a day.
const TIMEOUT_MAX_MS: u64 = 24 * 3_600_000;

fn warnings_of(statement: &Statement) -> Vec<String> {
    let known = |name: &str| KNOWN.contains(&name) || WITHOUT_MEANING.contains(&name);
    let unknown = statement.options.0.keys().filter(|name| !known(name));
    unknown
        .map(|name| format!("option `{name}` has no effect"))
        .collect()
}

/// Said only when rows may have been left out.
fn cut(statement: &Statement, rows: &Rows) -> Option<String> {
    let limit = statement.parsed.limit_added?;
    (rows.count() as u64 >= limit)
        .then(|| format!("LIMIT {limit} was added; write a LIMIT to see more"))
}

/// Options of Pinot that change nothing here: not warned about.
const WITHOUT_MEANING: [&str; 10] = [
    "preservetype",
    "responseformat",
    "groupbymode",
    "trace",
    "numreplicagroupstoquery",
    "minsegmentgrouptrimsize",
    "minservergrouptrimsize",
    "applicationname",
    "numgroupslimit",
    "explainplanverbose",
];
const KNOWN: [&str; 14] = [
    "database",
    "getcursor",
    "cursornumrows",
    "usemultistageengine",
    "timeoutms",
    "enablenullhandling",
    "nativeoperators",
    "usestartree",
    "skipindexes",
    "plantemplates",
    "maxthreads",
    "maxexecutionthreads",
    "rowsperthread",
    "clientqueryid",
];

impl Queries {
    pub(crate) fn new(
        config: &Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        cluster: watch::Receiver<Arc<ClusterState>>,
    ) -> Result<Self, Fault> {
        let planner_config = PlannerConfig {
            memory_bytes: config.memory_bytes,
        };
        let planner = Planner::new(&planner_config, cluster.clone())?;
        let metrics = BrokerMetrics::default();
        let (waiting, rejected) = (metrics.waiting.clone(), metrics.rejected.clone());
        Ok(Self {
            admission: Admission::new(config.limits, waiting, rejected),
            cursors: Cursors::new(config.memory_bytes as usize / CURSORS_SHARE),
            config: config.clone(),
            metrics,
            started_ms: clock.now_ms(),
            clock,
            planner,
            network,
            cluster,
            running: Mutex::default(),
            next_id: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
        })
    }

    pub(crate) fn cluster(&self) -> Arc<ClusterState> {
        Arc::clone(&self.cluster.borrow())
    }

    /// Serves when the controller was heard and every sealed segment has a server.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let cluster = self.cluster();
        if cluster.version == 0 {
            return Err("waiting for the controller".to_owned());
        }
        let missing = cluster
            .tables
            .values()
            .flat_map(|table| table.segments.iter())
            .filter(|segment| segment.online.is_empty())
            .count();
        if missing > 0 {
            return Err(format!("waiting for {missing} segments to be loaded"));
        }
        Ok(())
    }

    pub(crate) async fn run(&self, request: Request) -> Outcome {
        let started = self.clock.monotonic();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut outcome = Outcome {
            id,
            sql: request.sql.clone(),
            elapsed: Duration::ZERO,
            stats: QueryStats::default(),
            statement: None,
            result: Err(Fault::internal("the query did not run")),
            warnings: Vec::new(),
        };
        // A plan's future is large.
        outcome.result = Box::pin(self.run_inner(&request, &mut outcome)).await;
        let found = std::mem::take(&mut outcome.stats.warnings);
        outcome.warnings.extend(found);
        if let (Some(statement), Ok(rows)) = (&outcome.statement, &outcome.result) {
            outcome.warnings.extend(cut(statement, rows));
        }
        outcome.elapsed = self.clock.monotonic() - started;
        let label = if outcome.result.is_ok() {
            "ok"
        } else {
            "error"
        };
        self.metrics.queries.with_label_values(&[label]).inc();
        let plan = match outcome.stats.template_used {
            true => "template",
            false => "anew",
        };
        self.metrics.templates.with_label_values(&[plan]).inc();
        self.metrics.latency.observe(outcome.elapsed.as_secs_f64());
        outcome
    }

    async fn run_inner(&self, request: &Request, outcome: &mut Outcome) -> Result<Rows, Fault> {
        if request.dialect == Dialect::Pinot && is_settings_only(&request.sql) {
            return Ok(Rows::none());
        }
        let limit = self.config.default_limit;
        let options = request.options.clone();
        let planner = &self.planner;
        let statement = planner.parse(&request.sql, request.dialect, options, limit)?;
        let statement = Arc::clone(outcome.statement.insert(Arc::new(statement)));
        outcome.warnings.extend(warnings_of(&statement));
        let timeout_ms = statement.options.number("timeoutMs")?;
        let timeout_ms = timeout_ms.unwrap_or(self.config.query_timeout_ms);
        let timeout_ms = timeout_ms.min(TIMEOUT_MAX_MS);
        let running = self.register(outcome.id, &statement, &request.sql);
        let timeout = Duration::from_millis(timeout_ms);
        let limit = TimeLimit {
            timeout_ms,
            deadline_ms: self.clock.now_ms() + timeout_ms as i64,
            stop: running.stop.clone(),
        };
        let work = async {
            let _place = self.admission.enter().await?;
            self.with_fresh_state(&statement, &limit, outcome).await
        };
        tokio::select! {
            result = tokio::time::timeout(timeout, work) => {
                result.unwrap_or_else(|_| Err(timed_out("the query did not end", timeout_ms)))
            }
            () = running.stop.cancelled() => Err(Fault::cancelled("the query was cancelled")),
        }
    }

    /// While segments move, the state of the cluster may be behind: a query that found nobody for a
    /// segment runs again when the state has changed.
    async fn with_fresh_state(
        &self,
        statement: &Statement,
        limit: &TimeLimit,
        outcome: &mut Outcome,
    ) -> Result<Rows, Fault> {
        let mut cluster = self.cluster.clone();
        let mut attempts_left = ATTEMPTS_MAX;
        loop {
            let state = Arc::clone(&cluster.borrow_and_update());
            let context = Arc::new(self.context(statement, state, limit)?);
            let result = self.execute(statement, &context).await;
            outcome.stats = context.stats.lock().clone();
            attempts_left -= 1;
            match result {
                Err(fault)
                    if fault.code == pinot_code::BROKER_SEGMENT_UNAVAILABLE
                        && attempts_left > 0 =>
                {
                    let changed = tokio::time::timeout(STATE_WAIT, cluster.changed()).await;
                    if !matches!(changed, Ok(Ok(()))) {
                        return Err(fault);
                    }
                }
                result => return result,
            }
        }
    }

    fn context(
        &self,
        statement: &Statement,
        cluster: Arc<ClusterState>,
        limit: &TimeLimit,
    ) -> Result<QueryContext, Fault> {
        Ok(QueryContext {
            network: Arc::clone(&self.network),
            clock: Arc::clone(&self.clock),
            cluster,
            turn: self.turn.fetch_add(1, Ordering::Relaxed),
            deadline_ms: limit.deadline_ms,
            timeout_ms: limit.timeout_ms,
            stop: limit.stop.clone(),
            null_mode: statement.null_mode,
            options: statement.scan_options()?,
            stats: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    async fn execute(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Rows, Fault> {
        let Answer { schema, batches } = self.planner.answer(statement, context).await?;
        Ok(Rows { schema, batches })
    }

    fn register(&self, id: u64, statement: &Statement, sql: &str) -> Registered<'_> {
        let stop = CancellationToken::new();
        let running = Running {
            sql: sql.to_owned(),
            client_id: statement.options.0.get("clientqueryid").cloned(),
            stop: stop.clone(),
        };
        self.running.lock().insert(id, running);
        let queries = self;
        Registered { queries, id, stop }
    }

    /// Id → statement of what runs now.
    pub(crate) fn running(&self) -> BTreeMap<String, String> {
        let running = self.running.lock();
        running
            .iter()
            .map(|(id, query)| (id.to_string(), query.sql.clone()))
            .collect()
    }

    /// By our id, or by the client's.
    pub(crate) fn cancel(&self, id: &str, by_client: bool) -> Result<(), Fault> {
        let running = self.running.lock();
        let found = running.iter().find(|(own, query)| match by_client {
            true => query.client_id.as_deref() == Some(id),
            false => own.to_string() == id,
        });
        match found {
            Some((_, query)) => {
                query.stop.cancel();
                Ok(())
            }
            None => Err(Fault::new(
                FaultKind::NotFound,
                pinot_code::QUERY_CANCELLATION,
                format!("there is no running query `{id}`"),
            )),
        }
    }
}
