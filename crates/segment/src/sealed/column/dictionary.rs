//! Columns with a dictionary: its values, how many rows hold each, and codes.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal256Array, Float32Array, Float64Array, Int32Array, Int64Array,
    TimestampMillisecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use bytes::Bytes;
use index::dictionary::{BytesDictionary, prefixed};
use index::forward::{TRIPLE, check_codes};
use schemas::DataType;
use schemas::arrow::arrow_type;

use super::Column;
use crate::column::Codes;
use crate::container::{BufferRef, DictionaryFooter, Encoding, EntryCounts, ValueFrame};
use crate::sealed::forward::{
    CodesBuffer, CountsBuffer, Dictionary, DictionaryColumn, DictionaryValues, MultiColumn,
    RowCodes, StartsBuffer, UUIDS_MAX,
};
use crate::sealed::numbers::Numbers;
use crate::{BLOCK_ROWS, SegmentError};

impl Column {
    /// One value a row.
    pub(super) fn read_coded(
        &self,
        footer: &DictionaryFooter,
        sorted_starts: Option<&ScalarBuffer<u32>>,
    ) -> Result<DictionaryColumn, SegmentError> {
        let codes = match (&footer.codes, sorted_starts) {
            (Some(codes), _) if footer.width == TRIPLE => {
                RowCodes::Triples(self.read_triples(footer, codes)?)
            }
            (Some(codes), _) => {
                RowCodes::Stored(self.read_codes(footer, codes, self.rows as usize)?)
            }
            // Zones bound the rows by the length of the file.
            (None, Some(starts)) if self.footer.code_zones.is_some() => {
                RowCodes::Sorted(self.width(footer.width)?, starts.clone())
            }
            (None, _) => {
                let what = format!("{} are neither stored nor in order", self.part("codes"));
                return Err(self.container.corrupt(what));
            }
        };
        Ok(DictionaryColumn {
            codes,
            dictionary: self.read_dictionary(footer)?,
        })
    }

    /// Several values a row.
    pub(super) fn read_multi(
        &self,
        entries: u32,
        starts: (Option<&BufferRef>, Option<&EntryCounts>),
        footer: &DictionaryFooter,
    ) -> Result<MultiColumn, SegmentError> {
        let Some(codes) = &footer.codes else {
            let what = format!("{} are not there", self.part("codes"));
            return Err(self.container.corrupt(what));
        };
        Ok(MultiColumn {
            starts: self.read_starts(entries, starts)?,
            codes: self.read_codes(footer, codes, entries as usize)?,
            dictionary: self.read_dictionary(footer)?,
        })
    }

    fn read_starts(
        &self,
        entries: u32,
        (offsets, counts): (Option<&BufferRef>, Option<&EntryCounts>),
    ) -> Result<StartsBuffer, SegmentError> {
        let (part, rows) = ("entries", self.rows as usize);
        if let Some(EntryCounts { before, counts }) = counts {
            let blocks = rows.div_ceil(index::forward::entries::BLOCK);
            let before = self.numbers(before, blocks + 1, part)?;
            let counts = self.numbers(counts, rows, part)?;
            self.checked(part, || {
                index::forward::entries::check(&before, &counts, entries)
            })?;
            return Ok(StartsBuffer::Counts(before, counts));
        }
        let Some(offsets) = offsets else {
            let what = format!("{} are not there", self.part(part));
            return Err(self.container.corrupt(what));
        };
        let offsets = self.numbers::<u32>(offsets, rows + 1, part)?;
        self.checked(part, || index::sorted::check(&offsets, self.rows, entries))?;
        if offsets.windows(2).any(|ends| ends[0] == ends[1]) {
            let what = format!("{} leave a row out", self.part(part));
            return Err(self.container.corrupt(what));
        }
        Ok(StartsBuffer::Offsets(offsets))
    }

    fn read_codes(
        &self,
        footer: &DictionaryFooter,
        codes: &BufferRef,
        count: usize,
    ) -> Result<CodesBuffer, SegmentError> {
        let codes = self.narrow(footer.width, codes, count, "codes")?;
        let cardinality = footer.cardinality;
        self.checked("codes", || match codes.all() {
            Codes::U8(codes) => check_codes(codes, cardinality),
            Codes::U16(codes) => check_codes(codes, cardinality),
            Codes::U32(codes) => check_codes(codes, cardinality),
        })?;
        Ok(codes)
    }

    /// Of one value a row, in three bytes each.
    fn read_triples(
        &self,
        footer: &DictionaryFooter,
        codes: &BufferRef,
    ) -> Result<Bytes, SegmentError> {
        let (part, rows) = ("codes", self.rows as usize);
        let bytes = self.container.buffer(codes, &self.part(part))?;
        if bytes.len() != rows * usize::from(TRIPLE) {
            let what = format!("{} have {} bytes", self.part(part), bytes.len());
            return Err(self.container.corrupt(what));
        }
        let mut widened = Vec::new();
        for block in bytes.chunks(BLOCK_ROWS as usize * usize::from(TRIPLE)) {
            kernels::widen_triples(block, &mut widened);
            self.checked(part, || check_codes(&widened, footer.cardinality))?;
        }
        Ok(bytes)
    }

    fn read_dictionary(&self, footer: &DictionaryFooter) -> Result<Dictionary, SegmentError> {
        Ok(Dictionary {
            cardinality: footer.cardinality,
            doc_counts: self.read_counts(footer)?,
            values: self.read_dictionary_values(footer)?,
            array: OnceLock::new(),
            raises: OnceLock::new(),
        })
    }

