//! What the controller publishes: tables joined with what the living servers say they hold.
//!
//! Invariants: only who shall hold a segment is told to brokers, as long as one of them does: who
//! lets go of something is asked for it no more before it is gone. Rows that consume are read from
//! nobody else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metastore::Revision;
use metastore::catalog::{
    Moves, SegmentPages, StoredInstance, StoredSegment, StoredTable, TableChanges,
};
use schemas::cluster::{
    ClusterState, InstanceState, Role, SegmentState, ServerLists, Servers, TableState,
};
use schemas::placement::{InstanceOrder, default_tags};
use schemas::proto::{ConsumerState, ReloadProgress};
use schemas::segment::SegmentRecord;
use schemas::segments::{SegmentKey, Segments};
use schemas::{InstanceId, SegmentId, TableId};

use crate::holding::Holding;
use crate::joining::{Known, Life};

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) version: u64,
    pub(crate) tables: BTreeMap<TableId, Published>,
    pub(crate) removed: HashSet<TableId>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    /// What operators ordered about instances.
    pub(crate) ordered: HashMap<InstanceId, StoredInstance>,
    /// Segments that each server shall hold.
    burden: HashMap<InstanceId, u64>,
    lists: ServerLists,
    /// Of this version, once somebody asked for it.
    snapshot: Option<Arc<ClusterState>>,
}

#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) state: Arc<TableState>,
    pub(crate) changed: u64,
    /// It is the table as it was stored at this revision.
    pub(crate) revision: Revision,
    /// Where segments that move shall be in the end.
    pub(crate) targets: Arc<Targets>,
    pub(crate) moves: Arc<Moves>,
    /// Names of segments that no query sees.
    hidden: HashSet<String>,
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
        target.map_or(&*segment.assigned, Vec::as_slice)
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
    pub(crate) held: Arc<Holding>,
    pub(crate) consumers: Vec<ConsumerState>,
    pub(crate) reloads: Vec<ReloadProgress>,
    /// It should get nothing new.
    pub(crate) low_on_disk: bool,
    pub(crate) life: Life,
    /// It is heard, and does not count as living for this reason.
    pub(crate) turned_away: Option<String>,
}

impl Instance {
    pub(crate) fn as_known(&self, now: Duration) -> Known<'_> {
        Known {
            life: &self.life,
            address: &self.address,
            alive: self.alive,
            silent_for: now.saturating_sub(self.last_heard),
        }
    }
}

impl View {
    /// Whether a living server says that it holds it.
    pub(crate) fn holds(&self, server: &InstanceId, record: &SegmentRecord) -> bool {
        let instance = self.instances.get(server);
        instance.is_some_and(|instance| instance.alive && instance.held.has(record))
    }

