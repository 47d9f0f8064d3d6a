//! The index against the definition, and what users may write.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Analyzer, AnalyzerKind, DefaultOperator, TextIndexReader, TextIndexWriter, TextMatcher,
    TextQuery,
};
use crate::CorruptIndex;

pub(super) const STOP_WORDS: [&str; 5] = ["a", "and", "of", "over", "the"];

fn standard() -> Analyzer {
    Analyzer::new(AnalyzerKind::Standard, STOP_WORDS)
}

fn build(rows: &[Vec<String>], analyzer: &Analyzer) -> Vec<Vec<u8>> {
    let mut writer = TextIndexWriter::new(analyzer.clone()).unwrap();
    for row in rows {
        match row.as_slice() {
            [one] => writer.add(one).unwrap(),
            many => writer.add_values(many.iter().map(String::as_str)).unwrap(),
        }
    }
    writer.finish().unwrap()
}

fn open(files: Vec<Vec<u8>>, analyzer: &Analyzer) -> Result<TextIndexReader, CorruptIndex> {
    TextIndexReader::open(
        files.into_iter().map(Bytes::from).collect(),
        analyzer.clone(),
    )
}

/// By the definition, row by row.
fn judged(rows: &[Vec<String>], query: &TextQuery, analyzer: &Analyzer) -> Vec<u32> {
    let mut matcher = TextMatcher::new(query, analyzer);
    (0..rows.len() as u32)
        .filter(|row| matcher.matches(rows[*row as usize].iter().map(String::as_str)))
        .collect()
}

fn rows(texts: &[&str]) -> Vec<Vec<String>> {
    texts.iter().map(|text| vec![(*text).to_owned()]).collect()
}

