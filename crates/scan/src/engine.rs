//! Runs fragments: the plan, bound to the segments of this run, executed.
//!
//! Nothing of a fragment outlives it: its memory is a child of the engine's budget, its work runs
//! on the compute pool and ends when its token is cancelled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::Result as DfResult;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use query::parameters::Parameters;
use query::to_fault;
use query::{measured, own_functions};
use runtime::{CancellationToken, ComputePool, MemoryBudget};
use schemas::proto::{Explain, NullMode, ScanOptions, ScanStats};
use schemas::{Fault, FaultKind, TableId, TableSpec};
use segment::SegmentView;
use tokio::runtime::Handle;

use crate::memory::{BudgetPool, bytes_of};
use crate::prepared::{PreparedPlans, Run};
use crate::scan_exec::ServerScanExec;
use crate::shared::{ManyGroups, PARTITIONED_ROWS_MIN, Shared};
use crate::suspects::Suspects;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Bytes that one fragment may hold, its answer among them.
    pub fragment_memory_bytes: u64,
    /// Rows from which groups are partitioned when they seem many; 0: always where they can be.
    pub partitioned_rows_min: u64,
}

impl EngineConfig {
    pub fn new(fragment_memory_bytes: u64) -> Self {
        Self {
            fragment_memory_bytes,
            partitioned_rows_min: PARTITIONED_ROWS_MIN,
        }
    }
}

/// A part of a query for this server.
#[derive(Clone, Debug)]
pub struct Fragment {
    pub plan: Bytes,
    /// Of `plan`.
    pub template_hash: u64,
    /// Values of the plan's parameters.
    pub parameters: Bytes,
    /// For each table what to read, all from one snapshot. A table may be empty, never absent.
    pub tables: HashMap<TableId, Arc<Vec<SegmentView>>>,
    pub specs: HashMap<TableId, Arc<TableSpec>>,
    pub null_mode: NullMode,
    pub options: ScanOptions,
    pub cancel: CancellationToken,
    /// Told when the run fails.
    pub suspects: Suspects,
}

#[derive(Debug)]
pub struct FragmentResult {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub stats: ScanStats,
}

/// An answer batch by batch.
pub struct FragmentStream {
    pub schema: SchemaRef,
    batches: SendableRecordBatchStream,
    shared: Arc<Shared>,
    /// General operators work on rows of the table.
    is_general: bool,
    /// The plan, where it is asked what its operators did.
    measured: Option<Arc<dyn ExecutionPlan>>,
}

impl fmt::Debug for FragmentStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FragmentStream").finish_non_exhaustive()
    }
}

impl FragmentStream {
    /// The next batch; `None` = that was all.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Fault>> {
        let cancelled = self.shared.cancel().cancelled();
        let batch = tokio::select! {
            biased;
            () = cancelled => return Some(Err(Fault::cancelled("the query was cancelled"))),
            batch = self.batches.next() => batch,
        };
        batch.map(|batch| batch.map_err(|error| to_fault(&error, "")))
    }

    /// Complete once [`Self::next`] has returned `None`.
    pub fn stats(&self) -> ScanStats {
        let mut stats = self.shared.stats();
        if let Some(plan) = &self.measured {
            stats.plan = measured::lines(plan);
        }
        stats
    }
}

#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    /// Knows the functions; plans are decoded with it.
    decoding: Arc<TaskContext>,
    pool: ComputePool,
    /// For general operators, which hold a thread as long as they like. Scans below them take
    /// turns in `pool` like all others.
    general: ComputePool,
    memory: MemoryBudget,
    prepared: PreparedPlans,
    many_groups: Arc<ManyGroups>,
}

impl Engine {
    pub fn new(config: EngineConfig, pool: ComputePool, memory: MemoryBudget) -> Self {
        // Each sort sets this aside at once, also the many that sort ten rows.
        let session = SessionConfig::new()
            .with_target_partitions(1)
            .with_sort_spill_reservation_bytes(64 << 10);
        let state = SessionStateBuilder::new()
            .with_config(session)
            // The defaults are added to what is there.
            .with_scalar_functions([functions::all(), own_functions()].concat())
            .with_aggregate_functions(functions::all_aggregates())
            .with_default_features();
        let state = functions::with_replaced_functions(state);
        Self {
            many_groups: Arc::new(ManyGroups::new(config.partitioned_rows_min)),
            config,
            decoding: state.task_ctx(),
            general: ComputePool::new(pool.threads()),
            prepared: PreparedPlans::new(&pool),
            pool,
            memory,
        }
    }

    /// Fragments that ran with the plan of another one.
    pub fn plans_used_again(&self) -> u64 {
        self.prepared.used_again()
    }

    /// Aggregates whose groups were partitioned.
    pub fn partitioned(&self) -> u64 {
        self.many_groups.partitioned()
    }

