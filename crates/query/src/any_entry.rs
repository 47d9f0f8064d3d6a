//! ANY_ENTRY(list, operator, literal, …): whether any entry of a list satisfies a comparison.
//!
//! This is what Pinot means by a predicate of a column with several values: its dialect's
//! comparisons of such columns are planned as calls of this function, and `<>`, NOT IN and their
//! like as its negation. Operators are `=`, `<`, `<=`, `>`, `>=`, `in`, `between` and `like`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use datafusion::physical_expr::expressions::{
    Column, Literal, binary, cast, in_list, like, lit as value,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use schemas::Fault;

use crate::fault::from_fault;

const NAME: &str = "any_entry";

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct AnyEntry {
    signature: Signature,
}

impl Default for AnyEntry {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl AnyEntry {
    /// The call of it as an expression.
    pub(crate) fn call(list: Expr, operator: &str, literals: Vec<Expr>) -> Expr {
        let args = [list, lit(operator)].into_iter().chain(literals);
        ScalarUDF::from(Self::default()).call(args.collect())
    }

    /// What a call of it on a plain column asks of each entry: an expression over the one column
    /// of `entry`. `None`: it is no such call.
    pub fn of_entry(
        expr: &dyn PhysicalExpr,
        entry: &Schema,
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let call = ScalarFunctionExpr::try_downcast_func::<Self>(expr);
        let Some((list, literals)) = call.and_then(|call| call.args().split_first()) else {
            return Ok(None);
        };
        let literal = |arg: &Arc<dyn PhysicalExpr>| {
            let literal = arg.downcast_ref::<Literal>();
            literal.map(|literal| literal.value().clone())
        };
        let literals: Option<Vec<ScalarValue>> = literals.iter().map(literal).collect();
        match literals.filter(|_| list.is::<Column>()) {
            Some(literals) => predicate(&literals, entry).map(Some),
            None => Ok(None),
        }
    }

    /// For sessions that plan, and for those that decode plans.
    pub fn udf() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self::default()))
    }
}

impl ScalarUDFImpl for AnyEntry {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::List(_), _, _, ..] => Ok(DataType::Boolean),
            _ => Err(wrong(
                "ANY_ENTRY takes a column of several values, an operator and literals",
            )),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lists = args.args[0].to_array(args.number_rows)?;
        let literals = args.args.iter().skip(1).map(|arg| match arg {
            ColumnarValue::Scalar(value) => Ok(value.clone()),
            ColumnarValue::Array(_) => Err(wrong(
                "a column of several values is compared with literals only",
            )),
        });
        let literals = literals.collect::<Result<Vec<_>>>()?;
        let lists = lists.as_list::<i32>();
        let field = Field::new("entry", lists.value_type(), true);
        let schema = Arc::new(Schema::new(vec![field]));
        let verdict = judge(&predicate(&literals, &schema)?, &schema, lists.values())?;
        let offsets = lists.value_offsets();
        let rows = (0..lists.len()).map(|row| {
            let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
            let any = entries.any(|at| verdict.is_valid(at) && verdict.value(at));
            lists.is_valid(row).then_some(any)
        });
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from_iter(
            rows,
        ))))
    }
}

fn wrong(message: &str) -> DataFusionError {
    from_fault(Fault::invalid(message))
}

fn judge(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    entries: &ArrayRef,
) -> Result<BooleanArray> {
    let batch = RecordBatch::try_new(Arc::clone(schema), vec![Arc::clone(entries)])?;
    let verdict = expr.evaluate(&batch)?.into_array(entries.len())?;
    Ok(verdict.as_boolean().clone())
}

/// `literals` begin with the operator.
fn predicate(literals: &[ScalarValue], schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let unknown = || wrong("ANY_ENTRY takes =, <, <=, >, >=, in, between or like, and literals");
    let (operator, literals) = literals.split_first().ok_or_else(unknown)?;
    let operator = operator.try_as_str().flatten().ok_or_else(unknown)?;
    let compare = |op, literal: &ScalarValue| compared(op, literal, schema);
    Ok(match (operator, literals) {
        ("=", [one]) => compare(Operator::Eq, one)?,
        ("<", [one]) => compare(Operator::Lt, one)?,
        ("<=", [one]) => compare(Operator::LtEq, one)?,
        (">", [one]) => compare(Operator::Gt, one)?,
        (">=", [one]) => compare(Operator::GtEq, one)?,
        ("between", [low, high]) => {
            let (from, to) = (
                compare(Operator::GtEq, low)?,
                compare(Operator::LtEq, high)?,
            );
            binary(from, Operator::And, to, schema)?
        }
        ("like", [pattern]) => {
            let pattern = pattern.cast_to(schema.field(0).data_type())?;
            like(false, false, entry(schema), value(pattern), schema)?
        }
        ("in", list) if !list.is_empty() => listed(list, schema)?,
        _ => return Err(unknown()),
    })
}

fn entry(schema: &Schema) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(0).name(), 0))
}

/// The literal in the type of the entries, where nothing is lost.
fn exactly(literal: &ScalarValue, own: &DataType) -> Option<ScalarValue> {
    let cast = literal.cast_to(own).ok()?;
    let back = cast.cast_to(&literal.data_type()).ok()?;
    (back == *literal).then_some(cast)
}

fn compared(op: Operator, literal: &ScalarValue, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let own = schema.field(0).data_type();
    if let Some(literal) = exactly(literal, own) {
        return binary(entry(schema), op, value(literal), schema);
    }
    let theirs = literal.data_type();
    let (left, right) = BinaryTypeCoercer::new(own, &op, &theirs).get_input_types()?;
    let left = cast(entry(schema), schema, left)?;
    binary(left, op, value(literal.cast_to(&right)?), schema)
}

fn listed(list: &[ScalarValue], schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let own = schema.field(0).data_type();
    let exact: Option<Vec<_>> = list.iter().map(|literal| exactly(literal, own)).collect();
    if let Some(exact) = exact {
        let items = exact.into_iter().map(value).collect();
        return in_list(entry(schema), items, &false, schema);
    }
    let mut any: Option<Arc<dyn PhysicalExpr>> = None;
    for literal in list {
        let one = compared(Operator::Eq, literal, schema)?;
        any = Some(match any {
            Some(any) => binary(any, Operator::Or, one, schema)?,
            None => one,
        });
    }
    any.ok_or_else(|| wrong("a list without values"))
}
