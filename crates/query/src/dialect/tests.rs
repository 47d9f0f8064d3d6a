//! What the dialects make of a statement.

use super::*;

fn pinot(text: &str) -> Statement {
    parse(text, Dialect::Pinot, Options::default(), 10).unwrap()
}

fn names(statement: &Statement) -> Vec<&str> {
    let names = statement.parsed.output.iter();
    names
        .map(|column| column.name.as_deref().unwrap_or("-"))
        .collect()
}

#[test]
fn settings_before_and_options_behind() {
    let statement = pinot(
        "SET timeoutMs = 100; SET a='x;y';\nSELECT ';' FROM t -- it; ends\n \
         OPTION(b=2, c='3')",
    );
    assert_eq!(statement.options.number("TIMEOUTMS").unwrap(), Some(100));
    assert_eq!(statement.options.0["a"], "x;y");
    assert_eq!(statement.options.0["c"], "3");
    assert!(statement.text.starts_with("SELECT ';' FROM t"));
    assert!(statement.options.number("a").is_err());
}

#[test]
fn a_missing_limit_is_added_and_told() {
    assert_eq!(pinot("SELECT a FROM t").parsed.limit_added, Some(10));
    for sql in [
        "SELECT a FROM t LIMIT 5, 7",
        "SELECT a FROM t LIMIT 1",
        "EXPLAIN SELECT a FROM t",
    ] {
        assert_eq!(pinot(sql).parsed.limit_added, None, "{sql}");
    }
    let multi = pinot("SELECT a FROM t OPTION(useMultistageEngine=true)");
    assert_eq!(
        (multi.parsed.limit_added, multi.semantics),
        (None, Semantics::MultiStage)
    );
    let standard = parse("SELECT a FROM t", Dialect::Standard, Options::default(), 10);
    assert_eq!(standard.unwrap().parsed.limit_added, None);
}

#[test]
fn columns_are_named_as_pinot_names_them() {
    let select = "SELECT COUNT(x), Sum(Delay), COUNT(DISTINCT y), distinctCount(y), Delay/100, t.z, \
                  '0.6', cast(a AS LONG), b AS c FROM t";
    let single = [
        "count(*)",
        "sum(Delay)",
        "distinctcount(y)",
        "distinctcount(y)",
        "divide(Delay,'100')",
        "z",
        "'0.6'",
        "cast(a,'LONG')",
        "-",
    ];
    assert_eq!(names(&pinot(select)), single);
    let multi = pinot(&format!("SET useMultistageEngine=true; {select}"));
    assert_eq!(
        names(&multi),
        [
            "EXPR$0", "EXPR$1", "EXPR$2", "EXPR$3", "EXPR$4", "-", "EXPR$6", "EXPR$7", "-"
        ]
    );
    assert!(pinot("SELECT *, a FROM t").parsed.output.is_empty());
}

#[test]
fn words_of_pinot_become_ours() {
    let sql = pinot("SELECT DISTINCTCOUNT(a), CAST(b AS LONG) FROM t")
        .parsed
        .sql
        .to_string();
    assert_eq!(
        sql,
        "SELECT count(DISTINCT a), CAST(b AS BIGINT) FROM t LIMIT 10"
    );
}

#[test]
fn virtual_columns_are_hidden_from_the_star() {
    let sql = |text: &str| {
        let statement = parse(text, Dialect::Standard, Options::default(), 10).unwrap();
        let virtual_columns = statement.parsed.virtual_columns.clone();
        (statement.parsed.sql.to_string(), virtual_columns)
    };
    let (text, named) = sql("SELECT *, $offset FROM t WHERE \"$docId\" > 5");
    assert_eq!(
        text,
        "SELECT t.* EXCLUDE (\"$docId\", \"$offset\"), \"$offset\" FROM t WHERE \"$docId\" > 5"
    );
    assert_eq!(named, ["$docId", "$offset"]);
    let joined = "SELECT *, f.$offset FROM t f JOIN u ON f.a = u.a, (SELECT 1) d";
    let (text, _) = sql(&joined.replace("f.$offset", "f.\"$offset\""));
    let star = "f.* EXCLUDE (\"$offset\"), u.* EXCLUDE (\"$offset\"), d.*";
    assert!(text.contains(star), "{text}");
    // Neither a named query nor a system table has such columns.
    let with = "WITH x AS (SELECT a FROM t WHERE $offset > 1) SELECT * FROM x";
    assert!(!sql(with).0.contains("EXCLUDE"));
    assert!(
        !sql("SELECT * FROM sys.segments WHERE 1 < (SELECT MAX($offset) FROM t)")
            .0
            .contains("EXCLUDE")
    );
    assert_eq!(sql("SELECT * FROM t").1, Vec::<&str>::new());
}

#[test]
fn explain_in_its_forms() {
    for sql in [
        "EXPLAIN PLAN FOR SELECT 1",
        "explain select 1",
        "EXPLAIN PLAN WITHOUT IMPLEMENTATION FOR SELECT 1",
    ] {
        assert_eq!(pinot(sql).explain, Explain::Plan, "{sql}");
    }
    for sql in [
        "EXPLAIN ANALYZE SELECT 1",
        "explain plan for analyze select 1",
    ] {
        assert_eq!(pinot(sql).explain, Explain::Analyze, "{sql}");
    }
    assert_eq!(pinot("SELECT 1").explain, Explain::None);
}

#[test]
fn what_is_no_query_is_refused() {
    let fault = parse("DROP TABLE t", Dialect::Standard, Options::default(), 10).unwrap_err();
    assert_eq!(fault.code, code::QUERY_VALIDATION);
    for sql in ["", ";", "SELECT 1; SELECT 2"] {
        let fault = parse(sql, Dialect::Standard, Options::default(), 10).unwrap_err();
        assert_eq!(fault.code, code::SQL_PARSING, "{sql}");
    }
}

#[test]
fn the_place_of_a_fault_is_in_the_text_as_it_was_sent() {
    let sent = "SET a=1;\nSELECT a FROM t\nWHERE a = )";
    let fault = parse(sent, Dialect::Pinot, Options::default(), 10).unwrap_err();
    assert_eq!(fault.code, code::SQL_PARSING);
    let span = fault.span.unwrap();
    assert_eq!(&sent[span.start as usize..span.end as usize], ")");
}

#[test]
fn a_statement_that_is_too_deep_is_refused() {
    let chain = |terms: usize| {
        let terms: Vec<String> = (0..terms).map(|n| format!("a <> {n}")).collect();
        format!("SELECT a FROM t WHERE {}", terms.join(" AND "))
    };
    let parsed = |sql: &str| parse(sql, Dialect::Standard, Options::default(), 10);
    let fault = parsed(&chain(2_002)).unwrap_err();
    assert_eq!(fault.code, code::SQL_PARSING);
    assert!(fault.message.contains("2000 conditions"), "{fault}");
    // A long list is not deep.
    let list: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    parsed(&format!("SELECT a FROM t WHERE a IN ({})", list.join(","))).unwrap();
}

#[test]
fn an_empty_list_is_a_fault_of_syntax() {
    let parsed = |sql: &str| parse(sql, Dialect::Pinot, Options::default(), 10);
    let fault = parsed("SELECT FROM WHERE").unwrap_err();
    assert_eq!(fault.code, code::SQL_PARSING);
    parsed("SELECT * FROM t").unwrap();
    parsed("FROM t").unwrap();
}
