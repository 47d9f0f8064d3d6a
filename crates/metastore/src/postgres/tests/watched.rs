//! Watchers end in the right state whatever happens to the notifications.

use super::*;
use crate::conformance::{next, put};

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_though_nobody_notifies() {
    let Some(database) = Database::fresh("watching without notifications").await else {
        return;
    };
    let (store, other) = (database.store().await, database.store().await);
    let mut changes = other.watch("/").await.unwrap();
    put(&store, "/1", "heard").await;
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/1"));
    for round in 0..3 {
        // Both lose the connection on which they listen.
        database
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = \
                 current_database() AND query LIKE 'LISTEN%'",
            )
            .await;
        let key = format!("/round/{round}");
        put(&store, &key, "not heard").await;
        assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == key));
    }
    // A change that is in the table and that no notification tells of.
    database
        .execute(
            "UPDATE tannin.store SET revision = revision + 1; INSERT INTO tannin.changes SELECT \
             revision, '/silent', 'x' FROM tannin.store",
        )
        .await;
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/silent"));
    drop((store, other));
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_was_away_too_long_reads_again() {
    let Some(database) = Database::fresh("forgotten changes").await else {
        return;
    };
    let store = database.store().await;
    let mut changes = store.watch("/").await.unwrap();
    database
        .execute("UPDATE tannin.store SET revision = revision + 9, forgotten = revision + 5")
        .await;
    assert_eq!(next(&mut changes).await, Change::Resync);
    put(&store, "/after", "1").await;
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/after"));

    // The database is put back to a backup.
    database
        .execute("UPDATE tannin.store SET revision = 1, forgotten = 0; DELETE FROM tannin.changes")
        .await;
    assert_eq!(next(&mut changes).await, Change::Resync);
    put(&store, "/later", "1").await;
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/later"));
    drop(store);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_changes_are_forgotten_and_nothing_else() {
    let Some(database) = Database::fresh("forgetting").await else {
        return;
    };
    let store = database.store().await;
    for n in 0..10 {
        put(&store, &format!("/{n}"), "here").await;
    }
    database.execute("SELECT tannin.forget(4)").await;
    database.execute("SELECT tannin.forget(100)").await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let left = "SELECT count(*), min(revision), (SELECT forgotten FROM tannin.store) FROM \
                tannin.changes";
    let row = sqlx::query(left).fetch_one(&mut connection).await.unwrap();
    let left: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(left, (4, 7, 6));
    assert_eq!(store.range("/").await.unwrap().0.len(), 10);
    drop(store);
    database.remove().await;
}

/// Keys of a lease go though nobody asks for them.
#[tokio::test(flavor = "multi_thread")]
async fn leases_end_by_themselves() {
    let Some(database) = Database::fresh("leases that end").await else {
        return;
    };
    let store = database.store().await;
    let mut changes = store.watch("/mine").await.unwrap();
    let lease = store.grant_lease(Duration::from_millis(300)).await.unwrap();
    let op = crate::Op::Put {
        key: "/mine".to_owned(),
        value: Bytes::new(),
        lease: Some(lease),
    };
    let ops = vec![op];
    let outcome = store
        .txn(Txn {
            compares: vec![],
            ops,
        })
        .await
        .unwrap();
    if let TxnOutcome::Committed(_) = outcome {
        assert!(matches!(next(&mut changes).await, Change::Put(_)));
        assert!(matches!(next(&mut changes).await, Change::Delete { .. }));
    }
    drop(store);
    database.remove().await;
}
