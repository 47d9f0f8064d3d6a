//! Orders about consumption: pause, go on (from where), seal now.
//!
//! An order is kept in the catalog, which servers read as part of the cluster's state and follow;
//! how far they are comes with their heartbeats.
//!
//! Invariant: no order makes a message be read twice. Going on at a later place names the offsets
//! that are passed over, so that every replica passes over the same ones, also after a restart.

use std::sync::Arc;

use metastore::catalog::StoredTable;
use schemas::cluster::{CommitJob, PauseNote, Skip, TableState};
use schemas::proto::ConsumerState;
use schemas::table::topic_partition;
use schemas::{Fault, InstanceId, Partition, SegmentId, Sequence, TableType};
use uuid::Uuid;

use crate::state::State;

/// Older orders to seal are forgotten.
const JOBS_KEPT: usize = 20;

/// Where consumption goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum From {
    #[default]
    LastConsumed,
    /// The first message that is in the log and was not consumed.
    Smallest,
    /// Messages that come from now on.
    Largest,
}

/// What an order is about; `None`: all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) partitions: Option<Vec<Partition>>,
    pub(crate) segments: Option<Vec<String>>,
}

impl State {
    pub(crate) fn realtime(&self, name: &str) -> Result<Arc<TableState>, Fault> {
        let mut parts = self.resolve(name)?;
        parts.retain(|table| table.spec.table_type == TableType::Realtime);
        let found = parts.pop();
        found.ok_or_else(|| Fault::invalid(format!("table `{name}` consumes no stream")))
    }

    pub(crate) async fn pause(
        &self,
        table: &TableState,
        topics: Option<Vec<u32>>,
        comment: String,
    ) -> Result<(), Fault> {
        let topics = known_topics(table, topics)?;
        let note = self.note(comment);
        let change = |stored: &mut StoredTable| {
            match topics {
                Some(topics) => stored.orders.paused_topics.extend(topics),
                None => stored.paused = true,
            }
            stored.orders.last = Some(note);
        };
        self.change(table, change).await
    }

    pub(crate) async fn resume(
        &self,
        table: &TableState,
        topics: Option<Vec<u32>>,
        from: From,
        comment: String,
    ) -> Result<(), Fault> {
        let topics = known_topics(table, topics)?;
        let concerns = |partition: Partition| {
            let topic = topic_partition(partition).0 as u32;
            topics.as_ref().is_none_or(|topics| topics.contains(&topic))
        };
        let skips = match from {
            From::LastConsumed => Vec::new(),
            _ => self.skips(table, from, concerns).await?,
        };
        let note = self.note(comment);
        let starts = consuming(table).map(|(partition, _, start)| (partition, start));
        let starts: Vec<_> = starts.collect();
        let change = |stored: &mut StoredTable| {
            match &topics {
                Some(topics) => stored.orders.paused_topics.retain(|t| !topics.contains(t)),
                None => {
                    stored.paused = false;
                    stored.orders.paused_topics.clear();
                }
            }
            let orders = &mut stored.orders;
            // Those that are committed are over.
            let ahead = |skip: &Skip| {
                let start = starts.iter().find(|(p, _)| *p == skip.partition);
                start.is_none_or(|(_, start)| *start < skip.to)
            };
            orders.skips.retain(ahead);
            orders.skips.extend(skips);
            orders.last = Some(note);
        };
        self.change(table, change).await
    }

    /// What is passed over when consumption goes on elsewhere than where it stopped.
    async fn skips(
        &self,
        table: &TableState,
        from: From,
        concerns: impl Fn(Partition) -> bool,
    ) -> Result<Vec<Skip>, Fault> {
        let consumers = self.consumers(table);
        let mut skips = Vec::new();
        for (partition, _, start) in consuming(table).filter(|(p, ..)| concerns(*p)) {
            let (topic, number) = topic_partition(partition);
            let is_paused = table.paused || table.orders.paused_topics.contains(&(topic as u32));
            if !is_paused {
                let what = "it consumes: pause it before it goes on at another place";
                return Err(Fault::conflict(what));
            }
            let Some(stream) = table.spec.streams.get(topic) else {
                continue;
            };
            let source = self.source(&table.spec, topic)?;
            let (first, end) = source.watermarks(&stream.topic, number).await?;
            let to = match from {
                From::Largest => end,
                From::Smallest | From::LastConsumed => first,
            };
            // A replica that is behind comes up to the farthest one first.
            let own = consumers.iter().filter(|(_, c)| c.partition == partition);
            let next = own.map(|(_, c)| c.next_offset).max();
            let from = next.unwrap_or(start).max(start);
            if to > from {
                skips.push(Skip {
                    partition,
                    from,
                    to,
                });
            }
        }
        Ok(skips)
    }

