//! Accumulators over group numbers, and their states as DataFusion lays them out.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use schemas::proto::NullMode;
use segment::view::{Nulls, RawValues, Values};

use super::plan::Aggregate;
use crate::columns::{Source, longs};

/// Values of the rows of a block.
#[derive(Debug)]
enum Numbers {
    Long(Vec<i64>),
    Double(Vec<f64>),
}

#[derive(Debug)]
pub(super) struct Accumulator<'a> {
    aggregate: Aggregate,
    source: Option<Source<'a>>,
    nulls: Option<Nulls<'a>>,
    counts: Vec<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    None,
    Long(Vec<i64>),
    Double(Vec<f64>),
}

impl<'a> Accumulator<'a> {
    pub(super) fn new(
        aggregate: Aggregate,
        source: Option<Source<'a>>,
        is_float: bool,
        null_mode: NullMode,
    ) -> Self {
        let nulls = match &source {
            Some(Source::Stored(column)) if null_mode == NullMode::ThreeValued => column.nulls(),
            _ => None,
        };
        let state = match aggregate {
            Aggregate::CountRows | Aggregate::Count(_) => State::None,
            _ if is_float => State::Double(Vec::new()),
            _ => State::Long(Vec::new()),
        };
        Self {
            aggregate,
            source,
            nulls,
            counts: Vec::new(),
            state,
        }
    }

    fn grow(&mut self, groups: usize) {
        let start_long = match self.aggregate {
            Aggregate::Min(_) => i64::MAX,
            Aggregate::Max(_) => i64::MIN,
            _ => 0,
        };
        let start_double = match self.aggregate {
            // NaN is greater than every number in DataFusion's order.
            Aggregate::Min(_) => f64::NAN,
            Aggregate::Max(_) => f64::NEG_INFINITY,
            _ => 0.0,
        };
        self.counts.resize(groups.max(self.counts.len()), 0);
        match &mut self.state {
            State::None => {}
            State::Long(values) => values.resize(groups.max(values.len()), start_long),
            State::Double(values) => values.resize(groups.max(values.len()), start_double),
        }
    }

    /// Adds the rows of a block; `groups` has one entry for each of them.
    pub(super) fn add(
        &mut self,
        start: u32,
        len: u32,
        rows: Option<&[u32]>,
        groups: &[u32],
        group_count: usize,
    ) -> Result<()> {
        self.grow(group_count);
        let numbers = match (&self.state, &self.source) {
            (State::None, _) | (_, None) => None,
            (_, Some(source)) => Some(read(source, start, len, rows)?),
        };
        let nulls = self.nulls.filter(|nulls| nulls.any_in(start..start + len));
        let is_null = |at: usize| {
            let row = rows.map_or(at as u32, |rows| rows[at]);
            nulls.is_some_and(|nulls| nulls.is_null(start + row))
        };
        match (&mut self.state, numbers) {
            (State::Long(values), Some(Numbers::Long(numbers))) => {
                let aggregate = self.aggregate;
                fold(
                    groups,
                    &numbers,
                    &mut self.counts,
                    values,
                    is_null,
                    |value, number| match aggregate {
                        Aggregate::Min(_) => value.min(number),
                        Aggregate::Max(_) => value.max(number),
                        _ => value.wrapping_add(number),
                    },
                );
            }
            (State::Double(values), Some(Numbers::Double(numbers))) => {
                let aggregate = self.aggregate;
                fold(
                    groups,
                    &numbers,
                    &mut self.counts,
                    values,
                    is_null,
                    |value, number| match aggregate {
                        Aggregate::Min(_) if value.total_cmp(&number).is_gt() => number,
                        Aggregate::Max(_) if value.total_cmp(&number).is_lt() => number,
                        Aggregate::Min(_) | Aggregate::Max(_) => value,
                        _ => value + number,
                    },
                );
            }
            _ => {
                for (at, group) in groups.iter().enumerate() {
                    self.counts[*group as usize] += u64::from(!is_null(at));
                }
            }
        }
        Ok(())
    }

    /// State columns of the groups at `used`, in the types of the partial aggregate.
    pub(super) fn states(
        &mut self,
        used: &[u32],
        groups: usize,
        types: &[DataType],
    ) -> Result<Vec<ArrayRef>> {
        self.grow(groups);
        let counts = || used.iter().map(|group| self.counts[*group as usize]);
        let values: ArrayRef = match &self.state {
            State::None => Arc::new(Int64Array::from_iter_values(counts().map(|n| n as i64))),
            State::Long(values) => {
                let seen = counts()
                    .zip(used)
                    .map(|(n, g)| (n > 0).then(|| values[*g as usize]));
                Arc::new(seen.collect::<Int64Array>())
            }
            State::Double(values) => {
                let seen = counts()
                    .zip(used)
                    .map(|(n, g)| (n > 0).then(|| values[*g as usize]));
                Arc::new(seen.collect::<Float64Array>())
            }
        };
        if let Aggregate::Avg(_) = self.aggregate {
            let counts: ArrayRef = Arc::new(UInt64Array::from_iter_values(counts()));
            return Ok(vec![cast(&counts, &types[0])?, cast(&values, &types[1])?]);
        }
        Ok(vec![cast(&values, &types[0])?])
    }
}

fn fold<T: Copy>(
    groups: &[u32],
    numbers: &[T],
    counts: &mut [u64],
    values: &mut [T],
    is_null: impl Fn(usize) -> bool,
    join: impl Fn(T, T) -> T,
) {
    for (at, (group, number)) in groups.iter().zip(numbers).enumerate() {
        if is_null(at) {
            continue;
        }
        let group = *group as usize;
        counts[group] += 1;
        values[group] = join(values[group], *number);
    }
}

fn read(source: &Source<'_>, start: u32, len: u32, rows: Option<&[u32]>) -> Result<Numbers> {
    if let Source::Stored(column) = source
        && let Values::Raw(raw) = column.values()
    {
        let values = raw.values(start..start + len);
        let pick = |value: &dyn Fn(usize) -> f64, count: usize| match rows {
            None => (0..count).map(value).collect(),
            Some(rows) => rows.iter().map(|row| value(*row as usize)).collect(),
        };
        return Ok(match values {
            RawValues::F64(values) => Numbers::Double(pick(&|at| values[at], values.len())),
            RawValues::F32(values) => {
                Numbers::Double(pick(&|at| f64::from(values[at]), values.len()))
            }
            whole => Numbers::Long(longs(whole, rows)),
        });
    }
    let array = source.array(start, len, rows, NullMode::Defaults)?;
    Ok(match array.data_type() {
        DataType::Float64 => Numbers::Double(array.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Numbers::Double(values.iter().map(|value| f64::from(*value)).collect())
        }
        _ => {
            let longs = cast(&array, &DataType::Int64)?;
            let longs = longs.as_primitive::<arrow::datatypes::Int64Type>();
            Numbers::Long(longs.values().to_vec())
        }
    })
}
