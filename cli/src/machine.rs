//! What the machine has, for sizes that settings leave to us, and what it gets back.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// Without /proc: enough for a laptop, too little to hurt one.
const FALLBACK_BYTES: u64 = 4 << 30;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that this process may use: of the machine, or of its control group when that is less.
pub(crate) fn memory_bytes() -> u64 {
    let of_machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text))
        .unwrap_or(FALLBACK_BYTES);
    let of_group = fs::read_to_string("/sys/fs/cgroup/memory.max");
    let of_group = of_group.ok().and_then(|text| text.trim().parse().ok());
    of_group.map_or(of_machine, |limit: u64| limit.min(of_machine))
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `mi_option_purge_delay` of mimalloc's `mi_option_e`; the crate names only some of them.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Longer than between two statements of a busy node, which would else give its pages back and
/// have them zeroed again for each.
const PURGE_AFTER_MS: std::ffi::c_long = 1_000;

/// Free pages go back to the system soon. To be called before anything is started.
pub(crate) fn keep_memory_small() {
    // SAFETY: options may be set at any time; this one exists in versions 2 and 3.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_AFTER_MS) };
}

/// How often memory was to be given back.
static ROUNDS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Of them, those of which the thread has given back what it keeps.
    static ROUNDS_SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Lets free pages go that would else stay: by themselves allocators look only while they are used,
/// and a node that fell silent after a load would keep them. Threads give back their own when they
/// are done ([`give_back_own_memory`]), libraries in C have theirs of the system.
pub(crate) fn give_back_memory() {
    ROUNDS.fetch_add(1, Ordering::Relaxed);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back what this thread keeps, which no other can, once for each time that memory is given
/// back. To be called when it has nothing to do.
pub(crate) fn give_back_own_memory() {
    let rounds = ROUNDS.load(Ordering::Relaxed);
    if ROUNDS_SEEN.replace(rounds) != rounds {
        // SAFETY: may be called at any time from any thread.
        unsafe { libmimalloc_sys::mi_collect(true) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        assert_eq!(
            total_of("MemTotal:       24 kB\nMemFree: 3 kB\n"),
            Some(24 * 1024)
        );
        assert!(memory_bytes() > 1 << 20);
    }
}
