//! Columns that come while a server consumes.

use schemas::cluster::ReloadJob;
use uuid::Uuid;

use super::*;

/// Gives the table a column with what makes it, and orders a reload.
fn add_twice(world: &World) {
    let id = world.table;
    world.control.change(|tables| {
        let table = tables.get_mut(&id).unwrap();
        table.spec.columns.push(ColumnSpec {
            transform: Some("n * 2".to_owned()),
            ..ColumnSpec::new("twice", DataType::Long, FieldRole::Dimension)
        });
        table.reloads.push(ReloadJob {
            id: Uuid::new_v4(),
            submitted_ms: 0,
            segment: None,
            force_download: false,
            instance: None,
        });
    });
}

/// What the newest reload waits for in memory, as the server tells it.
fn waited_for(world: &World) -> Option<u32> {
    let reloads = world.control.reloads("a");
    reloads.first().map(|reload| reload.consuming)
}

/// A replica whose rows in memory lack the column is not done with the reload before they are
/// sealed, and shown with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_waits_for_rows_in_memory() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.control.ponders.send_replace(true);
    world.log.push_rows(0..100);
    watch(&world, &server, |seen| seen.len() == 100).await;
    add_twice(&world);
    eventually("the reload waits", || waited_for(&world) == Some(1)).await;
    world.log.push_rows(100..150);
    watch(&world, &server, |seen| seen.len() == 150).await;
    assert_eq!(waited_for(&world), Some(1));
    world.control.ponders.send_replace(false);
    eventually("the reload is done", || waited_for(&world) == Some(0)).await;
    let view = server.core.tables.get(world.table).unwrap().view();
    let sealed = view.find(0, 0).expect("it is sealed");
    assert!(sealed.has_computed());
    let [run] = view.run(0) else {
        panic!("{} segments in memory", view.run(0).len());
    };
    assert_eq!((run.start_offset(), run.spec().columns.len()), (100, 3));
    server.stop(GRACE).await;
}

/// There is nothing to be sealed, and no row shall be without the column.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_segment_begins_again_with_the_column() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push([None, None]);
    let table = || server.core.tables.get(world.table).unwrap().view();
    eventually("offsets without rows are passed", || {
        let tables = server.core.tables.all();
        !tables.is_empty() && table().run(0).iter().any(|run| run.next_offset() == 2)
    })
    .await;
    add_twice(&world);
    eventually("it has the column", || {
        table().run(0)[0].spec().columns.len() == 3
    })
    .await;
    eventually("the reload is done", || waited_for(&world) == Some(0)).await;
    world.log.push_rows(2..502);
    eventually("it is sealed", || world.sealed().len() == 1).await;
    world.check_ledgers();
    let record = world.sealed().remove(0);
    assert_eq!((record.start, record.ledger.absent), (0, 2));
    let view = table();
    let sealed = view.find(0, 0).expect("it is sealed");
    assert!(sealed.view().column("twice").is_ok_and(|c| c.is_some()));
    assert!(!sealed.has_computed(), "its rows came with the column");
    server.stop(GRACE).await;
}
