//! Opens a damaged segment and reads all columns and indexes of it: an error or other values, never
//! a panic, a read past an array, or memory that has no relation to the file.
//!
//! An input is a list of changes of a whole file, after which its checksums are made right again:
//! so most inputs come behind the checksums, and those that are kept stay small. A panic of tantivy
//! that `index` catches and makes an error is no fault; one that comes out of a reader is.
//!
//! `cargo +nightly fuzz run segment -- -malloc_limit_mb=256 -max_len=256`

#![no_main]

#[path = "../../crates/segment/tests/hostile/good.rs"]
mod good;
#[path = "../../crates/segment/tests/hostile/harm.rs"]
mod harm;
#[path = "../../crates/segment/tests/hostile/read.rs"]
mod read;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;

use harm::{Harm, harmed};

/// More changes than these hide each other.
const HARMS_MAX: usize = 12;

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    /// Of the last panic, told when nobody caught it.
    static PANIC: Cell<String> = const { Cell::new(String::new()) };
}

fuzz_target!(
    init: set_hook(Box::new(|panic| PANIC.set(panic.to_string()))),
    |data: &[u8]| {
        let (bytes, crc) = harmed(&harms(data));
        let path = path();
        std::fs::write(&path, bytes).expect("the folder of temporary files takes a file");
        if catch_unwind(AssertUnwindSafe(|| read::read(&path, crc))).is_err() {
            eprintln!("{}", PANIC.take());
            std::process::abort();
        }
    }
);

fn path() -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            tempfile::tempdir().expect("there is a folder for temporary files")
        });
        folder.path().join("harmed.seg")
    })
}

/// Thirteen bytes are one change: its kind, a place, a value.
fn harms(mut data: &[u8]) -> Vec<Harm> {
    let mut harms = Vec::new();
    while let Some((kind, rest)) = data.split_first() {
        let Some((at, rest)) = rest.split_first_chunk() else {
            break;
        };
        let Some((value, rest)) = rest.split_first_chunk() else {
            break;
        };
        let at = u64::from(u32::from_le_bytes(*at));
        let value = u64::from_le_bytes(*value);
        harms.push(match kind % 5 {
            0 => Harm::Byte {
                at,
                value: value as u8,
            },
            1 => Harm::Word {
                at,
                value: value as u32,
            },
            2 => Harm::Number { at, value },
            3 => Harm::Text { at, value },
            _ => Harm::Swap {
                one: at,
                other: value,
            },
        });
        data = rest;
        if harms.len() == HARMS_MAX {
            break;
        }
    }
    harms
}
