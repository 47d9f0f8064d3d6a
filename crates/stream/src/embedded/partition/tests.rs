//! Batches made by hand, files that fail, power cuts.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use runtime::files::ForgetfulFiles;
use runtime::{AppendFile, OsFiles};

use super::super::batch::{HEADER_BYTES, end_marker};
use super::super::history::Outcome;
use super::super::state::FirstBatch;
use super::*;

const NO_PRODUCER: i64 = -1;
const EVERYTHING: Room = Room {
    bytes_max: usize::MAX,
    first: FirstBatch::Always,
};

#[derive(Clone, Copy)]
struct Batch {
    producer: i64,
    epoch: i16,
    sequence: i32,
    count: i32,
    attributes: i16,
}

const PLAIN: Batch = Batch {
    producer: NO_PRODUCER,
    epoch: -1,
    sequence: -1,
    count: 1,
    attributes: 0,
};

impl Batch {
    fn of(producer: i64, epoch: i16, sequence: i32, count: i32) -> Self {
        Self {
            producer,
            epoch,
            sequence,
            count,
            attributes: 0,
        }
    }

    fn bytes(self) -> Vec<u8> {
        let mut batch = BytesMut::new();
        batch.put_bytes(0, 12);
        batch.put_i32(-1);
        batch.put_u8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(self.count - 1);
        batch.put_i64(1000);
        batch.put_i64(1000);
        batch.put_i64(self.producer);
        batch.put_i16(self.epoch);
        batch.put_i32(self.sequence);
        batch.put_i32(self.count);
        assert_eq!(batch.len(), HEADER_BYTES);
        for offset in 0..self.count as u8 {
            // 6 bytes: attributes, time, offset, no key, no value, no headers.
            batch.put_slice(&[12, 0, 0, offset << 1, 1, 1, 0]);
        }
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch.to_vec()
    }
}

fn limits(sync: SyncPolicy) -> Limits {
    Limits {
        sync,
        file_bytes: 1 << 20,
    }
}

const LATER: SyncPolicy = SyncPolicy::Every(Duration::from_secs(3600));

fn open_with(folder: &Path, files: Arc<dyn Files>, sync: SyncPolicy) -> io::Result<Partition> {
    Partition::open(folder.to_owned(), files, limits(sync))
}

fn open(folder: &Path) -> Partition {
    open_with(folder, Arc::new(OsFiles), SyncPolicy::OnAck).unwrap()
}

/// Bytes from `offset` on; the log must have no error for it.
fn read(partition: &Partition, offset: i64) -> usize {
    let fetched = partition.fetch(offset, EVERYTHING, Isolation::Everything);
    assert_eq!(fetched.error, code::NONE);
    fetched.records.len()
}

#[test]
fn a_repeated_batch_keeps_its_place_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let partition = open(folder.path());
    let batches = [
        Batch::of(7, 0, 0, 3),
        Batch::of(7, 0, 3, 2),
        Batch::of(7, 0, 5, 1),
    ];
    for (batch, base) in batches.iter().zip([0, 3, 5]) {
        assert_eq!(partition.append(&batch.bytes()), Ok((base, 0)));
    }
    let partition_again = open(folder.path());
    for partition in [&partition, &partition_again] {
        for (batch, base) in batches.iter().zip([0, 3, 5]) {
            assert_eq!(partition.append(&batch.bytes()), Ok((base, 0)), "repeated");
        }
        assert_eq!(partition.offsets(), (0, 6, 6));
        let gap = Batch::of(7, 0, 9, 1).bytes();
        assert_eq!(partition.append(&gap), Err(code::OUT_OF_ORDER_SEQUENCE));
        let epoch = Batch::of(7, 1, 5, 1).bytes();
        assert_eq!(partition.append(&epoch), Err(code::OUT_OF_ORDER_SEQUENCE));
    }
    assert_eq!(
        partition_again.append(&Batch::of(7, 1, 0, 1).bytes()),
        Ok((6, 0))
    );
    let older = Batch::of(7, 0, 6, 1).bytes();
    assert_eq!(
        partition_again.append(&older),
        Err(code::INVALID_PRODUCER_EPOCH)
    );
}

