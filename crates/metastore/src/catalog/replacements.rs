//! Segments that come for others, and the time boundary that follows from those that count.
//!
//! Invariant: which segments count is written in one place, the table's lineage, and changes in one
//! transaction, together with the time boundary and with what is removed for it. A segment that
//! comes for a replacement is entered in the lineage in the transaction that adds it: nobody ever
//! reads the table with a segment that counts too early.

use std::collections::{BTreeSet, HashSet};

use schemas::boundary::{newest_ms, time_boundary_ms};
use schemas::lineage::{Lineage, ReplacementState};
use schemas::segment::{SegmentRecord, display_name};
use schemas::{Fault, SegmentId, Sequence, TableId, TableType};
use uuid::Uuid;

use super::segments::{OFFLINE_PARTITION, removal};
use super::{
    Assigned, Catalog, Head, StoredSegment, StoredTable, Versioned, encode, head_key, segment_key,
    table_key,
};
use crate::{MetaError, Txn, TxnOutcome};

/// Others may change the same table meanwhile.
const ATTEMPTS_MAX: usize = 20;

impl Catalog {
    /// Applies `change` to the lineage, and what follows from it to the time boundary and the
    /// watermarks, given the names of the segments that there are. It returns
    /// those to be removed with it.
    pub async fn change_lineage(
        &self,
        id: TableId,
        change: impl Fn(&mut Lineage, &HashSet<&str>) -> Result<BTreeSet<String>, Fault>,
    ) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS_MAX {
            let Versioned {
                value: mut table,
                revision,
            } = self.existing(id).await?;
            let segments = self.segments(id).await?;
            let there = segments.iter().map(|one| one.record.name.as_str());
            let before = table.lineage.clone();
            let over = change(&mut table.lineage, &there.collect())?;
            if table.lineage == before && over.is_empty() {
                return Ok(());
            }
            let (over, left): (Vec<_>, Vec<_>) = segments
                .iter()
                .map(|one| &one.record)
                .partition(|record| over.contains(&record.name));
            move_watermarks(&before, &mut table)?;
            if table.lineage.hidden() != before.hidden() {
                table.time_boundary_ms = boundary(&table, left.into_iter());
            }
            let key = table_key(id);
            let txn = Txn::default().if_revision(&key, revision);
            let txn = removal(txn, over.into_iter()).put(&key, encode(&table));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(());
            }
        }
        Err(MetaError::Conflict { key: table_key(id) }.into())
    }

    /// Sequences that no segment had before, for segments that come for a replacement: the first.
    pub async fn reserve_sequences(&self, id: TableId, count: u32) -> Result<Sequence, Fault> {
        let key = head_key(id, OFFLINE_PARTITION);
        for _ in 0..ATTEMPTS_MAX {
            let table = self.existing(id).await?;
            let head = self.head(id, OFFLINE_PARTITION).await?;
            let (first, revision) = head.map_or((0, 0), |h| (h.value.sequence, h.revision));
            let moved = Head {
                sequence: first.saturating_add(count),
                start: 0,
                epoch: 0,
            };
            let txn = Txn::default()
                .if_revision(table_key(id), table.revision)
                .if_revision(&key, revision)
                .put(&key, encode(&moved));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(first);
            }
        }
        Err(MetaError::Conflict { key }.into())
    }

    /// Adds a sealed segment that does not count until its replacement is done. Its sequence was
    /// reserved. Adding the same content again is fine.
    pub async fn add_replacing(
        &self,
        replacement: Uuid,
        mut record: SegmentRecord,
        assigned: Assigned,
        now_ms: i64,
    ) -> Result<SegmentRecord, Fault> {
        let SegmentId {
            table: id,
            partition,
            sequence,
        } = record.id;
        let key = segment_key(id, partition, sequence);
        for _ in 0..ATTEMPTS_MAX {
            let Versioned {
                value: mut table,
                revision,
            } = self.existing(id).await?;
            if let Some(same) = self.segment(record.id).await? {
                let same = same.record;
                return match same.crc == record.crc {
                    true => Ok(same),
                    false => Err(MetaError::Conflict { key }.into()),
                };
            }
            let first = table.lineage.find(replacement)?.first_sequence;
            let next = self.next_sequence(id).await?;
            if partition != OFFLINE_PARTITION || !(first..next).contains(&sequence) {
                return Err(Fault::invalid(format!(
                    "sequence {sequence} was not reserved for replacement {replacement}"
                )));
            }
            record.name = display_name(&table.spec, record.id, record.created_ms);
            table.lineage.add(replacement, &record.name, now_ms)?;
            let added = StoredSegment::new(record.clone(), assigned.clone());
            let of_table = table_key(id);
            let txn = Txn::default()
                .if_revision(&of_table, revision)
                .if_absent(&key)
                .put(of_table, encode(&table))
                .put(&key, encode(&added));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(record);
            }
        }
        Err(MetaError::Conflict { key }.into())
    }

    /// Puts the time boundary of an OFFLINE table where its segments say, once all of those that
    /// count are there to be read. Whether it moved.
    pub async fn move_boundary(
        &self,
        id: TableId,
        is_there: impl Fn(SegmentId) -> bool,
    ) -> Result<bool, MetaError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(Versioned {
                value: mut table,
                revision,
            }) = self.table(id).await?
            else {
                return Ok(false);
            };
            let segments = self.segments(id).await?;
            let hidden = table.lineage.hidden();
            let counts = |one: &&StoredSegment| !hidden.contains(one.record.name.as_str());
            let mut counted = segments.iter().filter(counts);
            if !counted.all(|one| is_there(one.record.id)) {
                return Ok(false);
            }
            let wanted = boundary(&table, segments.iter().map(|one| &one.record));
            if wanted == table.time_boundary_ms {
                return Ok(false);
            }
            table.time_boundary_ms = wanted;
            let key = table_key(id);
            let txn = Txn::default().if_revision(&key, revision);
            let outcome = self.store.txn(txn.put(&key, encode(&table))).await?;
            if let TxnOutcome::Committed(_) = outcome {
                return Ok(true);
            }
        }
        Err(MetaError::Conflict { key: table_key(id) })
    }

    /// Puts the time boundary at the newest row that counts, where it stays as long as these rows
    /// do, or leaves it to follow from the segments again. Where it is now.
    pub async fn set_boundary(
        &self,
        id: TableId,
        is_set: bool,
        is_there: impl Fn(SegmentId) -> bool,
    ) -> Result<Option<i64>, Fault> {
        for _ in 0..ATTEMPTS_MAX {
            let Versioned {
                value: mut table,
                revision,
            } = self.existing(id).await?;
            let segments = self.segments(id).await?;
            let hidden = table.lineage.hidden();
            let mut counted: Vec<&SegmentRecord> = segments.iter().map(|one| &one.record).collect();
            counted.retain(|record| !hidden.contains(record.name.as_str()));
            if is_set && let Some(away) = counted.iter().find(|record| !is_there(record.id)) {
                return Err(Fault::conflict(format!(
                    "segment `{}` is not loaded by any server yet; try again when it is",
                    away.name
                )));
            }
            let newest = newest_ms(&table.spec, counted.iter().copied());
            if is_set && newest.is_none() {
                let name = table.spec.physical_name();
                return Err(Fault::unavailable(format!(
                    "table `{name}` has no segment with a time, so nothing is known to be whole"
                )));
            }
            table.set_boundary_ms = newest.filter(|_| is_set);
            table.time_boundary_ms = boundary(&table, counted.into_iter());
            let key = table_key(id);
            let txn = Txn::default().if_revision(&key, revision);
            let txn = txn.put(&key, encode(&table));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(table.time_boundary_ms);
            }
        }
        Err(MetaError::Conflict { key: table_key(id) }.into())
    }

    /// Where the boundary is put back to when these segments go: rows are never missing in between.
    pub(super) async fn with_boundary_before(
        &self,
        id: TableId,
        gone: &[SegmentId],
        txn: Txn,
    ) -> Result<Txn, MetaError> {
        let Some(Versioned {
            value: mut table,
            revision,
        }) = self.table(id).await?
        else {
            return Ok(txn);
        };
        if table.time_boundary_ms.is_none() {
            return Ok(txn);
        }
        let segments = self.segments(id).await?;
        let left = segments.iter().map(|one| &one.record);
        let left = boundary(&table, left.filter(|record| !gone.contains(&record.id)));
        // `None` is before everything.
        if left >= table.time_boundary_ms {
            return Ok(txn);
        }
        table.time_boundary_ms = left;
        let key = table_key(id);
        Ok(txn.if_revision(&key, revision).put(key, encode(&table)))
    }

    async fn existing(&self, id: TableId) -> Result<Versioned<StoredTable>, Fault> {
        let gone = || Fault::not_found(format!("table {id} does not exist"));
        self.table(id).await?.ok_or_else(gone)
    }
}

