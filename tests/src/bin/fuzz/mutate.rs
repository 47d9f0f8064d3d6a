//! Inputs: statements of the corpus with words taken away, put in, exchanged and repeated, and
//! bodies with bytes changed.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::corpus::Corpus;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Standard,
    Pinot,
    MultiStage,
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Statement { door: Door, sql: String },
    Body { door: Door, bytes: Vec<u8> },
}

/// What dialects and the planner know, beside what the statements say.
const WORDS: &[&str] = &[
    "SELECT ",
    "FROM ",
    "WHERE ",
    "GROUP BY ",
    "ORDER BY ",
    "HAVING ",
    "LIMIT ",
    "OFFSET ",
    "JOIN ",
    "LEFT ASOF JOIN ",
    "MATCH_CONDITION (",
    "ON ",
    "USING (",
    "NATURAL ",
    "CROSS JOIN ",
    "LATERAL ",
    "FULL JOIN ",
    "SEMI JOIN ",
    "UNION ALL ",
    "INTERSECT ALL ",
    "EXCEPT ALL ",
    "SAMPLE BY 1h ",
    "FILL(LINEAR) ",
    "GAPFILL(",
    "LOOKUP(",
    "OVER (",
    "PARTITION BY ",
    "ROWS BETWEEN ",
    "RANGE ",
    "GROUPS ",
    "UNBOUNDED PRECEDING ",
    "CURRENT ROW ",
    "QUALIFY ",
    "WINDOW w AS (",
    "WITH t AS (",
    "DISTINCT ",
    "CASE WHEN ",
    "ELSE ",
    "END ",
    "CAST(",
    "AS ",
    "BETWEEN SYMMETRIC ",
    "NOT ",
    "IN (",
    "EXISTS (",
    "ALL (",
    "ANY (",
    "IS DISTINCT FROM ",
    "NULL ",
    "VALUES ",
    "UNNEST(",
    "ROLLUP(",
    "GROUPING SETS (",
    "CUBE(",
    "FILTER (WHERE ",
    "WITHIN GROUP (",
    "IGNORE NULLS ",
    "INTERVAL '1 day' ",
    "SET ",
    "OPTION(",
    "EXPLAIN PLAN FOR ",
    "SHOW TABLES ",
    "DESCRIBE ",
    "TIMESTAMP '2013-01-01 00:00:00' ",
    "date_trunc('week', ",
    "time_bucket('5 minutes', ",
    "DATETIMECONVERT(",
    "JSON_EXTRACT_SCALAR(",
    "TEXT_MATCH(",
    "PERCENTILETDIGEST(",
    "DISTINCTCOUNTHLL(",
    "ARRAY[",
    "FETCH FIRST 3 ROWS ONLY ",
    "WITH ORDINALITY ",
    "TABLE ",
    "*",
    "(",
    ")",
    ",",
    ";",
    "::",
    "||",
    "<=>",
    "<>",
    "?",
    "$1",
    "@x",
    "/* ",
    "--",
];
const LITERALS: &[&str] = &[
    "0 ",
    "-1 ",
    "9223372036854775807 ",
    "9223372036854775808 ",
    "-9223372036854775808 ",
    "1e308 ",
    "1e999 ",
    "0.000000000000000000000000000000000000001 ",
    "99999999999999999999999999999999999999999 ",
    "'' ",
    "'\u{0}' ",
    "'äöü🦀' ",
    "'%' ",
    "'\\' ",
    "'2013-13-45' ",
    "'NaN' ",
    "X'00ff' ",
    "X'0' ",
    "true ",
    "INTERVAL '999999999 years' ",
    "DATE '0000-00-00' ",
    "TIMESTAMP '9999-12-31 23:59:59.999999999' ",
    "'P1D' ",
    "'1:MILLISECONDS:EPOCH' ",
    "'America/New_York' ",
    "NULL ",
    "CAST(NULL AS BIGINT) ",
];
const NESTED: &[(&str, &str, usize)] = &[
    ("(", ")", 3_000),
    ("(SELECT ", ")", 300),
    ("NOT ", "", 3_000),
    ("- ", "", 3_000),
    ("abs(", ")", 600),
    ("CASE WHEN true THEN ", " END", 300),
    ("ARRAY[", "]", 600),
    ("(1 + ", ")", 900),
    ("a.", "", 3_000),
    ("x AND ", "", 3_000),
    ("SELECT * FROM (", ") t", 200),
    ("SELECT 1 UNION ALL ", "", 400),
    ("CAST(", " AS BIGINT)", 400),
    ("1, ", "", 20_000),
];

/// Of a statement; few leave it one that is planned.
const CHANGES: [usize; 8] = [1, 1, 1, 2, 2, 3, 5, 8];

