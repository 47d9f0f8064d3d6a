//! How each column is laid out: codes or values, and in how many bytes.

use arrow::datatypes::ToByteSlice;
use index::forward::steps::pack_steps;
use index::forward::{Width, pack_bits, pack_framed};
use index::range::double_of_order_key;
use schemas::{DataType, Value};

use super::numbers::{self, Dictionary, Keys};
use super::rows::Rows;
use super::scaled;
use super::sparse::{self, Exceptions};
use super::strings::{self, SortedStrings};
use super::{Range, ranges, texts};
use crate::container::{BufferRef, ColumnFooter, ContainerWriter, Encoding};
use crate::mutable::dictionary::DictionaryReader;
use crate::mutable::{Column, Values};
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
    pub(super) writer: &'a mut ContainerWriter<'w>,
    pub(super) choice: Choice,
    /// Dictionaries of texts are packed where that is smaller.
    pub(super) shares_prefixes: bool,
}

impl<'a, 'w> ColumnEncoder<'a, 'w> {
    pub(super) fn new(
        writer: &'a mut ContainerWriter<'w>,
        choice: Choice,
        shares_prefixes: bool,
    ) -> Self {
        Self {
            writer,
            choice,
            shares_prefixes,
        }
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

    fn framed(&mut self, footer: &mut ColumnFooter, keys: &[i64]) {
        if self.choice == Choice::Offsets
            && let Some(encoding) = self.offsets(footer.data_type, keys)
        {
            footer.encoding = encoding;
            return;
        }
        footer.zones = Some(self.zones(keys));
        let ends = numbers::bounds(keys).unwrap_or((0, 0));
        let (least, greatest) = match footer.data_type {
            DataType::Boolean => (0, 1),
            _ => ends,
        };
        let spread = greatest.wrapping_sub(least) as u64;
        let is_constant = ends.0 == ends.1;
        footer.encoding = match sparse::exceptions(keys, |key| *key) {
            Some(exceptions) if is_constant || spread > u64::from(u16::MAX) => {
                let kept: Vec<i64> = exceptions.iter(keys).copied().collect();
                let values = self.layout(footer.data_type, (least, greatest), &kept);
                self.sparse(&exceptions, values)
            }
            _ if spread == 1 => Encoding::Bits {
                base: least,
                values: self.add_numbers(&pack_bits(keys, least)),
            },
            _ => self.layout(footer.data_type, (least, greatest), keys),
        };
    }

    /// Nothing where they count up by one, or the steps between them where these take less.
    fn offsets(&mut self, data_type: DataType, keys: &[i64]) -> Option<Encoding> {
        let first = *keys.first()?;
        if (first..).zip(keys).all(|(wanted, key)| wanted == *key) {
            return Some(Encoding::Sequence { first });
        }
        let (least, greatest) = numbers::bounds(keys)?;
        let wide = Width::of_spread(greatest.wrapping_sub(least) as u64);
        let (starts, steps) = pack_steps(keys);
        let taken = steps.len() + starts.len() * 8;
        let is_smaller = taken < keys.len() * wide.map_or(8, Width::bytes);
        (is_smaller && data_type == DataType::Long).then(|| Encoding::Steps {
            starts: self.add_numbers(&starts),
            values: self.writer.add(&steps),
        })
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
    pub(super) fn add_numbers<T: arrow::datatypes::ArrowNativeType>(
        &mut self,
        values: &[T],
    ) -> BufferRef {
        self.writer.add(values.to_byte_slice())
    }
}

pub(super) fn string_range(data_type: DataType, sorted: &SortedStrings<'_>) -> Range {
    match data_type {
        DataType::Bytes => None,
        _ => sorted.bounds().and_then(ranges::of_strings),
    }
}

pub(super) fn number_range(data_type: DataType, keys: &Keys) -> Range {
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
