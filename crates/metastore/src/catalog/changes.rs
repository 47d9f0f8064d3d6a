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
    pub segments: Vec<StoredSegment>,
    pub revision: Revision,
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
    /// which of them count.
    pub async fn whole_table(&self, id: TableId) -> Result<WholeTable, MetaError> {
        let key = table_key(id);
        loop {
            let (entries, revision) = self.store.range(&key).await?;
            let table = entries.iter().find(|entry| entry.key == key);
            let Some(table) = table.map(decode::<StoredTable>).transpose()? else {
                return Ok(WholeTable {
                    table: None,
                    segments: Vec::new(),
                    revision,
                });
            };
            let (entries, revision) = self.store.range(&segments_prefix(id)).await?;
            // Each entry goes when its segment is there: there may be very many.
            let segments = entries.into_iter().map(|entry| Ok(decode(&entry)?.value));
            let segments = segments.collect::<Result<_, MetaError>>()?;
            let now = self.store.get(&key).await?.map(|entry| entry.revision);
            if now == Some(table.revision) {
                return Ok(WholeTable {
                    table: Some(table.value),
                    segments,
                    revision,
                });
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
