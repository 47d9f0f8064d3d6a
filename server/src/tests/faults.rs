//! Disks that are full, files that are damaged at a bad moment, events that are bad without end:
//! consumption goes on, what is wrong is told, and it mends when the cause is gone.

use super::*;
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_rows_are_bounded() {
    let mut world = World::new(&[]);
    let clock = runtime::ManualClock::at_ms(1_000_000);
    world.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let server = world.start("a").await;
    let spec = Arc::new(world.state().spec);
    let table = server.core.tables.open(&spec);
    let segment = |sequence: u32, count: i64| {
        let id = SegmentId {
            table: world.table,
            partition: 0,
            sequence,
        };
        let segment = MutableSegment::new(Arc::clone(&spec), id, String::new(), 0).unwrap();
        for at in 0..count {
            segment.reject(RejectedRow {
                partition: 0,
                offset: i64::from(sequence) * 10_000 + at,
                time_ms: server.core.clock.now_ms(),
                reason: "bad".to_owned(),
                payload: Vec::new(),
            });
        }
        Arc::new(segment)
    };
    let rejected = || {
        let tables = server.core.tables.all();
        let now_ms = server.core.clock.now_ms();
        let rows = crate::system::rejected_rows(&tables, now_ms).unwrap();
        let offsets = rows.column(2);
        let offsets = offsets.as_any().downcast_ref::<arrow::array::Int64Array>();
        offsets.unwrap().values().to_vec()
    };
    let older = segment(0, 7000);
    clock.advance(Duration::from_secs(24 * 3600));
    let newer = segment(1, 7000);
    table.publish(|view| view.set_run(0, vec![older, newer]));
    let newest_first = (4000..7000).chain(10_000..17_000).rev();
    assert!(rejected().into_iter().eq(newest_first));
    clock.advance(Duration::from_secs(6 * 24 * 3600 + 1));
    assert!(rejected().into_iter().eq((10_000..17_000).rev()));
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(rejected().is_empty());
    server.stop(GRACE).await;
}
