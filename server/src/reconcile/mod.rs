//! Makes this server hold what the cluster's state assigns to it, again and again.
//!
//! Invariants: what is assigned and not here is loaded, what consumes is consumed, what is not
//! wanted any more goes after a grace in which brokers with an older state may still ask for it.
//! Every pass starts from what is wanted and what is held; nothing else is remembered.

mod mine;
mod retire;
mod storing;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, TaskGroup};
use schemas::cluster::{ClusterState, SegmentState};
use schemas::segment::SegmentRecord;
use schemas::{Fault, Partition, SegmentId, Sequence, TableId, TableSpec};
use segment::{Extent, SealedSegment, SegmentError};
use tokio::sync::{Semaphore, mpsc};

use crate::Core;
use crate::cache::remove_files;
use crate::consume::Consumer;
use crate::indexes::Content;
use crate::view::Table;
use mine::Mine;

/// Brokers may know an older state for so long.
const GRACE: Duration = Duration::from_secs(30);
/// What went to another server is consumed for so long.
const LEAVE_GRACE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Segments that are loaded at once.
const LOADS: usize = 4;
const LOADED_QUEUED: usize = 256;

struct Loaded {
    content: Content,
    outcome: Result<Arc<SealedSegment>, Fault>,
}

struct Retry {
    backoff: Backoff,
    at: Duration,
}

struct Running {
    consumer: Consumer,
    /// Where it began: earlier segments are not its worry.
    from: Sequence,
}

struct Reconciler {
    core: Arc<Core>,
    tasks: TaskGroup,
    consumers: HashMap<(TableId, Partition), Running>,
    restarts: HashMap<(TableId, Partition), Retry>,
    loading: HashSet<Content>,
    /// What is uploaded that was committed without.
    storing: HashSet<Content>,
    retries: HashMap<Content, Retry>,
    /// What is held and not wanted, since when.
    unwanted: HashMap<(SegmentId, Option<u32>), Duration>,
    mine: Mine,
    permits: Arc<Semaphore>,
    loaded: mpsc::Sender<Loaded>,
    swept: bool,
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let (loaded, mut arrivals) = mpsc::channel(LOADED_QUEUED);
    let mut reconciler = Reconciler {
        core: Arc::clone(core),
        tasks: tasks.clone(),
        consumers: HashMap::new(),
        restarts: HashMap::new(),
        loading: HashSet::new(),
        storing: HashSet::new(),
        retries: HashMap::new(),
        unwanted: HashMap::new(),
        mine: Mine::of(&core.config.instance),
        permits: Arc::new(Semaphore::new(LOADS)),
        loaded,
        swept: false,
    };
    let mut cluster = core.cluster.clone();
    tasks.spawn("reconcile", |stop| async move {
        let again_and_again = async {
            // Before the first state nothing is known, least of all what may be removed.
            if cluster.changed().await.is_err() {
                return;
            }
            let mut batch = Vec::new();
            loop {
                let state = Arc::clone(&cluster.borrow_and_update());
                reconciler.pass(&state).await;
                tokio::select! {
                    changed = cluster.changed() => if changed.is_err() { return },
                    _ = arrivals.recv_many(&mut batch, LOADED_QUEUED) => {}
                    () = reconciler.core.clock.sleep(TICK) => {}
                }
                reconciler.arrived(&mut batch);
            }
        };
        stop.run_until_cancelled(again_and_again).await;
    });
}

/// Stands for the consumer of a partition among what is not wanted.
fn whole_partition((table, partition): (TableId, Partition)) -> SegmentId {
    SegmentId {
        table,
        partition,
        sequence: Sequence::MAX,
    }
}