#[test]
fn what_is_no_single_whole_batch_of_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let partition = open(folder.path());
    let good = Batch::of(7, 0, 0, 3).bytes();
    let mut flipped = good.clone();
    flipped[HEADER_BYTES] ^= 1;
    let control = Batch {
        attributes: 0x20,
        ..PLAIN
    };
    let unnumbered = Batch {
        producer: 7,
        epoch: 0,
        ..PLAIN
    };
    let two = [good.clone(), good.clone()].concat();
    for (bytes, error) in [
        (&[][..], code::CORRUPT_MESSAGE),
        (&good[..good.len() - 1], code::CORRUPT_MESSAGE),
        (&flipped, code::CORRUPT_MESSAGE),
        (&two, code::INVALID_RECORD),
        (&control.bytes(), code::INVALID_RECORD),
        (&unnumbered.bytes(), code::INVALID_RECORD),
    ] {
        assert_eq!(partition.append(bytes), Err(error));
    }
    // Any single wrong byte, with a checksum that is right for it.
    for at in 0..HEADER_BYTES {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let before = partition.offsets().2;
            if let Ok((base, _)) = partition.append(&bytes) {
                assert!(base <= before && partition.offsets().2 <= before + 3);
            }
        }
    }
    let end = partition.offsets().2;
    drop(partition);
    assert_eq!(open(folder.path()).offsets().2, end);
}

/// Files whose next append or sync fails, after half of it was written.
#[derive(Debug, Default)]
struct FailingFiles {
    fault: Arc<AtomicU8>,
}

const NO_FAULT: u8 = 0;
const APPEND: u8 = 1;
const SYNC: u8 = 2;

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn AppendFile>,
    fault: Arc<AtomicU8>,
}

impl FailingFile {
    fn fails(&self, at: u8) -> bool {
        let armed = self
            .fault
            .compare_exchange(at, NO_FAULT, Ordering::SeqCst, Ordering::SeqCst);
        armed.is_ok()
    }
}

