//! What is known of keys, and what becomes of rows beside it. There is one writer.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use schemas::Offset;

use crate::map::{Entry, Key, KeyMap, Spill};
use crate::partition::KeyFigures;
use crate::rules::{Looked, Rules, Verdict};

/// So many rows ahead the memory of a key is asked for.
const AHEAD: usize = 16;

/// Of keys and of their places: nobody outside can make keys that collide.
pub(crate) fn seeds() -> [u64; 2] {
    [0_u64, 1].map(|at| RandomState::new().hash_one(at))
}

#[derive(Debug)]
enum Map {
    Numbers(KeyMap<1>),
    Hashed(KeyMap<2>),
}

#[derive(Debug)]
pub(crate) struct Keys {
    map: Map,
    /// The greatest compared value of rows that were taken.
    newest: i64,
    /// Offsets of segments that are not here any more.
    pub(crate) gone: Vec<Range<Offset>>,
    /// What was known of the last batch's keys before it.
    before: Before,
}

#[derive(Debug, Default)]
struct Before {
    newest: i64,
    numbers: Vec<(Key<1>, Option<Entry>)>,
    hashed: Vec<(Key<2>, Option<Entry>)>,
}

/// What becomes of the rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Offsets of rows that count no more, those of the batch among them.
    pub(crate) dead: Vec<Offset>,
    /// Rows of the batch that are not taken. Ascending.
    pub(crate) dropped: Vec<usize>,
    /// Rows that are older than the newest of their key. Ascending.
    pub(crate) late: Vec<usize>,
    /// The newest rows of their keys that have one before them, and its offset.
    pub(crate) previous: Vec<(usize, Offset)>,
}

impl Decided {
    /// The newest row of a key hides the one before it, which is given back, and itself if it
    /// deletes the key.
    fn replace(&mut self, entry: Entry, known: Option<Entry>) -> Option<Offset> {
        let hidden = known.filter(|known| !known.deleted);
        let hidden = hidden.map(|known| known.offset);
        self.dead.extend(hidden);
        if entry.deleted {
            self.dead.push(entry.offset);
        }
        hidden
    }

    /// Those of the rows that are taken.
    pub(crate) fn kept<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut dropped = self.dropped.iter().copied().peekable();
        let rows = values.iter().enumerate();
        let kept = rows.filter(|(row, _)| dropped.next_if_eq(row).is_none());
        kept.map(|(_, value)| *value).collect()
    }
}

impl Keys {
    pub(crate) fn new(rules: &Rules, seed: u64, spill: &Spill) -> Self {
        Self {
            map: match rules.key.is_number() {
                true => Map::Numbers(KeyMap::new(seed, spill.clone())),
                false => Map::Hashed(KeyMap::new(seed, spill.clone())),
            },
            newest: i64::MIN,
            gone: Vec::new(),
            before: Before::default(),
        }
    }

    /// Takes up the rows of a batch that comes after all others.
    pub(crate) fn decide(&mut self, rules: &Rules, looked: &Looked) -> Decided {
        self.before.newest = self.newest;
        let context = (rules, looked, self.gone.as_slice());
        match &mut self.map {
            Map::Numbers(map) => decide(map, &mut self.newest, context, &mut self.before.numbers),
            Map::Hashed(map) => decide(map, &mut self.newest, context, &mut self.before.hashed),
        }
    }

    /// Takes back the last batch.
    pub(crate) fn undo(&mut self) {
        self.newest = self.before.newest;
        match &mut self.map {
            Map::Numbers(map) => undo(map, &mut self.before.numbers),
            Map::Hashed(map) => undo(map, &mut self.before.hashed),
        }
    }

    /// Takes up rows that are stored already: of one block in its order, of several in the order
    /// of the log. Gives the offsets of those that count no more.
    pub(crate) fn admit(
        &mut self,
        rules: &Rules,
        looked: &[Looked],
        is_meant: &impl Fn(Offset) -> bool,
    ) -> Vec<Offset> {
        let context = (rules, self.gone.as_slice());
        match &mut self.map {
            Map::Numbers(map) => {
                let rows = rows_of(rules, looked, is_meant);
                admit(map, &mut self.newest, context, &rows)
            }
            Map::Hashed(map) => {
                let rows = rows_of(rules, looked, is_meant);
                admit(map, &mut self.newest, context, &rows)
            }
        }
    }

