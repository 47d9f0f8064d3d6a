//! Nodes answer nodes of their cluster alone: by certificate, by token.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use access::{Access, Config, NodeTrust, TlsFiles};
use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rpc::{
    AnswerStream, ControlApi, ControlDoors, Door, FragmentApi, GrpcNetwork, Network, UpdateStream,
};
use runtime::{OsFiles, SystemClock, TaskGroup};
use schemas::proto::*;
use schemas::{Fault, FaultKind};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::ServiceExt;

/// Hears heartbeats.
struct Heart;

fn no<T>() -> Result<T, Fault> {
    Err(Fault::internal("not in this test"))
}

#[async_trait]
impl ControlApi for Heart {
    async fn watch(&self, _: WatchRequest) -> Result<UpdateStream, Fault> {
        no()
    }
    async fn heartbeat(&self, _: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        Ok(HeartbeatReply::default())
    }
    async fn segment_consumed(
        &self,
        _: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        no()
    }
    async fn commit_start(&self, _: CommitStartRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn commit_end(&self, _: CommitEndRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn add_segment(&self, _: AddSegmentRequest) -> Result<CommitReply, Fault> {
        no()
    }
    async fn lease_task(&self, _: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        no()
    }
    async fn finish_task(&self, _: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        no()
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `of`, for a node that trusts `trusted`.
fn certified(dir: &Path, of: &Authority, trusted: &Authority) -> NodeTrust {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, of).unwrap();
    let files = TlsFiles {
        certificate: dir.join("node.pem"),
        key: dir.join("node.key"),
        ca: Some(dir.join("ca.pem")),
    };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(files.ca.as_ref().unwrap(), trusted.pem()).unwrap();
    trust(Config {
        tls: Some(files),
        ..Config::default()
    })
}

fn trust(config: Config) -> NodeTrust {
    let access = Access::load(&config, &SystemClock::shared(), &OsFiles);
    access.unwrap().nodes
}

fn by_token(dir: &Path, token: &str) -> NodeTrust {
    let path = dir.join(token);
    std::fs::write(&path, token).unwrap();
    trust(Config {
        node_token: Some(path),
        ..Config::default()
    })
}

async fn ask(of: &NodeTrust, by: &NodeTrust) -> Result<(), Fault> {
    let tasks = TaskGroup::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    rpc::serve_control(listener, ControlDoors::alone(Arc::new(Heart)), of, &tasks);
    let network = GrpcNetwork::trusting(Some(&address), by, &tasks).unwrap();
    let control = network.controller().unwrap();
    let asked = control.heartbeat(HeartbeatRequest::default()).await;
    tasks.stop(Duration::from_secs(1)).await;
    asked.map(|_| ())
}

/// Holds nothing.
struct Nothing;

#[async_trait]
impl FragmentApi for Nothing {
    async fn run(&self, _: FragmentRequest) -> Result<AnswerStream, Fault> {
        no()
    }
    async fn system_rows(&self, _: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        no()
    }
}

/// A service that a server offers beside its own.
#[derive(Clone)]
struct Guest;

impl NamedService for Guest {
    const NAME: &'static str = "guest.Guest";
}

impl Service<Request<Body>> for Guest {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Status::ok("").into_http()))
    }
}

/// The code of gRPC with which the guest's door answers; `None`: nobody is there.
async fn knock(of: &NodeTrust, by: &NodeTrust) -> Option<String> {
    let tasks = TaskGroup::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let door = Door::new(Guest, of, Handle::current());
    rpc::serve_fragments(listener, Arc::new(Nothing), Some(door), of, &tasks);
    let network = GrpcNetwork::trusting(None, by, &tasks).unwrap();
    let channel = network.channel(&address).unwrap();
    let call = Request::post(format!("http://{address}/guest.Guest/Call"));
    let call = call.header("content-type", "application/grpc");
    let answer = channel.oneshot(call.body(Body::empty()).unwrap()).await;
    tasks.stop(Duration::from_secs(1)).await;
    let answer = answer.ok()?;
    let code = answer.headers().get("grpc-status")?.to_str().unwrap();
    Some(code.to_owned())
}

#[tokio::test]
async fn a_door_beside_answers_the_same_nodes() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let (ours, foreign) = (authority(), authority());
    let node = certified(dirs[0].path(), &ours, &ours);
    let other = certified(dirs[1].path(), &ours, &ours);
    let stranger = certified(dirs[2].path(), &foreign, &ours);
    assert_eq!(knock(&node, &other).await.as_deref(), Some("0"));
    assert_eq!(knock(&node, &stranger).await, None);
    assert_eq!(knock(&node, &NodeTrust::default()).await, None);
    let dir = TempDir::new().unwrap();
    let node = by_token(dir.path(), "one-secret-of-all-nodes");
    assert_eq!(knock(&node, &node).await.as_deref(), Some("0"));
    let refused = knock(&node, &NodeTrust::default()).await;
    assert_eq!(refused.as_deref(), Some("16"));
}

#[tokio::test]
async fn by_certificates_of_one_authority() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let (ours, foreign) = (authority(), authority());
    let node = certified(dirs[0].path(), &ours, &ours);
    let other = certified(dirs[1].path(), &ours, &ours);
    ask(&node, &other).await.unwrap();
    // A certificate of another authority, on either side; and none.
    let stranger = certified(dirs[2].path(), &foreign, &ours);
    for (of, by) in [
        (&node, &stranger),
        (&stranger, &node),
        (&node, &NodeTrust::default()),
    ] {
        let refused = ask(of, by).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Unavailable, "{refused}");
    }
    let refused = ask(&stranger, &node).await.unwrap_err();
    assert!(refused.message.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn by_a_token_of_all_nodes() {
    let dir = TempDir::new().unwrap();
    let node = by_token(dir.path(), "one-secret-of-all-nodes");
    ask(&node, &node).await.unwrap();
    ask(&NodeTrust::default(), &node).await.unwrap();
    for by in [
        by_token(dir.path(), "another-secret-of-others"),
        NodeTrust::default(),
    ] {
        let refused = ask(&node, &by).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Denied, "{refused}");
        assert!(
            refused.message.contains("no node of the cluster"),
            "{refused}"
        );
    }
}
