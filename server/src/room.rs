//! Whether the disk has room for what is consumed.
//!
//! Invariant: what stops for lack of room goes on only when there is a tenth more than has to be,
//! so that it does not stop and go on again and again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Room {
    least: u64,
    free: AtomicU64,
    is_short: AtomicBool,
}

impl Room {
    pub(crate) fn new(least: u64) -> Self {
        Self {
            least,
            free: AtomicU64::new(u64::MAX),
            is_short: AtomicBool::new(false),
        }
    }

    /// Whether something changed that others should know.
    pub(crate) fn measured(&self, free: u64) -> bool {
        self.free.store(free, Ordering::Relaxed);
        let was = self.is_short.load(Ordering::Relaxed);
        let enough = match was {
            true => self.least.saturating_add(self.least / 10),
            false => self.least,
        };
        let is_short = free < enough;
        if is_short != was {
            tracing::warn!(free, least = self.least, is_short, "room on the disk");
        }
        self.is_short.swap(is_short, Ordering::Relaxed) != is_short
    }

    /// Why nothing is consumed.
    pub(crate) fn short(&self) -> Option<String> {
        let is_short = self.is_short.load(Ordering::Relaxed);
        is_short.then(|| {
            let free = self.free.load(Ordering::Relaxed) >> 20;
            let least = self.least >> 20;
            format!(
                "the disk of this server has {free} MiB left, and server.disk_free_bytes_min are \
                 {least} MiB: make room, or let segments go to other servers"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_a_tenth_more() {
        let room = Room::new(1000 << 20);
        assert_eq!(room.short(), None);
        assert!(!room.measured(1000 << 20));
        assert!(room.measured(999 << 20));
        assert!(room.short().unwrap().contains("has 999 MiB left"));
        assert!(!room.measured(1050 << 20), "still short");
        assert!(room.short().is_some());
        assert!(room.measured(1100 << 20));
        assert_eq!(room.short(), None);
    }
}
