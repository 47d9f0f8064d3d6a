//! A stream of Arrow's IPC format in each message: its rows become rows, its columns go by name.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;

use crate::convert::{cell, unpacked};
use crate::row::{Row, Target};

/// Rows that one message may give.
const ROWS_MAX: usize = 1 << 20;

/// Most of what is wrong is told by the library; some lengths that do not fit make it panic.
pub(crate) fn batches(payload: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let read = std::panic::catch_unwind(|| read_batches(payload));
    read.unwrap_or_else(|_| {
        let what = "lengths in it do not fit";
        Err(format!(
            "the message is no stream of Arrow's IPC format: {what}"
        ))
    })
}

fn read_batches(payload: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let told = |error| format!("the message is no stream of Arrow's IPC format: {error}");
    // It takes what is there, where a reader would first make room for what the lengths promise.
    let mut decoder = StreamDecoder::new();
    let mut rest = Buffer::from(payload);
    let mut batches = Vec::new();
    let mut rows = 0;
    while !rest.is_empty() {
        if let Some(batch) = decoder.decode(&mut rest).map_err(told)? {
            rows += batch.num_rows();
            if rows > ROWS_MAX {
                return Err(format!("the message has more than {ROWS_MAX} rows"));
            }
            batches.push(batch);
        }
    }
    decoder.finish().map_err(told)?;
    Ok(batches)
}

/// Columns of a batch that the table has, each with its place.
pub(crate) fn columns(batch: &RecordBatch, target: &Target) -> Vec<(usize, ArrayRef)> {
    let fields = batch.schema();
    let columns = fields.fields().iter().zip(batch.columns());
    let known = columns
        .filter_map(|(field, array)| Some((target.position(field.name())?, unpacked(array))));
    known.collect()
}

pub(crate) fn read(
    columns: &[(usize, ArrayRef)],
    index: usize,
    target: &Target,
    row: &mut Row,
) -> Result<(), String> {
    for (at, array) in columns {
        row.cells[*at] = cell(array, index, target, *at, row)?;
    }
    Ok(())
}
