//! A log in memory and a controller that keeps the completion protocol, both in this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use rpc::{ControlApi, UpdateStream};
use schemas::cluster::{InstanceState, Role, SegmentState, TableState};
use schemas::proto::segment_consumed_reply::Action;
use schemas::proto::*;
use schemas::segment::SegmentRecord;
use schemas::{Fault, InstanceId, Offset, SegmentId, TableId};
use stream::{Message, Messages, PartitionReader, StreamError, StreamSource, Streams};
use tokio::sync::{Notify, watch};

/// Messages of a fetch: no divisor of any limit in the tests.
const FETCH_MESSAGES: usize = 97;

/// One partition. `None` is an offset that the log does not hand out.
#[derive(Debug, Default)]
pub(super) struct MemoryLog {
    messages: Mutex<Vec<Option<Bytes>>>,
    appended: Notify,
    pub(super) missing: AtomicBool,
    /// Offsets before this one are not in the log any more.
    pub(super) start: AtomicI64,
    pub(super) opened: AtomicUsize,
}

impl MemoryLog {
    pub(super) fn push(&self, messages: impl IntoIterator<Item = Option<String>>) {
        let messages = messages.into_iter().map(|m| m.map(Bytes::from));
        self.messages.lock().extend(messages);
        self.appended.notify_waiters();
    }

