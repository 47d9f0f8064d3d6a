//! Segments that come for others: all of them count at once, when all of them can be read.
//!
//! Invariant: a replacement is ended only when servers hold each of its segments; then its
//! segments count, those that it replaces do not, and the time boundary moves, in one transaction
//! and one publication. Whoever dies before leaves nothing that a query sees.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::cluster::{SegmentState, TableState};
use schemas::lineage::{Lineage, Replacement, ReplacementState};
use schemas::segment::SegmentRecord;
use schemas::task::RewriteOrder;
use schemas::{Fault, TableId, TableType};
use uuid::Uuid;

use crate::state::State;

/// How long the end of a replacement waits for servers to load its segments.
const LOAD_PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(10);
/// How long an answer waits until the brokers know.
const SEEN_PATIENCE: Duration = Duration::from_secs(30);

/// What shall be replaced by what.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Segments by their names, as Pinot's clients know them.
    Named {
        from: BTreeSet<String>,
        to: BTreeSet<String>,
        force: bool,
    },
    /// The segments of an import, which names itself by `key`; `refresh`: in place of all others.
    Import { key: String, refresh: bool },
    /// Those that a task rewrites.
    Rewrite {
        key: String,
        order: Box<RewriteOrder>,
    },
}

impl State {
    /// The OFFLINE part behind a name.
    pub(crate) fn offline_part(&self, name: &str) -> Result<Arc<TableState>, Fault> {
        let parts = self.resolve(name)?.into_iter();
        let mut offline = parts.filter(|table| table.spec.table_type == TableType::Offline);
        offline.next().ok_or_else(|| {
            Fault::invalid(format!(
                "table `{name}` is REALTIME and consumes a stream; segments are pushed to OFFLINE \
                 tables"
            ))
        })
    }

    pub(crate) async fn lineage(&self, table: TableId) -> Result<Lineage, Fault> {
        let gone = || Fault::not_found(format!("table {table} does not exist"));
        let stored = self.catalog.table(table).await?.ok_or_else(gone)?;
        Ok(stored.value.lineage)
    }

    /// The replacement that has begun, or that an import of the same key has left under way.
    pub(crate) async fn start_replacement(
        &self,
        table: &TableState,
        wanted: Wanted,
    ) -> Result<Replacement, Fault> {
        let id = table.spec.id;
        let (mut new, force, all) = match wanted {
            Wanted::Named { from, to, force } => (replacement(from, to, None), force, false),
            Wanted::Import { key, refresh } => {
                if let Some(left) = self.lineage(id).await?.under_way(&key) {
                    return Ok(left.clone());
                }
                let nothing = BTreeSet::new;
                (replacement(nothing(), nothing(), Some(key)), false, refresh)
            }
            Wanted::Rewrite { key, order } => {
                if let Some(left) = self.lineage(id).await?.under_way(&key) {
                    return Ok(left.clone());
                }
                let from = order.replaced().map(str::to_owned).collect();
                let new = Replacement {
                    yields: true,
                    watermark: order.watermark,
                    ..replacement(from, BTreeSet::new(), Some(key))
                };
                (new, false, false)
            }
        };
        new.changed_ms = self.clock.now_ms();
        new.first_sequence = self.catalog.next_sequence(id).await?;
        let wanted = new.id;
        let start = |lineage: &mut Lineage, there: &HashSet<&str>| {
            let mut new = new.clone();
            if all {
                let hidden = lineage.hidden();
                let seen = there.iter().filter(|name| !hidden.contains(*name));
                new.from = seen.map(ToString::to_string).collect();
            }
            lineage.start(new, there, force)?;
            Ok(BTreeSet::new())
        };
        self.catalog.change_lineage(id, start).await?;
        self.publish(id).await?;
        self.lineage(id).await?.find(wanted).cloned()
    }

    /// Returns when servers hold its segments and the brokers know that they count: all, or those
    /// that are named.
    pub(crate) async fn end_replacement(
        &self,
        table: &TableState,
        replacement: Uuid,
        to: Option<BTreeSet<String>>,
    ) -> Result<(), Fault> {
        let id = table.spec.id;
        let lineage = self.lineage(id).await?;
        let known = lineage.find(replacement)?;
        let wanted = to.as_ref().unwrap_or(&known.to);
        if known.state == ReplacementState::InProgress {
            self.wait_until_held(id, wanted).await?;
        }
        let now_ms = self.clock.now_ms();
        let end = |lineage: &mut Lineage, there: &HashSet<&str>| {
            lineage.end(replacement, to.as_ref(), there, now_ms)
        };
        self.catalog.change_lineage(id, end).await?;
        self.publish(id).await?;
        self.wait_until_seen(SEEN_PATIENCE).await
    }

    pub(crate) async fn revert_replacement(
        &self,
        table: &TableState,
        replacement: Uuid,
        force: bool,
    ) -> Result<(), Fault> {
        let (id, now_ms) = (table.spec.id, self.clock.now_ms());
        let revert = |lineage: &mut Lineage, there: &HashSet<&str>| {
            lineage.revert(replacement, force, there, now_ms)?;
            Ok(BTreeSet::new())
        };
        self.catalog.change_lineage(id, revert).await?;
        self.publish(id).await?;
        self.wait_until_seen(SEEN_PATIENCE).await
    }

    /// Registers a segment of a replacement, which is in the deep store already. Servers load it
    /// while others come.
    pub(crate) async fn add_replacing_segment(
        &self,
        replacement: Uuid,
        record: SegmentRecord,
    ) -> Result<SegmentRecord, Fault> {
        let id = record.id.table;
        let assigned = self.servers_for(&record)?;
        let now_ms = self.clock.now_ms();
        let catalog = &self.catalog;
        let record = catalog.add_replacing(replacement, record, assigned, now_ms);
        let record = record.await?;
        self.publish(id).await?;
        Ok(record)
    }

    async fn wait_until_held(&self, id: TableId, names: &BTreeSet<String>) -> Result<(), Fault> {
        let deadline = self.clock.monotonic() + LOAD_PATIENCE;
        loop {
            let gone = || Fault::not_found("the table was dropped");
            let table = self.table(id).ok_or_else(gone)?;
            let of = table.segments.iter();
            let mut of = of.filter(|segment| names.contains(&segment.record.name));
            let Some(missing) = of.find(|segment| !is_held(segment)) else {
                return Ok(());
            };
            if self.clock.monotonic() >= deadline {
                return Err(Fault::timeout(format!(
                    "no server has loaded segment `{}` yet; try again",
                    missing.record.name
                )));
            }
            self.clock.sleep(POLL).await;
        }
    }
}

/// All that shall hold it do.
pub(crate) fn is_held(segment: &SegmentState) -> bool {
    let assigned = &segment.assigned;
    !assigned.is_empty() && assigned.iter().all(|one| segment.online.contains(one))
}

fn replacement(from: BTreeSet<String>, to: BTreeSet<String>, key: Option<String>) -> Replacement {
    Replacement {
        id: Uuid::new_v4(),
        state: ReplacementState::InProgress,
        from,
        to,
        changed_ms: 0,
        key,
        first_sequence: 0,
        yields: false,
        watermark: None,
    }
}
