//! One suite over every store: what one caller sees, and what several do to each other.

mod several;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use runtime::ManualClock;

use super::*;

/// Generous: what must come may come late on a machine under load.
const PATIENCE: Duration = Duration::from_secs(30);

/// How time passes for the leases of a store.
#[async_trait]
pub(crate) trait Time: Sync {
    async fn pass(&self, time: Duration);
}

#[async_trait]
impl Time for ManualClock {
    async fn pass(&self, time: Duration) {
        self.advance(time);
    }
}

pub(crate) async fn put(store: &dyn MetaStore, key: &str, value: &str) -> Revision {
    let txn = Txn::default().put(key, value.to_owned());
    match store.txn(txn).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict => panic!("{conflict:?}"),
    }
}

async fn keys(store: &dyn MetaStore, prefix: &str) -> Vec<String> {
    store
        .range(prefix)
        .await
        .unwrap()
        .0
        .into_iter()
        .map(|entry| entry.key)
        .collect()
}

pub(crate) async fn next(changes: &mut BoxStream<'static, Change>) -> Change {
    let change = tokio::time::timeout(PATIENCE, changes.next()).await;
    change.expect("a change comes").expect("changes never end")
}

/// `store` and `other` are two ways to the same entries: as two processes have them, or one twice.
pub(crate) async fn suite(store: &dyn MetaStore, other: &dyn MetaStore, time: &dyn Time) {
    ranges_are_ordered(store).await;
    transactions_are_whole(store).await;
    ops_apply_in_order(store).await;
    values_are_any_bytes(store).await;
    watchers_see_everything(store).await;
    slow_watchers_are_told(store).await;
    racing_writers_take_turns(store).await;
    leases_end(store, time).await;
    several::writers_lose_nothing(store, other).await;
    several::watchers_add_up_to_what_is_stored(store, other).await;
    several::what_changed_adds_up(store, other).await;
    several::a_holder_that_slept_is_fenced(store, other, time).await;
}

async fn ranges_are_ordered(store: &dyn MetaStore) {
    for key in ["/a/2", "/a/10", "/b/1", "/a/1"] {
        put(store, key, key).await;
    }
    assert_eq!(keys(store, "/a/").await, ["/a/1", "/a/10", "/a/2"]);
    for (after, most, expected) in [
        ("", 2, &["/a/1", "/a/10"][..]),
        ("/a/10", 2, &["/a/2"]),
        ("/a/2", 2, &[]),
        ("/a/1x", usize::MAX, &["/a/2"]),
        ("/b/1", 2, &[]),
    ] {
        let (page, revision) = store.page("/a/", after, most).await.unwrap();
        let found: Vec<&str> = page.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(found, expected, "{most} after {after}");
        assert!(page.iter().all(|entry| entry.revision <= revision));
    }
    assert_eq!(store.get("/a/2").await.unwrap().unwrap().value, "/a/2");
    assert!(store.get("/a").await.unwrap().is_none());
}

async fn transactions_are_whole(store: &dyn MetaStore) {
    let first = put(store, "/t/x", "1").await;
    let stale = Txn::default()
        .if_revision("/t/x", first)
        .if_absent("/t/y")
        .put("/t/y", "new");
    put(store, "/t/x", "2").await;
    let outcome = store.txn(stale).await.unwrap();
    assert_eq!(
        outcome,
        TxnOutcome::Conflict {
            key: "/t/x".to_owned()
        }
    );
    assert!(
        store.get("/t/y").await.unwrap().is_none(),
        "nothing of it happened"
    );

    let current = store.get("/t/x").await.unwrap().unwrap();
    assert_eq!(
        (current.value.as_ref(), current.revision),
        (b"2".as_ref(), first + 1)
    );
    let swap = Txn::default()
        .if_revision("/t/x", current.revision)
        .if_absent("/t/z")
        .delete_range("/t/")
        .put("/t/z", "3");
    assert!(matches!(
        store.txn(swap).await.unwrap(),
        TxnOutcome::Committed(_)
    ));
    assert_eq!(keys(store, "/t/").await, ["/t/z"]);
}

async fn ops_apply_in_order(store: &dyn MetaStore) {
    put(store, "/o/1", "old").await;
    let txn = Txn::default()
        .put("/o/2", "gone")
        .delete_range("/o/")
        .put("/o/3", "first")
        .put("/o/3", "second")
        .delete("/o/none");
    store.txn(txn).await.unwrap();
    let (entries, revision) = store.range("/o/").await.unwrap();
    let last = &entries[entries.len() - 1];
    assert_eq!((&*last.key, &*last.value), ("/o/3", b"second" as &[u8]));
    assert_eq!(last.revision, revision);
    assert_eq!(keys(store, "/o/").await, ["/o/3"]);
    store.txn(Txn::default().delete_range("/o/")).await.unwrap();
    assert!(keys(store, "/o/").await.is_empty());
}

