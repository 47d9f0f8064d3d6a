//! The key map: for each key the offset of its newest row and the values it was compared by.
//!
//! Open addressing over buckets of eight slots, in 256 shards by the first bits of the key's hash.
//! A key lies in its bucket or, while those are full, in the next ones: whoever finds a bucket with
//! room has found the end. Slots are filled in their order and never emptied; a key that is
//! forgotten keeps its slot until its shard is copied. The place of a key ascends with its hash,
//! whatever the number of buckets is: a shard grows by one pass over old and new slots alike.
//!
//! A bucket holds its keys, then the compared values, then the places, so that a look-up reads one
//! line of memory of the keys. A shard grows by a ninth: 24 bytes a slot are 26 to 30 a key.
//!
//! One writer has the map for itself. While what is sealed is read, several threads share it: each
//! takes the shards one after the other, with all of its keys that belong there.

mod room;
#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use schemas::Offset;

pub use room::Spill;
use room::{Room, prefetch};

const SLOTS: usize = 8;
const SHARDS: usize = 256;
/// Buckets of a shard when it gets its first key.
const BUCKETS_MIN: usize = 1;
/// So many keys ahead the memory of a key is asked for.
const AHEAD: usize = 16;
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
pub struct Entry<const V: usize = 1> {
    pub offset: Offset,
    pub compared: [i64; V],
    /// Its newest row deletes it.
    pub deleted: bool,
}

impl<const V: usize> Entry<V> {
    fn place(self) -> u64 {
        (self.offset as u64) << 1 | u64::from(self.deleted)
    }

