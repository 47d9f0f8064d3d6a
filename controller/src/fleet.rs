//! The servers as assignment sees them: who may be given something, who may keep what it has.
//!
//! Invariant: nobody is taken as gone for good who was not silent for [`GRACE`] while this
//! controller listened: not after a start, not after it took the lead, not after it slept.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use metastore::MetaError;
use metastore::catalog::StoredInstance;
use schemas::cluster::Role;
use schemas::placement::{InstanceOrder, PlaceKind, default_tags};
use schemas::segment::SegmentRecord;
use schemas::{Fault, InstanceId, TableId, TableSpec};

use crate::assignment::{Fleet, Node, placed_new};
use crate::reconcile::regrouped;
use crate::state::State;
use crate::view::Moving;

/// A server that restarts within this time keeps its segments.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// Segments grow old by the clock, not by a change.
const LOOK_AGAIN_MS: i64 = 60_000;

/// When nothing of it differs, there is nothing to be done for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookedAt {
    changed: u64,
    fleet: u64,
    minute: i64,
}

impl State {
    /// What is stored about instances.
    pub(crate) async fn read_instances(&self) -> Result<(), MetaError> {
        let stored = self.catalog.instances().await?.into_iter();
        let ordered = stored.map(|one| (one.id.clone(), one)).collect();
        let mut view = self.view.lock();
        view.set_ordered(ordered);
        self.announce(&view);
        Ok(())
    }

    pub(crate) async fn change_instance(
        &self,
        id: &InstanceId,
        change: impl FnOnce(&mut StoredInstance),
    ) -> Result<StoredInstance, Fault> {
        let stored = self.catalog.change_instance(id, change).await?;
        self.read_instances().await?;
        Ok(stored)
    }

    /// Nothing is known of it any more.
    pub(crate) async fn forget_instance(&self, id: &InstanceId) -> Result<(), Fault> {
        self.catalog.forget_instance(id).await?;
        self.view.lock().forget(id);
        self.read_instances().await?;
        Ok(())
    }

    /// Whether it has listened for long enough to know who is gone.
    pub(crate) fn is_settled(&self) -> bool {
        self.clock.monotonic() >= *self.listens_since.lock() + GRACE
    }

    /// Also servers that were not heard of and shall hold something.
    pub(crate) fn fleet(&self) -> Fleet {
        let now = self.clock.monotonic();
        let is_settled = self.is_settled();
        let view = self.view.lock();
        let burden = view.burden();
        let servers = view.instances.iter();
        let servers = servers.filter(|(_, instance)| instance.role == Role::Server);
        // What is on its way to somebody goes on when the controller is another.
        let tables = view.tables.values();
        let targets = tables.flat_map(|table| table.targets.values().flatten());
        let named = targets.chain(burden.keys());
        let all: BTreeSet<&InstanceId> = servers.map(|(id, _)| id).chain(named).collect();
        let node = |id: &InstanceId| {
            let known = view.instances.get(id);
            let alive = known.is_some_and(|instance| instance.alive);
            let is_full = known.is_some_and(|instance| instance.low_on_disk);
            let died = known.and_then(|instance| instance.died);
            let may_come_back =
                !is_settled || died.is_some_and(|died| now.saturating_sub(died) < GRACE);
            let order = view.order(id);
            Node {
                id: id.clone(),
                tags: view.tags(id, Role::Server),
                takes: alive && order == InstanceOrder::Enabled && !is_full,
                keeps: order != InstanceOrder::Draining && (alive || may_come_back),
                burden: burden.get(id).copied().unwrap_or(0),
            }
        };
        Fleet::new(all.into_iter().map(node).collect())
    }

    /// A tag that a table names itself is one that a server has.
    pub(crate) fn check_tags(&self, spec: &TableSpec) -> Result<(), Fault> {
        let placement = &spec.placement;
        let kinds = PlaceKind::of(spec.table_type).iter();
        let of_kinds = kinds.map(|kind| placement.tag(*kind));
        let of_tiers = placement.tiers.iter().map(|tier| tier.server_tag.clone());
        let usual = default_tags(Role::Server);
        let view = self.view.lock();
        let is_had = |tag: &String| {
            let mut servers = view
                .instances
                .iter()
                .filter(|(_, one)| one.role == Role::Server);
            servers.any(|(id, _)| view.tags(id, Role::Server).contains(tag))
        };
        let mut named = of_kinds.chain(of_tiers).filter(|tag| !usual.contains(tag));
        match named.find(|tag| !is_had(tag)) {
            None => Ok(()),
            Some(tag) => Err(Fault::invalid(format!(
                "no server has the tag `{tag}`; PUT /instances/{{server}}/updateTags?tags={tag} \
                 gives it to one"
            ))),
        }
    }

    /// Tables with what is on its way.
    pub(crate) fn moving(&self) -> Vec<Moving> {
        let view = self.view.lock();
        view.tables.values().map(Moving::of).collect()
    }

    pub(crate) fn moving_of(&self, id: TableId) -> Option<Moving> {
        self.view.lock().tables.get(&id).map(Moving::of)
    }

    /// How a table and the servers are now; nothing is to be done when it was so before.
    pub(crate) fn look_at(&self, moving: &Moving, fleet: &Fleet) -> LookedAt {
        let mut hasher = DefaultHasher::new();
        for node in fleet.nodes() {
            (&node.id, &node.tags, node.takes, node.keeps).hash(&mut hasher);
        }
        LookedAt {
            changed: moving.changed,
            fleet: hasher.finish(),
            minute: self.clock.now_ms() / LOOK_AGAIN_MS,
        }
    }

    /// Those that shall hold a new segment.
    pub(crate) fn servers_for(&self, record: &SegmentRecord) -> Result<Vec<InstanceId>, Fault> {
        let id = record.id.table;
        let gone = || Fault::not_found(format!("table {id} does not exist"));
        let moving = self.moving_of(id).ok_or_else(gone)?;
        let fleet = self.fleet();
        if moving.table.spec.is_dimension_table {
            let nodes = fleet.nodes().iter().filter(|node| node.takes);
            return Ok(nodes.map(|node| node.id.clone()).collect());
        }
        let known = &moving.moves.groups;
        if !known.is_empty() || moving.table.spec.placement.groups.is_empty() {
            return Ok(placed_new(&moving.table, record, &fleet, known));
        }
        // A table that has just come: by those that it will have.
        let groups = regrouped(&moving.table, known, &fleet, false);
        Ok(placed_new(&moving.table, record, &fleet, &groups))
    }
}
