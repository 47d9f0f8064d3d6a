//! Comparisons with scalar subqueries, whose values are there before the rows around them are read.
//!
//! The planner leaves such a condition above the scan. Here it becomes a filter of the scan, and a
//! literal stands in the place of the subquery when a segment's filter is compiled: then indexes,
//! dictionaries and zones answer it like any other.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal, lit};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::scan_exec::ServerScanExec;
use crate::units::WHOLE_MAX;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

pub(crate) fn waits(expr: &Expr) -> bool {
    let found = expr.exists(|part| Ok(part.is::<ScalarSubqueryExpr>()));
    found.unwrap_or(true)
}

/// The plan whose scans keep what is compared with subqueries.
pub(crate) fn handed_down(plan: Plan) -> Result<Plan> {
    let changed = plan.transform_up(|node| {
        let filter = node.downcast_ref::<FilterExec>();
        Ok(match filter.map(in_scan).transpose()?.flatten() {
            Some(scan) => Transformed::yes(scan),
            None => Transformed::no(node),
        })
    })?;
    Ok(changed.data)
}

fn in_scan(filter: &FilterExec) -> Result<Option<Plan>> {
    let below = match filter.input().downcast_ref::<CooperativeExec>() {
        Some(below) => below.input(),
        None => filter.input(),
    };
    let Some(scan) = below.downcast_ref::<ServerScanExec>() else {
        return Ok(None);
    };
    let conditions: Vec<Expr> = split_conjunction(filter.predicate())
        .into_iter()
        .map(Arc::clone)
        .collect();
    let is_limited = scan.description.fetch.is_some() || filter.fetch().is_some();
    if is_limited || !conditions.iter().all(waits) {
        return Ok(None);
    }
    let scan: Plan = Arc::new(scan.keeping(&conditions)?);
    let Some(projection) = filter.projection() else {
        return Ok(Some(scan));
    };
    let schema = filter.schema();
    let columns = projection.iter().zip(schema.fields()).map(|(at, field)| {
        let column = Column::new(field.name(), *at);
        ProjectionExpr {
            expr: Arc::new(column),
            alias: field.name().clone(),
        }
    });
    let columns: Vec<ProjectionExpr> = columns.collect();
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, scan)?)))
}

/// The condition with the values of its subqueries.
pub(crate) fn with_values(expr: &Expr, table: &Schema) -> Result<Expr> {
    static NO_COLUMNS: LazyLock<RecordBatch> =
        LazyLock::new(|| RecordBatch::new_empty(Arc::new(Schema::empty())));
    let known = Arc::clone(expr).transform_up(|node| {
        if !node.is::<ScalarSubqueryExpr>() {
            return Ok(Transformed::no(node));
        }
        let value = match node.evaluate(&NO_COLUMNS)? {
            ColumnarValue::Scalar(value) => value,
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        };
        Ok(Transformed::yes(lit(value)))
    })?;
    let simple = PhysicalExprSimplifier::new(table).simplify(known.data)?;
    let of_whole = simple.transform_up(|node| {
        Ok(match whole(&node, table)? {
            Some(own) => Transformed::yes(own),
            None => Transformed::no(node),
        })
    })?;
    Ok(of_whole.data)
}

/// A whole number compared with a fraction, which was cast for that, is compared with the whole
/// number beside the fraction.
fn whole(expr: &Expr, table: &Schema) -> Result<Option<Expr>> {
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
        return Ok(None);
    };
    let (cast, literal) = (
        binary.left().downcast_ref::<CastExpr>(),
        binary.right().downcast_ref::<Literal>(),
    );
    let (Some(cast), Some(literal)) = (cast, literal) else {
        return Ok(None);
    };
    let ScalarValue::Float64(Some(value)) = literal.value() else {
        return Ok(None);
    };
    let own = cast.expr().data_type(table)?;
    let is_whole = matches!(own, DataType::Int32 | DataType::Int64);
    // A whole value is unwrapped by others; NaN and the very great are left as they are.
    let is_fraction = value.fract() != 0.0 && value.abs() < WHOLE_MAX as f64;
    if !is_whole || !is_fraction {
        return Ok(None);
    }
    let (op, bound) = match binary.op() {
        Operator::Gt | Operator::GtEq => (Operator::Gt, value.floor()),
        Operator::Lt | Operator::LtEq => (Operator::LtEq, value.floor()),
        _ => return Ok(None),
    };
    let bound = ScalarValue::Int64(Some(bound as i64));
    let Ok(bound) = bound.cast_to(&own) else {
        return Ok(None);
    };
    let column = Arc::clone(cast.expr());
    Ok(Some(Arc::new(BinaryExpr::new(column, op, lit(bound)))))
}
