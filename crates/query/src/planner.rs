//! From a statement to a plan that the broker can execute.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::{SqlToRel, object_name_to_table_reference};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::StreamExt;
use runtime::ComputePool;
use schemas::Fault;
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::proto::Explain;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::any_groups::all_of_ordered;
use crate::catalog::Catalog;
use crate::context::{QueryContext, QueryStats};
use crate::correlated::hoisted;
use crate::cut::cut;
use crate::dialect::{Dialect, Options, Semantics, Statement, Unparsed, natural};
use crate::distinct_on::firsts_of_keys;
use crate::entries::explode_groups;
use crate::exchange::{exchanged, is_worth_it, may_fit_spread};
use crate::excluding::Exclusions;
use crate::explain;
use crate::fault::{from_fault, to_fault};
use crate::given_up::{self, WatchedOperators};
use crate::lengths::Lengths;
use crate::literals::{Candidate, Shape, value, with_placeholders};
use crate::measured::measured;
use crate::operators::{Arithmetic, align_ranges, before, without_null_tests};
use crate::parameters::{Parameters, parameter};
use crate::repair::{NamedCasts, mend, shown};
use crate::rounding::rounded_casts;
use crate::session::{parser_options, session};
use crate::shared_memory::memory_of;
use crate::system::{BrokerTables, SystemTables};
use crate::templates::{Parameter, Templates, binds_in_scans, is_timeless, values};
use crate::typed_chains::TypedChains;
use crate::watched::{Watch, watched};

#[derive(Clone, Debug)]
pub struct PlannerConfig {
    /// Bytes that the broker's halves of all queries may hold together.
    pub memory_bytes: u64,
}

/// Functions, rules and memory, made once; a query works on a copy of the handles.
#[derive(Debug)]
pub struct Planner {
    session: SessionState,
    /// The same for plans that are spread over servers.
    spreading: SessionState,
    /// Where queries run.
    task: Arc<TaskContext>,
    /// Where statements are parsed and planned that may take long.
    aside: ComputePool,
    templates: Templates,
    system: SystemTables,
    single_stage: Vec<Arc<dyn ExprPlanner>>,
    multi_stage: Vec<Arc<dyn ExprPlanner>>,
}

/// The operating system shares the cores among them: a long one holds up no short one.
const PLANNED_AT_ONCE_MAX: usize = 64;
/// Of a stage on one server.
const STAGE_PARTITIONS: usize = 4;
/// Bytes of statements that are parsed where they come in.
const SHORT_BYTES_MAX: usize = 32 << 10;

