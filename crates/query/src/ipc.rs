//! Batches between processes as Arrow IPC streams.
//!
//! View arrays are compacted before they are written: a slice of a view array would otherwise take
//! every buffer it shares along.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

pub fn encode_batches(schema: &Schema, batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::with_capacity(4096), schema)?;
    for batch in batches {
        writer.write(&compacted(batch)?)?;
    }
    Ok(writer.into_inner()?.into())
}

pub fn decode_batches(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(std::io::Cursor::new(bytes.as_ref()), None)?.collect()
}

fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let is_view =
        |array: &ArrayRef| matches!(array.data_type(), DataType::Utf8View | DataType::BinaryView);
    if !batch.columns().iter().any(is_view) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(|array| match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(array),
    });
    RecordBatch::try_new(batch.schema(), columns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;
    use arrow::datatypes::Field;

    #[test]
    fn a_slice_travels_without_what_it_was_cut_from() {
        let long = (0..10_000).map(|n| format!("a value of some length, number {n}"));
        let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(long));
        let schema = Arc::new(Schema::new(vec![Field::new(
            "s",
            DataType::Utf8View,
            false,
        )]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array]).unwrap();
        let bytes = encode_batches(&schema, &[batch.slice(100, 2)]).unwrap();
        assert!(bytes.len() < 2000, "{} bytes", bytes.len());
        assert_eq!(decode_batches(&bytes).unwrap(), [batch.slice(100, 2)]);
    }
}
