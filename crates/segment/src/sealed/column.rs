//! One column of a sealed segment, verified and mapped at its first use.
//!
//! After [`Column::load`] has returned, every code of the column is below its cardinality, every
//! string is UTF-8 and every array has one element for each row: readers need not check again.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal256Array, Float32Array, Float64Array, Int32Array, Int64Array,
    TimestampMillisecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use index::blocks::BlocksReader;
use index::dictionary::BytesDictionary;
use index::forward::{Width, check_codes};
use schemas::DataType;
use schemas::arrow::arrow_type;

use super::forward::{
    CodesBuffer, DictionaryColumn, DictionaryValues, Forward, MultiColumn, Zones,
};
use super::sparse::SparseColumn;
use super::texts::{Form, TextColumn};
use crate::container::{BufferRef, ColumnFooter, Container, DictionaryFooter, Encoding};
use crate::view::blocks;
use crate::{BLOCK_ROWS, SegmentError};

#[derive(Debug)]
pub(crate) struct Column {
    container: Arc<Container>,
    footer: ColumnFooter,
    rows: u32,
    loaded: OnceLock<Loaded>,
}

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) values: Forward,
    pub(crate) nulls: Option<ScalarBuffer<u64>>,
    pub(crate) zones: Option<Zones>,
    pub(crate) code_zones: Option<ScalarBuffer<u32>>,
    pub(crate) sorted_starts: Option<ScalarBuffer<u32>>,
}

