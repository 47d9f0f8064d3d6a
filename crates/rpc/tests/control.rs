//! What roles ask of the controller, over both transports: the same answers, the same faults.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use access::NodeTrust;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use rpc::{
    ControlApi, ControlDoors, GrpcNetwork, InProcessNetwork, Network, UpdateStream, follow_cluster,
};
use runtime::{SystemClock, TaskGroup};
use schemas::proto::*;
use schemas::{FaultKind, InstanceId};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Answers with what it was asked, and publishes a state without tables.
struct Echo {
    version: watch::Sender<u64>,
    seen: Mutex<Vec<(String, u64)>>,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            version: watch::Sender::new(1),
            seen: Mutex::default(),
        }
    }
}

#[async_trait]
impl ControlApi for Echo {
    async fn watch(&self, _: WatchRequest) -> Result<UpdateStream, schemas::Fault> {
        let mut versions = self.version.subscribe();
        versions.mark_changed();
        let updates = stream::unfold(versions, |mut versions| async move {
            versions.changed().await.ok()?;
            let update = ClusterUpdate {
                version: *versions.borrow_and_update(),
                complete: true,
                instances: b"[]".as_slice().into(),
                ..ClusterUpdate::default()
            };
            Some((Ok(update), versions))
        });
        Ok(updates.boxed())
    }

    async fn seen(&self, request: SeenRequest) -> Result<SeenReply, schemas::Fault> {
        self.seen.lock().push((request.instance, request.version));
        Ok(SeenReply {})
    }

    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, schemas::Fault> {
        Ok(HeartbeatReply {
            version: request.held.len() as u64,
            ..HeartbeatReply::default()
        })
    }

    async fn segment_consumed(
        &self,
        request: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, schemas::Fault> {
        Ok(SegmentConsumedReply {
            action: segment_consumed_reply::Action::CatchUp.into(),
            offset: request.offset,
            ..SegmentConsumedReply::default()
        })
    }

    async fn commit_start(
        &self,
        request: CommitStartRequest,
    ) -> Result<CommitReply, schemas::Fault> {
        Ok(CommitReply {
            accepted: true,
            reason: request.instance,
            sequence: request.sequence,
        })
    }

    async fn commit_end(&self, request: CommitEndRequest) -> Result<CommitReply, schemas::Fault> {
        Err(schemas::Fault::conflict(format!("epoch {}", request.epoch)))
    }

    async fn add_segment(&self, request: AddSegmentRequest) -> Result<CommitReply, schemas::Fault> {
        Ok(CommitReply {
            sequence: request.segment.len() as u32,
            ..CommitReply::default()
        })
    }

    async fn lease_task(
        &self,
        request: LeaseTaskRequest,
    ) -> Result<LeaseTaskReply, schemas::Fault> {
        Ok(LeaseTaskReply {
            task: request.kinds.join("+").into(),
        })
    }

    async fn finish_task(
        &self,
        request: FinishTaskRequest,
    ) -> Result<FinishTaskReply, schemas::Fault> {
        match request.fault {
            Some(fault) => Err(fault.into()),
            None => Ok(FinishTaskReply {}),
        }
    }
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

async fn conformance(echo: Arc<Echo>, network: Arc<dyn Network>) {
    let controller = network.controller().unwrap();
    let held = vec![HeldSegment::default(); 3];
    let beat = HeartbeatRequest {
        held,
        ..HeartbeatRequest::default()
    };
    assert_eq!(controller.heartbeat(beat).await.unwrap().version, 3);
    let consumed = SegmentConsumedRequest {
        offset: -7,
        ..SegmentConsumedRequest::default()
    };
    let reply = controller.segment_consumed(consumed).await.unwrap();
    let action = segment_consumed_reply::Action::CatchUp;
    assert_eq!((reply.action(), reply.offset), (action, -7));
    let start = CommitStartRequest {
        instance: "a".to_owned(),
        sequence: 5,
        ..CommitStartRequest::default()
    };
    let reply = controller.commit_start(start).await.unwrap();
    assert_eq!(
        (reply.accepted, &*reply.reason, reply.sequence),
        (true, "a", 5)
    );
    let end = CommitEndRequest {
        epoch: 9,
        ..CommitEndRequest::default()
    };
    let fault = controller.commit_end(end).await.unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.message),
        (FaultKind::Conflict, "epoch 9")
    );
    let add = AddSegmentRequest {
        segment: b"four".as_slice().into(),
    };
    assert_eq!(controller.add_segment(add).await.unwrap().sequence, 4);
    let lease = LeaseTaskRequest {
        kinds: vec!["x".to_owned(), "y".to_owned()],
        ..LeaseTaskRequest::default()
    };
    assert_eq!(
        &controller.lease_task(lease).await.unwrap().task[..],
        b"x+y"
    );
    let said = schemas::Fault::timeout("too late").at(schemas::fault::Span { start: 2, end: 4 });
    let finish = FinishTaskRequest {
        fault: Some(said.clone().into()),
        ..FinishTaskRequest::default()
    };
    assert_eq!(controller.finish_task(finish).await.unwrap_err(), said);