    /// Those that brokers may ask, by name.
    fn online(&self, record: &SegmentRecord, assigned: &[InstanceId]) -> Vec<InstanceId> {
        let holders = assigned.iter().filter(|server| self.holds(server, record));
        let mut holders: Vec<InstanceId> = holders.cloned().collect();
        let is_enabled = |id: &InstanceId| self.order(id) != InstanceOrder::Disabled;
        if holders.iter().any(is_enabled) {
            holders.retain(is_enabled);
        }
        if holders.is_empty() && record.is_done() {
            let all = self.instances.keys();
            holders = all
                .filter(|server| self.holds(server, record))
                .cloned()
                .collect();
        }
        holders.sort();
        holders
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

    /// How many segments each server shall hold.
    pub(crate) fn burden(&self) -> &HashMap<InstanceId, u64> {
        &self.burden
    }

    /// Puts all of a table in the place of what is known of it.
    pub(crate) fn put(&mut self, table: StoredTable, segments: SegmentPages, revision: Revision) {
        let id = table.spec.id;
        if self.removed.contains(&id) {
            return;
        }
        if self
            .tables
            .get(&id)
            .is_some_and(|known| known.revision > revision)
        {
            return;
        }
        let hidden = hidden_of(&table);
        let targets = segments.iter().filter(|stored| !stored.target.is_empty());
        let targets = targets.map(|stored| (stored.record.id, stored.target.clone()));
        let targets: Targets = targets.collect();
        let fresh = segments
            .into_iter()
            .map(|stored| self.joined(stored, &hidden));
        let fresh: Segments = fresh.collect();
        let known = self
            .tables
            .get(&id)
            .map(|known| known.state.segments.clone());
        let mut segments = known.unwrap_or_default();
        let before = segments.clone();
        // What is as it was stays the same thing.
        let changes = before.changes(&fresh);
        for key in changes.removed {
            self.replace(&mut segments, key, None);
        }
        for segment in changes.put {
            self.replace(
                &mut segments,
                segment.record.id.key(),
                Some(Arc::clone(segment)),
            );
        }
        let moves = Arc::new(table.moves.clone());
        let published = Published {
            state: Arc::new(head(table, segments)),
            changed: 0,
            revision,
            targets: Arc::new(targets),
            moves,
            hidden,
        };
        self.show(published);
    }

    /// Takes what changed of a table since the revision of which it was told; `false`: it is not
    /// known as it was then.
    pub(crate) fn apply(&mut self, id: TableId, since: Revision, changes: TableChanges) -> bool {
        if self.removed.contains(&id) {
            return true;
        }
        let revision = changes.revision;
        let Some(known) = self.tables.get(&id) else {
            return false;
        };
        if known.revision > revision {
            return true;
        }
        if known.revision < since {
            return false;
        }
        if matches!(changes.table, Some(None)) {
            self.remove(id);
            return true;
        }
        let before = Arc::clone(&known.state);
        let (mut targets, mut moves) = (Arc::clone(&known.targets), Arc::clone(&known.moves));
        let mut hidden = known.hidden.clone();
        let mut segments = before.segments.clone();
        let mut state = TableState::clone(&before);
        if let Some(Some(table)) = changes.table {
            let hidden_now = hidden_of(&table);
            if hidden_now != hidden {
                hide(&mut segments, &hidden_now);
                hidden = hidden_now;
            }
            moves = Arc::new(table.moves.clone());
            state = head(table, Segments::default());
        }
        for (key, stored) in changes.segments {
            let (partition, sequence) = key;
            let segment = SegmentId {
                table: id,
                partition,
                sequence,
            };
            let target = stored.as_ref().map(|stored| stored.target.clone());
            match target.filter(|target| !target.is_empty()) {
                Some(target) => drop(Arc::make_mut(&mut targets).insert(segment, target)),
                None if targets.contains_key(&segment) => {
                    Arc::make_mut(&mut targets).remove(&segment);
                }
                None => {}
            }
            let fresh = stored.map(|stored| Arc::new(self.joined(stored, &hidden)));
            self.replace(&mut segments, key, fresh);
        }
        state.segments = segments;
        self.show(Published {
            state: Arc::new(state),
            changed: 0,
            revision,
            targets,
            moves,
            hidden,
        });
        true
    }

    /// From now on this is what there is of the table.
    fn show(&mut self, mut fresh: Published) {
        let id = fresh.state.spec.id;
        let known = self.tables.get(&id);
        if let Some(known) = known.filter(|known| known.state == fresh.state) {
            fresh.state = Arc::clone(&known.state);
            fresh.changed = known.changed;
        } else {
            self.version += 1;
            fresh.changed = self.version;
        }
        self.tables.insert(id, fresh);
    }

    fn joined(&mut self, stored: StoredSegment, hidden: &HashSet<String>) -> SegmentState {
        let record = stored.record;
        let online = self.online(&record, &stored.assigned);
        SegmentState {
            hidden: hidden.contains(record.name.as_str()),
            record,
            assigned: self.lists.shared(&stored.assigned),
            online: self.lists.shared(&online),
        }
    }

    /// Puts a segment, or takes one away, and keeps account of who shall hold how many.
    fn replace(
        &mut self,
        segments: &mut Segments,
        key: SegmentKey,
        fresh: Option<Arc<SegmentState>>,
    ) {
        let before = segments
            .get(key)
            .map(|old| old.assigned.clone())
            .unwrap_or_default();
        let after = fresh
            .as_ref()
            .map(|new| new.assigned.clone())
            .unwrap_or_default();
        if before != after {
            self.take_off(&before);
            for server in &after {
                *self.burden.entry(server.clone()).or_default() += 1;
            }
        }
        match fresh {
            Some(fresh) => segments.put(fresh),
            None => drop(segments.remove(key)),
        }
    }

    fn take_off(&mut self, servers: &Servers) {
        for server in servers {
            if let Some(count) = self.burden.get_mut(server) {
                *count -= 1;
                if *count == 0 {
                    self.burden.remove(server);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, id: TableId) {
        if let Some(gone) = self.tables.remove(&id) {
            for segment in &gone.state.segments {
                self.take_off(&segment.assigned);
            }
            self.version += 1;
            self.removed.insert(id);
        }
    }

    /// An instance as it is now, and the segments of which it holds others than before.
    pub(crate) fn hear(&mut self, id: InstanceId, instance: Instance, changed: Vec<SegmentId>) {
        let old = self.instances.insert(id.clone(), instance);
        let new = &self.instances[&id];
        let same_place = old.as_ref().is_some_and(|old| {
            (old.alive, &old.address) == (true, &new.address)
                && (old.plan_format, old.exchange_format) == (new.plan_format, new.exchange_format)
        });
        if !same_place {
            self.version += 1;
        }
        if old.is_none_or(|old| !old.alive) {
            let all: Vec<SegmentId> = new.held.ids().collect();
            self.refresh(all);
        }
        self.refresh(changed);
    }

    /// It is not heard any more.
    pub(crate) fn silent(&mut self, id: &InstanceId, now: Duration) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.alive = false;
            instance.died = Some(now);
            self.version += 1;
            let all: Vec<SegmentId> = instance.held.ids().collect();
            self.refresh(all);
        }
    }

    /// It is heard, and does not count as living.
    pub(crate) fn turn_away(&mut self, id: &InstanceId, life: Life, reason: &str, now: Duration) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        instance.life = life;
        let is_new = instance.turned_away.is_none();
        instance.turned_away = Some(reason.to_owned());
        if is_new {
            tracing::warn!(instance = %id, reason, "not taken, its segments are not asked for");
        }
        if instance.alive {
            self.silent(id, now);
        }
    }

    pub(crate) fn forget(&mut self, id: &InstanceId) {
        if let Some(gone) = self.instances.remove(id) {
            self.version += 1;
            self.refresh(gone.held.ids());
        }
    }

    pub(crate) fn forget_all(&mut self) {
        for id in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.forget(&id);
        }
    }

