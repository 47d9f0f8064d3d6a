//! All keys of a segment together: the group of each row, and the keys of each group.

use arrow::array::ArrayRef;
use datafusion::common::Result;
use hashbrown::HashMap;

use super::fold::RowGroups;
use super::keys::Key;
use super::number::BlockRows;
use super::rows::RowNumbers;

/// Groups that are indexed directly.
const DENSE_MAX: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Groups<'a> {
    keys: Vec<Key<'a>>,
    index: Index,
}

#[derive(Debug)]
enum Index {
    /// The joined number of the keys is the group.
    Dense(usize),
    /// Groups in the order in which their joined number appeared.
    Hashed {
        groups: HashMap<u64, u32, foldhash::fast::FixedState>,
        numbers: Vec<u64>,
        scratch: Vec<u64>,
    },
    /// The joined number could be greater than 64 bits: groups are numbered by the keys' numbers.
    Wide { rows: RowNumbers, scratch: Vec<u64> },
}

impl<'a> Groups<'a> {
    pub(super) fn new(keys: Vec<Key<'a>>) -> Result<Self> {
        let product = keys
            .iter()
            .try_fold(1u64, |product, key| product.checked_mul(key.domain));
        let index = match product {
            Some(product) if product <= DENSE_MAX => Index::Dense(product as usize),
            Some(_) => Index::Hashed {
                groups: HashMap::default(),
                numbers: Vec::new(),
                scratch: Vec::new(),
            },
            None => {
                let types = vec![arrow::datatypes::DataType::UInt64; keys.len()];
                Index::Wide {
                    rows: RowNumbers::new(&types)?,
                    scratch: Vec::new(),
                }
            }
        };
        Ok(Self { keys, index })
    }

    pub(super) fn keys(&self) -> &[Key<'a>] {
        &self.keys
    }

    /// Groups so far; of direct ones, all that there could be.
    pub(super) fn count(&self) -> usize {
        match &self.index {
            Index::Dense(groups) => *groups,
            Index::Hashed { numbers, .. } => numbers.len(),
            Index::Wide { rows, .. } => rows.count(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.index {
            Index::Dense(_) => 0,
            Index::Hashed { numbers, .. } => numbers.capacity() * 32,
            Index::Wide { rows, .. } => rows.memory_bytes(),
        };
        own + self.keys.iter().map(Key::memory_bytes).sum::<usize>()
    }

    /// The group of each row.
    pub(super) fn assign<'s>(
        &mut self,
        rows: BlockRows<'_>,
        assigned: &'s mut Vec<u32>,
    ) -> Result<RowGroups<'s>> {
        assigned.clear();
        let count = rows.count();
        match &mut self.index {
            Index::Dense(_) => {
                assigned.resize(count, 0);
                for key in &mut self.keys {
                    key.join_numbers(rows, assigned)?;
                }
            }
            Index::Hashed {
                groups,
                numbers,
                scratch,
            } => {
                scratch.clear();
                scratch.resize(count, 0);
                for key in &mut self.keys {
                    key.join_numbers(rows, scratch)?;
                }
                assigned.extend(scratch.iter().map(|number| {
                    *groups.entry(*number).or_insert_with(|| {
                        numbers.push(*number);
                        (numbers.len() - 1) as u32
                    })
                }));
            }
            Index::Wide {
                rows: seen,
                scratch,
            } => {
                let mut columns = Vec::with_capacity(self.keys.len());
                for key in &mut self.keys {
                    scratch.clear();
                    scratch.resize(count, 0);
                    key.join_numbers(rows, scratch)?;
                    let numbers = arrow::array::UInt64Array::from(scratch.clone());
                    columns.push(std::sync::Arc::new(numbers) as ArrayRef);
                }
                assigned.extend(seen.number(&columns)?);
            }
        }
        Ok(RowGroups::new(assigned, self.count()))
    }

    /// Key columns of the groups at `used`.
    pub(super) fn values(&self, used: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut joined: Vec<u64> = match &self.index {
            Index::Dense(_) => used.iter().map(|group| u64::from(*group)).collect(),
            Index::Hashed { numbers, .. } => {
                used.iter().map(|group| numbers[*group as usize]).collect()
            }
            Index::Wide { rows, .. } => {
                use arrow::array::AsArray;
                let columns = rows.values(used.iter().map(|group| *group as usize))?;
                let keys = self.keys.iter().zip(&columns);
                return keys
                    .map(|(key, numbers)| {
                        let numbers = numbers.as_primitive::<arrow::datatypes::UInt64Type>();
                        key.values(numbers.values())
                    })
                    .collect();
            }
        };
        let mut columns = Vec::with_capacity(self.keys.len());
        for key in self.keys.iter().rev() {
            let own: Vec<u64> = joined.iter().map(|number| number % key.domain).collect();
            joined.iter_mut().for_each(|number| *number /= key.domain);
            columns.push(key.values(&own)?);
        }
        columns.reverse();
        Ok(columns)
    }
}
