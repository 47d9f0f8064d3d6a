//! From a statement to a plan that the broker can execute.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::{ConfigOptions, Dialect as SqlDialect};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use futures::StreamExt;
use schemas::Fault;
use schemas::cluster::ClusterState;
use schemas::proto::Explain;
use tokio::sync::watch;

use crate::any_entry::AnyEntry;
use crate::catalog::Catalog;
use crate::context::{QueryContext, QueryStats};
use crate::cut::cut;
use crate::dialect::{Semantics, Statement};
use crate::explain;
use crate::fault::to_fault;
use crate::operators::{Arithmetic, align_ranges, before};
use crate::system::SystemTables;
use crate::templates::{Templates, is_timeless};

#[derive(Clone, Debug)]
pub struct PlannerConfig {
    /// Bytes that the broker's halves of all queries may hold together.
    pub memory_bytes: u64,
}

/// Functions, rules and memory, made once; a query works on a copy of the handles.
#[derive(Debug)]
pub struct Planner {
    session: SessionState,
    /// Where queries run.
    task: Arc<TaskContext>,
    templates: Templates,
    system: SystemTables,
    single_stage: Vec<Arc<dyn ExprPlanner>>,
    multi_stage: Vec<Arc<dyn ExprPlanner>>,
}

/// The rows of a query.
#[derive(Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// A plan with all it needs to run.
#[derive(Debug)]
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    statement: Statement,
    context: Arc<QueryContext>,
}

impl Planner {
    pub fn new(
        config: &PlannerConfig,
        cluster: watch::Receiver<Arc<ClusterState>>,
    ) -> Result<Self, Fault> {
        let pool = GreedyMemoryPool::new(config.memory_bytes as usize);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .build_arc()
            .map_err(|error| to_fault(&error, ""))?;
        let session = session(runtime);
        Ok(Self {
            single_stage: before(Arithmetic::Double, session.expr_planners()),
            multi_stage: before(Arithmetic::OfSql, session.expr_planners()),
            system: SystemTables::new(cluster),
            task: session.task_ctx(),
            templates: Templates::default(),
            session,
        })
    }

    /// Plans and runs. When a server fails that was asked to answer alone, others are asked.
    pub async fn answer(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Answer, Fault> {
        loop {
            let failed_before = context.failed.lock().len();
            let planned = self.plan(statement, context).await?;
            let schema = planned.schema();
            match planned.collect().await {
                Ok(batches) => return Ok(Answer { schema, batches }),
                Err(fault) if context.failed.lock().len() == failed_before => return Err(fault),
                Err(_) => *context.stats.lock() = QueryStats::default(),
            }
        }
    }

    async fn plan(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Planned, Fault> {
        let fault = |error| statement.place(to_fault(&error, &statement.text));
        let known = self.templates.find(statement, context).map_err(fault)?;
        let plan = match known {
            Some(plan) => plan,
            None => self.plan_anew(statement, context).await.map_err(fault)?,
        };
        Ok(Planned {
            plan,
            task: Arc::clone(&self.task),
            statement: statement.clone(),
            context: Arc::clone(context),
        })
    }

    #[cfg(test)]
    pub(crate) fn templates_kept(&self) -> usize {
        self.templates.len()
    }

    async fn plan_anew(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut session = self.session.clone();
        session.mark_start_execution();
        // `now()` is what the clock says, as everywhere.
        let now = chrono::DateTime::from_timestamp_millis(context.clock.now_ms());
        session.execution_props_mut().query_execution_start_time = now;
        // Planning is a large future.
        Box::pin(self.physical_plan(&session, statement, context)).await
    }

    async fn physical_plan(
        &self,
        session: &SessionState,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sql = DfStatement::Statement(Box::new(statement.sql.clone()));
        let references = session.resolve_table_references(&sql)?;
        let operators = match statement.semantics {
            Semantics::SingleStage => &self.single_stage,
            Semantics::MultiStage => &self.multi_stage,
            Semantics::Standard => session.expr_planners(),
        };
        let catalog = Catalog::new(
            session,
            operators,
            statement,
            context,
            &self.system,
            references,
        )
        .await?;
        let options = parser_options(session);
        let planner = SqlToRel::new_with_options(&catalog, options);
        let mut logical = planner.statement_to_plan(sql)?;
        if statement.semantics != Semantics::Standard {
            logical = align_ranges(logical)?;
        }
        let is_timeless = is_timeless(&logical)?;
        let plan = session.create_physical_plan(&logical).await?;
        let plan = cut(plan, context)?;
        self.templates.keep(statement, context, is_timeless, &plan);
        Ok(plan)
    }
}

impl Planned {
    fn schema(&self) -> SchemaRef {
        match self.statement.explain {
            Explain::None => self.plan.schema(),
            _ => explain::schema(self.statement.semantics),
        }
    }

    /// Runs it to the end. The answer counts as memory of the query until it is whole.
    async fn collect(self) -> Result<Vec<RecordBatch>, Fault> {
        let memory = MemoryConsumer::new("answer").register(self.task.memory_pool());
        let fault = |error| self.statement.place(to_fault(&error, &self.statement.text));
        let rows = run(Arc::clone(&self.plan), self.task, memory).await;
        let rows = rows.map_err(fault)?;
        if self.statement.explain == Explain::None {
            return Ok(rows);
        }
        let told = self.context.stats.lock().explained.clone();
        explain::explain(&self.plan, &self.statement, &told)
            .map(|lines| vec![lines])
            .map_err(fault)
    }
}

async fn run(
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    memory: MemoryReservation,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let mut rows = execute_stream(plan, task)?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        memory.try_grow(slice_bytes(&batch))?;
        batches.push(batch);
    }
    Ok(batches)
}

/// Of the rows alone: batches of one answer share their buffers.
fn slice_bytes(batch: &RecordBatch) -> usize {
    let of_column = |column: &arrow::array::ArrayRef| {
        let bytes = column.to_data().get_slice_memory_size();
        bytes.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of_column).sum()
}

fn session(runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut options = ConfigOptions::new();
    options.sql_parser.dialect = SqlDialect::Generic;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.execution.collect_statistics = false;
    // Each sort sets this aside at once, also the many that sort ten rows.
    options.execution.sort_spill_reservation_bytes = 64 << 10;
    // One partition: the only exchange is the one between servers and broker.
    let config = SessionConfig::from(options)
        .with_target_partitions(1)
        .with_create_default_catalog_and_schema(false);
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        // The defaults are added to what is there.
        .with_scalar_functions(vec![AnyEntry::udf()])
        .with_default_features()
        .build()
}

fn parser_options(session: &SessionState) -> ParserOptions {
    let options = &session.config_options().sql_parser;
    ParserOptions::new()
        .with_collect_spans(true)
        .with_enable_ident_normalization(options.enable_ident_normalization)
        .with_map_string_types_to_utf8view(options.map_string_types_to_utf8view)
}
