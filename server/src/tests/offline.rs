//! Sealed segments that are given to this server and taken away again; what HTTP tells.

use super::*;
use runtime::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(world: &World, path: &str) -> String {
    let address = world.http.lock().unwrap();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

fn assign(world: &World, record: &SegmentRecord, to: &str) {
    let segment = SegmentState {
        record: record.clone(),
        assigned: vec![InstanceId(to.to_owned())].into(),
        online: Default::default(),
        hidden: false,
    };
    world.control.change(|tables| {
        let table = tables.get_mut(&world.table).unwrap();
        table.spec.table_type = TableType::Offline;
        table.spec.streams.clear();
        table.segments = vec![segment].into();
    });
}

/// As a line of `/metrics`, sooner or later.
async fn is_shown(world: &World, clock: &ManualClock, line: &str) {
    let mut text = String::new();
    for _ in 0..200 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        text = get(world, "/metrics").await;
        if text.lines().any(|shown| shown == line) {
            return;
        }
    }
    panic!("never: {line} in\n{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_come_and_go() {
    let mut world = World::new(&["a"]);
    let clock = ManualClock::at_ms(1_000_000);
    world.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let record = replicas::ghost_uploads(&world, 100).await;
    assign(&world, &record, "a");
    let server = world.start("a").await;
    eventually("ready", || server.ready().is_ok()).await;
    assert!(get(&world, "/ready").await.starts_with("HTTP/1.1 200"));
    assert!(get(&world, "/version").await.contains("\"test\""));
    let bytes = record.bytes;
    for line in [
        "tannin_server_downloads_total 1".to_owned(),
        "tannin_server_segments_missing 0".to_owned(),
        "tannin_server_memory_used_bytes{budget=\"query\"} 0".to_owned(),
        format!("tannin_server_segment_bytes {bytes}"),
    ] {
        is_shown(&world, &clock, &line).await;
    }
    let path = server.core.store.path(record.id, record.crc);
    assert!(path.exists());
    let table = server.core.tables.get(world.table).unwrap();
    let held = || table.view().find(0, 0).is_some();
    assert!(held());

    // Brokers may still ask for it for a while.
    assign(&world, &record, "b");
    for _ in 0..29 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(held() && path.exists());
    eventually("it is gone", || {
        clock.advance(Duration::from_secs(1));
        !held() && !path.exists()
    })
    .await;

    assign(&world, &record, "a");
    eventually("it is back", || {
        clock.advance(Duration::from_millis(100));
        held()
    })
    .await;
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_deep_store_keeps_it_from_being_ready() {
    let world = World::new(&["a"]);
    let record = replicas::ghost_uploads(&world, 100).await;
    let key = record.uri.clone().unwrap();
    let object = world.deep.download(&key).await.unwrap();
    world.deep.delete(&key).await.unwrap();
    assign(&world, &record, "a");
    let server = world.start("a").await;
    eventually("it is told", || {
        let reason = server.ready().unwrap_err();
        reason.starts_with("segments to load: 1; the last attempt: ") && reason.contains(&key)
    })
    .await;
    assert!(get(&world, "/ready").await.starts_with("HTTP/1.1 503"));
    world.deep.upload(&key, object).await.unwrap();
    eventually("ready", || server.ready().is_ok()).await;
    server.stop(GRACE).await;
}
