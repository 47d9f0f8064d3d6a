//! Expressions of Pinot's dialect over the columns of a batch, outside of any statement: what
//! records are filtered and transformed by as they come in.
//!
//! They are planned as the only item of a SELECT over a table of these columns, so that a function
//! means here what it means in a question.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, TableReference, plan_err};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, Statement as SqlStatement, UnaryOperator, Value,
    visit_expressions,
};
use schemas::Fault;

use crate::catalog::known;
use crate::dialect::{Dialect, Options, parse};
use crate::fault::to_fault;
use crate::operators::{Arithmetic, align_ranges, before};
use crate::session::{parser_options, session};

const TABLE: &str = "record";

struct Known {
    session: SessionState,
    operators: Vec<Arc<dyn ExprPlanner>>,
}

/// Made when the first expression is.
static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let session = session(Arc::new(RuntimeEnv::default()), 1);
    Known {
        operators: before(Arithmetic::Double, session.expr_planners()),
        session,
    }
});

/// A column that an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedColumn {
    pub name: String,
    /// It is calculated with, or compared with a number.
    pub as_number: bool,
}

/// An expression over batches of the schema that it was compiled for.
#[derive(Debug)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    data_type: DataType,
}

/// The columns that `text` names, each once.
pub fn columns_of(text: &str) -> Result<Vec<NamedColumn>, Fault> {
    let sql = statement(text)?;
    let mut columns: Vec<NamedColumn> = Vec::new();
    let mut add =
        |name: &str, as_number: bool| match columns.iter_mut().find(|column| column.name == name) {
            Some(column) => column.as_number |= as_number,
            None => columns.push(NamedColumn {
                name: name.to_owned(),
                as_number,
            }),
        };
    let _ = visit_expressions(&sql, |expr| {
        match expr {
            SqlExpr::Identifier(name) => add(&name.value, false),
            SqlExpr::BinaryOp { left, op, right } => {
                for (own, other) in [(left, right), (right, left)] {
                    if let SqlExpr::Identifier(name) = own.as_ref()
                        && wants_number(op, other)
                    {
                        add(&name.value, true);
                    }
                }
            }
            SqlExpr::Between { expr, low, .. } => {
                if let SqlExpr::Identifier(name) = expr.as_ref() {
                    add(&name.value, is_number(low));
                }
            }
            SqlExpr::InList { expr, list, .. } => {
                if let SqlExpr::Identifier(name) = expr.as_ref() {
                    add(&name.value, list.iter().all(is_number));
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(columns)
}

fn wants_number(op: &BinaryOperator, other: &SqlExpr) -> bool {
    use BinaryOperator as Op;
    match op {
        Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => true,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => is_number(other),
        _ => false,
    }
}

fn is_number(expr: &SqlExpr) -> bool {
    match expr {
        SqlExpr::Value(value) => matches!(value.value, Value::Number(..)),
        SqlExpr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_number(expr),
        SqlExpr::Nested(inner) => is_number(inner),
        _ => false,
    }
}

/// `text` over the columns of `schema`.
pub fn compile(text: &str, schema: &SchemaRef) -> Result<Expression, Fault> {
    let sql = statement(text)?;
    let fault = |error| to_fault(&error, text);
    let planned = plan(sql, schema).map_err(fault)?;
    let known = &*KNOWN;
    let columns = DFSchema::try_from_qualified_schema(TABLE, schema).map_err(fault)?;
    let physical = known.session.create_physical_expr(planned, &columns);
    let physical = physical.map_err(fault)?;
    let data_type = physical.data_type(schema).map_err(fault)?;
    Ok(Expression {
        physical,
        data_type,
    })
}

fn statement(text: &str) -> Result<SqlStatement, Fault> {
    let mut options = Options::default();
    options.set("useMultistageEngine", "true");
    let sql = format!("SELECT {text} FROM {TABLE}");
    let statement = parse(&sql, Dialect::Pinot, options, 0)?;
    match Arc::try_unwrap(statement.parsed) {
        Ok(parsed) => Ok(parsed.sql),
        Err(shared) => Ok(shared.sql.clone()),
    }
}

fn plan(sql: SqlStatement, schema: &SchemaRef) -> Result<Expr> {
    let known = &*KNOWN;
    let record = Record {
        table: Arc::new(LogicalTableSource::new(Arc::clone(schema))),
        known,
    };
    let planner = SqlToRel::new_with_options(&record, parser_options(&known.session));
    let sql = DfStatement::Statement(Box::new(sql));
    let plan = align_ranges(planner.statement_to_plan(sql)?)?;
    match plan {
        LogicalPlan::Projection(projection)
            if matches!(projection.input.as_ref(), LogicalPlan::TableScan(_)) =>
        {
            match projection.expr.as_slice() {
                [one] => Ok(one.clone().unalias()),
                several => plan_err!("{} expressions, one is wanted", several.len()),
            }
        }
        _ => plan_err!(
            "an expression over the fields of one record is wanted: no aggregate, no subquery, \
             no clause of a statement"
        ),
    }
}

impl Expression {
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// One value for each row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, Fault> {
        let value = self.physical.evaluate(batch);
        let values = value.and_then(|value| value.into_array(batch.num_rows()));
        values.map_err(|error| to_fault(&error, ""))
    }
}

/// The one table of an expression.
struct Record {
    table: Arc<dyn TableSource>,
    known: &'static Known,
}

impl ContextProvider for Record {
    fn get_table_source(&self, reference: TableReference) -> Result<Arc<dyn TableSource>> {
        match reference.table() {
            TABLE => Ok(Arc::clone(&self.table)),
            other => plan_err!("there is no table `{other}` beside the record"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.known.operators
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let in_pinot = functions::in_pinot(name).unwrap_or(name);
        known(self.known.session.scalar_functions(), in_pinot)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.known
            .session
            .higher_order_functions()
            .get(name)
            .cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        known(self.known.session.aggregate_functions(), name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.known.session.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.known.session.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.known
            .session
            .scalar_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.known
            .session
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.known
            .session
            .aggregate_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.known
            .session
            .window_functions()
            .keys()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Float64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};
    use arrow::util::display::array_value_to_string;

    fn batch() -> RecordBatch {
        let texts = StringViewArray::from(vec![Some("Ab"), None, Some("7")]);
        let numbers = Float64Array::from(vec![Some(-1.0), Some(2.5), None]);
        let fields = vec![
            Field::new("s", DataType::Utf8View, true),
            Field::new("a.b", DataType::Float64, true),
        ];
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(numbers)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn values(text: &str) -> Vec<Option<String>> {
        let batch = batch();
        let values = compile(text, &batch.schema())
            .unwrap()
            .evaluate(&batch)
            .unwrap();
        let shown = |at: usize| {
            values
                .is_valid(at)
                .then(|| array_value_to_string(&values, at))
        };
        (0..values.len())
            .map(shown)
            .map(|value| value.map(|v| v.unwrap()))
            .collect()
    }

    #[test]
    fn functions_mean_what_they_mean_in_questions() {
        let text = |texts: [&str; 3]| texts.map(|t| (t != "-").then(|| t.to_owned())).to_vec();
        assert_eq!(values("upper(s)"), text(["AB", "-", "7"]));
        assert_eq!(values("\"a.b\" < 0"), text(["true", "false", "-"]));
        assert_eq!(values("\"a.b\" * 2 + 1"), text(["-1.0", "6.0", "-"]));
        assert_eq!(
            values("CASE WHEN s IS NULL THEN 'none' ELSE s END"),
            text(["Ab", "none", "7"])
        );
        assert_eq!(values("substr(s, 0, 1)"), text(["A", "-", "7"]));
        assert_eq!(values("concat(s, 'x', '-')"), text(["Ab-x", "-", "7-x"]));
        assert_eq!(values("\"a.b\" IN (2.5, 3)"), text(["false", "true", "-"]));
        let is_null = compile("s IS NULL", &batch().schema()).unwrap();
        assert_eq!(
            is_null
                .evaluate(&batch())
                .unwrap()
                .as_boolean()
                .true_count(),
            1
        );
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let told = |text: &str| compile(text, &batch().schema()).unwrap_err().message;
        assert!(
            told("count(*)").contains("no aggregate"),
            "{}",
            told("count(*)")
        );
        assert!(told("uper(s)").contains("upper"), "{}", told("uper(s)"));
        assert!(told("nothing").contains("nothing"), "{}", told("nothing"));
        assert!(told("s, \"a.b\"").contains("one is wanted"));
        assert!(!told("s +").is_empty() && !told("").is_empty());
    }

    #[test]
    fn columns_and_what_they_must_be() {
        let columns = columns_of("a < -1 AND lower(b) = 'x' OR c + d > e OR f IN (1, 2)").unwrap();
        let numbers = columns
            .iter()
            .map(|column| (column.name.as_str(), column.as_number));
        let expected = [
            ("a", true),
            ("b", false),
            ("c", true),
            ("d", true),
            ("e", false),
            ("f", true),
        ];
        let mut found: Vec<_> = numbers.collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
