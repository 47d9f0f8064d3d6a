//! Several controllers over one store: one decides, all answer, and a stale one changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deepstore::DeepStore;
use metastore::catalog::{Group, LeaderRecord, lead};
use metastore::{LeaseId, MemoryStore, MetaError, MetaStore};
use rest::Entrance;
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
}

impl One {
    async fn start(store: &Arc<dyn MetaStore>, clock: &Arc<dyn Clock>) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, own) = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let config = Config {
            instance: format!("Controller_{}", address.port()),
            address: address.to_string(),
            version: "9.9.9",
            liveness: Duration::from_secs(5),
            clock_skew_max: Duration::from_secs(60),
            reconcile_every: Duration::from_millis(50),
            entrance: Entrance::default(),
            election: Some(Election {
                ttl: Duration::from_secs(1),
                grpc: own.to_string(),
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
async fn a_leader_that_is_away_stops_no_reads() {
    let (store, clock) = store();
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap().to_string();
    drop(nowhere);
    let record = LeaderRecord {
        instance: "Controller_gone".to_owned(),
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
