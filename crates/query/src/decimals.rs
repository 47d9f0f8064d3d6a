//! BIG_DECIMAL compared with a number that is written with a point: exactly.
//!
//! Such a number is read as a double, and what a double is multiplied by to become a decimal leaves
//! noise in the last digits: a row that holds 74985.5 would not be found by `>= 74985.5`. So the
//! digits become the decimal; a number that has too many of them is left alone.
//!
//! A quotient of BIG_DECIMAL is a DOUBLE.

use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{DataType, Decimal256Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

/// Before types are coerced.
#[derive(Debug)]
pub(crate) struct ExactDecimals;

impl AnalyzerRule for ExactDecimals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact = plan.transform_up_with_subqueries(|node| {
            let schema = match &node {
                LogicalPlan::TableScan(scan) => DFSchema::clone(&scan.projected_schema),
                node => merge_schema(&node.inputs()),
            };
            let has_decimals = schema
                .fields()
                .iter()
                .any(|field| is_decimal(field.data_type()));
            if !has_decimals {
                return Ok(Transformed::no(node));
            }
            // What stands above refers to it by the name that it had.
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let exact = expr.transform_up(|expr| compared(expr, &schema))?;
                Ok(exact.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(exact.data)
    }

    fn name(&self) -> &str {
        "exact_decimals"
    }
}

const fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal256(_, _))
}

fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let beside = |own: Expr, other: &Expr| match other.get_type(schema) {
        Ok(other) => exact(own, &other),
        Err(_) => own,
    };
    Ok(match expr {
        // A quotient has no end of digits, and the decimals of sums no room for more.
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Divide,
            right,
        }) if [&left, &right].iter().any(|side| {
            let data_type = side.get_type(schema);
            data_type.is_ok_and(|data_type| is_decimal(&data_type))
        }) =>
        {
            let double = |side: Box<Expr>| cast(*side, DataType::Float64);
            Transformed::yes(binary_expr(double(left), Operator::Divide, double(right)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            let (a, b) = (beside(*left.clone(), &right), beside(*right, &left));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(a.into(), op, b.into())))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let (low, high) = (beside(*low, &expr), beside(*high, &expr));
            let between = Between::new(expr, negated, low.into(), high.into());
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let list = list.into_iter().map(|value| beside(value, &expr)).collect();
            Transformed::yes(Expr::InList(InList::new(expr, list, negated)))
        }
        other => Transformed::no(other),
    })
}

/// The same number as a value of `with`, if it is one.
fn exact(number: Expr, with: &DataType) -> Expr {
    let (number, is_negative) = match number {
        Expr::Negative(inner) => (*inner, true),
        number => (number, false),
    };
    let value = match &number {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) if is_negative => Some(-value),
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => Some(*value),
        _ => None,
    };
    match value.and_then(|value| decimal(value, with)) {
        Some(decimal) => lit(decimal),
        None if is_negative => Expr::Negative(number.into()),
        None => number,
    }
}

fn decimal(value: f64, like: &DataType) -> Option<ScalarValue> {
    let DataType::Decimal256(precision, scale) = *like else {
        return None;
    };
    // The shortest digits that mean the double: those of the statement, if they are not too many.
    let text = value.to_string();
    let digits = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    if digits > usize::try_from(scale).ok()? || text.len() > usize::from(precision) {
        return None;
    }
    let unscaled = parse_decimal::<Decimal256Type>(&text, precision, scale).ok()?;
    Some(ScalarValue::Decimal256(Some(unscaled), precision, scale))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray, Decimal256Array, RecordBatch};
    use arrow::datatypes::{Int64Type, i256};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::optimizer::Analyzer;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn decimals_are_compared_digit_by_digit() {
        let mut rules = Analyzer::new().rules;
        rules.insert(0, Arc::new(ExactDecimals));
        let state = SessionStateBuilder::new().with_default_features();
        let context = SessionContext::new_with_state(state.with_analyzer_rules(rules).build());
        let texts = ["-74985.5", "0.1", "0.3", "12.25", "123456789012345678901.7"];
        let values = texts.map(|text| parse_decimal::<Decimal256Type>(text, 76, 18).unwrap());
        let more = values[1].wrapping_add(i256::ONE);
        let values = Decimal256Array::from_iter_values(values.into_iter().chain([more]));
        let values: Arc<dyn Array> = Arc::new(values.with_precision_and_scale(76, 18).unwrap());
        let rows = RecordBatch::try_from_iter([("d", values)]).unwrap();
        context.register_batch("t", rows).unwrap();
        for (condition, wanted) in [
            ("d >= -74985.50", 6),
            ("d > -74985.50", 5),
            ("d = 0.1", 1),
            ("0.1 < d", 4),
            ("d <> 0.3", 5),
            ("d IN (0.1, 0.3, 7.5)", 2),
            ("d NOT BETWEEN 0.1 AND 12.25", 2),
            ("d + d = 0.2", 1),
            ("d > 0.10000000000000000000000000000001", 4),
            ("d = 123456789012345678901.7", 0),
        ] {
            let sql = format!("SELECT count(*) FROM t WHERE {condition}");
            let found = context.sql(&sql).await.unwrap().collect().await.unwrap();
            let found = found[0].column(0).as_primitive::<Int64Type>().value(0);
            assert_eq!(found, wanted, "{condition}");
        }
        let sql = "SELECT count(*) FILTER (WHERE d IN (0.1, 0.3)) AS c, d > 0.3 FROM t \
                   GROUP BY d > 0.3 ORDER BY c DESC, d > 0.3";
        let found = context.sql(sql).await.unwrap().collect().await.unwrap();
        let found = found[0].column(0).as_primitive::<Int64Type>().values();
        assert_eq!(found[..], [2, 0]);
    }
}
