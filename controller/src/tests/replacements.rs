//! Segments that replace others, over HTTP, and the time boundary that follows from those that
//! count.

use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::segment::SegmentRecord;
use schemas::{SegmentId, TableId};
use serde_json::{Value, json};

use super::{Answered, OFFLINE, REALTIME, World, eventually, sealed, segment};

const DAY_MS: i64 = 86_400_000;

over_both_stores!(
    a_push_is_seen_all_at_once,
    an_import_goes_on_where_it_was_left,
    the_boundary_follows_what_counts,
);

impl World {
    /// A segment of an import, with rows until a time.
    async fn add(&self, import: &str, id: SegmentId, newest_ms: i64) -> Answered {
        let record = SegmentRecord {
            time_range: Some((0, newest_ms)),
            ..sealed(id, 0, 10, id.sequence + 1)
        };
        let header = serde_json::to_string(&record).unwrap();
        let header = format!("x-tannin-segment: {header}\r\n");
        let line = format!("POST /v1/segments/orders?import={import}");
        self.ask(&line, &header, b"a packed segment").await
    }

    async fn begin(&self, body: Value) -> String {
        let path = "/v1/tables/orders/imports";
        let begun = self.post(path, &body.to_string()).await.ok();
        begun["id"].as_str().unwrap().to_owned()
    }

    async fn reserve(&self, import: &str) -> u32 {
        let path = format!("/v1/tables/orders/imports/{import}/sequences");
        let reserved = self.post(&path, "{}").await.ok();
        reserved["first"].as_u64().unwrap() as u32
    }

    async fn end(&self, import: &str, segments: &[&str]) -> Answered {
        let path = format!("/v1/tables/orders/imports/{import}/end");
        self.post(&path, &json!({ "segments": segments }).to_string())
            .await
    }

    /// Names of segments that queries see.
    fn seen(&self, table: TableId) -> Vec<String> {
        let table = self.controller.state.table(table).unwrap();
        let mut names: Vec<String> = table.seen().map(|s| s.record.name.clone()).collect();
        names.sort();
        names
    }

    fn boundary(&self, table: TableId) -> Option<i64> {
        self.controller.state.table(table).unwrap().time_boundary_ms
    }
}

async fn a_push_is_seen_all_at_once(world: &World) {
    let server = world.server("Server_a").await;
    let table = world.create(OFFLINE).await;
    for sequence in 0..2 {
        let record = sealed(segment(table, 0, sequence), 0, 5, 1);
        world.upload("orders", &record).await.ok();
    }
    let body =
        json!({"segmentsFrom": ["orders_0", "orders_1"], "segmentsTo": ["orders_2", "orders_3"]});
    let path = "/segments/orders/startReplaceSegments?type=OFFLINE";
    let begun = world.post(path, &body.to_string()).await.ok();
    let id = begun["segmentLineageEntryId"].as_str().unwrap().to_owned();
    let stands_against = world.post(path, &body.to_string()).await.refused(409);
    assert!(stands_against.contains(&id), "{stands_against}");
    for _ in 0..2 {
        let sequence = world.reserve(&id).await;
        world.add(&id, segment(table, 0, sequence), 20).await.ok();
    }
    assert_eq!(world.seen(table), ["orders_0", "orders_1"]);
    let listed = world.get("/segments/orders").await.ok();
    assert_eq!(listed[0]["OFFLINE"].as_array().unwrap().len(), 4);
    let seen = world
        .get("/segments/orders?excludeReplacedSegments=true")
        .await
        .ok();
    assert_eq!(seen, json!([{"OFFLINE": ["orders_0", "orders_1"]}]));

    let end =
        format!("/segments/orders/endReplaceSegments?type=OFFLINE&segmentLineageEntryId={id}");
    world.post(&end, "").await.ok();
    assert_eq!(world.seen(table), ["orders_2", "orders_3"]);
    let state = std::sync::Arc::clone(&server.cluster.borrow().tables[&table]);
    assert_eq!(
        state.seen().count(),
        2,
        "whoever follows the state acts on it"
    );
    world.post(&end, "").await.ok();
    let lineage = world
        .get("/segments/orders/lineage?type=OFFLINE")
        .await
        .ok();
    assert_eq!(lineage["tableNameWithType"], "orders_OFFLINE");
    let entry = &lineage["lineageEntries"][&id];
    assert_eq!(entry["state"], "COMPLETED");
    assert_eq!(entry["segmentsFrom"], json!(["orders_0", "orders_1"]));

    let revert = end.replace("endReplace", "revertReplace");
    world.post(&revert, "").await.ok();
    assert_eq!(world.seen(table), ["orders_0", "orders_1"]);
    eventually("what was taken back is removed", async || {
        let left = world.controller.state.table(table).unwrap();
        left.segments.len() == 2
    })
    .await;
    let unknown = end.replace(&id, "00000000-0000-0000-0000-000000000000");
    world.post(&unknown, "").await.refused(404);
    world
        .post("/segments/nothing/startReplaceSegments", "{}")
        .await
        .refused(404);
}

