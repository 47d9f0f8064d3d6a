//! Groups of which only the greatest value is asked, and only if it is beyond a constant, are those
//! of the rows whose value is: `HAVING MAX(x) > 9` is `WHERE x > 9`, which indexes know.
//!
//! What the rows left out have is no group's greatest value that is wanted, and each group that is
//! left has one that is. So the condition goes below, and none stays. The same holds for the least.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct EndsAsked;

impl OptimizerRule for EndsAsked {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let LogicalPlan::Aggregate(aggregate) = &*filter.input else {
            return Ok(Transformed::no(plan));
        };
        let Some(end) = End::of(aggregate)? else {
            return Ok(Transformed::no(plan));
        };
        let (mut below, mut above) = (Vec::new(), Vec::new());
        for condition in split_conjunction_owned(filter.predicate.clone()) {
            match end.of_rows(&condition)? {
                Some(of_rows) => below.push(of_rows),
                None => above.push(condition),
            }
        }
        let Some(below) = conjunction(below) else {
            return Ok(Transformed::no(plan));
        };
        let rows = Filter::try_new(below, Arc::clone(&aggregate.input))?;
        let groups = LogicalPlan::Aggregate(Aggregate::try_new_with_schema(
            Arc::new(LogicalPlan::Filter(rows)),
            aggregate.group_expr.clone(),
            aggregate.aggr_expr.clone(),
            Arc::clone(&aggregate.schema),
        )?);
        Ok(Transformed::yes(match conjunction(above) {
            Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(groups))?),
            None => groups,
        }))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "ends_asked"
    }
}

/// The one aggregate of groups.
struct End<'a> {
    aggregate: &'a Aggregate,
    column: Column,
    argument: &'a Expr,
    is_greatest: bool,
}

impl<'a> End<'a> {
    fn of(aggregate: &'a Aggregate) -> Result<Option<Self>> {
        let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        // Without a key there is a group of no rows.
        let keys = &aggregate.group_expr;
        let [Expr::AggregateFunction(function)] = &aggregate.aggr_expr[..] else {
            return Ok(None);
        };
        let params = &function.params;
        let [argument] = &params.args[..] else {
            return Ok(None);
        };
        let is_greatest = match function.func.name() {
            "max" => true,
            "min" => false,
            _ => return Ok(None),
        };
        let own = argument.get_type(aggregate.input.schema())?;
        let place = aggregate.schema.qualified_field(keys.len());
        let fits = !keys.is_empty()
            && !keys.iter().any(is_set)
            && params.filter.is_none()
            && !argument.is_volatile()
            && *place.1.data_type() == own
            && is_ordered(&own);
        Ok(fits.then(|| Self {
            aggregate,
            column: Column::from(place),
            argument,
            is_greatest,
        }))
    }

    /// The condition as one of rows, if it asks whether the end is beyond a constant.
    fn of_rows(&self, condition: &Expr) -> Result<Option<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return Ok(None);
        };
        let (end, op, constant) = match self.is_end(left)? {
            true => (left, *op, right),
            false => match op.swap() {
                Some(op) if self.is_end(right)? => (right, op, left),
                _ => return Ok(None),
            },
        };
        let is_beyond = match op {
            Operator::Gt | Operator::GtEq => self.is_greatest,
            Operator::Lt | Operator::LtEq => !self.is_greatest,
            _ => false,
        };
        if !is_beyond || !is_constant(constant)? {
            return Ok(None);
        }
        // From below: the argument has columns, too.
        let of_rows = end.as_ref().clone().transform_up(|part| {
            Ok(match &part {
                Expr::Column(_) => Transformed::yes(self.argument.clone()),
                _ => Transformed::no(part),
            })
        })?;
        let of_rows = Box::new(of_rows.data);
        let of_rows = BinaryExpr::new(of_rows, op, constant.clone());
        Ok(Some(Expr::BinaryExpr(of_rows)))
    }

    /// The end itself, or a whole number made wider: the order stays.
    fn is_end(&self, expr: &Expr) -> Result<bool> {
        match expr {
            Expr::Column(column) => Ok(*column == self.column),
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(&self.aggregate.schema)?;
                let is_wider = from.is_integer() && cast.field.data_type().is_numeric();
                Ok(is_wider && self.is_end(&cast.expr)?)
            }
            _ => Ok(false),
        }
    }
}

/// Types without values that no order knows.
fn is_ordered(own: &DataType) -> bool {
    own.is_integer()
        || matches!(
            own,
            DataType::Utf8View | DataType::Timestamp(_, None) | DataType::Date32
        )
}

fn is_constant(expr: &Expr) -> Result<bool> {
    let varies = expr.exists(|part| {
        Ok(!matches!(
            part,
            Expr::Literal(_, _) | Expr::Placeholder(_) | Expr::Cast(_)
        ))
    })?;
    Ok(!varies)
}
