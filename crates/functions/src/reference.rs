//! The reference page is what the functions say of themselves, and their examples are true.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringViewArray,
    new_null_array,
};
use arrow::datatypes::{Field, FieldRef};
use arrow::util::display::array_value_to_string;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl,
};
use datafusion::prelude::SessionContext;
use expect_test::expect_file;
use futures::executor::block_on;

use crate::docs::Section;
use crate::plain::Plain;

const HEAD: &str = "# Functions

Names are taken in any case, with underscores and without: `DATE_TRUNC`, `dateTrunc` and
`datetrunc` are one. Where Pinot and standard SQL mean different things by a name, each dialect
has its own; this page tells Pinot's. A literal in the place of a column is fine everywhere. An
argument that is null makes the value null, where nothing else is said. Functions of a time or a
text that meet a column of several values give several values; the same functions also have a name
that ends in MV.

This page is made of what the functions say of themselves, and a test runs its examples. Those
of aggregates are over the table `numbers`, of which x is 1, 2, 2, 3, 10, y is 2, 4, 4, 6, 20, s
is a, b, b, c, d, and xs, a column of several values, holds x and y.

What standard SQL knows means the same in both dialects and is not described here: ABS, COALESCE,
GREATEST, INITCAP, LEAST, LOWER, NULLIF, REVERSE, UPPER, CASE, EXTRACT, SUBSTRING, and of aggregates
ANY_VALUE, AVG, BOOL_AND, BOOL_OR, CORR, COUNT, COVAR_POP, COVAR_SAMP, MAX, MIN, STDDEV_POP,
STDDEV_SAMP, SUM, VAR_POP, VAR_SAMP.
";

const LATER: &str = "## Not here yet

Asking for one of these says so.

| functions of Pinot | nearest here |
|---|---|
";

/// Pinot's names too.
fn session() -> SessionContext {
    let session = SessionContext::new();
    for function in crate::all() {
        session.register_udf(function.as_ref().clone());
    }
    for function in crate::plain_functions() {
        let names = function.in_pinot.clone().into_iter();
        let names = names.flat_map(|name| [name.to_lowercase(), crate::canonical(name)]);
        let named = names.fold(function, |function, name| function.alias(name));
        session.register_udf(ScalarUDF::from(named));
    }
    for function in crate::all_aggregates() {
        session.register_udaf(function.as_ref().clone());
        for percent in [50, 90] {
            let name = crate::canonical(function.name());
            let name = match name.strip_suffix("mv") {
                Some(name) => format!("{name}{percent}mv"),
                None => format!("{name}{percent}"),
            };
            if let Some(named) = crate::percentile_named(&name) {
                session.register_udaf(named.as_ref().clone());
            }
        }
    }
    for function in crate::aggregates::renamed_aggregates() {
        let names = function.in_pinot.clone().into_iter();
        let names = names.flat_map(|name| [name.to_lowercase(), crate::canonical(name)]);
        let named = names.fold(function, |function, name| function.alias(name));
        session.register_udaf(AggregateUDF::from(named));
    }
    let x: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 2, 3, 10]));
    let y: ArrayRef = Arc::new(Int64Array::from(vec![2, 4, 4, 6, 20]));
    let s: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "b", "c", "d"]));
    let mut xs = ListBuilder::new(Int64Builder::new());
    for x in [1, 2, 2, 3, 10] {
        xs.append_value([Some(x), Some(2 * x)]);
    }
    let xs: ArrayRef = Arc::new(xs.finish());
    let rows = [("x", x), ("y", y), ("s", s), ("xs", xs)];
    let rows = RecordBatch::try_from_iter(rows).unwrap();
    session.register_batch("numbers", rows).unwrap();
    session
}

async fn value(session: &SessionContext, sql: &str) -> Result<String> {
    let batches = session.sql(sql).await?.collect().await?;
    let mut batches = batches.iter().filter(|batch| batch.num_rows() > 0);
    let Some(batch) = batches.next() else {
        return Ok("no rows".to_owned());
    };
    assert_eq!((batch.num_columns(), batch.num_rows()), (1, 1), "{sql}");
    let column = batch.column(0);
    if column.is_null(0) {
        return Ok("null".to_owned());
    }
    Ok(array_value_to_string(column, 0)?)
}

fn all_docs() -> Vec<Documentation> {
    let (scalars, aggregates) = (crate::all(), crate::all_aggregates());
    let scalars = scalars
        .iter()
        .map(|function| of(function.name(), function.documentation()));
    // The parts of others are for no one to call.
    let is_part = |function: &&Arc<AggregateUDF>| function.name().starts_with("entries_");
    let aggregates = aggregates.iter().filter(|function| !is_part(function));
    let aggregates = aggregates
        .map(|function: &Arc<AggregateUDF>| of(function.name(), function.documentation()));
    scalars.chain(aggregates).collect()
}

