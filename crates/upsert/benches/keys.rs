//! What a key costs in the key map: `cargo bench -p upsert --bench keys -- [keys]`. Nanoseconds
//! that this thread was on a processor, and bytes, a key.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::hint::black_box;

use runtime::MemoryBudget;
use upsert::{Entry, Key, KeyMap, Spill};

const BATCH: usize = 4096;

/// The key of a row, of so many.
type Number = fn(u64, u64) -> u64;

fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9e37_79b9) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

/// Seconds, which others that want the processor do not change much.
fn on_processor() -> Result<f64, Box<dyn Error>> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = times.split(' ').next().unwrap_or_default();
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

fn run<const W: usize>(
    name: &str,
    keys: usize,
    key: impl Fn(u64) -> Key<W>,
) -> Result<(), Box<dyn Error>> {
    let budget = MemoryBudget::root("keys", u64::MAX);
    let mut map = KeyMap::<W>::new(7, Spill::new(budget, std::env::temp_dir()));
    let passes: [(&str, Number); 3] = [
        ("new", |at, _| at),
        ("known, in the order in which they came", |at, _| at),
        ("known, in no order", |at, keys| mix(at) % keys),
    ];
    for (what, number) in passes {
        let began = on_processor()?;
        let mut batch = Vec::with_capacity(BATCH);
        for first in (0..keys).step_by(BATCH) {
            let numbers = first..keys.min(first + BATCH);
            batch.clear();
            batch.extend(numbers.map(|at| key(number(at as u64, keys as u64))));
            map.update_each(&batch, |at, known| {
                Some(Entry {
                    offset: (first + at) as i64,
                    compared: known.map_or([0], |known| [known.compared[0] + 1]),
                    deleted: false,
                })
            });
        }
        let ns = (on_processor()? - began) * 1e9 / keys as f64;
        let bytes = map.bytes() as f64 / map.len() as f64;
        println!("{name}, {what}: {ns:.0} ns a key, {bytes:.1} bytes a key");
        black_box(&map);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.find_map(|argument| argument.parse().ok());
    let keys = keys.unwrap_or(10_000_000);
    println!("{keys} keys");
    run("64 bits", keys, |at| [at * 10])?;
    run("128 bits", keys, |at| [mix(at), mix(at ^ 0x5555)])
}