impl Reconciler {
    async fn pass(&mut self, state: &ClusterState) {
        if !self.swept {
            self.first_pass(state).await;
        }
        let (mut missing, mut bytes) = (0, 0);
        self.mine.keep(state);
        let mut all_own = Vec::with_capacity(state.tables.len());
        for table in state.tables.values() {
            let here = self.open(&table.spec);
            let own = self.mine.in_table(table);
            self.consume(table.spec.id, &own, &here).await;
            self.keep_cold(&own, &here, &mut bytes).await;
            missing += self.load(&own, &here);
            self.store_later(table, &own, &here);
            self.retire(table, &here).await;
            all_own.push((table, own));
        }
        self.core.metrics.missing.set(missing);
        self.core.cache.make_room(&self.core, 0).await;
        for table in self.core.tables.all() {
            if !state.tables.contains_key(&table.id) {
                self.drop_table(table.id).await;
            }
        }
        self.core.indexer.follow(&self.core, &all_own);
        if !self.core.ready.is_done() {
            self.forget_waits(state);
        }
    }

    /// The table; when its config has changed, sidecars with what it does not want any more go.
    fn open(&self, spec: &TableSpec) -> Arc<Table> {
        let before = self.core.tables.get(spec.id).map(|table| table.view());
        let table = self.core.tables.open(spec);
        if before.is_some_and(|before| *before.spec != *spec) {
            for segment in table.view().sealed().values() {
                if segment.is_sidecar_outdated(spec, Extent::Kept) {
                    let content = (segment.id(), segment.crc());
                    self.core.indexer.want(content, Extent::Kept);
                }
            }
        }
        table
    }

    /// `/ready` does not wait for what went to another server.
    fn forget_waits(&self, state: &ClusterState) {
        let all = || state.tables.values().flat_map(|table| &table.segments);
        let mine = || all().filter(|segment| self.is_mine(segment));
        let sealed: HashSet<SegmentId> = mine()
            .filter(|segment| segment.record.is_done())
            .map(|segment| segment.record.id)
            .collect();
        let consumed: HashSet<(TableId, Partition)> = mine()
            .filter(|segment| !segment.record.is_done())
            .map(|segment| (segment.record.id.table, segment.record.id.partition))
            .collect();
        self.core.ready.keep(
            |id| sealed.contains(&id),
            |table, partition| consumed.contains(&(table, partition)),
        );
    }

