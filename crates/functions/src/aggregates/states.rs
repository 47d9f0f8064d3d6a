//! Arguments and states of accumulators: literals, lists of one row, values of a column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Literal};

use crate::arguments::wrong;

/// The literal at a place of the call; `None`: there is no argument.
pub(super) fn literal(args: &AccumulatorArgs<'_>, at: usize) -> Result<Option<ScalarValue>> {
    let Some(expr) = args.exprs.get(at) else {
        return Ok(None);
    };
    let value = value_of(expr.as_ref());
    value.map(Some).ok_or_else(|| {
        let call = args.name;
        wrong(format!("{call}: argument {} is a literal", at + 1))
    })
}

fn value_of(expr: &dyn PhysicalExpr) -> Option<ScalarValue> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return value_of(cast.expr().as_ref())?
            .cast_to(cast.cast_type())
            .ok();
    }
    Some(expr.downcast_ref::<Literal>()?.value().clone())
}

pub(super) fn text(args: &AccumulatorArgs<'_>, at: usize) -> Result<Option<String>> {
    let value = literal(args, at)?;
    Ok(value.and_then(|value| value.try_as_str().flatten().map(str::to_owned)))
}

pub(super) fn number(args: &AccumulatorArgs<'_>, at: usize) -> Result<f64> {
    let value = literal(args, at)?.map(|value| value.cast_to(&DataType::Float64));
    match value.transpose()? {
        Some(ScalarValue::Float64(Some(number))) => Ok(number),
        _ => {
            let call = args.name;
            Err(wrong(format!("{call}: argument {} is a number", at + 1)))
        }
    }
}

pub(super) fn long(args: &AccumulatorArgs<'_>, at: usize) -> Result<i64> {
    number(args, at).map(|number| number as i64)
}

/// A state of many values is a list.
pub(super) fn list(values: impl Array + 'static) -> ScalarValue {
    list_of_array(Arc::new(values))
}

pub(super) fn list_of_array(values: ArrayRef) -> ScalarValue {
    SingleRowListArrayBuilder::new(values).build_list_scalar()
}

pub(super) fn doubles(values: Vec<f64>) -> ScalarValue {
    list(Float64Array::from(values))
}

pub(super) fn longs(values: Vec<i64>) -> ScalarValue {
    list(Int64Array::from(values))
}

pub(super) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ScalarValue {
    list(StringViewArray::from_iter_values(values))
}

/// The lists of a state's column, row by row.
pub(super) fn lists(state: &ArrayRef) -> impl Iterator<Item = ArrayRef> {
    state.as_list::<i32>().iter().flatten()
}

/// Values that are not null.
pub(super) fn doubles_of(array: &ArrayRef) -> impl Iterator<Item = f64> {
    array.as_primitive::<Float64Type>().iter().flatten()
}

pub(super) fn longs_of(array: &ArrayRef) -> impl Iterator<Item = i64> {
    array.as_primitive::<Int64Type>().iter().flatten()
}

/// A column of times or numbers as numbers, null where it is.
pub(super) fn as_longs(array: &ArrayRef) -> Result<Int64Array> {
    let longs = cast(array, &DataType::Int64)?;
    Ok(longs.as_primitive::<Int64Type>().clone())
}
