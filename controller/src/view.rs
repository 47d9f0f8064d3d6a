//! What the controller publishes: tables joined with what the living servers say they hold.
//!
//! Invariants: only who shall hold a segment is told to brokers, as long as one of them does: who
//! lets go of something is asked for it no more before it is gone. Rows that consume are read from
//! nobody else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metastore::Revision;
use metastore::catalog::{Moves, StoredInstance};
use schemas::cluster::{InstanceState, Role, SegmentState, TableState};
use schemas::placement::{InstanceOrder, default_tags};
use schemas::proto::{ConsumerState, IndexList, ReloadProgress};
use schemas::{InstanceId, SegmentId, TableId};

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) version: u64,
    pub(crate) tables: BTreeMap<TableId, Published>,
    pub(crate) removed: BTreeMap<TableId, u64>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    /// What operators ordered about instances.
    pub(crate) ordered: HashMap<InstanceId, StoredInstance>,
}

#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) state: Arc<TableState>,
    pub(crate) changed: u64,
    /// Everything of the catalog up to here is in it.
    pub(crate) revision: Revision,
    /// Where segments that move shall be in the end.
    pub(crate) targets: Arc<Targets>,
    pub(crate) moves: Arc<Moves>,
}

/// A table as it is published, and what is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    pub(crate) table: Arc<TableState>,
    pub(crate) changed: u64,
    pub(crate) targets: Arc<Targets>,
    pub(crate) moves: Arc<Moves>,
}

impl Moving {
    pub(crate) fn of(table: &Published) -> Self {
        Self {
            table: Arc::clone(&table.state),
            changed: table.changed,
            targets: Arc::clone(&table.targets),
            moves: Arc::clone(&table.moves),
        }
    }

    /// Where a segment shall be in the end.
    pub(crate) fn wanted<'a>(&'a self, segment: &'a SegmentState) -> &'a [InstanceId] {
        let target = self.targets.get(&segment.record.id);
        target.map_or(segment.assigned.as_slice(), Vec::as_slice)
    }

    /// Empty: it stays.
    pub(crate) fn target(&self, segment: &SegmentState) -> Vec<InstanceId> {
        let target = self.targets.get(&segment.record.id);
        target.cloned().unwrap_or_default()
    }
}

pub(crate) type Targets = HashMap<SegmentId, Vec<InstanceId>>;

/// A role that has sent heartbeats.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) role: Role,
    pub(crate) address: String,
    pub(crate) plan_format: u32,
    pub(crate) exchange_format: u32,
    pub(crate) last_heard: Duration,
    pub(crate) alive: bool,
    /// When it was taken as dead.
    pub(crate) died: Option<Duration>,
    pub(crate) held: HashSet<(SegmentId, u32)>,
    pub(crate) consumers: Vec<ConsumerState>,
    /// Of the sealed segments that it holds.
    pub(crate) indexes: HashMap<SegmentId, Arc<IndexList>>,
    pub(crate) reloads: Vec<ReloadProgress>,
    /// It should get nothing new.
    pub(crate) low_on_disk: bool,
}

impl View {
    /// Whether a living server says that it holds it.
    pub(crate) fn holds(&self, server: &InstanceId, id: SegmentId, crc: u32) -> bool {
        let instance = self.instances.get(server);
        instance.is_some_and(|instance| instance.alive && instance.held.contains(&(id, crc)))
    }

    /// Those that brokers may ask.
    pub(crate) fn online(
        &self,
        (id, crc, is_done): (SegmentId, u32, bool),
        assigned: &[InstanceId],
    ) -> Vec<InstanceId> {
        let holds =
            |(_, one): &(&InstanceId, &Instance)| one.alive && one.held.contains(&(id, crc));
        let holders: Vec<&InstanceId> = self
            .instances
            .iter()
            .filter(holds)
            .map(|(id, _)| id)
            .collect();
        let of = |wanted: &dyn Fn(&InstanceId) -> bool| -> Vec<InstanceId> {
            let all = holders.iter().filter(|id| wanted(id));
            all.map(|id| InstanceId::clone(id)).collect()
        };
        let is_enabled = |id: &InstanceId| self.order(id) != InstanceOrder::Disabled;
        let mut online = of(&|id| assigned.contains(id) && is_enabled(id));
        if online.is_empty() {
            online = of(&|id| assigned.contains(id));
        }
        if online.is_empty() && is_done {
            online = of(&|_| true);
        }
        online
    }

