//! One drawn table in every form, and the ways that a question can take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answers::{Rows, difference};
use super::oracle::Oracle;
use super::questions::Question;
use super::table::{Table, Type};
use super::ways::{EVERY, Used, Way};
use crate::cluster::{Cluster, Over};

/// One sealed segment with every index, many with star-trees only and some columns without a
/// dictionary, consuming rows, both at once.
const FORMS: [&str; 4] = ["one", "many", "live", "both"];
const PARTITIONS: u32 = 2;
/// The least that seals a few segments of the table `both`.
const ROWS_MIN: usize = 400;
const ROWS_MAX: usize = 9_000;
/// Questions asked again, a second later.
const PATIENCE: usize = 30;

#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub table: Table,
    /// Columns of `many` that get no dictionary.
    plain: Vec<&'static str>,
    cluster: Cluster,
    _folder: tempfile::TempDir,
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
        oracle.load("t", &table, &file).await?;
        let plain = table.without_dictionary(&mut random);
        let world = Self {
            seed,
            plain,
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
            "many" => json!({ "noDictionaryColumns": self.plain }),
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

    /// Asks in every form and in ways beside the usual one, among them one without each index that
    /// was used; what differed, told so that it can be repeated.
    pub async fn check(
        &self,
        question: &Question,
        oracle: &mut Oracle,
        random: &mut SmallRng,
        used: &mut Used,
    ) -> Result<Vec<String>> {
        let with_nulls = random.random_bool(0.6) && !question.is_pinot;
        let table = match (with_nulls, question.is_pinot) {
            (true, _) => "t",
            (false, true) => "t_pinot",
            (false, false) => "t_defaults",
        };
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
        let mut ways: Vec<(&str, Way)> = FORMS.iter().map(|form| (*form, Way::Usual)).collect();
        for way in EVERY {
            ways.push((FORMS.choose(random).unwrap_or(&"one"), way));
        }
        let mut failures = Vec::new();
        let mut at = 0;
        while let Some((form, way)) = ways.get(at).copied() {
            at += 1;
            let sql = question.ours.replace("{t}", &format!("\"{form}\""));
            let asked = match question.is_pinot {
                true => self.ask_pinot(&sql, way, used).await?,
                false => self.ask(&sql, with_nulls, way, used).await?,
            };
            let wrong = match asked {
                Ok((found, stats)) => {
                    if way == Way::Usual {
                        let others = Way::without_used(&stats).into_iter();
                        let is_new = |way: &Way| !ways.iter().any(|(_, known)| known == way);
                        let others: Vec<Way> = others.filter(is_new).collect();
                        ways.extend(others.into_iter().map(|way| (form, way)));
                    }
                    let differs = difference(&expected, &found, question.ordered);
                    differs.or_else(|| way.contradiction(&stats))
                }
                Err(error) => Some(error),
            };
            if let Some(wrong) = wrong {
                failures.push(format!(
                    "{wrong}\n  table `{form}`, nulls {with_nulls}, {way:?}\n  \
                     ours: {sql}\n  duck: {duck}"
                ));
            }
        }
        Ok(failures)
    }

    /// Answers to one statement in every form, with nulls and without, to find what differs.
    pub async fn show(&self, sql: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for form in FORMS {
            let sql = sql.replace("{t}", &format!("\"{form}\""));
            for nulls in [true, false] {
                let mut used = Used::default();
                let answer = self.ask(&sql, nulls, Way::Usual, &mut used).await?;
                let answer = answer.map(|(rows, _)| rows);
                lines.push(format!("`{form}`, nulls {nulls}: {answer:?}"));
            }
        }
        Ok(lines)
    }

    /// Two statements of ours that have the same answer, in every form.
    pub async fn check_equal(
        &self,
        pair: &[String; 2],
        random: &mut SmallRng,
        used: &mut Used,
    ) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        let with_nulls = random.random_bool(0.6);
        used.questions += 1;
        for form in FORMS {
            let [a, b] = pair
                .each_ref()
                .map(|sql| sql.replace("{t}", &format!("\"{form}\"")));
            let way = EVERY.choose(random).copied().unwrap_or(Way::Usual);
            let first = self.ask(&a, with_nulls, Way::Usual, used).await?;
            let second = self.ask(&b, with_nulls, way, used).await?;
            let wrong = match (first, second) {
                (Ok((first, _)), Ok((second, stats))) => {
                    let differs = difference(&first, &second, false);
                    differs.or_else(|| way.contradiction(&stats))
                }
                (Err(error), _) | (_, Err(error)) => Some(error),
            };
            if let Some(wrong) = wrong {
                failures.push(format!(
                    "{wrong}\n  nulls {with_nulls}, {way:?}\n  this: {a}\n  as that: {b}"
                ));
            }
        }
        Ok(failures)
    }

    /// Rows and what was done for them, or why there are none.
    async fn ask(
        &self,
        sql: &str,
        with_nulls: bool,
        way: Way,
        used: &mut Used,
    ) -> Result<Result<(Rows, Value), String>> {
        let nulls = ("enableNullHandling", with_nulls.to_string());
        let options: BTreeMap<&str, String> = way.option().into_iter().chain([nulls]).collect();
        let address = &self.cluster.node(0).addresses.broker_http;
        let body = json!({ "sql": sql, "options": options });
        let mut patience = PATIENCE;
        let mut body: Value = loop {
            let request = self.cluster.http.post(format!("http://{address}/v1/sql"));
            let answer = request.json(&body).send().await?;
            let status = answer.status();
            let answer: Value = answer.json().await?;
            // On a busy machine a node is sometimes not heard of in time.
            if status == StatusCode::SERVICE_UNAVAILABLE && patience > 0 {
                patience -= 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            if !status.is_success() {
                return Ok(Err(answer["error"]["message"].to_string()));
            }
            break answer;
        };
        used.answers += 1;
        used.add(way, &body["stats"]);
        let rows = serde_json::from_value(body["rows"].take());
        let rows = rows.with_context(|| format!("no rows in {body}"))?;
        Ok(Ok((rows, body["stats"].take())))
    }

    /// As [`Self::ask`]; answers in Pinot's form tell less.
    async fn ask_pinot(
        &self,
        sql: &str,
        way: Way,
        used: &mut Used,
    ) -> Result<Result<(Rows, Value), String>> {
        let option = way.option();
        let option = option.map(|(key, value)| format!("SET {key} = '{value}'; "));
        let sql = option.unwrap_or_default() + sql;
        let mut answer = self.cluster.pinot(&sql).await?;
        used.answers += 1;
        let errors = answer["exceptions"].as_array();
        if let Some(first) = errors.and_then(|errors| errors.first()) {
            return Ok(Err(first["message"].to_string()));
        }
        let rows = serde_json::from_value(answer["resultTable"]["rows"].take())?;
        Ok(Ok((rows, json!({ "nativeOperators": 0 }))))
    }

    pub async fn end(self) {
        self.cluster.stop().await;
    }
}

/// The lines as so many files beside `file`.
pub(super) fn pieces_of(file: &Path, lines: &[String], count: usize) -> Result<Vec<PathBuf>> {
    let size = lines.len().div_ceil(count);
    let pieces = lines.chunks(size).enumerate().map(|(at, lines)| {
        let path = file.with_file_name(format!("piece-{count}-{at}.json"));
        std::fs::write(&path, lines.join("\n"))?;
        Ok(path)
    });
    pieces.collect()
}
