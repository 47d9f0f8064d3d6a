//! Time that is cut to hours, days and the like, as a key: all times of a bucket have one value.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use schemas::proto::IndexKind;
use segment::view::DictionaryColumn;

use super::star_tree::{is_begin_of, is_same_in};
use crate::columns::{Stored, external};
use crate::predicate::{Compiler, Inputs};

pub(super) const HOUR_MS: i64 = 3_600_000;

/// The index whose buckets have one value of the expression each, and the expression over the times
/// at which they begin.
pub(super) fn in_buckets<'a>(
    inputs: &Inputs,
    stored: &Stored<'a>,
    compiler: &Compiler<'a, '_>,
) -> Result<Option<(Inputs, DictionaryColumn<'a>)>> {
    let name = inputs.schema.field(0).name();
    if inputs.expr.is::<Column>() || !compiler.options.uses(name, IndexKind::Timestamp) {
        return Ok(None);
    }
    let mut granularities = stored.column.granularities().into_iter();
    let Some(granularity) = granularities.find(|one| is_same_in(&inputs.expr, *one)) else {
        return Ok(None);
    };
    let Some(buckets) = stored.column.buckets(granularity).map_err(external)? else {
        return Ok(None);
    };
    compiler.counters.index(format!("timestamp({name})"));
    let mut inputs = inputs.clone();
    if is_begin_of(&inputs.expr, granularity) {
        inputs.expr = Arc::new(Column::new(name, 0));
    }
    Ok(Some((inputs, buckets)))
}

/// For functions that cut time to something that is whole in this many milliseconds: all times
/// between two multiples have the same value. Days and longer are whole in days, in UTC.
pub(super) fn bucket_ms(expr: &dyn PhysicalExpr, own: &DataType) -> Option<i64> {
    if !matches!(own, DataType::Timestamp(_, None)) {
        return None;
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [unit, column] = call.args() else {
        return None;
    };
    if !matches!(call.name(), "date_trunc" | "date_part") {
        return None;
    }
    column.downcast_ref::<Column>()?;
    let unit = match unit.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8(Some(unit))
        | ScalarValue::Utf8View(Some(unit))
        | ScalarValue::LargeUtf8(Some(unit)) => unit.to_ascii_lowercase(),
        _ => return None,
    };
    match unit.as_str() {
        // Parts of a second may come with a fraction.
        "second" if call.name() == "date_trunc" => Some(1000),
        "minute" => Some(60_000),
        "hour" => Some(HOUR_MS),
        "day" | "week" | "month" | "quarter" | "year" | "dow" | "doy" => Some(24 * HOUR_MS),
        _ => None,
    }
}
