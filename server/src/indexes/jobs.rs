//! The reloads that the cluster's state names, as far as they concern this server.
//!
//! A job ends for a segment when the segment was looked at after the job was heard of, whatever
//! came of it. It waits for segments in memory whose rows the table would have otherwise by now:
//! they are sealed, and shown with what the reload is for. Jobs that the state forgets are
//! forgotten.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use schemas::cluster::{ClusterState, ReloadJob};
use schemas::proto::ReloadProgress;
use schemas::{Fault, InstanceId, SegmentId};
use uuid::Uuid;

use super::Content;
use crate::consume::is_outdated;
use crate::view::{Table, TableView, Tables};

/// Reasons that are told of each job.
const FAILURES_MAX: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<Uuid, Job>>);

#[derive(Debug, Default)]
struct Job {
    force_download: bool,
    /// All that it concerns, as far as it was heard of.
    heard: HashSet<Content>,
    pending: HashSet<Content>,
    /// In memory then, of an older config than the table's.
    consuming: HashSet<SegmentId>,
    done: u32,
    failed: u32,
    failures: Vec<String>,
}

impl Jobs {
    /// The segments of jobs that were not heard of before.
    pub(super) fn follow(
        &self,
        own: &InstanceId,
        state: &ClusterState,
        tables: &Tables,
    ) -> Vec<Content> {
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
                let known = jobs.entry(job.id).or_insert_with(|| Job {
                    force_download: job.force_download,
                    consuming: consuming(job, own, tables.get(table.spec.id).as_deref()),
                    ..Job::default()
                });
                // What is gone from here is nothing to wait for.
                if !known.pending.is_empty() {
                    let here: HashSet<Content> = segments().collect();
                    known.pending.retain(|content| here.contains(content));
                }
                // What was being committed when the job was heard of comes later.
                for content in segments() {
                    if known.heard.insert(content) {
                        known.pending.insert(content);
                        fresh.push(content);
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

    pub(crate) fn progress(&self, tables: &Tables) -> Vec<ReloadProgress> {
        let mut jobs = self.0.lock();
        for job in jobs.values_mut() {
            job.consuming.retain(|id| {
                let table = tables.get(id.table);
                table.is_some_and(|table| is_in_memory(&table.view(), *id))
            });
        }
        let progress = jobs.iter().map(|(id, job)| ReloadProgress {
            job_id: id.to_string(),
            total: job.done + job.failed + job.pending.len() as u32,
            done: job.done,
            failed: job.failed,
            failures: job.failures.clone(),
            consuming: job.consuming.len() as u32,
        });
        progress.collect()
    }
}

/// Segments that a job waits for, of those in memory.
fn consuming(job: &ReloadJob, own: &InstanceId, table: Option<&Table>) -> HashSet<SegmentId> {
    let Some(table) = table.filter(|_| job.instance.as_ref().is_none_or(|only| only == own)) else {
        return HashSet::new();
    };
    let view = table.view();
    let meant = view.runs().map(|segment| segment.id());
    let meant = meant.filter(|id| job.segment.is_none_or(|only| only == *id));
    meant.filter(|id| is_in_memory(&view, *id)).collect()
}

/// Whether rows of it are shown that the table would have otherwise by now.
fn is_in_memory(view: &TableView, id: SegmentId) -> bool {
    let mut run = view.run(id.partition).iter();
    run.any(|segment| segment.id() == id && is_outdated(view, segment))
}
