//! Running a query: parse, plan, execute, within its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use access::{Action, Caller};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parking_lot::Mutex;
use query::after::After;
use query::exchange::Exchanges;
use query::{
    Answer, Dialect, Gate, Options, Planner, PlannerConfig, QueryContext, QueryStats, Servers,
    Statement, TableIndexes, file_import, is_settings_only, timed_out,
};
use rpc::{Membership, Network};
use runtime::{CancellationToken, Clock};
use schemas::Fault;
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use tokio::sync::watch;

use crate::Config;
use crate::admission::Admission;
use crate::cursors::Cursors;
use crate::events::Logs;
use crate::log::{QueryLog, Ran};
use crate::metrics::BrokerMetrics;
use crate::quota::Quotas;
use crate::system::OwnRows;

#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) config: Config,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_ms: i64,
    pub(crate) cursors: Cursors,
    pub(crate) logs: Arc<Logs>,
    planner: Arc<Planner>,
    admission: Admission,
    quotas: Arc<Quotas>,
    pub(crate) servers: Arc<Servers>,
    pub(crate) indexes: Arc<TableIndexes>,
    pub(crate) network: Arc<dyn Network>,
    membership: Arc<Membership>,
    cluster: watch::Receiver<Arc<ClusterState>>,
    pub(crate) log: Arc<QueryLog>,
    next_id: AtomicU64,
    turn: AtomicUsize,
}

/// A query as a door hands it over.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) sql: String,
    pub(crate) dialect: Dialect,
    pub(crate) options: Options,
    /// `GET` reads.
    pub(crate) may_write: bool,
    pub(crate) caller: Caller,
}

/// A query's end, good or bad.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: u64,
    /// Who asked.
    pub(crate) owner: String,
    /// As it was sent: places in faults are of it.
    pub(crate) sql: String,
    pub(crate) elapsed: Duration,
    pub(crate) parsing: Duration,
    pub(crate) stats: QueryStats,
    pub(crate) statement: Option<Arc<Statement>>,
    pub(crate) result: Result<Rows, Fault>,
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// Rows are missing, and the query allows it.
    pub(crate) fn is_partial(&self) -> bool {
        self.result.is_ok() && !self.stats.left_out.is_empty()
    }

    fn as_ran(&self, started_ms: i64) -> Ran {
        let options = self
            .statement
            .as_ref()
            .map(|statement| &statement.options.0);
        let rows = self.result.as_ref().map(|rows| &rows.batches);
        let rows = rows.map_or(0, |batches| batches.iter().map(RecordBatch::num_rows).sum());
        Ran {
            id: self.id,
            owner: self.owner.clone(),
            sql: self.sql.clone(),
            client_id: options.and_then(|options| options.get("clientqueryid").cloned()),
            started_ms,
            elapsed: self.elapsed,
            cpu: Duration::from_nanos(self.stats.scan.cpu_ns),
            rows: rows as u64,
            docs_scanned: self.stats.scan.docs_scanned,
            servers: self.stats.servers_queried.len() as u64,
            template_used: self.stats.template_used,
            error: self.result.as_ref().err().map(ToString::to_string),
        }
    }
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
    /// Without a column pinotdb, and so Superset, takes the answer for a fault.
    fn none() -> Self {
        let column = Field::new("set", DataType::Utf8, true);
        Self {
            schema: Arc::new(Schema::new(vec![column])),
            batches: Vec::new(),
        }
    }
}

