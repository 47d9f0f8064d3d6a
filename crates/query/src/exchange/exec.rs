//! The root of a plan that servers carry out with exchanges, and how a plan becomes one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::select_all;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use schemas::cluster::InstanceState;
use schemas::proto::{Explain, ScanStats};
use schemas::{Fault, FaultKind, InstanceId};

use super::EXCHANGE_FORMAT;
use super::distributed::Spread;
use super::fault::Told;
use crate::any_groups::all_of_ordered;
use crate::context::QueryContext;
use crate::cut::{cut, waits_for_subquery};
use crate::fault::{from_fault, timed_out};
use crate::gather::RemoteExec;
use crate::parameters::Parameters;
use crate::servers::InFlight;
use crate::watched::giving_way;
use crate::whole::is_known;

type Plan = Arc<dyn ExecutionPlan>;

/// Planned again, cut, and spread over servers; `None`: it is for the broker after all.
pub(crate) async fn exchanged(
    logical: &LogicalPlan,
    session: &SessionState,
    context: &Arc<QueryContext>,
) -> Result<Option<Plan>> {
    let plan = session.create_physical_plan(logical).await?;
    let plan = cut(plan, context, &Parameters::default())?;
    if !travels(&plan) {
        return Ok(None);
    }
    let Some(servers) = servers_of(&plan) else {
        return Ok(None);
    };
    let spread = Spread::of(
        giving_way(all_of_ordered(plan)?)?,
        session,
        context,
        &servers,
    )
    .await?;
    Ok(spread.map(|spread| Arc::new(ExchangeExec::new(spread, servers, context)) as Plan))
}

/// Every operator above fragments can be sent to servers, and they can run it. What compares each
/// row with each is not sent: nobody there could end it.
fn travels(plan: &Plan) -> bool {
    if plan.is::<RemoteExec>() {
        return true;
    }
    let children = plan.children();
    let known = is_known(plan) || plan.is::<RepartitionExec>();
    let known = known && !plan.is::<NestedLoopJoinExec>() && !plan.is::<CrossJoinExec>();
    known && !waits_for_subquery(plan) && !children.is_empty() && children.into_iter().all(travels)
}

/// Those that the fragments ask, in one order for all stages; `None`: it is one, or one of them
/// offers no exchanges.
fn servers_of(plan: &Plan) -> Option<Arc<[InstanceState]>> {
    fn collect<'a>(plan: &'a Plan, to: &mut BTreeMap<&'a InstanceId, &'a InstanceState>) {
        if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
            to.extend(remote.parts().map(|part| (&part.server.id, &part.server)));
        }
        plan.children()
            .into_iter()
            .for_each(|child| collect(child, to));
    }
    let mut servers = BTreeMap::new();
    collect(plan, &mut servers);
    let mut all = servers.values();
    let fits = servers.len() > 1 && all.all(|server| server.exchange_format == EXCHANGE_FORMAT);
    fits.then(|| servers.into_values().cloned().collect())
}

/// Stands for the whole plan: what is below is not the broker's.
#[derive(Debug)]
pub(crate) struct ExchangeExec {
    spread: Arc<Spread>,
    servers: Arc<[InstanceState]>,
    properties: Arc<PlanProperties>,
    context: Arc<QueryContext>,
    /// With what was measured, once it has run.
    measured: Arc<Mutex<Option<String>>>,
}

impl ExchangeExec {
    fn new(spread: Spread, servers: Arc<[InstanceState]>, context: &Arc<QueryContext>) -> Self {
        Self {
            properties: Arc::clone(spread.plan().properties()),
            spread: Arc::new(spread),
            servers,
            context: Arc::clone(context),
            measured: Arc::default(),
        }
    }

    /// The stages, for EXPLAIN.
    pub(crate) fn shown(&self) -> String {
        let measured = self.measured.lock().clone();
        measured.unwrap_or_else(|| self.spread.shown())
    }
}

impl DisplayAs for ExchangeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeExec: servers={}", self.servers.len())
    }
}

