//! The arrays of a sealed column, as the file has them: slices of the map, nothing is copied.
//!
//! They were checked when the column was loaded: codes are below the cardinality, strings are
//! UTF-8, and there is one element for each row.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BinaryViewArray, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::i256;
use bytes::Bytes;
use index::dictionary::BytesDictionary;
use index::forward::Width;
use index::forward::counts::DocCounts;
use index::forward::entries::BLOCK;
use index::sketch::Raise;
use index::sorted::DocRanges;
use schemas::types::{UUID_TEXT_BYTES, uuid_text};

use super::hashes::hashes;
use super::numbers::Numbers;
use super::sparse::SparseColumn;
use super::steps::StepsColumn;
use super::texts::TextColumn;
use crate::column::{CodeRoom, Codes, Entries, EntryCodes, EntryStarts, sum_of_entries};
use crate::raw::{Bits, RawValues, Zone};

#[derive(Debug)]
pub(crate) enum Forward {
    Dictionary(DictionaryColumn),
    Multi(MultiColumn),
    U8(i64, ScalarBuffer<u8>),
    U16(i64, ScalarBuffer<u16>),
    U32(i64, ScalarBuffer<u32>),
    Bits(i64, ScalarBuffer<u64>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    Scaled {
        divisor: f64,
        base: f64,
        stored: CodesBuffer,
    },
    I256(ScalarBuffer<i256>),
    Sequence(i64),
    Steps(StepsColumn),
    Sparse(SparseColumn),
    Texts(TextColumn),
}

impl Forward {
    /// Of numbers, one a row.
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
            Self::Bits(base, words) => RawValues::Bits {
                base: *base,
                bits: Bits::new(words, rows),
            },
            Self::I32(values) => RawValues::I32(&values[rows]),
            Self::I64(values) => RawValues::I64(&values[rows]),
            Self::F32(values) => RawValues::F32(&values[rows]),
            Self::F64(values) => RawValues::F64(&values[rows]),
            Self::Scaled {
                divisor,
                base,
                stored,
            } => RawValues::Scaled {
                divisor: *divisor,
                base: *base,
                stored: stored.slice(rows),
            },
            Self::I256(values) => RawValues::I256(&values[rows]),
            Self::Sequence(first) => RawValues::Sequence {
                first: first.wrapping_add(rows.start as i64),
                count: rows.len(),
            },
            Self::Steps(steps) => RawValues::I64(steps.slice(rows)),
            Self::Sparse(sparse) => sparse.slice(rows),
            Self::Dictionary(_) | Self::Multi(_) | Self::Texts(_) => {
                unreachable!("codes and texts are read in their own ways")
            }
        }
    }
}

/// Decimals of doubles that are stored as whole numbers.
pub(crate) const DECIMALS_MAX: u8 = 6;

/// Whole numbers below it are exact as doubles, and so is the sum of two.
pub(crate) const WHOLE_MAX: i64 = 1 << 52;

/// Exact: it is below 2^53.
pub(crate) fn divisor(decimals: u8) -> f64 {
    10_f64.powi(i32::from(decimals))
}

#[derive(Debug)]
pub(crate) enum CodesBuffer {
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
}

impl CodesBuffer {
    pub(crate) fn all(&self) -> Codes<'_> {
        match self {
            Self::U8(codes) => Codes::U8(codes),
            Self::U16(codes) => Codes::U16(codes),
            Self::U32(codes) => Codes::U32(codes),
        }
    }

    pub(crate) fn slice(&self, rows: Range<usize>) -> Codes<'_> {
        match self {
            Self::U8(codes) => Codes::U8(&codes[rows]),
            Self::U16(codes) => Codes::U16(&codes[rows]),
            Self::U32(codes) => Codes::U32(&codes[rows]),
        }
    }
}

/// The code of each row.
#[derive(Debug)]
pub(crate) enum RowCodes {
    Stored(CodesBuffer),
    /// Three bytes each.
    Triples(Bytes),
    /// Rows are in the order of codes: where those of each begin, and the width of codes.
    Sorted(Width, ScalarBuffer<u32>),
}

impl RowCodes {
    pub(crate) fn slice<'r>(&'r self, rows: Range<usize>, room: &'r mut CodeRoom) -> Codes<'r> {
        match self {
            Self::Stored(codes) => codes.slice(rows),
            Self::Triples(codes) => {
                kernels::widen_triples(&codes[rows.start * 3..rows.end * 3], &mut room.words);
                Codes::U32(&room.words)
            }
            Self::Sorted(Width::One, starts) => {
                Codes::U8(fill(starts, rows, &mut room.bytes, |code| code as u8))
            }
            Self::Sorted(Width::Two, starts) => {
                Codes::U16(fill(starts, rows, &mut room.shorts, |code| code as u16))
            }
            Self::Sorted(Width::Four, starts) => {
                Codes::U32(fill(starts, rows, &mut room.words, |code| code))
            }
        }
    }
}

fn fill<'r, T: Copy>(
    starts: &[u32],
    rows: Range<usize>,
    room: &'r mut Vec<T>,
    of: impl Fn(u32) -> T,
) -> &'r [T] {
    room.clear();
    room.reserve(rows.len());
    let rows = rows.start as u32..rows.end as u32;
    DocRanges::new(starts).runs(rows, |code, count| {
        room.resize(room.len() + count, of(code));
    });
    room
}

#[derive(Debug)]
pub(crate) struct DictionaryColumn {
    pub(crate) codes: RowCodes,
    pub(crate) dictionary: Dictionary,
}

