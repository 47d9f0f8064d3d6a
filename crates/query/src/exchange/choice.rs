//! Whether a plan gathers so much that servers should exchange rows instead.
//!
//! The broker knows how many rows the segments have that are left after pruning, and nothing of
//! what filters keep; it guesses, so that a query for few rows of large tables goes the short way.
//! How many groups and distinct values there are nobody can guess: fragments that bring states of
//! aggregates are gathered until one of their shape has brought too many, or did not fit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, InListExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::union::UnionExec;

use super::{EXCHANGE_FORMAT, Exchanges};
use crate::context::QueryContext;
use crate::gather::RemoteExec;
use crate::scan_exec::{ScanDescription, SegmentScanExec};

type Plan = Arc<dyn ExecutionPlan>;

/// Of the rows that a condition looks at, so many are taken to pass it.
const EQUAL_KEEPS: f64 = 0.01;
const IN_LIST_KEEPS: f64 = 0.05;
const OTHER_KEEPS: f64 = 0.33;
/// An aggregate is taken to leave so many of its rows.
const GROUPS_OF_ROWS: f64 = 0.1;

/// Looked at before anything is planned for it. `plan` may be cut already.
pub(crate) fn is_worth_it(plan: &Plan, context: &QueryContext) -> bool {
    may_be_spread(context)
        && match context.exchanges() {
            Exchanges::Never => false,
            Exchanges::Always => true,
            Exchanges::From(rows_min) => gathers(plan, rows_min as f64),
        }
}

/// There are several servers that offer exchanges, and the query does not refuse them.
fn may_be_spread(context: &QueryContext) -> bool {
    let gathers = context.gathers.load(Ordering::Relaxed);
    if context.exchanges == Exchanges::Never || context.allows_partial || gathers {
        return false;
    }
    let failed = context.failed.lock();
    let servers = context.cluster.instances.values();
    let offering = servers.filter(|server| {
        server.alive && server.exchange_format == EXCHANGE_FORMAT && !failed.contains(&server.id)
    });
    offering.take(2).count() == 2
}

/// A join of two large sides, a window over one, or very many states of aggregates, above what
/// servers do by themselves.
fn gathers(plan: &Plan, rows_min: f64) -> bool {
    let children = plan.children();
    let is_join = plan.is::<HashJoinExec>() || plan.is::<SortMergeJoinExec>();
    if is_join && children.iter().all(|side| spread_rows(side) >= rows_min) {
        return true;
    }
    if plan.name().contains("Window") && spread_rows(children[0]) >= 2.0 * rows_min {
        return true;
    }
    if merges_states(plan) && states(children[0]) >= rows_min {
        return true;
    }
    children.into_iter().any(|child| gathers(child, rows_min))
}

fn merges_states(plan: &Plan) -> bool {
    let aggregate = plan.downcast_ref::<AggregateExec>();
    aggregate.is_some_and(|aggregate| {
        matches!(
            aggregate.mode(),
            AggregateMode::Final | AggregateMode::FinalPartitioned
        )
    })
}

/// Leaves whose states are merged as they come.
fn leaves_of<'a>(plan: &'a Plan, to: &mut Vec<&'a RemoteExec>) {
    if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        to.extend((!remote.finishes()).then_some(remote));
    } else if plan.is::<CoalescePartitionsExec>() || plan.is::<UnionExec>() {
        let children = plan.children().into_iter();
        children.for_each(|child| leaves_of(child, to));
    }
}

/// That came when the same was asked before: groups, and values of sets.
fn states(plan: &Plan) -> f64 {
    let mut leaves = Vec::new();
    leaves_of(plan, &mut leaves);
    leaves.iter().filter_map(|leaf| leaf.rows_known()).sum()
}

/// Whether a plan that did not fit the memory is worth a second try, with the states of its
/// aggregates exchanged. Other queries of its shape do that at once from now on.
pub(crate) fn may_fit_spread(plan: &Plan, context: &QueryContext) -> bool {
    let is_possible = matches!(context.exchanges(), Exchanges::From(_)) && may_be_spread(context);
    let mut leaves = Vec::new();
    merged(plan, &mut leaves);
    if !is_possible || leaves.is_empty() {
        return false;
    }
    leaves.iter().for_each(|leaf| leaf.was_too_much());
    context.overflowed.store(true, Ordering::Relaxed);
    true
}

fn merged<'a>(plan: &'a Plan, to: &mut Vec<&'a RemoteExec>) {
    let merges = merges_states(plan);
    for child in plan.children() {
        match merges {
            true => leaves_of(child, to),
            false => merged(child, to),
        }
    }
}

/// Rows that come from servers, each of which has a share of them.
pub(crate) fn spread_rows(plan: &Plan) -> f64 {
    if let Some(scan) = plan.downcast_ref::<SegmentScanExec>() {
        return rows_of(scan.description(), scan.rows() as u64);
    }
    if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        return if remote.finishes() {
            0.0
        } else {
            remote.rows()
        };
    }
    let children = plan.children();
    let below = children.iter().map(|child| spread_rows(child));
    let rows = below.fold(0.0, f64::max);
    let rows = match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) if aggregate.group_expr().expr().is_empty() => rows.min(1.0),
        Some(_) => rows * GROUPS_OF_ROWS,
        None => rows,
    };
    plan.fetch().map_or(rows, |fetch| rows.min(fetch as f64))
}

fn kept(filter: &Arc<dyn PhysicalExpr>) -> f64 {
    if filter.is::<InListExpr>() {
        return IN_LIST_KEEPS;
    }
    let Some(binary) = filter.downcast_ref::<BinaryExpr>() else {
        return OTHER_KEEPS;
    };
    match binary.op() {
        Operator::Eq => EQUAL_KEEPS,
        Operator::NotEq => 1.0,
        Operator::And => kept(binary.left()) * kept(binary.right()),
        Operator::Or => (kept(binary.left()) + kept(binary.right())).min(1.0),
        _ => OTHER_KEEPS,
    }
}

/// Rows that pass the filters, of those that are read.
pub(crate) fn rows_of(scan: &ScanDescription, rows: u64) -> f64 {
    if scan.is_dimension_table {
        return 0.0;
    }
    let filters = scan.filters.iter();
    let rows = filters.fold(rows as f64, |rows, filter| rows * kept(filter));
    scan.fetch.map_or(rows, |fetch| rows.min(fetch as f64))
}
