//! Segments of OFFLINE tables: uploaded, listed, measured, removed.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::*;

over_both_stores!(
    segments_are_uploaded_listed_and_removed,
    an_upload_that_does_not_fit_is_refused,
    a_delete_has_taken_effect_when_it_answers,
);

async fn segments_are_uploaded_listed_and_removed(world: &World) {
    let _servers = (
        world.server("Server_a").await,
        world.server("Server_b").await,
    );
    let id = world.create(OFFLINE).await;
    let first = sealed(segment(id, 0, 0), 0, 30, 7);
    let uploaded = world.upload("orders", &first).await.ok();
    assert_eq!(uploaded, json!({"segment": "orders_0", "rows": 30}));
    world
        .upload("orders", &sealed(segment(id, 0, 1), 0, 12, 8))
        .await
        .ok();

    let listed = world.get("/segments/orders?type=OFFLINE").await.ok();
    assert_eq!(listed, json!([{"OFFLINE": ["orders_0", "orders_1"]}]));
    let view = world.get("/tables/orders/externalview").await.ok();
    let a_server_each = json!({
        "OFFLINE": {"orders_0": {"Server_a": "ONLINE"}, "orders_1": {"Server_b": "ONLINE"}},
        "REALTIME": null,
    });
    assert_eq!(view, a_server_each);
    assert_eq!(world.get("/tables/orders/idealstate").await.ok(), view);
    let size = world.get("/tables/orders/size").await.ok();
    let of_segment = json!({
        "reportedSizeInBytes": 1000,
        "estimatedSizeInBytes": 1000,
        "maxReportedSizePerReplicaInBytes": 1000,
        "serverInfo": {"Server_a": {"segmentName": "orders_0", "diskSizeInBytes": 1000}},
    });
    assert_eq!(size["offlineSegments"]["segments"]["orders_0"], of_segment);
    assert_eq!(size["offlineSegments"]["missingSegments"], 0);
    assert_eq!(size["realtimeSegments"], Value::Null);
    assert_eq!(
        (&size["tableName"], &size["reportedSizeInBytes"]),
        (&json!("orders"), &json!(2000))
    );
    assert_eq!(size["reportedSizePerReplicaInBytes"], 2000);
    let metadata = world.get("/tables/orders/metadata").await.ok();
    let counted =
        json!({"tableName": "orders", "diskSizeInBytes": 2000, "numSegments": 2, "numRows": 42});
    assert_eq!(metadata, counted);
    let metadata = world.get("/segments/orders/orders_0/metadata").await.ok();
    assert_eq!(metadata["segment.total.docs"], "30");
    assert_eq!(metadata["segment.crc"], "7");
    let key = metadata["segment.download.url"].as_str().unwrap();
    assert_eq!(world.deep.download(key).await.unwrap(), "a packed segment");
    let instances = world.get("/tables/orders/instances").await.ok();
    let servers = json!([{"tableType": "OFFLINE", "instances": ["Server_a", "Server_b"]}]);
    assert_eq!(instances["server"], servers);

    let removed = world.delete("/segments/orders/orders_1").await.ok();
    assert_eq!(removed, json!({"status": "Segment orders_1 deleted"}));
    let none = world.delete("/segments/orders/orders_1").await.refused(404);
    assert_eq!(none, "table `orders` has no segment `orders_1`");
    let spec = world.get("/v1/tables/orders/spec").await.ok();
    assert_eq!(spec["nextSequence"], 2, "no sequence comes back");
    let elsewhere = world.delete("/segments/orders?type=REALTIME").await;
    assert_eq!(elsewhere.refused(404), "table `orders` does not exist");
    let removed = world.delete("/segments/orders?type=OFFLINE").await.ok();
    assert_eq!(removed["status"], "1 segments of orders deleted");
    assert_eq!(
        world.get("/segments/orders").await.ok(),
        json!([{"OFFLINE": []}])
    );
}

async fn an_upload_that_does_not_fit_is_refused(world: &World) {
    let server = world.server("Server_a").await;
    let id = world.create(OFFLINE).await;
    let bare = world.post("/v1/segments/orders", "x").await.refused(400);
    assert!(bare.contains("x-tannin-segment"), "{bare}");
    let stranger = sealed(segment(TableId::random(), 0, 0), 0, 1, 1);
    let said = "the segment is not one of OFFLINE table `orders`";
    assert_eq!(world.upload("orders", &stranger).await.refused(400), said);
    let record = sealed(segment(id, 0, 4), 0, 1, 1);
    world.upload("orders", &record).await.ok();
    world.upload("orders", &record).await.ok();
    let other = sealed(segment(id, 0, 4), 0, 1, 2);
    let conflict = world.upload("orders", &other).await.refused(409);
    assert!(conflict.contains("changed under the request"), "{conflict}");
    world.delete("/segments/orders/orders_4").await.ok();
    // Its object may be removed any moment.
    world.upload("orders", &record).await.refused(409);
    drop(server);
}

async fn a_delete_has_taken_effect_when_it_answers(world: &World) {
    let server = world.server("Server_a").await;
    let id = world.create(OFFLINE).await;
    assert!(
        server.cluster.borrow().tables.contains_key(&id),
        "known when it answers"
    );
    world
        .upload("orders", &sealed(segment(id, 0, 0), 0, 1, 1))
        .await
        .ok();
    world
        .upload("orders", &sealed(segment(id, 0, 1), 0, 1, 1))
        .await
        .ok();
    world.delete("/segments/orders/orders_0").await.ok();
    let left = server.cluster.borrow().tables[&id].segments.len();
    assert_eq!(left, 1, "whoever follows the state acts on it");

    server.holds_on.store(true, Ordering::Relaxed);
    let mut deleting = Box::pin(world.delete("/tables/orders"));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut deleting).await;
    assert!(early.is_err(), "a server still holds parts of it");
    assert!(
        !server.cluster.borrow().tables.contains_key(&id),
        "nobody asks for it"
    );
    server.holds_on.store(false, Ordering::Relaxed);
    deleting.await.ok();

    // A new table under the old name has nothing of the old one.
    let new = world.create(OFFLINE).await;
    assert_ne!(new, id);
    assert_eq!(
        world.get("/segments/orders").await.ok(),
        json!([{"OFFLINE": []}])
    );
    let tasks = world.controller.state.catalog.tasks().await.unwrap();
    assert_eq!(
        tasks.len(),
        2,
        "objects of the segment, objects of the table"
    );
}
