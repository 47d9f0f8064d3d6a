//! What is known of keys, and what becomes of rows beside it. There is one writer; while what is
//! sealed is read, several threads share its map.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use schemas::Offset;

use crate::compared::{Filled, NOTHING};
use crate::map::{Entry, Key, KeyMap, Spill};
use crate::partition::KeyFigures;
use crate::rules::{Looked, Rules, Verdict};

/// Of keys and of their places: nobody outside can make keys that collide.
pub(crate) fn seeds() -> [u64; 2] {
    [0_u64, 1].map(|at| RandomState::new().hash_one(at))
}

/// Of one partition.
pub(crate) trait Keys: Debug + Send + Sync {
    /// Takes up the rows of a batch that comes after all others.
    fn decide(&mut self, rules: &Rules, looked: &Looked) -> Decided;

    /// Takes back the last batch.
    fn undo(&mut self);

    /// Takes up rows that are stored already: of one block in its order, of several in the order
    /// of the log. `newest` is the greatest compared value before them, and is given back with
    /// theirs.
    fn admit(&self, rules: &Rules, rows: Stored<'_>, newest: i64) -> (Dead, i64);

    /// Takes up rows by which their keys are known: of several of a key the last.
    fn adopt(&self, rules: &Rules, rows: Stored<'_>);

    /// The greatest compared value of rows that were taken.
    fn newest(&self) -> i64;

    fn set_newest(&mut self, newest: i64);

    /// Offsets of a segment that is not here any more.
    fn retire(&mut self, offsets: Range<Offset>);

    /// Forgets what nothing is known of any more.
    fn tidy(&mut self, rules: &Rules);

    /// Room for so many keys.
    fn reserve(&self, keys: usize);

    fn figures(&self) -> KeyFigures;
}

/// Stored rows, of which some are meant, by block and row in it.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) looked: &'a [Looked],
    pub(crate) is_meant: &'a dyn Fn(&Looked, usize) -> bool,
}

pub(crate) fn keys(rules: &Rules, seed: u64, spill: &Spill) -> Box<dyn Keys> {
    fn of<const W: usize, const V: usize>(seed: u64, spill: &Spill) -> Box<dyn Keys> {
        Box::new(Typed::<W, V> {
            map: KeyMap::new(seed, spill.clone()),
            newest: NOTHING,
            gone: Vec::new(),
            before: Vec::new(),
            newest_before: NOTHING,
        })
    }
    match (rules.key.is_number(), rules.compared.words()) {
        (true, 1) => of::<1, 1>(seed, spill),
        (true, 2) => of::<1, 2>(seed, spill),
        (true, _) => of::<1, 4>(seed, spill),
        (false, 1) => of::<2, 1>(seed, spill),
        (false, 2) => of::<2, 2>(seed, spill),
        (false, _) => of::<2, 4>(seed, spill),
    }
}

#[derive(Debug)]
struct Typed<const W: usize, const V: usize> {
    map: KeyMap<W, V>,
    newest: i64,
    /// Offsets of segments that are not here any more.
    gone: Vec<Range<Offset>>,
    /// What was known of the last batch's keys before it.
    before: Vec<(Key<W>, Option<Entry<V>>)>,
    newest_before: i64,
}

/// Offsets of rows that count no more.
#[derive(Debug, Default)]
pub(crate) struct Dead {
    /// Newer rows of their keys are there.
    pub(crate) replaced: Vec<Offset>,
    /// They delete their keys.
    pub(crate) deleting: Vec<Offset>,
}

impl Dead {
    /// The newest row of a key hides the one before it, and itself if it deletes the key.
    fn replace<const V: usize>(&mut self, entry: Entry<V>, known: Option<Entry<V>>) {
        self.replaced.extend(known.map(|known| known.offset));
        if entry.deleted {
            self.deleting.push(entry.offset);
        }
    }
}

/// What becomes of the rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Those of the batch among them.
    pub(crate) dead: Dead,
    /// Rows of the batch that are not taken. Ascending.
    pub(crate) dropped: Vec<usize>,
    /// Rows that are older than the newest of their key. Ascending.
    pub(crate) late: Vec<usize>,
    /// The newest rows of their keys that have one before them, and its offset.
    pub(crate) previous: Vec<(usize, Offset)>,
    /// Compared values that rows have from those before them.
    pub(crate) filled: Vec<Filled>,
}

impl Decided {
    /// Those of the rows that are taken.
    pub(crate) fn kept<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut dropped = self.dropped.iter().copied().peekable();
        let rows = values.iter().enumerate();
        let kept = rows.filter(|(row, _)| dropped.next_if_eq(row).is_none());
        kept.map(|(_, value)| *value).collect()
    }

    fn fill<const V: usize>(&mut self, row: usize, own: Entry<V>, filled: Entry<V>) {
        for (column, value) in filled.compared.into_iter().enumerate() {
            if own.compared[column] != value {
                self.filled.push((row, column, value));
            }
        }
    }
}

