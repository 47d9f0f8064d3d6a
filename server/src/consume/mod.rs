//! Consumes one partition of a stream, segment after segment. The only writer of its segments.
//!
//! Invariants:
//! - the current segment's next offset is the first that is not in it; it moves only after an
//!   append, so that stopping between two awaits loses nothing: the rest is read again;
//! - at most one segment is frozen and not committed; consumption goes on into the next one;
//! - what a query saw of the partition it sees again: a segment that another replica ended
//!   elsewhere is replaced only when its successor has caught up with what was visible.

mod completion;
mod digest;
mod ending;
mod expressions;
mod feeder;
mod keys;
mod limits;
mod orders;
mod pace;
mod pressure;
mod rolling;
mod status;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::{Backoff, CancellationToken, MemoryPermit, TaskGroup};
use schemas::cluster::{ClusterState, ConsumptionOrders, TableState};
use schemas::ingest_event::EventKind;
use schemas::segment::SegmentRecord;
use schemas::table::{FlushLimits, IngestRules, StreamKind, StreamSpec, topic_partition};
use schemas::{Fault, Offset, Partition, SegmentId, Sequence, TableSpec};
use segment::{MutableSegment, SealedSegment};
use stream::{Message, PartitionReader};
use tokio::sync::{mpsc, watch};
use upsert::PartitionKeys;
use uuid::Uuid;

use crate::Core;
use crate::store::segment_fault;
use crate::view::Table;
use completion::{Finished, Trouble};
pub(crate) use digest::{Digest, Digests};
pub use expressions::EngineExpressions;
use feeder::Feeder;
use orders::Counted;
use pace::Pace;
use status::Status;

pub(crate) use pressure::Pressure;
pub(crate) use steps::is_outdated;

const RETRY_MAX: Duration = Duration::from_secs(2);

/// Handle of a running consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    tasks: TaskGroup,
    ended: Arc<AtomicBool>,
}

impl Consumer {
    /// Opens the segment of `record` in the view and consumes into it.
    pub(crate) fn start(
        core: &Arc<Core>,
        table: &Arc<Table>,
        record: &SegmentRecord,
        hidden: bool,
        tasks: &TaskGroup,
    ) -> Result<Self, Fault> {
        let partition = record.id.partition;
        let spec = Arc::clone(&table.view().spec);
        let segment = open_segment(&spec, record.id, record.name.clone(), record.start)?;
        let name = format!("{} {partition}", spec.physical_name());
        let tasks = tasks.child(&name);
        let runner = Runner::new(core, table, segment, record.created_ms, hidden, &tasks);
        if hidden {
            table.hide(partition);
        }
        table.publish(|view| {
            view.remove_keys(partition);
            view.set_run(partition, vec![Arc::clone(&runner.current)]);
        });
        core.heart.hurry();
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        tasks.spawn(format!("consume {name}"), |stop| async move {
            if let Err(fault) = runner.run(stop).await {
                tracing::error!(partition = name, cause = %fault, "consumer ended");
            }
            ends.store(true, Ordering::Release);
        });
        Ok(Self { tasks, ended })
    }

    /// It stopped by itself and may be started again.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
    }
}

fn open_segment(
    spec: &Arc<TableSpec>,
    id: SegmentId,
    name: String,
    start: Offset,
) -> Result<Arc<MutableSegment>, Fault> {
    let segment = MutableSegment::new(Arc::clone(spec), id, name, start);
    segment.map(Arc::new).map_err(|error| segment_fault(&error))
}

/// A committed segment that ends elsewhere than ours did: it is shown when the one after it has
/// all that queries saw.
#[derive(Debug)]
struct Swap {
    sealed: Arc<SealedSegment>,
    seen: Offset,
}

