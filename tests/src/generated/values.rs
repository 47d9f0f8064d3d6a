//! What the columns of a drawn table hold.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

/// Days of the time column, from 2024-01-01.
const DAYS: i64 = 40;
const FIRST_MS: i64 = 1_704_067_200_000;

/// No word is left out by analyzers, nor the begin of another.
pub(super) const SPOKEN: &[&str] = &["alpha", "beta", "gamma", "delta", "omega", "query", "rust"];

#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    RowNumber,
    Flag,
    Words(&'static [&'static str]),
    Never,
    /// Of so many names, the first ones most often.
    Named(&'static str, u64),
    Long,
    /// Longer than most texts, and no two alike.
    Memo,
    Between(i64, i64),
    Skewed(i64),
    Random,
    Extreme32,
    Extreme64,
    Cents(f64),
    Eighths(i64),
    AnyDouble,
    Quarters,
    Hex(u64),
    Uuid(u64),
    Time,
    /// Whole ones, of so many.
    Hours(i64),
    /// Of some of [`SPOKEN`], each a word for a text index.
    Sentence,
    /// With a word `k`, a number `n` and words `tags`, for a JSON index.
    Document,
    Tags(u64),
    Numbers(i64),
}

impl Values {
    /// One value of a row.
    pub(super) fn draw(self, random: &mut SmallRng, row: usize) -> Value {
        match self {
            Self::RowNumber => json!(row),
            Self::Flag => json!(random.random_bool(0.4)),
            Self::Quarters => {
                let quarters = random.random_range(-400_000..400_000);
                json!(format!("{:.2}", f64::from(quarters) / 4.0))
            }
            Self::Between(low, high) => json!(random.random_range(low..=high)),
            Self::Skewed(below) => json!(skewed(random, below as u64)),
            Self::Random => json!(random.random_range(0..i64::MAX)),
            Self::Extreme32 => {
                let edges = [i64::from(i32::MIN), -1, 0, 1, i64::from(i32::MAX)];
                json!(edges[random.random_range(0..edges.len())])
            }
            Self::Extreme64 => {
                let edges = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
                json!(edges[random.random_range(0..edges.len())])
            }
            Self::Cents(share) if random.random_bool(share) => {
                json!(f64::from(random.random_range(1..100_000)) / 100.0)
            }
            Self::Cents(_) => json!(0.0),
            Self::Eighths(below) => json!(random.random_range(0..below) as f64 / 8.0),
            Self::AnyDouble => match random.random_range(0..20) {
                0 => json!("NaN"),
                1 => json!("Infinity"),
                2 => json!("-Infinity"),
                3 => json!(1e300),
                4 => json!(5e-324),
                _ => json!(random.random_range(-1e6..1e6)),
            },
            Self::Time => {
                json!(FIRST_MS + random.random_range(0..DAYS * 86_400) * 1000)
            }
            Self::Hours(below) => {
                json!(FIRST_MS + random.random_range(0..below) * 3_600_000)
            }
            Self::Numbers(below) => {
                let count = 1 + random.random_range(0..4);
                let number = |_| random.random_range(0..below);
                json!((0..count).map(number).collect::<Vec<i64>>())
            }
            texts => texts.text(random, row),
        }
    }

    fn text(self, random: &mut SmallRng, row: usize) -> Value {
        match self {
            Self::Words(words) => json!(words[random.random_range(0..words.len())]),
            Self::Named(of, count) => json!(format!("{of} {}", skewed(random, count))),
            Self::Long => {
                let (host, page) = (skewed(random, 9), random.random_range(0..100_000));
                json!(format!(
                    "https://host{host}.example.com/shop/item/{page:05}?ref=mail"
                ))
            }
            Self::Never => json!("never"),
            Self::Memo => {
                let words: Vec<&str> = (0..12).map(|_| spoken(random)).collect();
                json!(format!(
                    "{} {row} {}",
                    words.join("-"),
                    "äö ".repeat(row % 40)
                ))
            }
            Self::Hex(count) => {
                let number = skewed(random, count);
                let hex = format!("{:06x}", number * 0x3_fbcd);
                json!(&hex[..2 * (number as usize % 4)])
            }
            Self::Uuid(count) => {
                let number = u128::from(skewed(random, count)) * 0x9e37_79b9_7f4a_7c15_0123_4567;
                let hex = format!("{number:032x}");
                let parts = [
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..16],
                    &hex[16..20],
                    &hex[20..],
                ];
                json!(parts.join("-"))
            }
            Self::Sentence => {
                let words = random.random_range(1..8);
                let words = (0..words).map(|_| spoken(random)).collect::<Vec<_>>();
                json!(words.join(" "))
            }
            Self::Document => {
                let tags: Vec<&str> = (0..random.random_range(0..4))
                    .map(|_| spoken(random))
                    .collect();
                let n = random.random_range(0..50);
                json!(json!({ "k": spoken(random), "n": n, "tags": tags }).to_string())
            }
            Self::Tags(count) => {
                let tags = 1 + random.random_range(0..3);
                let tag = |_| format!("tag{}", skewed(random, count));
                json!((0..tags).map(tag).collect::<Vec<String>>())
            }
            _ => Value::Null,
        }
    }
}

/// Small numbers far more often than great ones.
fn skewed(random: &mut SmallRng, below: u64) -> u64 {
    let share: f64 = random.random();
    ((below as f64) * share * share * share) as u64
}

fn spoken(random: &mut SmallRng) -> &'static str {
    SPOKEN[skewed(random, SPOKEN.len() as u64) as usize]
}