async fn values_are_any_bytes(store: &dyn MetaStore) {
    let bytes: Vec<u8> = (0..=255).collect();
    let txn = Txn::default().put("/v/ü%_", bytes.clone()).put("/v/", "");
    store.txn(txn).await.unwrap();
    let (entries, _) = store.range("/v/").await.unwrap();
    let values: Vec<_> = entries.iter().map(|e| (&*e.key, &*e.value)).collect();
    assert_eq!(values, [("/v/", &b""[..]), ("/v/ü%_", &*bytes)]);
}

async fn slow_watchers_are_told(store: &dyn MetaStore) {
    let mut changes = store.watch("/s/").await.unwrap();
    let mut quick = store.watch("/quick").await.unwrap();
    let many = 3000;
    for round in 0..2 {
        let txn = (0..many).fold(Txn::default(), |txn, at| {
            txn.put(format!("/s/{at}"), round.to_string())
        });
        store.txn(txn).await.unwrap();
    }
    // When it is heard by whom it must, everything before it has been sent.
    put(store, "/quick", "1").await;
    next(&mut quick).await;
    assert_eq!(next(&mut changes).await, Change::Resync);
}

/// Compare-and-set from the same revision: exactly one of them wins.
async fn racing_writers_take_turns(store: &dyn MetaStore) {
    put(store, "/race", "0").await;
    for _ in 0..20 {
        let now = store.get("/race").await.unwrap().unwrap().revision;
        let tries = (0..8).map(|n| {
            let txn = Txn::default().if_revision("/race", now);
            store.txn(txn.put("/race", n.to_string()))
        });
        let outcomes = futures::future::join_all(tries).await;
        let won = |o: &Result<TxnOutcome, MetaError>| matches!(o, Ok(TxnOutcome::Committed(_)));
        assert_eq!(outcomes.iter().filter(|o| won(o)).count(), 1);
    }
}

async fn watchers_see_everything(store: &dyn MetaStore) {
    let mut changes = store.watch("/w/").await.unwrap();
    put(store, "/w/1", "a").await;
    put(store, "/other", "x").await;
    store.txn(Txn::default().delete("/w/1")).await.unwrap();
    let seen = [next(&mut changes).await, next(&mut changes).await];
    assert!(matches!(&seen[0], Change::Put(entry) if entry.key == "/w/1"));
    assert!(matches!(&seen[1], Change::Delete { key, .. } if key == "/w/1"));
    assert!(
        changes.next().now_or_never().is_none(),
        "nothing of other prefixes"
    );
}

async fn leases_end(store: &dyn MetaStore, time: &dyn Time) {
    let ttl = Duration::from_secs(10);
    let lease = store.grant_lease(ttl).await.unwrap();
    let guarded = |key: &str| Txn {
        compares: vec![Compare::Lease(lease)],
        ops: vec![Op::Put {
            key: key.to_owned(),
            value: Bytes::new(),
            lease: Some(lease),
        }],
    };
    store.txn(guarded("/l/1")).await.unwrap();
    time.pass(Duration::from_secs(6)).await;
    assert!(store.keep_alive(lease).await.unwrap());
    time.pass(Duration::from_secs(6)).await;
    assert_eq!(keys(store, "/l/").await, ["/l/1"], "kept alive");
    time.pass(Duration::from_secs(6)).await;
    assert!(keys(store, "/l/").await.is_empty(), "ended");
    assert!(!store.keep_alive(lease).await.unwrap());
    let late = store.txn(guarded("/l/2")).await.unwrap();
    assert_eq!(
        late,
        TxnOutcome::Conflict {
            key: "lease".to_owned()
        }
    );
    let mut unguarded = guarded("/l/2");
    unguarded.compares.clear();
    assert_eq!(store.txn(unguarded).await.unwrap(), late, "nothing ends it");

    let other = store.grant_lease(ttl).await.unwrap();
    let op = Op::Put {
        key: "/l/3".to_owned(),
        value: Bytes::new(),
        lease: Some(other),
    };
    store
        .txn(Txn {
            compares: vec![],
            ops: vec![op],
        })
        .await
        .unwrap();
    store.revoke(other).await.unwrap();
    assert!(keys(store, "/l/").await.is_empty(), "revoked");
}

#[tokio::test]
async fn memory() {
    let clock = ManualClock::at_ms(0);
    let store = MemoryStore::new(Arc::clone(&clock) as Arc<dyn runtime::Clock>);
    suite(&store, &store, &*clock).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metastore.db");
    let clock = ManualClock::at_ms(0);
    let shared = || Arc::clone(&clock) as Arc<dyn runtime::Clock>;
    let store = SqliteStore::open(&path, shared()).await.unwrap();
    suite(&store, &store, &*clock).await;
    let (before, revision) = store.range("/").await.unwrap();
    let lease = store.grant_lease(Duration::from_secs(60)).await.unwrap();
    let op = Op::Put {
        key: "/gone".to_owned(),
        value: Bytes::new(),
        lease: Some(lease),
    };
    store
        .txn(Txn {
            compares: vec![],
            ops: vec![op],
        })
        .await
        .unwrap();
    drop(store);

    let again = SqliteStore::open(&path, shared()).await.unwrap();
    let (after, later) = again.range("/").await.unwrap();
    assert_eq!(
        after, before,
        "what was committed is there, leases end with the process"
    );
    assert!(later > revision);
}
