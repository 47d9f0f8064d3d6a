//! Plans that one server can answer alone.
//!
//! When one server holds everything that a subtree reads, the whole subtree runs there: final
//! aggregates, sorts, limits, joins, windows. Nothing but its answer travels. Invariants:
//! - every node of the subtree is on the list below, and every leaf is a scan or a constant;
//! - all scans are read from the one server, so that its answer needs no rows of another. When it
//!   fails, the query is planned anew without it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::ask::FragmentPart;
use crate::context::QueryContext;
use crate::cut::{routed, scans_of, waits_for_subquery};
use crate::excluding::excludes;
use crate::parts::{RoutedScan, for_one_server};
use crate::scan_exec::SegmentScanExec;

type Plan = Arc<dyn ExecutionPlan>;

/// A subtree, ready for the one server that can answer it.
pub(crate) struct Whole {
    pub(crate) plan: Plan,
    pub(crate) part: FragmentPart,
}

/// `None`: the subtree needs several servers, or the broker.
pub(crate) fn whole(node: &Plan, context: &QueryContext) -> Result<Option<Whole>> {
    if !can_finish(node, Subqueries::Above) {
        return Ok(None);
    }
    let scans = scans_of(node);
    let routed: Vec<RoutedScan<'_>> = scans.iter().filter_map(routed).collect();
    let Some(part) = for_one_server(&routed, context) else {
        return Ok(None);
    };
    let plan = as_one_partition(in_one_process(Arc::clone(node))?);
    Ok(Some(Whole { plan, part }))
}

/// Where the value of a scalar subquery is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subqueries {
    /// Outside of the subtree, where it is not known.
    Above,
    Within,
}

fn can_finish(node: &Plan, mut subqueries: Subqueries) -> bool {
    if node.is::<SegmentScanExec>() || node.is::<PlaceholderRowExec>() || node.is::<EmptyExec>() {
        return true;
    }
    if node.is::<ScalarSubqueryExec>() {
        subqueries = Subqueries::Within;
    } else if subqueries == Subqueries::Above && waits_for_subquery(node) {
        return false;
    }
    let children = node.children();
    is_known(node) && !children.is_empty() && children.iter().all(|c| can_finish(c, subqueries))
}

/// Operators that servers can decode and run.
pub(crate) fn is_known(node: &Plan) -> bool {
    node.is::<FilterExec>()
        || node.is::<ProjectionExec>()
        || node.is::<CooperativeExec>()
        || node.is::<AggregateExec>()
        || node.is::<SortExec>()
        || node.is::<SortPreservingMergeExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<GlobalLimitExec>()
        || node.is::<LocalLimitExec>()
        || node.is::<UnionExec>()
        || node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<UnnestExec>()
        || node.is::<ScalarSubqueryExec>()
        || is_known_window(node)
}

/// IGNORE NULLS, FILTER and "this function is read from behind" do not travel: the text of a plan
/// has no place for them.
fn is_known_window(node: &Plan) -> bool {
    let plain = node.downcast_ref::<WindowAggExec>();
    if plain.is_some_and(excludes) {
        return false;
    }
    let plain = plain.map(|window| window.window_expr());
    let bounded = node
        .downcast_ref::<BoundedWindowAggExec>()
        .map(|window| window.window_expr());
    let Some(functions) = plain.or(bounded) else {
        return false;
    };
    !functions
        .iter()
        .any(|function| is_changed(function) || has_condition(function))
}

/// Aggregates tell it in their debug form alone.
fn has_condition(function: &Arc<dyn WindowExpr>) -> bool {
    let is_standard = function.as_any().is::<StandardWindowExpr>();
    !is_standard && format!("{function:?}").contains("filter: Some(")
}

/// Past nulls, or from behind: for an order that is there backwards, NTH_VALUE, LEAD and LAG count
/// from the other end. The function tells both in its debug form alone.
fn is_changed(function: &Arc<dyn WindowExpr>) -> bool {
    let standard = function.as_any().downcast_ref::<StandardWindowExpr>();
    standard.is_some_and(|standard| {
        let shown = format!("{:?}", standard.get_standard_func_expr());
        shown.contains("ignore_nulls: true") || shown.contains("is_reversed: true")
    })
}

/// Without the exchanges between servers and broker: a scan is one partition on its server.
pub(crate) fn in_one_process(plan: Plan) -> Result<Plan> {
    let changed = plan.transform_up(|node| {
        if let Some(scan) = node.downcast_ref::<SegmentScanExec>() {
            return Ok(Transformed::yes(Arc::new(scan.in_one_partition()) as Plan));
        }
        let is_exchange =
            node.is::<CoalescePartitionsExec>() || node.is::<SortPreservingMergeExec>();
        let children = node.children();
        let [child] = children[..] else {
            return Ok(Transformed::no(node));
        };
        if !is_exchange || child.properties().partitioning.partition_count() > 1 {
            return Ok(Transformed::no(node));
        }
        let child = Arc::clone(child);
        Ok(Transformed::yes(match node.fetch() {
            Some(fetch) if child.fetch().is_none_or(|own| own > fetch) => {
                Arc::new(GlobalLimitExec::new(child, 0, Some(fetch)))
            }
            _ => child,
        }))
    })?;
    Ok(changed.data)
}

pub(crate) fn as_one_partition(plan: Plan) -> Plan {
    if plan.properties().partitioning.partition_count() == 1 {
        return plan;
    }
    match plan.properties().output_ordering().cloned() {
        Some(ordering) => Arc::new(SortPreservingMergeExec::new(ordering, plan)),
        None => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}
