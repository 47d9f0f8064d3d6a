//! Keys as bits that mean the same in all segments.
//!
//! Whole numbers and times are what they are more than the least of them; all other values are
//! numbered, each distinct one of all dictionaries once. The bits of all keys lie side by side in
//! as few words as hold them; no key is in two words. Null has the last bits of its key, or the
//! number of a value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::Result;
use hashbrown::HashTable;
use runtime::compute::Turn;
use segment::view::{Nulls, RawColumn};

use super::super::exec::NativeAggregateExec;
use super::super::keys::Key;
use super::super::number::{BlockRows, of_bits};
use super::super::values::ValueColumn;
use crate::columns::longs;
use crate::filter::Filters;
use crate::shared::in_turns;

/// The keys of all segments.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    pub(super) packed: PackedKeys,
    /// `None`: no row of the segment matches.
    segments: Vec<Option<Vec<Source<'a>>>>,
}

/// Where the bits of a key come from in one segment.
#[derive(Debug)]
enum Source<'a> {
    /// By the number that the key has in the segment.
    Listed { key: Box<Key<'a>>, bits: Vec<u64> },
    Whole {
        values: RawColumn<'a>,
        nulls: Option<Nulls<'a>>,
    },
}

/// From bits back to values.
#[derive(Debug)]
pub(in super::super) struct PackedKeys {
    /// Of all keys of a group.
    pub(in super::super) words: usize,
    /// Bits of the last word.
    used: u32,
    keys: Vec<PackedKey>,
}

#[derive(Debug)]
struct PackedKey {
    word: usize,
    shift: u32,
    mask: u64,
    values: PackedValues,
}

#[derive(Debug)]
enum PackedValues {
    Whole {
        least: i64,
        null: Option<u64>,
        data_type: DataType,
    },
    /// In which array each numbered value is, and where there.
    Numbered {
        arrays: Vec<ArrayRef>,
        places: Vec<(u32, u32)>,
    },
}

/// A key in one segment, before it is known what its bits are.
#[derive(Debug)]
enum Opened<'a> {
    /// The value of each number.
    Listed { key: Box<Key<'a>>, values: ArrayRef },
    Whole {
        values: RawColumn<'a>,
        nulls: Option<Nulls<'a>>,
        ends: (i64, i64),
        data_type: DataType,
    },
}

/// `None`: a key is of a kind that has no bits, or they are too many.
pub(super) fn open<'a>(
    operator: &'a NativeAggregateExec,
    turn: &mut Turn,
    filters: &Filters<'_>,
    workers: usize,
) -> Result<Option<Keys<'a>>> {
    let segments = operator.segments();
    let opened = in_turns(turn, workers, segments.len(), |at| {
        match segments[at].row_count() == 0 || filters.of(at)?.is_none() {
            true => Ok(Some(None)),
            false => Ok(opened_in(operator, at)?.map(Some)),
        }
    })?;
    let Some(mut opened) = opened.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let mut sources: Vec<Option<Vec<Source<'a>>>> = opened
        .iter()
        .map(|own| {
            own.as_ref()
                .map(|_| Vec::with_capacity(operator.keys.len()))
        })
        .collect();
    let mut packed = PackedKeys::default();
    for _ in 0..operator.keys.len() {
        // Keys are taken from the front, each with what it is in all segments.
        let of_key = opened
            .iter_mut()
            .map(|own| own.as_mut().map(|own| own.remove(0)));
        let Some((own, values, most)) = shared(of_key.collect(), turn, workers)? else {
            return Ok(None);
        };
        packed.push(values, most);
        for (sources, own) in sources.iter_mut().zip(own) {
            if let (Some(sources), Some(own)) = (sources, own) {
                sources.push(own);
            }
        }
    }
    Ok(Some(Keys {
        packed,
        segments: sources,
    }))
}

