//! The key map: for each key the offset of its newest row and the value it was compared by.
//!
//! Open addressing over buckets of eight slots, in 256 shards by the first bits of the key's hash.
//! A key lies in its bucket or, while those are full, in the next ones: whoever finds a bucket with
//! room has found the end. Slots are filled in their order and never emptied; a key that is
//! forgotten keeps its slot until its shard is copied. The place of a key ascends with its hash,
//! whatever the number of buckets is: a shard grows by one pass over old and new slots alike.
//!
//! A bucket holds its keys, then the compared values, then the places, so that a look-up reads one
//! line of memory of the keys. A shard grows by a ninth: 24 bytes a slot are 26 to 30 a key.

mod room;
#[cfg(test)]
mod tests;

use schemas::Offset;

pub use room::Spill;
use room::{Room, prefetch};

const SLOTS: usize = 8;
const SHARDS: usize = 256;
/// Buckets of a shard when it gets its first key.
const BUCKETS_MIN: usize = 1;
/// Slots that are used at most, of 1000.
const LOAD_MAX: usize = 920;
/// The place of a slot that was never used.
const EMPTY: u64 = u64::MAX;
/// The place of a key that was forgotten.
const FORGOTTEN: u64 = u64::MAX - 1;

/// A number of one word is the key itself; longer keys are known by a hash of two.
pub type Key<const W: usize> = [u64; W];

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: Offset,
    pub compared: i64,
    /// Its newest row deletes it.
    pub deleted: bool,
}

impl Entry {
    fn place(self) -> u64 {
        (self.offset as u64) << 1 | u64::from(self.deleted)
    }

    /// `None`: there is no such key.
    fn of(place: u64, compared: i64) -> Option<Self> {
        (place < FORGOTTEN).then_some(Self {
            offset: (place >> 1) as Offset,
            compared,
            deleted: place & 1 == 1,
        })
    }
}

#[derive(Debug)]
struct Shard {
    room: Room,
    /// Where keys may begin; behind them are some more for what does not fit the last.
    buckets: usize,
    used: usize,
    used_max: usize,
    forgotten: usize,
}

#[derive(Debug)]
pub struct KeyMap<const W: usize> {
    shards: Vec<Shard>,
    seed: u64,
    spill: Spill,
}

/// Where a key is, or the slot that it takes.
enum Found {
    At(usize),
    Free(usize),
    /// The shard must grow.
    Nowhere,
}

impl<const W: usize> KeyMap<W> {
    const BUCKET_WORDS: usize = SLOTS * (W + 2);

    pub fn new(seed: u64, spill: Spill) -> Self {
        let shard = |_| Shard {
            room: Room::default(),
            buckets: 0,
            used: 0,
            used_max: 0,
            forgotten: 0,
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            seed,
            spill,
        }
    }