/// The rows of a query.
#[derive(Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Planner {
    pub fn new(
        config: &PlannerConfig,
        cluster: watch::Receiver<Arc<ClusterState>>,
        broker: Arc<dyn BrokerTables>,
    ) -> Result<Self, Fault> {
        let pool = GreedyMemoryPool::new(config.memory_bytes as usize);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .build_arc()
            .map_err(|error| to_fault(&error, ""))?;
        let spreading = session(Arc::clone(&runtime), STAGE_PARTITIONS);
        let session = session(runtime, 1);
        Ok(Self {
            spreading,
            single_stage: before(Arithmetic::Double, session.expr_planners()),
            multi_stage: before(Arithmetic::OfSql, session.expr_planners()),
            system: SystemTables::new(cluster, &session, broker)
                .map_err(|error| to_fault(&error, ""))?,
            task: session.task_ctx(),
            aside: ComputePool::new(PLANNED_AT_ONCE_MAX),
            templates: Templates::default(),
            session,
        })
    }

    /// Parses, unless a statement of the shape is known.
    pub async fn parse(
        self: &Arc<Self>,
        sent: &str,
        dialect: Dialect,
        options: Options,
        default_limit: u64,
    ) -> Result<Statement, Fault> {
        if sent.len() <= SHORT_BYTES_MAX {
            return self.parse_here(sent, dialect, options, default_limit);
        }
        let (planner, sent) = (Arc::clone(self), sent.to_owned());
        let job = move || planner.parse_here(&sent, dialect, options, default_limit);
        let parsed = self.aside.run(job).await;
        parsed.unwrap_or_else(|panicked| Err(Fault::internal(panicked.to_string())))
    }

    fn parse_here(
        &self,
        sent: &str,
        dialect: Dialect,
        options: Options,
        default_limit: u64,
    ) -> Result<Statement, Fault> {
        let unparsed = Unparsed::new(sent, dialect, options, default_limit)?;
        let is_explained = unparsed.explain != Explain::None;
        // Plans are kept by names of tables, which mean others in another database.
        let elsewhere = unparsed.options.0.contains_key("database");
        let unwanted = unparsed.options.flag("planTemplates") == Some(false);
        let may_use = !is_explained && !elsewhere && !unwanted;
        let shape = may_use.then(|| Shape::of(unparsed.text)).flatten();
        if let Some(shape) = &shape
            && let Some((parsed, found)) = self.templates.find(&unparsed, shape)
        {
            return Ok(unparsed.into_statement(parsed, Some(shape.clone()), Some(found)));
        }
        let parsed = unparsed.parse()?;
        Ok(unparsed.into_statement(Arc::new(parsed), shape, None))
    }

    /// Plans and runs. When a server fails that was asked to answer alone, others are asked.
    pub async fn answer(
        self: &Arc<Self>,
        statement: &Arc<Statement>,
        context: &Arc<QueryContext>,
    ) -> Result<Answer, Fault> {
        let place = |error| statement.place(to_fault(&error, &statement.text));
        loop {
            let before = context.setbacks();
            let begun = context.clock.monotonic();
            let plan = self.plan(statement, context).await.map_err(place)?;
            context.stats.lock().planning = context.clock.monotonic() - begun;
            let tables = context.stats.lock().tables.clone();
            let pass = context.gate.enter(&tables, &context.cluster)?;
            let plan = watched(plan, &context.watch()).map_err(place)?;
            let mut plan = all_of_ordered(plan).map_err(place)?;
            if statement.explain == Explain::Analyze {
                plan = measured(plan).map_err(place)?;
            }
            let schema = shown(plan.schema());
            // The answer counts as memory of the query until it is whole.
            let task = match &pass.memory {
                Some(memory) => memory_of(&self.task, memory),
                None => Arc::clone(&self.task),
            };
            let memory = MemoryConsumer::new("answer").register(task.memory_pool());
            match run(Arc::clone(&plan), task, memory).await {
                Ok(_) if statement.explain != Explain::None => {
                    let stats = context.stats.lock().clone();
                    let lines = explain::explain(&plan, statement, &stats).map_err(place)?;
                    return Ok(Answer {
                        schema: explain::schema(statement.semantics),
                        batches: vec![lines],
                    });
                }
                Ok(batches) => {
                    context.stats.lock().whole();
                    return Ok(Answer { schema, batches });
                }
                Err(error) => {
                    let is_new = context.setbacks() == before;
                    let fault = place(error);
                    let is_full = fault.code == pinot_code::SERVER_RESOURCE_LIMIT;
                    if is_new && !(is_full && may_fit_spread(&plan, context)) {
                        return Err(fault);
                    }
                    *context.stats.lock() = QueryStats::default();
                }
            }
        }
    }

    async fn plan(
        self: &Arc<Self>,
        statement: &Arc<Statement>,
        context: &Arc<QueryContext>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(found) = &statement.found
            && context.wants_templates()
            && let Some(plan) = found.plan(context)?
            && !is_worth_it(&plan, context)
        {
            context.stats.lock().template_used = true;
            return Ok(plan);
        }
        let watch = context.watch_child();
        // Whoever waits for the plan may stop to wait: then nobody needs it.
        let _given_up = watch.cancel.clone().drop_guard();
        let here = Handle::current();
        let (planner, statement) = (Arc::clone(self), Arc::clone(statement));
        let context = Arc::clone(context);
        let job = move || here.block_on(planner.plan_anew(&statement, &context, &watch));
        let planned = self.aside.run(job).await;
        planned.unwrap_or_else(|panicked| Err(from_fault(Fault::internal(panicked.to_string()))))
    }

    #[cfg(test)]
    pub(crate) fn templates_kept(&self) -> usize {
        self.templates.len()
    }

    async fn plan_anew(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
        watch: &Watch,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        watch.check()?;
        let session = begun(&self.session, context, watch);
        let sql = DfStatement::Statement(Box::new(statement.sql().map_err(from_fault)?));
        let mut references = session.resolve_table_references(&sql)?;
        let DfStatement::Statement(mut sql) = sql else {
            return internal_err!("a statement became another one");
        };
        let unread = statement.parsed.unread.iter();
        let unread = unread.map(|name| object_name_to_table_reference(name.clone(), false));
        let unread = unread.collect::<Result<Vec<_>>>()?;
        references.extend(unread.iter().cloned());
        let operators = match statement.semantics {
            Semantics::SingleStage => &self.single_stage,
            Semantics::MultiStage => &self.multi_stage,
            Semantics::Standard => session.expr_planners(),
        };
        let own: [Arc<dyn ExprPlanner>; 5] = [
            Arc::new(WatchedOperators(watch.clone())),
            Arc::new(Lengths),
            Arc::new(TypedChains),
            Arc::new(Exclusions(context.watch())),
            Arc::new(NamedCasts),
        ];
        let operators: Vec<_> = own.into_iter().chain(operators.iter().cloned()).collect();
        let catalog = Catalog::new(
            &session,
            &operators,
            statement,
            context,
            &self.system,
            references,
        )
        .await?;
        for table in unread {
            catalog.get_table_source(table)?;
        }
        natural::spell_out(&mut sql, &|name| catalog.columns_of(name)).map_err(from_fault)?;
        let planning = Planning {
            session: &session,
            planner: SqlToRel::new_with_options(&catalog, parser_options(&session)),
            catalog: &catalog,
            statement,
            context,
        };
        let may_keep = context.wants_templates() && statement.shape.is_some();
        // Whatever is wrong with a statement, planning it as it is tells.
        if may_keep && let Ok(Some(planned)) = planning.with_parameters(&sql).await {
            self.templates
                .keep(statement, context, planned.parameters, &planned.plan);
            return Ok(planned.plan);
        }
        context.stats.lock().pruned_nothing();
        let (logical, plan) = planning.planned(*sql).await?;
        let is_timeless = is_timeless(&logical)?;
        watch.check()?;
        let plan = cut(plan, context, &Parameters::default())?;
        if is_worth_it(&plan, context)
            && let Some(plan) = self.spread(&logical, context, watch).await
        {
            return Ok(plan);
        }
        if may_keep && is_timeless {
            self.templates.keep(statement, context, Vec::new(), &plan);
        }
        Ok(plan)
    }
}

