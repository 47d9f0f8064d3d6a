//! Planning ends with the query that it is for.
//!
//! It may take long, and nothing in it waits: before each step, an operator of the statement, a
//! rule, or a rule's look at a node, it is asked whether anybody still wants the answer.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, config_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;

use crate::watched::Watch;

/// Puts the watch where rules find it.
pub(crate) fn watch(options: &mut ConfigOptions, watch: Watch) {
    options.extensions.insert(OfQuery(watch));
}

#[derive(Clone, Debug)]
struct OfQuery(Watch);

impl ConfigExtension for OfQuery {
    const PREFIX: &'static str = "of_query";
}

impl ExtensionOptions for OfQuery {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        config_err!("`{key}` is not for users to set")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

fn check(options: &ConfigOptions) -> Result<()> {
    match options.extensions.get::<OfQuery>() {
        Some(OfQuery(watch)) => watch.check(),
        None => Ok(()),
    }
}

/// Gives nothing another meaning: stands before all others and looks.
#[derive(Debug)]
pub(crate) struct WatchedOperators(pub(crate) Watch);

impl ExprPlanner for WatchedOperators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        self.0.check()?;
        Ok(PlannerResult::Original(raw))
    }
}

/// A rule of any kind.
#[derive(Debug)]
pub(crate) struct Watched<R>(pub(crate) R);

impl AnalyzerRule for Watched<Arc<dyn AnalyzerRule + Send + Sync>> {
    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        check(options)?;
        self.0.analyze(plan, options)
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl OptimizerRule for Watched<Arc<dyn OptimizerRule + Send + Sync>> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        check(&config.options())?;
        self.0.rewrite(plan, config)
    }
}

impl PhysicalOptimizerRule for Watched<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check(options)?;
        self.0.optimize(plan, options)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check(context.config_options())?;
        self.0.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