/// Distinct values, ascending, and how many rows hold each.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) cardinality: u32,
    pub(crate) doc_counts: CountsBuffer,
    pub(super) values: DictionaryValues,
    pub(super) array: OnceLock<ArrayRef>,
    /// Of each value; `None`: these values have no hash.
    pub(super) raises: OnceLock<Option<Box<[Raise]>>>,
}

#[derive(Debug)]
pub(crate) enum CountsBuffer {
    Wide(ScalarBuffer<u32>),
    Narrow(ScalarBuffer<u8>, ScalarBuffer<u32>),
}

impl CountsBuffer {
    pub(crate) fn all(&self) -> DocCounts<'_> {
        match self {
            Self::Wide(counts) => DocCounts::wide(counts),
            Self::Narrow(counts, more) => DocCounts::narrow(counts, more),
        }
    }
}

#[derive(Debug)]
pub(super) enum DictionaryValues {
    Numbers(ArrayRef),
    /// Narrower than their type.
    Framed(Numbers),
    Strings(ScalarBuffer<u32>, Buffer),
    Bytes(ScalarBuffer<u32>, Buffer),
    /// 16 bytes each.
    Uuids(Buffer),
}

/// Codes are those of all entries, one row after the other.
#[derive(Debug)]
pub(crate) struct MultiColumn {
    pub(super) starts: StartsBuffer,
    pub(super) codes: CodesBuffer,
    pub(crate) dictionary: Dictionary,
}

#[derive(Debug)]
pub(super) enum StartsBuffer {
    /// Where the entries of each row begin, and the end of the last.
    Offsets(ScalarBuffer<u32>),
    /// The entries before each block, and of each row.
    Counts(ScalarBuffer<u32>, ScalarBuffer<u8>),
}

impl MultiColumn {
    /// `rows` lie within one block.
    pub(crate) fn entries(&self, rows: Range<usize>) -> Entries<'_> {
        let starts = match &self.starts {
            StartsBuffer::Offsets(offsets) => {
                EntryStarts::Offsets(Cow::Borrowed(&offsets[rows.start..=rows.end]))
            }
            StartsBuffer::Counts(before, counts) => {
                let block = rows.start / BLOCK;
                let skipped = sum_of_entries(&counts[block * BLOCK..rows.start]);
                EntryStarts::Counts {
                    first: before[block] + skipped as u32,
                    counts: &counts[rows],
                }
            }
        };
        Entries {
            starts,
            codes: EntryCodes::Sealed(self.codes.all()),
        }
    }
}

impl Dictionary {
    pub(crate) fn bytes(&self) -> Option<BytesDictionary<'_>> {
        match &self.values {
            DictionaryValues::Strings(offsets, bytes) | DictionaryValues::Bytes(offsets, bytes) => {
                Some(BytesDictionary::new(offsets, bytes))
            }
            DictionaryValues::Numbers(_)
            | DictionaryValues::Framed(_)
            | DictionaryValues::Uuids(_) => None,
        }
    }

    /// What each value does to the registers of a sketch, made once and kept: 4 bytes a value.
    pub(crate) fn raises(&self) -> Option<&[Raise]> {
        let raises = self.raises.get_or_init(|| {
            let hashes = hashes(&self.array())?;
            Some(hashes.into_iter().map(Raise::of).collect())
        });
        raises.as_deref()
    }

    pub(crate) fn array(&self) -> ArrayRef {
        Arc::clone(self.array.get_or_init(|| match &self.values {
            DictionaryValues::Numbers(array) => Arc::clone(array),
            DictionaryValues::Framed(numbers) => numbers.array(),
            // SAFETY: the views name ranges of the one buffer, and `load` has checked that each
            // of these is UTF-8.
            DictionaryValues::Strings(offsets, bytes) => Arc::new(unsafe {
                StringViewArray::new_unchecked(views(offsets, bytes), [bytes.clone()], None)
            }),
            // SAFETY: as above, without UTF-8.
            DictionaryValues::Bytes(offsets, bytes) => Arc::new(unsafe {
                BinaryViewArray::new_unchecked(views(offsets, bytes), [bytes.clone()], None)
            }),
            DictionaryValues::Uuids(bytes) => uuid_array(bytes),
        }))
    }
}

fn views(offsets: &[u32], bytes: &[u8]) -> ScalarBuffer<u128> {
    let dictionary = BytesDictionary::new(offsets, bytes);
    (0..dictionary.cardinality())
        .map(|code| make_view(dictionary.get(code), 0, offsets[code as usize]))
        .collect()
}

/// Views address their texts by 31 bits.
pub(crate) const UUIDS_MAX: usize = i32::MAX as usize / UUID_TEXT_BYTES;

/// The texts of UUIDs of 16 bytes each, at most [`UUIDS_MAX`].
pub(crate) fn uuid_array(bytes: &[u8]) -> ArrayRef {
    let (uuids, _) = bytes.as_chunks::<16>();
    assert!(
        uuids.len() <= UUIDS_MAX,
        "{} texts are too many",
        uuids.len()
    );
    let mut texts = Vec::with_capacity(uuids.len() * UUID_TEXT_BYTES);
    uuids
        .iter()
        .for_each(|uuid| texts.extend_from_slice(&uuid_text(*uuid)));
    let texts = Buffer::from(texts);
    let view = |at: usize| {
        let start = at * UUID_TEXT_BYTES;
        make_view(&texts[start..start + UUID_TEXT_BYTES], 0, start as u32)
    };
    let views: ScalarBuffer<u128> = (0..uuids.len()).map(view).collect();
    // SAFETY: the views name ranges of the one buffer, each of which is a text in ASCII.
    Arc::new(unsafe { StringViewArray::new_unchecked(views, [texts], None) })
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