impl Planner {
    /// `None`: the broker gathers, and says what is wrong if something is.
    async fn spread(
        &self,
        logical: &LogicalPlan,
        context: &Arc<QueryContext>,
        watch: &Watch,
    ) -> Option<Arc<dyn ExecutionPlan>> {
        let session = begun(&self.spreading, context, watch);
        let stats = context.stats.lock().clone();
        context.stats.lock().pruned_nothing();
        let plan = exchanged(logical, &session, context).await;
        let plan = plan.unwrap_or_else(|error| {
            tracing::debug!(cause = %error, "a plan cannot be spread over servers");
            None
        });
        if plan.is_none() {
            *context.stats.lock() = stats;
        }
        plan
    }
}

/// For a query that begins now.
fn begun(session: &SessionState, context: &QueryContext, watch: &Watch) -> SessionState {
    let mut session = session.clone();
    session.mark_start_execution();
    given_up::watch(session.config_mut().options_mut(), watch.clone());
    // `now()` is what the clock says, as everywhere.
    let now = chrono::DateTime::from_timestamp_millis(context.clock.now_ms());
    session.execution_props_mut().query_execution_start_time = now;
    session
}

/// Each alias that a condition uses is one.
const MENDED_MAX: u32 = 16;

/// One statement on its way to a plan.
struct Planning<'a> {
    session: &'a SessionState,
    planner: SqlToRel<'a, Catalog<'a>>,
    catalog: &'a Catalog<'a>,
    statement: &'a Statement,
    context: &'a Arc<QueryContext>,
}

/// A plan for every statement that differs in parameters alone.
struct PlannedOnce {
    plan: Arc<dyn ExecutionPlan>,
    parameters: Vec<Parameter>,
}