/// Of replacements that are done, or taken back, by the change of the lineage.
fn move_watermarks(before: &Lineage, table: &mut StoredTable) -> Result<(), Fault> {
    let StoredTable {
        lineage,
        watermarks,
        ..
    } = table;
    for one in lineage.replacements() {
        let Some(moved) = &one.watermark else {
            continue;
        };
        let was = before.find(one.id).map(|one| one.state);
        let (from_ms, to_ms) = match (was, one.state) {
            (Ok(ReplacementState::InProgress), ReplacementState::Completed) => {
                (moved.from_ms, Some(moved.to_ms))
            }
            (Ok(ReplacementState::Completed), ReplacementState::Reverted) => {
                (Some(moved.to_ms), moved.from_ms)
            }
            _ => continue,
        };
        let found_ms = watermarks.get(&moved.name).copied();
        if found_ms != from_ms {
            return Err(Fault::conflict(format!(
                "replacement {}: the watermark `{}` is at {found_ms:?} and not at {from_ms:?}, as \
                 others have moved it",
                one.id, moved.name
            )));
        }
        match to_ms {
            Some(ms) => watermarks.insert(moved.name.clone(), ms),
            None => watermarks.remove(&moved.name),
        };
    }
    Ok(())
}

/// By those of the segments that count.
fn boundary<'a>(
    table: &StoredTable,
    segments: impl Iterator<Item = &'a SegmentRecord>,
) -> Option<i64> {
    if table.spec.table_type != TableType::Offline {
        return None;
    }
    let hidden = table.lineage.hidden();
    let counted = segments.filter(|record| !hidden.contains(record.name.as_str()));
    match table.set_boundary_ms {
        // What is gone is not whole any more.
        Some(set) => newest_ms(&table.spec, counted).map(|newest| newest.min(set)),
        None => time_boundary_ms(&table.spec, counted),
    }
}