    pub(crate) fn order(&self, id: &InstanceId) -> InstanceOrder {
        let stored = self.ordered.get(id);
        stored.map_or(InstanceOrder::Enabled, |stored| stored.order)
    }

    pub(crate) fn tags(&self, id: &InstanceId, role: Role) -> Vec<String> {
        let stored = self.ordered.get(id);
        let own = stored.and_then(|stored| stored.tags.clone());
        own.unwrap_or_else(|| default_tags(role))
    }

    pub(crate) fn put(
        &mut self,
        state: TableState,
        targets: Targets,
        moves: Moves,
        revision: Revision,
    ) {
        let id = state.spec.id;
        if self.removed.contains_key(&id) {
            return;
        }
        if let Some(published) = self.tables.get_mut(&id) {
            if published.revision > revision {
                return;
            }
            published.revision = revision;
            published.targets = Arc::new(targets);
            published.moves = Arc::new(moves);
            if *published.state == state {
                return;
            }
            self.version += 1;
            published.changed = self.version;
            published.state = Arc::new(state);
            return;
        }
        self.version += 1;
        let published = Published {
            state: Arc::new(state),
            changed: self.version,
            revision,
            targets: Arc::new(targets),
            moves: Arc::new(moves),
        };
        self.tables.insert(id, published);
    }

    pub(crate) fn remove(&mut self, id: TableId) {
        if self.tables.remove(&id).is_some() {
            self.version += 1;
            self.removed.insert(id, self.version);
        }
    }

    pub(crate) fn hear(&mut self, id: InstanceId, instance: Instance) {
        let old = self.instances.insert(id.clone(), instance);
        let new = &self.instances[&id];
        let same_place = old.as_ref().is_some_and(|old| {
            (old.alive, &old.address) == (true, &new.address)
                && (old.plan_format, old.exchange_format) == (new.plan_format, new.exchange_format)
        });
        if !same_place {
            self.version += 1;
        }
        if old.is_none_or(|old| !old.alive || old.held != new.held) {
            self.refresh_online();
        }
    }

    fn online_of(&self, segment: &SegmentState) -> Vec<InstanceId> {
        let record = &segment.record;
        self.online((record.id, record.crc, record.is_done()), &segment.assigned)
    }

    /// Joins all tables with who holds what now.
    pub(crate) fn refresh_online(&mut self) {
        self.version += 1;
        let version = self.version;
        let mut fresh = Vec::new();
        for (id, table) in &self.tables {
            let online: Vec<Vec<InstanceId>> = table
                .state
                .segments
                .iter()
                .map(|segment| self.online_of(segment))
                .collect();
            if table
                .state
                .segments
                .iter()
                .zip(&online)
                .any(|(s, o)| s.online != *o)
            {
                fresh.push((*id, online));
            }
        }
        for (id, online) in fresh {
            if let Some(table) = self.tables.get_mut(&id) {
                let mut state = TableState::clone(&table.state);
                for (segment, online) in state.segments.iter_mut().zip(online) {
                    segment.online = online;
                }
                table.state = Arc::new(state);
                table.changed = version;
            }
        }
    }

    pub(crate) fn all_heard(&self) -> bool {
        let segments = self.tables.values().flat_map(|table| &table.state.segments);
        let mut assigned = segments.flat_map(|segment| &segment.assigned);
        assigned.all(|server| self.instances.contains_key(server))
    }

    pub(crate) fn instance_states(&self) -> impl Iterator<Item = InstanceState> {
        self.instances.iter().map(|(id, instance)| InstanceState {
            id: id.clone(),
            role: instance.role,
            address: instance.address.clone(),
            alive: instance.alive,
            plan_format: instance.plan_format,
            exchange_format: instance.exchange_format,
            leads: false,
        })
    }
}
