//! Time that is cut to hours, days and the like, as a key: all times of a bucket have one value.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use schemas::proto::IndexKind;
use segment::view::DictionaryColumn;

use super::star_tree::{is_begin_of, is_same_in};
use crate::columns::{Stored, external};
use crate::predicate::{Compiler, Inputs};

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
