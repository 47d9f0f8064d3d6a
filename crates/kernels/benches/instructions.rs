//! What each kernel costs at each level: nanoseconds a row here, instructions a row in valgrind.
//!
//! `cargo bench -p kernels` prints a table. Valgrind knows no AVX-512; without valgrind there are
//! only times. Instructions are those of many rounds less those of one, so that nothing but the
//! kernel counts; 4,096 rows a round, as a scan gives them.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use kernels::*;

const ROWS: usize = 4096;
const ROUNDS: u64 = 1000;

type Kernel = (&'static str, Box<dyn FnMut()>);

fn kernels() -> Vec<Kernel> {
    let random: Vec<u64> = (0..ROWS as u64)
        .map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
        .collect();
    let bytes: Vec<u8> = random.iter().map(|v| *v as u8).collect();
    let shorts: Vec<u16> = random.iter().map(|v| *v as u16).collect();
    let ints: Vec<u32> = random.iter().map(|v| *v as u32).collect();
    let doubles: Vec<f64> = random.iter().map(|v| (*v >> 11) as f64).collect();
    let codes = bytes.clone();
    let codes_of_two = shorts.clone();
    let set = [0x8001_4002_2004_1008, 0, u64::MAX, 1];
    let wide_set = vec![0x8001_4002_2004_1008; 1024];
    let half = random[..ROWS / 64].to_vec();
    let triples = bytes.repeat(3);
    let mut widened = Vec::with_capacity(ROWS);
    let (few, counted) = (
        half.iter().map(|word| word & 0x11).collect::<Vec<_>>(),
        half.clone(),
    );
    vec![
        (
            "u8 in a range",
            filling(move |w| u8::in_range(&bytes, 9, 90, w)),
        ),
        (
            "u16 in a range",
            filling(move |w| u16::in_range(&shorts, 9, 9000, w)),
        ),
        (
            "u32 in a range",
            filling(move |w| u32::in_range(&ints, 9, 1 << 30, w)),
        ),
        (
            "u64 in a range",
            filling(move |w| u64::in_range(&random, 9, 1 << 62, w)),
        ),
        (
            "f64 in a range",
            filling(move |w| double_in_range(&doubles, 9, 1 << 62, w)),
        ),
        ("u8 in a set", filling(move |w| in_table(&codes, &set, w))),
        (
            "u16 in a set",
            filling(move |w| in_bits(&codes_of_two, &wide_set, w)),
        ),
        ("rows of a dense mask", listing(half)),
        ("rows of a sparse mask", listing(few)),
        (
            "three bytes to four",
            Box::new(move || {
                widen_triples(black_box(&triples), &mut widened);
                black_box(&widened);
            }),
        ),
        (
            "count of a mask",
            Box::new(move || {
                black_box(count_ones(black_box(&counted)));
            }),
        ),
    ]
}

fn filling(fill: impl Fn(&mut [u64]) + 'static) -> Box<dyn FnMut()> {
    let mut words = [0; ROWS / 64];
    Box::new(move || fill(black_box(&mut words)))
}

fn listing(words: Vec<u64>) -> Box<dyn FnMut()> {
    let mut rows = Vec::with_capacity(ROWS + 64);
    Box::new(move || set_bits(black_box(&words), black_box(&mut rows)))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, kernel, level, rounds] = &arguments[..]
        && word == "run"
    {
        return run(number(kernel), number(level), number(rounds) as u64);
    }
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    let columns = [
        "scalar",
        "AVX2",
        "less by",
        "ns a row: scalar",
        "NEON",
        "AVX2",
        "AVX-512",
    ];
    println!("| kernel | instructions a row: {} |", columns.join(" | "));
    println!("|---|---|---|---|---|---|---|---|");
    for (at, (name, mut kernel)) in kernels().into_iter().enumerate() {
        let counted = |level: Level| match has_valgrind {
            true => instructions(at, level),
            false => None,
        };
        let (scalar, avx2) = (counted(Level::Scalar), counted(Level::Avx2));
        let times = Level::ALL.map(|level| match level.limit() == level {
            true => format!("{:.3}", nanoseconds(&mut kernel)),
            false => "–".to_owned(),
        });
        println!(
            "| {name} | {} | {} | {} | {} |",
            shown(scalar, ""),
            shown(avx2, ""),
            shown(scalar.zip(avx2).map(|(scalar, avx2)| scalar / avx2), "×"),
            times.join(" | ")
        );
    }
}

fn number(text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

fn shown(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}{unit}"))
}

fn run(kernel: usize, level: usize, rounds: u64) {
    let level = Level::ALL[level];
    assert_eq!(level.limit(), level, "this CPU, or valgrind, has it not");
    let (_, mut kernel) = kernels().swap_remove(kernel);
    for _ in 0..rounds {
        kernel();
    }
}

/// The least of several tries, a row.
fn nanoseconds(kernel: &mut dyn FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            kernel();
        }
        least = least.min(start.elapsed().as_nanos() as f64);
    }
    least / (ROUNDS * ROWS as u64) as f64
}

/// Instructions a row; nothing where valgrind fails or lacks the level.
fn instructions(kernel: usize, level: Level) -> Option<f64> {
    let counted = |rounds: u64| -> Option<f64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["run", &kernel.to_string(), &(level as usize).to_string()])
            .arg(rounds.to_string())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let total = text
            .lines()
            .find_map(|line| line.split_once("Collected : "))?;
        output
            .status
            .success()
            .then(|| total.1.trim().parse().ok())?
    };
    Some((counted(ROUNDS + 1)? - counted(1)?) / (ROUNDS * ROWS as u64) as f64)
}