impl ExecutionPlan for ExchangeExec {
    fn name(&self) -> &str {
        "ExchangeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    crate::leaf!(without_expressions);

    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        // The plan alone is asked for.
        if self.context.options.explain() == Explain::Plan {
            let none = stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, none)));
        }
        let asked = self.servers.iter().map(|server| server.id.clone());
        self.context.stats.lock().servers_queried.extend(asked);
        let asked = self.servers.iter();
        let asked = asked.map(|server| self.context.servers.asked(&server.id));
        let run = Run {
            _asked: Asked(asked.collect()),
            rows: self.spread.execute(&task)?,
            spread: Arc::clone(&self.spread),
            servers: Arc::clone(&self.servers),
            context: Arc::clone(&self.context),
            measured: Arc::clone(&self.measured),
        };
        let rows = stream::unfold(Some(run), |run| async {
            let mut run = run?;
            match run.next().await {
                Some(Ok(batch)) => Some((Ok(batch), Some(run))),
                Some(Err(fault)) => Some((Err(from_fault(fault)), None)),
                None => None,
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// One run of the plan. Dropping it ends the work on all servers.
struct Run {
    _asked: Asked,
    rows: SendableRecordBatchStream,
    spread: Arc<Spread>,
    servers: Arc<[InstanceState]>,
    context: Arc<QueryContext>,
    measured: Arc<Mutex<Option<String>>>,
}

/// While they are asked, somebody looks after servers that say nothing. How long it takes says
/// nothing about one of them.
struct Asked(Vec<InFlight>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.drain(..).for_each(InFlight::refused);
    }
}

impl Run {
    async fn next(&mut self) -> Option<Result<RecordBatch, Fault>> {
        let context = &self.context;
        let left_ms = context.deadline_ms - context.clock.now_ms();
        let left = Duration::from_millis(left_ms.max(0) as u64);
        let silent = self.servers.iter().map(|server| {
            let silent = context.servers.silent(&server.id);
            silent.map(|()| server.id.clone()).boxed()
        });
        let next = tokio::select! {
            biased;
            () = context.stop.cancelled() => {
                Err(Told::by_nobody(Fault::cancelled("the query was cancelled")))
            }
            (server, _, _) = select_all(silent) => {
                let what = format!("server `{server}` is silent in the middle of an exchange");
                Err(Told { fault: Fault::unavailable(what), server: Some(server) })
            }
            next = tokio::time::timeout(left, self.rows.next()) => next.map_err(|_| {
                let what = "the servers did not end their exchange";
                Told::by_nobody(timed_out(what, context.timeout_ms))
            }),
        };
        match next {
            Ok(Some(Ok(batch))) => Some(Ok(batch)),
            Ok(Some(Err(error))) => Some(Err(self.judged(Told::of(&error)))),
            Err(told) => Some(Err(self.judged(told))),
            Ok(None) => {
                let (spread, servers) = (Arc::clone(&self.spread), Arc::clone(&self.servers));
                let context = Arc::clone(&self.context);
                let measured = ended(spread, servers, context).await;
                *self.measured.lock() = measured;
                None
            }
        }
    }

    /// A server that is to blame is not asked again: the query is planned without it. Where nobody
    /// is, nor the query, it is gathered.
    fn judged(&self, told: Told) -> Fault {
        let Told { fault, server } = told;
        if let Some(server) = server.filter(|_| fault.kind != FaultKind::Timeout) {
            tracing::debug!(server = %server, cause = %fault, "an exchange failed");
            self.context.failed.lock().insert(server);
        } else if matches!(fault.kind, FaultKind::Internal | FaultKind::Unavailable) {
            tracing::warn!(cause = %fault, "an exchange failed: its query is gathered");
            self.context.gathers.store(true, Ordering::Relaxed);
        }
        fault
    }
}

/// All rows are there; what servers counted is added to what the query knows.
async fn ended(
    spread: Arc<Spread>,
    servers: Arc<[InstanceState]>,
    context: Arc<QueryContext>,
) -> Option<String> {
    let mut stats = ScanStats::default();
    let (newest, measured) = spread.counted(&mut stats).await;
    let responded = servers.iter().map(|server| server.id.clone());
    let mut known = context.stats.lock();
    known.add(&stats);
    known.newest_ingest_ms = known.newest_ingest_ms.max(newest);
    known.servers_responded.extend(responded);
    measured
}
