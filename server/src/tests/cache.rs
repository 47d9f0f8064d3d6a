//! More segments than the disk may hold.

use super::fragments::{request, rows, run, whole};
use super::*;

const ROWS: i64 = 2600;

/// Five sealed segments, and a server whose disk has room for two.
async fn small() -> (World, Server) {
    let mut world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..ROWS);
    watch(&world, &server, |seen| {
        seen.len() == ROWS as usize && world.sealed().len() == 5
    })
    .await;
    server.stop(GRACE).await;
    let bytes = world.sealed().iter().map(|record| record.bytes).max();
    world.cache_bytes = bytes.unwrap() * 5 / 2;
    let server = world.start("a").await;
    eventually("ready", || server.ready().is_ok()).await;
    watch_end(&world, &server).await;
    (world, server)
}

async fn watch_end(world: &World, server: &Server) {
    let table = server.core.tables.get(world.table).unwrap();
    eventually("consumed", || {
        let view = table.view();
        view.run(0)
            .last()
            .is_some_and(|run| run.next_offset() == ROWS)
    })
    .await;
}

fn files(server: &Server, world: &World) -> usize {
    let sealed = world.sealed().into_iter();
    sealed
        .filter(|record| server.core.store.path(record.id, record.crc).exists())
        .count()
}

fn told(world: &World) -> usize {
    world
        .control
        .held("a")
        .iter()
        .filter(|(_, crc)| *crc != 0)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_segments_come_when_they_are_read() {
    let (world, server) = small().await;
    assert_eq!(files(&server, &world), 2, "the newest, beside cold ones");
    eventually("all are told to the controller", || told(&world) == 5).await;
    for first in [0, 1, 3, 0] {
        let mut scan = whole(&world);
        let wanted = &scan.sealed[first..first + 1];
        scan.sealed = wanted.to_vec();
        scan.consuming.clear();
        let read = world.sealed()[first].ledger.rows as usize;
        assert_eq!(rows(&run(&server, request(&world, scan)).await), read);
        assert!(files(&server, &world) <= 2);
    }
    // Nobody asks for what was read longest ago.
    let last = world.sealed().remove(0);
    assert!(server.core.store.path(last.id, last.crc).exists());
    assert!(server.core.metrics.cache.misses.get() >= 2);
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_beyond_the_limit_names_it() {
    let (world, server) = small().await;
    let answers = run(&server, request(&world, whole(&world))).await;
    let fault = answers.last().unwrap().fault.clone().unwrap();
    assert!(fault.message.contains("server.cache_bytes"), "{fault:?}");
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_fragments_share_the_little_room() {
    let (world, server) = small().await;
    let asked = (0..40).map(|n| {
        let mut scan = whole(&world);
        scan.consuming.clear();
        scan.sealed = vec![scan.sealed[n % 5]];
        let read = world.sealed()[n % 5].ledger.rows as usize;
        let asked = request(&world, scan);
        let server = &server;
        async move { assert_eq!(rows(&run(server, asked).await), read) }
    });
    futures::future::join_all(asked).await;
    eventually("the limit holds again", || files(&server, &world) <= 2).await;
    server.stop(GRACE).await;
}
