//! Several writers and watchers at once, as several controllers are.

use std::collections::BTreeMap;

use super::*;

const WRITERS: usize = 8;
const ROUNDS: usize = 25;

/// Everybody adds one again and again by compare-and-set; no addition is lost, and a watcher sees
/// each of them in its order.
pub(super) async fn writers_lose_nothing(store: &dyn MetaStore, other: &dyn MetaStore) {
    put(store, "/count", "0").await;
    let mut changes = other.watch("/count").await.unwrap();
    let writers = (0..WRITERS).map(|writer| async move {
        let store = if writer % 2 == 0 { store } else { other };
        for _ in 0..ROUNDS {
            add_one(store).await;
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(
        count(&store.get("/count").await.unwrap().unwrap()),
        WRITERS * ROUNDS
    );
    let mut before = 0;
    for wanted in 1..=WRITERS * ROUNDS {
        let Change::Put(entry) = next(&mut changes).await else {
            panic!("nothing else happens to it");
        };
        assert!(entry.revision > before, "{} after {before}", entry.revision);
        before = entry.revision;
        assert_eq!(count(&entry), wanted);
    }
}

fn count(entry: &Entry) -> usize {
    std::str::from_utf8(&entry.value).unwrap().parse().unwrap()
}

async fn add_one(store: &dyn MetaStore) {
    loop {
        let now = store.get("/count").await.unwrap().unwrap();
        let more = (count(&now) + 1).to_string();
        let txn = Txn::default().if_revision("/count", now.revision);
        if let TxnOutcome::Committed(_) = store.txn(txn.put("/count", more)).await.unwrap() {
            return;
        }
    }
}

/// Whoever reads once and then follows the changes has what is stored.
pub(super) async fn watchers_add_up_to_what_is_stored(
    store: &dyn MetaStore,
    other: &dyn MetaStore,
) {
    put(store, "/sum/0", "before").await;
    let mut changes = other.watch("/sum/").await.unwrap();
    let (entries, _) = other.range("/sum/").await.unwrap();
    let mut copy: BTreeMap<String, Entry> = entries
        .into_iter()
        .map(|entry| (entry.key.clone(), entry))
        .collect();
    let writers = (0..WRITERS).map(|writer| async move {
        let store = if writer % 2 == 0 { store } else { other };
        for round in 0..ROUNDS {
            let (own, shared) = (format!("/sum/{writer}"), format!("/sum/all/{}", round % 3));
            let txn = match round % 4 {
                3 => Txn::default().delete(own).delete_range("/sum/all/"),
                _ => Txn::default()
                    .put(own, round.to_string())
                    .put(shared, writer.to_string()),
            };
            store.txn(txn).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    put(store, "/sum/last", "1").await;
    let mut newest = 0;
    while !copy.contains_key("/sum/last") {
        let (key, revision) = match next(&mut changes).await {
            Change::Put(entry) => {
                let at = (entry.key.clone(), entry.revision);
                copy.insert(at.0.clone(), entry);
                at
            }
            Change::Delete { key, revision } => {
                copy.remove(&key);
                (key, revision)
            }
            Change::Resync => panic!("it is not that much"),
        };
        assert!(revision >= newest, "{key} of {revision} after {newest}");
        newest = revision;
    }
    let (stored, _) = store.range("/sum/").await.unwrap();
    assert_eq!(copy.into_values().collect::<Vec<_>>(), stored);
}

/// Whoever asks again and again what changed has what is stored, as of a revision each time.
pub(super) async fn what_changed_adds_up(store: &dyn MetaStore, other: &dyn MetaStore) {
    put(store, "/told/table", "1").await;
    put(store, "/told/segments/1", "1").await;
    put(store, "/toldly", "another").await;
    let (entries, mut revision) = store.range("/told/").await.unwrap();
    let mut copy: BTreeMap<String, Bytes> = entries
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    let prefixes = ["/told/table".to_owned(), "/told/segments/".to_owned()];
    let nothing = other.since(&prefixes, revision).await.unwrap().unwrap();
    assert_eq!(nothing.changes, []);
    for round in 0..20_u32 {
        let own = format!("/told/segments/{}", round % 5);
        let txn = match round % 4 {
            3 => Txn::default().delete_range("/told/segments/"),
            2 => Txn::default().delete(own).put("/toldly", "not asked for"),
            _ => Txn::default()
                .put(own, round.to_string())
                .put("/told/table", round.to_string()),
        };
        store.txn(txn).await.unwrap();
        if round % 3 > 0 {
            continue;
        }
        let since = other.since(&prefixes, revision).await.unwrap().unwrap();
        assert!(since.revision > revision);
        let mut newest = revision;
        for change in since.changes {
            assert!(change.revision() >= newest && change.revision() <= since.revision);
            newest = change.revision();
            match change {
                Change::Put(entry) => drop(copy.insert(entry.key, entry.value)),
                Change::Delete { key, .. } => drop(copy.remove(&key)),
                Change::Resync => panic!("no change is one"),
            }
        }
        revision = since.revision;
        let (stored, _) = store.range("/told/").await.unwrap();
        let stored = stored.into_iter().map(|entry| (entry.key, entry.value));
        assert_eq!(copy, stored.collect(), "round {round}");
    }
    // Nothing is known of what has not happened.
    assert_eq!(
        other.since(&prefixes, revision + 1_000).await.unwrap(),
        None
    );
}

/// A leader that sleeps past its lease is followed by another; what it still wants to write is not
/// written, and it cannot have its lease back.
pub(super) async fn a_holder_that_slept_is_fenced(
    store: &dyn MetaStore,
    other: &dyn MetaStore,
    time: &dyn Time,
) {
    let ttl = Duration::from_secs(10);
    let as_leader = |lease: LeaseId, name: &str| Txn {
        compares: vec![Compare::Revision {
            key: "/leader".to_owned(),
            revision: 0,
        }],
        ops: vec![Op::Put {
            key: "/leader".to_owned(),
            value: Bytes::from(name.to_owned()),
            lease: Some(lease),
        }],
    };
    let mut changes = other.watch("/leader").await.unwrap();
    let first = store.grant_lease(ttl).await.unwrap();
    store.txn(as_leader(first, "first")).await.unwrap();
    let second = other.grant_lease(ttl).await.unwrap();
    let early = other.txn(as_leader(second, "second")).await.unwrap();
    assert!(matches!(early, TxnOutcome::Conflict { key } if key == "/leader"));
    time.pass(Duration::from_secs(6)).await;
    assert!(other.keep_alive(second).await.unwrap());
    time.pass(Duration::from_secs(6)).await;

    let late = other.txn(as_leader(second, "second")).await.unwrap();
    assert!(matches!(late, TxnOutcome::Committed(_)), "{late:?}");
    assert!(!store.keep_alive(first).await.unwrap());
    let mut write = Txn::default().put("/written", "by the first");
    write.compares.push(Compare::Lease(first));
    let conflict = store.txn(write).await.unwrap();
    assert!(matches!(conflict, TxnOutcome::Conflict { key } if key == "lease"));
    assert!(store.get("/written").await.unwrap().is_none());
    store.revoke(first).await.unwrap();

    let name = |change: &Change| match change {
        Change::Put(entry) => String::from_utf8(entry.value.to_vec()).unwrap(),
        Change::Delete { .. } => "nobody".to_owned(),
        Change::Resync => "resync".to_owned(),
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(name(&next(&mut changes).await));
    }
    assert_eq!(seen, ["first", "nobody", "second"]);
    other.revoke(second).await.unwrap();
    assert_eq!(name(&next(&mut changes).await), "nobody");
}
