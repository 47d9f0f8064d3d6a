//! The timestamp index of a sealed column, as codes of a dictionary: that of the times at which
//! its buckets begin.

use std::sync::{Arc, OnceLock};

use arrow::array::TimestampMillisecondArray;
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bytes::Bytes;
use index::CorruptIndex;
use index::forward::Width;
use index::timestamp::BucketReader;
use schemas::table::TimeGranularity;
use serde_json::Value;

use super::forward::{
    CodesBuffer, CountsBuffer, Dictionary, DictionaryColumn, DictionaryValues, RowCodes,
};
use super::index::{IndexParts, IndexReader, IndexShape};
use crate::container::{IndexKey, IndexKind};

#[derive(Debug)]
pub(crate) struct Buckets(pub(crate) DictionaryColumn);

/// What an index of a column's time cut to `granularity` is found by.
pub(crate) fn key(column: &str, granularity: TimeGranularity) -> IndexKey {
    IndexKey {
        parameters: serde_json::json!({ "granularity": granularity.name() }),
        ..IndexKey::of_column(IndexKind::Timestamp, column)
    }
}

pub(crate) fn granularity(parameters: &Value) -> Option<TimeGranularity> {
    TimeGranularity::named(parameters.get("granularity")?.as_str()?)
}

impl IndexReader for Buckets {
    const KIND: IndexKind = IndexKind::Timestamp;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        let reader = BucketReader::open(parts.buffers)?;
        let codes = match reader.width() {
            Width::One => CodesBuffer::U8(numbers(&reader.codes)),
            Width::Two => CodesBuffer::U16(numbers(&reader.codes)),
            Width::Four => CodesBuffer::U32(numbers(&reader.codes)),
        };
        let starts = TimestampMillisecondArray::new(numbers(&reader.starts), None);
        Ok(Self(DictionaryColumn {
            codes: RowCodes::Stored(codes),
            dictionary: Dictionary {
                cardinality: reader.cardinality(),
                doc_counts: CountsBuffer::Wide(numbers(&reader.counts)),
                values: DictionaryValues::Numbers(Arc::new(starts)),
                array: OnceLock::new(),
                raises: OnceLock::new(),
            },
        }))
    }

    fn fits(&self, shape: IndexShape) -> bool {
        // There are as many codes, which opening has checked.
        let Dictionary {
            cardinality,
            doc_counts,
            ..
        } = &self.0.dictionary;
        doc_counts.all().sum(0..*cardinality) == u64::from(shape.rows)
    }
}

/// Where they are; copied where they lie in a place that is no multiple of their size.
fn numbers<T: ArrowNativeType>(bytes: &Bytes) -> ScalarBuffer<T> {
    if bytes.is_empty() {
        return ScalarBuffer::from(Vec::new());
    }
    let count = bytes.len() / size_of::<T>();
    let is_aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    let buffer = match is_aligned {
        true => Buffer::from(bytes.clone()),
        false => Buffer::from_slice_ref(bytes.as_ref()),
    };
    ScalarBuffer::new(buffer, 0, count)
}