    pub(crate) async fn force_commit(
        &self,
        table: &TableState,
        parts: &Parts,
    ) -> Result<CommitJob, Fault> {
        for wanted in parts.segments.iter().flatten() {
            let fits = |s: &schemas::cluster::SegmentState| {
                s.record.name == *wanted && !s.record.is_done()
            };
            if !table.segments.iter().any(fits) {
                let what = format!("segment `{wanted}` does not consume");
                return Err(Fault::invalid(what));
            }
        }
        let chosen = table.segments.iter().filter(|segment| {
            let record = &segment.record;
            let by_partition = parts.partitions.as_ref();
            let by_name = parts.segments.as_ref();
            !record.is_done()
                && by_partition.is_none_or(|ids| ids.contains(&record.id.partition))
                && by_name.is_none_or(|names| names.contains(&record.name))
        });
        let consumers = self.consumers(table);
        let goes_on = |id: SegmentId| {
            let is_past = |consumer: &ConsumerState| {
                consumer.partition == id.partition && consumer.sequence > id.sequence
            };
            consumers.iter().any(|(_, consumer)| is_past(consumer))
                || self.completion.lock().is_ending(id)
        };
        let mut segments = Vec::new();
        for id in chosen.map(|segment| segment.record.id) {
            segments.push((id.partition, id.sequence));
            // While it is being committed, rows are in the next one already.
            if goes_on(id) {
                segments.push((id.partition, id.sequence + 1));
            }
        }
        if segments.is_empty() {
            let name = &table.spec.name;
            let what = format!("no segment of `{name}` that was asked for consumes");
            return Err(Fault::invalid(what));
        }
        let job = CommitJob {
            id: Uuid::new_v4(),
            submitted_ms: self.clock.now_ms(),
            segments,
        };
        let kept = job.clone();
        let change = |stored: &mut StoredTable| {
            let commits = &mut stored.orders.commits;
            let over = (commits.len() + 1).saturating_sub(JOBS_KEPT);
            commits.drain(..over);
            commits.push(kept);
        };
        self.change(table, change).await?;
        Ok(job)
    }

    /// The job and its table.
    pub(crate) fn find_commit(&self, id: Uuid) -> Option<(Arc<TableState>, CommitJob)> {
        self.tables().into_iter().find_map(|table| {
            let mut jobs = table.orders.commits.iter();
            let job = jobs.find(|job| job.id == id)?.clone();
            Some((table, job))
        })
    }

    /// Segments of the job that are not committed, and have something to be committed.
    pub(crate) fn not_committed(
        &self,
        table: &TableState,
        job: &CommitJob,
    ) -> Vec<(Partition, Sequence)> {
        let consumers = self.consumers(table);
        let ids: Vec<String> = table
            .orders
            .commits
            .iter()
            .map(|j| j.id.to_string())
            .collect();
        let own = ids.iter().position(|id| *id == job.id.to_string());
        let declined = |consumer: &ConsumerState, sequence: Sequence| {
            let last = ids.iter().position(|id| *id == consumer.declined_commit);
            consumer.sequence == sequence && last.is_some() && last >= own
        };
        let waits = |(partition, sequence): &(Partition, Sequence)| {
            let consumes = consuming(table).any(|(p, s, _)| (p, s) == (*partition, *sequence));
            let mut own = consumers.iter().filter(|(_, c)| c.partition == *partition);
            let known = own.clone().next().is_some();
            consumes && !(known && own.all(|(_, consumer)| declined(consumer, *sequence)))
        };
        job.segments
            .iter()
            .filter(|one| waits(one))
            .copied()
            .collect()
    }

    /// Of all living replicas.
    pub(crate) fn consumers(&self, table: &TableState) -> Vec<(InstanceId, ConsumerState)> {
        let id = table.spec.id.to_bytes();
        let alive = self.instances().into_iter().filter(|(_, i)| i.alive);
        let mut all: Vec<_> = alive
            .flat_map(|(name, instance)| {
                let consumers = instance.consumers.into_iter();
                consumers.map(move |consumer| (name.clone(), consumer))
            })
            .filter(|(_, consumer)| consumer.table_id == id)
            .collect();
        all.sort_by_key(|(_, c)| (c.partition, std::cmp::Reverse(c.next_offset)));
        all
    }

    fn note(&self, comment: String) -> PauseNote {
        PauseNote {
            at_ms: self.clock.now_ms(),
            comment,
        }
    }

    async fn change(
        &self,
        table: &TableState,
        change: impl FnOnce(&mut StoredTable),
    ) -> Result<(), Fault> {
        let id = table.spec.id;
        if self.catalog.change_table(id, change).await?.is_none() {
            let name = table.spec.physical_name();
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        self.publish(id).await?;
        Ok(())
    }
}

/// Partition, sequence and start of each segment that is not committed.
pub(crate) fn consuming(
    table: &TableState,
) -> impl Iterator<Item = (Partition, Sequence, schemas::Offset)> {
    let records = table.segments.iter().map(|segment| &segment.record);
    let consuming = records.filter(|record| !record.is_done());
    consuming.map(|record| (record.id.partition, record.id.sequence, record.start))
}

fn known_topics(table: &TableState, topics: Option<Vec<u32>>) -> Result<Option<Vec<u32>>, Fault> {
    let count = table.spec.streams.len();
    for topic in topics.iter().flatten() {
        if *topic as usize >= count {
            let name = &table.spec.name;
            let what = format!(
                "table `{name}` has no topic {topic}, they are 0 to {}",
                count - 1
            );
            return Err(Fault::invalid(what));
        }
    }
    Ok(topics)
}
