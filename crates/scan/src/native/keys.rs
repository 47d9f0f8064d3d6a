//! Group keys as small integers, and back to values.
//!
//! A key column gives each row a number below its `domain`: the dictionary code, or the offset from
//! the least value of a narrowed column. The numbers of all keys make one group number; while the
//! product of the domains is small it indexes the accumulators directly, else through a hash table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use hashbrown::HashMap;
use schemas::proto::NullMode;
use segment::view::{Codes, ColumnView, Nulls, RawValues, Values};

use crate::columns::Source;

/// Groups that are indexed directly.
const DENSE_MAX: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Key<'a> {
    source: Source<'a>,
    /// Numbers below this; the last one is null when there are nulls.
    domain: u64,
    nulls: Option<Nulls<'a>>,
    /// Least value of a raw column.
    base: i64,
}

impl<'a> Key<'a> {
    /// `None`: the column's values in this segment are no small integers.
    pub(super) fn new(source: Source<'a>, rows: u32, null_mode: NullMode) -> Option<Self> {
        let (domain, base, nulls) = match &source {
            Source::Constant(_) => (1, 0, None),
            Source::DocId => return None,
            Source::Stored(column) => {
                let (domain, base) = match column.values() {
                    Values::Dictionary(dictionary) => (u64::from(dictionary.cardinality()), 0),
                    Values::Raw(raw) => match raw.values(0..rows.min(1)) {
                        RawValues::U8 { base, .. } => (1 << 8, base),
                        RawValues::U16 { base, .. } => (1 << 16, base),
                        RawValues::U32 { base, .. } => (1 << 32, base),
                        // Consuming rows: any 32-bit value, as its distance from the least.
                        RawValues::I32(_) => (1 << 32, i64::from(i32::MIN)),
                        _ => return None,
                    },
                };
                let nulls = match null_mode {
                    NullMode::ThreeValued => column.nulls(),
                    NullMode::Defaults => None,
                };
                (domain + u64::from(nulls.is_some()), base, nulls)
            }
        };
        Some(Self {
            source,
            domain: domain.max(1),
            nulls,
            base,
        })
    }

    /// Adds this key's number of each row to `groups`, which were multiplied by the domain.
    fn add_numbers(&self, start: u32, len: u32, rows: Option<&[u32]>, groups: &mut [u64]) {
        let Source::Stored(column) = &self.source else {
            return;
        };
        let range = start..start + len;
        match column.values() {
            Values::Dictionary(dictionary) => match dictionary.codes(range) {
                Codes::U8(codes) => add(codes, rows, groups, u64::from),
                Codes::U16(codes) => add(codes, rows, groups, u64::from),
                Codes::U32(codes) => add(codes, rows, groups, u64::from),
            },
            Values::Raw(raw) => match raw.values(range) {
                RawValues::U8 { values, .. } => add(values, rows, groups, u64::from),
                RawValues::U16 { values, .. } => add(values, rows, groups, u64::from),
                RawValues::U32 { values, .. } => add(values, rows, groups, u64::from),
                RawValues::I32(values) => {
                    add(values, rows, groups, |v| {
                        (i64::from(v) - i64::from(i32::MIN)) as u64
                    });
                }
                _ => {}
            },
        }
        if let Some(nulls) = self.nulls
            && nulls.any_in(start..start + len)
        {
            self.move_nulls(nulls, start, rows, groups, column);
        }
    }

    /// A null row's number is the last of the domain instead of its default's.
    fn move_nulls(
        &self,
        nulls: Nulls<'_>,
        start: u32,
        rows: Option<&[u32]>,
        groups: &mut [u64],
        column: &ColumnView<'_>,
    ) {
        let len = groups.len() as u32;
        let mut own = vec![0; groups.len()];
        let bare = Key {
            source: Source::Stored(*column),
            domain: 0,
            nulls: None,
            base: 0,
        };
        let block_len = rows
            .and_then(|rows| rows.last())
            .map_or(len, |last| last + 1);
        bare.add_numbers(start, block_len, rows, &mut own);
        for (at, group) in groups.iter_mut().enumerate() {
            let row = rows.map_or(at as u32, |rows| rows[at]);
            if nulls.is_null(start + row) {
                *group = *group - own[at] + (self.domain - 1);
            }
        }
    }

