//! States of several segments become one batch: groups with equal keys are joined.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef,
    TimestampMillisecondType, UInt64Type,
};
use datafusion::common::{Result, internal_err};

use super::plan::{Aggregate, Kind};
use super::rows::RowNumbers;
use crate::columns::batch;

/// The first `keys` columns are keys, then come the states of `aggregates`.
pub(super) fn merge(
    schema: &SchemaRef,
    keys: usize,
    aggregates: &[Aggregate],
    batches: &[RecordBatch],
) -> Result<RecordBatch> {
    let all = concat_batches(schema, batches)?;
    let rows = all.num_rows();
    let (groups, firsts) = if keys == 0 {
        (vec![0; rows], vec![0; usize::from(rows > 0)])
    } else {
        let types: Vec<DataType> = schema.fields()[..keys]
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let groups = RowNumbers::new(&types)?.number(&all.columns()[..keys])?;
        let mut firsts = Vec::new();
        for (row, group) in (0u32..).zip(&groups) {
            if *group as usize == firsts.len() {
                firsts.push(row);
            }
        }
        (groups, firsts)
    };
    let count = firsts.len();
    let firsts = UInt32Array::from(firsts);
    let mut columns = Vec::with_capacity(schema.fields().len());
    for key in &all.columns()[..keys] {
        columns.push(take(key, &firsts, None)?);
    }
    let mut states = all.columns()[keys..].iter();
    for aggregate in aggregates {
        for state in states.by_ref().take(aggregate.states()) {
            columns.push(joined(state, aggregate.kind, &groups, count)?);
        }
    }
    batch(schema, columns, count)
}

fn joined(state: &ArrayRef, kind: Kind, groups: &[u32], count: usize) -> Result<ArrayRef> {
    match state.data_type() {
        DataType::Int32 => join::<Int32Type>(state, kind, groups, count),
        DataType::Int64 => join::<Int64Type>(state, kind, groups, count),
        DataType::UInt64 => join::<UInt64Type>(state, kind, groups, count),
        DataType::Float32 => join::<Float32Type>(state, kind, groups, count),
        DataType::Float64 => join::<Float64Type>(state, kind, groups, count),
        DataType::Timestamp(_, None) => {
            join::<TimestampMillisecondType>(state, kind, groups, count)
        }
        other => internal_err!("a state of type {other}"),
    }
}

fn join<T: ArrowPrimitiveType>(
    state: &ArrayRef,
    kind: Kind,
    groups: &[u32],
    count: usize,
) -> Result<ArrayRef> {
    let state = state.as_primitive::<T>();
    let mut joined: Vec<Option<T::Native>> = vec![None; count];
    for (row, group) in groups.iter().enumerate() {
        if state.is_null(row) {
            continue;
        }
        let value = state.value(row);
        let slot = &mut joined[*group as usize];
        *slot = Some(match (*slot, kind) {
            (None, _) => value,
            (Some(own), Kind::Min) if value.is_lt(own) => value,
            (Some(own), Kind::Max) if value.is_gt(own) => value,
            (Some(own), Kind::Min | Kind::Max) => own,
            (Some(own), Kind::Count | Kind::Sum | Kind::Avg) => own.add_wrapping(value),
        });
    }
    Ok(Arc::new(PrimitiveArray::<T>::from_iter(joined)))
}