    /// Keys that are known.
    pub fn len(&self) -> usize {
        let known = self.shards.iter().map(|own| own.used - own.forgotten);
        known.sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In memory or on disk.
    pub fn bytes(&self) -> usize {
        let rooms = self.shards.iter().map(|own| own.room.words().len() * 8);
        rooms.sum::<usize>() + self.shards.len() * size_of::<Shard>()
    }

    /// Of them, those on disk.
    pub fn spilled_bytes(&self) -> usize {
        let spilled = self.shards.iter().filter(|own| own.room.is_spilled());
        spilled.map(|own| own.room.words().len() * 8).sum()
    }

    /// The memory of the key is on its way when it is looked up soon.
    pub fn prefetch(&self, key: &Key<W>) {
        let hash = hash(self.seed, key);
        let shard = &self.shards[shard_of(hash)];
        let first = bucket_of(hash, shard.buckets) * Self::BUCKET_WORDS;
        let words = shard.room.words();
        for line in 0..Self::BUCKET_WORDS / SLOTS {
            if let Some(word) = words.get(first + line * SLOTS) {
                prefetch(word);
            }
        }
    }

    pub fn get(&self, key: &Key<W>) -> Option<Entry> {
        let hash = hash(self.seed, key);
        let shard = &self.shards[shard_of(hash)];
        match Self::find(shard, hash, key) {
            Found::At(slot) => {
                let words = shard.room.words();
                let at = |line| words[Self::word_of(slot, line)];
                Entry::of(at(W + 1), at(W) as i64)
            }
            Found::Free(_) | Found::Nowhere => None,
        }
    }

    /// What shall be known of the key, decided by what is known; `None` leaves it as it is.
    pub fn update(&mut self, key: &Key<W>, decide: impl FnOnce(Option<Entry>) -> Option<Entry>) {
        let hash = hash(self.seed, key);
        let shard = &mut self.shards[shard_of(hash)];
        let slot = match Self::find(shard, hash, key) {
            Found::At(slot) => {
                let words = shard.room.words();
                let at = |line| words[Self::word_of(slot, line)];
                let known = Entry::of(at(W + 1), at(W) as i64);
                if let Some(entry) = decide(known) {
                    shard.forgotten -= usize::from(known.is_none());
                    Self::write(shard, slot, entry);
                }
                return;
            }
            found => found,
        };
        let Some(entry) = decide(None) else {
            return;
        };
        let slot = match slot {
            Found::Free(slot) if shard.used < shard.used_max => slot,
            _ => Self::grown(shard, &self.spill, self.seed, key),
        };
        let words = shard.room.words_mut();
        for (line, word) in key.iter().enumerate() {
            words[Self::word_of(slot, line)] = *word;
        }
        shard.used += 1;
        Self::write(shard, slot, entry);
    }

    /// The key is not known any more.
    pub fn forget(&mut self, key: &Key<W>) {
        let hash = hash(self.seed, key);
        let shard = &mut self.shards[shard_of(hash)];
        if let Found::At(slot) = Self::find(shard, hash, key) {
            let place = &mut shard.room.words_mut()[Self::word_of(slot, W + 1)];
            shard.forgotten += usize::from(*place != FORGOTTEN);
            *place = FORGOTTEN;
        }
    }

    /// Forgets the keys that `keep` does not want, and gives back their room.
    pub fn retain(&mut self, keep: impl Fn(Entry) -> bool) {
        let seed = self.seed;
        for shard in &mut self.shards {
            let slots = shard.room.words().len() / Self::BUCKET_WORDS * SLOTS;
            let words = shard.room.words_mut();
            for slot in 0..slots {
                let compared = words[Self::word_of(slot, W)] as i64;
                let place = &mut words[Self::word_of(slot, W + 1)];
                if Entry::of(*place, compared).is_some_and(|entry| !keep(entry)) {
                    *place = FORGOTTEN;
                    shard.forgotten += 1;
                }
            }
            if shard.forgotten > shard.used / 4 {
                Self::copy(shard, &self.spill, seed);
            }
        }
    }

    fn word_of(slot: usize, line: usize) -> usize {
        slot / SLOTS * Self::BUCKET_WORDS + line * SLOTS + slot % SLOTS
    }

    fn write(shard: &mut Shard, slot: usize, entry: Entry) {
        let words = shard.room.words_mut();
        words[Self::word_of(slot, W)] = entry.compared as u64;
        words[Self::word_of(slot, W + 1)] = entry.place();
    }

    fn find(shard: &Shard, hash: u64, key: &Key<W>) -> Found {
        let first = bucket_of(hash, shard.buckets);
        let words = shard.room.words();
        let rest = words.get(first * Self::BUCKET_WORDS..).unwrap_or(&[]);
        for (at, bucket) in rest.chunks_exact(Self::BUCKET_WORDS).enumerate() {
            let slot = (first + at) * SLOTS;
            let (keys, rest) = bucket.split_at(W * SLOTS);
            let places = &rest[SLOTS..];
            let mut equal = 0_u32;
            for own in 0..SLOTS {
                let mut is_equal = keys[own] == key[0];
                for line in 1..W {
                    is_equal &= keys[line * SLOTS + own] == key[line];
                }
                equal |= u32::from(is_equal) << own;
            }
            // Slots that were never used hold a key of zeros.
            while equal != 0 {
                let own = equal.trailing_zeros() as usize;
                if places[own] != EMPTY {
                    return Found::At(slot + own);
                }
                equal &= equal - 1;
            }
            if places[SLOTS - 1] == EMPTY {
                let used = places.iter().filter(|place| **place != EMPTY).count();
                return Found::Free(slot + used);
            }
        }
        Found::Nowhere
    }

    /// The free slot of `key` in the shard with more room.
    fn grown(shard: &mut Shard, spill: &Spill, seed: u64, key: &Key<W>) -> usize {
        loop {
            Self::copy(shard, spill, seed);
            if let Found::Free(slot) = Self::find(shard, hash(seed, key), key)
                && shard.used < shard.used_max
            {
                return slot;
            }
        }
    }

    /// Copies what is known into room for a ninth more.
    fn copy(shard: &mut Shard, spill: &Spill, seed: u64) {
        let known = shard.used - shard.forgotten;
        let wanted = (known * 10 / 9 + SLOTS) * 1000 / LOAD_MAX;
        let mut buckets = wanted.div_ceil(SLOTS).max(BUCKETS_MIN);
        if known == shard.used {
            buckets = buckets.max(shard.buckets + 1);
        }
        while !Self::copy_into(shard, buckets, spill, seed) {
            buckets += buckets / 8 + 1;
        }
    }

    /// `false`: they do not fit.
    fn copy_into(shard: &mut Shard, buckets: usize, spill: &Spill, seed: u64) -> bool {
        let behind = 2 + buckets / 128;
        let words = (buckets + behind) * Self::BUCKET_WORDS;
        let mut fresh = Shard {
            room: Room::new(words, spill),
            buckets,
            used: 0,
            used_max: buckets * SLOTS * LOAD_MAX / 1000,
            forgotten: 0,
        };
        for bucket in fresh.room.words_mut().chunks_exact_mut(Self::BUCKET_WORDS) {
            bucket[(W + 1) * SLOTS..].fill(EMPTY);
        }
        for bucket in shard.room.words().chunks_exact(Self::BUCKET_WORDS) {
            for own in 0..SLOTS {
                let place = bucket[(W + 1) * SLOTS + own];
                if place >= FORGOTTEN {
                    continue;
                }
                let mut key = [0; W];
                for (line, word) in key.iter_mut().enumerate() {
                    *word = bucket[line * SLOTS + own];
                }
                let Found::Free(slot) = Self::find(&fresh, hash(seed, &key), &key) else {
                    return false;
                };
                let words = fresh.room.words_mut();
                for (line, word) in key.iter().enumerate() {
                    words[Self::word_of(slot, line)] = *word;
                }
                words[Self::word_of(slot, W)] = bucket[W * SLOTS + own];
                words[Self::word_of(slot, W + 1)] = place;
                fresh.used += 1;
            }
        }
        *shard = fresh;
        true
    }
}

/// Ascends with the place of the key.
fn hash<const W: usize>(seed: u64, key: &Key<W>) -> u64 {
    match W {
        1 => folded(
            folded(key[0] ^ seed, 0x9e37_79b9_7f4a_7c15),
            0xd6e8_feb8_6659_fd93,
        ),
        _ => key[0],
    }
}

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

fn shard_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

fn bucket_of(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash << 8) * buckets as u128) >> 64) as usize
}