#[derive(Debug)]
struct Runner {
    core: Arc<Core>,
    table: Arc<Table>,
    partition: Partition,
    tasks: TaskGroup,
    cluster: watch::Receiver<Arc<ClusterState>>,
    known: Known,
    current: Arc<MutableSegment>,
    /// Of a table whose keys have rules, once they are read.
    keys: Option<Arc<PartitionKeys>>,
    /// When it was opened here, and when by the metadata.
    opened: Duration,
    created_ms: i64,
    /// Of the current segment, as they were when it was opened.
    limits: FlushLimits,
    memory: Option<MemoryPermit>,
    /// The budget for consuming rows is used up.
    memory_pressed: bool,
    /// The segment can take no more, whatever its limits.
    is_full: bool,
    /// Rows that it had when they were last put together.
    rolled_up: u32,
    pace: Pace,
    feeder: Feeder,
    reader: Option<Box<dyn PartitionReader>>,
    /// Fetched and not yet in the segment; all of them are below `fetched`.
    pending: VecDeque<Message>,
    fetched: Offset,
    /// Another replica ends the segment here; this one comes up to it.
    target: Option<Offset>,
    /// The frozen segment's completion, while there is one.
    completion: Option<mpsc::Receiver<Finished>>,
    trouble: Trouble,
    /// The current segment is committed with another end and takes no more rows.
    superseded: bool,
    swap: Option<Swap>,
    /// The order to seal that found nothing to be sealed.
    declined: Option<Uuid>,
    /// When an operator last paused the table or let it go on.
    resumed: Option<i64>,
    counted: Counted,
    /// The last message that was larger than the client takes.
    too_large: Option<Offset>,
    /// Why nothing more is taken: too much was rejected.
    over_budget: Option<String>,
    /// Not before this moment is the end of the segment reported again.
    report_at: Duration,
    report_backoff: Backoff,
    /// Since when it has as many rows as it shall have.
    complete_since: Option<Duration>,
    /// Not before this moment is the stream asked again, or what was fetched read.
    fetch_at: Duration,
    fetch_backoff: Backoff,
    status: Status,
}

/// What the cluster's state says about the partition.
#[derive(Debug, Default)]
struct Known {
    paused: bool,
    /// Ends of committed segments, from the one that was current when the state came.
    ends: BTreeMap<Sequence, Offset>,
    /// Messages that were rejected in all committed segments.
    rejected: u64,
    /// Where the partition's messages are.
    stream: Option<StreamSpec>,
    orders: ConsumptionOrders,
    rules: IngestRules,
    /// Messages a second that the partition may take.
    rate: Option<f64>,
    /// Of a segment that begins now.
    limits: FlushLimits,
    /// Servers that consume the partition.
    replicas: usize,
}

impl Known {
    fn of(table: &TableState, digest: &Digest, partition: Partition, from: Sequence) -> Self {
        let (topic, _) = topic_partition(partition);
        let orders = &table.orders;
        let consumed = digest.consuming.get(&topic).copied().unwrap_or(0);
        let stream = table.spec.streams.get(topic);
        let mut known = Self {
            paused: table.paused || orders.paused_topics.contains(&(topic as u32)),
            rate: stream.and_then(|stream| stream.rate.of_partition(consumed)),
            stream: stream.cloned(),
            orders: orders.clone(),
            rules: table.spec.ingest,
            limits: limits::learned(table.spec.flush, &digest.sealed),
            ..Self::default()
        };
        for segment in table.segments.of_partition(partition) {
            let record = &segment.record;
            if !record.is_done() {
                known.replicas = segment.assigned.len();
            }
            known.rejected += record.ledger.rejected;
            if let Some(end) = record.end.filter(|_| record.id.sequence >= from) {
                known.ends.insert(record.id.sequence, end);
            }
        }
        known
    }
}