/// `None`: some key is of another kind.
fn opened_in(operator: &NativeAggregateExec, segment: usize) -> Result<Option<Vec<Opened<'_>>>> {
    let compiler = operator.compiler(&operator.segments()[segment]);
    let mut opened = Vec::with_capacity(operator.keys.len());
    for expr in &operator.keys {
        let key = Key::new(expr, &compiler)?;
        if let Some((values, nulls, ends)) = key.whole_numbers() {
            let data_type = key.input_type();
            opened.push(Opened::Whole {
                values,
                nulls,
                ends,
                data_type,
            });
            continue;
        }
        if !key.is_steady() {
            return Ok(None);
        }
        let numbers: Vec<u64> = (0..key.domain).collect();
        // What fails for some value may never be asked for.
        let Ok(values) = key.values(&numbers) else {
            return Ok(None);
        };
        let key = Box::new(key);
        opened.push(Opened::Listed { key, values });
    }
    Ok(Some(opened))
}

type Shared<'a> = (Vec<Option<Source<'a>>>, PackedValues, u64);

/// One key in all segments: its bits there, what they mean, and the greatest of them.
fn shared<'a>(
    opened: Vec<Option<Opened<'a>>>,
    turn: &mut Turn,
    workers: usize,
) -> Result<Option<Shared<'a>>> {
    let types = opened.iter().flatten().map(|own| match own {
        Opened::Listed { values, .. } => values.data_type(),
        Opened::Whole { data_type, .. } => data_type,
    });
    let Some(data_type) = types.clone().next().cloned() else {
        return Ok(None);
    };
    if types.clone().into_iter().any(|other| *other != data_type) {
        return Ok(None);
    }
    match is_whole(&data_type) {
        true => whole(opened, data_type),
        false => numbered(opened, turn, workers),
    }
}

fn is_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int32
            | DataType::Int64
            | DataType::Boolean
            | DataType::Timestamp(TimeUnit::Millisecond, None)
    )
}

fn whole<'a>(opened: Vec<Option<Opened<'a>>>, data_type: DataType) -> Result<Option<Shared<'a>>> {
    let mut ends: Option<(i64, i64)> = None;
    let mut may_be_null = false;
    let mut listed = Vec::with_capacity(opened.len());
    for own in &opened {
        let of_segment = match own {
            None => None,
            Some(Opened::Whole { nulls, ends, .. }) => {
                may_be_null |= nulls.is_some();
                Some(*ends)
            }
            Some(Opened::Listed { values, .. }) => {
                let longs = cast(values, &DataType::Int64)?;
                may_be_null |= longs.null_count() > 0;
                let longs = longs.as_primitive::<Int64Type>();
                let ends = longs.iter().flatten();
                let ends = ends.fold(None, |ends: Option<(i64, i64)>, value| {
                    let (low, high) = ends.unwrap_or((value, value));
                    Some((low.min(value), high.max(value)))
                });
                listed.push(longs.clone());
                ends
            }
        };
        if let Some((low, high)) = of_segment {
            let (least, greatest) = ends.unwrap_or((low, high));
            ends = Some((least.min(low), greatest.max(high)));
        }
    }
    let (least, greatest) = ends.unwrap_or((0, 0));
    let span = greatest.abs_diff(least);
    let Some(most) = span.checked_add(u64::from(may_be_null)) else {
        return Ok(None);
    };
    let null = may_be_null.then_some(most);
    let mut listed = listed.into_iter();
    let sources = opened.into_iter().map(|own| match own? {
        Opened::Whole { values, nulls, .. } => Some(Source::Whole { values, nulls }),
        Opened::Listed { key, .. } => {
            let values = listed.next()?;
            let bits = values.iter().map(|value| match value {
                Some(value) => value.wrapping_sub(least) as u64,
                None => most,
            });
            let bits = bits.collect();
            Some(Source::Listed { key, bits })
        }
    });
    let values = PackedValues::Whole {
        least,
        null,
        data_type,
    };
    Ok(Some((sources.collect(), values, most)))
}

