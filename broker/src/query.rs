//! Running a query: parse, plan, execute, within its deadline; and the list of those that run.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use query::system::SystemTables;
use query::{Dialect, Options, Planner, PlannerConfig, QueryContext, QueryStats, Statement};
use rpc::Network;
use runtime::{CancellationToken, Clock};
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::proto::NullMode;
use schemas::{Fault, FaultKind};
use tokio::sync::watch;

use crate::Config;
use crate::metrics::BrokerMetrics;

#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) config: Config,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    planner: Planner,
    network: Arc<dyn Network>,
    cluster: watch::Receiver<Arc<ClusterState>>,
    running: Mutex<BTreeMap<u64, Running>>,
    next_id: AtomicU64,
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
    pub(crate) elapsed: Duration,
    pub(crate) stats: QueryStats,
    pub(crate) statement: Option<Statement>,
    pub(crate) result: Result<Rows, Fault>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// Options of Pinot that change nothing here: not warned about.
const WITHOUT_MEANING: [&str; 12] = [
    "usemultistageengine",
    "preservetype",
    "responseformat",
    "groupbymode",
    "trace",
    "maxexecutionthreads",
    "numreplicagroupstoquery",
    "minsegmentgrouptrimsize",
    "minservergrouptrimsize",
    "applicationname",
    "numgroupslimit",
    "explainplanverbose",
];
const KNOWN: [&str; 4] = [
    "timeoutms",
    "enablenullhandling",
    "nativeoperators",
    "clientqueryid",
];

impl Queries {
    pub(crate) fn new(
        config: &Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        cluster: watch::Receiver<Arc<ClusterState>>,
    ) -> Result<Self, Fault> {
        let system = SystemTables::new(cluster.clone(), Arc::clone(&network));
        let planner_config = PlannerConfig {
            memory_bytes: config.memory_bytes,
        };
        let planner = Planner::new(&planner_config, cluster.clone(), Arc::new(system))?;
        Ok(Self {
            config: config.clone(),
            metrics: BrokerMetrics::default(),
            clock,
            planner,
            network,
            cluster,
            running: Mutex::default(),
            next_id: AtomicU64::new(1),
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
            elapsed: Duration::ZERO,
            stats: QueryStats::default(),
            statement: None,
            result: Err(Fault::internal("the query did not run")),
            warnings: Vec::new(),
        };
        outcome.result = self.run_inner(&request, &mut outcome).await;
        outcome.elapsed = self.clock.monotonic() - started;
        let label = if outcome.result.is_ok() {
            "ok"
        } else {
            "error"
        };
        self.metrics.queries.with_label_values(&[label]).inc();
        self.metrics.latency.observe(outcome.elapsed.as_secs_f64());
        outcome
    }

    async fn run_inner(&self, request: &Request, outcome: &mut Outcome) -> Result<Rows, Fault> {
        let Request {
            sql,
            dialect,
            options,
        } = request;
        let limit = self.config.default_limit;
        let statement = query::parse(sql, *dialect, options.clone(), limit)?;
        let options = &statement.options;
        let known: HashSet<&str> = KNOWN.iter().chain(&WITHOUT_MEANING).copied().collect();
        for name in options
            .0
            .keys()
            .filter(|name| !known.contains(name.as_str()))
        {
            outcome
                .warnings
                .push(format!("option `{name}` has no effect"));
        }
        if let Some(limit) = statement.limit_added {
            outcome.warnings.push(format!(
                "LIMIT {limit} was added; write a LIMIT to see more"
            ));
        }
        let timeout_ms = options
            .number("timeoutMs")
            .unwrap_or(self.config.query_timeout_ms);
        let null_mode = match (options.flag("enableNullHandling"), dialect) {
            (Some(true), _) | (None, Dialect::Standard) => NullMode::ThreeValued,
            _ => NullMode::Defaults,
        };
        let context = Arc::new(QueryContext {
            network: Arc::clone(&self.network),
            clock: Arc::clone(&self.clock),
            cluster: self.cluster(),
            deadline_ms: self.clock.now_ms() + timeout_ms as i64,
            null_mode,
            native_operators: options.flag("nativeOperators").unwrap_or(true),
            stats: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let client_id = options.0.get("clientqueryid").cloned();
        let running = Running {
            sql: sql.clone(),
            client_id,
            stop: stop.clone(),
        };
        self.running.lock().insert(outcome.id, running);
        let work = self.execute(&statement, *dialect, &context);
        let timeout = Duration::from_millis(timeout_ms);
        let result = tokio::select! {
            result = tokio::time::timeout(timeout, work) => result.unwrap_or_else(|_| {
                let message = format!(
                    "the query took longer than {timeout_ms} ms; raise timeoutMs or ask for less"
                );
                Err(Fault::timeout(message))
            }),
            () = stop.cancelled() => Err(Fault::cancelled("the query was cancelled")),
        };
        self.running.lock().remove(&outcome.id);
        outcome.stats = context.stats.lock().clone();
        outcome.statement = Some(statement);
        result
    }

    async fn execute(
        &self,
        statement: &Statement,
        dialect: Dialect,
        context: &Arc<QueryContext>,
    ) -> Result<Rows, Fault> {
        let planned = self.planner.plan(statement, dialect, context).await;
        let planned = planned.map_err(|fault| self.with_nearest_table(fault))?;
        let schema = planned.schema();
        let batches = planned.collect().await?;
        Ok(Rows { schema, batches })
    }

    fn with_nearest_table(&self, mut fault: Fault) -> Fault {
        if fault.code != pinot_code::TABLE_DOES_NOT_EXIST {
            return fault;
        }
        let Some(name) = fault.message.split('`').nth(1).map(str::to_lowercase) else {
            return fault;
        };
        let cluster = self.cluster();
        let names = cluster
            .tables
            .values()
            .map(|table| table.spec.name.as_str());
        let nearest = names
            .map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), known))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, nearest)) = nearest {
            fault
                .message
                .push_str(&format!("; did you mean `{nearest}`?"));
        }
        fault
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
