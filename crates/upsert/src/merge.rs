//! Partial upserts: a row is made of the one before it of its key and of what comes.
//!
//! The one before is stored, or is another row of the batch, which was merged first: rows are
//! merged in their order. Nulls count as nothing, not as defaults.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch, UInt32Array,
    make_comparator,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::{DataType as ArrowType, Float64Type, Int64Type};
use arrow::error::ArrowError;
use schemas::keyed::MergeStrategy;
use schemas::{Offset, TableSpec};
use segment::{SegmentError, SegmentView};

use crate::rules::Rules;

/// Reads what is stored.
pub trait StoredRows: std::fmt::Debug + Send + Sync {
    /// Of each of the columns, by their positions, the values at `rows`, which ascend; null where
    /// there is none.
    fn read(
        &self,
        view: &SegmentView,
        spec: &TableSpec,
        columns: &[usize],
        rows: &[u32],
    ) -> Result<Vec<ArrayRef>, SegmentError>;
}

/// For each row the one before it, by its place among the rows of the batch and, behind them,
/// those that are stored.
pub(crate) type Chain = Vec<Option<u32>>;

impl Rules {
    /// Positions and strategies of the columns that are merged. The table may have more of them
    /// than it had.
    pub(crate) fn merged(&self, spec: &TableSpec) -> Vec<(usize, MergeStrategy)> {
        let Some(partial) = &self.partial else {
            return Vec::new();
        };
        let columns = spec.columns.iter().enumerate();
        let merged = columns.filter(|(_, column)| !self.is_never_merged(&column.name));
        merged
            .map(|(position, column)| (position, partial.of(&column.name)))
            .filter(|(_, strategy)| *strategy != MergeStrategy::ForceOverwrite)
            .collect()
    }
}

/// `stored` are the rows behind those of the batch in `chain`, of each merged column.
pub(crate) fn merge(
    batch: &RecordBatch,
    merged: &[(usize, MergeStrategy)],
    stored: &[ArrayRef],
    chain: &Chain,
) -> Result<RecordBatch, ArrowError> {
    let mut columns = batch.columns().to_vec();
    for ((position, strategy), stored) in merged.iter().zip(stored) {
        let own = &columns[*position];
        let all = concat(&[own.as_ref(), stored.as_ref()])?;
        columns[*position] = match strategy {
            MergeStrategy::Append | MergeStrategy::Union => {
                lists(&all, chain, *strategy == MergeStrategy::Union)?
            }
            MergeStrategy::Increment => sums(&all, chain)?,
            picking => picked(&all, chain, *picking)?,
        };
    }
    RecordBatch::try_new(batch.schema(), columns)
}

/// One of both values.
fn picked(all: &ArrayRef, chain: &Chain, strategy: MergeStrategy) -> Result<ArrayRef, ArrowError> {
    let compares = matches!(strategy, MergeStrategy::Max | MergeStrategy::Min);
    let compare = match compares {
        true => Some(make_comparator(all, all, SortOptions::default())?),
        false => None,
    };
    let is_null = |at: u32| all.is_null(at as usize);
    let mut picks: Vec<u32> = (0..all.len() as u32).collect();
    for (row, before) in chain.iter().enumerate() {
        let Some(before) = before.map(|before| picks[before as usize]) else {
            continue;
        };
        let own = row as u32;
        let order = || match &compare {
            Some(compare) => compare(own as usize, before as usize),
            None => std::cmp::Ordering::Equal,
        };
        let takes_own = match strategy {
            _ if is_null(own) => false,
            _ if is_null(before) => true,
            MergeStrategy::Ignore => false,
            MergeStrategy::Max => order().is_ge(),
            MergeStrategy::Min => order().is_le(),
            _ => true,
        };
        if !takes_own {
            picks[row] = before;
        }
    }
    picks.truncate(chain.len());
    take(all, &UInt32Array::from(picks), None)
}

fn sums(all: &ArrayRef, chain: &Chain) -> Result<ArrayRef, ArrowError> {
    let own = all.data_type();
    let summed: ArrayRef = match own.is_floating() {
        true => {
            let wide = cast(all, &ArrowType::Float64)?;
            let values = wide.as_primitive::<Float64Type>().iter().collect();
            Arc::new(Float64Array::from(added(values, chain, |a, b| a + b)))
        }
        false => {
            let wide = cast(all, &ArrowType::Int64)?;
            let values = wide.as_primitive::<Int64Type>().iter().collect();
            let values = added(values, chain, i64::wrapping_add);
            let is_int = *own == ArrowType::Int32;
            // As Pinot's sums of INT.
            let narrow = |value: i64| {
                if is_int {
                    i64::from(value as i32)
                } else {
                    value
                }
            };
            Arc::new(
                values
                    .into_iter()
                    .map(|v| v.map(narrow))
                    .collect::<Int64Array>(),
            )
        }
    };
    cast(&summed, own)
}