    /// The values behind numbers, in the plain type.
    fn values(&self, numbers: &[u64], data_type: &DataType) -> Result<ArrayRef> {
        let null = self.nulls.is_some().then(|| self.domain - 1);
        match &self.source {
            Source::Constant(one) => {
                Ok(take(one, &UInt32Array::from(vec![0; numbers.len()]), None)?)
            }
            Source::DocId => internal_err!("a document id is no key"),
            Source::Stored(column) => match column.values() {
                Values::Dictionary(dictionary) => {
                    let codes = numbers
                        .iter()
                        .map(|n| (Some(*n) != null).then_some(*n as u32));
                    let codes: UInt32Array = codes.collect();
                    Ok(take(&dictionary.array(), &codes, None)?)
                }
                Values::Raw(_) => {
                    let values = numbers
                        .iter()
                        .map(|n| (Some(*n) != null).then(|| self.base.wrapping_add(*n as i64)));
                    Ok(match data_type {
                        DataType::Int32 => {
                            Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>())
                        }
                        DataType::Timestamp(_, _) => {
                            Arc::new(values.collect::<TimestampMillisecondArray>())
                        }
                        DataType::Boolean => Arc::new(
                            values
                                .map(|v| v.map(|v| v != 0))
                                .collect::<arrow::array::BooleanArray>(),
                        ),
                        DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
                        other => return internal_err!("a key of type {other}"),
                    })
                }
            },
        }
    }
}

fn add<T: Copy>(values: &[T], rows: Option<&[u32]>, groups: &mut [u64], of: impl Fn(T) -> u64) {
    match rows {
        None => groups
            .iter_mut()
            .zip(values)
            .for_each(|(group, value)| *group += of(*value)),
        Some(rows) => {
            for (group, row) in groups.iter_mut().zip(rows) {
                *group += of(values[*row as usize]);
            }
        }
    }
}

/// The groups of one segment.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    keys: Vec<Key<'a>>,
    index: Index,
}

#[derive(Debug)]
enum Index {
    Dense {
        groups: usize,
    },
    Hashed {
        slots: HashMap<u64, u32, foldhash::fast::FixedState>,
        numbers: Vec<u64>,
    },
}

impl<'a> Groups<'a> {
    /// `None`: the combined key does not fit 64 bits.
    pub(super) fn new(keys: Vec<Key<'a>>) -> Option<Self> {
        let product = keys
            .iter()
            .try_fold(1u64, |product, key| product.checked_mul(key.domain))?;
        let index = if product <= DENSE_MAX {
            Index::Dense {
                groups: product as usize,
            }
        } else {
            Index::Hashed {
                slots: HashMap::default(),
                numbers: Vec::new(),
            }
        };
        Some(Self { keys, index })
    }

    pub(super) fn count(&self) -> usize {
        match &self.index {
            Index::Dense { groups } => *groups,
            Index::Hashed { numbers, .. } => numbers.len(),
        }
    }

    /// The accumulator of each row.
    pub(super) fn assign(
        &mut self,
        start: u32,
        len: u32,
        rows: Option<&[u32]>,
        scratch: &mut Vec<u64>,
        groups: &mut Vec<u32>,
    ) {
        let count = rows.map_or(len as usize, <[u32]>::len);
        scratch.clear();
        scratch.resize(count, 0);
        for (at, key) in self.keys.iter().enumerate() {
            if at > 0 {
                scratch.iter_mut().for_each(|group| *group *= key.domain);
            }
            key.add_numbers(start, len, rows, scratch);
        }
        groups.clear();
        match &mut self.index {
            Index::Dense { .. } => groups.extend(scratch.iter().map(|number| *number as u32)),
            Index::Hashed { slots, numbers } => {
                for number in scratch.iter() {
                    let slot = *slots.entry(*number).or_insert_with(|| {
                        numbers.push(*number);
                        (numbers.len() - 1) as u32
                    });
                    groups.push(slot);
                }
            }
        }
    }

    /// Key columns of the groups at `used`.
    pub(super) fn values(&self, used: &[u32], types: &[DataType]) -> Result<Vec<ArrayRef>> {
        let mut numbers: Vec<u64> = match &self.index {
            Index::Dense { .. } => used.iter().map(|slot| u64::from(*slot)).collect(),
            Index::Hashed { numbers, .. } => {
                used.iter().map(|slot| numbers[*slot as usize]).collect()
            }
        };
        let mut columns = Vec::with_capacity(self.keys.len());
        for (key, data_type) in self.keys.iter().zip(types).rev() {
            let own: Vec<u64> = numbers.iter().map(|number| number % key.domain).collect();
            numbers.iter_mut().for_each(|number| *number /= key.domain);
            columns.push(key.values(&own, data_type)?);
        }
        columns.reverse();
        Ok(columns)
    }
}
