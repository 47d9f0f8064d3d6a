//! The tables of statements in every form, and what is asked of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::super::answers::{Rows, difference};
use super::super::oracle::Oracle;
use super::super::table::Table;
use super::super::ways::{EVERY, Way};
use super::super::world::pieces_of;
use super::tables::TABLES;
use super::{KINDS, Statement};
use crate::cluster::{Cluster, Over};

/// One sealed segment, several, consuming rows; each table in another of these.
const FORMS: [&str; 4] = ["one", "many", "live", "mixed"];
const STORED: [&str; 3] = ["one", "many", "live"];
const PARTITIONS: u32 = 2;
/// Answers with more rows are not asked for.
const ROWS_MAX: usize = 20_000;

#[derive(Debug)]
pub struct Tables {
    pub seed: u64,
    tables: Vec<Table>,
    cluster: Cluster,
    folder: tempfile::TempDir,
}

/// What was asked, in all.
#[derive(Debug, Default)]
pub struct Asked {
    pub statements: u64,
    pub answers: u64,
    pub with_rows: u64,
    /// Why DuckDB had no answer, and how often.
    pub refused_by_oracle: BTreeMap<String, u64>,
    pub too_large: u64,
    pub in_pinots_dialect: u64,
    /// By kind, the statements with it that had rows, and those without any.
    pub kinds: BTreeMap<&'static str, (u64, u64)>,
}

impl Asked {
    /// What never had rows.
    pub fn missing(&self) -> Vec<&'static str> {
        let had_rows = |kind: &&&str| self.kinds.get(**kind).is_some_and(|(rows, _)| *rows > 0);
        let kinds = KINDS.iter().filter(|kind| !had_rows(kind));
        kinds.copied().collect()
    }
}

impl Tables {
    pub async fn make(seed: u64, oracle: &mut Oracle) -> Result<Self> {
        let mut random = SmallRng::seed_from_u64(seed);
        let servers = if seed.is_multiple_of(2) { 1 } else { 2 };
        let mut made = Self {
            seed,
            tables: Vec::new(),
            cluster: Cluster::start_of(Over::InProcess, servers).await?,
            folder: tempfile::tempdir()?,
        };
        for drawn in &TABLES {
            let rows = random.random_range(drawn.rows / 2..=drawn.rows);
            let table = Table::of(&mut random, drawn.columns(), rows);
            made.load(drawn.name, &table, oracle).await?;
            made.tables.push(table);
        }
        for (drawn, table) in TABLES.iter().zip(&made.tables) {
            for form in STORED {
                let sql = format!("SELECT COUNT(*) FROM {}_{form}", drawn.name);
                let rows = i64::try_from(table.rows.len())?;
                made.cluster.wait_for(&sql, rows).await?;
            }
        }
        Ok(made)
    }

    async fn load(&self, name: &str, table: &Table, oracle: &mut Oracle) -> Result<()> {
        let lines = table.json_lines();
        let file = self.folder.path().join(format!("{name}.json"));
        std::fs::write(&file, lines.join("\n"))?;
        oracle.load(name, table, &file).await?;
        for form in STORED {
            let full = format!("{name}_{form}");
            let is_live = form == "live";
            if is_live {
                self.cluster.create_topic(&full, PARTITIONS).await?;
            }
            let config = config(&full, is_live, &self.cluster.log());
            let body = json!({ "schema": table.schema(&full), "tableConfig": config });
            self.cluster.post("/v1/tables", &body).await?;
            if is_live {
                let events = (0..).zip(&lines);
                let events = events.map(|(at, line)| (at % PARTITIONS, line.clone()));
                self.cluster.produce(&full, events).await?;
                continue;
            }
            let pieces = if form == "one" { 1 } else { 4 };
            for piece in pieces_of(&file, &lines, pieces)? {
                self.cluster.import(&full, &piece).await?;
            }
        }
        Ok(())
    }

    /// In every form, and in one other way; what differed, told so that it can be repeated.
    pub async fn check(
        &self,
        statement: &Statement,
        oracle: &mut Oracle,
        random: &mut SmallRng,
        asked: &mut Asked,
    ) -> Result<Vec<String>> {
        let with_nulls = random.random_bool(0.7);
        let duck = of_oracle(&statement.duck, with_nulls);
        asked.statements += 1;
        let expected = match oracle.rows(&duck).await? {
            Ok(rows) if rows.len() > ROWS_MAX => {
                asked.too_large += 1;
                return Ok(Vec::new());
            }
            Ok(rows) => rows,
            Err(error) => {
                let why = error.chars().take(70).collect();
                *asked.refused_by_oracle.entry(why).or_default() += 1;
                return Ok(Vec::new());
            }
        };
        let has_rows = !expected.is_empty();
        asked.with_rows += u64::from(has_rows);
        for kind in &statement.kinds {
            let (rows, none) = asked.kinds.entry(kind).or_default();
            *(if has_rows { rows } else { none }) += 1;
        }
        let mut ways: Vec<(&str, Way)> = FORMS.iter().map(|form| (*form, Way::Usual)).collect();
        let way = EVERY.choose(random).copied().unwrap_or(Way::General);
        ways.push((FORMS.choose(random).copied().unwrap_or("one"), way));
        let mut failures = Vec::new();
        let mut differs = |found: Result<Rows, String>, told: String| {
            asked.answers += 1;
            let wrong = match found {
                Ok(found) => difference(&expected, &found, statement.ordered),
                Err(error) => Some(error),
            };
            failures.extend(wrong.map(|wrong| format!("{wrong}\n  {told}\n  duck: {duck}")));
        };
        for (form, way) in ways {
            let sql = of_form(&statement.ours, form);
            let found = self.ask(&sql, with_nulls, way).await?;
            differs(found, format!("{form}, nulls {with_nulls}, {way:?}: {sql}"));
        }
        if statement.is_pinot && with_nulls {
            let sql = of_form(&statement.ours, "many");
            let found = self.ask_pinot(&sql).await?;
            differs(found, format!("in Pinot's dialect: {sql}"));
            asked.in_pinots_dialect += 1;
        }
        Ok(failures)
    }

