//! Reloads: segments that are sealed get the indexes of the table's present config.
//!
//! A reload is a job in the catalog, which servers read as part of the cluster's state and carry
//! out beside queries; how far they are comes with their heartbeats and is kept nowhere else. Rows
//! in memory whose segment began with an older config are waited for until they are sealed.

use std::sync::Arc;

use schemas::cluster::{ReloadJob, TableState};
use schemas::proto::SegmentIndex;
use schemas::{Fault, InstanceId, SegmentId};
use uuid::Uuid;

use crate::state::State;

/// Older jobs of a table are forgotten.
const JOBS_KEPT: usize = 20;
/// Reasons of failures that a status shows.
const FAILURES_MAX: usize = 5;

/// What is to be reloaded of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// `None`: all sealed segments.
    pub(crate) segment: Option<SegmentId>,
    pub(crate) force_download: bool,
    pub(crate) instance: Option<InstanceId>,
}

/// How far a job is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Segments on servers: each replica counts.
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) servers: usize,
    /// Servers that have segments of the job and are not heard of.
    pub(crate) silent: usize,
}

impl State {
    pub(crate) async fn reload(
        &self,
        table: &TableState,
        wanted: Wanted,
    ) -> Result<ReloadJob, Fault> {
        let job = ReloadJob {
            id: Uuid::new_v4(),
            submitted_ms: self.clock.now_ms(),
            segment: wanted.segment,
            force_download: wanted.force_download,
            instance: wanted.instance,
        };
        let (id, kept) = (table.spec.id, job.clone());
        let changed = self.catalog.change_table(id, |stored| {
            let over = (stored.reloads.len() + 1).saturating_sub(JOBS_KEPT);
            stored.reloads.drain(..over);
            stored.reloads.push(kept);
        });
        if changed.await?.is_none() {
            let name = table.spec.physical_name();
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        self.publish(id).await?;
        Ok(job)
    }

    /// The job and its table.
    pub(crate) fn find_reload(&self, id: Uuid) -> Option<(Arc<TableState>, ReloadJob)> {
        self.tables().into_iter().find_map(|table| {
            let job = table.reloads.iter().find(|job| job.id == id)?.clone();
            Some((table, job))
        })
    }

    pub(crate) fn progress(&self, table: &TableState, job: &ReloadJob) -> Progress {
        let mut progress = Progress::default();
        let name = job.id.to_string();
        let instances = self.instances();
        for (server, segments) in servers_of(table, job) {
            progress.servers += 1;
            progress.total += segments;
            let instance = instances.get(&server);
            let Some(instance) = instance.filter(|instance| instance.alive) else {
                progress.silent += 1;
                continue;
            };
            let mut reloads = instance.reloads.iter();
            if let Some(own) = reloads.find(|reload| reload.job_id == name) {
                // What it says may be of a moment ago.
                progress.total += u64::from(own.consuming);
                progress.done += u64::from(own.done).min(segments);
                progress.failed += u64::from(own.failed).min(segments);
                let failures = own.failures.iter();
                let told = failures.map(|failure| format!("{server}: {failure}"));
                progress.failures.extend(told);
            } else if segments == 0 {
                // It consumes, and has not said yet whether there is something to be waited for.
                progress.total += 1;
            }
        }
        progress.failures.truncate(FAILURES_MAX);
        progress
    }

    /// Those that are on all servers of a segment.
    pub(crate) fn indexes_of(&self, id: SegmentId) -> Vec<SegmentIndex> {
        let lists = self.index_lists(id);
        let Some(((_, first), others)) = lists.split_first() else {
            return Vec::new();
        };
        let everywhere =
            |index: &&SegmentIndex| others.iter().all(|(_, list)| list.present.contains(index));
        first.present.iter().filter(everywhere).cloned().collect()
    }
}

/// The servers that a job concerns, and how many sealed segments each has of it.
pub(crate) fn servers_of(table: &TableState, job: &ReloadJob) -> Vec<(InstanceId, u64)> {
    let mut servers: Vec<InstanceId> = table
        .segments
        .iter()
        .flat_map(|segment| segment.assigned.iter().cloned())
        .collect();
    servers.sort();
    servers.dedup();
    let count = |server: InstanceId| {
        let segments = table.segments.iter();
        let own = segments.filter(|segment| job.concerns(segment, &server));
        let count = own.count() as u64;
        (count > 0 || consumes(table, job, &server)).then_some((server, count))
    };
    servers.into_iter().filter_map(count).collect()
}

fn consumes(table: &TableState, job: &ReloadJob, server: &InstanceId) -> bool {
    let mut segments = table.segments.iter();
    job.segment.is_none()
        && job.instance.as_ref().is_none_or(|only| only == server)
        && segments.any(|s| !s.record.is_done() && s.assigned.contains(server))
}
