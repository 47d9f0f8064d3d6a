//! What planning works with: functions, rules in their order, and options.

use std::sync::Arc;

use datafusion::common::config::{ConfigOptions, Dialect as SqlDialect};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::ParserOptions;

use crate::conditional_sums::ConditionalSums;
use crate::constant_keys::ConstantKeys;
use crate::constant_lists::ConstantLists;
use crate::constant_pairs::ConstantPairs;
use crate::correlated::{UnnestSubqueries, Which};
use crate::decimals::ExactDecimals;
use crate::distinct_counts::DistinctCounts;
use crate::distinct_sides::DistinctSides;
use crate::ends_asked::EndsAsked;
use crate::frames::FramesOfAnyType;
use crate::given_up::Watched;
use crate::group_orders::GroupOrders;
use crate::lists::{ListsOfLiterals, ListsOfOneValue};
use crate::null_equal_keys::{self, KeysApart};
use crate::outer_constants::OuterConstants;
use crate::outer_types::OuterTypes;
use crate::row_of_nothing::{self, StaysAbove};
use crate::same_time::SameTime;
use crate::sorted_inputs::SortedInputs;
use crate::whole_keys::WholeKeys;
use crate::whole_ranks::WholeRanks;
use crate::whole_times::WholeTimes;
use crate::window_orders::WindowOrders;

/// `partitions`: that operators of the plan work on at once.
pub(crate) fn session(runtime: Arc<RuntimeEnv>, partitions: usize) -> SessionState {
    let mut options = ConfigOptions::new();
    options.sql_parser.dialect = SqlDialect::Generic;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.execution.collect_statistics = false;
    // It refuses what is right: IS TRUE is never null for the logical planner, and may be for the
    // other.
    options.execution.skip_physical_aggregate_schema_check = true;
    // What a join learns is of use to a scan alone: servers look for that themselves.
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    // Its table panics on groups whose key is NaN.
    options.optimizer.enable_topk_aggregation = false;
    // Each sort sets this aside at once, also the many that sort ten rows.
    options.execution.sort_spill_reservation_bytes = 64 << 10;
    // Rows are dealt out by the hash of keys, or not at all.
    options.optimizer.enable_round_robin_repartition = false;
    // One that reads the value of a subquery does not travel; a join with it does.
    options
        .optimizer
        .enable_physical_uncorrelated_scalar_subquery = partitions == 1;
    if partitions > 1 {
        // What is sent to every server is smaller than what each gets a share of.
        options.optimizer.hash_join_single_partition_threshold = 256 << 10;
        // One that is told apart by partitions is not spread.
        options.optimizer.prefer_existing_union = true;
    }
    // With one partition the only exchange is the one between servers and broker.
    let config = SessionConfig::from(options)
        .with_target_partitions(partitions)
        .with_create_default_catalog_and_schema(false);
    let rules = optimizer_rules(partitions);
    let mut analysis = Analyzer::new().rules;
    analysis.insert(0, Arc::new(ExactDecimals));
    analysis.insert(0, Arc::new(ListsOfLiterals));
    analysis.insert(0, Arc::new(FramesOfAnyType));
    analysis.push(Arc::new(OuterTypes));
    analysis.push(Arc::new(WholeTimes));
    // Conditions are below already. On its way down one is known by the names of its columns, and
    // would be about one side of a join where both have a column of one name; servers hand down
    // what is learnt where that cannot be.
    let physical = PhysicalOptimizer::new().rules.into_iter();
    let physical = physical.filter(|rule| !rule.name().starts_with("FilterPushdown"));
    let mut physical: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = physical.collect();
    physical.insert(0, Arc::new(OuterConstants));
    physical.insert(0, Arc::new(WindowOrders));
    // The last one checks the plan.
    physical.insert(physical.len() - 1, Arc::new(SortedInputs));
    let physical = physical.into_iter();
    let (analysis, rules) = (analysis.into_iter(), rules.into_iter());
    let session = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        // The defaults are added to what is there.
        .with_expr_planners(vec![Arc::new(WholeRanks)]);
    let session = with_functions(session)
        .with_analyzer_rules(analysis.map(|rule| Arc::new(Watched(rule)) as _).collect())
        .with_optimizer_rules(rules.map(|rule| Arc::new(Watched(rule)) as _).collect())
        .with_physical_optimizer_rules(physical.map(|rule| Arc::new(Watched(rule)) as _).collect());
    functions::with_replaced_functions(session)
}

/// The planner's own and ours, in their order.
fn optimizer_rules(partitions: usize) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    // Servers count distinct values themselves; the rule would have them send every one. Where they
    // send them to each other, one of ours does what it does, and more.
    let distinct_by_groups = "single_distinct_aggregation_to_group_by";
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules.filter_map(|rule| match rule.name() == distinct_by_groups {
        true => (partitions > 1).then(|| Arc::new(DistinctCounts) as _),
        false => Some(rule),
    });
    let rules = rules.map(|rule| match rule.name() {
        row_of_nothing::RULE => Arc::new(StaysAbove(rule)) as _,
        null_equal_keys::OF_CONDITIONS | null_equal_keys::OF_JOINS => {
            Arc::new(KeysApart(rule)) as _
        }
        _ => rule,
    });
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = rules.collect();
    // Before what conditions have in common is taken out of them.
    rules.insert(0, Arc::new(ConditionalSums));
    rules.insert(0, Arc::new(ListsOfOneValue));
    rules.insert(0, Arc::new(EndsAsked));
    rules.push(Arc::new(SameTime));
    rules.push(Arc::new(ConstantKeys));
    rules.push(Arc::new(ConstantPairs));
    rules.push(Arc::new(DistinctSides));
    rules.insert(0, Arc::new(GroupOrders));
    rules.insert(0, Arc::new(WholeKeys));
    let misread = Arc::new(UnnestSubqueries::new(Which::Misread));
    rules.insert(0, misread);
    let keys = rules
        .iter()
        .position(|rule| rule.name() == null_equal_keys::OF_CONDITIONS);
    let after = keys.map_or(rules.len(), |at| at + 1);
    rules.insert(after, Arc::new(ConstantLists));
    let projections = rules
        .iter()
        .position(|rule| rule.name() == "optimize_projections");
    let before = projections.unwrap_or(rules.len());
    rules.insert(before, Arc::new(WholeKeys));
    let lateral = rules
        .iter()
        .position(|rule| rule.name() == "decorrelate_lateral_join");
    let after = lateral.map_or(rules.len(), |at| at + 1);
    rules.insert(after, Arc::new(UnnestSubqueries::new(Which::Left)));
    rules
}

fn with_functions(session: SessionStateBuilder) -> SessionStateBuilder {
    session
        .with_scalar_functions([functions::all(), crate::own_functions()].concat())
        .with_aggregate_functions(functions::all_aggregates())
        .with_default_features()
}

/// Nothing but functions, for plans that are there already.
pub(crate) fn functions() -> SessionState {
    functions::with_replaced_functions(with_functions(SessionStateBuilder::new()))
}

pub(crate) fn parser_options(session: &SessionState) -> ParserOptions {
    let options = &session.config_options().sql_parser;
    ParserOptions::new()
        .with_collect_spans(true)
        .with_enable_ident_normalization(options.enable_ident_normalization)
        .with_map_string_types_to_utf8view(options.map_string_types_to_utf8view)
}