    /// Forgets what nothing is known of any more.
    pub(crate) fn tidy(&mut self, rules: &Rules) {
        let (gone, newest) = (std::mem::take(&mut self.gone), self.newest);
        let is_known = |entry: Entry| {
            !gone.iter().any(|range| range.contains(&entry.offset))
                && !rules.is_expired(entry, newest)
        };
        match &mut self.map {
            Map::Numbers(map) => map.retain(is_known),
            Map::Hashed(map) => map.retain(is_known),
        }
    }

    pub(crate) fn figures(&self) -> KeyFigures {
        let (keys, bytes, spilled) = match &self.map {
            Map::Numbers(map) => (map.len(), map.bytes(), map.spilled_bytes()),
            Map::Hashed(map) => (map.len(), map.bytes(), map.spilled_bytes()),
        };
        KeyFigures {
            keys: keys as u64,
            bytes: bytes as u64,
            spilled_bytes: spilled as u64,
            ..KeyFigures::default()
        }
    }
}

/// What is known of a key, unless its row is not here any more or too old.
fn known_of(
    stored: Option<Entry>,
    (rules, gone): (&Rules, &[Range<Offset>]),
    newest: i64,
) -> Option<Entry> {
    stored.filter(|entry| {
        !gone.iter().any(|range| range.contains(&entry.offset)) && !rules.is_expired(*entry, newest)
    })
}

fn decide<const W: usize>(
    map: &mut KeyMap<W>,
    newest: &mut i64,
    (rules, looked, gone): (&Rules, &Looked, &[Range<Offset>]),
    before: &mut Vec<(Key<W>, Option<Entry>)>,
) -> Decided {
    let keys = rules.key.keys::<W>(looked.rows(), &looked.keys);
    let mut decided = Decided::default();
    before.clear();
    keys.iter().take(AHEAD).for_each(|key| map.prefetch(key));
    for (row, key) in keys.iter().enumerate() {
        if let Some(next) = keys.get(row + AHEAD) {
            map.prefetch(next);
        }
        let entry = looked.entry(row);
        let seen = entry.compared.max(*newest);
        map.update(key, |stored| {
            let known = known_of(stored, (rules, gone), seen);
            match rules.judge(entry, known) {
                Verdict::Newest => {
                    *newest = seen;
                    before.push((*key, stored));
                    let before = decided.replace(entry, known);
                    decided.previous.extend(before.map(|before| (row, before)));
                    return Some(entry);
                }
                Verdict::Late => {
                    decided.late.push(row);
                    decided.dead.push(entry.offset);
                }
                Verdict::Dropped => decided.dropped.push(row),
            }
            None
        });
    }
    decided
}

fn undo<const W: usize>(map: &mut KeyMap<W>, before: &mut Vec<(Key<W>, Option<Entry>)>) {
    for (key, stored) in before.drain(..).rev() {
        match stored {
            Some(entry) => map.update(&key, |_| Some(entry)),
            None => map.forget(&key),
        }
    }
}

fn rows_of<const W: usize>(
    rules: &Rules,
    looked: &[Looked],
    is_meant: &impl Fn(Offset) -> bool,
) -> Vec<(Key<W>, Entry)> {
    let mut rows = Vec::with_capacity(looked.iter().map(Looked::rows).sum());
    for own in looked {
        let keys = rules.key.keys::<W>(own.rows(), &own.keys);
        let entries = (0..own.rows()).map(|row| own.entry(row));
        let entries = keys.into_iter().zip(entries);
        rows.extend(entries.filter(|(_, entry)| is_meant(entry.offset)));
    }
    // What is forgotten by its age depends on the order.
    if rules.forgets() {
        rows.sort_unstable_by_key(|(_, entry)| entry.offset);
    }
    rows
}

fn admit<const W: usize>(
    map: &mut KeyMap<W>,
    newest: &mut i64,
    (rules, gone): (&Rules, &[Range<Offset>]),
    rows: &[(Key<W>, Entry)],
) -> Vec<Offset> {
    let mut decided = Decided::default();
    rows.iter()
        .take(AHEAD)
        .for_each(|(key, _)| map.prefetch(key));
    for (at, (key, entry)) in rows.iter().enumerate() {
        if let Some((next, _)) = rows.get(at + AHEAD) {
            map.prefetch(next);
        }
        let seen = entry.compared.max(*newest);
        *newest = seen;
        map.update(key, |stored| {
            let known = known_of(stored, (rules, gone), seen);
            if rules.judge(*entry, known) == Verdict::Newest {
                decided.replace(*entry, known);
                return Some(*entry);
            }
            // What deduplication let in stays.
            if !rules.is_dedup {
                decided.dead.push(entry.offset);
            }
            None
        });
    }
    decided.dead
}
