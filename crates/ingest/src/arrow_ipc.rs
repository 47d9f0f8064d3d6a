//! A stream of Arrow's IPC format in each message: its rows become rows, its columns go by name.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;

use crate::convert::{cell, unpacked};
use crate::row::{Row, Target};

/// Rows that one message may give.
const ROWS_MAX: usize = 1 << 20;
/// What may come out of packed buffers of a message.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// Most of what is wrong is told by the library; some lengths that do not fit make it panic, and
/// room for what packed buffers promise is made before they are looked at.
pub fn batches(payload: &[u8]) -> Result<Vec<RecordBatch>, String> {
    if promised(payload) > UNPACKED_BYTES_MAX {
        return Err(format!(
            "more than {} MiB would come out of the packed buffers of the Arrow stream",
            UNPACKED_BYTES_MAX >> 20
        ));
    }
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

/// Bytes that the packed buffers of a stream say they have, as far as it can be read.
fn promised(payload: &[u8]) -> u64 {
    let (mut rest, mut sum) = (payload, 0_u64);
    while let Some((promised, after)) = promised_by_first(rest) {
        sum = sum.saturating_add(promised);
        rest = after;
    }
    sum
}

/// Of the first of the encapsulated messages, with what follows it.
fn promised_by_first(stream: &[u8]) -> Option<(u64, &[u8])> {
    let (marker, after) = stream.split_first_chunk::<4>()?;
    let (size, after) = match *marker == [0xFF; 4] {
        true => after.split_first_chunk::<4>()?,
        false => (marker, after),
    };
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    let (header, after) = after.split_at_checked(size)?;
    let message = root_as_message(header).ok()?;
    let length = usize::try_from(message.bodyLength()).ok()?;
    let (body, after) = after.split_at_checked(length)?;
    let of_dictionary = || message.header_as_dictionary_batch()?.data();
    let batch = message.header_as_record_batch().or_else(of_dictionary);
    let packed = batch.filter(|batch| batch.compression().is_some());
    let buffers = packed.and_then(|batch| batch.buffers());
    // An empty one lies where the next begins.
    let filled = buffers.into_iter().flatten();
    let filled = filled.filter(|buffer| buffer.length() > 0);
    let promised = filled.map(|buffer| {
        let at = usize::try_from(buffer.offset()).ok();
        let length = at.and_then(|at| body.get(at..)?.first_chunk::<8>());
        // A negative one says that the buffer is not packed.
        length.map_or(0, |length| {
            u64::try_from(i64::from_le_bytes(*length)).unwrap_or(0)
        })
    });
    Some((promised.fold(0, u64::saturating_add), after))
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

#[cfg(test)]
mod tests;
