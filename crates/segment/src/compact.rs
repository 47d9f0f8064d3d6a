//! A sealed segment without the rows by which no key is known, as another file.
//!
//! Invariant: whoever does not know of any left-out row as one that counts answers alike from both
//! files: the rows that are left have their offsets, and what was known of them by the file before
//! is known of them still ([`crate::EarlierFile`]).

use std::path::Path;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use runtime::files::Files;
use schemas::TableSpec;
use schemas::segment::Ledger;

use crate::arrays::StoredRows;
use crate::earlier::EARLIER_MAX;
use crate::{EarlierFile, KeyRows, SealExtra, Sealed, SealedSegment, SegmentBuilder, SegmentError};

/// Writes it to `folder`; with the rows that `known` tells of as newest of their keys, laid out and
/// indexed as the table is now. What is left out counts as filtered.
pub fn compact(
    segment: &Arc<SealedSegment>,
    known: &KeyRows,
    spec: &TableSpec,
    (files, folder): (&dyn Files, &Path),
) -> Result<Sealed, SegmentError> {
    let newest = known.newest();
    if newest.row_count() != segment.row_count() {
        let (told, rows) = (newest.row_count(), segment.row_count());
        let what = format!("it is known of {told} rows whether they count, there are {rows}");
        return Err(SegmentError::Batch { what });
    }
    let mut builder = SegmentBuilder::new(spec, segment.id(), segment.name().to_owned())?;
    let view = segment.view();
    let stored = StoredRows::of(&view, spec)?;
    let mut kept = Vec::with_capacity(newest.live() as usize);
    for block in stored.blocks() {
        let keep: BooleanArray = block
            .clone()
            .map(|row| Some(newest.contains(row)))
            .collect();
        if keep.true_count() == 0 {
            continue;
        }
        kept.extend(block.clone().filter(|row| newest.contains(*row)));
        let batch = filter_record_batch(&stored.batch(&block)?, &keep);
        builder.append(&batch.map_err(|error| SegmentError::Batch {
            what: error.to_string(),
        })?)?;
    }
    let ledger = segment.ledger();
    let gone = u64::from(segment.row_count()) - kept.len() as u64;
    let extra = SealExtra {
        start: segment.start(),
        end: segment.end(),
        ledger: Ledger {
            rows: ledger.rows.saturating_sub(gone),
            filtered: ledger.filtered + gone,
            ..ledger
        },
        rejected: segment.rejected()?,
        earlier: before(segment, &kept)?,
        ..SealExtra::default()
    };
    builder.finish(files, folder, extra)
}

/// The file itself, and those whose place it has taken.
fn before(segment: &SealedSegment, kept: &[u32]) -> Result<Vec<EarlierFile>, SegmentError> {
    let own = EarlierFile {
        crc: segment.crc(),
        row_count: segment.row_count(),
        rows: kept.to_vec(),
    };
    let older = segment.earlier()?;
    let older = older.iter().map(|file| file.in_order(kept));
    let all = std::iter::once(own).chain(older);
    Ok(all.take(EARLIER_MAX).collect())
}
