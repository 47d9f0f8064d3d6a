//! Files that mean harm: damaged at random places, with every checksum made right again. Reading
//! one is an error or gives some values; it never panics, reads past an array or asks for memory
//! that has no relation to the file.
//!
//! Runs 256 cases; `PROPTEST_CASES` asks for more.

#![allow(clippy::unwrap_used, reason = "tests")]

mod good;
mod harm;
mod read;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use self::good::good;
use self::harm::{Harm, harmed};
use self::read::read;

/// Remembers the largest piece of memory that was asked for.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is given on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Texts of UUIDs, views and LZ4 blocks may take a multiple of what the file has of them.
const EXPANSION_MAX: usize = 64;

fn harm() -> impl Strategy<Value = Harm> {
    let limit = prop::sample::select(vec![0, 1, 255, 4096, 5000, 5001, 1 << 31, u32::MAX]);
    let wide = prop_oneof![
        limit.clone().prop_map(u64::from),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        any::<u64>(),
    ];
    prop_oneof![
        (any::<u64>(), any::<u8>()).prop_map(|(at, value)| Harm::Byte { at, value }),
        (any::<u64>(), limit).prop_map(|(at, value)| Harm::Word { at, value }),
        (any::<u64>(), wide).prop_map(|(at, value)| Harm::Number { at, value }),
        (any::<u64>(), any::<u64>()).prop_map(|(at, value)| Harm::Text { at, value }),
        (any::<u64>(), any::<u64>()).prop_map(|(one, other)| Harm::Swap { one, other }),
    ]
}

proptest! {
    #[test]
    fn harm_is_an_error_or_another_value(harms in prop::collection::vec(harm(), 1..4)) {
        let (bytes, crc) = harmed(&harms);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harmed.seg");
        std::fs::write(&path, &bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        if let Err(error) = read(&path, crc) {
            prop_assert!(!error.to_string().is_empty());
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        prop_assert!(largest <= bytes.len() * EXPANSION_MAX, "{largest} bytes at once");
    }

    #[test]
    fn any_bytes_after_a_header_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        fixed: bool,
    ) {
        let mut file = good()[..64].to_vec();
        file[40..48].copy_from_slice(&64_u64.to_le_bytes());
        file[48..56].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        if fixed {
            file[12..16].copy_from_slice(&crc.to_le_bytes());
            let header_crc = crc32c::crc32c(&file[..60]);
            file[60..64].copy_from_slice(&header_crc.to_le_bytes());
        }
        file.extend_from_slice(&bytes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes.seg");
        std::fs::write(&path, &file).unwrap();
        prop_assert!(read(&path, crc).is_err());
    }
}

#[test]
fn without_harm_it_is_whole() {
    let (bytes, crc) = harmed(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.seg");
    std::fs::write(&path, &bytes).unwrap();
    read(&path, crc).unwrap();
}
