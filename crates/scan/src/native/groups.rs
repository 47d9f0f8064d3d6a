//! All keys of a segment together: the group of each row, and the keys of each group.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use super::fold::RowGroups;
use super::keys::Key;
use super::most::KeyCodes;
use super::number::BlockRows;
use super::rows::RowNumbers;
use super::table::Numbers;

/// Groups that are indexed directly.
const DENSE_MAX: u64 = 1 << 16;
/// Also these, where enough rows may match.
const SPACIOUS_MAX: u64 = 1 << 22;

#[derive(Debug)]
pub(super) struct Groups<'a> {
    keys: Vec<Key<'a>>,
    index: Index,
}

#[derive(Debug)]
enum Index {
    /// The joined number of the keys is the group.
    Dense(usize),
    /// The only key numbers its values as they appear: that number is the group.
    Seen,
    /// Groups in the order in which their joined number appeared.
    Hashed { seen: Numbers, scratch: Vec<u64> },
    /// The joined number could be greater than 64 bits: groups are numbered by the keys' numbers.
    Wide { rows: RowNumbers, scratch: Vec<u64> },
}

impl<'a> Groups<'a> {
    /// No more than `rows` rows come.
    pub(super) fn new(keys: Vec<Key<'a>>, rows: u64) -> Result<Self> {
        let product = keys
            .iter()
            .try_fold(1u64, |product, key| product.checked_mul(key.domain));
        let is_known = keys.iter().all(Key::is_known);
        let dense_max = match rows >= SPACIOUS_MAX / 8 {
            true => SPACIOUS_MAX,
            false => DENSE_MAX.max(rows * 3),
        };
        let index = match product {
            Some(product) if is_known && product <= dense_max => Index::Dense(product as usize),
            _ if keys.len() == 1 && !is_known => Index::Seen,
            Some(_) => Index::Hashed {
                seen: Numbers::default(),
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

    /// Goes on with the groups of another segment, if their numbers mean the same.
    pub(super) fn resume(&mut self, other: &mut Groups<'_>) -> bool {
        match (&self.index, &other.index) {
            (Index::Seen, Index::Seen) => self.keys[0].resume(&mut other.keys[0]),
            (Index::Dense(_), Index::Dense(_)) => {
                let mut keys = self.keys.iter().zip(&other.keys);
                keys.all(|(own, others)| own.numbers_as(others))
            }
            _ => false,
        }
    }

    pub(super) fn keys(&self) -> &[Key<'a>] {
        &self.keys
    }

    /// Groups so far; of direct ones, all that there could be.
    pub(super) fn count(&self) -> usize {
        match &self.index {
            Index::Dense(groups) => *groups,
            Index::Seen => self.keys[0].seen().unwrap_or(0),
            Index::Hashed { seen, .. } => seen.values.len(),
            Index::Wide { rows, .. } => rows.count(),
        }
    }

    /// The dictionaries whose codes, joined to a number, the groups are, or are for.
    pub(super) fn dictionaries(&self) -> Option<Vec<KeyCodes<'a>>> {
        let codes = self.keys.iter().map(|key| {
            let null = key.null_number().map(|number| number as u32);
            KeyCodes::new(key.dictionary()?, null, key.domain)
        });
        match &self.index {
            Index::Dense(_) | Index::Hashed { .. } => codes.collect(),
            Index::Seen | Index::Wide { .. } => None,
        }
    }

    /// The numbers of groups, where they are not the groups themselves.
    pub(super) fn numbers(&self) -> Option<&Numbers> {
        match &self.index {
            Index::Hashed { seen, .. } => Some(seen),
            _ => None,
        }
    }

    /// All that there could be, where it is known.
    pub(super) fn known(&self) -> Option<usize> {
        match &self.index {
            Index::Dense(groups) => Some(*groups),
            _ => None,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.index {
            Index::Dense(_) | Index::Seen => 0,
            Index::Hashed { seen, .. } => seen.memory_bytes(),
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
            Index::Dense(_) | Index::Seen => {
                assigned.resize(count, 0);
                for key in &mut self.keys {
                    key.join_numbers(rows, assigned)?;
                }
            }
            Index::Hashed { seen, scratch } => {
                scratch.clear();
                scratch.resize(count, 0);
                for key in &mut self.keys {
                    key.join_numbers(rows, scratch)?;
                }
                let joined: Vec<i64> = scratch.iter().map(|number| *number as i64).collect();
                assigned.resize(count, 0);
                seen.number(&joined, |at, group| assigned[at] = group);
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
            // Numbers of several segments together may be past the domain.
            Index::Seen => {
                let numbers: Vec<u64> = used.iter().map(|group| u64::from(*group)).collect();
                return Ok(vec![self.keys[0].values(&numbers)?]);
            }
            Index::Hashed { seen, .. } => {
                let number = |group: &u32| seen.values[*group as usize] as u64;
                used.iter().map(number).collect()
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
