//! Disks that are full, files that are damaged at a bad moment, events that are bad without end:
//! consumption goes on, what is wrong is told, and it mends when the cause is gone.

use super::*;
use crate::view::Table;
use runtime::AppendFile;
use segment::{MutableSegment, RejectedRow};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Full until told otherwise.
#[derive(Debug)]
struct FullDisk(AtomicBool);

impl Files for FullDisk {
    fn write_new(
        &self,
        path: &Path,
        point: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_full = self.0.load(Ordering::Relaxed);
        OsFiles.write_new(path, point, &mut |out| {
            write(out)?;
            match is_full {
                true => Err(io::Error::from_raw_os_error(28)),
                false => Ok(()),
            }
        })
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        OsFiles.open_append(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }
}

fn detail(world: &World) -> String {
    let consumers = world.control.consumers("a");
    consumers
        .first()
        .map_or(String::new(), |c| c.detail.clone())
}

fn local_files(server: &Server, id: SegmentId) -> Vec<std::path::PathBuf> {
    let folder = server.core.store.partition_folder(id);
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_waited_for() {
    let mut world = World::new(&["a"]);
    let disk = Arc::new(FullDisk(AtomicBool::new(true)));
    world.files = Arc::clone(&disk) as Arc<dyn Files>;
    let server = world.start("a").await;
    world.log.push_rows(0..700);
    watch(&world, &server, |seen| seen.len() == 700).await;
    eventually("it is told", || {
        let detail = detail(&world);
        detail.contains("cannot write `") && detail.contains("No space left on device")
    })
    .await;
    world.log.push_rows(700..900);
    watch(&world, &server, |seen| seen.len() == 900).await;
    assert!(world.sealed().is_empty());
    let id = world.state().segments[0].record.id;
    assert!(local_files(&server, id).is_empty(), "nothing half is left");

    disk.0.store(false, Ordering::Relaxed);
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    eventually("all is well", || detail(&world).is_empty()).await;
    world.check_ledgers();
    server.stop(GRACE).await;
}

/// The deep store is away while the only file of the segment is damaged: it is written again from
/// the rows in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_before_the_upload_loses_nothing() {
    let world = World::new(&["a"]);
    let store = world.folder.path().join("deepstore");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, b"in the way").unwrap();
    let server = world.start("a").await;
    world.log.push_rows(0..700);
    watch(&world, &server, |seen| seen.len() == 700).await;
    eventually("the upload fails", || !detail(&world).is_empty()).await;
    let id = world.state().segments[0].record.id;
    let path = local_files(&server, id).remove(0);
    fragments::damage(&path);
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    world.check_ledgers();
    assert!(offsets(&world, &server).iter().copied().eq(0..700));
    server.stop(GRACE).await;

    let server = world.start("a").await;
    eventually("ready", || server.ready().is_ok()).await;
    assert!(offsets(&world, &server).iter().copied().eq(0..700));
    assert_eq!(server.core.metrics.quarantined.get(), 0);
    server.stop(GRACE).await;
}

/// The newest of them are shown, whatever their number; none is shown for ever.
#[test]
fn rejected_rows_are_bounded() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let spec = Arc::new(spec(TableId::random()));
    let table = Arc::new(Table::new(Arc::clone(&spec)));
    let segment = |sequence: u32, time_ms: i64| {
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence,
        };
        let segment = MutableSegment::new(Arc::clone(&spec), id, String::new(), 0).unwrap();
        for at in 0..7000 {
            segment.reject(RejectedRow {
                partition: 0,
                offset: i64::from(sequence) * 10_000 + at,
                time_ms,
                reason: "bad".to_owned(),
                payload: Vec::new(),
            });
        }
        Arc::new(segment)
    };
    let rejected_at = |now_ms: i64| {
        let rows = crate::system::rejected_rows(&[Arc::clone(&table)], now_ms).unwrap();
        let offsets = rows.column(2).as_any();
        let offsets = offsets.downcast_ref::<arrow::array::Int64Array>().unwrap();
        offsets.values().to_vec()
    };
    let run = vec![segment(0, 0), segment(1, DAY_MS)];
    table.publish(|view| view.set_run(0, run));
    let newest_first = (4000..7000).chain(10_000..17_000).rev();
    assert!(rejected_at(DAY_MS).into_iter().eq(newest_first));
    let of_the_second = rejected_at(7 * DAY_MS + 1);
    assert!(of_the_second.into_iter().eq((10_000..17_000).rev()));
    assert!(rejected_at(8 * DAY_MS + 1).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_damaged_files_are_kept() {
    let world = World::new(&[]);
    let server = world.start("a").await;
    let store = &server.core.store;
    let path = world.folder.path().join("damaged.seg");
    for number in 0..20_u8 {
        std::fs::write(&path, [number]).unwrap();
        store.quarantine(&path, "a test");
        assert!(!path.exists());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let aside = std::fs::read_dir(store.folder.join("quarantine")).unwrap();
    let mut kept: Vec<u8> = aside
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap()[0])
        .collect();
    kept.sort_unstable();
    assert!(kept.into_iter().eq(4..20));
    server.stop(GRACE).await;
}
