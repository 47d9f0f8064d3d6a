//! Rebalances: the segments of a table spread evenly over the servers that may have them.
//!
//! A rebalance is a job in the catalog. Whoever leads plans it once, which writes into each segment
//! where it goes, and the moves reconciler carries them there; what is left of it is what is on its
//! way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use metastore::catalog::{Move, RebalanceJob, RebalanceOptions, RebalanceStatus, StoredTable};
use schemas::cluster::TableState;
use schemas::{Fault, InstanceId, SegmentId, TableId};
use uuid::Uuid;

use crate::assignment::{Aim, Fleet, Order, Wish, plan};
use crate::moves::turned_back;
use crate::reconcile::{Groups, carry, end, regrouped, send};
use crate::state::State;
use crate::view::Moving;

/// Looks at what is on its way when a rebalance is broken off; a segment takes two steps at most.
const TURNS_BACK: usize = 8;

/// What would be done, or is.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) table: Arc<TableState>,
    /// Of each segment that moves: where it is wanted now, and where it shall be.
    pub(crate) moves: BTreeMap<String, (Vec<InstanceId>, Vec<InstanceId>)>,
    /// Segments of each server before and after.
    pub(crate) servers: BTreeMap<InstanceId, Share>,
    pub(crate) groups: Groups,
    pub(crate) replicas: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) comes: u64,
    pub(crate) goes: u64,
}

impl State {
    /// What a rebalance would do.
    pub(crate) fn propose(
        &self,
        id: TableId,
        options: RebalanceOptions,
        reassign: bool,
    ) -> Result<Plan, Fault> {
        let moving = self.moving_of(id);
        let moving = moving.ok_or_else(|| Fault::not_found("the table is gone"))?;
        let fleet = self.fleet();
        if !fleet.takes_anything() {
            return Err(Fault::unavailable("no server lives that takes segments"));
        }
        let nobody = Groups::new();
        let current = match options.bootstrap && reassign {
            true => &nobody,
            false => &moving.moves.groups,
        };
        let groups = regrouped(&moving.table, current, &fleet, reassign);
        let wishes = self.wishes(&moving, &fleet, &groups, options);
        Ok(proposal(&moving, wishes, groups))
    }

    fn wishes(
        &self,
        moving: &Moving,
        fleet: &Fleet,
        groups: &Groups,
        options: RebalanceOptions,
    ) -> Vec<Wish> {
        let order = Order {
            aim: Aim::Balance,
            consuming: options.consuming,
            bootstrap: options.bootstrap,
            now_ms: self.clock.now_ms(),
        };
        plan(
            &moving.table,
            |segment| moving.wanted(segment),
            fleet,
            groups,
            order,
        )
    }