    /// Removes what an earlier run left behind; says what `/ready` waits for.
    async fn first_pass(&mut self, state: &ClusterState) {
        self.swept = true;
        let mine = |segment: &&SegmentState| self.is_mine(segment);
        let all = || state.tables.values().flat_map(|table| &table.segments);
        let sealed = || all().filter(mine).filter(|s| s.record.is_done());
        let consuming = all().filter(mine).filter(|s| !s.record.is_done());
        self.core.ready.begin(
            sealed().map(|segment| segment.record.id),
            consuming.map(|s| (s.record.id.table, s.record.id.partition)),
        );
        let wanted: HashSet<PathBuf> = sealed()
            .flat_map(|segment| {
                let (id, crc) = (segment.record.id, segment.record.crc);
                self.core.store.paths(id, crc)
            })
            .collect();
        let core = Arc::clone(&self.core);
        let swept = self.core.compute.run(move || core.store.sweep(&wanted));
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "left-over files cannot be removed");
        }
    }

    fn is_mine(&self, segment: &SegmentState) -> bool {
        segment.assigned.contains(&self.core.config.instance)
    }

    /// Starts and stops the consumers of a table.
    async fn consume(&mut self, table: TableId, own: &[Arc<SegmentState>], here: &Arc<Table>) {
        let now = self.core.clock.monotonic();
        let heads: Vec<&SegmentState> = own
            .iter()
            .map(|segment| &**segment)
            .filter(|segment| !segment.record.is_done() && self.is_mine(segment))
            .collect();
        let kept: HashSet<Partition> = heads.iter().map(|s| s.record.id.partition).collect();
        for head in &heads {
            let key = (table, head.record.id.partition);
            let runs = self.consumers.get(&key);
            if runs.is_some_and(|running| !running.consumer.has_ended()) {
                continue;
            }
            if self.restarts.get(&key).is_some_and(|retry| now < retry.at) {
                continue;
            }
            if let Some(ended) = self.consumers.remove(&key) {
                ended.consumer.stop(STOP_GRACE).await;
            }
            self.start_consumer(head, here, now);
        }
        let own = self.consumers.keys().copied();
        let own: Vec<(TableId, Partition)> = own.filter(|key| key.0 == table).collect();
        for key in own {
            // Brokers that know an older state get from it what comes meanwhile, too.
            let place = (whole_partition(key), None);
            let leaves = self.is_over(kept.contains(&key.1), place, now, LEAVE_GRACE);
            if leaves && let Some(running) = self.consumers.remove(&key) {
                running.consumer.stop(STOP_GRACE).await;
                here.forget_consumer(key.1);
            }
        }
    }

    fn start_consumer(&mut self, head: &SegmentState, here: &Arc<Table>, now: Duration) {
        let record = &head.record;
        let key = (record.id.table, record.id.partition);
        let me = &self.core.config.instance;
        // Until it has caught up, those who are there already answer for the partition.
        let hidden = head.online.iter().any(|other| other != me);
        let retry = self.restarts.entry(key).or_insert_with(|| Retry {
            backoff: Backoff::up_to(RETRY_MAX),
            at: now,
        });
        retry.at = now + retry.backoff.next_delay();
        match Consumer::start(&self.core, here, record, hidden, &self.tasks) {
            Ok(consumer) => {
                let from = record.id.sequence;
                self.consumers.insert(key, Running { consumer, from });
            }
            Err(fault) => {
                tracing::error!(segment = %record.id, cause = %fault, "cannot consume");
                self.core.ready.consumer_settled(key.0, key.1);
            }
        }
    }

    /// Loads the sealed segments of a table that are assigned and not here; how many these are.
    fn load(&mut self, own: &[Arc<SegmentState>], here: &Arc<Table>) -> i64 {
        let mut missing = 0;
        let view = here.view();
        let now = self.core.clock.monotonic();
        for segment in own {
            let record = &segment.record;
            if !record.is_done() || !self.is_mine(segment) {
                continue;
            }
            let id = record.id;
            let held = view.find(id.partition, id.sequence);
            let cold = view.cold().get(&(id.partition, id.sequence));
            if held.is_some_and(|held| held.crc() == record.crc) || cold == Some(&record.crc) {
                self.core.ready.segment_settled(id);
                continue;
            }
            if self.is_with_consumer(here, id) {
                continue;
            }
            missing += 1;
            let content = (id, record.crc);
            let early = self.retries.get(&content).is_some_and(|r| now < r.at);
            if early || !self.loading.insert(content) {
                continue;
            }
            self.load_one(here, record);
        }
        missing
    }

    /// Of what is assigned and not here only the newest is loaded that has room beside the `bytes`
    /// of what is here; the rest comes when it is read.
    async fn keep_cold(&self, own: &[Arc<SegmentState>], here: &Arc<Table>, bytes: &mut u64) {
        let view = here.view();
        let mut cold = Vec::new();
        for segment in own.iter().rev() {
            let record = &segment.record;
            let id = record.id;
            if !record.is_done() || !self.is_mine(segment) {
                continue;
            }
            let is_known = view.cold().get(&(id.partition, id.sequence)) == Some(&record.crc);
            let held = view.find(id.partition, id.sequence);
            let is_held = held.is_some_and(|held| held.crc() == record.crc);
            if is_known || self.is_with_consumer(here, id) {
                continue;
            }
            let fits = self.core.cache.has_room(*bytes + record.bytes);
            let is_loading = self.loading.contains(&(id, record.crc));
            if fits || is_held || is_loading || !self.core.cache.may_be_cold(here, record) {
                *bytes += record.bytes;
            } else {
                cold.push((id, record.crc));
            }
        }
        if cold.is_empty() {
            return;
        }
        here.publish(|view| cold.iter().for_each(|(id, crc)| view.make_cold(*id, *crc)));
        self.core.heart.hurry();
        // An earlier run may have had room for them.
        remove_files(&self.core, cold).await;
    }

    /// The consumer puts the sealed form in the place of its own rows.
    fn is_with_consumer(&self, here: &Table, id: SegmentId) -> bool {
        let Some(running) = self.consumers.get(&(id.table, id.partition)) else {
            return false;
        };
        let view = here.view();
        let first = view.run(id.partition).first();
        id.sequence >= running.from
            && first.is_some_and(|first| id.sequence + 1 >= first.id().sequence)
    }

    fn load_one(&self, here: &Table, record: &SegmentRecord) {
        let (core, permits) = (Arc::clone(&self.core), Arc::clone(&self.permits));
        let (record, spec) = (record.clone(), Arc::clone(&here.view().spec));
        let loaded = self.loaded.clone();
        let load = async move {
            let _permit = permits.acquire_owned().await;
            let outcome = core.store.load(&spec, &record).await;
            let content = (record.id, record.crc);
            // The receiver is gone only when the server stops.
            let _ = loaded.send(Loaded { content, outcome }).await;
        };
        self.tasks.spawn("load a segment", |stop| async move {
            stop.run_until_cancelled(load).await;
        });
    }

    /// Shows what was loaded, each table's in one step.
    fn arrived(&mut self, batch: &mut Vec<Loaded>) {
        let mut by_table: HashMap<TableId, Vec<Arc<SealedSegment>>> = HashMap::new();
        for Loaded { content, outcome } in batch.drain(..) {
            self.loading.remove(&content);
            match outcome {
                Ok(segment) => {
                    self.retries.remove(&content);
                    by_table.entry(content.0.table).or_default().push(segment);
                }
                Err(fault) => {
                    let delay = self.later(content);
                    tracing::warn!(segment = %content.0, cause = %fault, ?delay,
                        "cannot load, will be tried again");
                    self.core.ready.segment_failed(&fault.to_string());
                }
            }
        }
        for (id, segments) in by_table {
            let Some(table) = self.core.tables.get(id) else {
                continue;
            };
            for segment in &segments {
                self.core.ready.segment_settled(segment.id());
                let spec = &table.view().spec;
                if segment.is_sidecar_outdated(spec, Extent::All) {
                    let content = (segment.id(), segment.crc());
                    self.core.indexer.want(content, Extent::All);
                }
            }
            self.show(&table, segments);
            self.core.heart.hurry();
        }
    }

    /// It is tried again after so long.
    fn later(&mut self, content: Content) -> Duration {
        let now = self.core.clock.monotonic();
        let retry = self.retries.entry(content).or_insert_with(|| Retry {
            backoff: Backoff::up_to(RETRY_MAX),
            at: now,
        });
        let delay = retry.backoff.next_delay();
        retry.at = now + delay;
        delay
    }

    /// In the place of other files of theirs, which go.
    fn show(&mut self, table: &Table, segments: Vec<Arc<SealedSegment>>) {
        let mut replaced: Vec<Content> = Vec::new();
        let refused = table.publish(|view| {
            let mut refused = Vec::new();
            for segment in segments {
                let id = segment.id();
                let held = view.find(id.partition, id.sequence);
                let held = held.map(|held| held.crc());
                if held == Some(segment.crc()) {
                    // A query that found the file damaged has loaded it meanwhile.
                    continue;
                }
                let new = (segment.path().to_owned(), (id, segment.crc()));
                match view.add_sealed(segment) {
                    Ok(()) => replaced.extend(held.map(|crc| (id, crc))),
                    Err(error) => refused.push((new, error)),
                }
            }
            refused
        });
        for ((path, content), error) in refused {
            match error {
                SegmentError::Early { .. } => {
                    let delay = self.later(content);
                    tracing::debug!(segment = %content.0, cause = %error, ?delay,
                        "not shown yet, will be tried again");
                }
                error => self.core.store.quarantine(&path, &error.to_string()),
            }
        }
        for (id, crc) in replaced {
            for path in self.core.store.paths(id, crc) {
                self.core.store.remove_file(&path);
            }
        }
    }
}
