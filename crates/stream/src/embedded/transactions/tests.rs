//! Epochs, ends that are cut short, restarts; the markers are recorded instead of written.

use std::cell::{Cell, RefCell};

use runtime::OsFiles;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Stands for the partitions: remembers what was marked, or refuses.
#[derive(Default)]
struct Marks {
    seen: RefCell<Vec<(i64, i16, Outcome, usize)>>,
    refuse: Cell<bool>,
}

impl Marks {
    fn mark(&self, ending: &Ending<'_>) -> Result<(), i16> {
        if self.refuse.get() {
            return Err(code::STORAGE_ERROR);
        }
        let (producer, epoch) = (ending.producer, ending.epoch);
        let marked = (producer, epoch, ending.outcome, ending.partitions.len());
        self.seen.borrow_mut().push(marked);
        Ok(())
    }

    fn take(&self) -> Vec<(i64, i16, Outcome, usize)> {
        self.seen.take()
    }
}

fn open(folder: &Path) -> Transactions {
    Transactions::open(folder, Arc::new(OsFiles), 100).unwrap()
}

fn claim(producer: i64, epoch: i16) -> Claim<'static> {
    Claim {
        id: "tx",
        producer,
        epoch,
    }
}

fn two_partitions() -> Vec<(String, i32)> {
    vec![("t".to_owned(), 0), ("t".to_owned(), 1)]
}

#[test]
fn a_newer_producer_fences_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let marks = Marks::default();
    let mark: Mark<'_> = &|ending| marks.mark(ending);
    let mut log = open(folder.path());
    assert_eq!(log.begin_producer(None, MINUTE, mark), Ok((101, 0)));
    assert_eq!(log.begin_producer(Some("tx"), MINUTE, mark), Ok((102, 0)));
    log.add(claim(102, 0), two_partitions(), Duration::ZERO)
        .unwrap();
    assert_eq!(log.admit(claim(102, 0), ("t", 1)), Ok(()));
    assert_eq!(
        log.admit(claim(102, 0), ("t", 2)),
        Err(code::INVALID_TRANSACTION_STATE)
    );
    assert_eq!(log.begin_producer(Some("tx"), MINUTE, mark), Ok((102, 1)));
    assert_eq!(marks.take(), [(102, 1, Outcome::Abort, 2)]);

    let fenced = Err(code::INVALID_PRODUCER_EPOCH);
    assert_eq!(
        log.add(claim(102, 0), two_partitions(), Duration::ZERO),
        fenced
    );
    assert_eq!(log.admit(claim(102, 0), ("t", 0)), fenced);
    assert_eq!(log.end(claim(102, 0), Outcome::Commit, mark), fenced);
    let unknown = Err(code::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(log.end(claim(7, 1), Outcome::Commit, mark), unknown);
    // Also by a log that was started again; ids are not given twice.
    let mut log = open(folder.path());
    assert_eq!(log.begin_producer(Some("tx"), MINUTE, mark), Ok((102, 2)));
    assert_eq!(
        log.begin_producer(Some("other"), MINUTE, mark),
        Ok((103, 0))
    );
    assert_eq!(marks.take(), []);
}

#[test]
fn an_end_is_repeated_but_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let marks = Marks::default();
    let mark: Mark<'_> = &|ending| marks.mark(ending);
    let mut log = open(folder.path());
    let (producer, epoch) = log.begin_producer(Some("tx"), MINUTE, mark).unwrap();
    let claim = claim(producer, epoch);
    let wrong = Err(code::INVALID_TRANSACTION_STATE);
    assert_eq!(
        log.end(claim, Outcome::Commit, mark),
        wrong,
        "nothing was begun"
    );
    log.add(claim, two_partitions(), Duration::ZERO).unwrap();
    assert_eq!(log.end(claim, Outcome::Commit, mark), Ok(()));
    assert_eq!(log.end(claim, Outcome::Commit, mark), Ok(()), "repeated");
    assert_eq!(log.end(claim, Outcome::Abort, mark), wrong);
    assert_eq!(marks.take(), [(producer, epoch, Outcome::Commit, 2)]);
}

#[test]
fn an_end_that_was_cut_short_is_finished_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let marks = Marks::default();
    let mark: Mark<'_> = &|ending| marks.mark(ending);
    let mut log = open(folder.path());
    let (producer, epoch) = log.begin_producer(Some("tx"), MINUTE, mark).unwrap();
    log.add(claim(producer, epoch), two_partitions(), Duration::ZERO)
        .unwrap();
    marks.refuse.set(true);
    let ended = log.end(claim(producer, epoch), Outcome::Commit, mark);
    assert_eq!(ended, Err(code::STORAGE_ERROR));
    marks.refuse.set(false);

    let mut again = open(folder.path());
    let open_in_log = [(producer, epoch)];
    again.recover(&open_in_log, mark).unwrap();
    assert_eq!(marks.take(), [(producer, epoch, Outcome::Commit, 2)]);
    again.recover(&[], mark).unwrap();
    assert_eq!(marks.take(), [], "once");
    // The same log, without a restart.
    log.expire(Duration::ZERO, mark).unwrap();
    assert_eq!(marks.take(), [(producer, epoch, Outcome::Commit, 2)]);
}

#[test]
fn what_is_open_at_a_restart_or_for_too_long_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let marks = Marks::default();
    let mark: Mark<'_> = &|ending| marks.mark(ending);
    let mut log = open(folder.path());
    let (producer, epoch) = log.begin_producer(Some("tx"), MINUTE, mark).unwrap();
    log.add(claim(producer, epoch), two_partitions(), MINUTE)
        .unwrap();
    log.expire(2 * MINUTE, mark).unwrap();
    assert_eq!(marks.take(), [], "just in time");

    let mut again = open(folder.path());
    again.recover(&[(producer, epoch)], mark).unwrap();
    let late = again.end(claim(producer, epoch), Outcome::Commit, mark);
    assert_eq!(late, Err(code::INVALID_PRODUCER_EPOCH));

    let late = 2 * MINUTE + Duration::from_millis(1);
    log.expire(late, mark).unwrap();
    assert_eq!(marks.take(), [(producer, epoch + 1, Outcome::Abort, 2)]);
    let late = log.end(claim(producer, epoch), Outcome::Commit, mark);
    assert_eq!(late, Err(code::INVALID_PRODUCER_EPOCH));
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let mut known = Transaction::new(7, MINUTE);
    (known.epoch, known.ending) = (3, Some(Outcome::Commit));
    known.partitions = vec![("a-b.c".to_owned(), 0), ("a-b.c".to_owned(), 12)];
    for id in ["", "tx", "with space:\n", "ü"] {
        let line = line(id, &known);
        assert_eq!(parse(line.trim_end()), Some((id.to_owned(), known.clone())));
    }
    for damaged in [
        "",
        "7 3 60000 commit",
        "7 3 60000 maybe x",
        "7 3 60000 - x7",
    ] {
        assert_eq!(parse(damaged), None, "{damaged}");
    }
}
