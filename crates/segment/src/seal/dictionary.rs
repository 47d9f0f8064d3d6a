//! Columns with a dictionary: its values, how many rows hold each, and codes.

use arrow::datatypes::i256;
use index::dictionary::prefixed;
use index::forward::counts::narrowed;
use index::forward::entries::counted;
use index::forward::{TRIPLE, Width, pack, pack_codes, pack_framed, pack_triples};
use index::range::double_of_order_key;
use schemas::DataType;

use super::Range;
use super::encode::{Choice, ColumnEncoder, number_range, string_range};
use super::numbers::{self, Dictionary, Key};
use super::rows::Rows;
use super::strings::{self, SortedStrings};
use crate::container::{
    BufferRef, ColumnFooter, DictionaryFooter, Encoding, EntryCounts, ValueFrame,
};
use crate::mutable::multi::Multi;
use crate::sealed::forward::UUIDS_MAX;
use crate::{BLOCK_ROWS, SegmentError};

/// Codes of three bytes are widened a block at a time. Where values have fewer rows than these,
/// they are looked up, and a block is read for one or two of its rows: such codes stay as they
/// are read.
const ROWS_PER_VALUE: usize = 4;

/// Where the values of a dictionary were put.
#[derive(Clone, Copy, Debug)]
pub(super) struct DictionaryBuffers {
    values: BufferRef,
    /// Of byte strings of any length.
    offsets: Option<BufferRef>,
    /// Of whole numbers that are narrower than their type.
    frame: Option<ValueFrame>,
    /// Bytes of strings that are packed.
    prefixed: Option<u64>,
}

impl ColumnEncoder<'_, '_> {
    pub(super) fn string_values(
        &mut self,
        data_type: DataType,
        sorted: &SortedStrings<'_>,
    ) -> Result<DictionaryBuffers, SegmentError> {
        if data_type == DataType::Uuid {
            if sorted.doc_counts.len() > UUIDS_MAX {
                return Err(SegmentError::TooLarge(index::IndexTooLarge {
                    what: "a dictionary of UUIDs",
                    limit: UUIDS_MAX as u64 * 16,
                }));
            }
            let values = self.writer.add(&sorted.uuids());
            return Ok(DictionaryBuffers {
                values,
                offsets: None,
                frame: None,
                prefixed: None,
            });
        }
        let (offsets, bytes) = sorted.write()?;
        let packed = self
            .shares_prefixes
            .then(|| prefixed::pack(&offsets, &bytes));
        if let Some(packed) = packed.flatten() {
            return Ok(DictionaryBuffers {
                values: self.writer.add(&packed),
                offsets: None,
                frame: None,
                prefixed: Some(bytes.len() as u64),
            });
        }
        Ok(DictionaryBuffers {
            offsets: Some(self.add_numbers(&offsets)),
            values: self.writer.add(&bytes),
            frame: None,
            prefixed: None,
        })
    }

    /// Entries are coded as the rows of another column would be; the counts are of rows.
    pub(super) fn multi(
        &mut self,
        footer: &mut ColumnFooter,
        multi: &Multi,
        rows: &Rows,
    ) -> Result<Range, SegmentError> {
        let (offsets, entries) = rows.entries(multi);
        let data_type = footer.data_type;
        let (codes, values, cardinality, range) = match data_type {
            DataType::String | DataType::Json | DataType::Bytes | DataType::Uuid => {
                let sorted = strings::sort(&entries, &multi.dictionary);
                let values = self.string_values(data_type, &sorted)?;
                let range = string_range(data_type, &sorted);
                let cardinality = sorted.doc_counts.len();
                (sorted.codes, values, cardinality, range)
            }
            _ => {
                let keys = numbers::keys_of_entries(data_type, &entries, &multi.dictionary);
                let dictionary = Dictionary::of(&keys);
                let values = self.number_values(data_type, &dictionary);
                let cardinality = dictionary.values.len();
                (
                    dictionary.codes,
                    values,
                    cardinality,
                    number_range(data_type, &keys),
                )
            }
        };
        let doc_counts = doc_counts(&offsets, &codes, cardinality);
        let counts = counted(&offsets).map(|(before, counts)| EntryCounts {
            before: self.add_numbers(&before),
            counts: self.writer.add(&counts),
        });
        let mut dictionary = self.dictionary(&doc_counts, values);
        dictionary.codes = Some(self.packed(&codes, &dictionary));
        footer.encoding = Encoding::Multi {
            entries: codes.len() as u32,
            offsets: match counts {
                Some(_) => None,
                None => Some(self.add_numbers(&offsets)),
            },
            counts,
            dictionary,
        };
        Ok(range)
    }

    pub(super) fn number_codes(&mut self, footer: &mut ColumnFooter, dictionary: &Dictionary) {
        let values = self.number_values(footer.data_type, dictionary);
        self.codes(footer, &dictionary.codes, &dictionary.doc_counts, values);
    }

    fn number_values(&mut self, data_type: DataType, dictionary: &Dictionary) -> DictionaryBuffers {
        let framed = framed(data_type, &dictionary.values);
        let (values, frame) = match framed {
            Some((values, frame)) => (values, Some(frame)),
            None => (pack_keys(data_type, &dictionary.values), None),
        };
        DictionaryBuffers {
            values: self.writer.add(&values),
            offsets: None,
            frame,
            prefixed: None,
        }
    }