    /// Every row has one code, or else none more often than there are rows.
    fn read_counts(&self, footer: &DictionaryFooter) -> Result<CountsBuffer, SegmentError> {
        let (part, cardinality) = ("counts", footer.cardinality as usize);
        let counts = match &footer.more_counts {
            None => CountsBuffer::Wide(self.numbers(&footer.doc_counts, cardinality, part)?),
            Some(more) => {
                let pairs = more.bytes as usize / 8;
                let counts = CountsBuffer::Narrow(
                    self.numbers(&footer.doc_counts, cardinality, part)?,
                    self.numbers(more, pairs * 2, part)?,
                );
                self.checked(part, || counts.all().check())?;
                counts
            }
        };
        let fits = match &self.footer.encoding {
            Encoding::Multi { .. } => {
                let mut fits = true;
                counts.all().each(|_, count| fits &= count <= self.rows);
                fits
            }
            _ => counts.all().sum(0..footer.cardinality) == u64::from(self.rows),
        };
        match fits {
            true => Ok(counts),
            false => {
                let what = format!("{} are not those of its rows", self.part(part));
                Err(self.container.corrupt(what))
            }
        }
    }

    fn read_dictionary_values(
        &self,
        footer: &DictionaryFooter,
    ) -> Result<DictionaryValues, SegmentError> {
        let count = footer.cardinality as usize;
        let values = &footer.values;
        let what = "dictionary";
        if let Some(frame) = &footer.frame {
            return self.read_framed(*frame, values, count);
        }
        let array: ArrayRef = match self.footer.data_type {
            DataType::String | DataType::Json | DataType::Bytes => {
                return self.read_strings(footer);
            }
            DataType::Uuid => {
                if count > UUIDS_MAX {
                    let what = format!("{} has {count} values", self.part(what));
                    return Err(self.container.corrupt(what));
                }
                let bytes = self.numbers::<i128>(values, count, what)?;
                return Ok(DictionaryValues::Uuids(bytes.into_inner()));
            }
            DataType::Int => Arc::new(Int32Array::new(self.numbers(values, count, what)?, None)),
            DataType::Long => Arc::new(Int64Array::new(self.numbers(values, count, what)?, None)),
            DataType::Timestamp => Arc::new(TimestampMillisecondArray::new(
                self.numbers(values, count, what)?,
                None,
            )),
            DataType::Float => {
                Arc::new(Float32Array::new(self.numbers(values, count, what)?, None))
            }
            DataType::Double => {
                Arc::new(Float64Array::new(self.numbers(values, count, what)?, None))
            }
            DataType::BigDecimal => Arc::new(
                Decimal256Array::new(self.numbers(values, count, what)?, None)
                    .with_data_type(arrow_type(DataType::BigDecimal)),
            ),
            DataType::Boolean => {
                let flags = self.numbers::<u8>(values, count, what)?;
                let bits = BooleanBuffer::collect_bool(count, |at| flags[at] != 0);
                Arc::new(BooleanArray::new(bits, None))
            }
        };
        Ok(DictionaryValues::Numbers(array))
    }

    fn read_framed(
        &self,
        ValueFrame { base, width }: ValueFrame,
        values: &BufferRef,
        count: usize,
    ) -> Result<DictionaryValues, SegmentError> {
        let part = "dictionary";
        let stored = self.narrow(width, values, count, part)?;
        let data_type = self.footer.data_type;
        let numbers = Numbers::new(data_type, base, stored).ok_or_else(|| {
            let what = format!("{} holds what is no {data_type}", self.part(part));
            self.container.corrupt(what)
        })?;
        Ok(DictionaryValues::Framed(numbers))
    }

    fn read_strings(&self, footer: &DictionaryFooter) -> Result<DictionaryValues, SegmentError> {
        let (offsets, bytes) = match footer.prefixed {
            None => self.flat_strings(footer)?,
            Some(length) => self.unpacked_strings(footer, length)?,
        };
        let dictionary = BytesDictionary::new(&offsets, &bytes);
        self.checked("dictionary", || dictionary.check_frame(footer.cardinality))?;
        if self.footer.data_type == DataType::Bytes {
            return Ok(DictionaryValues::Bytes(offsets, bytes));
        }
        self.checked("dictionary", || dictionary.check_utf8())?;
        Ok(DictionaryValues::Strings(offsets, bytes))
    }

    fn flat_strings(
        &self,
        footer: &DictionaryFooter,
    ) -> Result<(ScalarBuffer<u32>, Buffer), SegmentError> {
        let name = self.part("dictionary");
        let Some(offsets) = &footer.offsets else {
            return Err(self.container.corrupt(format!("{name} has no offsets")));
        };
        let count = footer.cardinality as usize + 1;
        let offsets = self.numbers::<u32>(offsets, count, "dictionary offsets")?;
        let bytes = self.container.buffer(&footer.values, &name)?;
        Ok((offsets, Buffer::from(bytes)))
    }

    fn unpacked_strings(
        &self,
        footer: &DictionaryFooter,
        length: u64,
    ) -> Result<(ScalarBuffer<u32>, Buffer), SegmentError> {
        let part = "dictionary";
        let packed = self.container.buffer(&footer.values, &self.part(part))?;
        let mut unpacked = (Vec::new(), Vec::new());
        self.checked(part, || {
            unpacked = prefixed::unpack(&packed, footer.cardinality, length)?;
            Ok(())
        })?;
        let (offsets, bytes) = unpacked;
        Ok((offsets.into(), bytes.into()))
    }
}
