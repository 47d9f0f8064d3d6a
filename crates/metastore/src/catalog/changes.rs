//! What changed in the catalog, table by table.
//!
//! Invariants: whoever reads a table again after each [`CatalogChange`] of it ends with what is
//! stored, whatever was missed before; a [`WholeTable`], and one with its [`TableChanges`], is the
//! table as it was at a revision.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::BoxStream;
use schemas::TableId;
use schemas::segments::SegmentKey;

use super::segments::StoredSegment;
use super::tables::StoredTable;
use super::{Catalog, decode, segments_prefix, table_key};
use crate::{Change, MetaError, Revision, Since};

/// Of a segment some hundred bytes are stored.
const PAGE_SEGMENTS: usize = 4096;
/// So often a table is read by pages. Then all of it at once, as so much changes that the store
/// has forgotten what changed since the first page.
const PAGED_READS_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    /// Something of this table, in the transaction that made this revision.
    Table { id: TableId, revision: Revision },
    /// The watcher fell behind: anything may have changed.
    Everything,
}

/// A table as it was stored at a revision.
#[derive(Clone, Debug)]
pub struct WholeTable {
    /// `None`: it does not exist.
    pub table: Option<StoredTable>,
    pub segments: SegmentPages,
    pub revision: Revision,
}

/// The segments of a table in the order of their keys. There may be very many: whoever goes through
/// them gives back the memory of each page behind it.
#[derive(Clone, Debug, Default)]
pub struct SegmentPages(Vec<Vec<StoredSegment>>);

impl IntoIterator for SegmentPages {
    type Item = StoredSegment;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<StoredSegment>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl SegmentPages {
    pub fn iter(&self) -> impl Iterator<Item = &StoredSegment> {
        self.0.iter().flatten()
    }

    /// The segment as it is now; `None`: it is gone.
    fn put(&mut self, key: SegmentKey, segment: Option<StoredSegment>) {
        let ends_before = |page: &Vec<StoredSegment>| {
            let last = page.last();
            last.is_some_and(|last| last.record.id.key() < key)
        };
        let mut at = self.0.partition_point(ends_before);
        if at == self.0.len() {
            match segment {
                None => return,
                Some(_) if at == 0 => self.0.push(Vec::new()),
                Some(_) => at -= 1,
            }
        }
        let page = &mut self.0[at];
        let found = page.binary_search_by_key(&key, |stored| stored.record.id.key());
        match (found, segment) {
            (Ok(row), Some(segment)) => page[row] = segment,
            (Ok(row), None) => drop(page.remove(row)),
            (Err(row), Some(segment)) => page.insert(row, segment),
            (Err(_), None) => {}
        }
        if page.is_empty() {
            self.0.remove(at);
        }
    }
}

/// What became of a table from one revision to another.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// `None`: it is as it was. `Some(None)`: it does not exist any more.
    pub table: Option<Option<StoredTable>>,
    /// As they are now; `None`: gone.
    pub segments: BTreeMap<SegmentKey, Option<StoredSegment>>,
    pub revision: Revision,
}

impl Catalog {
    /// `None`: the store does not know any more what happened since then.
    pub async fn table_changes(
        &self,
        id: TableId,
        since: Revision,
    ) -> Result<Option<TableChanges>, MetaError> {
        let (table, prefix) = (table_key(id), segments_prefix(id));
        let found = self.store.since(&[table, prefix.clone()], since).await?;
        let Some(Since { changes, revision }) = found else {
            return Ok(None);
        };
        let mut all = TableChanges {
            table: None,
            segments: BTreeMap::new(),
            revision,
        };
        for change in changes {
            let (key, entry) = match change {
                Change::Put(entry) => (entry.key.clone(), Some(entry)),
                Change::Delete { key, .. } => (key, None),
                Change::Resync => return Ok(None),
            };
            match key.strip_prefix(&prefix) {
                None => {
                    let table = entry.as_ref().map(decode::<StoredTable>).transpose()?;
                    all.table = Some(table.map(|table| table.value));
                }
                Some(place) => {
                    let segment = entry.as_ref().map(decode::<StoredSegment>).transpose()?;
                    if let Some(place) = place_of(place) {
                        all.segments
                            .insert(place, segment.map(|segment| segment.value));
                    }
                }
            }
        }
        Ok(Some(all))
    }