/// What to do next.
#[derive(Debug)]
enum Step {
    /// Nothing can be taken before the keys of what is sealed are known.
    ReadKeys,
    /// Rows that agree are to become one.
    RollUp,
    Feed,
    Fetch,
    /// The segment holds nothing yet: it begins again with the table's new config.
    Renew,
    /// The segment ends here: it is frozen, and reported while the next one takes rows.
    End(&'static str),
    /// The segment shall end; other replicas may end it elsewhere.
    Report(&'static str),
    /// The current segment was committed by another replica before this one reported it.
    Superseded(Offset),
    ShowSwap,
    /// Nothing to do until something changes, or until so long.
    Wait(Duration),
}

/// How an iteration ended.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// The segment is not this server's any more.
    Fenced,
}

impl Runner {
    fn new(
        core: &Arc<Core>,
        table: &Arc<Table>,
        current: Arc<MutableSegment>,
        created_ms: i64,
        hidden: bool,
        tasks: &TaskGroup,
    ) -> Self {
        let start = current.start_offset();
        let id = current.id();
        Self {
            core: Arc::clone(core),
            table: Arc::clone(table),
            partition: id.partition,
            tasks: tasks.clone(),
            cluster: core.cluster.clone(),
            known: Known::default(),
            feeder: Feeder::new(Arc::clone(current.spec()), topic_partition(id.partition).0),
            current,
            keys: None,
            opened: core.clock.monotonic(),
            created_ms,
            limits: FlushLimits::default(),
            memory: None,
            memory_pressed: false,
            is_full: false,
            rolled_up: 0,
            pace: Pace::default(),
            reader: None,
            pending: VecDeque::new(),
            fetched: start,
            target: None,
            completion: None,
            trouble: Trouble::default(),
            superseded: false,
            swap: None,
            declined: None,
            resumed: None,
            counted: Counted::default(),
            too_large: None,
            over_budget: None,
            report_at: Duration::ZERO,
            report_backoff: Backoff::up_to(RETRY_MAX),
            complete_since: None,
            fetch_at: Duration::ZERO,
            fetch_backoff: Backoff::up_to(RETRY_MAX),
            status: Status::new(hidden),
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), Fault> {
        let outcome = self.consume(&stop).await;
        if let Err(fault) = &outcome {
            self.status.broken(fault);
            self.publish_status();
        }
        outcome
    }

    async fn consume(&mut self, stop: &CancellationToken) -> Result<(), Fault> {
        self.read_state();
        self.limits = self.known.limits;
        let at = self.current.start_offset();
        let text = format!("segment {} is consumed", self.current.name());
        self.event(EventKind::Started, (at, at), text);
        while !stop.is_cancelled() {
            let flow = match self.next_step() {
                Step::ReadKeys => self.read_keys(stop).await?,
                Step::RollUp => self.roll_up().await?,
                Step::Feed => self.feed().await?,
                Step::Fetch => self.fetch(stop).await?,
                Step::Renew => self.renew()?,
                Step::End(reason) => self.end(reason)?,
                Step::Report(reason) => self.report(reason, stop).await?,
                Step::Superseded(end) => self.supersede(end)?,
                Step::ShowSwap => self.show_swap()?,
                Step::Wait(limit) => self.wait(limit, stop).await?,
            };
            self.publish_status();
            if flow == Flow::Fenced {
                break;
            }
        }
        Ok(())
    }

    fn read_state(&mut self) {
        let cluster = Arc::clone(&self.cluster.borrow_and_update());
        if let Some(table) = cluster.tables.get(&self.table.id) {
            let known = {
                let digest = self.core.digests.get(table);
                Known::of(table, &digest, self.partition, self.current.id().sequence)
            };
            if known.stream.as_ref().map(place) != self.known.stream.as_ref().map(place) {
                // The log has moved: go on there.
                self.reader = None;
                self.fetch_at = Duration::ZERO;
            }
            let was_paused = self.known.paused;
            self.known = known;
            self.pace.set(self.known.rate, self.core.clock.monotonic());
            self.read_orders(was_paused);
        }
    }

    /// Waits for whatever may change what to do next.
    async fn wait(&mut self, limit: Duration, stop: &CancellationToken) -> Result<Flow, Fault> {
        tokio::select! {
            () = stop.cancelled() => Ok(Flow::GoOn),
            finished = next_finished(&mut self.completion) => self.finish(finished),
            changed = self.cluster.changed() => {
                self.state_changed(changed.is_ok());
                Ok(Flow::GoOn)
            }
            () = self.core.clock.sleep(limit) => Ok(Flow::GoOn),
        }
    }

    async fn fetch(&mut self, stop: &CancellationToken) -> Result<Flow, Fault> {
        let wait = status::FETCH_WAIT;
        tokio::select! {
            () = stop.cancelled() => Ok(Flow::GoOn),
            finished = next_finished(&mut self.completion) => self.finish(finished),
            changed = self.cluster.changed() => {
                self.state_changed(changed.is_ok());
                Ok(Flow::GoOn)
            }
            fetched = steps::fetch(&self.core, &self.table, self.known.stream.as_ref(),
                self.partition, &mut self.reader, self.fetched, wait) => {
                self.fetched(fetched);
                Ok(Flow::GoOn)
            }
        }
    }

    fn state_changed(&mut self, alive: bool) {
        self.read_state();
        if !alive {
            // The process stops; the token follows.
            self.fetch_at = self.core.clock.monotonic() + RETRY_MAX;
        }
    }
}

/// What a reader depends on.
fn place(stream: &StreamSpec) -> (StreamKind, &str, &str, &[(String, String)], bool) {
    let StreamSpec {
        kind,
        brokers,
        topic,
        client_options,
        decoder,
        ..
    } = stream;
    (*kind, brokers, topic, client_options, decoder.metadata)
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.core.pressure.forget((self.table.id, self.partition));
    }
}

async fn next_finished(completion: &mut Option<mpsc::Receiver<Finished>>) -> Option<Finished> {
    match completion {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
