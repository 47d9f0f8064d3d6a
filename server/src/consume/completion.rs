//! A server's side of the completion protocol: one frozen segment until it is committed.
//!
//! Invariants: a commit is asked for only with the epoch of the last election; the sealed form is
//! in the view, and the controller knows it, before the commit, so that at no moment a query finds
//! the segment nowhere; whoever lost gets the committed content from the deep store. All replicas
//! hold the same bytes: ingestion times differ between replicas, so a replica that may keep its
//! rows serves them until it has the committed file.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::failpoint::hit;
use runtime::{Backoff, MemoryPermit};
use schemas::keyed::KeyedSpec;
use schemas::proto::segment_consumed_reply::Action;
use schemas::proto::{
    CommitEndRequest, CommitStartRequest, SegmentConsumedReply, SegmentConsumedRequest,
};
use schemas::segment::{Ledger, SegmentRecord};
use schemas::{Fault, Offset, SegmentId};
use segment::{KeysAtEnd, MutableSegment, SealExtra, SealedSegment, seal};

use super::pressure::Relief;
use super::rolling;
use crate::Core;
use crate::store::{job_fault, make_folder, segment_fault};
use crate::view::Table;

const RETRY_MAX: Duration = Duration::from_secs(5);
/// After so long without the deep store a table that allows it commits without it.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10);

/// A segment that takes no more rows.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) segment: Arc<MutableSegment>,
    pub(crate) end: Offset,
    pub(crate) ledger: Ledger,
    /// Of a table whose keys have rules: what is known of them at the end.
    pub(crate) keys: Option<KeysAtEnd>,
    pub(crate) created_ms: i64,
    pub(crate) reason: &'static str,
    /// Its rows stay in memory until it is sealed.
    pub(crate) memory: Option<MemoryPermit>,
    pub(super) relief: Option<Relief>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Finished {
    /// Sealed and committed here; the view has the sealed form.
    Committed,
    /// This is the committed segment, ending at this offset.
    Replaced {
        sealed: Arc<SealedSegment>,
        end: Offset,
    },
    /// Not this server's any more.
    Fenced,
}

/// What keeps a segment from being committed, for whoever looks at the consumer.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) core: Arc<Core>,
    pub(crate) table: Arc<Table>,
    pub(crate) frozen: Frozen,
    sealed: Option<SegmentRecord>,
    /// When the upload began that failed first.
    away_since: Option<Duration>,
    trouble: Trouble,
}

pub(crate) fn consumed_request(
    core: &Core,
    id: SegmentId,
    offset: Offset,
    reason: &str,
) -> SegmentConsumedRequest {
    SegmentConsumedRequest {
        instance: core.config.instance.0.clone(),
        table_id: id.table.to_bytes(),
        partition: id.partition,
        sequence: id.sequence,
        offset,
        reason: reason.to_owned(),
    }
}

/// With all rows put together that agree, where the table rolls up.
fn rolled_up(
    segment: Arc<MutableSegment>,
    mut extra: SealExtra,
) -> Result<(Arc<MutableSegment>, SealExtra), Fault> {
    if segment.spec().keyed.is_some() {
        return Ok((segment, extra));
    }
    let rolled = rolling::rolled_up(&segment)?;
    let merged = u64::from(segment.row_count() - rolled.row_count());
    extra.ledger.rows = extra.ledger.rows.saturating_sub(merged);
    extra.ledger.merged += merged;
    Ok((rolled, extra))
}

impl Completion {
    pub(crate) fn new(
        core: Arc<Core>,
        table: Arc<Table>,
        frozen: Frozen,
        trouble: Trouble,
    ) -> Self {
        Self {
            core,
            table,
            frozen,
            sealed: None,
            away_since: None,
            trouble,
        }
    }

    /// Tells what went wrong; how long to wait before the next attempt.
    fn failed(&self, fault: &Fault, backoff: &mut Backoff) -> Duration {
        let (segment, delay) = (self.frozen.segment.id(), backoff.next_delay());
        tracing::warn!(%segment, cause = %fault, ?delay, "not committed, will be tried again");
        let name = self.frozen.segment.name();
        *self.trouble.lock() = Some(format!(
            "segment {name} is not committed and will be tried again: {fault}"
        ));
        delay
    }