impl<const W: usize, const V: usize> Typed<W, V> {
    /// What is known of a key, unless its row is not here any more or too old.
    fn known(&self, stored: Option<Entry<V>>, rules: &Rules, newest: i64) -> Option<Entry<V>> {
        known((&self.gone, rules), stored, newest)
    }

    fn rows_of(&self, rules: &Rules, rows: Stored<'_>) -> Vec<(Key<W>, Entry<V>)> {
        let mut all = Vec::with_capacity(rows.looked.iter().map(Looked::rows).sum());
        for own in rows.looked {
            let keys = rules.key.keys::<W>(own.rows(), &own.keys);
            let meant = keys.into_iter().enumerate();
            let meant = meant.filter(|(row, _)| (rows.is_meant)(own, *row));
            all.extend(meant.map(|(row, key)| (key, own.entry(row))));
        }
        all
    }
}

fn known<const V: usize>(
    (gone, rules): (&[Range<Offset>], &Rules),
    stored: Option<Entry<V>>,
    newest: i64,
) -> Option<Entry<V>> {
    stored.filter(|entry| {
        !gone.iter().any(|range| range.contains(&entry.offset)) && !rules.is_expired(*entry, newest)
    })
}

impl<const W: usize, const V: usize> Keys for Typed<W, V> {
    fn decide(&mut self, rules: &Rules, looked: &Looked) -> Decided {
        let keys = rules.key.keys::<W>(looked.rows(), &looked.keys);
        let mut decided = Decided::default();
        let mut undecided = looked.undecided.iter().peekable();
        let Self {
            map,
            newest,
            gone,
            before,
            newest_before,
        } = self;
        *newest_before = *newest;
        before.clear();
        map.update_each(&keys, |row, stored| {
            if undecided.next_if(|at| **at == row).is_some() {
                decided.dropped.push(row);
                return None;
            }
            let own = looked.entry(row);
            let seen = own.compared[0].max(*newest);
            let known = known((gone.as_slice(), rules), stored, seen);
            let entry = rules.filled(own, known);
            match rules.judge(entry, known) {
                Verdict::Newest => {
                    *newest = seen;
                    before.push((keys[row], stored));
                    decided.fill(row, own, entry);
                    decided.dead.replace(entry, known);
                    let before = known.filter(|known| !known.deleted);
                    let before = before.map(|before| (row, before.offset));
                    decided.previous.extend(before);
                    return Some(entry);
                }
                Verdict::Late => {
                    decided.late.push(row);
                    decided.dead.replaced.push(entry.offset);
                }
                Verdict::Dropped => decided.dropped.push(row),
            }
            None
        });
        decided
    }

    fn undo(&mut self) {
        self.newest = self.newest_before;
        for (key, stored) in self.before.drain(..).rev() {
            match stored {
                Some(entry) => self.map.update(&key, |_| Some(entry)),
                None => self.map.forget(&key),
            }
        }
    }

    fn admit(&self, rules: &Rules, rows: Stored<'_>, mut newest: i64) -> (Dead, i64) {
        let mut rows = self.rows_of(rules, rows);
        // What is forgotten by its age depends on the order.
        if rules.forgets() {
            rows.sort_unstable_by_key(|(_, entry)| entry.offset);
        }
        let rows = rows.into_iter().map(|(key, entry)| {
            newest = newest.max(entry.compared[0]);
            (key, (entry, newest))
        });
        let rows: Vec<(Key<W>, (Entry<V>, i64))> = rows.collect();
        let mut dead = Dead::default();
        self.map.update_all(&rows, |(own, newest), stored| {
            let known = self.known(stored, rules, *newest);
            let entry = rules.filled(*own, known);
            if rules.judge(entry, known) == Verdict::Newest {
                dead.replace(entry, known);
                return Some(entry);
            }
            // What deduplication let in stays.
            if !rules.is_dedup {
                dead.replaced.push(entry.offset);
            }
            None
        });
        (dead, newest)
    }

    fn adopt(&self, rules: &Rules, rows: Stored<'_>) {
        let rows = self.rows_of(rules, rows);
        self.map.update_all(&rows, |own, stored| {
            let is_last = stored.is_none_or(|stored| stored.offset < own.offset);
            is_last.then_some(*own)
        });
    }

    fn newest(&self) -> i64 {
        self.newest
    }

    fn set_newest(&mut self, newest: i64) {
        self.newest = newest;
    }

    fn retire(&mut self, offsets: Range<Offset>) {
        self.gone.push(offsets);
    }

    fn tidy(&mut self, rules: &Rules) {
        if !rules.forgets() && self.gone.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        let newest = self.newest;
        self.map
            .retain(|entry| known((&gone, rules), Some(entry), newest).is_some());
    }

    fn reserve(&self, keys: usize) {
        self.map.reserve(keys);
    }

    fn figures(&self) -> KeyFigures {
        KeyFigures {
            keys: self.map.len() as u64,
            bytes: self.map.bytes() as u64,
            spilled_bytes: self.map.spilled_bytes() as u64,
            ..KeyFigures::default()
        }
    }
}
