//! Filters that are learnt while a query runs: the keys that a join found on its smaller side, what
//! a sort with a limit would still take, the values of subqueries ([`crate::subqueries`]).
//!
//! A rule of DataFusion hands them down; a scan keeps them among its filters. They say less than
//! what the operator above does itself, so that reading a segment with what is known when its first
//! worker comes to it never changes an answer. EXPLAIN, which reads no row, learns nothing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::filter_pushdown::{ChildPushdownResult, FilterPushdownPropagation};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use query::scan_exec::ScanDescription;
use schemas::proto::{Explain, ScanOptions};
use segment::SegmentView;
use segment::view::Values;

use crate::columns::external;
use crate::filter::is_quick;
use crate::native::LookupExpr;
use crate::scan_exec::ServerScanExec;
use crate::subqueries;

type Expr = Arc<dyn PhysicalExpr>;

/// Hands down what operators of the plan will learn. Where what is below has columns that cannot be
/// told apart, its parts are looked at by themselves.
pub(crate) fn hand_down(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !learns(&plan) {
        return Ok(plan);
    }
    if !is_ambiguous(&plan) {
        return FilterPushdown::new_post_optimization().optimize(plan, options);
    }
    let children = plan.children().into_iter();
    let children = children.map(|child| hand_down(Arc::clone(child), options));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

fn learns(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let sorts = |sort: &SortExec| sort.fetch().is_some() && reads_rows(sort.input());
    plan.is::<HashJoinExec>()
        || plan.downcast_ref::<SortExec>().is_some_and(sorts)
        || plan.children().into_iter().any(learns)
}

/// On its way down a filter is known by the names of its columns: where two have the same, it may
/// come to the wrong table. What the topmost operator gives out, no filter comes through.
fn is_ambiguous(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut names = HashSet::new();
    names_of_keys(plan, &mut names);
    let mut children = plan.children().into_iter();
    children.any(|child| has_twice(child, &names))
}

fn names_of_keys(plan: &Arc<dyn ExecutionPlan>, names: &mut HashSet<String>) {
    let mut add = |expr: &Expr| add_names(expr, names);
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        join.on().iter().for_each(|(_, right)| add(right));
    } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
        sort.expr().iter().for_each(|by| add(&by.expr));
    }
    for child in plan.children() {
        names_of_keys(child, names);
    }
}

fn add_names(expr: &Expr, names: &mut HashSet<String>) {
    let columns = collect_columns(expr).into_iter();
    names.extend(columns.map(|column| column.name().to_owned()));
}

fn has_twice(plan: &Arc<dyn ExecutionPlan>, names: &HashSet<String>) -> bool {
    let schema = plan.schema();
    let mut seen = HashSet::new();
    let fields = schema.fields().iter().map(|field| field.name());
    let mut keys = fields.filter(|name| names.contains(*name));
    if keys.any(|name| !seen.insert(name.as_str())) {
        return true;
    }
    let mut below = Cow::Borrowed(names);
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        for named in projection.expr() {
            if names.contains(&named.alias) {
                add_names(&named.expr, below.to_mut());
            }
        }
    }
    let mut children = plan.children().into_iter();
    children.any(|child| has_twice(child, &below))
}

fn reads_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ServerScanExec>() || plan.children().into_iter().any(reads_rows)
}

/// What an operator over a scan answers to filters from above: they stay where they are, and it
/// becomes what `with` makes of a description that has those that are learnt as well.
pub(crate) fn answered(
    description: &ScanDescription,
    offered: ChildPushdownResult,
    over_table: impl Fn(&Expr) -> Option<Expr>,
    with: impl FnOnce(Arc<ScanDescription>) -> Arc<dyn ExecutionPlan>,
) -> FilterPushdownPropagation<Arc<dyn ExecutionPlan>> {
    let taken = taken(description, &offered, over_table);
    let kept = FilterPushdownPropagation::all_unsupported(offered);
    match taken {
        None => kept,
        Some(description) => kept.with_updated_node(with(Arc::new(description))),
    }
}

