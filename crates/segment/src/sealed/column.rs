//! One column of a sealed segment, verified and mapped at its first use.
//!
//! After [`Column::load`] has returned, every code of the column is below its cardinality, every
//! string is UTF-8 and every array has one element for each row: readers need not check again.

mod dictionary;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, ScalarBuffer};
use index::blocks::BlocksReader;
use index::forward::Width;
use schemas::DataType;

use super::forward::{CodesBuffer, DECIMALS_MAX, Forward, WHOLE_MAX, Zones, divisor};
use super::sparse::SparseColumn;
use super::steps::StepsColumn;
use super::texts::{Form, TextColumn};
use crate::container::{BufferRef, ColumnFooter, Container, Encoding};
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

    pub(crate) fn footer(&self) -> &ColumnFooter {
        &self.footer
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
        let sorted_starts = self.read_sorted_starts()?;
        Ok(Loaded {
            values: self.read_values(sorted_starts.as_ref())?,
            nulls,
            zones: self.read_zones()?,
            code_zones: self.read_code_zones()?,
            sorted_starts,
        })
    }

    fn read_sorted_starts(&self) -> Result<Option<ScalarBuffer<u32>>, SegmentError> {
        let Encoding::Dictionary(dictionary) = &self.footer.encoding else {
            return Ok(None);
        };
        let count = dictionary.cardinality as usize + 1;
        let starts = self.optional(&self.footer.sorted, count, "ranges")?;
        if let Some(starts) = &starts {
            self.checked("ranges", || {
                index::sorted::check(starts, dictionary.cardinality, self.rows)
            })?;
        }
        Ok(starts)
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

    fn read_code_zones(&self) -> Result<Option<ScalarBuffer<u32>>, SegmentError> {
        let part = "zones of codes";
        let count = self.rows.div_ceil(BLOCK_ROWS) as usize * 2;
        let zones = self.optional::<u32>(&self.footer.code_zones, count, part)?;
        let (Some(pairs), Some(cardinality)) = (&zones, self.cardinality()) else {
            return Ok(zones);
        };
        let is_zone = |pair: &[u32]| pair[0] <= pair[1] && pair[1] < cardinality;
        match pairs.chunks_exact(2).all(is_zone) {
            true => Ok(zones),
            false => Err(self
                .container
                .corrupt(format!("{} are none", self.part(part)))),
        }
    }

    fn read_values(
        &self,
        sorted_starts: Option<&ScalarBuffer<u32>>,
    ) -> Result<Forward, SegmentError> {
        Ok(match &self.footer.encoding {
            Encoding::Dictionary(dictionary) => {
                Forward::Dictionary(self.read_coded(dictionary, sorted_starts)?)
            }
            Encoding::Multi {
                entries,
                offsets,
                counts,
                dictionary,
            } => Forward::Multi(self.read_multi(
                *entries,
                (offsets.as_ref(), counts.as_ref()),
                dictionary,
            )?),
            Encoding::Sequence { first } => Forward::Sequence(*first),
            Encoding::Steps { starts, values } => self.read_steps(starts, values)?,
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
                // Zones bound the rows by the length of the file.
                if self.footer.zones.is_none() {
                    let what = format!("{} have no zones", self.part("sparse values"));
                    return Err(self.container.corrupt(what));
                }
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
            ) => {
                let width = self.width(*width)?;
                let values = match width {
                    Width::One => Forward::U8(*base, self.numbers(values, count, part)?),
                    Width::Two => Forward::U16(*base, self.numbers(values, count, part)?),
                    Width::Four => Forward::U32(*base, self.numbers(values, count, part)?),
                };
                self.check_frame(*base, width, &values)?;
                values
            }
            (
                Encoding::Bits { base, values },
                DataType::Int | DataType::Long | DataType::Timestamp | DataType::Boolean,
            ) => {
                let words = index::null::words(count as u32);
                let values = Forward::Bits(*base, self.numbers(values, words, part)?);
                self.check_frame(*base, Width::One, &values)?;
                values
            }
            (
                Encoding::Scaled {
                    decimals,
                    base,
                    width,
                    values,
                },
                DataType::Double,
            ) => {
                let stored = self.narrow(*width, values, count, part)?;
                if *decimals > DECIMALS_MAX || base.unsigned_abs() > WHOLE_MAX as u64 {
                    let what = format!("{} are no fractions", self.part(part));
                    return Err(self.container.corrupt(what));
                }
                Forward::Scaled {
                    divisor: divisor(*decimals),
                    base: *base as f64,
                    stored,
                }
            }
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

    /// No value is past the greatest of its type.
    fn check_frame(&self, base: i64, width: Width, values: &Forward) -> Result<(), SegmentError> {
        let (least, limit) = match self.footer.data_type {
            DataType::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Boolean => (0, 1),
            _ => (i64::MIN, i64::MAX),
        };
        let room = limit
            .checked_sub(base)
            .map_or(u64::MAX, |room| room.max(0) as u64);
        let possible = u64::MAX >> (64 - 8 * width.bytes());
        let fits = possible <= room || {
            let greatest = match values {
                Forward::U8(_, values) => values.iter().max().map(|value| u64::from(*value)),
                Forward::U16(_, values) => values.iter().max().map(|value| u64::from(*value)),
                Forward::U32(_, values) => values.iter().max().map(|value| u64::from(*value)),
                Forward::Bits(_, words) => Some(u64::from(words.iter().any(|word| *word != 0))),
                _ => None,
            };
            greatest.unwrap_or(0) <= room
        };
        match fits && base >= least && base <= limit {
            true => Ok(()),
            false => Err(self.container.corrupt(format!(
                "{} are no {}",
                self.part("values"),
                self.footer.data_type
            ))),
        }
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

    fn read_steps(&self, starts: &BufferRef, values: &BufferRef) -> Result<Forward, SegmentError> {
        let (part, data_type) = ("values", self.footer.data_type);
        if !matches!(data_type, DataType::Long | DataType::Timestamp) {
            let what = format!("{} are steps of {data_type}", self.part(part));
            return Err(self.container.corrupt(what));
        }
        let rows = self.rows as usize;
        let blocks = self.rows.div_ceil(BLOCK_ROWS) as usize;
        let starts = self.numbers::<u64>(starts, blocks + 1, part)?;
        let bytes = Buffer::from(self.container.buffer(values, &self.part(part))?);
        self.checked(part, || StepsColumn::new(starts, bytes, rows))
            .map(Forward::Steps)
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

    fn narrow(
        &self,
        width: u8,
        values: &BufferRef,
        count: usize,
        part: &str,
    ) -> Result<CodesBuffer, SegmentError> {
        Ok(match self.width(width)? {
            Width::One => CodesBuffer::U8(self.numbers(values, count, part)?),
            Width::Two => CodesBuffer::U16(self.numbers(values, count, part)?),
            Width::Four => CodesBuffer::U32(self.numbers(values, count, part)?),
        })
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

    fn checked<T>(
        &self,
        part: &str,
        check: impl FnOnce() -> Result<T, index::CorruptIndex>,
    ) -> Result<T, SegmentError> {
        check().map_err(|error| {
            SegmentError::corrupt_index(self.container.path(), &self.part(part), &error)
        })
    }
}
