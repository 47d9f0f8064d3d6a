//! Rows in the order of columns, of which only the first few are wanted: `ORDER BY … LIMIT`.
//!
//! An optimizer rule replaces a sort with a limit over our scan by [`exec::TopRowsExec`], when the
//! order is by columns of the table. It looks at the most promising segments and blocks first, by
//! zones and dictionaries, stops where nothing better can come, and reads the other columns of the
//! winners alone. Which of equal rows are among the first is open, as in SQL.
//!
//! Above a native aggregate with whole groups, [`groups::TopGroupsExec`] does the same with groups,
//! and [`first_of_each`] with the first few of each partition of a window; of rows
//! [`first_of_rows`] leaves out most that are not among these. Groups that cannot pass a condition
//! on them are not joined.

mod exec;
mod first_of_each;
mod first_of_rows;
mod groups;
mod keys;
mod search;
mod winners;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use schemas::arrow::tested_by;
use schemas::table::virtual_column;
use segment::view::Values;

use self::exec::TopRowsExec;
pub(crate) use self::first_of_rows::FirstOfRowsExec;
use self::groups::{GroupOrder, OverGroups, TopGroupsExec};
use self::keys::OrderColumn;
use crate::columns::external;
use crate::native::{NativeAggregateExec, Output, replace_columns};
use crate::scan_exec::ServerScanExec;
use crate::shared::Shared;

/// More rows than these are sorted by the general operator.
const ROWS_MAX: usize = 10_000;

/// Replaces what can be replaced.
#[derive(Debug)]
pub(crate) struct TopRows {
    pub(crate) shared: Arc<Shared>,
}

impl PhysicalOptimizerRule for TopRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_down(|node| {
            if let Some(sort) = node.downcast_ref::<SortExec>()
                && let Some((ours, is_new)) = recognise(sort)?
            {
                let counters = &self.shared.counters;
                counters.update(|stats| stats.native_operators += u64::from(is_new));
                return Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump));
            }
            if let Some(limit) = node.downcast_ref::<GlobalLimitExec>()
                && let Some(ours) = few_groups(limit)?
            {
                return Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump));
            }
            if let Some(filter) = node.downcast_ref::<FilterExec>() {
                if let Some(ours) = groups_that_pass(&node, filter)? {
                    return Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump));
                }
                if let Some(ours) = first_of_each::recognise(&node, filter)? {
                    return Ok(Transformed::yes(ours));
                }
            }
            Ok(Transformed::no(node))
        })?;
        Ok(replaced.data)
    }

    fn name(&self) -> &str {
        "top_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

type Plan = Arc<dyn ExecutionPlan>;

/// The operator in the place of the sort, and whether it is one that was not counted yet.
fn recognise(sort: &SortExec) -> Result<Option<(Plan, bool)>> {
    let Some(fetch) = sort.fetch().filter(|fetch| (1..=ROWS_MAX).contains(fetch)) else {
        return Ok(None);
    };
    let (above, below) = descend(sort.input());
    if below.is::<NativeAggregateExec>() || below.is::<FilterExec>() {
        let ours = top_groups(sort, fetch, above, below)?;
        return Ok(ours.map(|ours| (ours, false)));
    }
    let Some(scan) = below.downcast_ref::<ServerScanExec>() else {
        return Ok(None);
    };
    if scan.description.fetch.is_some() {
        return Ok(None);
    }
    let mut order = Vec::new();
    for wanted in sort.expr() {
        let Some(column) = column_of(&expression_below(&wanted.expr, &above)?, scan) else {
            return Ok(None);
        };
        if order.is_empty() && !has_keys(scan, column)? {
            return Ok(None);
        }
        order.push(OrderColumn {
            column,
            options: wanted.options,
        });
    }
    let ours: Plan = Arc::new(TopRowsExec::new(scan, order, fetch)?);
    Ok(Some((ascend(above, ours)?, true)))
}

/// A sort of groups, between which and the aggregate there may be one condition.
fn top_groups<'p>(
    sort: &SortExec,
    fetch: usize,
    mut above: Vec<&'p Plan>,
    mut below: &'p Plan,
) -> Result<Option<Plan>> {
    let mut having = None;
    if let Some(filter) = below.downcast_ref::<FilterExec>() {
        if filter.fetch().is_some() {
            return Ok(None);
        }
        let (between, groups) = descend(filter.input());
        having = Some(expression_below(filter.predicate(), &between)?);
        // It stays above: the first groups pass it once more.
        above.push(below);
        above.extend(between);
        below = groups;
    }
    let Some(groups) = below.downcast_ref::<NativeAggregateExec>() else {
        return Ok(None);
    };
    if groups.output() != Output::Values {
        return Ok(None);
    }
    let order = sort.expr().iter().map(|wanted| {
        let expr = expression_below(&wanted.expr, &above)?;
        Ok(GroupOrder {
            by: OverGroups::new(expr, groups)?,
            options: wanted.options,
        })
    });
    let order = order.collect::<Result<_>>()?;
    let passing = having.as_ref().and_then(|having| passing(having, groups));
    let groups = passing.as_ref().unwrap_or(groups);
    let having = having.map(|condition| OverGroups::new(condition, groups));
    let ours = TopGroupsExec::new(groups, having.transpose()?, order, fetch);
    ascend(above, Arc::new(ours)).map(Some)
}

