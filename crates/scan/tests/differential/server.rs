//! A broker in miniature: plans over descriptions, hands what servers can do to the engine as
//! bytes, and finishes the rest.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::optimizer::Optimizer;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use futures::FutureExt;
use futures::future::BoxFuture;
use query::codec::encode_plan;
use query::scan_exec::{ScanDescription, SegmentScanExec};
use runtime::{CancellationToken, ComputePool, MemoryBudget};
use scan::{Engine, EngineConfig, Fragment, FragmentResult, Suspects};
use schemas::arrow::full_schema;
use schemas::proto::{NullMode, ScanOptions, ScanStats};
use schemas::table::virtual_column;
use schemas::{ColumnSpec, DataType, Fault, FieldRole, TableSpec};
use segment::SegmentView;

use crate::data::Table;

pub(crate) type Plan = Arc<dyn ExecutionPlan>;

#[derive(Debug)]
struct Described {
    spec: Arc<TableSpec>,
    schema: SchemaRef,
    null_mode: NullMode,
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Plan> {
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filters = filters
            .iter()
            .map(|filter| session.create_physical_expr(filter.clone(), &columns))
            .collect::<DfResult<Vec<_>>>()?;
        let every = || (0..self.schema.fields().len()).collect();
        let description = ScanDescription {
            table: self.spec.id,
            table_name: "flights".to_owned(),
            table_schema: Arc::clone(&self.schema),
            projection: projection.cloned().unwrap_or_else(every),
            filters,
            sent_filters: None,
            fetch: limit,
            null_mode: self.null_mode,
            is_dimension_table: false,
        };
        let scan = SegmentScanExec::new(Arc::new(description), Arc::new(Vec::new()), 0)?;
        Ok(Arc::new(scan))
    }
}

pub(crate) struct Server {
    context: SessionContext,
    engine: Engine,
    spec: Arc<TableSpec>,
    segments: Arc<Vec<SegmentView>>,
    null_mode: NullMode,
}

impl Server {
    pub(crate) fn new(table: &Table, null_mode: NullMode) -> Self {
        Self::with_memory(table, null_mode, 64 << 20)
    }

    pub(crate) fn with_memory(table: &Table, null_mode: NullMode, bytes: u64) -> Self {
        Self::with(table, null_mode, 2, bytes)
    }

    pub(crate) fn with(table: &Table, null_mode: NullMode, threads: usize, bytes: u64) -> Self {
        let config = EngineConfig::new(bytes);
        Self::with_config(table, null_mode, threads, config)
    }

    /// Whose groups go to partitions wherever they can.
    pub(crate) fn partitioning(table: &Table, null_mode: NullMode) -> Self {
        let config = EngineConfig {
            partitioned_rows_min: 0,
            ..EngineConfig::new(64 << 20)
        };
        Self::with_config(table, null_mode, 2, config)
    }

    fn with_config(
        table: &Table,
        null_mode: NullMode,
        threads: usize,
        config: EngineConfig,
    ) -> Self {
        let bytes = config.fragment_memory_bytes;
        let context = SessionContext::new_with_state(state());
        let provider = Described {
            spec: Arc::clone(&table.spec),
            schema: full_schema(&table.spec, null_mode),
            null_mode,
        };
        context
            .register_table("flights", Arc::new(provider))
            .unwrap();
        register_own(&context);
        context.register_udf(query::AnyEntry::udf().as_ref().clone());
        let memory = MemoryBudget::root("test", bytes * 4);
        Self {
            context,
            engine: Engine::new(config, ComputePool::new(threads), memory),
            spec: Arc::clone(&table.spec),
            segments: Arc::new(table.segments.clone()),
            null_mode,
        }
    }

    fn fragment(&self, plan: Plan, options: &ScanOptions) -> Fragment {
        let plan = encode_plan(plan).unwrap();
        Fragment {
            template_hash: BuildHasherDefault::<DefaultHasher>::default().hash_one(&plan),
            plan,
            parameters: Default::default(),
            tables: HashMap::from([(self.spec.id, Arc::clone(&self.segments))]),
            specs: HashMap::from([(self.spec.id, with_host(&self.spec))]),
            null_mode: self.null_mode,
            options: options.clone(),
            cancel: CancellationToken::new(),
            suspects: Suspects::default(),
        }
    }

    /// Asks a server that holds all there is, so that it gives the whole answer.
    pub(crate) async fn ask_one(
        &self,
        sql: &str,
        options: &ScanOptions,
    ) -> (Vec<RecordBatch>, ScanStats) {
        self.run_whole(self.plan(sql).await, options).await
    }

    /// Aggregates whose groups were partitioned.
    pub(crate) fn partitioned(&self) -> u64 {
        self.engine.partitioned()
    }

    pub(crate) async fn plan(&self, sql: &str) -> Plan {
        let frame = self.context.sql(sql).await.unwrap();
        frame.create_physical_plan().await.unwrap()
    }

    /// The plan of what is made of the table.
    pub(crate) async fn plan_of(&self, make: impl FnOnce(DataFrame) -> DataFrame) -> Plan {
        let table = self.context.table("flights").await.unwrap();
        make(table).create_physical_plan().await.unwrap()
    }

