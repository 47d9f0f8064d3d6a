//! Rows in the order of columns, of which only the first few are wanted: `ORDER BY … LIMIT`.
//!
//! An optimizer rule replaces a sort with a limit over our scan by [`exec::TopRowsExec`], when the
//! order is by columns of the table. It looks at the most promising segments and blocks first, by
//! zones and dictionaries, stops where nothing better can come, and reads the other columns of the
//! winners alone. Which of equal rows are among the first is open, as in SQL.

mod exec;
mod keys;
mod search;
mod winners;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use schemas::table::virtual_column;
use segment::view::Values;

use self::exec::TopRowsExec;
use self::keys::OrderColumn;
use crate::columns::external;
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
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            match recognise(sort)? {
                Some(ours) => {
                    let counters = &self.shared.counters;
                    counters.update(|stats| stats.native_operators += 1);
                    Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump))
                }
                None => Ok(Transformed::no(node)),
            }
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

fn recognise(sort: &SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(fetch) = sort.fetch().filter(|fetch| (1..=ROWS_MAX).contains(fetch)) else {
        return Ok(None);
    };
    let mut above = Vec::new();
    let mut below = sort.input();
    let scan = loop {
        if let Some(scan) = below.downcast_ref::<ServerScanExec>() {
            break scan;
        }
        if !below.is::<ProjectionExec>() && !below.is::<CooperativeExec>() {
            return Ok(None);
        }
        above.push(below);
        let [child] = below.children()[..] else {
            return Ok(None);
        };
        below = child;
    };
    if scan.description.fetch.is_some() {
        return Ok(None);
    }
    let mut order = Vec::new();
    for wanted in sort.expr() {
        let Some(column) = column_of(&wanted.expr, &above, scan) else {
            return Ok(None);
        };
        if !has_keys(scan, column)? {
            return Ok(None);
        }
        order.push(OrderColumn {
            column,
            options: wanted.options,
        });
    }
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(TopRowsExec::new(scan, order, fetch)?);
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    for node in above.into_iter().rev() {
        plan = Arc::clone(node).replace_children(vec![plan], recompute)?;
    }
    Ok(Some(plan))
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
fn column_of(
    expr: &Arc<dyn PhysicalExpr>,
    above: &[&Arc<dyn ExecutionPlan>],
    scan: &ServerScanExec,
) -> Option<usize> {
    let mut index = expr.downcast_ref::<Column>()?.index();
    let projections = above
        .iter()
        .filter_map(|node| node.downcast_ref::<ProjectionExec>());
    for projection in projections {
        let below = projection.expr().get(index)?;
        index = below.expr.downcast_ref::<Column>()?.index();
    }
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
    let varies = field.name() != virtual_column::DOC_ID;
    (has_keys && varies).then_some(column)
}