/// Numbers the distinct values of all segments: several threads take those of some hashes each.
fn numbered<'a>(
    opened: Vec<Option<Opened<'a>>>,
    turn: &mut Turn,
    workers: usize,
) -> Result<Option<Shared<'a>>> {
    let mut arrays = Vec::with_capacity(opened.len());
    for own in opened.iter().flatten() {
        match own {
            Opened::Listed { values, .. } => arrays.push(Arc::clone(values)),
            Opened::Whole { .. } => return Ok(None),
        }
    }
    let columns = in_turns(turn, workers, arrays.len(), |at| {
        let column = ValueColumn::new(Arc::clone(&arrays[at]))?;
        let mut hashes = vec![0; arrays[at].len()];
        column.hash_into(&mut hashes);
        Ok((column, hashes))
    })?;
    let shares = workers.next_power_of_two();
    let found = in_turns(turn, workers, shares, |share| {
        Ok(distinct(&columns, (share, shares)))
    })?;
    let mut bits: Vec<Vec<u64>> = arrays.iter().map(|array| vec![0; array.len()]).collect();
    let mut places = Vec::new();
    for share in found {
        let first = places.len() as u64;
        for (own, numbers) in bits.iter_mut().zip(share.numbers) {
            for (row, number) in numbers {
                own[row as usize] = first + u64::from(number);
            }
        }
        places.extend(share.firsts);
    }
    let most = (places.len() as u64).saturating_sub(1);
    let mut bits = bits.into_iter();
    let sources = opened.into_iter().map(|own| match own? {
        Opened::Listed { key, .. } => bits.next().map(|bits| Source::Listed { key, bits }),
        Opened::Whole { .. } => None,
    });
    let sources = sources.collect();
    let values = PackedValues::Numbered { arrays, places };
    Ok(Some((sources, values, most)))
}

/// Distinct values: of each the first place, and of each array the numbers of its rows.
struct Distinct {
    firsts: Vec<(u32, u32)>,
    numbers: Vec<Vec<(u32, u32)>>,
}

fn distinct(columns: &[(ValueColumn, Vec<u64>)], (share, shares): (usize, usize)) -> Distinct {
    let longest = columns.iter().map(|(_, hashes)| hashes.len()).max();
    let mut table: HashTable<(u64, u32)> = HashTable::with_capacity(longest.unwrap_or(0) / shares);
    let mut firsts: Vec<(u32, u32)> = Vec::new();
    let mut numbers = Vec::with_capacity(columns.len());
    for (at, (column, hashes)) in (0u32..).zip(columns) {
        let mut own = Vec::with_capacity(hashes.len() / shares + 1);
        for (row, hash) in (0u32..).zip(hashes) {
            // The table looks at the first and the last bits.
            if (hash >> 24) as usize % shares != share {
                continue;
            }
            let same = |(known, number): &(u64, u32)| {
                let (other, other_row) = firsts[*number as usize];
                let others = &columns[other as usize].0;
                *known == *hash && column.equals(row as usize, others, other_row as usize)
            };
            let number = match table.find(*hash, same) {
                Some((_, number)) => *number,
                None => {
                    let number = firsts.len() as u32;
                    firsts.push((at, row));
                    table.insert_unique(*hash, (*hash, number), |(hash, _)| *hash);
                    number
                }
            };
            own.push((row, number));
        }
        numbers.push(own);
    }
    Distinct { firsts, numbers }
}

