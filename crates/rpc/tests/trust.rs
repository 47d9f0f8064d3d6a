//! Nodes answer nodes of their cluster alone: by certificate, by token.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use access::{Access, Config, NodeTrust, TlsFiles};
use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rpc::{ControlApi, ControlDoors, GrpcNetwork, Network, UpdateStream};
use runtime::{OsFiles, SystemClock, TaskGroup};
use schemas::proto::*;
use schemas::{Fault, FaultKind};
use tempfile::TempDir;
use tokio::net::TcpListener;

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