    /// The segments are those of a moment at which the table was as it is told: its lineage says
    /// which of them count. They are read by pages, and what changed meanwhile after them.
    pub async fn whole_table(&self, id: TableId) -> Result<WholeTable, MetaError> {
        let key = table_key(id);
        let mut reads = 0;
        loop {
            reads += 1;
            let each = match reads <= PAGED_READS_MAX {
                true => PAGE_SEGMENTS,
                false => usize::MAX,
            };
            let (entries, revision) = self.store.range(&key).await?;
            let table = entries.iter().find(|entry| entry.key == key);
            let Some(table) = table.map(decode::<StoredTable>).transpose()? else {
                return Ok(WholeTable {
                    table: None,
                    segments: SegmentPages::default(),
                    revision,
                });
            };
            let mut segments = self.segment_pages(id, each).await?;
            let Some(changes) = self.table_changes(id, revision).await? else {
                continue;
            };
            if changes.table.is_some() {
                continue;
            }
            for (key, segment) in changes.segments {
                segments.put(key, segment);
            }
            return Ok(WholeTable {
                table: Some(table.value),
                segments,
                revision: changes.revision,
            });
        }
    }

    /// Each page is of a moment of its own.
    async fn segment_pages(&self, id: TableId, each: usize) -> Result<SegmentPages, MetaError> {
        let prefix = segments_prefix(id);
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let (entries, _) = self.store.page(&prefix, &after, each).await?;
            let Some(last) = entries.last() else {
                return Ok(SegmentPages(pages));
            };
            after = last.key.clone();
            let is_last = entries.len() < each;
            let page = entries.iter().map(|entry| {
                let mut stored: StoredSegment = decode(entry)?.value;
                // What decodes it leaves room for four.
                stored.record.column_ranges.shrink_to_fit();
                Ok(stored)
            });
            pages.push(page.collect::<Result<_, MetaError>>()?);
            if is_last {
                return Ok(SegmentPages(pages));
            }
        }
    }

    /// Every change of a table or its segments from now on.
    pub async fn watch(&self) -> Result<BoxStream<'static, CatalogChange>, MetaError> {
        let changes = self.store.watch("/").await?;
        Ok(changes
            .filter_map(|change| std::future::ready(of_table(&change)))
            .boxed())
    }
}

/// `<partition>/<sequence>`
fn place_of(text: &str) -> Option<SegmentKey> {
    let (partition, sequence) = text.split_once('/')?;
    Some((partition.parse().ok()?, sequence.parse().ok()?))
}

fn of_table(change: &Change) -> Option<CatalogChange> {
    let (key, revision) = match change {
        Change::Resync => return Some(CatalogChange::Everything),
        Change::Put(entry) => (&entry.key, entry.revision),
        Change::Delete { key, revision } => (key, *revision),
    };
    let mut parts = key.split('/').skip(1);
    let kind = parts.next()?;
    let id = TableId(parts.next()?.parse().ok()?);
    matches!(kind, "tables" | "segments").then_some(CatalogChange::Table { id, revision })
}

#[cfg(test)]
mod tests {
    use schemas::SegmentId;
    use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
    use serde_json::json;

    use super::*;

    fn segment((partition, sequence): SegmentKey, crc: u32) -> StoredSegment {
        let id = SegmentId {
            table: TableId(uuid::Uuid::nil()),
            partition,
            sequence,
        };
        let record: SegmentRecord = serde_json::from_value(json!({
            "id": id, "name": "", "status": SegmentStatus::Done, "start": 0, "end": 1, "crc": crc,
            "ledger": Ledger::default(), "bytes": 0, "stored_bytes": 0, "uri": null,
            "created_ms": 0, "sealed_ms": null, "time_range": null, "column_ranges": [],
        }))
        .unwrap();
        StoredSegment::new(record, Vec::new())
    }

    #[test]
    fn pages_take_changes_as_a_map_does() {
        let key = |number: u32| (number / 7, number % 7);
        for each in [1, 3, 40] {
            let all: Vec<StoredSegment> = (0..40).map(|n| segment(key(2 * n), 0)).collect();
            let mut map: BTreeMap<_, _> = all.iter().map(|s| (s.record.id.key(), 0)).collect();
            let mut pages = SegmentPages(all.chunks(each).map(<[_]>::to_vec).collect());
            for step in 0..400u32 {
                let own = key(step * 37 % 90);
                let is_gone = step % 3 == 0 || step > 300;
                pages.put(own, (!is_gone).then(|| segment(own, step)));
                match is_gone {
                    true => map.remove(&own),
                    false => map.insert(own, step),
                };
                let found = pages.iter();
                let found = found.map(|stored| (stored.record.id.key(), stored.record.crc));
                assert!(
                    found.eq(map.iter().map(|(own, crc)| (*own, *crc))),
                    "{step}"
                );
            }
            assert!(map.is_empty() && pages.0.is_empty());
        }
    }
}
