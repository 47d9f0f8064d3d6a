//! The reloads that the cluster's state names, as far as they concern this server.
//!
//! A job ends for a segment when the segment was looked at after the job was heard of, whatever
//! came of it. It waits for segments that are not committed yet and whose rows the table would have
//! otherwise by now: they are sealed, and shown with what the reload is for. Jobs that the state
//! forgets are forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::cluster::{ReloadJob, SegmentState, TableState};
use schemas::proto::ReloadProgress;
use schemas::{Fault, InstanceId, SegmentId};
use uuid::Uuid;

use super::Content;
use crate::consume::is_outdated;
use crate::view::{TableView, Tables};

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
    /// Not committed then, and of an older config than the table's.
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
        state: &[(&Arc<TableState>, Vec<Arc<SegmentState>>)],
        tables: &Tables,
    ) -> Vec<Content> {
        let mut jobs = self.0.lock();
        let mut fresh = Vec::new();
        let mut named = HashSet::new();
        for (table, mine) in state {
            for job in &table.reloads {
                let segments = || {
                    let segments = mine.iter();
                    let concerned = segments.filter(|segment| job.concerns(segment, own));
                    concerned.map(|segment| (segment.record.id, segment.record.crc))
                };
                named.insert(job.id);
                let is_new = !jobs.contains_key(&job.id);
                let known = jobs.entry(job.id).or_insert_with(|| Job {
                    force_download: job.force_download,
                    ..Job::default()
                });
                if is_new && let Some(here) = tables.get(table.spec.id) {
                    let behind = behind(job, own, table, &here.view());
                    known.consuming = behind.iter().map(|(id, _)| *id).collect();
                    fresh.extend(behind.into_iter().filter(|(_, crc)| *crc != 0));
                }
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
                table.is_some_and(|table| is_behind(&table.view(), *id))
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

/// Segments that a job waits for, of those that are not committed; those that are sealed already
/// with their checksum, others with 0.
fn behind(job: &ReloadJob, own: &InstanceId, state: &TableState, view: &TableView) -> Vec<Content> {
    if job.instance.as_ref().is_some_and(|only| only != own) {
        return Vec::new();
    }
    let is_done = |id: SegmentId| {
        state
            .segments
            .find(id)
            .is_some_and(|one| one.record.is_done())
    };
    let sealed = view.sealed().values();
    let sealed = sealed.map(|segment| (segment.id(), segment.crc()));
    let open = view.runs().map(|segment| (segment.id(), 0));
    let meant = open.chain(sealed.filter(|(id, _)| !is_done(*id)));
    let meant = meant.filter(|(id, _)| job.segment.is_none_or(|only| only == *id));
    meant.filter(|(id, _)| is_behind(view, *id)).collect()
}

/// Whether rows of it are shown that the table would have otherwise by now.
fn is_behind(view: &TableView, id: SegmentId) -> bool {
    let mut run = view.run(id.partition).iter();
    let sealed = view.find(id.partition, id.sequence);
    run.any(|segment| segment.id() == id && is_outdated(view, segment))
        || sealed.is_some_and(|sealed| sealed.lacks_computed(&view.spec))
}