/// When a query must have ended, after how long that is, what ends it before, and who must let it
/// through.
#[derive(Clone, Debug)]
struct Bounds {
    timeout_ms: u64,
    /// Epoch milliseconds.
    deadline_ms: i64,
    stop: CancellationToken,
    gate: Arc<dyn Gate>,
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

/// Rows that the client appended and wants to see.
fn after(statement: &Statement, cluster: &ClusterState) -> Result<After, Fault> {
    let tokens = statement.options.0.get("after").map(String::as_str);
    After::parse(tokens.unwrap_or_default(), cluster)
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
const KNOWN: [&str; 20] = [
    "after",
    "allowpartialresults",
    "usefixedreplica",
    "database",
    "getcursor",
    "cursornumrows",
    "usemultistageengine",
    "timeoutms",
    "enablenullhandling",
    "nativeoperators",
    "usestartree",
    "useexchanges",
    "skipindexes",
    "plantemplates",
    "maxthreads",
    "maxexecutionthreads",
    "rowsperthread",
    "skipupsert",
    "skipupsertview",
    "clientqueryid",
];

impl Queries {
    pub(crate) fn new(
        config: &Config,
        (network, membership): (Arc<dyn Network>, Arc<Membership>),
        clock: Arc<dyn Clock>,
        cluster: watch::Receiver<Arc<ClusterState>>,
        logs: Logs,
    ) -> Result<Self, Fault> {
        let planner_config = PlannerConfig {
            memory_bytes: config.memory_bytes,
        };
        let metrics = BrokerMetrics::default();
        let log = Arc::new(QueryLog::default());
        let own = OwnRows {
            log: Arc::clone(&log),
            metrics: metrics.registry.clone(),
            settings: config.settings.clone(),
            clock: Arc::clone(&clock),
        };
        let planner = Planner::new(&planner_config, cluster.clone(), Arc::new(own))?;
        let refused = metrics.quota_refusals.clone();
        let observer = Arc::new(metrics.clone());
        let percent = config.hedge_percent;
        let servers = Arc::new(Servers::new(Arc::clone(&clock), observer, percent));
        let (waiting, rejected) = (metrics.waiting.clone(), metrics.rejected.clone());
        Ok(Self {
            quotas: Arc::new(Quotas::new(
                Arc::clone(&clock),
                refused,
                config.tenant_quotas.clone(),
            )),
            servers,
            indexes: Arc::default(),
            admission: Admission::new(config.limits, waiting, rejected),
            cursors: Cursors::new(config.memory_bytes as usize / CURSORS_SHARE),
            config: config.clone(),
            logs: Arc::new(logs),
            metrics,
            started_ms: clock.now_ms(),
            clock,
            planner: Arc::new(planner),
            network,
            membership,
            cluster,
            log,
            next_id: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
        })
    }

    /// With all tables, whoever asks.
    pub(crate) fn cluster(&self) -> Arc<ClusterState> {
        Arc::clone(&self.cluster.borrow())
    }

    /// Serves when the controller was heard and every sealed segment has a server.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.membership.check()?;
        let cluster = self.cluster();
        if cluster.version == 0 {
            return Err("waiting for the controller".to_owned());
        }
        let missing = cluster
            .tables
            .values()
            .flat_map(|table| table.seen())
            .filter(|segment| segment.online.is_empty())
            .count();
        if missing > 0 {
            return Err(format!("waiting for {missing} segments to be loaded"));
        }
        Ok(())
    }

    /// A broker that has just started knows no table, which says nothing of tables.
    async fn wait_for_state(&self) -> Result<(), Fault> {
        // With a wrong clock every deadline would be wrong.
        self.membership.check().map_err(Fault::unavailable)?;
        let mut cluster = self.cluster.clone();
        let heard = cluster.wait_for(|state| state.version > 0);
        match tokio::time::timeout(STATE_WAIT, heard).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Fault::unavailable(
                "this broker has just started and has not heard from a controller yet: ask \
                 again, or another broker",
            )),
        }
    }

    pub(crate) async fn run(&self, request: Request) -> Outcome {
        let started = self.clock.monotonic();
        let started_ms = self.clock.now_ms();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut outcome = Outcome {
            id,
            owner: request.caller.name().to_owned(),
            sql: request.sql.clone(),
            elapsed: Duration::ZERO,
            parsing: Duration::ZERO,
            stats: QueryStats::default(),
            statement: None,
            result: Err(Fault::internal("the query did not run")),
            warnings: Vec::new(),
        };
        // A plan's future is large.
        outcome.result = Box::pin(self.run_inner(&request, &mut outcome)).await;
        let found = std::mem::take(&mut outcome.stats.warnings);
        let of_servers = std::mem::take(&mut outcome.stats.scan.warnings);
        outcome.warnings.extend(found.into_iter().chain(of_servers));
        if let (Some(statement), Ok(rows)) = (&outcome.statement, &outcome.result) {
            outcome.warnings.extend(cut(statement, rows));
        }
        if outcome.statement.is_some() {
            let (tables, fault) = (&outcome.stats.tables, outcome.result.as_ref().err());
            request.caller.has_asked(tables, &outcome.sql, fault);
        }
        outcome.elapsed = self.clock.monotonic() - started;
        let label = if outcome.result.is_ok() {
            "ok"
        } else {
            "error"
        };
        self.metrics.queries.with_label_values(&[label]).inc();
        if let Err(fault) = &outcome.result {
            let kind = fault.kind.name();
            self.metrics.errors.with_label_values(&[kind]).inc();
        }
        if outcome.is_partial() {
            self.metrics.partial_answers.inc();
        }
        let plan = match outcome.stats.template_used {
            true => "template",
            false => "anew",
        };
        self.metrics.templates.with_label_values(&[plan]).inc();
        self.metrics.latency.observe(outcome.elapsed.as_secs_f64());
        self.log.ended(outcome.as_ran(started_ms));
        outcome
    }

    async fn run_inner(&self, request: &Request, outcome: &mut Outcome) -> Result<Rows, Fault> {
        if request.dialect == Dialect::Pinot && is_settings_only(&request.sql) {
            return Ok(Rows::none());
        }
        if let Some(import) = file_import(&request.sql, &request.options) {
            if !request.may_write {
                return Err(Fault::invalid("GET reads; send the INSERT by POST"));
            }
            let import = import?;
            request.caller.check(Action::Write, &import.table)?;
            return self.submit(import, &mut outcome.warnings).await;
        }
        let limit = self.config.default_limit;
        let options = request.options.clone();
        let planner = &self.planner;
        let now_ms = self.clock.now_ms();
        let begun = self.clock.monotonic();
        let statement = planner
            .parse(&request.sql, request.dialect, options, limit)
            .await?;
        outcome.parsing = self.clock.monotonic() - begun;
        let statement = Arc::clone(outcome.statement.insert(Arc::new(statement)));
        outcome.warnings.extend(warnings_of(&statement));
        let timeout_ms = statement.options.number("timeoutMs")?;
        let timeout_ms = timeout_ms.unwrap_or(self.config.query_timeout_ms);
        let timeout_ms = timeout_ms.min(TIMEOUT_MAX_MS);
        let client_id = statement.options.0.get("clientqueryid").cloned();
        let running = self.log.started(
            (outcome.id, &request.sql),
            &outcome.owner,
            client_id,
            now_ms,
        );
        let deadline_ms = now_ms + timeout_ms as i64;
        let left_ms = (deadline_ms - self.clock.now_ms()).max(0);
        let timeout = Duration::from_millis(left_ms as u64);
        let limit = Bounds {
            timeout_ms,
            deadline_ms,
            stop: running.stop.clone(),
            gate: self.quotas.for_query(),
        };
        let work = async {
            let _place = self.admission.enter().await?;
            self.wait_for_state().await?;
            self.with_fresh_state(&statement, &limit, &request.caller, outcome)
                .await
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
        statement: &Arc<Statement>,
        limit: &Bounds,
        caller: &Caller,
        outcome: &mut Outcome,
    ) -> Result<Rows, Fault> {
        let mut cluster = self.cluster.clone();
        let mut attempts_left = ATTEMPTS_MAX;
        loop {
            let all = Arc::clone(&cluster.borrow_and_update());
            let state = caller.visible(&all);
            // The deadline ends the wait.
            if !after(statement, &state)?.is_read(&state) {
                cluster.changed().await.map_err(|_| {
                    Fault::unavailable("the broker stops; rows that were appended are not read")
                })?;
                continue;
            }
            let context = Arc::new(self.context(statement, (state, caller), limit)?);
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
        (cluster, caller): (Arc<ClusterState>, &Caller),
        limit: &Bounds,
    ) -> Result<QueryContext, Fault> {
        let after = after(statement, &cluster)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (turn, standing) = self.servers.standing(turn);
        Ok(QueryContext {
            network: Arc::clone(&self.network),
            clock: Arc::clone(&self.clock),
            cluster,
            caller: caller.clone(),
            turn,
            deadline_ms: limit.deadline_ms,
            timeout_ms: limit.timeout_ms,
            stop: limit.stop.clone(),
            null_mode: statement.null_mode,
            options: statement.scan_options()?,
            after,
            stats: Mutex::default(),
            indexes: Arc::clone(&self.indexes),
            servers: Arc::clone(&self.servers),
            standing,
            fixed_replica: statement.options.flag("useFixedReplica") == Some(true),
            allows_partial: statement.options.flag("allowPartialResults") == Some(true),
            exchanges: Exchanges::wanted(
                statement.options.switch("useExchanges")?,
                self.config.exchange_rows_min,
            ),
            gathers: AtomicBool::default(),
            overflowed: AtomicBool::default(),
            gate: Arc::clone(&limit.gate),
            failed: Mutex::default(),
        })
    }

    async fn execute(
        &self,
        statement: &Arc<Statement>,
        context: &Arc<QueryContext>,
    ) -> Result<Rows, Fault> {
        let Answer { schema, batches } = self.planner.answer(statement, context).await?;
        Ok(Rows { schema, batches })
    }
}