#[test]
fn queries_mean_what_lucene_says() {
    let rows = rows(&[
        "quick brown fox",             // 0
        "The quick red fox jumps",     // 1
        "slow brown dog",              // 2
        "machine learning, fast GPUs", // 3
        "learning machine",            // 4
        "foxes and machines",          // 5
        "",                            // 6
        "path/to/file.txt C++ 42",     // 7
    ]);
    let analyzer = standard();
    let index = open(build(&rows, &analyzer), &analyzer).unwrap();
    let cases: &[(&str, &[u32])] = &[
        ("fox", &[0, 1]),
        ("FOX dog", &[0, 1, 2]),
        ("fox AND brown", &[0]),
        ("+fox brown", &[0, 1]),
        ("+fox -brown", &[1]),
        ("brown AND NOT fox", &[2]),
        ("brown OR machine", &[0, 2, 3, 4]),
        ("quick && !red", &[0]),
        ("fox AND (brown OR red)", &[0, 1]),
        ("\"machine learning\"", &[3]),
        ("\"learning machine\"", &[4]),
        ("\"machine learning\"~2", &[3, 4]),
        ("\"quick fox\"", &[]),
        ("\"quick fox\"~1", &[0, 1]),
        ("\"foxes and machines\"", &[5]),
        ("\"foxes machines\"", &[]),
        ("fo*", &[0, 1, 5]),
        ("f?x", &[0, 1]),
        ("*ch?ne*", &[3, 4, 5]),
        ("fax~1", &[0, 1]),
        ("qucik~1", &[0, 1]),
        ("fox~", &[0, 1, 2, 5, 7]),
        ("/m[aeiou]chines?/", &[3, 4, 5]),
        ("[dog TO fox}", &[2, 3, 7]),
        ("{foxes TO *]", &[0, 1, 2, 3, 4, 5, 7]),
        ("*:*", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("-fox", &[2, 3, 4, 5, 6, 7]),
        ("the", &[]),
        ("the AND fox", &[0, 1]),
        ("file.txt", &[7]),
        ("c\\+\\+", &[7]),
        ("fox^3 dog^0.5", &[0, 1, 2]),
        ("absent", &[]),
        ("absent AND fox", &[]),
    ];
    for (text, expected) in cases {
        let query = TextQuery::parse(text, &analyzer, DefaultOperator::Or)
            .unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let found: Vec<u32> = index.search(&query).unwrap().iter().collect();
        assert_eq!(found, *expected, "index: {text} {query:?}");
        assert_eq!(
            judged(&rows, &query, &analyzer),
            *expected,
            "matcher: {text}"
        );
    }
    let both = TextQuery::parse("brown fox", &analyzer, DefaultOperator::And).unwrap();
    assert_eq!(judged(&rows, &both, &analyzer), [0]);
    assert_eq!(index.search(&both).unwrap().iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn wrong_queries_are_told_with_their_place() {
    let check = |text: &str, expected: expect_test::Expect| {
        let fault = TextQuery::parse(text, &standard(), DefaultOperator::Or).unwrap_err();
        expected.assert_eq(&fault.to_string());
    };
    use expect_test::expect;
    check(
        "",
        expect!["the text query is wrong at character 1: it is empty"],
    );
    check(
        "foo AND",
        expect!["the text query is wrong at character 8: it ends where a word was expected"],
    );
    check(
        "AND foo",
        expect!["the text query is wrong at character 1: AND and OR stand between two words"],
    );
    check(
        "a (b c",
        expect!["the text query is wrong at character 3: the bracket is not closed"],
    );
    check(
        "a b)",
        expect![
            "the text query is wrong at character 4: a closing bracket without its opening one"
        ],
    );
    check(
        "x \"open",
        expect![
            "the text query is wrong at character 3: there is no closing `\"`; write `\\\"` for the character itself"
        ],
    );
    check(
        "title:x",
        expect![
            "the text query is wrong at character 1: `title:` names a field; TEXT_MATCH searches one column, write `\\:` for the character itself"
        ],
    );
    check(
        "foo~7",
        expect![
            "the text query is wrong at character 1: a word may be 0, 1 or 2 edits away, not 7"
        ],
    );
    check(
        "a + - b",
        expect!["the text query is wrong at character 5: one sign before a word is enough"],
    );
    check(
        "[a b]",
        expect!["the text query is wrong at character 1: a range is written `[low TO high]`"],
    );
    let deep = "(".repeat(200);
    check(
        &deep,
        expect!["the text query is wrong at character 66: brackets are nested more than 64 deep"],
    );
    assert!(TextQuery::parse("/(/", &standard(), DefaultOperator::Or).is_err());
}

#[test]
fn the_same_texts_give_the_same_bytes() {
    let rows = rows(&["one two", "two three", "three"]);
    let bytes = || build(&rows, &standard());
    assert_eq!(bytes(), bytes());
}

const WORDS: [&str; 12] = [
    "fox", "foxes", "Dog", "the", "running", "runs", "zoë", "a", "x1", "over", "lazy", "foo_bar",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..9).prop_map(|words| words.join(" "))
}

fn row() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        9 => text().prop_map(|one| vec![one]),
        1 => prop::collection::vec(text(), 0..4),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let word = || prop::sample::select(&WORDS[..]);
    let leaf = prop_oneof![
        4 => word().prop_map(str::to_owned),
        3 => prop::collection::vec(word(), 1..4).prop_map(|words| format!("\"{}\"", words.join(" "))),
        1 => (prop::collection::vec(word(), 2..4), 1_u32..4)
            .prop_map(|(words, slop)| format!("\"{}\"~{slop}", words.join(" "))),
        1 => word().prop_map(|word| format!("{}*", word.chars().take(2).collect::<String>())),
        1 => word().prop_map(|word| format!("?{}*", word.chars().skip(1).take(2).collect::<String>())),
        1 => (word(), 1_u32..3).prop_map(|(word, edits)| format!("{word}~{edits}")),
        1 => word().prop_map(|word| format!("[{} TO *]", word.to_lowercase())),
        1 => Just("/[a-g].*/".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let signed = (prop::sample::select(&["", "", "+", "-", "NOT "][..]), inner)
            .prop_map(|(sign, query)| format!("{sign}{query}"));
        prop::collection::vec(
            (prop::sample::select(&["", "", "AND", "OR"][..]), signed),
            1..4,
        )
        .prop_map(|parts| {
            let mut query = String::new();
            for (at, (join, part)) in parts.iter().enumerate() {
                if at > 0 {
                    query.push_str(&format!(" {join} "));
                }
                query.push_str(part);
            }
            format!("({query})")
        })
    })
}

fn analyzer() -> impl Strategy<Value = Analyzer> {
    let kinds = [
        AnalyzerKind::Standard,
        AnalyzerKind::Whitespace,
        AnalyzerKind::Keyword,
        AnalyzerKind::English,
    ];
    let stops = prop::sample::select(vec![vec![], STOP_WORDS.to_vec()]);
    (prop::sample::select(kinds.to_vec()), stops)
        .prop_map(|(kind, stops)| Analyzer::new(kind, stops))
}

proptest! {
    #[test]
    fn the_index_says_what_the_matcher_says(
        rows in prop::collection::vec(row(), 1..60),
        queries in prop::collection::vec(query(), 1..8),
        analyzer in analyzer(),
        and in any::<bool>(),
    ) {
        let index = open(build(&rows, &analyzer), &analyzer).unwrap();
        index.verify().unwrap();
        let default = if and { DefaultOperator::And } else { DefaultOperator::Or };
        for text in queries {
            let query = TextQuery::parse(&text, &analyzer, default).unwrap();
            let found: Vec<u32> = index.search(&query).unwrap().iter().collect();
            prop_assert_eq!(found, judged(&rows, &query, &analyzer), "{}: {:?}", text, query);
        }
    }

    #[test]
    fn any_text_is_a_query_or_a_fault(text in "\\PC{0,30}") {
        let _ = TextQuery::parse(&text, &standard(), DefaultOperator::Or);
    }

    /// Whatever is in the files, reading ends in an answer or an error.
    #[test]
    fn damaged_bytes_never_panic(file in 0_usize..7, at in any::<u32>(), bit in 0_u8..8) {
        let rows: Vec<Vec<String>> = (0..300)
            .map(|n| vec![format!("fox {} dog {} the end", n % 7, n)])
            .collect();
        let analyzer = standard();
        let mut files = build(&rows, &analyzer);
        let count = files.len();
        let bytes = &mut files[file % count];
        let at = at as usize % bytes.len();
        bytes[at] ^= 1 << bit;
        let opened = open(files, &analyzer).ok().filter(|index| index.doc_count() == 300);
        if let Some(index) = opened {
            let _ = index.verify();
            for text in ["fox AND dog", "\"fox 3 dog\"", "1*", "do?", "dig~1"] {
                let query = TextQuery::parse(text, &analyzer, DefaultOperator::Or).unwrap();
                if let Ok(found) = index.search(&query) {
                    prop_assert!(found.max().is_none_or(|last| last < 300));
                }
            }
        }
    }
}