impl Files for FailingFiles {
    fn write_new(
        &self,
        path: &Path,
        point: &str,
        write: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        OsFiles.write_new(path, point, write)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(FailingFile {
            file: OsFiles.open_append(path)?,
            fault: Arc::clone(&self.fault),
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }
}

impl AppendFile for FailingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.fails(APPEND) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.fails(SYNC) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.sync()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

#[test]
fn a_failed_append_leaves_no_trace() {
    for fault in [APPEND, SYNC] {
        let folder = tempfile::tempdir().unwrap();
        let files = Arc::new(FailingFiles::default());
        let armed = Arc::clone(&files.fault);
        let partition = open_with(folder.path(), files, SyncPolicy::OnAck).unwrap();
        let first = Batch::of(7, 0, 0, 2).bytes();
        let second = Batch::of(7, 0, 2, 2).bytes();
        assert_eq!(partition.append(&first), Ok((0, 0)));
        armed.store(fault, Ordering::SeqCst);
        assert_eq!(partition.append(&second), Err(code::STORAGE_ERROR));
        assert_eq!(partition.offsets(), (0, 2, 2));
        assert_eq!(read(&partition, 0), first.len());
        assert_eq!(
            partition.append(&second),
            Ok((2, 0)),
            "it may be tried again"
        );
        drop(partition);
        let partition = open(folder.path());
        assert_eq!(partition.offsets(), (0, 4, 4));
        assert_eq!(read(&partition, 0), first.len() + second.len());
    }
}

#[test]
fn a_failed_late_sync_stops_appends() {
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(FailingFiles::default());
    let armed = Arc::clone(&files.fault);
    let partition = open_with(folder.path(), files, LATER).unwrap();
    partition.append(&PLAIN.bytes()).unwrap();
    armed.store(SYNC, Ordering::SeqCst);
    assert!(partition.sync().is_err());
    assert_eq!(partition.append(&PLAIN.bytes()), Err(code::STORAGE_ERROR));
    assert_eq!(read(&partition, 0), PLAIN.bytes().len());
}

#[test]
fn a_power_cut_loses_only_what_was_not_promised() {
    let length = PLAIN.bytes().len();
    for (sync, left) in [(SyncPolicy::OnAck, 30), (LATER, 10)] {
        let folder = tempfile::tempdir().unwrap();
        let partition = open_with(folder.path(), Arc::new(ForgetfulFiles), sync).unwrap();
        for number in 0..30 {
            assert_eq!(partition.append(&PLAIN.bytes()), Ok((number, 0)));
            // Readable, synced or not, from any offset.
            assert_eq!(read(&partition, number), length);
            assert_eq!(read(&partition, 0), length * (number as usize + 1));
            if number == 9 {
                partition.sync().unwrap();
            }
        }
        drop(partition);
        let partition = open(folder.path());
        assert_eq!(partition.offsets(), (0, left, left), "{sync:?}");
        assert_eq!(read(&partition, 0), length * left as usize);
    }
}

/// A log of three files of two batches each.
fn three_files(folder: &Path) -> Vec<PathBuf> {
    let small = Limits {
        sync: LATER,
        file_bytes: 2 * PLAIN.bytes().len() as u64,
    };
    let partition = Partition::open(folder.to_owned(), Arc::new(OsFiles), small).unwrap();
    for number in 0..6 {
        assert_eq!(partition.append(&PLAIN.bytes()), Ok((number, 0)));
        assert_eq!(read(&partition, number), PLAIN.bytes().len());
    }
    partition.sync().unwrap();
    let bases = bases_in(folder).unwrap();
    assert_eq!(bases, [0, 2, 4]);
    let path = |base| folder.join(format!("{base:020}.log"));
    bases.into_iter().map(path).collect()
}

fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_tail_is_cut_and_damage_elsewhere_is_told() {
    let length = PLAIN.bytes().len();
    let folder = tempfile::tempdir().unwrap();
    let files = three_files(folder.path());
    damage(&files[2], length + HEADER_BYTES);
    let partition = open(folder.path());
    assert_eq!(partition.offsets(), (0, 5, 5));
    assert_eq!(partition.append(&PLAIN.bytes()), Ok((5, 0)));
    drop(partition);

    // A length that is wrong, in a file that is not the last.
    damage(&files[0], 11);
    let error = open_with(folder.path(), Arc::new(OsFiles), LATER).unwrap_err();
    assert!(error.to_string().contains("damaged at byte 0"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let files = three_files(folder.path());
    fs::remove_file(&files[1]).unwrap();
    let error = open_with(folder.path(), Arc::new(OsFiles), LATER).unwrap_err();
    assert!(
        error.to_string().contains("lacks the file of offset 2"),
        "{error}"
    );
}

#[test]
fn deleting_drops_whole_files_and_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let files = three_files(folder.path());
    let partition = open(folder.path());
    assert_eq!(partition.delete_before(7), Err(code::OFFSET_OUT_OF_RANGE));
    assert_eq!(partition.delete_before(3), Ok(3));
    assert_eq!(
        partition.delete_before(1),
        Ok(3),
        "the start never goes back"
    );
    assert!(!files[0].exists() && files[1].exists());
    let refused = partition.fetch(2, EVERYTHING, Isolation::Everything);
    assert_eq!(refused.error, code::OFFSET_OUT_OF_RANGE);
    drop(partition);
    let partition = open(folder.path());
    assert_eq!(partition.offsets(), (3, 6, 6));
    assert_eq!(partition.oldest_file(), Some((1000, 4)));
    assert_eq!(partition.delete_before(-1), Ok(6));
    drop(partition);
    let partition = open(folder.path());
    assert_eq!(partition.offsets(), (6, 6, 6));
    assert_eq!(partition.append(&PLAIN.bytes()), Ok((6, 6)));
}

#[test]
fn transactions_are_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let partition = open(folder.path());
    let transactional = |producer, sequence| Batch {
        attributes: 0x10,
        ..Batch::of(producer, 0, sequence, 1)
    };
    let append = |batch: Batch| partition.append(&batch.bytes()).unwrap().0;
    assert_eq!(append(transactional(1, 0)), 0);
    assert_eq!(append(transactional(2, 0)), 1);
    assert_eq!(append(PLAIN), 2);
    assert_eq!(partition.offsets(), (0, 0, 3), "start, last stable, end");
    let abort = end_marker(1, 0, Outcome::Abort, 0);
    partition.append_marker(1, &abort).unwrap();
    partition.append_marker(1, &abort).unwrap();
    assert_eq!(partition.offsets(), (0, 1, 4), "one marker is enough");
    let reopened = open(folder.path());
    for partition in [&partition, &reopened] {
        assert_eq!(partition.open_transactions(), [(2, 0)]);
        let fetched = partition.fetch(0, EVERYTHING, Isolation::Committed);
        let aborted: Vec<_> = fetched
            .aborted
            .iter()
            .map(|a| (a.producer, a.first))
            .collect();
        assert_eq!((fetched.last_stable, aborted), (1, vec![(1, 0)]));
        assert_eq!(fetched.records.len(), PLAIN.bytes().len());
    }
    let commit = end_marker(2, 1, Outcome::Commit, 0);
    reopened.append_marker(2, &commit).unwrap();
    assert_eq!(reopened.offsets(), (0, 5, 5));
    let zombie = transactional(2, 1).bytes();
    assert_eq!(reopened.append(&zombie), Err(code::INVALID_PRODUCER_EPOCH));
}

#[test]
fn room_is_kept_except_for_a_first_batch() {
    let folder = tempfile::tempdir().unwrap();
    three_files(folder.path());
    let partition = open(folder.path());
    let length = PLAIN.bytes().len();
    let fetched = |bytes_max, first| {
        let room = Room { bytes_max, first };
        let fetched = partition.fetch(0, room, Isolation::Everything);
        fetched.records.len() / length
    };
    assert_eq!(fetched(0, FirstBatch::Always), 1);
    assert_eq!(fetched(0, FirstBatch::IfItFits), 0);
    assert_eq!(fetched(length, FirstBatch::IfItFits), 1);
    assert_eq!(fetched(2 * length - 1, FirstBatch::Always), 1);
    assert_eq!(
        fetched(usize::MAX, FirstBatch::Always),
        2,
        "one file at a time"
    );
}
