//! A consuming column with several values a row: the codes of all rows one after the other, and
//! where each row's end.
//!
//! Invariants: every row has at least one entry; a row without a value is null and holds the
//! default once, as in Pinot. Values are published before codes, codes before ends.

use std::borrow::Cow;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use schemas::DataType;

use super::column::views_of;
use super::dictionary::{DictionaryReader, DictionaryWriter, dictionary};
use super::nulls::NullBits;
use crate::column::{Entries, EntryCodes, EntryStarts};
use crate::prefix::{Prefix, PrefixWriter, place, prefix};

#[derive(Debug)]
pub(crate) struct Multi {
    /// Of each row, where its entries end; those of the row begin where the row's before end.
    pub(crate) ends: Prefix<u32>,
    pub(crate) codes: Prefix<u32>,
    pub(crate) dictionary: DictionaryReader,
}

impl Multi {
    pub(crate) fn start(&self, row: usize) -> usize {
        match row {
            0 => 0,
            row => self.ends.get(row - 1) as usize,
        }
    }

    /// `rows` lie within one chunk.
    pub(crate) fn entries(&self, rows: Range<usize>) -> Entries<'_> {
        let start = self.start(rows.start);
        let mut offsets = Vec::with_capacity(rows.len() + 1);
        offsets.push(0);
        let ends = self.ends.slice(rows);
        offsets.extend(ends.iter().map(|end| end - start as u32));
        let end = ends.last().map_or(start, |end| *end as usize);
        let is_whole = start == end || place(start).chunk == place(end - 1).chunk;
        Entries {
            starts: EntryStarts::Offsets(Cow::Owned(offsets)),
            codes: match is_whole {
                true => EntryCodes::U32(Cow::Borrowed(self.codes.slice(start..end))),
                false => EntryCodes::U32(Cow::Owned(self.gather(start..end))),
            },
        }
    }

    /// Codes that lie in more than one chunk.
    fn gather(&self, range: Range<usize>) -> Vec<u32> {
        let mut all = Vec::with_capacity(range.len());
        for piece in self.codes.pieces_of(range) {
            all.extend_from_slice(piece);
        }
        all
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.ends.len() + self.codes.len()) * 4 + self.dictionary.bytes()
    }
}

#[derive(Debug)]
pub(crate) struct MultiWriter {
    ends: PrefixWriter<u32>,
    codes: PrefixWriter<u32>,
    dictionary: DictionaryWriter,
    /// The default in the form of the dictionary.
    default: Vec<u8>,
    scratch: Vec<u32>,
}

pub(crate) fn multi(data_type: DataType, default: Vec<u8>) -> (MultiWriter, Multi) {
    let (end_writer, ends) = prefix();
    let (code_writer, codes) = prefix();
    let (dictionary_writer, dictionary) = dictionary(data_type);
    let writer = MultiWriter {
        ends: end_writer,
        codes: code_writer,
        dictionary: dictionary_writer,
        default,
        scratch: Vec::new(),
    };
    let reader = Multi {
        ends,
        codes,
        dictionary,
    };
    (writer, reader)
}

impl MultiWriter {
    pub(crate) fn has_room(&self, array: &dyn Array) -> bool {
        let list = array.as_list::<i32>();
        let entries = list.values();
        let count = entries.len().max(list.len());
        let fits = (self.codes.len() + count) as u64 <= u64::from(u32::MAX / 2);
        fits && match entries.data_type() {
            arrow::datatypes::DataType::Utf8View | arrow::datatypes::DataType::BinaryView => {
                let lengths = views_of(entries).iter().map(|view| *view as u32 as usize);
                self.dictionary.has_room(lengths.sum())
            }
            _ => self.dictionary.has_room(entries.len() * 32),
        }
    }

    /// Adds the rows of a list array, the first of which is row `first`.
    pub(crate) fn append(&mut self, array: &dyn Array, first: u32, nulls: &NullBits) {
        let list = array.as_list::<i32>();
        let offsets = list.value_offsets();
        let window = offsets[0] as usize..offsets[list.len()] as usize;
        let entries = list.values().slice(window.start, window.len());
        let codes = self.codes_of(&entries);
        self.scratch.clear();
        let base = self.codes.len() as u32;
        let mut ends = Vec::with_capacity(list.len());
        for row in 0..list.len() {
            let before = self.scratch.len();
            if list.is_valid(row) {
                let held =
                    offsets[row] as usize - window.start..offsets[row + 1] as usize - window.start;
                let held = held.filter(|at| entries.is_valid(*at));
                self.scratch.extend(held.map(|at| codes[at]));
            }
            if self.scratch.len() == before {
                nulls.set(first + row as u32);
                self.scratch.push(self.dictionary.intern(&self.default));
            }
            ends.push(base + self.scratch.len() as u32);
        }
        self.codes.extend(&self.scratch);
        self.ends.extend(&ends);
    }

    /// Of all entries; those of nulls mean nothing.
    fn codes_of(&mut self, entries: &ArrayRef) -> Vec<u32> {
        use arrow::datatypes::DataType as Type;
        match entries.data_type() {
            Type::Int32 => {
                self.intern_all(entries, entries.as_primitive::<Int32Type>().values(), |v| {
                    i64::from(*v).to_le_bytes()
                })
            }
            Type::Int64 => {
                self.intern_all(entries, entries.as_primitive::<Int64Type>().values(), |v| {
                    v.to_le_bytes()
                })
            }
            Type::Timestamp(..) => {
                let values = entries.as_primitive::<TimestampMillisecondType>().values();
                self.intern_all(entries, values, |v| v.to_le_bytes())
            }
            Type::Float32 => self.intern_all(
                entries,
                entries.as_primitive::<Float32Type>().values(),
                |v| v.to_le_bytes(),
            ),
            Type::Float64 => self.intern_all(
                entries,
                entries.as_primitive::<Float64Type>().values(),
                |v| v.to_le_bytes(),
            ),
            Type::Decimal256(..) => {
                let values = entries.as_primitive::<Decimal256Type>().values();
                self.intern_all(entries, values, |v| v.to_le_bytes())
            }
            Type::Boolean => {
                let values: Vec<bool> = entries.as_boolean().values().iter().collect();
                self.intern_all(entries, &values, |v| i64::from(*v).to_le_bytes())
            }
            _ => {
                let buffers = match entries.as_string_view_opt() {
                    Some(strings) => strings.data_buffers(),
                    None => entries.as_binary_view().data_buffers(),
                };
                self.dictionary.begin_array();
                let views = views_of(entries).iter().enumerate();
                let code = |(at, view): (usize, &u128)| match entries.is_valid(at) {
                    true => self.dictionary.intern_view(*view, buffers),
                    false => 0,
                };
                views.map(code).collect()
            }
        }
    }

    fn intern_all<T, const N: usize>(
        &mut self,
        entries: &ArrayRef,
        values: &[T],
        bytes: impl Fn(&T) -> [u8; N],
    ) -> Vec<u32> {
        let code = |(at, value): (usize, &T)| match entries.is_valid(at) {
            true => self.dictionary.intern(&bytes(value)),
            false => 0,
        };
        values.iter().enumerate().map(code).collect()
    }
}