    /// Our answer and DuckDB's to what was written by hand, with `{a}` to `{d}` as tables; whether
    /// they are the same comes last. Before it may stand `defaults: ` for tables without nulls, and
    /// a form of the tables, as in `live: `.
    pub async fn compare(&self, line: &str, oracle: &mut Oracle) -> Result<String> {
        let (nulls, line) = match line.strip_prefix("defaults: ") {
            Some(rest) => (false, rest),
            None => (true, line),
        };
        let begun = |form: &&str| line.strip_prefix(&format!("{form}: "));
        let form = FORMS.into_iter().find(|form| begun(form).is_some());
        let form = form.unwrap_or("many");
        let sql = begun(&form).unwrap_or(line);
        let ours = self.ask(&of_form(sql, form), nulls, Way::Usual).await?;
        let duck = oracle.rows(&of_oracle(sql, nulls)).await?;
        let shown = |rows: Result<Rows, String>| match rows {
            Ok(rows) => rows.iter().fold(String::new(), |text, row| {
                text + &Value::Array(row.clone()).to_string() + "\n"
            }),
            Err(error) => error + "\n",
        };
        let differs = match (&ours, &duck) {
            (Ok(ours), Ok(duck)) => difference(duck, ours, sql.contains("ORDER BY")),
            _ => Some("no answer".to_owned()),
        };
        let last = differs.map_or("the same".to_owned(), |wrong| format!("differ: {wrong}"));
        Ok(format!(
            "ours:\n{}duck:\n{}{last}",
            shown(ours),
            shown(duck)
        ))
    }

    async fn ask(&self, sql: &str, nulls: bool, way: Way) -> Result<Result<Rows, String>> {
        let handling = ("enableNullHandling", nulls.to_string());
        let options: BTreeMap<&str, String> = way.option().into_iter().chain([handling]).collect();
        let address = &self.cluster.node(0).addresses.broker_http;
        let request = self.cluster.http.post(format!("http://{address}/v1/sql"));
        let body = json!({ "sql": sql, "options": options });
        let mut answer: Value = request.json(&body).send().await?.json().await?;
        if !answer["error"].is_null() {
            return Ok(Err(answer["error"]["message"].to_string()));
        }
        let rows = serde_json::from_value(answer["rows"].take());
        Ok(Ok(rows.with_context(|| format!("no rows in {answer}"))?))
    }

    async fn ask_pinot(&self, sql: &str) -> Result<Result<Rows, String>> {
        let options = "SET useMultistageEngine = true; SET enableNullHandling = true; ";
        let mut answer = self.cluster.pinot(&format!("{options}{sql}")).await?;
        if let Some(first) = answer["exceptions"].as_array().and_then(|all| all.first()) {
            return Ok(Err(first["message"].to_string()));
        }
        let rows = serde_json::from_value(answer["resultTable"]["rows"].take());
        Ok(Ok(rows.with_context(|| format!("no rows in {answer}"))?))
    }

    pub async fn end(self) {
        self.cluster.stop().await;
    }
}

fn config(name: &str, is_live: bool, log: &str) -> Value {
    let mut config = json!({
        "tableName": name,
        "tableType": if is_live { "REALTIME" } else { "OFFLINE" },
        "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
    });
    if is_live {
        config["ingestionConfig"] = json!({ "streamIngestionConfig": { "streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": name,
            "stream.kafka.broker.list": log,
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
        }]}});
    } else {
        config["tableIndexConfig"] = json!({
            "invertedIndexColumns": ["k", "s"],
            "rangeIndexColumns": ["v"],
        });
    }
    config
}

fn of_form(sql: &str, form: &str) -> String {
    let forms = TABLES.iter().zip(STORED.iter().cycle());
    forms.fold(sql.to_owned(), |sql, (table, turn)| {
        let form = if form == "mixed" { *turn } else { form };
        sql.replace(
            &format!("{{{}}}", table.name),
            &format!("{}_{form}", table.name),
        )
    })
}

fn of_oracle(sql: &str, with_nulls: bool) -> String {
    let behind = if with_nulls { "" } else { "_defaults" };
    TABLES.iter().fold(sql.to_owned(), |sql, table| {
        sql.replace(
            &format!("{{{}}}", table.name),
            &format!("{}{behind}", table.name),
        )
    })
}
