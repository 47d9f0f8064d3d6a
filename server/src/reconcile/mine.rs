//! The segments that concern this server, of tables that may have many more. A state of the cluster
//! is looked through again only where it differs from the one before.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::cluster::{ClusterState, SegmentState, TableState};
use schemas::segments::PerChunk;
use schemas::{InstanceId, TableId};

#[derive(Debug)]
pub(super) struct Mine {
    me: InstanceId,
    tables: HashMap<TableId, PerChunk<Arc<[Arc<SegmentState>]>>>,
}

impl Mine {
    pub(super) fn of(me: &InstanceId) -> Self {
        Self {
            me: me.clone(),
            tables: HashMap::new(),
        }
    }

    /// Segments that this server shall hold, or is told to brokers to hold, in their order.
    pub(super) fn in_table(&mut self, table: &TableState) -> Vec<Arc<SegmentState>> {
        let me = &self.me;
        let concerns = |segment: &&Arc<SegmentState>| {
            segment.assigned.contains(me) || segment.online.contains(me)
        };
        let known = self.tables.entry(table.spec.id).or_default();
        *known = known.updated(&table.segments, |chunk| {
            chunk.iter().filter(concerns).cloned().collect()
        });
        let own = known.iter().flat_map(|(_, own)| own.iter());
        own.cloned().collect()
    }

    /// Forgets tables that are gone.
    pub(super) fn keep(&mut self, state: &ClusterState) {
        self.tables.retain(|id, _| state.tables.contains_key(id));
    }
}