fn of(name: &str, docs: Option<&Documentation>) -> Documentation {
    docs.unwrap_or_else(|| panic!("{name} says nothing of itself"))
        .clone()
}

/// Calls and their values.
fn examples(docs: &Documentation) -> Vec<(&str, &str)> {
    let text = docs.sql_example.as_deref().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks_exact(2);
    let pairs: Vec<_> = pairs
        .map(|pair| (pair[0].trim_start_matches("> "), pair[1]))
        .collect();
    assert!(!pairs.is_empty(), "{} has no example", docs.syntax_example);
    pairs
}

#[test]
fn examples_are_true() {
    let session = session();
    let mut wrong = Vec::new();
    for docs in all_docs() {
        for (sql, told) in examples(&docs) {
            let found = block_on(value(&session, sql));
            let found = found.unwrap_or_else(|error| error.to_string());
            if found != told {
                wrong.push(format!("{sql}\n  is {found}\n  not {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Called with columns: of `rows` rows, all null.
fn of_nulls(function: &Plain, rows: usize) -> Result<Option<ArrayRef>> {
    let types = function.types_taken();
    let fields = types
        .iter()
        .map(|own| Arc::new(Field::new("x", own.clone(), true)));
    let fields: Vec<FieldRef> = fields.collect();
    let columns = types
        .iter()
        .map(|own| ColumnarValue::Array(new_null_array(own, rows)));
    let literals = vec![None; types.len()];
    let declared = function.return_field_from_args(ReturnFieldArgs {
        arg_fields: &fields,
        scalar_arguments: &literals,
    })?;
    let called = function.invoke_with_args(ScalarFunctionArgs {
        args: columns.collect(),
        arg_fields: fields,
        number_rows: rows,
        return_field: Arc::clone(&declared),
        config_options: Arc::new(ConfigOptions::new()),
    });
    match called {
        Ok(value) => {
            let array = value.to_array(rows)?;
            assert_eq!(array.data_type(), declared.data_type(), "{function:?}");
            Ok(Some(array))
        }
        // Patterns, units and the like are literals; operators are planned as such.
        Err(error) if error.to_string().contains("literal") => Ok(None),
        Err(error) if error.to_string().contains("is planned as") => Ok(None),
        Err(error) => Err(error),
    }
}

#[test]
fn nulls_give_nulls_and_no_rows_give_none() {
    let mut asked = 0;
    for function in crate::plain_functions() {
        if function.types_taken().is_empty() {
            continue;
        }
        let Some(nulls) = of_nulls(&function, 3).unwrap() else {
            continue;
        };
        asked += 1;
        assert_eq!(nulls.len(), 3, "{function:?}");
        // A single value is an array of one.
        let is_length = function.name() == "pinot_array_length";
        assert_eq!(
            nulls.null_count(),
            if is_length { 0 } else { 3 },
            "{function:?}"
        );
        let none = of_nulls(&function, 0).unwrap().unwrap();
        assert_eq!(none.len(), 0, "{function:?}");
    }
    assert!(asked > 200, "{asked} functions were asked");
}

/// `UPDATE_EXPECT=1` writes it.
#[test]
fn the_page_says_what_functions_say() {
    let mut sections: BTreeMap<usize, String> = BTreeMap::new();
    for docs in all_docs() {
        let mut chapters = Section::ALL.iter();
        let at = chapters
            .position(|chapter| chapter.label() == docs.doc_section.label)
            .unwrap();
        let page = sections.entry(at).or_default();
        writeln!(page, "- `{}`: {}", docs.syntax_example, docs.description).unwrap();
        let shown = examples(&docs).into_iter();
        let shown = shown.map(|(sql, value)| {
            // Words that mean something to the parser stand in quotes.
            let call = sql
                .trim_start_matches("SELECT ")
                .trim_end_matches(" FROM numbers");
            let call = match call.strip_prefix('"').and_then(|call| call.split_once('"')) {
                Some((name, rest)) => format!("{}{rest}", name.to_uppercase()),
                None => call.to_owned(),
            };
            format!("`{call}` = `{value}`")
        });
        writeln!(page, "  {}", shown.collect::<Vec<_>>().join("; ")).unwrap();
    }
    let mut page = HEAD.to_owned();
    let later = crate::later::LATER.iter().map(|(names, nearest)| {
        let nearest = nearest.map_or("nothing like it".to_owned(), |nearest| {
            format!("`{nearest}`")
        });
        format!("| {} | {nearest} |\n", names.join(", "))
    });
    let later: String = later.collect();
    for (at, text) in sections {
        write!(page, "\n## {}\n\n{text}", Section::ALL[at].label()).unwrap();
    }
    write!(page, "\n{LATER}{later}").unwrap();
    expect_file!["../../../docs/reference/functions.md"].assert_eq(&page);
}
