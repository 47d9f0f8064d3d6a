//! Of a partitioned table, which files may share a segment: a file all of whose rows are of one
//! partition shares with those of the same partition alone, so that brokers go on passing over it.
//! To know it, small files of such a table are read once more.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType as ArrowType, Int32Type, Int64Type, TimestampMillisecondType};
use ingest::Expressions;
use schemas::TableSpec;
use schemas::partition::Partitioning;

use crate::ImportError;
use crate::build::Piece;

/// For each column by which the table is partitioned, the only partition; `None` where there is no
/// row. No lane at all: rows of several.
pub(crate) type Lane = Option<Vec<Option<u32>>>;

/// Puts those of a lane next to each other, in their order.
pub(crate) fn sort(
    pieces: &mut [Piece],
    table: (&Arc<TableSpec>, &dyn Expressions),
    now_ms: i64,
) -> Result<(), ImportError> {
    let columns = table.0.columns.iter().enumerate();
    let columns: Vec<(usize, Partitioning)> = columns
        .filter_map(|(at, column)| Some((at, column.partitioning?)))
        .collect();
    if columns.is_empty() || pieces.len() < 2 {
        return Ok(());
    }
    for piece in pieces.iter_mut() {
        piece.lane = lane(piece, &columns, table, now_ms)?;
    }
    pieces.sort_by(|a, b| a.lane.cmp(&b.lane));
    Ok(())
}

fn lane(
    piece: &Piece,
    columns: &[(usize, Partitioning)],
    table: (&Arc<TableSpec>, &dyn Expressions),
    now_ms: i64,
) -> Result<Lane, ImportError> {
    let mut lane = vec![None; columns.len()];
    let mut is_one = true;
    let take = |batch: arrow::array::RecordBatch| {
        for ((at, by), known) in columns.iter().zip(&mut lane) {
            is_one = is_one && all_in_one(batch.column(*at), by, known);
        }
        Ok::<_, ImportError>(())
    };
    piece.file.read(&piece.part, table, now_ms, take)?;
    Ok(is_one.then_some(lane))
}

/// Whether all values are of the partition that is known, or of one where none is.
fn all_in_one(values: &dyn Array, by: &Partitioning, known: &mut Option<u32>) -> bool {
    let mut is_known = |found: Option<u32>| match (found, *known) {
        (Some(found), Some(known)) => found == known,
        (Some(found), None) => {
            *known = Some(found);
            true
        }
        (None, _) => false,
    };
    let of_number = |number: Option<i64>| by.of_number(number?);
    match values.data_type() {
        ArrowType::Int32 => {
            let mut values = values.as_primitive::<Int32Type>().iter();
            values.all(|value| is_known(of_number(value.map(i64::from))))
        }
        ArrowType::Int64 => {
            let mut values = values.as_primitive::<Int64Type>().iter();
            values.all(|value| is_known(of_number(value)))
        }
        ArrowType::Timestamp(..) => {
            let mut values = values.as_primitive::<TimestampMillisecondType>().iter();
            values.all(|value| is_known(of_number(value)))
        }
        ArrowType::Utf8View => {
            let mut values = values.as_string_view().iter();
            values.all(|value| is_known(value.and_then(|text| by.of_text(text))))
        }
        _ => false,
    }
}
