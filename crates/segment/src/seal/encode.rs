//! How each column is laid out: codes or values, and in how many bytes.

use arrow::datatypes::{ToByteSlice, i256};
use index::forward::{Width, pack, pack_codes, pack_framed};
use index::range::double_of_order_key;
use schemas::{DataType, Value};

use super::numbers::{self, Dictionary, Key, Keys};
use super::rows::Rows;
use super::scaled;
use super::sparse::{self, Exceptions};
use super::strings::{self, SortedStrings};
use super::{Range, ranges, texts};
use crate::container::{BufferRef, ColumnFooter, ContainerWriter, DictionaryFooter, Encoding};
use crate::mutable::dictionary::DictionaryReader;
use crate::mutable::multi::Multi;
use crate::mutable::{Column, Values};
use crate::sealed::forward::UUIDS_MAX;
use crate::{BLOCK_ROWS, SegmentError};

/// What the table wants of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Dictionary {
        sorted: bool,
    },
    /// Codes where they are narrower than numbers; of texts, unless these are long and hardly
    /// repeat.
    Smaller,
    Raw,
    /// Raw, and nothing at all where they count up by one.
    Offsets,
}

/// A dictionary of more than 256 numbers must serve this many rows for each of them.
const ROWS_PER_VALUE: usize = 16;

#[derive(Debug)]
pub(super) struct ColumnEncoder<'a, 'w> {
    writer: &'a mut ContainerWriter<'w>,
    choice: Choice,
}

impl<'a, 'w> ColumnEncoder<'a, 'w> {
    pub(super) fn new(writer: &'a mut ContainerWriter<'w>, choice: Choice) -> Self {
        Self { writer, choice }
    }

    pub(super) fn encode(
        &mut self,
        column: &Column,
        rows: &Rows,
    ) -> Result<(ColumnFooter, Range), SegmentError> {
        let mut footer = ColumnFooter {
            name: column.name.clone(),
            data_type: column.data_type,
            encoding: Encoding::Sequence { first: 0 },
            nulls: None,
            zones: None,
            code_zones: None,
            inverted: None,
            sorted: None,
        };
        let nulls = rows.nulls(column);
        footer.nulls = nulls.map(|words| self.add_numbers(&words));
        let range = match &column.values {
            Values::Dictionary { codes, dictionary } => {
                let codes = rows.collect(codes);
                match self.is_raw_text(column.data_type, &codes, dictionary) {
                    true => self.texts(&mut footer, &codes, dictionary)?,
                    false => self.strings(&mut footer, &strings::sort(&codes, dictionary))?,
                }
            }
            Values::Multi(multi) => self.multi(&mut footer, multi, rows)?,
            Values::F32(values) if !self.wants_codes() => {
                let values = rows.collect(values);
                let doubles = values.iter().map(|value| f64::from(*value));
                let range = self.float_zones(&mut footer, doubles);
                footer.encoding = self.floats(&values, |value| i64::from(value.to_bits()));
                range
            }
            Values::F64(values) if !self.wants_codes() => {
                let values = rows.collect(values);
                let range = self.float_zones(&mut footer, values.iter().copied());
                footer.encoding = self.doubles(&values);
                range
            }
            Values::I256(values) if !self.wants_codes() => {
                let values = rows.collect(values);
                footer.encoding = self.plain(&values);
                ranges::of_decimals(&values)
            }
            values => self.numbers(&mut footer, &numbers::keys(values, rows))?,
        };
        Ok((footer, range))
    }

    fn wants_codes(&self) -> bool {
        matches!(self.choice, Choice::Dictionary { .. })
    }

    fn strings(
        &mut self,
        footer: &mut ColumnFooter,
        sorted: &SortedStrings<'_>,
    ) -> Result<Range, SegmentError> {
        let values = self.string_values(footer.data_type, sorted)?;
        self.codes(footer, &sorted.codes, &sorted.doc_counts, values);
        Ok(string_range(footer.data_type, sorted))
    }