impl Column {
    pub(crate) fn new(container: &Arc<Container>, footer: &ColumnFooter, rows: u32) -> Self {
        Self {
            container: Arc::clone(container),
            footer: footer.clone(),
            rows,
            loaded: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.footer.name
    }

    pub(crate) fn data_type(&self) -> DataType {
        self.footer.data_type
    }

    pub(crate) fn is_multi_value(&self) -> bool {
        matches!(self.footer.encoding, Encoding::Multi { .. })
    }

    /// Verifies the column at the first call; later ones are free.
    pub(crate) fn load(&self) -> Result<&Loaded, SegmentError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = self.read()?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// Of its dictionary; `None` when it has none.
    pub(crate) fn cardinality(&self) -> Option<u32> {
        match &self.footer.encoding {
            Encoding::Dictionary(dictionary) | Encoding::Multi { dictionary, .. } => {
                Some(dictionary.cardinality)
            }
            _ => None,
        }
    }

    fn part(&self, part: &str) -> String {
        format!("the {part} of column `{}`", self.footer.name)
    }

    fn read(&self) -> Result<Loaded, SegmentError> {
        let rows = self.rows;
        let nulls = self.optional(&self.footer.nulls, index::null::words(rows), "nulls")?;
        let sorted_starts = match &self.footer.encoding {
            Encoding::Dictionary(dictionary) => {
                let count = dictionary.cardinality as usize + 1;
                let starts = self.optional(&self.footer.sorted, count, "ranges")?;
                if let Some(starts) = &starts {
                    self.checked("ranges", || {
                        index::sorted::check(starts, dictionary.cardinality, rows)
                    })?;
                }
                starts
            }
            _ => None,
        };
        Ok(Loaded {
            values: self.read_values()?,
            nulls,
            zones: self.read_zones()?,
            code_zones: self.optional(
                &self.footer.code_zones,
                rows.div_ceil(BLOCK_ROWS) as usize * 2,
                "zones of codes",
            )?,
            sorted_starts,
        })
    }

    fn read_zones(&self) -> Result<Option<Zones>, SegmentError> {
        let count = self.rows.div_ceil(BLOCK_ROWS) as usize * 2;
        let zones = &self.footer.zones;
        Ok(match self.footer.data_type {
            DataType::Float | DataType::Double => {
                self.optional(zones, count, "zones")?.map(Zones::F64)
            }
            _ => self.optional(zones, count, "zones")?.map(Zones::I64),
        })
    }

    fn read_values(&self) -> Result<Forward, SegmentError> {
        Ok(match &self.footer.encoding {
            Encoding::Dictionary(dictionary) => {
                Forward::Dictionary(self.read_dictionary(dictionary, self.rows as usize)?)
            }
            Encoding::Multi {
                entries,
                offsets,
                dictionary,
            } => {
                let rows = self.rows as usize;
                let offsets = self.numbers(offsets, rows + 1, "entries")?;
                self.checked("entries", || {
                    index::sorted::check(&offsets, self.rows, *entries)
                })?;
                Forward::Multi(MultiColumn {
                    offsets,
                    dictionary: self.read_dictionary(dictionary, *entries as usize)?,
                })
            }
            Encoding::Sequence { first } => Forward::Sequence(*first),
            Encoding::Blocks { starts, values } => {
                Forward::Texts(self.read_blocks(starts, values)?)
            }
            Encoding::Plain { values } if self.footer.data_type == DataType::Uuid => {
                let bytes = self.numbers::<i128>(values, self.rows as usize, "values")?;
                let form = Form::Uuids(bytes.into_inner());
                Forward::Texts(TextColumn::new(DataType::Uuid, self.rows, form))
            }
            Encoding::Sparse {
                default,
                positions,
                count,
                values,
            } => {
                let positions = self.numbers(positions, *count as usize, "positions")?;
                let values = self.read_numbers(values, *count as usize)?;
                let sparse = SparseColumn::new(*default, positions, values, self.rows);
                Forward::Sparse(sparse.ok_or_else(|| {
                    let what = format!("{} are no sparse ones", self.part("values"));
                    self.container.corrupt(what)
                })?)
            }
            numbers => self.read_numbers(numbers, self.rows as usize)?,
        })
    }

    fn read_numbers(&self, encoding: &Encoding, count: usize) -> Result<Forward, SegmentError> {
        let part = "values";
        Ok(match (encoding, self.footer.data_type) {
            (
                Encoding::Frame {
                    base,
                    width,
                    values,
                },
                DataType::Int | DataType::Long | DataType::Timestamp | DataType::Boolean,
            ) => match self.width(*width)? {
                Width::One => Forward::U8(*base, self.numbers(values, count, part)?),
                Width::Two => Forward::U16(*base, self.numbers(values, count, part)?),
                Width::Four => Forward::U32(*base, self.numbers(values, count, part)?),
            },
            (Encoding::Plain { values }, DataType::Int) => {
                Forward::I32(self.numbers(values, count, part)?)
            }
            (Encoding::Plain { values }, DataType::Long | DataType::Timestamp) => {
                Forward::I64(self.numbers(values, count, part)?)
            }
            (Encoding::Plain { values }, DataType::Float) => {
                Forward::F32(self.numbers(values, count, part)?)
            }
            (Encoding::Plain { values }, DataType::Double) => {
                Forward::F64(self.numbers(values, count, part)?)
            }
            (Encoding::Plain { values }, DataType::BigDecimal) => {
                Forward::I256(self.numbers(values, count, part)?)
            }
            (_, data_type) => {
                let what = format!("{} do not go with {data_type}", self.part(part));
                return Err(self.container.corrupt(what));
            }
        })
    }

    fn read_blocks(
        &self,
        starts: &BufferRef,
        values: &BufferRef,
    ) -> Result<TextColumn, SegmentError> {
        let data_type = self.footer.data_type;
        if !matches!(
            data_type,
            DataType::String | DataType::Json | DataType::Bytes
        ) {
            let what = format!("{} are texts of {data_type}", self.part("values"));
            return Err(self.container.corrupt(what));
        }
        let blocks = self.rows.div_ceil(BLOCK_ROWS) as usize;
        let starts = self.numbers::<u64>(starts, blocks + 1, "values")?;
        let bytes = Buffer::from(self.container.buffer(values, &self.part("values"))?);
        self.checked("values", || {
            BlocksReader::new(&starts, &bytes).check_frame(blocks)
        })?;
        let form = Form::Blocks(starts, bytes);
        Ok(TextColumn::new(data_type, self.rows, form))
    }

    /// Unpacks all blocks.
    pub(crate) fn verify_texts(&self) -> Result<(), SegmentError> {
        if let Forward::Texts(texts) = &self.load()?.values {
            for rows in blocks(self.rows) {
                self.texts(texts, rows.start as usize..rows.end as usize)?;
            }
        }
        Ok(())
    }

    /// Texts of `rows`, which lie within one block.
    pub(crate) fn texts(
        &self,
        texts: &TextColumn,
        rows: Range<usize>,
    ) -> Result<ArrayRef, SegmentError> {
        let array = texts.array(rows);
        array.map_err(|error| {
            SegmentError::corrupt_index(self.container.path(), &self.part("values"), &error)
        })
    }

    fn read_dictionary(
        &self,
        footer: &DictionaryFooter,
        count: usize,
    ) -> Result<DictionaryColumn, SegmentError> {
        let cardinality = footer.cardinality;
        let codes = match self.width(footer.width)? {
            Width::One => CodesBuffer::U8(self.codes(footer, count)?),
            Width::Two => CodesBuffer::U16(self.codes(footer, count)?),
            Width::Four => CodesBuffer::U32(self.codes(footer, count)?),
        };
        let doc_counts = self.numbers(&footer.doc_counts, cardinality as usize, "counts")?;
        Ok(DictionaryColumn {
            cardinality,
            codes,
            doc_counts,
            values: self.read_dictionary_values(footer)?,
            array: OnceLock::new(),
        })
    }

    fn codes<T>(
        &self,
        footer: &DictionaryFooter,
        count: usize,
    ) -> Result<ScalarBuffer<T>, SegmentError>
    where
        T: arrow::datatypes::ArrowNativeType + Ord + Into<u32>,
    {
        let codes = self.numbers::<T>(&footer.codes, count, "codes")?;
        self.checked("codes", || check_codes(&codes, footer.cardinality))?;
        Ok(codes)
    }

    fn read_dictionary_values(
        &self,
        footer: &DictionaryFooter,
    ) -> Result<DictionaryValues, SegmentError> {
        let count = footer.cardinality as usize;
        let values = &footer.values;
        let what = "dictionary";
        let array: ArrayRef = match self.footer.data_type {
            DataType::String | DataType::Json | DataType::Bytes => {
                return self.read_strings(footer);
            }
            DataType::Uuid => {
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

    fn read_strings(&self, footer: &DictionaryFooter) -> Result<DictionaryValues, SegmentError> {
        let name = self.part("dictionary");
        let Some(offsets) = &footer.offsets else {
            return Err(self.container.corrupt(format!("{name} has no offsets")));
        };
        let count = footer.cardinality as usize + 1;
        let offsets = self.numbers::<u32>(offsets, count, "dictionary offsets")?;
        let bytes = Buffer::from(self.container.buffer(&footer.values, &name)?);
        let dictionary = BytesDictionary::new(&offsets, &bytes);
        self.checked("dictionary", || dictionary.check_frame(footer.cardinality))?;
        if self.footer.data_type == DataType::Bytes {
            return Ok(DictionaryValues::Bytes(offsets, bytes));
        }
        self.checked("dictionary", || dictionary.check_utf8())?;
        Ok(DictionaryValues::Strings(offsets, bytes))
    }

    fn width(&self, bytes: u8) -> Result<Width, SegmentError> {
        Width::from_bytes(bytes).ok_or_else(|| {
            let what = format!("column `{}` is {bytes} bytes wide", self.footer.name);
            self.container.corrupt(what)
        })
    }

    fn optional<T: arrow::datatypes::ArrowNativeType>(
        &self,
        buffer: &Option<BufferRef>,
        count: usize,
        part: &str,
    ) -> Result<Option<ScalarBuffer<T>>, SegmentError> {
        let buffer = buffer.as_ref();
        buffer
            .map(|buffer| self.numbers(buffer, count, part))
            .transpose()
    }

    fn numbers<T: arrow::datatypes::ArrowNativeType>(
        &self,
        buffer: &BufferRef,
        count: usize,
        part: &str,
    ) -> Result<ScalarBuffer<T>, SegmentError> {
        self.container.numbers(buffer, count, &self.part(part))
    }

    fn checked(
        &self,
        part: &str,
        check: impl FnOnce() -> Result<(), index::CorruptIndex>,
    ) -> Result<(), SegmentError> {
        check().map_err(|error| {
            SegmentError::corrupt_index(self.container.path(), &self.part(part), &error)
        })
    }
}