    pub(crate) async fn run_whole(
        &self,
        plan: Plan,
        options: &ScanOptions,
    ) -> (Vec<RecordBatch>, ScanStats) {
        let shown = displayable(plan.as_ref()).one_line().to_string();
        let answer = self.run_twice(&self.fragment(plan, options)).await;
        let answer = answer.unwrap_or_else(|fault| panic!("{shown}: {fault}"));
        (answer.batches, answer.stats)
    }

    /// The second answer, for which there may be a plan.
    async fn run_twice(&self, fragment: &Fragment) -> Result<FragmentResult, Fault> {
        let rows = |answer: &FragmentResult| -> usize {
            answer.batches.iter().map(RecordBatch::num_rows).sum()
        };
        let first = self.engine.run(fragment.clone()).await?;
        let second = self.engine.run(fragment.clone()).await?;
        assert_eq!(rows(&second), rows(&first));
        let operators = |stats: &ScanStats| (stats.native_operators, stats.fallback_operators);
        assert_eq!(operators(&second.stats), operators(&first.stats));
        Ok(second)
    }

    /// Runs that had the plan of another one.
    pub(crate) fn plans_used_again(&self) -> u64 {
        self.engine.plans_used_again()
    }

    pub(crate) async fn ask(
        &self,
        sql: &str,
        options: &ScanOptions,
    ) -> (Vec<RecordBatch>, ScanStats) {
        let frame = self.context.sql(sql).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let mut stats = ScanStats::default();
        let plan = self.run(sql, plan, options, &mut stats).await;
        let batches = collect(plan, self.context.task_ctx()).await;
        (
            batches.unwrap_or_else(|error| panic!("{sql}: {error}")),
            stats,
        )
    }

    /// How the server's part of a statement ends.
    pub(crate) async fn outcome(&self, sql: &str, options: &ScanOptions) -> Result<usize, Fault> {
        let frame = self.context.sql(sql).await.unwrap();
        let mut plan = frame.create_physical_plan().await.unwrap();
        while !is_for_servers(&plan) {
            plan = Arc::clone(plan.children()[0]);
        }
        let answer = self.engine.run(self.fragment(plan, options)).await?;
        Ok(answer.batches.iter().map(RecordBatch::num_rows).sum())
    }

    /// How a whole plan ends that is cancelled after `wait`. Until it has ended it is waited for.
    pub(crate) async fn cancelled_after(
        &self,
        plan: Plan,
        options: &ScanOptions,
        wait: Duration,
    ) -> Fault {
        let fragment = self.fragment(plan, options);
        let cancel = fragment.cancel.clone();
        let end = async {
            tokio::time::sleep(wait).await;
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(self.engine.run(fragment), end);
        outcome.expect_err("it was cancelled")
    }

    /// The plan with the answers of the engine in the place of what it ran.
    fn run<'a>(
        &'a self,
        sql: &'a str,
        plan: Plan,
        options: &'a ScanOptions,
        stats: &'a mut ScanStats,
    ) -> BoxFuture<'a, Plan> {
        async move {
            if is_for_servers(&plan) {
                let schema = plan.schema();
                let partitions = plan.properties().partitioning.partition_count();
                let answer = self.run_twice(&self.fragment(plan, options)).await;
                let answer = answer.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
                *stats = answer.stats;
                for batch in &answer.batches {
                    assert_eq!(batch.schema(), schema, "{sql}");
                }
                let mut parts = vec![answer.batches];
                parts.resize(partitions, Vec::new());
                return MemorySourceConfig::try_new_exec(&parts, schema, None).unwrap() as Plan;
            }
            let mut children = Vec::new();
            for child in plan.children() {
                children.push(self.run(sql, Arc::clone(child), options, stats).await);
            }
            #[expect(
                deprecated,
                reason = "its successor needs options that a test has no use for"
            )]
            plan.with_new_children(children).unwrap()
        }
        .boxed()
    }
}

/// As the broker plans.
fn state() -> SessionState {
    let distinct_by_groups = "single_distinct_aggregation_to_group_by";
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| rule.name() != distinct_by_groups);
    let mut config = SessionConfig::new().with_target_partitions(1);
    config
        .options_mut()
        .optimizer
        .enable_join_dynamic_filter_pushdown = false;
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(rules.collect())
        .build()
}

fn is_for_servers(plan: &Plan) -> bool {
    if plan.is::<SegmentScanExec>() {
        return true;
    }
    let passes = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| sort.preserve_partitioning() && sort.fetch().is_some())
        || plan
            .downcast_ref::<AggregateExec>()
            .is_some_and(|aggregate| *aggregate.mode() == AggregateMode::Partial);
    passes && plan.children().iter().all(|child| is_for_servers(child))
}

/// Functions and aggregates of our own.
pub(crate) fn register_own(context: &SessionContext) {
    for function in functions::all() {
        context.register_udf(function.as_ref().clone());
    }
    let replaced = functions::replaced_aggregates();
    for function in functions::all_aggregates().into_iter().chain(replaced) {
        context.register_udaf(function.as_ref().clone());
    }
}

/// As servers add it for plans that name it.
fn with_host(spec: &TableSpec) -> Arc<TableSpec> {
    let mut spec = spec.clone();
    let role = FieldRole::Dimension;
    let host = ColumnSpec::new(virtual_column::HOST_NAME, DataType::String, role);
    spec.columns.push(host);
    Arc::new(spec)
}