    /// Goes on until the segment is committed, by whomever. `reply`: what the controller said of
    /// its end, when it was asked before the segment was frozen.
    pub(crate) async fn run(mut self, reply: Option<SegmentConsumedReply>) -> Finished {
        let mut backoff = Backoff::up_to(RETRY_MAX);
        let mut reply = match reply {
            Some(reply) => reply,
            None => self.report(&mut backoff).await,
        };
        loop {
            let step = match reply.action() {
                Action::Commit if reply.offset == self.frozen.end => self.commit(reply.epoch).await,
                Action::Keep | Action::Discard => return self.committed_elsewhere().await,
                Action::Fenced => return Finished::Fenced,
                // Others decide; this segment cannot catch up any more, it can only wait.
                Action::Commit | Action::Hold | Action::CatchUp => Ok(false),
            };
            match step {
                Ok(true) => return Finished::Committed,
                Ok(false) => {
                    *self.trouble.lock() = None;
                    let wait = Duration::from_millis(reply.wait_ms.clamp(10, 5000));
                    self.core.clock.sleep(wait).await;
                }
                Err(fault) => {
                    let delay = self.failed(&fault, &mut backoff);
                    self.core.clock.sleep(delay).await;
                }
            }
            reply = self.report(&mut backoff).await;
        }
    }

