//! The rows of an answer as a JSON array of arrays.
//!
//! Invariant: a large answer gives others a turn every few thousand rows.

use arrow::array::RecordBatch;

use crate::values::Cells;

/// Rows between two turns of others.
const ROWS_PER_TURN: usize = 8192;

/// `cells` gives a column its form.
pub(crate) async fn write_rows<F>(batches: &[RecordBatch], cells: F, to: &mut Vec<u8>)
where
    F: for<'a> Fn(&'a RecordBatch, usize) -> Cells<'a>,
{
    let all: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let (begin, mut written, mut is_measured) = (to.len(), 0, false);
    to.push(b'[');
    for batch in batches {
        for start in (0..batch.num_rows()).step_by(ROWS_PER_TURN) {
            if written > 0 {
                tokio::task::yield_now().await;
            }
            let rows = start..batch.num_rows().min(start + ROWS_PER_TURN);
            written += rows.len();
            write_some(batch, rows, &cells, to);
            if !is_measured && written > ROWS_PER_TURN / 8 {
                is_measured = true;
                // The others are about as long: large texts are not moved while they grow.
                let left = all.saturating_sub(written);
                to.reserve((to.len() - begin) / written * left);
            }
        }
    }
    to.push(b']');
}

fn write_some<F>(batch: &RecordBatch, rows: std::ops::Range<usize>, cells: &F, to: &mut Vec<u8>)
where
    F: for<'a> Fn(&'a RecordBatch, usize) -> Cells<'a>,
{
    let columns: Vec<Cells<'_>> = (0..batch.num_columns())
        .map(|at| cells(batch, at))
        .collect();
    for row in rows {
        to.extend_from_slice(if to.last() == Some(&b'[') {
            b"["
        } else {
            b",["
        });
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            column.write(row, to);
        }
        to.push(b']');
    }
}