fn added<T: Copy>(
    mut values: Vec<Option<T>>,
    chain: &Chain,
    add: impl Fn(T, T) -> T,
) -> Vec<Option<T>> {
    for (row, before) in chain.iter().enumerate() {
        let before = before.and_then(|before| values[before as usize]);
        values[row] = match (before, values[row]) {
            (Some(before), Some(own)) => Some(add(before, own)),
            (before, own) => own.or(before),
        };
    }
    values.truncate(chain.len());
    values
}

fn lists(all: &ArrayRef, chain: &Chain, once: bool) -> Result<ArrayRef, ArrowError> {
    let all = all.as_list::<i32>();
    let entries = all.values();
    let equal = make_comparator(entries, entries, SortOptions::default())?;
    let mut lists: Vec<Vec<u32>> = (0..all.len())
        .map(|row| match all.is_null(row) {
            true => Vec::new(),
            false => {
                let ends = all.value_offsets();
                (ends[row] as u32..ends[row + 1] as u32).collect()
            }
        })
        .collect();
    for (row, before) in chain.iter().enumerate() {
        let Some(before) = before else {
            continue;
        };
        let mut list = lists[*before as usize].clone();
        list.extend_from_slice(&lists[row]);
        if once {
            list.sort_by(|a, b| equal(*a as usize, *b as usize));
            list.dedup_by(|a, b| equal(*a as usize, *b as usize).is_eq());
        }
        lists[row] = list;
    }
    lists.truncate(chain.len());
    let taken: UInt32Array = lists.iter().flatten().copied().collect();
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    let some: NullBuffer = lists.iter().map(|list| !list.is_empty()).collect();
    let ArrowType::List(field) = all.data_type() else {
        return Err(ArrowError::SchemaError("no list".to_owned()));
    };
    let entries = take(entries, &taken, None)?;
    let list = ListArray::try_new(Arc::clone(field), offsets, entries, Some(some))?;
    Ok(Arc::new(list))
}

/// For each row of the batch where the one before it is; `previous` are those that have one, with
/// its offset. Gives the offsets that are not in the batch as well.
pub(crate) fn chain(offsets: &[Offset], previous: &[(usize, Offset)]) -> (Chain, Vec<Offset>) {
    let in_batch = |offset: &Offset| offsets.binary_search(offset).ok();
    let stored = previous.iter().map(|(_, offset)| *offset);
    let stored = stored.filter(|offset| in_batch(offset).is_none());
    let stored: BTreeMap<Offset, ()> = stored.map(|offset| (offset, ())).collect();
    let stored: Vec<Offset> = stored.into_keys().collect();
    let mut chain = vec![None; offsets.len()];
    for (row, offset) in previous {
        let place = in_batch(offset).or_else(|| {
            let at = stored.binary_search(offset).ok()?;
            Some(offsets.len() + at)
        });
        chain[*row] = place.map(|place| place as u32);
    }
    (chain, stored)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ListBuilder, StringBuilder};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn texts(rows: &[&str]) -> ListArray {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for row in rows {
            row.split_whitespace()
                .for_each(|text| builder.values().append_value(text));
            builder.append(!row.is_empty());
        }
        builder.finish()
    }

    /// Of rows of two keys: the first two have one before them that is stored, the third has the
    /// second, the last has none.
    #[test]
    fn lists_are_added_to_or_united() {
        let own = texts(&["a b", "", "c a a", "x x"]);
        let stored: ArrayRef = Arc::new(texts(&["b a", "z z"]));
        let chain = vec![Some(4), Some(5), Some(1), None];
        let field = |name| Field::new(name, own.data_type().clone(), true);
        let schema = Arc::new(Schema::new(vec![field("appended"), field("united")]));
        let both: Vec<ArrayRef> = vec![Arc::new(own.clone()), Arc::new(own.clone())];
        let batch = RecordBatch::try_new(schema, both).unwrap();
        let merged = [(0, MergeStrategy::Append), (1, MergeStrategy::Union)];
        let stored = [Arc::clone(&stored), stored];
        let merged = merge(&batch, &merged, &stored, &chain).unwrap();
        let wanted = [
            texts(&["b a a b", "z z", "z z c a a", "x x"]),
            texts(&["a b", "z", "a c z", "x x"]),
        ];
        for (column, wanted) in merged.columns().iter().zip(&wanted) {
            assert_eq!(column.as_list::<i32>(), wanted);
        }
    }
}
