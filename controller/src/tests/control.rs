//! The internal service: tasks, the watch, and what is published of the catalog.

use schemas::proto::{
    FinishTaskRequest, LeaseTaskRequest, SeenRequest, TasksRequest, WatchRequest,
};
use schemas::task::{Task, TaskKind};

use futures::StreamExt;
use metastore::catalog::StoredTable;
use serde_json::json;

use super::*;

over_both_stores!(
    tasks_are_leased_until_they_are_done,
    what_is_stored_is_published
);

async fn tasks_are_leased_until_they_are_done(world: &World) {
    let server = world.server("Server_a").await;
    let id = world.create(OFFLINE).await;
    let record = sealed(segment(id, 0, 0), 0, 3, 1);
    world.upload("orders", &record).await.ok();
    world.delete("/segments/orders/orders_0").await.ok();

    let api = world.api();
    let lease = async |kind: &str| {
        let request = LeaseTaskRequest {
            instance: "Minion_a".to_owned(),
            kinds: vec![kind.to_owned()],
        };
        api.lease_task(request).await.unwrap().task
    };
    assert!(lease("remove_orphans").await.is_empty(), "of another kind");
    let task: Task = serde_json::from_slice(&lease("remove_objects").await).unwrap();
    let kind = TaskKind::RemoveObjects {
        keys: vec![SegmentRecord::object_key(record.id, 1)],
        segments: vec![record.id],
    };
    assert_eq!(task.kind, kind);
    assert!(lease("remove_objects").await.is_empty(), "it is held");

    let finish = async |fault| {
        let request = FinishTaskRequest {
            instance: "Minion_a".to_owned(),
            task_id: task.id.as_bytes().to_vec().into(),
            fault,
            ..FinishTaskRequest::default()
        };
        api.finish_task(request).await.unwrap();
    };
    let catalog = &world.controller.state.catalog;
    finish(Some(schemas::Fault::internal("no").into())).await;
    let shown = api.tasks(TasksRequest {}).await.unwrap().tasks;
    let shown: Task = serde_json::from_slice(&shown[0]).unwrap();
    assert_eq!(
        (shown.id, &*shown.leased_by, &*shown.last_error),
        (task.id, "", "no"),
        "to be tried again"
    );
    assert_eq!(shown.leased_until_ms, task.leased_until_ms);
    assert_eq!(shown.history[0].error, "no");
    finish(None).await;
    finish(None).await;
    assert_eq!(catalog.tasks().await.unwrap(), []);
    let odd = FinishTaskRequest {
        task_id: b"short".as_slice().into(),
        ..FinishTaskRequest::default()
    };
    assert!(api.finish_task(odd).await.is_err());
    drop(server);
}

/// As after a request whose caller went away between the transaction and the publication.
async fn what_is_stored_is_published(world: &World) {
    let id = world.create(OFFLINE).await;
    let catalog = &world.controller.state.catalog;
    let stored = catalog.table(id).await.unwrap().unwrap().value;
    let mut twin: StoredTable = stored.clone();
    twin.spec.id = TableId::random();
    twin.spec.name = "twin".parse().unwrap();
    catalog.create_table(&twin).await.unwrap();
    let listed = async || world.get("/tables").await.ok();
    eventually("the twin", async || {
        listed().await == json!({"tables": ["orders", "twin"]})
    })
    .await;
    catalog.drop_table(&stored).await.unwrap();
    eventually("it alone", async || {
        listed().await == json!({"tables": ["twin"]})
    })
    .await;
}

#[tokio::test]
async fn a_watcher_gets_everything_then_each_change() {
    let world = World::memory().await;
    let id = world.create(OFFLINE).await;
    let api = world.api();
    let request = WatchRequest {
        instance: "Broker_a".to_owned(),
        ..WatchRequest::default()
    };
    let mut updates = api.watch(request).await.unwrap();
    let first = updates.next().await.unwrap().unwrap();
    assert!(first.complete);
    assert_eq!((first.tables.len(), first.removed_tables.len()), (1, 0));
    let seen = |version| {
        api.seen(SeenRequest {
            instance: "Broker_a".to_owned(),
            version,
        })
    };
    seen(first.version).await.unwrap();

    let mut deleting = Box::pin(world.delete("/tables/orders"));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut deleting).await;
    assert!(early.is_err(), "the broker still answers from it");
    let next = updates.next().await.unwrap().unwrap();
    assert!(!next.complete && next.version > first.version);
    assert_eq!(next.removed_tables, [id.to_bytes()]);
    seen(next.version).await.unwrap();
    deleting.await.ok();

    // One that goes away is not waited for.
    world.create(OFFLINE).await;
    let mut deleting = Box::pin(world.delete("/tables/orders"));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut deleting).await;
    assert!(early.is_err());
    drop(updates);
    deleting.await.ok();
}
