//! Time that is cut to hours, days and the like, as a key: all times of a bucket have one value.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
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
    if !matches!(own, DataType::Timestamp(_, _)) {
        return None;
    }
    whole_in(expr).filter(|ms| *ms > 1)
}

/// 1 is the time itself, also as a number.
fn whole_in(expr: &dyn PhysicalExpr) -> Option<i64> {
    if expr.is::<Column>() {
        return Some(1);
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let keeps = matches!(
            cast.cast_type(),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, None)
        );
        return whole_in(cast.expr().as_ref()).filter(|_| keeps);
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    match (call.name(), call.args()) {
        ("date_trunc" | "date_part", [unit, column]) if column.is::<Column>() => {
            unit_ms(call.name(), unit.as_ref())
        }
        ("pinot_round", [time, to]) => {
            let inner = whole_in(time.as_ref())?;
            let ScalarValue::Int64(Some(to @ 1..)) = to.downcast_ref::<Literal>()?.value() else {
                return None;
            };
            // Down to a multiple of what is whole already, or of something else.
            Some(if to % inner == 0 { *to } else { inner })
        }
        ("date_time_convert", [column, formats @ ..]) if column.is::<Column>() => {
            let formats = formats.iter().map(|format| text(format.as_ref()));
            functions::granularity_ms(&formats.collect::<Option<Vec<_>>>()?)
        }
        _ => None,
    }
}

fn text(expr: &dyn PhysicalExpr) -> Option<&str> {
    expr.downcast_ref::<Literal>()?.value().try_as_str()?
}

fn unit_ms(name: &str, unit: &dyn PhysicalExpr) -> Option<i64> {
    match text(unit)?.to_ascii_lowercase().as_str() {
        // Parts of a second may come with a fraction.
        "second" if name == "date_trunc" => Some(1000),
        "minute" => Some(60_000),
        "hour" => Some(HOUR_MS),
        "day" | "week" | "month" | "quarter" | "year" | "dow" | "doy" => Some(24 * HOUR_MS),
        _ => None,
    }
}