    fn string_values(
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
            });
        }
        let (offsets, bytes) = sorted.write()?;
        Ok(DictionaryBuffers {
            offsets: Some(self.add_numbers(&offsets)),
            values: self.writer.add(&bytes),
        })
    }

    /// Entries are coded as the rows of another column would be; the counts are of rows.
    fn multi(
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
        footer.encoding = Encoding::Multi {
            entries: codes.len() as u32,
            offsets: self.add_numbers(&offsets),
            dictionary: self.dictionary(&codes, &doc_counts, values),
        };
        Ok(range)
    }

    fn numbers(&mut self, footer: &mut ColumnFooter, keys: &Keys) -> Result<Range, SegmentError> {
        if self.wants_codes() {
            self.number_codes(footer, &Dictionary::of(keys));
        } else if let Keys::Narrow(keys) = keys {
            match self.smaller_dictionary(footer.data_type, keys) {
                Some(dictionary) => self.number_codes(footer, &dictionary),
                None => self.framed(footer, keys),
            }
        }
        Ok(number_range(footer.data_type, keys))
    }

    fn smaller_dictionary(&self, data_type: DataType, keys: &[i64]) -> Option<Dictionary> {
        if self.choice != Choice::Smaller {
            return None;
        }
        let (least, greatest) = numbers::bounds(keys)?;
        let wide = if data_type == DataType::Int { 4 } else { 8 };
        let raw = Width::of_spread(greatest.wrapping_sub(least) as u64).map_or(wide, Width::bytes);
        let limit = match raw {
            1 => return None,
            2 => 256,
            _ => (keys.len() / ROWS_PER_VALUE).clamp(256, 65_536),
        };
        let distinct = numbers::distinct(keys, limit)?;
        Some(Dictionary::of_narrow(keys, distinct))
    }

    fn number_codes(&mut self, footer: &mut ColumnFooter, dictionary: &Dictionary) {
        let values = self.number_values(footer.data_type, dictionary);
        self.codes(footer, &dictionary.codes, &dictionary.doc_counts, values);
    }

    fn number_values(&mut self, data_type: DataType, dictionary: &Dictionary) -> DictionaryBuffers {
        let values = pack_keys(data_type, &dictionary.values);
        DictionaryBuffers {
            values: self.writer.add(&values),
            offsets: None,
        }
    }

    fn codes(
        &mut self,
        footer: &mut ColumnFooter,
        codes: &[u32],
        doc_counts: &[u32],
        values: DictionaryBuffers,
    ) {
        if self.choice == (Choice::Dictionary { sorted: true }) {
            footer.sorted = Some(self.add_numbers(&index::sorted::starts(doc_counts)));
        }
        let zones = code_zones(codes, doc_counts.len());
        footer.code_zones = zones.map(|zones| self.add_numbers(&zones));
        footer.encoding = Encoding::Dictionary(self.dictionary(codes, doc_counts, values));
    }

    fn dictionary(
        &mut self,
        codes: &[u32],
        doc_counts: &[u32],
        DictionaryBuffers { values, offsets }: DictionaryBuffers,
    ) -> DictionaryFooter {
        let cardinality = doc_counts.len() as u32;
        let width = Width::of_codes(cardinality);
        DictionaryFooter {
            cardinality,
            width: width.bytes() as u8,
            codes: self.writer.add(&pack_codes(codes, width)),
            offsets,
            values,
            doc_counts: self.add_numbers(doc_counts),
        }
    }

    fn framed(&mut self, footer: &mut ColumnFooter, keys: &[i64]) {
        if self.choice == Choice::Offsets
            && let Some(first) = keys.first()
            && (*first..).zip(keys).all(|(wanted, key)| wanted == *key)
        {
            footer.encoding = Encoding::Sequence { first: *first };
            return;
        }
        footer.zones = Some(self.zones(keys));
        let (least, greatest) = match footer.data_type {
            DataType::Boolean => (0, 1),
            _ => numbers::bounds(keys).unwrap_or((0, 0)),
        };
        footer.encoding = match sparse::exceptions(keys, |key| *key) {
            Some(exceptions) if greatest.wrapping_sub(least) as u64 > u64::from(u16::MAX) => {
                let kept: Vec<i64> = exceptions.iter(keys).copied().collect();
                let values = self.layout(footer.data_type, (least, greatest), &kept);
                self.sparse(&exceptions, values)
            }
            _ => self.layout(footer.data_type, (least, greatest), keys),
        };
    }

    /// In the form that fits all values between `least` and `greatest`.
    fn layout(
        &mut self,
        data_type: DataType,
        (least, greatest): (i64, i64),
        keys: &[i64],
    ) -> Encoding {
        let width = Width::of_spread(greatest.wrapping_sub(least) as u64);
        match (width, data_type) {
            (Some(Width::Four) | None, DataType::Int) => {
                let values: Vec<i32> = keys.iter().map(|key| *key as i32).collect();
                self.plain(&values)
            }
            (Some(width), _) => Encoding::Frame {
                base: least,
                width: width.bytes() as u8,
                values: self.writer.add(&pack_framed(keys, least, width)),
            },
            (None, _) => self.plain(keys),
        }
    }

    fn doubles(&mut self, values: &[f64]) -> Encoding {
        let bits = |value: &f64| value.to_bits() as i64;
        let is_sparse = sparse::exceptions(values, bits).is_some();
        match scaled::scaled(values) {
            Some(scaled) if !is_sparse => Encoding::Scaled {
                decimals: scaled.decimals,
                base: scaled.least,
                width: scaled.width.bytes() as u8,
                values: self
                    .writer
                    .add(&pack_framed(&scaled.whole, scaled.least, scaled.width)),
            },
            _ => self.floats(values, bits),
        }
    }

    fn floats<T: arrow::datatypes::ArrowNativeType>(
        &mut self,
        values: &[T],
        bits: impl Fn(&T) -> i64,
    ) -> Encoding {
        let Some(exceptions) = sparse::exceptions(values, bits) else {
            return self.plain(values);
        };
        let kept: Vec<T> = exceptions.iter(values).copied().collect();
        let values = self.plain(&kept);
        self.sparse(&exceptions, values)
    }

    fn sparse(&mut self, exceptions: &Exceptions, values: Encoding) -> Encoding {
        Encoding::Sparse {
            default: exceptions.default,
            positions: self.add_numbers(&exceptions.positions),
            count: exceptions.positions.len() as u32,
            values: Box::new(values),
        }
    }

    fn is_raw_text(
        &self,
        data_type: DataType,
        codes: &[u32],
        dictionary: &DictionaryReader,
    ) -> bool {
        match self.choice {
            Choice::Raw => true,
            Choice::Smaller if data_type != DataType::Uuid => {
                texts::are_better_raw(codes, dictionary)
            }
            _ => false,
        }
    }

    /// Texts row by row, without a dictionary.
    fn texts(
        &mut self,
        footer: &mut ColumnFooter,
        codes: &[u32],
        dictionary: &DictionaryReader,
    ) -> Result<Range, SegmentError> {
        if footer.data_type == DataType::Uuid {
            let uuids = strings::uuids(codes.iter().map(|code| dictionary.value(*code)));
            footer.encoding = self.plain_bytes(&uuids);
        } else {
            let (starts, data) = texts::blocks(codes, dictionary)?;
            footer.encoding = Encoding::Blocks {
                starts: self.add_numbers(&starts),
                values: self.writer.add(&data),
            };
        }
        Ok(match footer.data_type {
            DataType::Bytes => None,
            _ => texts::bounds(codes, dictionary).and_then(ranges::of_strings),
        })
    }

    fn plain_bytes(&mut self, bytes: &[u8]) -> Encoding {
        Encoding::Plain {
            values: self.writer.add(bytes),
        }
    }

    fn zones(&mut self, keys: &[i64]) -> BufferRef {
        let blocks = keys.chunks(BLOCK_ROWS as usize);
        let pairs = blocks.filter_map(numbers::bounds);
        let pairs: Vec<i64> = pairs
            .flat_map(|(least, greatest)| [least, greatest])
            .collect();
        self.add_numbers(&pairs)
    }

    /// A NaN spoils its block: the zone says so by being NaN. Both zeros are in a zone that
    /// holds either, so that it serves every way to compare them.
    fn float_zones(
        &mut self,
        footer: &mut ColumnFooter,
        values: impl Iterator<Item = f64>,
    ) -> Range {
        let mut pairs: Vec<f64> = Vec::new();
        for (row, value) in values.enumerate() {
            if row.is_multiple_of(BLOCK_ROWS as usize) {
                pairs.extend([value, value]);
            }
            let at = pairs.len() - 2;
            let (least, greatest) = (pairs[at], pairs[at + 1]);
            if value.is_nan() || least.is_nan() {
                pairs[at] = f64::NAN;
                pairs[at + 1] = f64::NAN;
            } else {
                let (low, high) = if value == 0.0 {
                    (-0.0, 0.0)
                } else {
                    (value, value)
                };
                pairs[at] = total_least(least, low);
                pairs[at + 1] = total_greatest(greatest, high);
            }
        }
        footer.zones = Some(self.add_numbers(&pairs));
        ranges::of_doubles(&pairs)
    }

    fn plain<T: arrow::datatypes::ArrowNativeType>(&mut self, values: &[T]) -> Encoding {
        Encoding::Plain {
            values: self.add_numbers(values),
        }
    }

    /// In the layout of Arrow, which is that of memory here.
    fn add_numbers<T: arrow::datatypes::ArrowNativeType>(&mut self, values: &[T]) -> BufferRef {
        self.writer.add(values.to_byte_slice())
    }
}