    /// Rows `n` from `range`, each at the offset `n` when nothing else was pushed.
    pub(super) fn push_rows(&self, range: std::ops::Range<i64>) {
        self.push(range.map(|n| Some(format!(r#"{{"n": {n}, "s": "row {n}"}}"#))));
    }
}

#[derive(Clone, Debug)]
pub(super) struct MemoryStreams(pub(super) Arc<MemoryLog>);

impl Streams for MemoryStreams {
    fn source(
        &self,
        _: &schemas::table::StreamSpec,
        _: &str,
    ) -> Result<Arc<dyn StreamSource>, StreamError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl StreamSource for MemoryStreams {
    async fn open(
        &self,
        topic: &str,
        _: u32,
        from: Offset,
    ) -> Result<Box<dyn PartitionReader>, StreamError> {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        if self.0.missing.load(Ordering::Relaxed) {
            return Err(StreamError::TopicMissing {
                topic: topic.to_owned(),
                brokers: "memory".to_owned(),
            });
        }
        let log = Arc::clone(&self.0);
        Ok(Box::new(MemoryReader { log, next: from }))
    }

    async fn partitions(&self, _: &str) -> Result<u32, StreamError> {
        Ok(1)
    }

    async fn watermarks(&self, _: &str, _: u32) -> Result<(Offset, Offset), StreamError> {
        Ok((0, self.0.messages.lock().len() as Offset))
    }

    async fn offset_at(&self, _: &str, _: u32, _: i64) -> Result<Option<Offset>, StreamError> {
        Ok(None)
    }

    async fn create_topic(&self, _: &str, _: u32) -> Result<(), StreamError> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryReader {
    log: Arc<MemoryLog>,
    next: Offset,
}

#[async_trait]
impl PartitionReader for MemoryReader {
    async fn fetch(&mut self, wait: Duration) -> Result<Messages, StreamError> {
        let appended = self.log.appended.notified();
        tokio::pin!(appended);
        appended.as_mut().enable();
        if self.log.messages.lock().len() as Offset <= self.next {
            let _ = tokio::time::timeout(wait, appended).await;
        }
        let all = self.log.messages.lock();
        let (start, end) = (self.log.start.load(Ordering::Relaxed), all.len() as Offset);
        if self.next < start || self.next > end {
            return Err(StreamError::OffsetOutOfRange {
                topic: "t".to_owned(),
                partition: 0,
                wanted: self.next,
                start,
                end,
            });
        }
        let from = self.next as usize;
        let until = all.len().min(from + FETCH_MESSAGES);
        let handed_out = (from..until).filter_map(|at| {
            let payload = all[at].clone()?;
            Some(Message {
                offset: at as Offset,
                timestamp_ms: -1,
                key: None,
                payload: Some(payload),
                headers: Vec::new(),
            })
        });
        let messages = handed_out.collect();
        self.next = self.next.max(until as Offset);
        Ok(Messages {
            messages,
            next: self.next,
            log_end: Some(end),
            log_start: Some(start),
        })
    }
}

#[derive(Debug, Default)]
struct World {
    tables: BTreeMap<TableId, TableState>,
    epoch: u64,
    elections: HashMap<SegmentId, (String, Offset, u64)>,
    heartbeats: BTreeMap<String, HeartbeatRequest>,
}

/// Keeps the rules of the real controller, in memory.
#[derive(Debug)]
pub(super) struct FakeControl {
    world: Mutex<World>,
    version: watch::Sender<u64>,
    /// Nobody answers.
    pub(super) away: AtomicBool,
    /// Who reports the end of a segment waits for as long.
    pub(super) ponders: watch::Sender<bool>,
    /// Is committed by somebody else in the moment before the next commit.
    pub(super) rival: Mutex<Option<SegmentRecord>>,
}

impl Default for FakeControl {
    fn default() -> Self {
        Self {
            world: Mutex::default(),
            version: watch::Sender::new(1),
            away: AtomicBool::new(false),
            ponders: watch::Sender::new(false),
            rival: Mutex::default(),
        }
    }
}

impl FakeControl {
    pub(super) fn change(&self, change: impl FnOnce(&mut BTreeMap<TableId, TableState>)) {
        let mut world = self.world.lock();
        change(&mut world.tables);
        drop(world);
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn table(&self, id: TableId) -> TableState {
        self.world.lock().tables[&id].clone()
    }

    pub(super) fn consumers(&self, instance: &str) -> Vec<ConsumerState> {
        let world = self.world.lock();
        let beat = world.heartbeats.get(instance);
        beat.map(|beat| beat.consumers.clone()).unwrap_or_default()
    }

    pub(super) fn reloads(&self, instance: &str) -> Vec<ReloadProgress> {
        let world = self.world.lock();
        let beat = world.heartbeats.get(instance);
        beat.map(|beat| beat.reloads.clone()).unwrap_or_default()
    }

    pub(super) fn held(&self, instance: &str) -> HashSet<(u32, u32)> {
        let world = self.world.lock();
        let held = world.heartbeats.get(instance).map(|beat| beat.held.clone());
        let refs = held.unwrap_or_default().into_iter();
        refs.filter_map(|held| held.segment)
            .map(|segment| (segment.sequence, segment.crc))
            .collect()
    }

    /// Segment n is done, n + 1 begins: one change.
    pub(super) fn commit(&self, record: SegmentRecord) {
        let id = record.id;
        let end = record.end.unwrap();
        self.change(|tables| {
            let table = tables.get_mut(&id.table).unwrap();
            let mut own = table.segments.iter_mut().rev();
            let last = own.find(|s| s.record.id.partition == id.partition).unwrap();
            assert_eq!((last.record.id, last.record.start), (id, record.start));
            last.record = record;
            let next = SegmentId {
                sequence: id.sequence + 1,
                ..id
            };
            let next = SegmentState {
                record: SegmentRecord::consuming(next, &table.spec, end, 0),
                assigned: last.assigned.clone(),
                online: Default::default(),
                hidden: false,
            };
            table.segments.put(next);
        });
    }

    fn here(&self) -> Result<(), Fault> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(Fault::unavailable("the controller is away")),
            false => Ok(()),
        }
    }

    fn update(&self) -> ClusterUpdate {
        let world = self.world.lock();
        let json = |table: &TableState| serde_json::to_vec(table).unwrap().into();
        let instances = world.heartbeats.values().map(|beat| InstanceState {
            id: InstanceId(beat.instance.clone()),
            role: Role::Server,
            address: beat.address.clone(),
            alive: true,
            plan_format: beat.plan_format,
            exchange_format: beat.exchange_format,
            leads: false,
        });
        let instances: Vec<InstanceState> = instances.collect();
        ClusterUpdate {
            version: *self.version.borrow(),
            complete: true,
            tables: world.tables.values().map(json).collect(),
            removed_tables: Vec::new(),
            instances: serde_json::to_vec(&instances).unwrap().into(),
            ..ClusterUpdate::default()
        }
    }
}

fn id_of(table: &[u8], partition: u32, sequence: u32) -> SegmentId {
    SegmentId {
        table: TableId::from_bytes(table).unwrap(),
        partition,
        sequence,
    }
}

/// The handle that the network gives out.
#[derive(Clone, Debug)]
pub(super) struct Control(pub(super) Arc<FakeControl>);

#[async_trait]
impl ControlApi for Control {
    async fn watch(&self, _: WatchRequest) -> Result<UpdateStream, Fault> {
        self.0.here()?;
        let control = Arc::clone(&self.0);
        let versions = control.version.subscribe();
        let updates =
            futures::stream::unfold((control, versions, true), |(c, mut v, first)| async move {
                if !first {
                    v.changed().await.ok()?;
                }
                v.borrow_and_update();
                Some((Ok(c.update()), (c, v, false)))
            });
        Ok(updates.boxed())
    }

    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        self.0.here()?;
        let mut world = self.0.world.lock();
        world.heartbeats.insert(request.instance.clone(), request);
        Ok(HeartbeatReply::default())
    }

    async fn segment_consumed(
        &self,
        request: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        self.0.here()?;
        let mut ponders = self.0.ponders.subscribe();
        let _ = ponders.wait_for(|ponders| !ponders).await;
        let id = id_of(&request.table_id, request.partition, request.sequence);
        let mut world = self.0.world.lock();
        let answer = |action: Action, offset, epoch| SegmentConsumedReply {
            action: action.into(),
            offset,
            epoch,
            wait_ms: 20,
        };
        let tables = &world.tables;
        let found = tables
            .get(&id.table)
            .and_then(|table| table.segments.find(id));
        let Some(found) = found else {
            return Ok(answer(Action::Fenced, 0, 0));
        };
        if let Some(end) = found.record.end {
            let same = end == request.offset;
            let action = if same { Action::Keep } else { Action::Discard };
            return Ok(answer(action, end, 0));
        }
        if let Some((committer, offset, epoch)) = world.elections.get(&id).cloned() {
            return Ok(
                if committer == request.instance && offset == request.offset {
                    answer(Action::Commit, offset, epoch)
                } else if request.offset < offset {
                    answer(Action::CatchUp, offset, 0)
                } else {
                    answer(Action::Hold, 0, 0)
                },
            );
        }
        world.epoch += 1;
        let epoch = world.epoch;
        let election = (request.instance, request.offset, epoch);
        world.elections.insert(id, election);
        Ok(answer(Action::Commit, request.offset, epoch))
    }

    async fn commit_start(&self, request: CommitStartRequest) -> Result<CommitReply, Fault> {
        self.0.here()?;
        let id = id_of(&request.table_id, request.partition, request.sequence);
        let world = self.0.world.lock();
        let accepted = world
            .elections
            .get(&id)
            .is_some_and(|(who, _, epoch)| (who, *epoch) == (&request.instance, request.epoch));
        Ok(CommitReply {
            accepted,
            ..CommitReply::default()
        })
    }

    async fn commit_end(&self, request: CommitEndRequest) -> Result<CommitReply, Fault> {
        self.0.here()?;
        let record: SegmentRecord = serde_json::from_slice(&request.segment).unwrap();
        assert!(
            self.0
                .held(&request.instance)
                .contains(&(record.id.sequence, record.crc)),
            "whoever reads the new state finds the segment with the committer"
        );
        if let Some(rival) = self.0.rival.lock().take() {
            self.0.commit(rival);
        }
        let state = self.0.table(record.id.table);
        let found = state.segments.find(record.id);
        let accepted = match found {
            Some(found) if found.record.is_done() => found.record.crc == record.crc,
            Some(_) => {
                assert_eq!(
                    record.ledger.total() as i64,
                    record.end.unwrap() - record.start,
                    "every offset is accounted for"
                );
                self.0.commit(record);
                true
            }
            None => false,
        };
        Ok(CommitReply {
            accepted,
            ..CommitReply::default()
        })
    }

    async fn add_segment(&self, _: AddSegmentRequest) -> Result<CommitReply, Fault> {
        Err(Fault::invalid("not asked for in these tests"))
    }

    async fn lease_task(&self, _: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        Err(Fault::invalid("not asked for in these tests"))
    }

    async fn finish_task(&self, _: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        Err(Fault::invalid("not asked for in these tests"))
    }
}