/// A condition on groups, below which those that cannot pass it need not be joined.
fn groups_that_pass(node: &Plan, filter: &FilterExec) -> Result<Option<Plan>> {
    let (between, below) = descend(filter.input());
    let Some(groups) = below.downcast_ref::<NativeAggregateExec>() else {
        return Ok(None);
    };
    let having = expression_below(filter.predicate(), &between)?;
    let Some(ours) = passing(&having, groups) else {
        return Ok(None);
    };
    let above = std::iter::once(node).chain(between).collect();
    ascend(above, Arc::new(ours)).map(Some)
}

/// A column that is compared with a value, which stands behind.
fn compared(
    condition: &Arc<dyn PhysicalExpr>,
    column: impl Fn(&Arc<dyn PhysicalExpr>) -> Option<usize>,
) -> Option<(usize, Operator, ScalarValue)> {
    let condition = condition.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (condition.left(), condition.right());
    let (column, value, operator) = match column(left) {
        Some(column) => (column, right, *condition.op()),
        None => (column(right)?, left, condition.op().swap()?),
    };
    let value = value.downcast_ref::<Literal>()?.value().clone();
    Some((column, operator, value))
}

fn plain_column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// The groups without some that cannot pass the condition, where it compares what groups can be
/// chosen by with a number.
fn passing(
    having: &Arc<dyn PhysicalExpr>,
    groups: &NativeAggregateExec,
) -> Option<NativeAggregateExec> {
    split_conjunction(having).into_iter().find_map(|condition| {
        let (at, operator, value) = compared(condition, plain_column)?;
        let ScalarValue::Float64(Some(mark)) = value.cast_to(&DataType::Float64).ok()? else {
            return None;
        };
        let groups = groups.clone();
        let ours = match operator {
            // NaN is greater than all numbers here.
            _ if !mark.is_finite() => return None,
            Operator::Gt | Operator::GtEq | Operator::Eq => groups.at_least(at, mark),
            Operator::Lt | Operator::LtEq => groups.at_most(at, mark),
            _ => return None,
        };
        ours.leaves_out().then_some(ours)
    })
}

/// Rows are made only for as many groups as a limit without an order lets through.
fn few_groups(limit: &GlobalLimitExec) -> Result<Option<Plan>> {
    let Some(fetch) = limit.fetch() else {
        return Ok(None);
    };
    let fetch = fetch.saturating_add(limit.skip());
    let (above, below) = descend(limit.input());
    let Some(groups) = below.downcast_ref::<NativeAggregateExec>() else {
        return Ok(None);
    };
    if groups.output() != Output::Values || !(1..=ROWS_MAX).contains(&fetch) {
        return Ok(None);
    }
    let ours: Plan = Arc::new(TopGroupsExec::new(groups, None, Vec::new(), fetch));
    let limited = GlobalLimitExec::new(ascend(above, ours)?, limit.skip(), limit.fetch());
    Ok(Some(Arc::new(limited)))
}

/// Through nodes that leave rows as they are; the last one is something else.
fn descend(mut below: &Plan) -> (Vec<&Plan>, &Plan) {
    let mut above = Vec::new();
    while below.is::<ProjectionExec>() || below.is::<CooperativeExec>() {
        let [child] = below.children()[..] else {
            break;
        };
        above.push(below);
        below = child;
    }
    (above, below)
}

fn ascend(above: Vec<&Plan>, mut plan: Plan) -> Result<Plan> {
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    for node in above.into_iter().rev() {
        plan = Arc::clone(node).replace_children(vec![plan], recompute)?;
    }
    Ok(plan)
}

/// The expression over what is below the nodes.
fn expression_below(
    expr: &Arc<dyn PhysicalExpr>,
    above: &[&Plan],
) -> Result<Arc<dyn PhysicalExpr>> {
    let mut expr = Arc::clone(expr);
    for node in above {
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            expr = replace_columns(expr, |column| {
                let below = projection.expr().get(column.index())?;
                Some(Arc::clone(&below.expr))
            })?;
        } else if let Some(filter) = node.downcast_ref::<FilterExec>()
            && let Some(kept) = filter.projection().as_ref()
        {
            expr = replace_columns(expr, |column| {
                let below = *kept.get(column.index())?;
                Some(Arc::new(Column::new(column.name(), below)) as _)
            })?;
        }
    }
    Ok(expr)
}

/// Whether all segments hold numbers or codes; texts that hardly repeat have neither.
fn has_keys(scan: &ServerScanExec, column: usize) -> Result<bool> {
    let name = scan.description.table_schema.field(column).name();
    for view in scan.segments.iter() {
        if let Some(column) = view.column(name).map_err(external)?
            && !matches!(column.values(), Values::Raw(_) | Values::Dictionary(_))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The column of the table, when the expression is one whose values have keys.
fn column_of(expr: &Arc<dyn PhysicalExpr>, scan: &ServerScanExec) -> Option<usize> {
    let index = expr.downcast_ref::<Column>()?.index();
    let column = *scan.description.projection.get(index)?;
    let field = scan.description.table_schema.field(column);
    let has_keys = matches!(
        field.data_type(),
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Timestamp(TimeUnit::Millisecond, None)
            | DataType::Utf8View
            | DataType::BinaryView
    );
    let name = field.name();
    let is_stored = name != virtual_column::DOC_ID && tested_by(name).is_none();
    (has_keys && is_stored).then_some(column)
}
