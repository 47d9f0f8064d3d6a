//! Several controllers over one store: one decides, all answer, and a stale one changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deepstore::DeepStore;
use metastore::catalog::{Group, LeaderRecord, lead};
use metastore::{LeaseId, MemoryStore, MetaError, MetaStore};
use rest::Entrance;
use rpc::{Membership, Standing};
use runtime::{Clock, SystemClock, TaskGroup};
use schemas::cluster::Role;
use schemas::proto::HeartbeatRequest;
use tokio::net::TcpListener;

use super::{FakeStreams, NoCheck};
use crate::leader::Election;
use crate::{Config, Controller, Parts, start};

const PATIENCE: Duration = Duration::from_secs(20);
const SCHEMA: &str = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}]}"#;

struct One {
    controller: Controller,
    http: SocketAddr,
    membership: Arc<Membership>,
}

impl One {
    async fn start(store: &Arc<dyn MetaStore>, clock: &Arc<dyn Clock>) -> Self {
        Self::start_as(None, store, clock).await
    }

    /// Under this name, or under one of its own.
    async fn start_as(
        name: Option<&str>,
        store: &Arc<dyn MetaStore>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, own) = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let membership = Membership::passing(Arc::clone(clock));
        let config = Config {
            instance: name.map_or_else(|| format!("Controller_{}", address.port()), str::to_owned),
            address: address.to_string(),
            version: "9.9.9",
            liveness: Duration::from_secs(5),
            clock_skew_max: Duration::from_secs(60),
            reconcile_every: Duration::from_millis(50),
            entrance: Entrance::default(),
            election: Some(Election {
                ttl: Duration::from_secs(1),
                grpc: own.to_string(),
                membership: Arc::clone(&membership),
            }),
        };
        let parts = Parts {
            store: Arc::clone(store),
            deep: DeepStore::in_memory(),
            streams: Arc::new(FakeStreams::default()),
            check: Arc::new(NoCheck),
            clock: Arc::clone(clock),
            tasks: TaskGroup::new("controller"),
            http,
            grpc: Some(grpc),
        };
        Self {
            controller: start(config, parts).await.unwrap(),
            http: address,
            membership,
        }
    }

    async fn refused(&self) -> String {
        let mut standing = self.membership.standing();
        let refused = standing.wait_for(|standing| matches!(standing, Standing::Refused(_)));
        let refused = tokio::time::timeout(PATIENCE, refused).await;
        match &*refused.expect("both go on").unwrap() {
            Standing::Refused(reason) => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn leads(&self) -> bool {
        self.controller.state.leadership.is_here()
    }

    /// Status and body.
    async fn ask(&self, schema: Option<&'static str>) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/schemas", self.http);
        let request = match schema {
            None => client.get(url),
            Some(schema) => client
                .post(url)
                .header("content-type", "application/json")
                .body(schema),
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn store() -> (Arc<dyn MetaStore>, Arc<dyn Clock>) {
    let clock = SystemClock::shared();
    (Arc::new(MemoryStore::new(Arc::clone(&clock))), clock)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The one that leads, then the one that does not.
async fn in_order(both: [One; 2]) -> [One; 2] {
    until("one leads, and the other knows", async || {
        let leads = both.iter().filter(|one| one.leads()).count() == 1;
        leads && both.iter().all(|one| one.controller.ready().is_ok())
    })
    .await;
    let [first, second] = both;
    match first.leads() {
        true => [first, second],
        false => [second, first],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_the_other_sends_on() {
    let (store, clock) = store();
    let both = [
        One::start(&store, &clock).await,
        One::start(&store, &clock).await,
    ];
    let [leader, other] = in_order(both).await;
    let (status, said) = other.ask(Some(SCHEMA)).await;
    assert_eq!(status, 200, "{said}");
    for one in [&leader, &other] {
        assert_eq!(one.ask(None).await, (200, r#"["t"]"#.to_owned()));
    }
    let beat = HeartbeatRequest {
        instance: "Server_a".to_owned(),
        role: Role::Server.name().to_owned(),
        ..HeartbeatRequest::default()
    };
    other.controller.api().heartbeat(beat).await.unwrap();
    let heard = |one: &One| one.controller.state.instances().len();
    until(
        "the leader heard the server and the other controller",
        async || heard(&leader) == 2,
    )
    .await;
    assert_eq!(heard(&other), 0);

    // In order: the other leads before the lease could end.
    let stopped = Instant::now();
    leader.controller.stop(Duration::from_secs(5)).await;
    until("the other leads", async || other.leads()).await;
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert_eq!(other.ask(Some(SCHEMA)).await.0, 200);
    other.controller.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_ended_changes_nothing() {
    let (store, clock) = store();
    let both = [
        One::start(&store, &clock).await,
        One::start(&store, &clock).await,
    ];
    let [leader, other] = in_order(both).await;
    for id in 1..20 {
        store.revoke(LeaseId(id)).await.unwrap();
    }
    let zombie = &leader.controller.state.catalog;
    let late = zombie.put_schema("late", SCHEMA.to_owned()).await;
    assert!(matches!(late, Err(MetaError::Fenced)), "{late:?}");
    assert!(store.get("/schemas/late").await.unwrap().is_none());
    // The old leader learns of it when it renews its lease, and all goes on.
    for one in [&leader, &other] {
        until("writes are taken again", async || {
            one.ask(Some(SCHEMA)).await.0 == 200
        })
        .await;
    }
    assert!(leader.leads() != other.leads());
    for one in [leader, other] {
        one.controller.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_one_is_refused() {
    let (store, clock) = store();
    let name = Some("Controller_here");
    let first = One::start_as(name, &store, &clock).await;
    until("the first leads", async || first.leads()).await;
    let second = One::start_as(name, &store, &clock).await;
    let reason = second.refused().await;
    let told = format!("`Controller_here` leads already, at {}", first.http);
    assert!(reason.starts_with(&told), "{reason}");
    assert_eq!(second.controller.ready(), Err(reason));
    second.controller.stop(Duration::from_secs(5)).await;

    // Of two that follow as well.
    let follower = One::start_as(Some("Controller_there"), &store, &clock).await;
    until("the leader heard it", async || {
        first.controller.state.instances().len() == 1
    })
    .await;
    let second = One::start_as(Some("Controller_there"), &store, &clock).await;
    let reason = second.refused().await;
    assert!(
        reason.starts_with("`Controller_there` lives already"),
        "{reason}"
    );
    assert!(follower.controller.ready().is_ok() && first.leads());

    // An earlier life is none of two: it leads again under its name.
    first.controller.stop(Duration::from_secs(5)).await;
    follower.controller.stop(Duration::from_secs(5)).await;
    second.controller.stop(Duration::from_secs(5)).await;
    let lease = store.grant_lease(Duration::from_secs(1)).await.unwrap();
    let record = LeaderRecord {
        instance: "Controller_here".to_owned(),
        incarnation: "another".to_owned(),
        http: String::new(),
        grpc: String::new(),
        since_ms: 0,
    };
    assert!(lead(&*store, Group::ALL[0], &record, lease).await.unwrap());
    let again = One::start_as(name, &store, &clock).await;
    until("it leads", async || again.leads()).await;
    assert!(again.controller.ready().is_ok());
    again.controller.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_away_stops_no_reads() {
    let (store, clock) = store();
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap().to_string();
    drop(nowhere);
    let record = LeaderRecord {
        instance: "Controller_gone".to_owned(),
        incarnation: String::new(),
        http: address.clone(),
        grpc: address,
        since_ms: 0,
    };
    assert!(lead(&*store, Group::ALL[0], &record, lease).await.unwrap());
    let one = One::start(&store, &clock).await;
    until("it knows who leads", async || {
        one.controller.ready().is_ok()
    })
    .await;
    assert_eq!(one.ask(None).await, (200, "[]".to_owned()));
    let (status, said) = one.ask(Some(SCHEMA)).await;
    assert!(
        status == 503 && said.contains("does not answer"),
        "{status} {said}"
    );

    store.revoke(lease).await.unwrap();
    until("it leads itself", async || one.leads()).await;
    assert_eq!(one.ask(Some(SCHEMA)).await.0, 200);
    one.controller.stop(Duration::from_secs(5)).await;
}
