//! The arrays of a sealed column, as the file has them: slices of the map, nothing is copied.
//!
//! They were checked when the column was loaded: codes are below the cardinality, strings are
//! UTF-8, and there is one element for each row.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BinaryViewArray, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::i256;
use index::dictionary::BytesDictionary;

use crate::column::{Codes, RawValues, Zone};

#[derive(Debug)]
pub(crate) enum Forward {
    Dictionary(DictionaryColumn),
    U8(i64, ScalarBuffer<u8>),
    U16(i64, ScalarBuffer<u16>),
    U32(i64, ScalarBuffer<u32>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    I256(ScalarBuffer<i256>),
    Sequence(i64),
}

impl Forward {
    /// Of all but dictionaries.
    pub(crate) fn slice(&self, rows: Range<usize>) -> RawValues<'_> {
        match self {
            Self::U8(base, values) => RawValues::U8 {
                base: *base,
                values: &values[rows],
            },
            Self::U16(base, values) => RawValues::U16 {
                base: *base,
                values: &values[rows],
            },
            Self::U32(base, values) => RawValues::U32 {
                base: *base,
                values: &values[rows],
            },
            Self::I32(values) => RawValues::I32(&values[rows]),
            Self::I64(values) => RawValues::I64(&values[rows]),
            Self::F32(values) => RawValues::F32(&values[rows]),
            Self::F64(values) => RawValues::F64(&values[rows]),
            Self::I256(values) => RawValues::I256(&values[rows]),
            Self::Sequence(first) => RawValues::Sequence {
                first: first + rows.start as i64,
                count: rows.len(),
            },
            Self::Dictionary(_) => unreachable!("dictionaries are read by their codes"),
        }
    }
}

#[derive(Debug)]
pub(crate) enum CodesBuffer {
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
}

impl CodesBuffer {
    pub(crate) fn slice(&self, rows: Range<usize>) -> Codes<'_> {
        match self {
            Self::U8(codes) => Codes::U8(&codes[rows]),
            Self::U16(codes) => Codes::U16(&codes[rows]),
            Self::U32(codes) => Codes::U32(&codes[rows]),
        }
    }
}

#[derive(Debug)]
pub(crate) struct DictionaryColumn {
    pub(crate) cardinality: u32,
    pub(crate) codes: CodesBuffer,
    pub(crate) doc_counts: ScalarBuffer<u32>,
    pub(super) values: DictionaryValues,
    pub(super) array: OnceLock<ArrayRef>,
}

#[derive(Debug)]
pub(super) enum DictionaryValues {
    Numbers(ArrayRef),
    Strings(ScalarBuffer<u32>, Buffer),
    Bytes(ScalarBuffer<u32>, Buffer),
}

impl DictionaryColumn {
    pub(crate) fn bytes(&self) -> Option<BytesDictionary<'_>> {
        match &self.values {
            DictionaryValues::Strings(offsets, bytes) | DictionaryValues::Bytes(offsets, bytes) => {
                Some(BytesDictionary::new(offsets, bytes))
            }
            DictionaryValues::Numbers(_) => None,
        }
    }

    pub(crate) fn array(&self) -> ArrayRef {
        Arc::clone(self.array.get_or_init(|| match &self.values {
            DictionaryValues::Numbers(array) => Arc::clone(array),
            // SAFETY: the views name ranges of the one buffer, and `load` has checked that each
            // of these is UTF-8.
            DictionaryValues::Strings(offsets, bytes) => Arc::new(unsafe {
                StringViewArray::new_unchecked(views(offsets, bytes), [bytes.clone()], None)
            }),
            // SAFETY: as above, without UTF-8.
            DictionaryValues::Bytes(offsets, bytes) => Arc::new(unsafe {
                BinaryViewArray::new_unchecked(views(offsets, bytes), [bytes.clone()], None)
            }),
        }))
    }
}

fn views(offsets: &[u32], bytes: &[u8]) -> ScalarBuffer<u128> {
    let dictionary = BytesDictionary::new(offsets, bytes);
    (0..dictionary.cardinality())
        .map(|code| make_view(dictionary.get(code), 0, offsets[code as usize]))
        .collect()
}

#[derive(Debug)]
pub(crate) enum Zones {
    I64(ScalarBuffer<i64>),
    F64(ScalarBuffer<f64>),
}

impl Zones {
    pub(crate) fn get(&self, block: u32) -> Option<Zone> {
        let at = block as usize * 2;
        match self {
            Self::I64(pairs) => Some(Zone::I64 {
                min: *pairs.get(at)?,
                max: *pairs.get(at + 1)?,
            }),
            Self::F64(pairs) => {
                let (min, max) = (*pairs.get(at)?, *pairs.get(at + 1)?);
                (!min.is_nan() && !max.is_nan()).then_some(Zone::F64 { min, max })
            }
        }
    }
}
