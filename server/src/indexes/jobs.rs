//! The reloads that the cluster's state names, as far as they concern this server.
//!
//! A job ends for a segment when the segment was looked at after the job was heard of, whatever
//! came of it. Jobs that the state forgets are forgotten.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use schemas::cluster::{ClusterState, ReloadJob};
use schemas::proto::ReloadProgress;
use schemas::{Fault, InstanceId};
use uuid::Uuid;

use super::Content;

/// Reasons that are told of each job.
const FAILURES_MAX: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<Uuid, Job>>);

#[derive(Debug, Default)]
struct Job {
    force_download: bool,
    pending: HashSet<Content>,
    done: u32,
    failed: u32,
    failures: Vec<String>,
}

impl Jobs {
    /// The segments of jobs that were not heard of before.
    pub(super) fn follow(&self, own: &InstanceId, state: &ClusterState) -> Vec<Content> {
        let mut jobs = self.0.lock();
        let mut fresh = Vec::new();
        let mut named = HashSet::new();
        for table in state.tables.values() {
            for job in &table.reloads {
                let segments = || {
                    let segments = table.segments.iter();
                    let concerned = segments.filter(|segment| job.concerns(segment, own));
                    concerned.map(|segment| (segment.record.id, segment.record.crc))
                };
                named.insert(job.id);
                match jobs.get_mut(&job.id) {
                    // What is gone from here is nothing to wait for.
                    Some(known) if !known.pending.is_empty() => {
                        let here: HashSet<Content> = segments().collect();
                        known.pending.retain(|content| here.contains(content));
                    }
                    Some(_) => {}
                    None => {
                        fresh.extend(segments());
                        jobs.insert(job.id, Job::new(job, segments().collect()));
                    }
                }
            }
        }
        jobs.retain(|id, _| named.contains(id));
        fresh
    }

    pub(super) fn wants_download(&self, content: Content) -> bool {
        let jobs = self.0.lock();
        let mut jobs = jobs.values();
        jobs.any(|job| job.force_download && job.pending.contains(&content))
    }

    /// A segment was looked at.
    pub(super) fn settled(&self, content: Content, fault: Option<Fault>) {
        for job in self.0.lock().values_mut() {
            if !job.pending.remove(&content) {
                continue;
            }
            match &fault {
                None => job.done += 1,
                Some(fault) => {
                    job.failed += 1;
                    if job.failures.len() < FAILURES_MAX {
                        job.failures.push(format!("{}: {fault}", content.0));
                    }
                }
            }
        }
    }

    pub(crate) fn progress(&self) -> Vec<ReloadProgress> {
        let jobs = self.0.lock();
        let progress = jobs.iter().map(|(id, job)| ReloadProgress {
            job_id: id.to_string(),
            total: job.done + job.failed + job.pending.len() as u32,
            done: job.done,
            failed: job.failed,
            failures: job.failures.clone(),
        });
        progress.collect()
    }
}

impl Job {
    fn new(job: &ReloadJob, pending: HashSet<Content>) -> Self {
        Self {
            force_download: job.force_download,
            pending,
            ..Self::default()
        }
    }
}
