//! One drawn table in every form, and the ways that a question can take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::answers::{Rows, difference};
use super::oracle::Oracle;
use super::questions::Question;
use super::table::{Table, Type};
use crate::cluster::{Cluster, Over};

/// One sealed segment with every index, many with star-trees only, consuming rows, both at once.
const FORMS: [&str; 4] = ["one", "many", "live", "both"];
const PARTITIONS: u32 = 2;
/// The least that seals a few segments of the table `both`.
const ROWS_MIN: usize = 400;
const ROWS_MAX: usize = 9_000;

const WITHOUT_TREES: &[(&str, &str)] = &[("useStarTree", "false")];
const STAR_TREE: &str = "star_tree";

/// Ways that are tried beside the usual one.
const OPTIONS: &[&[(&str, &str)]] = &[
    &[("nativeOperators", "false")],
    &[(
        "skipIndexes",
        "*=inverted,sorted,range,bloom,dictionary,timestamp,text,json",
    )],
    WITHOUT_TREES,
    &[("planTemplates", "false")],
    &[("maxThreads", "1")],
    &[
        ("nativeOperators", "false"),
        ("skipIndexes", "*=inverted,sorted,range,bloom"),
    ],
];

#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub table: Table,
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

/// What the questions used in all: a way that was never taken was not tested.
#[derive(Debug, Default)]
pub struct Used {
    pub questions: u64,
    pub answers: u64,
    pub with_rows: u64,
    pub refused_by_oracle: u64,
    pub native: u64,
    pub fallback: u64,
    pub pruned: u64,
    pub templates: u64,
    /// Answers of star-trees that were compared with those of the rows.
    pub without_trees: u64,
    pub indexes: BTreeMap<String, u64>,
}

impl Used {
    fn add(&mut self, stats: &Value) {
        let number = |key: &str| stats[key].as_u64().unwrap_or(0);
        self.native += number("nativeOperators");
        self.fallback += number("fallbackOperators");
        self.pruned += number("segmentsPruned");
        self.templates += u64::from(stats["planTemplate"] == true);
        let names = stats["indexes"].as_array().into_iter().flatten();
        let kinds = names.filter_map(|name| name.as_str()?.split('(').next());
        let kinds: BTreeSet<&str> = kinds.collect();
        for kind in kinds {
            *self.indexes.entry(kind.to_owned()).or_default() += 1;
        }
    }

    fn trees(&self) -> u64 {
        self.indexes.get(STAR_TREE).copied().unwrap_or(0)
    }
}

impl World {
    pub async fn make(seed: u64, oracle: &mut Oracle) -> Result<Self> {
        let mut random = SmallRng::seed_from_u64(seed);
        let rows = random.random_range(ROWS_MIN..ROWS_MAX);
        let table = Table::draw(&mut random, rows, true);
        let folder = tempfile::tempdir()?;
        let servers = if seed.is_multiple_of(2) { 1 } else { 2 };
        let cluster = Cluster::start_of(Over::InProcess, servers).await?;
        let lines = table.json_lines();
        let file = folder.path().join("rows.json");
        std::fs::write(&file, lines.join("\n"))?;
        oracle.load(&table, &file).await?;
        let world = Self {
            seed,
            table,
            cluster,
            _folder: folder,
        };
        let parts = 1 + random.random_range(2..6);
        world.load(&lines, &file, parts).await?;
        Ok(world)
    }

    async fn load(&self, lines: &[String], file: &Path, parts: usize) -> Result<()> {
        let rows = lines.len();
        for form in FORMS {
            let is_live = ["live", "both"].contains(&form);
            if is_live {
                self.cluster.create_topic(form, PARTITIONS).await?;
            }
            let sealed = rows / PARTITIONS as usize / 3;
            let config = self.config(form, is_live, if form == "both" { sealed } else { 1 << 30 });
            let body = json!({ "schema": self.table.schema(form), "tableConfig": config });
            self.cluster.post("/v1/tables", &body).await?;
            if is_live {
                let events = (0..)
                    .zip(lines)
                    .map(|(at, line)| (at % PARTITIONS, line.clone()));
                self.cluster.produce(form, events).await?;
            } else {
                let pieces = if form == "one" { 1 } else { parts };
                for piece in pieces_of(file, lines, pieces)? {
                    self.cluster.import(form, &piece).await?;
                }
            }
        }
        for form in FORMS {
            let sql = format!("SELECT COUNT(*) FROM \"{form}\"");
            self.cluster.wait_for(&sql, i64::try_from(rows)?).await?;
        }
        let sql = "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'both' AND status = 'DONE'";
        let cluster = &self.cluster;
        crate::cluster::until("segments of `both` are sealed", || async {
            let found = cluster.sql().numbers(sql).await?;
            ensure!(found[0] >= i64::from(PARTITIONS) * 2, "{found:?}");
            Ok(())
        })
        .await
    }

