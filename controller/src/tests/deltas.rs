//! What is published change by change is what is stored, and watchers that are told what changes
//! have what is published.

use std::collections::HashMap;

use futures::StreamExt;
use rpc::{ControlApi, UpdateStream};
use schemas::InstanceId;
use schemas::cluster::{ClusterState, ServerLists, TableState, UPDATE_FORMAT};
use schemas::proto::{HeartbeatRequest, LetGo, WatchRequest};

use super::bare::{Bare, START_MS};
use super::*;

/// A role that follows what is published.
pub(super) struct Watcher {
    updates: UpdateStream,
    lists: ServerLists,
    state: ClusterState,
    /// Segments that it was told of, beyond the first state.
    told: usize,
}

impl Watcher {
    pub(super) async fn new(bare: &Bare, format: u32) -> Self {
        let request = WatchRequest {
            instance: "Broker_a".to_owned(),
            format,
        };
        let mut watcher = Self {
            updates: bare.api.watch(request).await.unwrap(),
            lists: ServerLists::default(),
            state: ClusterState::default(),
            told: 0,
        };
        watcher.next().await;
        watcher.told = 0;
        watcher
    }

    async fn next(&mut self) {
        loop {
            let update = self.updates.next().await.unwrap().unwrap();
            self.told += update
                .changed
                .iter()
                .map(|table| table.put.len())
                .sum::<usize>();
            self.state = self.state.updated(&update, &mut self.lists).unwrap();
            if !update.more {
                return;
            }
        }
    }

    /// Without a look at whether it is right.
    pub(super) async fn catch_up_quickly(&mut self, bare: &Bare) {
        let now = bare.state.snapshot();
        while self.state.version < now.version {
            self.next().await;
        }
    }

    async fn catch_up(&mut self, bare: &Bare) {
        self.catch_up_quickly(bare).await;
        let now = bare.state.snapshot();
        assert_eq!(self.state.tables, now.tables);
        assert_eq!(self.state.instances, now.instances);
    }
}

/// Without who says that they hold it, which a process hears anew.
fn stored(table: &TableState) -> TableState {
    let mut table = table.clone();
    for segment in &mut table.segments {
        segment.online = Default::default();
    }
    table
}

async fn is_as_stored(bare: &Bare, table: TableId) {
    let published = bare.published(table);
    let fresh = bare.twin().await.published(table);
    assert_eq!(stored(&published), stored(&fresh));
    let mut burden: HashMap<&InstanceId, u64> = HashMap::new();
    for server in published.segments.iter().flat_map(|one| &one.assigned) {
        *burden.entry(server).or_default() += 1;
    }
    for node in bare.state.fleet().nodes() {
        assert_eq!(
            node.burden,
            burden.get(&node.id).copied().unwrap_or(0),
            "{}",
            node.id
        );
    }
}

#[tokio::test]
async fn changes_add_up_to_what_is_stored_and_watchers_have_it() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |spec| spec.replication = 2).await;
    for server in ["a", "b", "c"] {
        bare.beat(server);
    }
    bare.open_on(table, &["a", "b"]).await;
    let mut new = Watcher::new(&bare, UPDATE_FORMAT).await;
    let mut old = Watcher::new(&bare, 0).await;
    let mut records = Vec::new();
    for step in 0..40 {
        match step % 5 {
            0..=2 => records.push(bare.seal(table, 10, START_MS + step).await),
            3 => ["a", "b"].into_iter().for_each(|server| bare.hold(server)),
            _ => {
                let gone = records.remove(0);
                bare.state.catalog.remove_segments(&[gone]).await.unwrap();
                bare.state.publish(table).await.unwrap();
            }
        }
        if step == 17 {
            let change = |stored: &mut metastore::catalog::StoredTable| stored.paused = true;
            bare.state
                .catalog
                .change_table(table, change)
                .await
                .unwrap();
            bare.state.publish(table).await.unwrap();
        }
        is_as_stored(&bare, table).await;
        if step % 3 == 0 {
            new.catch_up(&bare).await;
            old.catch_up(&bare).await;
        }
    }
    let told = new.told;
    bare.seal(table, 10, START_MS).await;
    new.catch_up(&bare).await;
    assert_eq!(new.told - told, 2, "one is sealed, and the next begins");
}

#[tokio::test]
async fn what_the_store_has_forgotten_is_read_whole() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    for at in 0..5_000 {
        let name = format!("schema_{}", at % 3);
        bare.state
            .catalog
            .put_schema(&name, "{}".to_owned())
            .await
            .unwrap();
    }
    bare.seal(table, 10, START_MS).await;
    is_as_stored(&bare, table).await;
    assert_eq!(bare.published(table).segments.len(), 2);
}

