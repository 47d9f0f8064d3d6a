//! Builders of a batch: one typed column for each column of the table, `$offset`, `$ingestTime`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, BooleanBuilder, Decimal256Builder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, ListArray, NullBufferBuilder, RecordBatch,
    StringViewBuilder, TimestampMillisecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{SchemaRef, i256};
use schemas::arrow::{BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE, entry_field, ingest_schema};
use schemas::{ColumnSpec, DataType, Offset, TableSpec};

use crate::coerce::Cell;

#[derive(Debug)]
pub(crate) enum Column {
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal256Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMillisecondBuilder),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    List(Box<List>),
}

/// Several values a row.
#[derive(Debug)]
pub(crate) struct List {
    lengths: Vec<usize>,
    validity: NullBufferBuilder,
    entries: Column,
}

/// What the cells of a row refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowData<'a> {
    /// Of columns of texts.
    pub(crate) text: &'a str,
    /// Of columns of bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) decimals: &'a [i256],
    /// Of all arrays of the row.
    pub(crate) entries: &'a [Cell],
}

#[derive(Debug)]
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<Column>,
    offsets: Int64Builder,
    ingest_times: TimestampMillisecondBuilder,
    rows: usize,
}

impl Column {
    pub(crate) fn of(column: &ColumnSpec) -> Self {
        let one = Self::new(column.data_type);
        match column.multi_value {
            false => one,
            true => Self::List(Box::new(List {
                lengths: Vec::new(),
                validity: NullBufferBuilder::new(0),
                entries: one,
            })),
        }
    }

    fn new(data_type: DataType) -> Self {
        match data_type {
            DataType::Int => Self::Int(Int32Builder::new()),
            DataType::Long => Self::Long(Int64Builder::new()),
            DataType::Float => Self::Float(Float32Builder::new()),
            DataType::Double => Self::Double(Float64Builder::new()),
            DataType::BigDecimal => Self::Decimal(
                Decimal256Builder::new()
                    .with_precision_and_scale(BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE)
                    .expect("constants that fit"),
            ),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new()),
            DataType::String | DataType::Json | DataType::Uuid => {
                Self::Text(StringViewBuilder::new())
            }
            DataType::Bytes => Self::Bytes(BinaryViewBuilder::new()),
        }
    }

    /// `cell` has the kind that the decoder makes for this type.
    pub(crate) fn push(&mut self, cell: Cell, row: RowData<'_>) {
        let long = || match cell {
            Cell::Long(value) => Some(value),
            _ => None,
        };
        let double = || match cell {
            Cell::Double(value) => Some(value),
            _ => None,
        };
        let place = || match cell {
            Cell::Text(from, to) => Some(from as usize..to as usize),
            _ => None,
        };
        match self {
            Self::Int(builder) => builder.append_option(long().map(|value| value as i32)),
            Self::Long(builder) => builder.append_option(long()),
            Self::Timestamp(builder) => builder.append_option(long()),
            Self::Boolean(builder) => builder.append_option(long().map(|value| value != 0)),
            Self::Float(builder) => builder.append_option(double().map(|value| value as f32)),
            Self::Double(builder) => builder.append_option(double()),
            Self::Text(builder) => {
                builder.append_option(place().and_then(|place| row.text.get(place)));
            }
            Self::Bytes(builder) => {
                builder.append_option(place().and_then(|place| row.bytes.get(place)));
            }
            Self::Decimal(builder) => match cell {
                Cell::Decimal(at) => builder.append_value(row.decimals[at as usize]),
                _ => builder.append_null(),
            },
            Self::List(list) => {
                let entries = match cell {
                    Cell::List(from, to) => &row.entries[from as usize..to as usize],
                    _ => &[],
                };
                for entry in entries {
                    list.entries.push(*entry, row);
                }
                list.lengths.push(entries.len());
                list.validity.append(!entries.is_empty());
            }
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::List(list) => {
                let offsets = OffsetBuffer::from_lengths(list.lengths.drain(..));
                let entries = list.entries.finish();
                let field = entry_field(entries.data_type().clone());
                let validity = list.validity.finish();
                Arc::new(ListArray::new(field, offsets, entries, validity))
            }
        }
    }
}

impl BatchBuilder {
    pub(crate) fn new(spec: &TableSpec) -> Self {
        Self {
            schema: ingest_schema(spec),
            columns: spec.columns.iter().map(Column::of).collect(),
            offsets: Int64Builder::new(),
            ingest_times: TimestampMillisecondBuilder::new(),
            rows: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn push(
        &mut self,
        cells: &[Cell],
        row: RowData<'_>,
        offset: Offset,
        ingest_ms: i64,
    ) {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(*cell, row);
        }
        self.offsets.append_value(offset);
        self.ingest_times.append_value(ingest_ms);
        self.rows += 1;
    }

    pub(crate) fn finish(&mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        arrays.push(Arc::new(self.offsets.finish()));
        arrays.push(Arc::new(self.ingest_times.finish()));
        self.rows = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).expect("columns of the schema")
    }
}