impl Planning<'_> {
    async fn planned(&self, sql: SqlStatement) -> Result<(LogicalPlan, Arc<dyn ExecutionPlan>)> {
        let (mut sql, mut mended, mut tries) = (sql, None, 0);
        loop {
            let logical = self.logical(sql, mended.clone())?;
            match self.session.create_physical_plan(&logical).await {
                Ok(plan) => return Ok((logical, plan)),
                // Names that are the same to a rule alone.
                Err(error) => (sql, mended) = self.mended(mended, error, &mut tries)?,
            }
        }
    }

    /// Planning takes the statement, which may be large: a copy is made where one is needed.
    fn again(&self) -> Result<SqlStatement> {
        let mut sql = self.statement.sql().map_err(from_fault)?;
        let columns = |name: &_| self.catalog.columns_of(name);
        natural::spell_out(&mut sql, &columns).map_err(from_fault)?;
        Ok(sql)
    }

    /// What is planned next, and the same to be mended further; the error, if that is all.
    fn mended(
        &self,
        before: Option<SqlStatement>,
        error: DataFusionError,
        tries: &mut u32,
    ) -> Result<(SqlStatement, Option<SqlStatement>)> {
        let is_pinot = self.statement.semantics != Semantics::Standard;
        let mut again = before.map_or_else(|| self.again(), Ok)?;
        *tries += 1;
        if *tries > MENDED_MAX || !mend(&mut again, &error, is_pinot) {
            return Err(error);
        }
        Ok((again.clone(), Some(again)))
    }

    /// `again`: the same statement, if it is another than that of the text.
    fn logical(&self, sql: SqlStatement, again: Option<SqlStatement>) -> Result<LogicalPlan> {
        let (mut sql, mut mended, mut tries) = (sql, again, 0);
        let logical = loop {
            let tried = DfStatement::Statement(Box::new(sql));
            match self.planner.statement_to_plan(tried) {
                Ok(logical) => break logical,
                Err(error) => (sql, mended) = self.mended(mended, error, &mut tries)?,
            }
        };
        let mut logical = hoisted(logical)?;
        if let Some(first) = self.session.aggregate_functions().get("first_value") {
            logical = firsts_of_keys(logical, first)?;
        }
        match self.statement.semantics {
            Semantics::Standard => match self.session.scalar_functions().get("round") {
                Some(round) => rounded_casts(logical, round),
                None => Ok(logical),
            },
            _ => explode_groups(without_null_tests(align_ranges(logical)?)?),
        }
    }

    /// `None`: the plan depends on every literal, or on the time.
    async fn with_parameters(&self, sql: &SqlStatement) -> Result<Option<PlannedOnce>> {
        let Some((logical, parameters)) = self.logical_with_parameters(sql)? else {
            return Ok(None);
        };
        let Statement {
            text, semantics, ..
        } = self.statement;
        let shape = self.statement.shape.as_ref();
        let Some(values) = shape.and_then(|shape| values(&parameters, text, shape, *semantics))
        else {
            return Ok(None);
        };
        if !is_timeless(&logical)? {
            return Ok(None);
        }
        let optimized = with_values(self.session.optimize(&logical)?, &values)?;
        let planner = self.session.query_planner();
        let plan = planner
            .create_physical_plan(&optimized, self.session)
            .await?;
        if !binds_in_scans(&plan)? {
            return Ok(None);
        }
        let plan = cut(plan, self.context, &values)?;
        let is_kept = !is_worth_it(&plan, self.context);
        Ok(is_kept.then_some(PlannedOnce { plan, parameters }))
    }

    /// With placeholders for literals whose value is one of the column's type.
    fn logical_with_parameters(
        &self,
        sql: &SqlStatement,
    ) -> Result<Option<(LogicalPlan, Vec<Parameter>)>> {
        let Statement {
            text,
            semantics,
            shape: Some(shape),
            ..
        } = self.statement
        else {
            return Ok(None);
        };
        let mut unfit: Vec<Candidate> = Vec::new();
        loop {
            let mut sql = sql.clone();
            let wanted = |candidate| !unfit.contains(&candidate);
            let candidates = with_placeholders(&mut sql, text, shape, wanted);
            if candidates.is_empty() {
                return Ok(None);
            }
            let logical = self.logical(sql.clone(), Some(sql))?;
            let types = logical.get_parameter_types()?;
            let mut parameters = Vec::with_capacity(candidates.len());
            let unfit_before = unfit.len();
            for (at, candidate) in candidates.into_iter().enumerate() {
                let known = types.get(&format!("${}", at + 1)).cloned().flatten();
                let literal = &shape.literals[candidate.literal];
                let fits = known.filter(|data_type| {
                    value(literal, candidate.negated, text, data_type, *semantics).is_some()
                });
                match fits {
                    Some(data_type) => parameters.push(Parameter {
                        candidate,
                        data_type,
                    }),
                    None => unfit.push(candidate),
                }
            }
            if unfit.len() == unfit_before {
                return Ok(Some((logical, parameters)));
            }
        }
    }
}

/// Each placeholder as a literal that knows its number.
fn with_values(plan: LogicalPlan, values: &Parameters) -> Result<LogicalPlan> {
    let with_values = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                let Expr::Placeholder(placeholder) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                let number = placeholder.id.strip_prefix('$');
                let number = number.and_then(|number| number.parse::<usize>().ok());
                let Some(at) = number.and_then(|number| number.checked_sub(1)) else {
                    return Ok(Transformed::no(expr));
                };
                Ok(Transformed::yes(parameter(at, values.get(at)?.clone())))
            })
        })
    })?;
    Ok(with_values.data)
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
