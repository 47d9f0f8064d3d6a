//! Runs fragments: decode, put the scans in, replace aggregates, execute.
//!
//! Nothing of a fragment outlives it: its memory is a child of the engine's budget, its work runs
//! on the compute pool and ends when its token is cancelled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::{Result as DfResult, internal_datafusion_err};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use query::AnyEntry;
use query::codec::{ScanFactory, decode_plan};
use query::parameters::Parameters;
use query::scan_exec::ScanDescription;
use query::to_fault;
use runtime::{CancellationToken, ComputePool, MemoryBudget};
use schemas::proto::{Explain, NullMode, ScanOptions, ScanStats};
use schemas::{Fault, FaultKind, TableId, TableSpec};
use segment::SegmentView;
use tokio::runtime::Handle;

use crate::learned::hand_down;
use crate::memory::{BudgetPool, bytes_of};
use crate::native::NativeAggregates;
use crate::scan_exec::ServerScanExec;
use crate::selection::TopRows;
use crate::shared::{ROWS_HERE_MAX, Shared};

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Bytes that one fragment may hold, its answer among them.
    pub fragment_memory_bytes: u64,
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
    pub tables: HashMap<TableId, Vec<SegmentView>>,
    pub specs: HashMap<TableId, Arc<TableSpec>>,
    pub null_mode: NullMode,
    pub options: ScanOptions,
    pub cancel: CancellationToken,
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
        self.shared.stats()
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
            .with_scalar_functions([functions::all(), vec![AnyEntry::udf()]].concat())
            .with_default_features()
            .build();
        Self {
            config,
            decoding: state.task_ctx(),
            general: ComputePool::new(pool.threads()),
            pool,
            memory,
        }
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
        self.stream(fragment, Arc::clone(&pool) as _)
            .map(|stream| (stream, pool))
            .map_err(fault)
    }

    fn stream(
        &self,
        fragment: Fragment,
        memory_pool: Arc<dyn MemoryPool>,
    ) -> DfResult<FragmentStream> {
        let turns = self.pool.turns(fragment.cancel).map_err(|error| {
            let code = schemas::fault::pinot_code::TOO_MANY_REQUESTS;
            crate::columns::external(Fault::new(FaultKind::Overloaded, code, error.to_string()))
        })?;
        let shared = Arc::new(Shared {
            turns,
            counters: Default::default(),
            options: fragment.options,
        });
        let factory = Factory {
            tables: fragment.tables,
            specs: fragment.specs,
            shared: Arc::clone(&shared),
        };
        let parameters = Parameters::from_bytes(&fragment.parameters)?;
        let factory = Arc::new(factory);
        let plan = decode_plan(&fragment.plan, &parameters, &self.decoding, factory)?.plan;
        let rule = NativeAggregates {
            shared: Arc::clone(&shared),
        };
        let options = self.decoding.session_config().options();
        let mut plan = rule.optimize(plan, options)?;
        if !shared.options.without_native_operators {
            let rule = TopRows {
                shared: Arc::clone(&shared),
            };
            plan = rule.optimize(plan, options)?;
            plan = hand_down(plan, options)?;
        }
        if shared.options.explain() != Explain::None {
            let shown = displayable(plan.as_ref()).indent(false).to_string();
            shared.counters.update(|stats| stats.plan = shown);
        }
        let runtime = self.decoding.runtime_env();
        let task = TaskContext::new(
            None,
            "fragment".to_owned(),
            self.decoding.session_config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::new(RuntimeEnv {
                memory_pool,
                ..(*runtime).clone()
            }),
        );
        Ok(FragmentStream {
            is_general: is_general(&plan),
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
        Some(scan) => scan.rows() > ROWS_HERE_MAX,
        None => plan.children().into_iter().any(reads_much),
    }
}

/// Gives each scan of the plan its segments.
#[derive(Debug)]
struct Factory {
    tables: HashMap<TableId, Vec<SegmentView>>,
    specs: HashMap<TableId, Arc<TableSpec>>,
    shared: Arc<Shared>,
}

impl ScanFactory for Factory {
    fn scan(&self, description: ScanDescription) -> DfResult<Arc<dyn ExecutionPlan>> {
        let table = description.table;
        let (Some(segments), Some(spec)) = (self.tables.get(&table), self.specs.get(&table)) else {
            let name = &description.table_name;
            return Err(internal_datafusion_err!(
                "the fragment names no segments of table `{name}`"
            ));
        };
        // A broker that knows a newer schema asks elsewhere until this server knows it too.
        for at in description.projection.iter().copied() {
            let name = description.table_schema.field(at).name();
            if !name.starts_with('$') && spec.column(name).is_none() {
                let message = format!("this server does not know column `{name}` yet");
                let code = schemas::fault::pinot_code::QUERY_EXECUTION;
                let fault = Fault::new(FaultKind::Unavailable, code, message);
                return Err(crate::columns::external(fault));
            }
        }
        Ok(Arc::new(ServerScanExec::new(
            description,
            Arc::clone(spec),
            segments.clone(),
            Arc::clone(&self.shared),
        )?))
    }
}
