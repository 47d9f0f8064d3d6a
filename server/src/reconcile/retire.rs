//! Letting go: of what went to another server, after a grace, and of dropped tables, at once.

use std::sync::Arc;
use std::time::Duration;

use schemas::cluster::TableState;
use schemas::{Partition, SegmentId, TableId};

use super::{GRACE, Reconciler, STOP_GRACE};
use crate::view::{Table, TableView};

impl Reconciler {
    /// Lets go of what the state does not give to this server any more.
    pub(super) async fn retire(&mut self, table: &TableState, here: &Arc<Table>) {
        let view = here.view();
        let now = self.core.clock.monotonic();
        let mut gone = Vec::new();
        for segment in view.sealed().values() {
            let id = segment.id();
            // What is sealed here and not committed yet consumes, for the state.
            let state = table.segments.find(id);
            let keep = state.is_some_and(|state| self.is_mine(state) || !state.record.is_done());
            if self.is_over(keep, (id, Some(segment.crc())), now, GRACE) {
                gone.push((id, segment.crc()));
            }
        }
        let unwanted = self.unwanted_cold(&view, table, now);
        let mut lost = Vec::new();
        for partition in view.partitions() {
            let id = SegmentId {
                table: here.id,
                partition,
                sequence: 0,
            };
            let keep = self.consumers.contains_key(&(here.id, partition));
            if self.is_over(keep, (id, None), now, GRACE) {
                lost.push(partition);
            }
        }
        if gone.is_empty() && lost.is_empty() && unwanted.is_empty() {
            return;
        }
        here.publish(|view| {
            for (id, _) in &gone {
                view.retire(id.partition, id.sequence);
            }
            for id in unwanted {
                view.forget_cold(id.partition, id.sequence);
            }
            for partition in lost {
                view.remove_run(partition);
            }
        });
        self.core.heart.hurry();
        let core = Arc::clone(&self.core);
        let removed = self.core.compute.run(move || {
            for (id, crc) in gone {
                for path in core.store.paths(id, crc) {
                    core.store.remove_file(&path);
                }
            }
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "segment files were not removed");
        }
    }

    fn unwanted_cold(
        &mut self,
        view: &TableView,
        table: &TableState,
        now: Duration,
    ) -> Vec<SegmentId> {
        let mut unwanted = Vec::new();
        for ((partition, sequence), crc) in view.cold() {
            let id = SegmentId {
                table: view.spec.id,
                partition: *partition,
                sequence: *sequence,
            };
            let state = table.segments.find(id);
            let state = state.filter(|state| state.record.crc == *crc);
            let keep = state.is_some_and(|state| self.is_mine(state));
            if self.is_over(keep, (id, Some(*crc)), now, GRACE) {
                unwanted.push(id);
            }
        }
        unwanted
    }

    /// Whether something that is not to be kept has been so for the grace.
    pub(super) fn is_over(
        &mut self,
        keep: bool,
        key: (SegmentId, Option<u32>),
        now: Duration,
        grace: Duration,
    ) -> bool {
        if keep {
            self.unwanted.remove(&key);
            return false;
        }
        let since = *self.unwanted.entry(key).or_insert(now);
        let over = now.saturating_sub(since) >= grace;
        if over {
            self.unwanted.remove(&key);
        }
        over
    }

    pub(super) async fn drop_table(&mut self, id: TableId) {
        let consumers: Vec<(TableId, Partition)> = self
            .consumers
            .keys()
            .copied()
            .filter(|(table, _)| *table == id)
            .collect();
        for key in consumers {
            if let Some(running) = self.consumers.remove(&key) {
                running.consumer.stop(STOP_GRACE).await;
            }
        }
        self.restarts.retain(|(table, _), _| *table != id);
        self.retries.retain(|(segment, _), _| segment.table != id);
        self.unwanted.retain(|(segment, _), _| segment.table != id);
        self.core.tables.remove(id);
        self.core.heart.hurry();
        let core = Arc::clone(&self.core);
        let removed = self.core.compute.run(move || core.store.remove_table(id));
        if let Err(error) = removed.await {
            tracing::warn!(%error, table = %id, "a table's files were not removed");
        }
    }
}
