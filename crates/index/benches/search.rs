//! Text and JSON indexes over generated rows: how fast they are built, how large they are, what a
//! query costs, and what it costs without them.
//!
//! `cargo bench -p index --bench search -- 2500000` (rows of one segment)

#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use index::json::{
    Flattening, JsonExtractor, JsonFilter, JsonIndexReader, JsonIndexWriter, JsonMatcher, JsonPath,
};
use index::text::{
    Analyzer, AnalyzerKind, DefaultOperator, TextIndexReader, TextIndexWriter, TextMatcher,
    TextQuery,
};

const WORDS: u64 = 50_000;
const ROUNDS: usize = 15;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Zipf-like: word `n` about `1 / n` as often as the first.
    fn word(&mut self) -> u64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (WORDS as f64).powf(share) as u64 - 1
    }
}

/// Word 0 is the most frequent.
fn word(number: u64) -> String {
    const LETTERS: &[u8] = b"etaoinshrdlu";
    let mut rest = number + LETTERS.len() as u64;
    let mut word = String::new();
    while rest > 0 {
        word.push(char::from(LETTERS[(rest % LETTERS.len() as u64) as usize]));
        rest /= LETTERS.len() as u64;
    }
    word
}

fn texts(rows: u64) -> Vec<String> {
    let mut random = Random(1);
    let words: Vec<String> = (0..WORDS).map(word).collect();
    (0..rows)
        .map(|_| {
            let count = 4 + random.next() % 9;
            let words = (0..count).map(|_| words[random.word() as usize].as_str());
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn documents(rows: u64) -> Vec<String> {
    let mut random = Random(2);
    (0..rows)
        .map(|row| {
            let (user, kind, price) = (random.word(), random.next() % 20, random.next() % 1_000);
            let (first, second) = (random.next() % 300, random.next() % 300);
            format!(
                r#"{{"user":{{"id":{user},"vip":{}}},"kind":"k{kind}","price":{price},
                "items":[{{"sku":"s{first}","n":1}},{{"sku":"s{second}","n":2}}],"row":{}}}"#,
                user % 10 == 0,
                row % 1_000
            )
        })
        .collect()
}

/// The median of some runs.
fn median<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn told(what: &str, rows: u64, took: Duration, bytes: usize) {
    println!(
        "{what}: {:.0} rows/s, {:.1} bytes a row",
        rows as f64 / took.as_secs_f64(),
        bytes as f64 / rows as f64
    );
}

fn text(rows: u64) {
    let texts = texts(rows);
    let plain: usize = texts.iter().map(String::len).sum();
    println!("texts: {:.1} bytes a row", plain as f64 / rows as f64);
    let analyzer = Analyzer::new(AnalyzerKind::Standard, ["the", "a"]);
    let start = Instant::now();
    let mut writer = TextIndexWriter::new(analyzer.clone()).expect("a writer");
    for text in &texts {
        writer.add(text).expect("a row fits");
    }
    let files = writer.finish().expect("an index");
    let bytes = files.iter().map(Vec::len).sum();
    told("text index", rows, start.elapsed(), bytes);
    let files: Vec<Bytes> = files.into_iter().map(Bytes::from).collect();
    let open = || TextIndexReader::open(files.clone(), analyzer.clone()).expect("it opens");
    println!("open: {:?}", median(open));
    let index = open();
    let common = word(3);
    let queries = [
        ("frequent term", common.clone()),
        ("rare term", word(20_000)),
        (
            "phrase of frequent terms",
            format!("\"{} {}\"", word(2), common),
        ),
        ("phrase", format!("\"{} {}\"", word(40), word(90))),
        (
            "phrase of three",
            format!("\"{} {} {}\"", word(5), word(1), word(30)),
        ),
        ("frequent AND rare", format!("{common} AND {}", word(5_000))),
        (
            "five terms, any",
            (50..55).map(word).collect::<Vec<_>>().join(" "),
        ),
        ("prefix", format!("{}*", &word(3_000)[..3])),
        ("fuzzy 1", format!("{}~1", word(9_000))),
        ("pattern", "*tta*".to_owned()),
    ];
    for (what, text) in queries {
        let query = TextQuery::parse(&text, &analyzer, DefaultOperator::Or).expect("a query");
        let hits = index.search(&query).expect("an answer").len();
        let took = median(|| index.search(&query));
        let some = &texts[..texts.len().min(100_000)];
        let mut matcher = TextMatcher::new(&query, &analyzer);
        let start = Instant::now();
        let judged = some
            .iter()
            .filter(|text| matcher.matches([text.as_str()]))
            .count();
        let each = start.elapsed().as_nanos() as usize / some.len();
        black_box(judged);
        println!("{what} `{text}`: {hits} hits in {took:?}; without the index {each} ns a row");
    }
}

fn json(rows: u64) {
    let documents = documents(rows);
    let plain: usize = documents.iter().map(String::len).sum();
    println!("documents: {:.1} bytes a row", plain as f64 / rows as f64);
    let whole = Flattening::default();
    let start = Instant::now();
    let mut writer = JsonIndexWriter::new(whole.clone());
    for document in &documents {
        writer.add(document).expect("a row fits");
    }
    let parts = writer.finish().expect("an index");
    let bytes = parts.iter().map(Vec::len).sum();
    told("JSON index", rows, start.elapsed(), bytes);
    let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
    let open = || JsonIndexReader::open(parts.clone()).expect("it opens");
    println!("open: {:?}", median(open));
    let index = open();
    for text in [
        r#""$.kind" = 'k3'"#,
        r#""$.user.id" = 5000"#,
        r#""$.items[*].sku" = 's7' AND "$.items[*].n" = 2"#,
        r#""$.price" > 990 AND "$.user.vip" = true"#,
        r#""$.kind" <> 'k3' AND "$.row" IN (1, 2, 3)"#,
    ] {
        let filter = JsonFilter::parse(text).expect("a filter");
        let hits = index.search(&filter).expect("an answer").len();
        let took = median(|| index.search(&filter));
        let some = &documents[..documents.len().min(50_000)];
        let mut matcher = JsonMatcher::new(&filter, &whole);
        let start = Instant::now();
        let judged = some
            .iter()
            .filter(|document| matcher.matches(document))
            .count();
        let each = start.elapsed().as_nanos() as usize / some.len();
        black_box(judged);
        println!("{text}: {hits} hits in {took:?}; by parsing {each} ns a row");
    }
    for text in ["$.kind", "$.user.id", "$.price", "$.items[1].sku"] {
        let path = JsonPath::parse(text).expect("a path");
        let distinct = index.values(&path, None).expect("an answer").values.len();
        let took = median(|| index.values(&path, None));
        let some = &documents[..documents.len().min(50_000)];
        let mut extractor = JsonExtractor::new(&path, None, &whole);
        let start = Instant::now();
        let found = some
            .iter()
            .filter_map(|document| extractor.value(document))
            .count();
        let each = start.elapsed().as_nanos() as usize / some.len();
        black_box(found);
        println!("values of {text}: {distinct} in {took:?}; by parsing {each} ns a row");
    }
}

fn main() {
    let rows = std::env::args().find_map(|arg| arg.parse().ok());
    let rows = rows.unwrap_or(200_000);
    text(rows);
    json(rows);
}