    /// `None`: there is no such key.
    fn of(place: u64, compared: [i64; V]) -> Option<Self> {
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
pub struct KeyMap<const W: usize, const V: usize = 1> {
    shards: Vec<Mutex<Shard>>,
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

impl<const W: usize, const V: usize> KeyMap<W, V> {
    const LINES: usize = W + V + 1;
    const BUCKET_WORDS: usize = SLOTS * Self::LINES;
    /// Where the places are among the lines of a bucket.
    const PLACES: usize = W + V;

    pub fn new(seed: u64, spill: Spill) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                room: Room::default(),
                buckets: 0,
                used: 0,
                used_max: 0,
                forgotten: 0,
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            seed,
            spill,
        }
    }

    fn sum(&self, of: impl Fn(&Shard) -> usize) -> usize {
        self.shards.iter().map(|shard| of(&shard.lock())).sum()
    }

    /// Keys that are known.
    pub fn len(&self) -> usize {
        self.sum(|own| own.used - own.forgotten)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In memory or on disk.
    pub fn bytes(&self) -> usize {
        self.sum(|own| own.room.words().len() * 8 + size_of::<Shard>())
    }

    /// Of them, those on disk.
    pub fn spilled_bytes(&self) -> usize {
        self.sum(|own| match own.room.is_spilled() {
            true => own.room.words().len() * 8,
            false => 0,
        })
    }

    /// Makes room for so many keys in all: it is made once then.
    pub fn reserve(&self, keys: usize) {
        // Shards differ by chance.
        let each = keys / SHARDS;
        let each = each + each.isqrt() * 4;
        let buckets = Self::buckets_of(each);
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.buckets < buckets {
                Self::copy_into(&mut shard, buckets, &self.spill, self.seed);
            }
        }
    }

    /// The memory of a key is on its way when it is looked up soon.
    fn prefetch_in(shard: &Shard, hash: u64) {
        let first = bucket_of(hash, shard.buckets) * Self::BUCKET_WORDS;
        let words = shard.room.words();
        for line in 0..Self::LINES {
            if let Some(word) = words.get(first + line * SLOTS) {
                prefetch(word);
            }
        }
    }

    pub fn get(&self, key: &Key<W>) -> Option<Entry<V>> {
        let hash = hash(self.seed, key);
        let shard = self.shards[shard_of(hash)].lock();
        match Self::find(&shard, hash, key) {
            Found::At(slot) => Self::read(&shard, slot),
            Found::Free(_) | Found::Nowhere => None,
        }
    }

    /// What shall be known of the key, decided by what is known; `None` leaves it as it is.
    pub fn update(
        &mut self,
        key: &Key<W>,
        decide: impl FnOnce(Option<Entry<V>>) -> Option<Entry<V>>,
    ) {
        let hash = hash(self.seed, key);
        let shard = self.shards[shard_of(hash)].get_mut();
        Self::update_in(shard, (&self.spill, self.seed), (hash, key), decide);
    }

    /// As [`Self::update`] of one key after the other, which are known by their places.
    pub fn update_each(
        &mut self,
        keys: &[Key<W>],
        mut decide: impl FnMut(usize, Option<Entry<V>>) -> Option<Entry<V>>,
    ) {
        let seed = self.seed;
        let hashes: Vec<u64> = keys.iter().map(|key| hash(seed, key)).collect();
        for ahead in hashes.iter().take(AHEAD) {
            Self::prefetch_in(self.shards[shard_of(*ahead)].get_mut(), *ahead);
        }
        for (at, (key, hash)) in keys.iter().zip(&hashes).enumerate() {
            if let Some(ahead) = hashes.get(at + AHEAD) {
                Self::prefetch_in(self.shards[shard_of(*ahead)].get_mut(), *ahead);
            }
            let shard = self.shards[shard_of(*hash)].get_mut();
            let decide = |known| decide(at, known);
            Self::update_in(shard, (&self.spill, seed), (*hash, key), decide);
        }
    }

    /// As [`Self::update`] of all the keys, by one of several threads. `rows` of a key stay in
    /// their order.
    pub fn update_all<T>(
        &self,
        rows: &[(Key<W>, T)],
        mut decide: impl FnMut(&T, Option<Entry<V>>) -> Option<Entry<V>>,
    ) {
        let hashes: Vec<u64> = rows.iter().map(|(key, _)| hash(self.seed, key)).collect();
        let mut ends = [0; SHARDS + 1];
        hashes
            .iter()
            .for_each(|hash| ends[shard_of(*hash) + 1] += 1);
        for shard in 0..SHARDS {
            ends[shard + 1] += ends[shard];
        }
        let (mut next, mut order) = (ends, vec![0; rows.len()]);
        for (row, hash) in hashes.iter().enumerate() {
            let place = &mut next[shard_of(*hash)];
            order[*place] = row;
            *place += 1;
        }
        // Threads begin at different shards.
        let first = hashes.first().map_or(0, |hash| shard_of(*hash));
        for shard in (first..SHARDS).chain(0..first) {
            let own = &order[ends[shard]..ends[shard + 1]];
            if own.is_empty() {
                continue;
            }
            let mut shard = self.shards[shard].lock();
            for ahead in own.iter().take(AHEAD) {
                Self::prefetch_in(&shard, hashes[*ahead]);
            }
            for (at, row) in own.iter().enumerate() {
                if let Some(ahead) = own.get(at + AHEAD) {
                    Self::prefetch_in(&shard, hashes[*ahead]);
                }
                let ((key, row), hash) = (&rows[*row], hashes[*row]);
                let decide = |known| decide(row, known);
                Self::update_in(&mut shard, (&self.spill, self.seed), (hash, key), decide);
            }
        }
    }

    fn update_in(
        shard: &mut Shard,
        (spill, seed): (&Spill, u64),
        (hash, key): (u64, &Key<W>),
        decide: impl FnOnce(Option<Entry<V>>) -> Option<Entry<V>>,
    ) {
        let slot = match Self::find(shard, hash, key) {
            Found::At(slot) => {
                let known = Self::read(shard, slot);
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
            _ => Self::grown(shard, spill, seed, key),
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
        let shard = self.shards[shard_of(hash)].get_mut();
        if let Found::At(slot) = Self::find(shard, hash, key) {
            let place = &mut shard.room.words_mut()[Self::word_of(slot, Self::PLACES)];
            shard.forgotten += usize::from(*place != FORGOTTEN);
            *place = FORGOTTEN;
        }
    }

    /// Forgets the keys that `keep` does not want, and gives back their room.
    pub fn retain(&mut self, keep: impl Fn(Entry<V>) -> bool) {
        let seed = self.seed;
        for shard in &mut self.shards {
            let shard = shard.get_mut();
            let slots = shard.room.words().len() / Self::BUCKET_WORDS * SLOTS;
            for slot in 0..slots {
                if Self::read(shard, slot).is_some_and(|entry| !keep(entry)) {
                    shard.room.words_mut()[Self::word_of(slot, Self::PLACES)] = FORGOTTEN;
                    shard.forgotten += 1;
                }
            }
            if shard.forgotten > shard.used / 4 {
                Self::copy(shard, &self.spill, seed);
            }
        }
    }

    /// What is known by a slot that is used.
    fn read(shard: &Shard, slot: usize) -> Option<Entry<V>> {
        let words = shard.room.words();
        let compared = std::array::from_fn(|at| words[Self::word_of(slot, W + at)] as i64);
        Entry::of(words[Self::word_of(slot, Self::PLACES)], compared)
    }

    fn word_of(slot: usize, line: usize) -> usize {
        slot / SLOTS * Self::BUCKET_WORDS + line * SLOTS + slot % SLOTS
    }

    fn write(shard: &mut Shard, slot: usize, entry: Entry<V>) {
        let words = shard.room.words_mut();
        for (at, compared) in entry.compared.iter().enumerate() {
            words[Self::word_of(slot, W + at)] = *compared as u64;
        }
        words[Self::word_of(slot, Self::PLACES)] = entry.place();
    }

    fn find(shard: &Shard, hash: u64, key: &Key<W>) -> Found {
        let first = bucket_of(hash, shard.buckets);
        let words = shard.room.words();
        let rest = words.get(first * Self::BUCKET_WORDS..).unwrap_or(&[]);
        for (at, bucket) in rest.chunks_exact(Self::BUCKET_WORDS).enumerate() {
            let slot = (first + at) * SLOTS;
            let (keys, rest) = bucket.split_at(W * SLOTS);
            let places = &rest[V * SLOTS..];
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
        let mut buckets = Self::buckets_of(known * 10 / 9);
        if known == shard.used {
            buckets = buckets.max(shard.buckets + 1);
        }
        while !Self::copy_into(shard, buckets, spill, seed) {
            buckets += buckets / 8 + 1;
        }
    }

    fn buckets_of(keys: usize) -> usize {
        let slots = (keys + SLOTS) * 1000 / LOAD_MAX;
        slots.div_ceil(SLOTS).max(BUCKETS_MIN)
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
            bucket[Self::PLACES * SLOTS..].fill(EMPTY);
        }
        for bucket in shard.room.words().chunks_exact(Self::BUCKET_WORDS) {
            for own in 0..SLOTS {
                let place = bucket[Self::PLACES * SLOTS + own];
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
                for line in 0..Self::LINES {
                    words[Self::word_of(slot, line)] = bucket[line * SLOTS + own];
                }
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
