//! What changed in the catalog, table by table.
//!
//! Invariant: whoever reads a table again after each [`CatalogChange`] of it ends with what is
//! stored, whatever was missed before.

use futures::StreamExt;
use futures::stream::BoxStream;
use schemas::TableId;

use super::segments::StoredSegment;
use super::tables::StoredTable;
use super::{Catalog, decode, segments_prefix, table_key};
use crate::{Change, MetaError, Revision};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    /// Something of this table, in the transaction that made this revision.
    Table { id: TableId, revision: Revision },
    /// The watcher fell behind: anything may have changed.
    Everything,
}

/// A table as it was stored, with everything up to a revision; maybe newer in parts.
#[derive(Clone, Debug)]
pub struct WholeTable {
    /// `None`: it does not exist.
    pub table: Option<StoredTable>,
    pub segments: Vec<StoredSegment>,
    pub revision: Revision,
}

impl Catalog {
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
            let segments = self.read_all(&segments_prefix(id)).await?;
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