impl Input {
    pub(crate) fn make(corpus: &Corpus, random: &mut SmallRng) -> Self {
        let door = [Door::Standard, Door::Pinot, Door::MultiStage][random.random_range(0..3)];
        let sql = statement(corpus, random);
        if random.random_bool(0.75) {
            return Self::Statement { door, sql };
        }
        let bytes = body(door, &sql, random);
        Self::Body { door, bytes }
    }
}

fn statement(corpus: &Corpus, random: &mut SmallRng) -> String {
    let mut tokens = any(corpus, random).clone();
    for _ in 0..*CHANGES.choose(random).unwrap_or(&1) {
        change(&mut tokens, corpus, random);
    }
    let mut sql = tokens.concat();
    if random.random_bool(0.02) {
        let (open, close, most) = NESTED[random.random_range(0..NESTED.len())];
        let count = random.random_range(1..=most);
        let at = place(&sql, random);
        let nested = open.repeat(count) + "1" + &close.repeat(count);
        sql.insert_str(at, &nested);
    }
    if random.random_bool(0.1) {
        let odd = [
            '\u{0}', '\u{7f}', '\u{202e}', '🦀', '\'', '"', '\\', '\u{feff}', '\n',
        ];
        let at = place(&sql, random);
        sql.insert(at, *odd.choose(random).unwrap_or(&'\''));
    }
    if random.random_bool(0.1) {
        sql = format!("EXPLAIN PLAN FOR {sql}");
    }
    sql
}

fn any<'a>(corpus: &'a Corpus, random: &mut SmallRng) -> &'a Vec<String> {
    &corpus.statements[random.random_range(0..corpus.statements.len())]
}

/// Between two characters.
fn place(text: &str, random: &mut SmallRng) -> usize {
    let mut at = random.random_range(0..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn change(tokens: &mut Vec<String>, corpus: &Corpus, random: &mut SmallRng) {
    if tokens.is_empty() {
        tokens.push("SELECT ".to_owned());
    }
    let at = random.random_range(0..tokens.len());
    let length = 1 + random.random_range(0..6).min(tokens.len() - at - 1);
    match random.random_range(0..10) {
        0 => drop(tokens.drain(at..at + length)),
        1 => {
            let again = tokens[at..at + length].to_vec();
            tokens.splice(at..at, again);
        }
        2 => {
            let other = random.random_range(0..tokens.len());
            tokens.swap(at, other);
        }
        3 | 4 => tokens.insert(at, (*WORDS.choose(random).unwrap_or(&"(")).to_owned()),
        5 => tokens[at] = (*LITERALS.choose(random).unwrap_or(&"0 ")).to_owned(),
        6 => {
            let other = any(corpus, random);
            let from = random.random_range(0..other.len());
            let until = (from + random.random_range(1..12)).min(other.len());
            tokens.splice(at..at + length, other[from..until].iter().cloned());
        }
        7 => {
            let other = any(corpus, random);
            let from = random.random_range(0..other.len());
            tokens.truncate(at);
            tokens.extend(other[from..].iter().cloned());
        }
        8 => {
            let inner = tokens[at..at + length].concat();
            tokens.splice(at..at + length, [format!("({inner}) ")]);
        }
        _ => {
            let other = any(corpus, random).concat();
            tokens[at] = format!("({other}) ");
        }
    }
}

fn body(door: Door, sql: &str, random: &mut SmallRng) -> Vec<u8> {
    let options = match door {
        Door::Standard => json!({ "timeoutMs": "500", "enableNullHandling": "true" }),
        _ => json!("timeoutMs=500;enableNullHandling=true"),
    };
    let name = if door == Door::Standard {
        "options"
    } else {
        "queryOptions"
    };
    let mut whole = json!({ "sql": sql, name: options });
    let odd = [
        json!(null),
        json!(1),
        json!([]),
        json!({}),
        json!([["x"]]),
        json!(true),
        json!(1e308),
        json!({ "sql": "SELECT 1" }),
        json!("x=1;x=2;;=;y"),
    ];
    match random.random_range(0..8) {
        0 => whole["sql"] = odd.choose(random).cloned().unwrap_or_default(),
        1 => whole[name] = odd.choose(random).cloned().unwrap_or_default(),
        2 => whole["trace"] = odd.choose(random).cloned().unwrap_or_default(),
        3 => whole = Value::Array(vec![whole]),
        _ => {}
    }
    let mut bytes = whole.to_string().into_bytes();
    match random.random_range(0..6) {
        0 => {
            let twice = format!("{{\"sql\": \"SELECT 1\", \"sql\": {}}}", json!(sql));
            bytes = twice.into_bytes();
        }
        1 => {
            let deep = random.random_range(1..20_000);
            bytes = "[".repeat(deep).into_bytes();
        }
        _ => {}
    }
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 => bytes.truncate(at + 1),
            2 => bytes.insert(at, *b"{}[]\",:\\u0\xff".choose(random).unwrap_or(&b'"')),
            _ => drop(bytes.remove(at)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