    /// It goes on by itself from here.
    pub(crate) async fn rebalance(
        &self,
        plan: &Plan,
        options: RebalanceOptions,
    ) -> Result<RebalanceJob, Fault> {
        let job = RebalanceJob {
            id: Uuid::new_v4(),
            submitted_ms: self.clock.now_ms(),
            finished_ms: None,
            status: RebalanceStatus::InProgress,
            options,
            planned: false,
            segments: plan.moves.len() as u64,
            replicas: plan.replicas,
            bytes: plan.bytes,
        };
        let (id, kept, groups) = (plan.table.spec.id, job.clone(), plan.groups.clone());
        let mut running = None;
        let changing = self.catalog.change_table(id, |stored: &mut StoredTable| {
            running = stored.moves.running().map(|job| job.id);
            if running.is_none() {
                stored.moves.push(kept);
                stored.moves.groups = groups;
            }
        });
        let name = plan.table.spec.physical_name();
        if changing.await?.is_none() {
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        if let Some(other) = running {
            return Err(Fault::conflict(format!(
                "table `{name}` is being rebalanced by job {other}; wait for it, or cancel it \
                 with DELETE /tables/{name}/rebalance"
            )));
        }
        self.publish(id).await?;
        if let Some(moving) = self.moving_of(id) {
            self.plan_rebalance(&moving, &job).await?;
        }
        Ok(job)
    }

    /// Writes into the segments of a job where they go; called again until all of them know.
    pub(crate) async fn plan_rebalance(
        &self,
        moving: &Moving,
        job: &RebalanceJob,
    ) -> Result<(), Fault> {
        let fleet = self.fleet();
        let wishes = self.wishes(moving, &fleet, &moving.moves.groups, job.options);
        let wanted = wishes.len();
        // Of a partition that moves whole more segments are sent than were asked for.
        let sent = send(self, moving, wishes).await?;
        if sent < wanted && !job.options.bootstrap {
            return Ok(());
        }
        self.change_rebalance(moving.table.spec.id, job.id, |job| job.planned = true)
            .await
    }

    pub(crate) async fn change_rebalance(
        &self,
        table: TableId,
        id: Uuid,
        change: impl FnOnce(&mut RebalanceJob),
    ) -> Result<(), Fault> {
        let now_ms = self.clock.now_ms();
        let changing = self.catalog.change_table(table, |stored| {
            let mut jobs = stored.moves.jobs.iter_mut();
            let found = jobs.find(|job| job.id == id && !job.status.is_over());
            if let Some(job) = found {
                change(job);
                end(job, now_ms);
            }
        });
        changing.await?;
        self.publish(table).await?;
        Ok(())
    }

    /// What is on its way goes back, or stays where it is by now.
    pub(crate) async fn cancel_rebalance(&self, id: TableId) -> Result<Option<Uuid>, Fault> {
        let moving = self.moving_of(id);
        let moving = moving.ok_or_else(|| Fault::not_found("the table is gone"))?;
        let Some(job) = moving.moves.running().map(|job| job.id) else {
            return Ok(None);
        };
        self.change_rebalance(id, job, |job| job.status = RebalanceStatus::Cancelled)
            .await?;
        // A segment that takes a step meanwhile is turned back from there.
        for _ in 0..TURNS_BACK {
            if self.turn_back(id).await? {
                break;
            }
        }
        Ok(Some(job))
    }

    /// Turns back what is on its way; whether that was all of it.
    async fn turn_back(&self, id: TableId) -> Result<bool, Fault> {
        let Some(moving) = self.moving_of(id) else {
            return Ok(true);
        };
        let ways = self.ways_back(&moving);
        let sent = ways.len();
        let turned = carry(self, &moving, ways).await?;
        self.publish(id).await?;
        Ok(turned == sent)
    }

    fn ways_back(&self, moving: &Moving) -> Vec<Move> {
        let view = self.view.lock();
        let replicas = moving.table.spec.replication as usize;
        let segments = moving.table.segments.iter();
        let sent = segments.filter(|s| moving.targets.contains_key(&s.record.id));
        let is_whole = moving.table.spec.keyed.is_some();
        let back = sent.map(|segment| {
            let target = moving.target(segment);
            // All of a partition has to be there.
            let of_partition = moving
                .table
                .segments
                .of_partition(segment.record.id.partition);
            let together =
                of_partition.filter(|other| is_whole || other.record.id == segment.record.id);
            let holds = |id: &InstanceId| {
                let mut all = together.clone();
                all.all(|one| view.holds(id, &one.record))
            };
            let assigned = turned_back(&segment.assigned, &target, replicas, holds);
            Move {
                segment: segment.record.id,
                from: (segment.assigned.to_vec(), target),
                to: (assigned, Vec::new()),
            }
        });
        back.collect()
    }

    /// The job, and its table with what is on its way.
    pub(crate) fn find_rebalance(&self, id: Uuid) -> Option<(Moving, RebalanceJob)> {
        self.moving().into_iter().find_map(|moving| {
            let job = moving.moves.jobs.iter().find(|job| job.id == id)?.clone();
            Some((moving, job))
        })
    }
}

fn proposal(moving: &Moving, wishes: Vec<Wish>, groups: Groups) -> Plan {
    let wishes = wishes.into_iter().map(|wish| (wish.segment, wish.servers));
    let wishes: HashMap<SegmentId, Vec<InstanceId>> = wishes.collect();
    let mut proposed = Plan {
        table: Arc::clone(&moving.table),
        moves: BTreeMap::new(),
        servers: BTreeMap::new(),
        groups,
        replicas: 0,
        bytes: 0,
    };
    for segment in &moving.table.segments {
        let before = moving.wanted(segment);
        let after = wishes.get(&segment.record.id).map_or(before, Vec::as_slice);
        let all: BTreeSet<&InstanceId> = before.iter().chain(after).collect();
        for id in all {
            let share = proposed.servers.entry(id.clone()).or_default();
            let (was, will) = (before.contains(id), after.contains(id));
            share.before += u64::from(was);
            share.after += u64::from(will);
            share.comes += u64::from(will && !was);
            share.goes += u64::from(was && !will);
            if will && !was {
                proposed.replicas += 1;
                proposed.bytes += segment.record.bytes;
            }
        }
        if wishes.contains_key(&segment.record.id) {
            let name = segment.record.name.clone();
            proposed
                .moves
                .insert(name, (before.to_vec(), after.to_vec()));
        }
    }
    proposed
}
