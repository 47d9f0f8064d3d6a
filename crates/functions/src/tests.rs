//! The functions as a session calls them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::prelude::SessionContext;
use expect_test::{Expect, expect};
use futures::executor::block_on;

fn session() -> SessionContext {
    let session = SessionContext::new();
    for function in crate::all() {
        session.register_udf(function.as_ref().clone());
    }
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("The quick brown fox"),
        Some("running foxes"),
        None,
    ]));
    let documents: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some(r#"{"a":1,"b":[{"c":"x"},{"c":"y"}],"d":"2.0","t":[1,2]}"#),
        Some(r#"{"a":null,"b":[{"c":"y"}]}"#),
        Some("no json"),
    ]));
    let text = r#"{"analyzer":"english","stop_words":[]}"#.to_owned();
    let text = [(schemas::arrow::TEXT_KEY.to_owned(), text)].into();
    let schema = Schema::new(vec![
        Field::new("text", DataType::Utf8View, true).with_metadata(text),
        Field::new("doc", DataType::Utf8View, true),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![texts, documents]).unwrap();
    session.register_batch("t", batch).unwrap();
    session
}

fn ask(sql: &str) -> Result<String> {
    block_on(async {
        let batches = session().sql(sql).await?.collect().await?;
        Ok(pretty_format_batches(&batches)?.to_string())
    })
}

fn check(sql: &str, expected: Expect) {
    expected.assert_eq(&ask(sql).unwrap());
}

fn fails(sql: &str, part: &str) {
    let error = ask(sql).unwrap_err().to_string();
    assert!(error.contains(part), "{sql}: {error}");
}

#[test]
fn text_match_uses_the_analyzer_of_the_column() {
    check(
        "SELECT text_match(text, 'fox') AS a, textMatch(text, '\"the quick\"') AS b,
            text_match(text, 'quick run', 'defaultOperator=AND') AS c,
            text_match(text || '', 'foxes') AS d FROM t",
        expect![[r#"
            +------+-------+-------+-------+
            | a    | b     | c     | d     |
            +------+-------+-------+-------+
            | true | true  | false | false |
            | true | false | false | true  |
            |      |       |       |       |
            +------+-------+-------+-------+"#]],
    );
    fails(
        "SELECT text_match(text, '(x') FROM t",
        "at character 1: the bracket is not closed",
    );
    fails(
        "SELECT text_match(text, 'x', 'fuzzy=1') FROM t",
        "`fuzzy=1`",
    );
    fails(
        "SELECT text_match(text, doc) FROM t",
        "takes a column and then literals",
    );
    fails("SELECT text_match(1, 'x') FROM t", "reads texts");
    fails(
        "SELECT text_match(text) FROM t",
        "TEXT_MATCH takes a column, a query",
    );
}

#[test]
fn json_functions_read_documents() {
    check(
        r#"SELECT json_match(doc, '"$.b[*].c" = ''x''') AS m,
            jsonExtractIndex(doc, '$.a', 'INT', -1) AS i,
            json_extract_index(doc, '$.b[1].c', 'STRING') AS s,
            json_extract_index(doc, '$.b[*].c', 'STRING_ARRAY') AS l,
            json_extract_index(doc, '$.a', 'STRING', 'none', '"$.b[*].c" = ''y''') AS f,
            jsonExtractScalar(doc, '$.d', 'LONG') AS d,
            json_extract_scalar(doc, '$.b', 'STRING', '') AS o,
            json_extract_scalar(doc, '$.t', 'INT_ARRAY') AS t FROM t"#,
        expect![[r#"
            +-------+----+---+--------------+------+---+-----------------------+--------+
            | m     | i  | s | l            | f    | d | o                     | t      |
            +-------+----+---+--------------+------+---+-----------------------+--------+
            | true  | 1  | y | [x, x, y, y] | 1    | 2 | [{"c":"x"},{"c":"y"}] | [1, 2] |
            | false | -1 |   | [y]          | none |   | [{"c":"y"}]           | []     |
            | false | -1 |   | []           | none |   |                       |        |
            +-------+----+---+--------------+------+---+-----------------------+--------+"#]],
    );
    fails(
        r#"SELECT json_match(doc, '"$.a"') FROM t"#,
        "a comparison such as `=` was expected",
    );
    fails(
        "SELECT json_extract_index(doc, '$.a', 'INTEGER') FROM t",
        "`INTEGER` is no type",
    );
    fails(
        "SELECT json_extract_index(doc, '$.a[*]', 'INT') FROM t",
        "several values",
    );
    fails(
        "SELECT json_extract_scalar(doc, '$..a', 'INT') FROM t",
        "a name is missing",
    );
}