    /// Of one value a row. Codes in order are not stored, but where the rows of each begin.
    pub(super) fn codes(
        &mut self,
        footer: &mut ColumnFooter,
        codes: &[u32],
        doc_counts: &[u32],
        values: DictionaryBuffers,
    ) {
        let in_order = codes.is_sorted();
        debug_assert!(in_order || self.choice != (Choice::Dictionary { sorted: true }));
        if in_order {
            footer.sorted = Some(self.add_numbers(&index::sorted::starts(doc_counts)));
        }
        let zones = code_zones(codes);
        let tell_apart = in_order || tell_apart(&zones, doc_counts.len());
        footer.code_zones = tell_apart.then(|| self.add_numbers(&zones));
        let stored = (!in_order).then_some(codes);
        let mut dictionary = self.dictionary(doc_counts, values);
        let triples = stored
            .filter(|codes| doc_counts.len() * ROWS_PER_VALUE <= codes.len())
            .and_then(|codes| pack_triples(codes, dictionary.cardinality));
        if let Some(triples) = triples {
            dictionary.width = TRIPLE;
            dictionary.codes = Some(self.writer.add(&triples));
        } else if let Some(codes) = stored {
            dictionary.codes = Some(self.packed(codes, &dictionary));
        }
        footer.encoding = Encoding::Dictionary(dictionary);
    }

    fn packed(&mut self, codes: &[u32], dictionary: &DictionaryFooter) -> BufferRef {
        let width = Width::of_codes(dictionary.cardinality);
        self.writer.add(&pack_codes(codes, width))
    }

    /// Without codes.
    fn dictionary(
        &mut self,
        doc_counts: &[u32],
        DictionaryBuffers {
            values,
            offsets,
            frame,
            prefixed,
        }: DictionaryBuffers,
    ) -> DictionaryFooter {
        let cardinality = doc_counts.len() as u32;
        let width = Width::of_codes(cardinality);
        let (doc_counts, more_counts) = match narrowed(doc_counts) {
            Some((few, more)) => (self.writer.add(&few), Some(self.add_numbers(&more))),
            None => (self.add_numbers(doc_counts), None),
        };
        DictionaryFooter {
            cardinality,
            width: width.bytes() as u8,
            codes: None,
            offsets,
            values,
            prefixed,
            frame,
            doc_counts,
            more_counts,
        }
    }
}

/// Least and greatest code of every block.
fn code_zones(codes: &[u32]) -> Vec<u32> {
    let ends = |block: &[u32]| {
        block.iter().fold((u32::MAX, 0), |(least, greatest), code| {
            (least.min(*code), greatest.max(*code))
        })
    };
    let blocks = codes.chunks(BLOCK_ROWS as usize).map(ends);
    blocks
        .flat_map(|(least, greatest)| [least, greatest])
        .collect()
}

/// Whether zones are worth it: they tell several blocks apart.
fn tell_apart(zones: &[u32], cardinality: usize) -> bool {
    let (pairs, _) = zones.as_chunks::<2>();
    let spread: usize = pairs
        .iter()
        .map(|[least, greatest]| (greatest - least) as usize + 1)
        .sum();
    pairs.len() > 1 && spread <= cardinality * pairs.len() / 2
}

/// Rows that hold each code, once for each row however often it is there.
fn doc_counts(offsets: &[u32], codes: &[u32], cardinality: usize) -> Vec<u32> {
    let mut counts = vec![0; cardinality];
    let mut last_row = vec![u32::MAX; cardinality];
    for (row, ends) in (0..).zip(offsets.windows(2)) {
        for code in &codes[ends[0] as usize..ends[1] as usize] {
            let code = *code as usize;
            counts[code] += u32::from(last_row[code] != row);
            last_row[code] = row;
        }
    }
    counts
}

/// Whole numbers by their difference from the least, where that is narrower.
fn framed(data_type: DataType, keys: &[Key]) -> Option<(Vec<u8>, ValueFrame)> {
    let own = match data_type {
        DataType::Int => 4,
        DataType::Long | DataType::Timestamp => 8,
        _ => return None,
    };
    let narrow = keys.iter().map(|key| match key {
        Key::Narrow(key) => Some(*key),
        Key::Wide(_) => None,
    });
    let narrow = narrow.collect::<Option<Vec<i64>>>()?;
    let (base, greatest) = numbers::bounds(&narrow)?;
    let width = Width::of_spread(greatest.wrapping_sub(base) as u64)?;
    let frame = ValueFrame {
        base,
        width: width.bytes() as u8,
    };
    (width.bytes() < own).then(|| (pack_framed(&narrow, base, width), frame))
}

/// The values of a dictionary in the form of their type.
fn pack_keys(data_type: DataType, keys: &[Key]) -> Vec<u8> {
    let narrow = keys.iter().map(|key| match key {
        Key::Narrow(key) => *key,
        Key::Wide(key) => key.as_i128() as i64,
    });
    match data_type {
        DataType::Boolean => pack(narrow.map(|key| [key as u8])),
        DataType::Int => pack(narrow.map(|key| (key as i32).to_le_bytes())),
        DataType::Float => pack(narrow.map(|key| (double_of_order_key(key) as f32).to_le_bytes())),
        DataType::Double => pack(narrow.map(|key| double_of_order_key(key).to_le_bytes())),
        DataType::BigDecimal => pack(keys.iter().map(|key| match key {
            Key::Wide(key) => key.to_le_bytes(),
            Key::Narrow(key) => i256::from(*key).to_le_bytes(),
        })),
        _ => pack(narrow.map(i64::to_le_bytes)),
    }
}
