//! The same calls over both transports give the same answers; cancelling and breaking are seen.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use access::NodeTrust;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use rpc::{AnswerStream, FragmentApi, GrpcNetwork, InProcessNetwork, Network, PartStream};
use runtime::TaskGroup;
use schemas::cluster::{InstanceState, Role};
use schemas::proto::{
    FetchSegmentRequest, FragmentAnswer, FragmentRequest, SegmentPart, SegmentRef, SystemRowsReply,
    SystemRowsRequest,
};
use schemas::{Fault, FaultKind, InstanceId};
use tokio::net::TcpListener;

/// Answers `template_hash` times with the plan it was given; 0 = never, until cancelled.
#[derive(Default)]
struct Echo {
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl FragmentApi for Echo {
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault> {
        let count = request.template_hash;
        if count == 13 {
            return Err(Fault::invalid("thirteen").with_code(710));
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        let held = Running(Arc::clone(&self.running));
        if count == 0 {
            return Ok(stream::pending()
                .map(move |answer| (&held, answer).1)
                .boxed());
        }
        let answers = (1..=count).map(move |number| {
            let _ = &held;
            Ok(FragmentAnswer {
                batches: request.plan.clone(),
                last: number == count,
                ..FragmentAnswer::default()
            })
        });
        Ok(stream::iter(answers).boxed())
    }

    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        Ok(SystemRowsReply {
            batches: request.table.into(),
            fault: None,
        })
    }

    async fn fetch_segment(&self, request: FetchSegmentRequest) -> Result<PartStream, Fault> {
        let parts = (0..request.segment.unwrap_or_default().sequence).map(move |number| {
            let content = request.table_id.slice(number as usize..);
            match content.is_empty() {
                true => Err(Fault::unavailable("the disk is gone")),
                false => Ok(SegmentPart { content }),
            }
        });
        Ok(stream::iter(parts).boxed())
    }
}

struct Setup {
    api: Arc<dyn FragmentApi>,
    running: Arc<AtomicUsize>,
    server: TaskGroup,
    _network: Arc<dyn Network>,
}

fn instance(address: String) -> InstanceState {
    let id = InstanceId("Server_test".to_owned());
    InstanceState {
        id,
        role: Role::Server,
        address,
        alive: true,
        plan_format: 1,
        exchange_format: 0,
        leads: false,
    }
}

fn in_process() -> Setup {
    let echo = Echo::default();
    let running = Arc::clone(&echo.running);
    let network = InProcessNetwork::default();
    network.register_server("Server_test", Arc::new(echo));
    let api = network.server(&instance(String::new())).unwrap();
    Setup {
        api,
        running,
        server: TaskGroup::new("server"),
        _network: Arc::new(network),
    }
}

async fn grpc() -> Setup {
    let echo = Echo::default();
    let running = Arc::clone(&echo.running);
    let server = TaskGroup::new("server");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    rpc::serve_fragments(
        listener,
        Arc::new(echo),
        None,
        &NodeTrust::default(),
        &server,
    );
    let network = GrpcNetwork::new(None, &TaskGroup::new("client")).unwrap();
    let api = network.server(&instance(address)).unwrap();
    Setup {
        api,
        running,
        server,
        _network: Arc::new(network),
    }
}

fn request(count: u64, plan: &'static [u8]) -> FragmentRequest {
    FragmentRequest {
        template_hash: count,
        plan: plan.into(),
        ..FragmentRequest::default()
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

/// What `run` or its first answer says is wrong.
async fn fault_of(api: &Arc<dyn FragmentApi>, request: FragmentRequest) -> Fault {
    match api.run(request).await {
        Err(fault) => fault,
        Ok(mut answers) => match answers.next().await.unwrap() {
            Err(fault) => fault,
            Ok(answer) => answer.fault.expect("a fault").into(),
        },
    }
}

async fn conformance(setup: Setup) {
    let both = futures::future::join_all([(3, b"abc" as &[u8]), (70, b"xyz")].map(
        async |(count, plan)| {
            let answers = setup.api.run(request(count, plan)).await.unwrap();
            answers
                .map(|answer| answer.unwrap())
                .collect::<Vec<_>>()
                .await
        },
    ))
    .await;
    assert_eq!((both[0].len(), both[1].len()), (3, 70));
    assert!(both[1].iter().all(|answer| &answer.batches[..] == b"xyz"));
    assert!(both[1].last().unwrap().last);

    let fault = fault_of(&setup.api, request(13, b"")).await;
    assert_eq!((fault.kind, fault.code), (FaultKind::Invalid, 710));

    let fetched = async |sequence| {
        let segment = SegmentRef {
            sequence,
            ..SegmentRef::default()
        };
        let parts = setup.api.fetch_segment(FetchSegmentRequest {
            table_id: "abc".into(),
            segment: Some(segment),
        });
        parts.await.unwrap().collect::<Vec<_>>().await
    };
    let contents = |parts: &[Result<SegmentPart, Fault>]| {
        let contents = parts.iter().flatten().map(|part| part.content.to_vec());
        contents.collect::<Vec<_>>().concat()
    };
    assert_eq!(contents(&fetched(2).await), b"abcbc");
    let broken = fetched(4).await;
    assert_eq!(contents(&broken), b"abcbcc");
    let cut = broken.last().unwrap().as_ref().unwrap_err();
    assert_eq!(
        (cut.kind, &*cut.message),
        (FaultKind::Unavailable, "the disk is gone")
    );
    assert_eq!(fault.message, "thirteen");

    let rows = SystemRowsRequest {
        table: "consuming".to_owned(),
        deadline_ms: 0,
    };
    assert_eq!(
        &setup.api.system_rows(rows).await.unwrap().batches[..],
        b"consuming"
    );

    let forever = setup.api.run(request(0, b"")).await.unwrap();
    until(|| setup.running.load(Ordering::SeqCst) == 1).await;
    drop(forever);
    until(|| setup.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn over_one_process() {
    conformance(in_process()).await;
}

#[tokio::test]
async fn over_grpc() {
    conformance(grpc().await).await;
}

#[tokio::test]
async fn a_server_that_goes_away_fails_its_queries() {
    let setup = grpc().await;
    let mut forever = setup.api.run(request(0, b"")).await.unwrap();
    until(|| setup.running.load(Ordering::SeqCst) == 1).await;
    setup.server.stop(Duration::from_millis(200)).await;
    let broken = tokio::time::timeout(Duration::from_secs(10), forever.next())
        .await
        .unwrap();
    assert_eq!(broken.unwrap().unwrap_err().kind, FaultKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_never_was_is_unavailable() {
    let network = GrpcNetwork::new(None, &TaskGroup::new("client")).unwrap();
    let api = network.server(&instance("127.0.0.1:1".to_owned())).unwrap();
    let fault = fault_of(&api, request(1, b"")).await;
    assert_eq!(fault.kind, FaultKind::Unavailable);
}