impl Keys<'_> {
    /// Puts the bits of the rows' keys into the first columns, one for each word.
    pub(super) fn words_into(
        &self,
        segment: usize,
        rows: BlockRows<'_>,
        (columns, numbers): (&mut [Vec<u64>], &mut Vec<u32>),
    ) -> Result<()> {
        for column in columns.iter_mut().take(self.packed.words) {
            column.clear();
            column.resize(rows.count(), 0);
        }
        let sources = self.segments[segment].iter().flatten();
        for (source, packed) in sources.zip(&self.packed.keys) {
            let column = &mut columns[packed.word];
            let shift = packed.shift;
            match source {
                Source::Listed { key, bits } => {
                    key.known_into(rows, numbers)?;
                    for (word, number) in column.iter_mut().zip(numbers.iter()) {
                        *word |= bits[*number as usize] << shift;
                    }
                }
                Source::Whole { values, nulls } => {
                    let PackedValues::Whole { least, null, .. } = &packed.values else {
                        continue;
                    };
                    let values = longs(values.values(rows.range()), rows.picked);
                    let bits = |value: i64| value.wrapping_sub(*least) as u64;
                    match rows.nulls(*nulls).zip(*null) {
                        None => {
                            for (word, value) in column.iter_mut().zip(values) {
                                *word |= bits(value) << shift;
                            }
                        }
                        Some((nulls, null)) => {
                            for (at, (word, value)) in column.iter_mut().zip(values).enumerate() {
                                let bits = match nulls.contains(rows.row(at)) {
                                    true => null,
                                    false => bits(value),
                                };
                                *word |= bits << shift;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Default for PackedKeys {
    fn default() -> Self {
        Self {
            words: 1,
            used: 0,
            keys: Vec::new(),
        }
    }
}

impl PackedKeys {
    /// The next key, whose bits are `most` at most.
    fn push(&mut self, values: PackedValues, most: u64) {
        let bits = u64::BITS - most.leading_zeros();
        if self.used + bits > u64::BITS {
            self.words += 1;
            self.used = 0;
        }
        self.keys.push(PackedKey {
            word: self.words - 1,
            // Without bits nothing is shifted, past the end neither.
            shift: if bits == 0 { 0 } else { self.used },
            mask: most.checked_ilog2().map_or(0, |log| u64::MAX >> (63 - log)),
            values,
        });
        self.used += bits;
    }

    /// The values of a key for the groups, whose words are given; `None` = all.
    pub(in super::super) fn array(
        &self,
        key: usize,
        words: &[u64],
        groups: Option<&[u32]>,
    ) -> Result<ArrayRef> {
        let PackedKey {
            word,
            shift,
            mask,
            values,
        } = &self.keys[key];
        let bits = |group: usize| (words[group * self.words + word] >> shift) & mask;
        let count = groups.map_or(words.len() / self.words, <[u32]>::len);
        let group = |at: usize| groups.map_or(at, |groups| groups[at] as usize);
        let bits = (0..count).map(|at| bits(group(at)));
        match values {
            PackedValues::Whole {
                least,
                null,
                data_type,
            } => of_bits(
                bits.map(|bits| (Some(bits) != *null).then(|| least.wrapping_add(bits as i64))),
                data_type,
            ),
            PackedValues::Numbered { arrays, places } => {
                let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                let places = bits.map(|bits| {
                    let (array, row) = places[bits as usize];
                    (array as usize, row as usize)
                });
                Ok(interleave(&arrays, &places.collect::<Vec<_>>())?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn no_two_keys_share_bits_and_all_come_back() {
        let most = [9, 0, 200, 1 << 40, 0, u64::MAX, 0, 3, 1 << 61, 1];
        let mut packed = PackedKeys::default();
        for most in most {
            let values = PackedValues::Whole {
                least: 5,
                null: None,
                data_type: DataType::Int64,
            };
            packed.push(values, most);
        }
        assert_eq!(packed.words, 4);
        for all in [0, 1] {
            let mut words = vec![0; packed.words];
            for (key, most) in packed.keys.iter().zip(most) {
                assert_eq!(words[key.word] & (key.mask << key.shift), 0);
                words[key.word] |= (most * all) << key.shift;
            }
            for (at, most) in most.into_iter().enumerate() {
                let expected = 5_i64.wrapping_add((most * all) as i64);
                let found = packed.array(at, &words, None).unwrap();
                let found = found.as_primitive::<Int64Type>();
                assert_eq!(found, &Int64Array::from(vec![expected]), "{at}");
            }
        }
    }
}
