//! `sys.partitions`: how far each partition of a stream is consumed, and what keeps it back.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::common::Result;

use super::{CONSUMERS, CONSUMERS_SCHEMA, from_servers, visible};
use crate::context::QueryContext;

/// Of the replicas of a partition the one that is farthest.
pub(super) async fn partitions(context: &QueryContext) -> Result<RecordBatch> {
    let batches = from_servers(context, CONSUMERS, &CONSUMERS_SCHEMA).await;
    let all = concat_batches(&CONSUMERS_SCHEMA, &batches)?;
    let all = visible(context, all, 0)?;
    let tables = all.column(0).as_string_view();
    let partitions = all.column(1).as_primitive::<Int32Type>();
    let offsets = all.column(5).as_primitive::<Int64Type>();
    let mut farthest: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for row in 0..all.num_rows() {
        let key = (tables.value(row), partitions.value(row));
        let best = farthest.entry(key).or_insert(row);
        if offsets.value(*best) < offsets.value(row) {
            *best = row;
        }
    }
    let rows = farthest.values().map(|row| *row as u32);
    let rows = UInt32Array::from_iter_values(rows);
    Ok(take_record_batch(&all, &rows)?)
}
