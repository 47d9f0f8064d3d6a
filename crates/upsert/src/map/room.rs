//! The words of a shard: in memory as long as the budget has some, else in a file without a name,
//! which the operating system keeps in memory as far as there is some.
//!
//! Large ones ask for huge pages, as keys are looked up in no order.
//!
//! Invariant, on which the unsafe code of this file rests: what is mapped has no other user, and is
//! as long as the words; a file was made here and has no name.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapMut;
use runtime::{MemoryBudget, MemoryPermit};

/// Where keys go that the budget has no memory for.
#[derive(Clone, Debug)]
pub struct Spill {
    pub budget: MemoryBudget,
    pub folder: PathBuf,
    /// It was told that there is no disk for them either.
    told: Arc<AtomicBool>,
}

impl Spill {
    pub fn new(budget: MemoryBudget, folder: PathBuf) -> Self {
        Self {
            budget,
            folder,
            told: Arc::default(),
        }
    }

    /// A map that takes memory whatever it costs: keys must not be lost because a disk is full.
    fn failed(&self, error: &std::io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, folder = %self.folder.display(),
                "keys of upsert tables cannot go to disk, they stay in memory beyond the budget");
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Room {
    words: Words,
    /// Given back with the room.
    _permit: Option<MemoryPermit>,
}

/// So many bytes hold a huge page, wherever they begin.
const HUGE_BYTES: usize = 4 << 20;

#[derive(Debug)]
enum Words {
    Memory(Vec<u64>),
    Mapped(MmapMut),
    File(MmapMut),
}

impl Default for Words {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Room {
    /// Zeros.
    pub(super) fn new(words: usize, spill: &Spill) -> Self {
        let permit = spill.budget.try_reserve(words as u64 * 8).ok();
        let file = match permit {
            Some(_) => None,
            None => mapped(words, &spill.folder)
                .map_err(|error| spill.failed(&error))
                .ok(),
        };
        let words = match file {
            Some(file) => Words::File(file),
            None => in_memory(words),
        };
        Self {
            words,
            _permit: permit,
        }
    }

    pub(super) fn is_spilled(&self) -> bool {
        matches!(self.words, Words::File(_))
    }

    pub(super) fn words(&self) -> &[u64] {
        match &self.words {
            Words::Memory(words) => words,
            // SAFETY: a map begins at a page, its length is a multiple of 8, and any bytes are
            // words; it is only written through `words_mut`, which borrows it alone.
            Words::Mapped(map) | Words::File(map) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().cast(), map.len() / 8)
            },
        }
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.words {
            Words::Memory(words) => words,
            // SAFETY: as above; `self` is borrowed alone.
            Words::Mapped(map) | Words::File(map) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), map.len() / 8)
            },
        }
    }
}

fn in_memory(words: usize) -> Words {
    let mapped = (words * 8 >= HUGE_BYTES).then(|| MmapMut::map_anon(words * 8));
    match mapped {
        Some(Ok(map)) => {
            // A system that has none maps small ones.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            Words::Mapped(map)
        }
        _ => Words::Memory(vec![0; words]),
    }
}

/// Its blocks are taken when it is made, so that no write finds the disk full later.
fn mapped(words: usize, folder: &std::path::Path) -> std::io::Result<MmapMut> {
    std::fs::create_dir_all(folder)?;
    let file = tempfile::tempfile_in(folder)?;
    let zeros = vec![0; 1 << 20];
    let mut left = words * 8;
    let mut writer = &file;
    while left > 0 {
        let count = left.min(zeros.len());
        std::io::Write::write_all(&mut writer, &zeros[..count])?;
        left -= count;
    }
    // SAFETY: the file has no name, and this is its only handle.
    unsafe { MmapMut::map_mut(&file) }
}

/// The line of memory of `word` will be read soon.
#[inline(always)]
pub(super) fn prefetch(word: &u64) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing; the word is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}
