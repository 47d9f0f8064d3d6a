//! Statements of a benchmark, as `benchmarks/engine/*.toml` has them, and each engine's wording.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// What must be loaded for its statements.
    pub(crate) tables: Vec<String>,
    /// For each engine, what stands for `{name}` in a statement.
    #[serde(default)]
    words: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(rename = "query")]
    pub(crate) queries: Vec<Query>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) group: String,
    /// Star-trees may answer; the others read rows.
    #[serde(default)]
    pub(crate) star_tree: bool,
    /// For every engine that has none of its own.
    #[serde(default)]
    sql: String,
    tannin: Option<String>,
    duckdb: Option<String>,
    clickhouse: Option<String>,
    datafusion: Option<String>,
    #[serde(default)]
    pub(crate) compare: Compare,
    /// Of `compare = "approximate"`, relative.
    #[serde(default)]
    pub(crate) tolerance: f64,
}

/// What of two answers must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compare {
    /// All rows, in any order.
    #[default]
    Rows,
    /// Rows up to `tolerance`; those of text exactly.
    Approximate,
    /// Only these columns: which of several equal rows are shown is open.
    Columns(Vec<usize>),
    /// How many rows there are: which of them are shown is open.
    Count,
}

impl Query {
    /// The same for every engine, equal up to `tolerance`.
    pub(crate) fn plain(name: &str, group: &str, sql: &str, tolerance: f64) -> Self {
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            star_tree: false,
            sql: sql.to_owned(),
            tannin: None,
            duckdb: None,
            clickhouse: None,
            datafusion: None,
            compare: Compare::Approximate,
            tolerance,
        }
    }
}

impl Suite {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{}", file.display()))
    }

    /// The tables that these statements name.
    pub(crate) fn tables_of(&self, queries: &[&Query]) -> Result<Vec<String>> {
        let mut tables = Vec::new();
        for table in &self.tables {
            for query in queries {
                let sql = self.statement(query, "tannin")?;
                let mut words = sql.split(|c: char| !c.is_alphanumeric() && c != '_');
                if words.any(|word| word == table) {
                    tables.push(table.clone());
                    break;
                }
            }
        }
        Ok(tables)
    }

    /// The statement in the words of an engine; a variant such as `duckdb-enum` speaks as `duckdb`.
    pub(crate) fn statement(&self, query: &Query, engine: &str) -> Result<String> {
        let language = engine.split('-').next().unwrap_or(engine);
        let own = match language {
            "tannin" => &query.tannin,
            "duckdb" => &query.duckdb,
            "clickhouse" => &query.clickhouse,
            "datafusion" => &query.datafusion,
            _ => bail!("there is no engine `{engine}`"),
        };
        let mut text = own.clone().unwrap_or_else(|| query.sql.clone());
        for (name, word) in self.words.get(language).into_iter().flatten() {
            text = text.replace(&format!("{{{name}}}"), word);
        }
        if text.is_empty() {
            bail!("`{}` has no statement for {engine}", query.name);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(text: &str) -> Suite {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_engine_is_asked_in_its_words() {
        let suite = suite(
            r#"
            tables = ["a", "b", "c"]
            [words.duckdb]
            distinct = "approx_count_distinct"
            [words.tannin]
            distinct = "approx_distinct"
            [[query]]
            name = "a"
            group = "g"
            sql = "SELECT {distinct}(x) FROM a, c"
            clickhouse = "SELECT uniq(x)"
            compare = { columns = [1] }
            "#,
        );
        let query = &suite.queries[0];
        assert_eq!(query.compare, Compare::Columns(vec![1]));
        let asked = |engine| suite.statement(query, engine).unwrap();
        assert_eq!(asked("tannin"), "SELECT approx_distinct(x) FROM a, c");
        assert_eq!(
            asked("duckdb-enum"),
            "SELECT approx_count_distinct(x) FROM a, c"
        );
        assert_eq!(asked("clickhouse"), "SELECT uniq(x)");
        assert!(suite.statement(query, "other").is_err());
        assert_eq!(suite.tables_of(&[query]).unwrap(), ["a", "c"]);
    }
}