    async fn report(&self, backoff: &mut Backoff) -> SegmentConsumedReply {
        let id = self.frozen.segment.id();
        loop {
            let request = consumed_request(&self.core, id, self.frozen.end, self.frozen.reason);
            let asked = async {
                let controller = self.core.network.controller()?;
                controller.segment_consumed(request).await
            };
            match asked.await {
                Ok(reply) => return reply,
                Err(fault) => {
                    tracing::debug!(segment = %id, cause = %fault, "the controller is away");
                    self.core.clock.sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// `false`: another replica has the turn now.
    async fn commit(&mut self, epoch: u64) -> Result<bool, Fault> {
        let id = self.frozen.segment.id();
        let mut record = self.sealed().await?;
        let controller = self.core.network.controller()?;
        hit("commit.before_start");
        let start = CommitStartRequest {
            instance: self.core.config.instance.0.clone(),
            table_id: id.table.to_bytes(),
            partition: id.partition,
            sequence: id.sequence,
            epoch,
        };
        if !controller.commit_start(start).await?.accepted {
            return Ok(false);
        }
        hit("commit.after_start");
        let path = self.core.store.path(id, record.crc);
        let crc = record.crc;
        let packed = self
            .core
            .compute
            .run_behind(move || segment::pack(&path, crc));
        let packed = packed.await.map_err(job_fault)?.map_err(|error| {
            // The rows are still in memory: the next attempt writes the file again.
            self.sealed = None;
            segment_fault(&error)
        })?;
        let key = SegmentRecord::object_key(id, crc);
        record.stored_bytes = packed.len() as u64;
        record.uri = Some(key.clone());
        hit("commit.before_upload");
        let begun = self.core.clock.monotonic();
        if let Err(fault) = self.core.store.upload(&key, packed.into()).await {
            if !self.goes_on_without(begun) {
                return Err(fault);
            }
            tracing::warn!(segment = %id, cause = %fault,
                "committed without the deep store, it gets the segment later");
            record.unstored = true;
        }
        hit("commit.after_upload");
        self.publish(&record).await?;
        let end = CommitEndRequest {
            instance: self.core.config.instance.0.clone(),
            epoch,
            segment: serde_json::to_vec(&record)
                .map_err(|error| Fault::internal(error.to_string()))?
                .into(),
        };
        let reply = controller.commit_end(end).await?;
        hit("commit.after_end");
        if !reply.accepted {
            tracing::info!(segment = %id, reason = reply.reason, "another replica has committed");
        } else if self.table.view().find(id.partition, id.sequence).is_none() {
            // The next answer says that it is committed, and it is loaded.
            return Err(Fault::internal("its file was damaged meanwhile"));
        }
        Ok(reply.accepted)
    }

    /// Whether the table allows that servers alone have the segment for now, as the deep store has
    /// been away for a while.
    fn goes_on_without(&mut self, begun: Duration) -> bool {
        let since = *self.away_since.get_or_insert(begun);
        let now = self.core.clock.monotonic();
        let view = self.table.view();
        view.spec.peer_download && view.spec.replication > 1 && now - since >= UPLOAD_PATIENCE
    }

    /// The sealed form, made once as long as its file can be read.
    async fn sealed(&mut self) -> Result<SegmentRecord, Fault> {
        if let Some(record) = &self.sealed {
            return Ok(record.clone());
        }
        let core = &self.core;
        let segment = Arc::clone(&self.frozen.segment);
        let folder = core.store.partition_folder(segment.id());
        let upsert = segment.spec().keyed.as_ref().and_then(KeyedSpec::upsert);
        let extra = SealExtra {
            start: segment.start_offset(),
            end: self.frozen.end,
            ledger: self.frozen.ledger,
            created_ms: self.frozen.created_ms,
            sealed_ms: core.clock.now_ms(),
            spec: Some(Arc::clone(&self.table.view().spec)),
            rejected: Vec::new(),
            keys: self.frozen.keys.clone(),
            drops_replaced: upsert.is_some_and(|upsert| upsert.drops_replaced),
            earlier: Vec::new(),
        };
        let files = Arc::clone(&core.files);
        let sealing = core.compute.run_behind(move || {
            make_folder(&folder.join("segment"))?;
            let (segment, extra) = rolled_up(segment, extra)?;
            seal(&segment, &*files, &folder, extra).map_err(|error| segment_fault(&error))
        });
        let sealed = sealing.await.map_err(job_fault)??;
        core.metrics.sealed.inc();
        self.sealed = Some(sealed.record.clone());
        Ok(sealed.record)
    }

    /// The sealed rows take the place of the consumed ones, and the controller hears of it.
    async fn publish(&mut self, record: &SegmentRecord) -> Result<(), Fault> {
        let path = self.core.store.path(record.id, record.crc);
        let spec = Arc::clone(&self.table.view().spec);
        let sealed = self.core.store.open(&path, &spec, record.crc).await?;
        let sealed = sealed.map_err(|error| segment_fault(&error))?;
        let shown = self.table.publish(|view| view.seal(sealed));
        shown.map_err(|error| {
            self.sealed = None;
            segment_fault(&error)
        })?;
        self.core.indexer.shown(&self.table.view(), record.id);
        self.frozen.memory = None;
        if let Some(keys) = self.table.view().keys(record.id.partition).cloned() {
            let tidied = self.core.compute.run_behind(move || keys.tidy());
            tidied.await.map_err(job_fault)?;
        }
        self.frozen.relief = None;
        self.core.heart.beat(&self.core).await
    }

    /// Somebody has committed the segment: waits until the state says what, and loads it.
    async fn committed_elsewhere(&self) -> Finished {
        let (core, id) = (&self.core, self.frozen.segment.id());
        let mut cluster = core.cluster.clone();
        let mut backoff = Backoff::up_to(RETRY_MAX);
        loop {
            let state = Arc::clone(&cluster.borrow_and_update());
            let Some(table) = state.tables.get(&id.table) else {
                return Finished::Fenced;
            };
            let found = table.segments.find(id);
            let Some(record) = found.map(|s| &s.record).filter(|record| record.is_done()) else {
                // The state is older than the answer, or the segment has already gone again.
                let gone = found.is_none() && is_past(table, id);
                if gone || cluster.changed().await.is_err() {
                    return Finished::Fenced;
                }
                continue;
            };
            match core.store.load(&Arc::new(table.spec.clone()), record).await {
                Ok(sealed) => {
                    self.remove_own(sealed.crc());
                    let end = sealed.end();
                    return Finished::Replaced { sealed, end };
                }
                Err(fault) => {
                    let delay = self.failed(&fault, &mut backoff);
                    core.clock.sleep(delay).await;
                }
            }
        }
    }
}

impl Completion {
    /// Our sealed form lost against another.
    fn remove_own(&self, committed_crc: u32) {
        if let Some(own) = &self.sealed
            && own.crc != committed_crc
        {
            let path = self.core.store.path(own.id, own.crc);
            self.core.store.remove_file(&path);
        }
    }
}

/// Whether the partition has gone on past this segment.
fn is_past(table: &schemas::cluster::TableState, id: SegmentId) -> bool {
    let newest = table.segments.of_partition(id.partition).next_back();
    newest.is_some_and(|newest| newest.record.id.sequence > id.sequence)
}