    /// What operators run with that work on rows of several fragments: with the memory of one.
    pub fn stage_runtime(&self) -> Result<Arc<RuntimeEnv>, Fault> {
        let bytes = self.config.fragment_memory_bytes;
        let pool = BudgetPool::new(self.memory.child("stage", bytes));
        let memory_pool = Arc::new(pool.map_err(|error| to_fault(&error, ""))?);
        Ok(self.runtime_with(memory_pool))
    }

    fn runtime_with(&self, memory_pool: Arc<dyn MemoryPool>) -> Arc<RuntimeEnv> {
        Arc::new(RuntimeEnv {
            memory_pool,
            ..(*self.decoding.runtime_env()).clone()
        })
    }

    /// Runs the fragment to its end. An answer that does not fit the budget is a fault with code
    /// 245; [`Self::run_stream`] has no such limit.
    pub async fn run(&self, fragment: Fragment) -> Result<FragmentResult, Fault> {
        let (stream, pool) = self.start(fragment)?;
        if !stream.is_general {
            return collect(stream, pool).await;
        }
        // On a thread of its own, so that threads which serve small queries are not kept busy.
        let handle = Handle::current();
        let job = move || handle.block_on(collect(stream, pool));
        let done = self.general.run(job).await;
        done.map_err(|error| Fault::from_chain(FaultKind::Internal, &error))?
    }

    pub fn run_stream(&self, fragment: Fragment) -> Result<FragmentStream, Fault> {
        self.start(fragment).map(|(stream, _)| stream)
    }

    fn start(&self, fragment: Fragment) -> Result<(FragmentStream, Arc<BudgetPool>), Fault> {
        let fault = |error| to_fault(&error, "");
        let bytes = self.config.fragment_memory_bytes;
        let pool = BudgetPool::new(self.memory.child("fragment", bytes)).map_err(fault)?;
        let pool = Arc::new(pool);
        self.stream(&fragment, Arc::clone(&pool) as _)
            .map(|stream| (stream, pool))
            .map_err(fault)
    }

    fn stream(
        &self,
        fragment: &Fragment,
        memory_pool: Arc<dyn MemoryPool>,
    ) -> DfResult<FragmentStream> {
        let turns = self.pool.turns(fragment.cancel.clone()).map_err(|error| {
            let code = schemas::fault::pinot_code::TOO_MANY_REQUESTS;
            crate::columns::external(Fault::new(FaultKind::Overloaded, code, error.to_string()))
        })?;
        let shared = Arc::new(Shared {
            turns,
            counters: Default::default(),
            options: fragment.options.clone(),
            many_groups: Arc::clone(&self.many_groups),
            suspects: fragment.suspects.clone(),
        });
        let run = Arc::new(Run {
            tables: fragment.tables.clone(),
            specs: fragment.specs.clone(),
            shared: Arc::clone(&shared),
            parameters: Parameters::from_bytes(&fragment.parameters)?,
            decoding: Arc::clone(&self.decoding),
        });
        let mut plan = self.prepared.plan(fragment, &run)?;
        let is_general = is_general(&plan);
        let mut measured = None;
        if shared.options.explain() == Explain::Analyze {
            plan = measured::measured(plan)?;
            measured = Some(Arc::clone(&plan));
        } else if shared.options.explain() != Explain::None {
            let shown = displayable(plan.as_ref()).indent(false).to_string();
            shared.counters.update(|stats| stats.plan = shown);
        }
        let task = TaskContext::new(
            None,
            "fragment".to_owned(),
            self.decoding.session_config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            self.runtime_with(memory_pool),
        );
        Ok(FragmentStream {
            is_general,
            measured,
            schema: plan.schema(),
            batches: execute_stream(plan, Arc::new(task))?,
            shared,
        })
    }
}

async fn collect(
    mut stream: FragmentStream,
    pool: Arc<BudgetPool>,
) -> Result<FragmentResult, Fault> {
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        pool.take(bytes_of(&batch))
            .map_err(|error| to_fault(&error, ""))?;
        batches.push(batch);
    }
    Ok(FragmentResult {
        schema: Arc::clone(&stream.schema),
        batches,
        stats: stream.stats(),
    })
}

/// Whether an operator that works on many rows at once is over rows of a table that has many.
fn is_general(plan: &Arc<dyn ExecutionPlan>) -> bool {
    // Of few rows there are many pairs.
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
        return true;
    }
    let children = || plan.children().into_iter();
    let works = plan.is::<SortExec>()
        || plan.is::<AggregateExec>()
        || children().count() > 1
        || plan.name().contains("Window");
    match works {
        true => children().any(reads_much),
        false => children().any(is_general),
    }
}

fn reads_much(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<ServerScanExec>() {
        Some(scan) => scan.rows() > scan.shared.rows_here_max(),
        None => plan.children().into_iter().any(reads_much),
    }
}