async fn an_import_goes_on_where_it_was_left(world: &World) {
    let server = world.server("Server_a").await;
    let table = world.create(OFFLINE).await;
    world
        .upload("orders", &sealed(segment(table, 0, 0), 0, 5, 1))
        .await
        .ok();
    let import = world.begin(json!({"key": "a", "mode": "REFRESH"})).await;
    assert_eq!(world.reserve(&import).await, 1);
    world.add(&import, segment(table, 0, 1), 20).await.ok();
    world.add(&import, segment(table, 0, 1), 20).await.ok();
    world
        .add(&import, segment(table, 0, 2), 20)
        .await
        .refused(400);
    // Another begins meanwhile, and its segments come before.
    let other = world.begin(json!({"key": "b"})).await;
    assert_eq!(world.reserve(&other).await, 2);
    world.add(&other, segment(table, 0, 2), 20).await.ok();
    world.end(&other, &["orders_1"]).await.refused(400);
    world.end(&other, &["orders_2"]).await.ok();
    assert_eq!(world.seen(table), ["orders_0", "orders_2"]);

    let body = json!({"key": "a", "mode": "REFRESH"}).to_string();
    let again = world.post("/v1/tables/orders/imports", &body).await.ok();
    assert_eq!(again["id"], import.as_str());
    assert_eq!(again["segments"].as_array().unwrap().len(), 1);
    assert_eq!(again["segments"][0]["name"], "orders_1");
    assert_eq!(world.reserve(&import).await, 3);
    world.add(&import, segment(table, 0, 3), 20).await.ok();
    world.end(&import, &["orders_3"]).await.ok();
    // What came after it began stays; what it does not name never counts.
    assert_eq!(world.seen(table), ["orders_2", "orders_3"]);
    let left = world.controller.state.table(table).unwrap();
    assert!(left.segments.iter().all(|s| s.record.name != "orders_1"));
    world.end(&import, &["orders_3"]).await.ok();
    world.end(&import, &[]).await.refused(409);
    world
        .add(&import, segment(table, 0, 1), 20)
        .await
        .refused(409);
    drop(server);
}

async fn the_boundary_follows_what_counts(world: &World) {
    let table = world.create(OFFLINE).await;
    let import = world.begin(json!({"key": "a"})).await;
    let server = world.server("Server_a").await;
    let mut names = Vec::new();
    for days in [3, 5] {
        let sequence = world.reserve(&import).await;
        world
            .add(&import, segment(table, 0, sequence), days * DAY_MS)
            .await
            .ok();
        names.push(format!("orders_{sequence}"));
    }
    assert_eq!(world.boundary(table), None);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.end(&import, &names).await.ok();
    assert_eq!(world.boundary(table), Some(4 * DAY_MS));
    let known = server.cluster.borrow().tables[&table].time_boundary_ms;
    assert_eq!(known, Some(4 * DAY_MS));

    // A segment that nobody holds yet does not move it.
    server.holds_on.store(true, Ordering::Relaxed);
    let record = SegmentRecord {
        time_range: Some((0, 9 * DAY_MS)),
        ..sealed(segment(table, 0, 2), 0, 10, 9)
    };
    let mut uploading = Box::pin(world.upload("orders", &record));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut uploading).await;
    assert!(early.is_err(), "nobody holds it");
    assert_eq!(world.boundary(table), Some(4 * DAY_MS));
    server.holds_on.store(false, Ordering::Relaxed);
    uploading.await.ok();
    assert_eq!(world.boundary(table), Some(8 * DAY_MS));

    // It goes back with what goes, at once.
    world.delete("/segments/orders/orders_2").await.ok();
    assert_eq!(world.boundary(table), Some(4 * DAY_MS));
    let refresh = world.begin(json!({"key": "b", "mode": "REFRESH"})).await;
    let sequence = world.reserve(&refresh).await;
    world
        .add(&refresh, segment(table, 0, sequence), 2 * DAY_MS)
        .await
        .ok();
    assert_eq!(world.boundary(table), Some(4 * DAY_MS));
    let name = format!("orders_{sequence}");
    world.end(&refresh, &[&name]).await.ok();
    assert_eq!(world.boundary(table), Some(DAY_MS));

    // Whoever knows that the last day is whole says so; it stays as long as its rows do.
    let path = "/tables/orders/timeBoundary";
    let told = world.post(path, "").await.refused(404);
    assert!(told.contains("no hybrid table"), "{told}");
    world.post("/tables", REALTIME).await.ok();
    let set = world.post(path, "").await.ok();
    let told = format!("Time boundary successfully updated to: {}", 2 * DAY_MS);
    assert_eq!(set["status"], told);
    assert_eq!(world.boundary(table), Some(2 * DAY_MS));
    let more = world.begin(json!({"key": "c"})).await;
    let sequence = world.reserve(&more).await;
    world
        .add(&more, segment(table, 0, sequence), 6 * DAY_MS)
        .await
        .ok();
    let newer = format!("orders_{sequence}");
    world.end(&more, &[&newer]).await.ok();
    assert_eq!(world.boundary(table), Some(2 * DAY_MS));
    world.delete(path).await.ok();
    assert_eq!(world.boundary(table), Some(5 * DAY_MS));
    world.post(path, "").await.ok();
    assert_eq!(world.boundary(table), Some(6 * DAY_MS));
    world
        .delete(&format!("/segments/orders/{newer}"))
        .await
        .ok();
    assert_eq!(world.boundary(table), Some(2 * DAY_MS));
}
