//! What the machine has, for sizes that settings leave to us, and what it gets back.

use std::fs;

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

/// Gives the allocator's free pages back to the system. By itself it does so only while it is
/// used: a node that fell silent after a load would keep them.
pub(crate) fn give_back_memory() {
    // SAFETY: may be called at any time from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
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
