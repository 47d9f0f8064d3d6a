//! The index against the definition, and what users may write.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Extracted, Flattening, JsonExtractor, JsonFilter, JsonIndexReader, JsonIndexWriter,
    JsonMatcher, JsonPath, PathTree,
};

fn parts(documents: &[String], flattening: &Flattening) -> Vec<Bytes> {
    let mut writer = JsonIndexWriter::new(flattening.clone());
    documents.iter().for_each(|one| writer.add(one).unwrap());
    let parts = writer.finish().unwrap();
    parts.into_iter().map(Bytes::from).collect()
}

fn index(documents: &[String], flattening: &Flattening) -> JsonIndexReader {
    let index = JsonIndexReader::open(parts(documents, flattening)).unwrap();
    assert_eq!(index.doc_count() as usize, documents.len());
    index
}

fn judged(documents: &[String], filter: &JsonFilter, flattening: &Flattening) -> Vec<u32> {
    let mut matcher = JsonMatcher::new(filter, flattening);
    (0..documents.len() as u32)
        .filter(|doc| matcher.matches(&documents[*doc as usize]))
        .collect()
}

fn people() -> Vec<String> {
    [
        r#"{"name":"adam","age":20,"addresses":[{"country":"us","street":"main","number":1},
            {"country":"ca","street":"second","number":2}],"skills":["rust","sql"]}"#,
        r#"{"name":"bob","age":25.5,"addresses":[{"country":"ca","street":"main","number":3}]}"#,
        r#"{"name":"eve","age":null,"address":{"city":{"zip":"01"}},"admin":true}"#,
        r#"{}"#,
        r#"no json"#,
        r#""text""#,
        r#"[1,[2,3]]"#,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn check(flattening: &Flattening, cases: &[(&str, &[u32])]) {
    let documents = people();
    let index = index(&documents, flattening);
    for (text, expected) in cases {
        let filter = JsonFilter::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let found: Vec<u32> = index.search(&filter).unwrap().iter().collect();
        assert_eq!(found, *expected, "index: {text}");
        assert_eq!(
            judged(&documents, &filter, flattening),
            *expected,
            "matcher: {text}"
        );
    }
}