#[tokio::test]
async fn a_heartbeat_tells_what_differs_from_what_is_known() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    bare.seal(table, 10, START_MS).await;
    let all = bare.published(table);
    let beat = |held: Vec<usize>, let_go: Vec<u32>, (base, revision)| {
        let held = held.into_iter().map(|at| double::held(&all.segments[at]));
        let let_go = let_go.into_iter().map(|sequence| LetGo {
            table_id: table.to_bytes(),
            partition: 0,
            sequence,
            crc: all.segments[sequence as usize].record.crc,
        });
        let request = HeartbeatRequest {
            instance: "a".to_owned(),
            role: "server".to_owned(),
            held: held.collect(),
            let_go: let_go.collect(),
            held_base: base,
            held_revision: revision,
            ..HeartbeatRequest::default()
        };
        bare.state.heartbeat(request).unwrap().held_revision
    };
    let online = || -> Vec<usize> {
        let published = bare.published(table);
        published
            .segments
            .iter()
            .map(|one| one.online.len())
            .collect()
    };
    assert_eq!(
        beat(vec![], vec![], (7, 7)),
        0,
        "this controller has just started"
    );
    assert_eq!(beat(vec![0], vec![], (0, 7)), 7);
    assert_eq!(online(), [1, 0]);
    assert_eq!(beat(vec![], vec![], (7, 7)), 7);
    assert_eq!(beat(vec![1], vec![], (7, 8)), 8);
    assert_eq!(online(), [1, 1]);
    assert_eq!(
        beat(vec![], vec![0], (7, 9)),
        0,
        "of something that is not known here"
    );
    assert_eq!(online(), [1, 1]);
    assert_eq!(beat(vec![], vec![0], (8, 9)), 9);
    assert_eq!(online(), [0, 1]);
    assert_eq!(beat(vec![0], vec![], (0, 10)), 10, "everything");
    assert_eq!(online(), [1, 0]);
    assert_eq!(beat(vec![], vec![], (0, 0)), 0, "as older servers do");
    assert_eq!(online(), [0, 0]);
}

#[tokio::test]
async fn two_processes_with_one_name_and_a_wrong_clock() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    let all = bare.published(table);
    let beat = |incarnation: &'static [u8], address: &str, off_ms: i64| {
        let request = HeartbeatRequest {
            instance: "a".to_owned(),
            role: "server".to_owned(),
            address: address.to_owned(),
            incarnation: incarnation.into(),
            held: vec![double::held(&all.segments[0])],
            now_ms: bare.clock.now_ms() + off_ms,
            ..HeartbeatRequest::default()
        };
        bare.state.heartbeat(request)
    };
    let holders = || bare.published(table).segments[0].online.len();
    let reply = beat(b"one", "h1:1", 0).unwrap();
    let cluster = bare.state.catalog.cluster(0).await.unwrap().id.to_string();
    assert_eq!((reply.not_taken.as_str(), reply.cluster), ("", cluster));
    let reply = beat(b"two", "h2:1", 0).unwrap();
    assert!(
        reply.not_taken.starts_with("`a` lives already, at h1:1"),
        "{}",
        reply.not_taken
    );
    assert_eq!(reply.name_free_in_ms, 5000);
    assert_eq!(
        bare.state.instances()[&InstanceId("a".to_owned())].address,
        "h1:1"
    );
    bare.clock.advance(Duration::from_secs(6));
    assert_eq!(beat(b"two", "h2:1", 0).unwrap().not_taken, "");
    let woken = beat(b"one", "h1:1", 0).unwrap_err();
    assert!(
        woken.message.contains("at h2:1, has gone on as `a`"),
        "{woken}"
    );

    assert_eq!(
        beat(b"two", "h2:1", 3_600_000).unwrap().not_taken,
        "",
        "one may be late"
    );
    assert_eq!(holders(), 1);
    let reply = beat(b"two", "h2:1", 3_600_000).unwrap();
    assert!(
        reply.not_taken.contains("they are 3600 s apart"),
        "{}",
        reply.not_taken
    );
    assert_eq!((holders(), reply.name_free_in_ms), (0, 0));
    assert!(bare.state.is_turned_away(&InstanceId("a".to_owned())));
    assert_eq!(beat(b"two", "h2:1", 0).unwrap().not_taken, "");
    assert_eq!(holders(), 1);

    let elsewhere = HeartbeatRequest {
        instance: "b".to_owned(),
        role: "server".to_owned(),
        cluster: "another".to_owned(),
        ..HeartbeatRequest::default()
    };
    let fault = bare.state.heartbeat(elsewhere).unwrap_err();
    assert_eq!(fault.kind, schemas::FaultKind::Conflict);
    assert!(
        fault.message.contains("has worked for the cluster another"),
        "{fault}"
    );
}

#[tokio::test]
async fn who_leaves_is_gone_at_once() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    bare.hold("a");
    assert_eq!(bare.published(table).segments[0].online.len(), 1);
    let leaves = HeartbeatRequest {
        instance: "a".to_owned(),
        role: "server".to_owned(),
        held: vec![double::held(&bare.published(table).segments[0])],
        leaves: true,
        ..HeartbeatRequest::default()
    };
    bare.state.heartbeat(leaves).unwrap();
    assert_eq!(bare.published(table).segments[0].online.len(), 0);
}