    pub(crate) fn set_ordered(&mut self, ordered: HashMap<InstanceId, StoredInstance>) {
        let before = std::mem::replace(&mut self.ordered, ordered);
        let order = |of: &HashMap<InstanceId, StoredInstance>, id: &InstanceId| {
            of.get(id).map_or(InstanceOrder::Enabled, |one| one.order)
        };
        let all = self.instances.iter();
        let other = all.filter(|(id, _)| order(&before, id) != order(&self.ordered, id));
        let held: Vec<Arc<Holding>> = other.map(|(_, one)| Arc::clone(&one.held)).collect();
        for held in held {
            self.refresh(held.ids());
        }
    }

    /// Joins these segments with who holds them now.
    fn refresh(&mut self, ids: impl IntoIterator<Item = SegmentId>) {
        let mut fresh: BTreeMap<TableId, Vec<SegmentState>> = BTreeMap::new();
        for id in ids {
            let Some(table) = self.tables.get(&id.table) else {
                continue;
            };
            let Some(segment) = table.state.segments.find(id) else {
                continue;
            };
            let online = self.online(&segment.record, &segment.assigned);
            if segment.online != online {
                let online = self.lists.shared(&online);
                let segment = SegmentState {
                    online,
                    ..segment.clone()
                };
                fresh.entry(id.table).or_default().push(segment);
            }
        }
        for (id, segments) in fresh {
            if let Some(table) = self.tables.get_mut(&id) {
                self.version += 1;
                table.changed = self.version;
                Arc::make_mut(&mut table.state).segments.extend(segments);
            }
        }
    }

    pub(crate) fn all_heard(&self) -> bool {
        let mut assigned = self.burden.keys();
        assigned.all(|server| self.instances.contains_key(server))
    }

    fn instance_states(&self) -> impl Iterator<Item = InstanceState> {
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

    /// What is published now, with the controller itself.
    pub(crate) fn snapshot(&mut self, own: impl FnOnce() -> InstanceState) -> Arc<ClusterState> {
        if let Some(known) = &self.snapshot
            && known.version == self.version
        {
            return Arc::clone(known);
        }
        let tables = self.tables.iter();
        let instances = self.instance_states().chain([own()]);
        let snapshot = Arc::new(ClusterState {
            version: self.version,
            tables: tables
                .map(|(id, table)| (*id, Arc::clone(&table.state)))
                .collect(),
            instances: instances.map(|one| (one.id.clone(), one)).collect(),
        });
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }
}

fn hidden_of(table: &StoredTable) -> HashSet<String> {
    table
        .lineage
        .hidden()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Shows all but these.
fn hide(segments: &mut Segments, hidden: &HashSet<String>) {
    let is_wrong = |one: &&SegmentState| one.hidden != hidden.contains(one.record.name.as_str());
    let wrong: Vec<SegmentState> = segments.iter().filter(is_wrong).cloned().collect();
    for mut segment in wrong {
        segment.hidden = !segment.hidden;
        segments.put(segment);
    }
}

fn head(table: StoredTable, segments: Segments) -> TableState {
    TableState {
        spec: table.spec,
        segments,
        paused: table.paused,
        orders: table.orders,
        time_boundary_ms: table.time_boundary_ms,
        reloads: table.reloads,
    }
}
