//! Segments of a table with upserts, without the rows that do not count.
//!
//! Invariant: what is left out did not count at the end of the newest sealed segment, which tells
//! it, and so never counts again; whoever has consumed to that end answers alike from both files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use deepstore::DeepStore;
use schemas::Fault;
use schemas::segment::SegmentRecord;
use schemas::task::{CompactOrder, InputSegment};
use segment::{KeyRows, KeysAtEnd, SealedSegment, pack};

use crate::rewrite::{fetch, remove};
use crate::{ImportError, Progress, Workshop};

/// What became of the order's segments.
#[derive(Debug, Default)]
pub struct Compacted {
    /// In the deep store, each with the id of the one that it was made of.
    pub records: Vec<SegmentRecord>,
    pub rows: u64,
    /// Rows that were left out.
    pub dropped: u64,
}

/// Files that take the place of those of the order whose dead rows are worth it.
pub async fn compact(
    order: &CompactOrder,
    deep: &DeepStore,
    (workshop, progress): (&Workshop, &Arc<Progress>),
) -> Result<Compacted, ImportError> {
    progress.rows_total.store(order.rows(), Ordering::Relaxed);
    let newest = fetch(&order.newest, deep, workshop).await?;
    let told = newest.keys_at_end()?.ok_or_else(|| {
        Fault::conflict(format!(
            "segment `{}` does not tell which rows count, as an older version sealed it; it can \
             be done when the next one is sealed",
            order.newest.name
        ))
    })?;
    remove(newest.path(), workshop.files.as_ref())?;
    let mut done = Compacted::default();
    for input in &order.inputs {
        // From the bits alone: what counts then is in each of the files.
        let live = told_of(&told, input).map(|rows| u64::from(rows.newest().live()));
        let dead = live.map_or(0, |live| input.rows.saturating_sub(live));
        if order.due.is_due(input.rows, dead) {
            let record = one(order, input, &told, deep, workshop).await?;
            done.rows += record.ledger.rows;
            done.dropped += input.rows - record.ledger.rows;
            done.records.push(record);
        }
        progress.add_rows(input.rows);
    }
    Ok(done)
}

/// What is told of a segment, by its present checksum or an earlier one.
fn told_of<'a>(told: &'a KeysAtEnd, input: &InputSegment) -> Option<&'a KeyRows> {
    let mut files = std::iter::once(&input.crc).chain(&input.earlier);
    files.find_map(|crc| by_name(told, input, *crc))
}

fn by_name<'a>(told: &'a KeysAtEnd, input: &InputSegment, crc: u32) -> Option<&'a KeyRows> {
    let name = (input.id.sequence, crc);
    let mut others = told.others.iter();
    others.find(|(own, _)| *own == name).map(|(_, rows)| rows)
}

async fn one(
    order: &CompactOrder,
    input: &InputSegment,
    told: &KeysAtEnd,
    deep: &DeepStore,
    workshop: &Workshop,
) -> Result<SegmentRecord, ImportError> {
    let before: Arc<SealedSegment> = fetch(input, deep, workshop).await?;
    let known = before.known_rows(|crc| by_name(told, input, crc).cloned())?;
    let known = known.ok_or_else(|| {
        Fault::internal(format!(
            "what is told of segment `{}` is of another file",
            input.name
        ))
    })?;
    let (spec, shop) = (order.spec.clone(), workshop.clone());
    let make = move || -> Result<_, ImportError> {
        let files = shop.files.as_ref();
        let made = segment::compact(&before, &known, &spec, (files, &shop.folder))?;
        let packed = pack(&made.path, made.record.crc)?;
        remove(&made.path, files)?;
        remove(before.path(), files)?;
        Ok((made.record, packed))
    };
    let (mut record, packed) = workshop.compute.run_behind(make).await??;
    let key = SegmentRecord::object_key(record.id, record.crc);
    record.stored_bytes = packed.len() as u64;
    let stored = deep.upload(&key, Bytes::from(packed)).await;
    stored.map_err(Fault::from)?;
    record.uri = Some(key);
    record.earlier = std::iter::once(input.crc)
        .chain(input.earlier.iter().copied())
        .take(segment::EARLIER_MAX)
        .collect();
    Ok(record)
}