    let tasks = TaskGroup::new("follower");
    let instance = InstanceId("Broker_a".to_owned());
    let clock = SystemClock::shared();
    let state = follow_cluster(network, &instance, clock, &tasks);
    until(|| state.borrow().version == 1).await;
    echo.version.send_replace(2);
    until(|| state.borrow().version == 2).await;
    let all = [1, 2].map(|version| ("Broker_a".to_owned(), version));
    until(|| *echo.seen.lock() == all).await;
    assert!(tasks.stop(Duration::from_secs(5)).await.is_empty());
}

#[tokio::test]
async fn over_one_process() {
    let echo = Arc::new(Echo::default());
    let network = InProcessNetwork::default();
    let absent = network.controller().err().unwrap();
    assert_eq!(absent.kind, FaultKind::Unavailable);
    network.register_controller(Arc::clone(&echo) as Arc<dyn ControlApi>);
    conformance(echo, Arc::new(network)).await;
}

#[tokio::test]
async fn over_grpc() {
    let echo = Arc::new(Echo::default());
    let (server, client) = (TaskGroup::new("server"), TaskGroup::new("client"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    rpc::serve_control(
        listener,
        ControlDoors::alone(Arc::clone(&echo) as _),
        &NodeTrust::default(),
        &server,
    );
    let network = GrpcNetwork::new(Some(&address), &client).unwrap();
    conformance(echo, Arc::new(network)).await;
}

#[tokio::test]
async fn a_follower_finds_a_controller_that_came_back() {
    let (first, client) = (TaskGroup::new("first"), TaskGroup::new("client"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    rpc::serve_control(
        listener,
        ControlDoors::alone(Arc::new(Echo::default())),
        &NodeTrust::default(),
        &first,
    );
    let network = Arc::new(GrpcNetwork::new(Some(&address.to_string()), &client).unwrap());
    let instance = InstanceId("Broker_a".to_owned());
    let state = follow_cluster(network, &instance, SystemClock::shared(), &client);
    until(|| state.borrow().version == 1).await;
    first.stop(Duration::from_secs(1)).await;

    let second = TaskGroup::new("second");
    let mut listener = TcpListener::bind(address).await;
    while listener.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        listener = TcpListener::bind(address).await;
    }
    assert_eq!(state.borrow().version, 1, "the last state stays");
    let echo = Arc::new(Echo::default());
    echo.version.send_replace(7);
    let doors = ControlDoors::alone(echo);
    rpc::serve_control(listener.unwrap(), doors, &NodeTrust::default(), &second);
    until(|| state.borrow().version == 7).await;
    client.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn the_next_controller_is_asked_when_one_is_away() {
    let (group, client) = (TaskGroup::new("controllers"), TaskGroup::new("client"));
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&gone, &listener].map(|one| one.local_addr().unwrap().to_string());
    drop(gone);
    let echo = Arc::new(Echo::default());
    rpc::serve_control(
        listener,
        ControlDoors::alone(Arc::clone(&echo) as _),
        &NodeTrust::default(),
        &group,
    );
    let controllers = || {
        let network = GrpcNetwork::new(Some(&addresses.join(", ")), &client).unwrap();
        network.controller().unwrap()
    };
    let beat = HeartbeatRequest::default;
    assert_eq!(controllers().heartbeat(beat()).await.unwrap().version, 0);
    // What might be done twice is not sent to another by itself, but goes there next time.
    let careful = controllers();
    let lease = LeaseTaskRequest::default;
    let first = careful.lease_task(lease()).await.unwrap_err();
    assert_eq!(first.kind, FaultKind::Unavailable);
    assert!(careful.lease_task(lease()).await.is_ok());

    group.stop(Duration::from_secs(1)).await;
    let nobody = careful.heartbeat(beat()).await.unwrap_err();
    assert_eq!(nobody.kind, FaultKind::Unavailable);
    assert!(GrpcNetwork::new(Some(" , "), &client).is_err());
    client.stop(Duration::from_secs(1)).await;
}