    fn config(&self, form: &str, is_live: bool, flush_rows: usize) -> Value {
        let mut config = json!({
            "tableName": form,
            "tableType": if is_live { "REALTIME" } else { "OFFLINE" },
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
        });
        if is_live {
            config["ingestionConfig"] = json!({ "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka",
                "stream.kafka.topic.name": form,
                "stream.kafka.broker.list": self.cluster.log(),
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": flush_rows.to_string(),
            }]}});
        }
        if form != "live" {
            config["tableIndexConfig"] = self.indexes(form);
            config["fieldConfigList"] = self.fields();
        }
        if form == "many" || form == "both" {
            config["tableIndexConfig"]["segmentPartitionConfig"] = self.partitions();
        }
        config
    }

    fn fields(&self) -> Value {
        let wanted = [
            (
                "ts",
                json!({ "timestampConfig": { "granularities": ["HOUR", "DAY", "WEEK"] } }),
            ),
            ("body", json!({ "indexTypes": ["TEXT"] })),
            ("doc", json!({ "indexes": { "json": {} } })),
        ];
        let has = |name: &str| self.table.columns.iter().any(|column| column.name == name);
        let fields = wanted.into_iter().filter(|(name, _)| has(name));
        let fields = fields.map(|(name, mut field)| {
            field["name"] = json!(name);
            field
        });
        fields.collect()
    }

    /// More partitions than a segment holds, so that there is something to leave out.
    fn partitions(&self) -> Value {
        let wanted = [
            (
                "id",
                json!({ "functionName": "Modulo", "numPartitions": 5000 }),
            ),
            (
                "code",
                json!({ "functionName": "Murmur", "numPartitions": 64 }),
            ),
            (
                "port",
                json!({ "functionName": "HashCode", "numPartitions": 900 }),
            ),
            (
                "city",
                json!({ "functionName": "Murmur3", "numPartitions": 100,
                "functionConfig": { "variant": "x64_32", "seed": "9001" } }),
            ),
            (
                "shop",
                json!({ "functionName": "ByteArray", "numPartitions": 900 }),
            ),
        ];
        let has = |name: &str| self.table.columns.iter().any(|column| column.name == name);
        let columns = wanted.into_iter().filter(|(name, _)| has(name));
        let columns = columns.map(|(name, by)| (name.to_owned(), by));
        json!({ "columnPartitionMap": columns.collect::<serde_json::Map<String, Value>>() })
    }

    fn indexes(&self, form: &str) -> Value {
        let names = |fits: fn(Type) -> bool| -> Vec<&str> {
            let columns = self.table.columns.iter();
            let fitting = columns.filter(|column| fits(column.data_type));
            fitting.map(|column| column.name).collect()
        };
        let mut indexes = match form {
            "many" => json!({}),
            _ => json!({
                "invertedIndexColumns":
                    names(|t| matches!(t, Type::String | Type::Int | Type::Boolean)),
                "rangeIndexColumns": names(|t| matches!(t, Type::Long | Type::Double)),
                "bloomFilterColumns": names(|t| matches!(t, Type::String | Type::Long)),
                "enableDefaultStarTree": true,
            }),
        };
        let dimensions: Vec<&str> = self.table.dimensions().map(|column| column.name).collect();
        if form == "one" {
            indexes["sortedColumn"] = json!([dimensions.first().unwrap_or(&"id")]);
        }
        let mut pairs = vec!["COUNT__*".to_owned()];
        for column in self.table.summed() {
            let own = ["SUM", "MIN", "MAX", "AVG"].map(|f| format!("{f}__{}", column.name));
            pairs.extend(own);
        }
        let by_day = std::iter::once("$ts$DAY").chain(dimensions.iter().copied().take(2));
        indexes["starTreeIndexConfigs"] = json!([{
            "dimensionsSplitOrder": by_day.collect::<Vec<_>>(),
            "functionColumnPairs": pairs,
            "maxLeafRecords": 10,
        }]);
        if let Some(trees) = indexes["starTreeIndexConfigs"].as_array_mut()
            && !dimensions.is_empty()
        {
            trees.push(json!({
                "dimensionsSplitOrder": dimensions,
                "functionColumnPairs": pairs,
                "maxLeafRecords": 50,
            }));
        }
        indexes
    }

    /// Asks in every form and some ways; what differed, told so that it can be repeated.
    pub async fn check(
        &self,
        question: &Question,
        oracle: &mut Oracle,
        random: &mut SmallRng,
        used: &mut Used,
    ) -> Result<Vec<String>> {
        let with_nulls = random.random_bool(0.6) && !question.is_pinot;
        let table = if with_nulls { "t" } else { "t_defaults" };
        let duck = question.duck.replace("{t}", table);
        used.questions += 1;
        let expected = match oracle.rows(&duck).await? {
            Ok(rows) => rows,
            Err(_) => {
                used.refused_by_oracle += 1;
                return Ok(Vec::new());
            }
        };
        used.with_rows += u64::from(!expected.is_empty());
        let mut ways: Vec<(&str, &[(&str, &str)])> =
            FORMS.iter().map(|form| (*form, &[][..])).collect();
        for _ in 0..2 {
            let form = FORMS.choose(random).unwrap_or(&"one");
            let options = OPTIONS.choose(random).unwrap_or(&OPTIONS[0]);
            ways.push((form, options));
        }
        let mut failures = Vec::new();
        let (mut at, mut by_rows) = (0, false);
        while let Some((form, options)) = ways.get(at).copied() {
            at += 1;
            let sql = question.ours.replace("{t}", &format!("\"{form}\""));
            let trees = used.trees();
            let wrong = match self
                .ask(&sql, question.is_pinot, with_nulls, options, used)
                .await?
            {
                Ok(found) => difference(&expected, &found, question.ordered),
                Err(error) => Some(error),
            };
            if used.trees() > trees && !by_rows {
                by_rows = true;
                used.without_trees += 1;
                ways.push((form, WITHOUT_TREES));
            }
            if let Some(wrong) = wrong {
                failures.push(format!(
                    "{wrong}\n  table `{form}`, nulls {with_nulls}, options {options:?}\n  \
                     ours: {sql}\n  duck: {duck}"
                ));
            }
        }
        Ok(failures)
    }

    /// Two statements of ours that have the same answer, in every form.
    pub async fn check_equal(&self, pair: &[String; 2], used: &mut Used) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        for form in FORMS {
            let [a, b] = pair
                .each_ref()
                .map(|sql| sql.replace("{t}", &format!("\"{form}\"")));
            used.questions += 1;
            let first = self.ask(&a, false, true, &[], used).await?;
            let second = self.ask(&b, false, true, &[], used).await?;
            let wrong = match (first, second) {
                (Ok(first), Ok(second)) => difference(&first, &second, true),
                (Err(error), _) | (_, Err(error)) => Some(error),
            };
            if let Some(wrong) = wrong {
                failures.push(format!("{wrong}\n  this: {a}\n  as that: {b}"));
            }
        }
        Ok(failures)
    }

    async fn ask(
        &self,
        sql: &str,
        is_pinot: bool,
        with_nulls: bool,
        options: &[(&str, &str)],
        used: &mut Used,
    ) -> Result<Result<Rows, String>> {
        if is_pinot {
            let options = options
                .iter()
                .map(|(key, value)| format!("SET {key} = '{value}'; "));
            let sql = options.collect::<String>() + sql;
            let answer = self.cluster.pinot(&sql).await?;
            used.answers += 1;
            let errors = answer["exceptions"]
                .as_array()
                .filter(|errors| !errors.is_empty());
            if let Some(errors) = errors {
                return Ok(Err(errors[0]["message"].to_string()));
            }
            return Ok(Ok(serde_json::from_value(
                answer["resultTable"]["rows"].clone(),
            )?));
        }
        let mut all: BTreeMap<&str, &str> = options.iter().copied().collect();
        all.insert(
            "enableNullHandling",
            if with_nulls { "true" } else { "false" },
        );
        let address = &self.cluster.node(0).addresses.broker_http;
        let request = self.cluster.http.post(format!("http://{address}/v1/sql"));
        let answer = request
            .json(&json!({ "sql": sql, "options": all }))
            .send()
            .await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        if !status.is_success() {
            return Ok(Err(body["error"]["message"].to_string()));
        }
        used.answers += 1;
        used.add(&body["stats"]);
        let rows = serde_json::from_value(body["rows"].clone());
        Ok(Ok(rows.with_context(|| format!("no rows in {body}"))?))
    }

    pub async fn end(self) {
        self.cluster.stop().await;
    }
}

/// The lines as so many files beside `file`.
fn pieces_of(file: &Path, lines: &[String], count: usize) -> Result<Vec<PathBuf>> {
    let size = lines.len().div_ceil(count);
    let pieces = lines.chunks(size).enumerate().map(|(at, lines)| {
        let path = file.with_file_name(format!("piece-{count}-{at}.json"));
        std::fs::write(&path, lines.join("\n"))?;
        Ok(path)
    });
    pieces.collect()
}