/// Least and greatest code of every block, where they tell blocks apart.
fn code_zones(codes: &[u32], cardinality: usize) -> Option<Vec<u32>> {
    if codes.len() <= BLOCK_ROWS as usize {
        return None;
    }
    let mut pairs = Vec::with_capacity(codes.len() / BLOCK_ROWS as usize * 2 + 2);
    let mut spread = 0;
    for block in codes.chunks(BLOCK_ROWS as usize) {
        let (least, greatest) = block.iter().fold((u32::MAX, 0), |(least, greatest), code| {
            (least.min(*code), greatest.max(*code))
        });
        spread += (greatest - least) as usize + 1;
        pairs.extend([least, greatest]);
    }
    (spread <= cardinality * (pairs.len() / 2) / 2).then_some(pairs)
}

/// Where the values of a dictionary were put.
#[derive(Clone, Copy, Debug)]
struct DictionaryBuffers {
    values: BufferRef,
    /// Of byte strings of any length.
    offsets: Option<BufferRef>,
}

fn string_range(data_type: DataType, sorted: &SortedStrings<'_>) -> Range {
    match data_type {
        DataType::Bytes => None,
        _ => sorted.bounds().and_then(ranges::of_strings),
    }
}

fn number_range(data_type: DataType, keys: &Keys) -> Range {
    let keys = match keys {
        Keys::Narrow(keys) => keys,
        Keys::Wide(keys) => return ranges::of_decimals(keys),
    };
    let (least, greatest) = numbers::bounds(keys)?;
    match data_type {
        DataType::Int | DataType::Long | DataType::Timestamp => {
            Some((Value::Long(least), Value::Long(greatest)))
        }
        DataType::Float | DataType::Double => {
            ranges::of_doubles(&[least, greatest].map(double_of_order_key))
        }
        _ => None,
    }
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

fn total_least(one: f64, other: f64) -> f64 {
    if other.total_cmp(&one).is_lt() {
        other
    } else {
        one
    }
}

fn total_greatest(one: f64, other: f64) -> f64 {
    if other.total_cmp(&one).is_gt() {
        other
    } else {
        one
    }
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