/// The description with those of the filters that are learnt, as `over_table` has them over the
/// columns of the table. `None`: there are none.
fn taken(
    description: &ScanDescription,
    offered: &ChildPushdownResult,
    over_table: impl Fn(&Expr) -> Option<Expr>,
) -> Option<ScanDescription> {
    let offered = offered.parent_filters.iter().map(|offered| &offered.filter);
    let learnt = offered.filter(|filter| is_learnt(filter));
    let learnt: Vec<Expr> = learnt.filter_map(over_table).collect();
    (!learnt.is_empty()).then(|| {
        let mut description = description.clone();
        description.filters.extend(learnt);
        description
    })
}

fn is_learnt(filter: &Expr) -> bool {
    filter.is::<DynamicFilterPhysicalExpr>()
}

/// It asks a small table that was not read.
fn looks_up(filter: &Expr) -> bool {
    let found = filter.exists(|part| Ok(part.is::<LookupExpr>()));
    found.unwrap_or(true)
}

/// A dictionary of no more values than these is looked up whole, whatever is left of its rows.
const LOOKUPS_FREE: u32 = 4096;

/// The filters of a scan with what is known by now, for one segment. `rows_of` tells about how
/// many rows quick filters leave.
pub(crate) fn current<'f>(
    description: &'f ScanDescription,
    view: &SegmentView,
    options: &ScanOptions,
    rows_of: impl Fn(&[Expr]) -> Result<u64>,
) -> Result<Cow<'f, [Expr]>> {
    let filters = &description.filters;
    let is_explained = options.explain() == Explain::Plan;
    let is_known = |filter: &Expr| !is_learnt(filter) && !subqueries::waits(filter);
    if filters.iter().all(is_known) && !is_explained {
        return Ok(Cow::Borrowed(filters));
    }
    let mut known = Vec::with_capacity(filters.len());
    let mut lookups = Vec::new();
    for filter in filters {
        let is_later = || is_learnt(filter) || looks_up(filter) || subqueries::waits(filter);
        if is_explained && is_later() {
            continue;
        }
        if subqueries::waits(filter) {
            let filter = subqueries::with_values(filter, &description.table_schema)?;
            known.extend(split_conjunction(&filter).into_iter().map(Arc::clone));
            continue;
        }
        let Some(learnt) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() else {
            known.push(Arc::clone(filter));
            continue;
        };
        let learnt = learnt.current()?;
        for part in split_conjunction(&learnt) {
            match evaluations(part, &description.table_schema, view)? {
                Some(0..=LOOKUPS_FREE) => known.push(Arc::clone(part)),
                Some(values) => lookups.push((values, Arc::clone(part))),
                None => {}
            }
        }
    }
    // A look into the table of a join costs what the join itself costs.
    let quick = |filter: &Expr| is_quick(filter, view.is_consuming());
    if !lookups.is_empty() && known.iter().all(quick) {
        let rows = rows_of(&known)?;
        lookups.retain(|(values, _)| u64::from(*values) <= rows);
    }
    known.extend(lookups.into_iter().map(|(_, lookup)| lookup));
    Ok(Cow::Owned(known))
}

/// How often it is evaluated: comparisons never, what asks one column once for each value of its
/// dictionary. `None`: for each row, which does not pay.
fn evaluations(expr: &Expr, table: &Schema, view: &SegmentView) -> Result<Option<u32>> {
    if is_quick(expr, view.is_consuming()) {
        return Ok(Some(0));
    }
    let columns: Vec<Column> = collect_columns(expr).into_iter().collect();
    let [column] = &columns[..] else {
        return Ok(columns.is_empty().then_some(0));
    };
    let name = table.field(column.index()).name();
    let column = view.column(name).map_err(external)?;
    Ok(match column.map(|column| column.values()) {
        None => Some(0),
        Some(Values::Dictionary(dictionary)) => Some(dictionary.cardinality()),
        Some(_) => None,
    })
}
