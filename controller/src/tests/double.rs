//! Streams with as many partitions as a test says, and servers that hold what they are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rpc::{InProcessNetwork, Network, follow_cluster};
use runtime::{SystemClock, TaskGroup};
use schemas::cluster::{ClusterState, SegmentState};
use schemas::proto::{HeartbeatRequest, HeldSegment, SegmentRef};
use schemas::table::StreamSpec;
use schemas::{InstanceId, Offset};
use stream::{PartitionReader, StreamError, StreamSource, Streams};
use tokio::sync::watch;

/// All topics look alike.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(crate) partitions: AtomicU32,
    /// First and end offset of every partition.
    pub(crate) watermarks: Mutex<(Offset, Offset)>,
}

/// Every table is fine.
#[derive(Debug)]
pub(crate) struct NoCheck;

impl crate::CheckTable for NoCheck {
    fn check(&self, _: &schemas::TableSpec) -> Result<(), schemas::Fault> {
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeStreams(pub(crate) Arc<Topics>);

impl Streams for FakeStreams {
    fn source(&self, _: &StreamSpec, _: &str) -> Result<Arc<dyn StreamSource>, StreamError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl StreamSource for FakeStreams {
    async fn open(
        &self,
        _: &str,
        _: u32,
        _: Offset,
    ) -> Result<Box<dyn PartitionReader>, StreamError> {
        panic!("a controller reads no messages")
    }

    async fn partitions(&self, topic: &str) -> Result<u32, StreamError> {
        match self.0.partitions.load(Ordering::Relaxed) {
            0 => Err(StreamError::TopicMissing {
                topic: topic.to_owned(),
                brokers: "double".to_owned(),
            }),
            partitions => Ok(partitions),
        }
    }

    async fn watermarks(&self, _: &str, _: u32) -> Result<(Offset, Offset), StreamError> {
        Ok(*self.0.watermarks.lock())
    }

    async fn offset_at(&self, _: &str, _: u32, at: i64) -> Result<Option<Offset>, StreamError> {
        // A message each second of the log's time.
        let (_, end) = *self.0.watermarks.lock();
        Ok(Some(at / 1000).filter(|offset| *offset < end))
    }

    async fn create_topic(&self, _: &str, _: u32) -> Result<(), StreamError> {
        Ok(())
    }
}

/// Lives until it is dropped.
#[derive(Debug)]
pub(crate) struct FakeServer {
    /// What it acts on, as a broker would see it.
    pub(crate) cluster: watch::Receiver<Arc<ClusterState>>,
    /// Says for as long as this is set that it holds what it held.
    pub(crate) holds_on: Arc<AtomicBool>,
    tasks: TaskGroup,
}

impl FakeServer {
    /// Returns when the controller has heard of it.
    pub(crate) async fn start(name: &str, network: &Arc<InProcessNetwork>) -> Self {
        let tasks = TaskGroup::new(name);
        let instance = InstanceId(name.to_owned());
        let network = Arc::clone(network) as Arc<dyn Network>;
        let clock = SystemClock::shared();
        let cluster = follow_cluster(Arc::clone(&network), &instance, clock, &tasks);
        let controller = network.controller().unwrap();
        let first = heartbeat(&instance, Vec::new());
        controller.heartbeat(first).await.unwrap();
        let holds_on = Arc::new(AtomicBool::new(false));
        let (mut state, holding) = (cluster.clone(), Arc::clone(&holds_on));
        tasks.spawn("beats", |_| async move {
            let mut held = Vec::new();
            loop {
                if !holding.load(Ordering::Relaxed) {
                    held = given(&state.borrow_and_update(), &instance);
                }
                let beat = heartbeat(&instance, held.clone());
                let _ = controller.heartbeat(beat).await;
                let pause = Duration::from_millis(20);
                let _ = tokio::time::timeout(pause, state.changed()).await;
            }
        });
        Self {
            cluster,
            holds_on,
            tasks,
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn heartbeat(instance: &InstanceId, held: Vec<HeldSegment>) -> HeartbeatRequest {
    HeartbeatRequest {
        instance: instance.0.clone(),
        role: "server".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        held,
        ..HeartbeatRequest::default()
    }
}

fn given(state: &ClusterState, instance: &InstanceId) -> Vec<HeldSegment> {
    let segments = state.tables.values().flat_map(|table| &table.segments);
    let mine = segments.filter(|segment| segment.assigned.contains(instance));
    mine.map(held).collect()
}

pub(crate) fn held(segment: &SegmentState) -> HeldSegment {
    let id = segment.record.id;
    HeldSegment {
        table_id: id.table.to_bytes(),
        segment: Some(SegmentRef {
            partition: id.partition,
            sequence: id.sequence,
            crc: segment.record.crc,
        }),
        disk_bytes: segment.record.bytes,
        ..HeldSegment::default()
    }
}
