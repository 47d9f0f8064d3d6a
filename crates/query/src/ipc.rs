//! Batches between processes as Arrow IPC streams.
//!
//! View arrays are compacted before they are written: a slice of a view array would otherwise take
//! every buffer it shares along.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
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
    if !batch
        .columns()
        .iter()
        .any(|array| has_views(array.data_type()))
    {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(without_slack);
    RecordBatch::try_new(batch.schema(), columns.collect())
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(entry) => has_views(entry.data_type()),
        _ => false,
    }
}

fn without_slack(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::List(entry) if has_views(entry.data_type()) => {
            let (field, offsets, entries, nulls) = array.as_list::<i32>().clone().into_parts();
            let used = offsets[0] as usize..offsets[offsets.len() - 1] as usize;
            let entries = without_slack(&entries.slice(used.start, used.len()));
            let offsets = OffsetBuffer::from_lengths(offsets.lengths());
            Arc::new(ListArray::new(field, offsets, entries, nulls))
        }
        _ => Arc::clone(array),
    }
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
        let entry = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        let offsets = OffsetBuffer::from_lengths(vec![2; 5000]);
        let lists = ListArray::new(entry, offsets, Arc::clone(&array), None);
        let columns: [(&str, ArrayRef); 2] = [("s", array.slice(0, 5000)), ("l", Arc::new(lists))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        let bytes = encode_batches(&schema, &[batch.slice(100, 2)]).unwrap();
        assert!(bytes.len() < 3000, "{} bytes", bytes.len());
        assert_eq!(decode_batches(&bytes).unwrap(), [batch.slice(100, 2)]);
    }
}