#[test]
fn conditions_hold_in_the_same_element() {
    check(
        &Flattening::default(),
        &[
            (r#""$.name" = 'adam'"#, &[0]),
            (r#"name = 'bob'"#, &[1]),
            (r#""$.name" <> 'adam'"#, &[1, 2, 3, 4, 5, 6]),
            (r#""$.name" IN ('adam', 'eve')"#, &[0, 2]),
            (r#""$.name" NOT IN ('adam', 'eve')"#, &[1, 3, 4, 5, 6]),
            (r#""$.name" IS NOT NULL"#, &[0, 1, 2]),
            (r#""$.age" IS NULL"#, &[2, 3, 4, 5, 6]),
            (r#""$.age" > 20"#, &[1]),
            (r#""$.age" BETWEEN 20 AND 26"#, &[0, 1]),
            (r#""$.age" NOT BETWEEN 20 AND 21"#, &[1, 2, 3, 4, 5, 6]),
            (r#""$.name" >= 'b' AND "$.name" < 'c'"#, &[1]),
            (r#"REGEXP_LIKE("$.name", '[ae].*')"#, &[0, 2]),
            (r#"REGEXP_LIKE("$.name", 'a')"#, &[]),
            (r#""$.name" LIKE '_o%'"#, &[1]),
            (r#""$.admin" = true"#, &[2]),
            (r#""$.address.city.zip" = '01'"#, &[2]),
            (r#""$.addresses[*].country" = 'ca'"#, &[0, 1]),
            (r#""$.addresses[0].country" = 'ca'"#, &[1]),
            (r#""$.addresses[1].country" = 'ca'"#, &[0]),
            (
                r#""$.addresses[*].country" = 'ca' AND "$.addresses[*].street" = 'main'"#,
                &[1],
            ),
            (
                r#""$.addresses[*].country" = 'us' AND "$.addresses[*].number" = 1"#,
                &[0],
            ),
            (
                r#""$.addresses[*].country" = 'us' OR "$.name" = 'eve'"#,
                &[0, 2],
            ),
            (
                r#""$.addresses[*].country" = 'us' AND "$.skills[*]" = 'sql'"#,
                &[0],
            ),
            (r#""$.skills[0]" = 'rust' AND "$.skills[1]" = 'sql'"#, &[]),
            (r#""$.addresses[*].country" <> 'us'"#, &[1, 2, 3, 4, 5, 6]),
            (
                r#"NOT ("$.addresses[*].country" = 'us' OR "$.name" = 'bob')"#,
                &[2, 3, 4, 5, 6],
            ),
            (
                r#""$.addresses[*].country" = 'ca' AND "$.addresses[*].country" <> 'us'"#,
                &[1],
            ),
            (r#""$" = 'text'"#, &[5]),
            (r#""$[0]" = 1"#, &[6]),
            (r#""$[1][0]" = 2"#, &[6]),
            (r#""$[*][*]" = 3"#, &[6]),
            (r#""$['name']" = 'eve'"#, &[2]),
        ],
    );
}

#[test]
fn parts_can_be_left_out() {
    let flat = Flattening {
        exclude_array: true,
        levels_max: Some(1),
        ..Flattening::default()
    };
    check(
        &flat,
        &[
            (r#""$.addresses[*].country" = 'ca'"#, &[]),
            (r#""$.address.city.zip" = '01'"#, &[]),
            (r#""$.name" = 'eve'"#, &[2]),
        ],
    );
    let some = Flattening {
        include_paths: vec!["$.addresses[*].country".into(), "$.address".into()],
        value_bytes_max: 1,
        ..Flattening::default()
    };
    check(
        &some,
        &[
            (r#""$.addresses[*].country" IS NOT NULL"#, &[0, 1]),
            (r#""$.addresses[*].country" = 'ca'"#, &[]),
            (r#""$.addresses[*].street" IS NOT NULL"#, &[]),
            (r#""$.address.city.zip" IS NOT NULL"#, &[2]),
        ],
    );
    let without = Flattening {
        exclude_paths: vec!["$.address".into()],
        exclude_fields: vec!["street".into()],
        separate_arrays: true,
        ..Flattening::default()
    };
    check(
        &without,
        &[
            (r#""$.addresses[*].street" IS NOT NULL"#, &[]),
            (r#""$.address.city.zip" IS NOT NULL"#, &[]),
            (
                r#""$.addresses[*].country" = 'us' AND "$.skills[*]" = 'sql'"#,
                &[],
            ),
            (
                r#""$.addresses[*].country" = 'us' AND "$.name" = 'adam'"#,
                &[0],
            ),
        ],
    );
}

#[test]
fn patterns_say_which_paths_are_indexed() {
    let of = |patterns: &[&str]| Flattening {
        index_paths: PathTree::of(
            &patterns
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>(),
        ),
        ..Flattening::default()
    };
    let every = [
        r#""$.name" IS NOT NULL"#,
        r#""$.addresses[*].country" = 'ca'"#,
        r#""$.addresses[1].street" = 'second'"#,
        r#""$.address.city.zip" = '01'"#,
        r#""$.skills[*]" = 'sql'"#,
        r#""$[*][*]" = 3"#,
        r#""$" = 'text'"#,
    ];
    let found = |patterns: &[&str], expected: [&[u32]; 7]| {
        let cases: Vec<(&str, &[u32])> = every.into_iter().zip(expected).collect();
        check(&of(patterns), &cases);
    };
    let all: [&[u32]; 7] = [&[0, 1, 2], &[0, 1], &[0], &[2], &[0], &[6], &[5]];
    found(&[], all);
    found(&["**"], all);
    found(&["*"], [&[0, 1, 2], &[], &[], &[], &[], &[], &[5]]);
    found(
        &["name", "addresses..country"],
        [&[0, 1, 2], &[0, 1], &[], &[], &[], &[], &[5]],
    );
    found(
        &["addresses.**", "skills."],
        [&[], &[0, 1], &[0], &[], &[0], &[], &[5]],
    );
    found(
        &["*.*.*"],
        [&[0, 1, 2], &[0, 1], &[0], &[2], &[0], &[6], &[5]],
    );
    found(&["*.*"], [&[0, 1, 2], &[], &[], &[], &[0], &[6], &[5]]);
    // A name counts before `*`, and `**` before both, whatever stands first.
    found(
        &["*.**", "addresses.x"],
        [&[0, 1, 2], &[], &[], &[2], &[0], &[6], &[5]],
    );
    found(
        &["addresses.x", "addresses.**"],
        [&[], &[0, 1], &[0], &[], &[], &[], &[5]],
    );
    found(&[".", "a.b"], [&[], &[], &[], &[], &[], &[6], &[5]]);
}

#[test]
fn what_is_no_json_can_be_marked() {
    let marked = Flattening {
        marks_invalid: true,
        ..Flattening::default()
    };
    check(
        &marked,
        &[(r#""$" = '$SKIPPED$'"#, &[4]), (r#""$" = 'text'"#, &[5])],
    );
    check(&Flattening::default(), &[(r#""$" IS NOT NULL"#, &[5])]);
}

#[test]
fn wrong_filters_are_told_with_their_place() {
    use expect_test::expect;
    let check = |text: &str, expected: expect_test::Expect| {
        let fault = JsonFilter::parse(text).unwrap_err();
        expected.assert_eq(&fault.to_string());
    };
    check(
        "",
        expect!["the JSON filter is wrong at character 1: a path in double quotes was expected"],
    );
    check(
        "\"$.a\" = b",
        expect!["the JSON filter is wrong at character 9: a text stands in single quotes: 'b'"],
    );
    check(
        "\"$.a\" = 'b",
        expect!["the JSON filter is wrong at character 9: there is no closing `'`"],
    );
    check(
        "'$.a' = 1",
        expect!["the JSON filter is wrong at character 1: a path stands in double quotes: \"$.a\""],
    );
    check(
        "\"$.a[\" = 1",
        expect![
            "the JSON filter is wrong at character 1: the path `$.a[`: a bracket is not closed"
        ],
    );
    check(
        "(\"$.a\" = 1",
        expect!["the JSON filter is wrong at character 11: `)` was expected"],
    );
    check(
        "\"$.a\" = 1 \"$.b\" = 2",
        expect!["the JSON filter is wrong at character 11: AND or OR was expected"],
    );
    check(
        "\"$.a\" NOT 1",
        expect!["the JSON filter is wrong at character 11: IN, BETWEEN or LIKE was expected"],
    );
    assert!(JsonFilter::parse("REGEXP_LIKE(\"$.a\", '(')").is_err());
    assert!(JsonFilter::parse(&"(".repeat(1000)).is_err());
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        (-3_i32..4).prop_map(|number| number.to_string()),
        prop::sample::select(&["\"x\"", "\"y\"", "\"\"", "\"3\"", "1.5"][..])
            .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(4, 20, 4, |inner| {
        let fields = prop::collection::btree_map("[ab]", inner.clone(), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            fields.prop_map(|fields| {
                let fields = fields
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let step = prop::sample::select(&[".a", ".b", "[*]", "[0]", "[1]"][..]);
    prop::collection::vec(step, 0..4).prop_map(|steps| format!("${}", steps.concat()))
}

fn filter() -> impl Strategy<Value = String> {
    let checks = [
        "= 'x'",
        "<> 'x'",
        "= 3",
        "IS NULL",
        "IS NOT NULL",
        "> 0",
        "<= 1.5",
        "IN ('x', 'y', 2)",
        "NOT IN ('', true)",
        "BETWEEN -1 AND 3",
        ">= 'x'",
        "LIKE '%'",
    ];
    let test = (path(), prop::sample::select(checks.to_vec()))
        .prop_map(|(path, check)| format!("\"{path}\" {check}"));
    test.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 2..4), any::<bool>()).prop_map(|(all, and)| {
                format!("({})", all.join(if and { " AND " } else { " OR " }))
            }),
            inner.prop_map(|one| format!("NOT ({one})")),
        ]
    })
}

fn flattening() -> impl Strategy<Value = Flattening> {
    let paths = || prop::collection::vec(path(), 0..2);
    let patterns = prop::sample::select(&["a", "b", "", "*", "**"][..]);
    let patterns = prop::collection::vec(patterns, 1..4).prop_map(|steps| steps.join("."));
    (
        prop::option::of(1_u32..4),
        prop::bool::weighted(0.2),
        any::<bool>(),
        paths(),
        paths(),
        prop::collection::vec(patterns, 0..3),
    )
        .prop_map(
            |(levels_max, exclude_array, separate_arrays, include, exclude, index)| Flattening {
                levels_max,
                exclude_array,
                separate_arrays,
                include_paths: include,
                exclude_paths: exclude,
                index_paths: PathTree::of(&index),
                ..Flattening::default()
            },
        )
}

proptest! {
    #[test]
    fn the_index_says_what_the_matcher_says(
        documents in prop::collection::vec(value(), 1..30),
        filters in prop::collection::vec(filter(), 1..6),
        paths in prop::collection::vec(path(), 1..4),
        flattening in flattening(),
    ) {
        let index = index(&documents, &flattening);
        index.verify().unwrap();
        for text in &filters {
            let filter = JsonFilter::parse(text).unwrap();
            let found: Vec<u32> = index.search(&filter).unwrap().iter().collect();
            prop_assert_eq!(found, judged(&documents, &filter, &flattening), "{}", text);
        }
        let filter = JsonFilter::parse(&filters[0]).unwrap();
        for text in &paths {
            for filter in [None, Some(&filter)] {
                let path = JsonPath::parse(text).unwrap();
                let Extracted { values, codes } = index.values(&path, filter).unwrap();
                let mut extractor = JsonExtractor::new(&path, filter, &flattening);
                for (document, code) in documents.iter().zip(codes) {
                    let value = values.get(code as usize).cloned();
                    prop_assert_eq!(value, extractor.value(document), "{} of {}", text, document);
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_filter_or_a_fault(text in "\\PC{0,30}") {
        let _ = JsonFilter::parse(&text);
        let _ = JsonPath::parse(&text);
    }

    #[test]
    fn damaged_bytes_never_panic(part in 0_usize..4, at in any::<u32>(), bit in 0_u8..8) {
        let documents: Vec<String> = (0..50)
            .map(|n| format!(r#"{{"a":{},"b":[{{"c":"x"}},{{"c":"{}"}}]}}"#, n % 5, n))
            .collect();
        let mut parts = parts(&documents, &Flattening::default());
        let bytes = &mut parts[part];
        let mut damaged = bytes.to_vec();
        let at = at as usize % damaged.len();
        damaged[at] ^= 1 << bit;
        *bytes = Bytes::from(damaged);
        if let Ok(index) = JsonIndexReader::open(parts) {
            let _ = index.verify();
            for text in [r#""$.a" > 2"#, r#""$.b[0].c" = 'x'"#, r#""$.b[*].c" <> 'x'"#] {
                let _ = index.search(&JsonFilter::parse(text).unwrap());
            }
            let _ = index.values(&JsonPath::parse("$.b[1].c").unwrap(), None);
        }
    }
}

/// Version 1 of the bytes. When this fails, files on disk can no longer be read: give the index
/// another kind in the footer and keep reading this one.
#[test]
fn golden_bytes() {
    let documents = [r#"{"a":"x"}"#.to_owned(), r#"[7]"#.to_owned()];
    let parts = parts(&documents, &Flattening::default());
    assert_eq!(
        parts[1].as_ref(),
        b"..\x007.$index.$index\x000.a.a\0x".as_slice()
    );
    assert_eq!(parts[0].len(), 7 * 4);
    assert_eq!(parts.len(), 3);
    assert!(parts[2].starts_with(b"INV2\x06\0\0\0\x02\0\0\0"));
}
