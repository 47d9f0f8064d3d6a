//! Tasks that rewrite segments beside readers: every row is seen once, whoever works on it, whoever
//! dies over it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, both, both_with_minions, until};

const SCHEMA: &str = r#"{"schemaName":"trips","enableColumnBasedNullHandling":true,
 "dimensionFieldSpecs":[{"name":"id","dataType":"LONG"},{"name":"rider","dataType":"STRING"}],
 "metricFieldSpecs":[{"name":"fare","dataType":"LONG"}],
 "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;

const DAY_MS: i64 = 86_400_000;
/// 2026-01-01.
const BEGIN_MS: i64 = 1_767_225_600_000;
const MINION: usize = 2;

async fn create(cluster: &Cluster, config: Value) -> Result<()> {
    let schema: Value = serde_json::from_str(SCHEMA)?;
    let body = json!({ "schema": schema, "tableConfig": config });
    cluster.post("/v1/tables", &body).await?;
    Ok(())
}

fn offline(tasks: &Value) -> Value {
    json!({
        "tableName": "trips", "tableType": "OFFLINE",
        "segmentsConfig": { "timeColumnName": "ts", "replication": "2" },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
        "ingestionConfig": { "batchIngestionConfig": { "segmentIngestionType": "APPEND",
            "segmentIngestionFrequency": "DAILY" } },
        "task": { "taskTypeConfigsMap": tasks },
    })
}

/// A file for each range of ids, so a segment for each; every fare is 1. Three rows of four have a
/// rider.
async fn import(
    cluster: &Cluster,
    files: impl IntoIterator<Item = std::ops::Range<i64>>,
    ts: impl Fn(i64) -> i64,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let addresses = &cluster.node(0).addresses;
    let (broker, controller) = (&addresses.broker_http, &addresses.controller_http);
    for (number, ids) in files.into_iter().enumerate() {
        let rows = ids.map(|id| {
            let rider = match id % 4 {
                0 => "null".to_owned(),
                rest => format!("\"rider {rest}\""),
            };
            let ts = ts(id);
            format!("{{\"id\":{id},\"rider\":{rider},\"fare\":1,\"ts\":{ts}}}\n")
        });
        let path = folder.path().join(format!("{number}.json"));
        std::fs::write(&path, rows.collect::<String>())?;
        // One by one: together they would be one segment.
        let inputs = [path.display().to_string()];
        tannin::load::import(broker, controller, "trips", &inputs, None).await?;
    }
    Ok(())
}

/// Names of segments that queries see.
async fn segments(cluster: &Cluster) -> Result<Vec<String>> {
    let path = "/segments/trips?type=OFFLINE&excludeReplacedSegments=true";
    let listed = cluster.get(path).await?;
    let names = listed[0]["OFFLINE"].as_array().context("no segments")?;
    Ok(names
        .iter()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect())
}

/// Orders what is due; the job, if something was.
async fn schedule(cluster: &Cluster, task_type: &str) -> Result<Option<String>> {
    let path = format!("/tasks/schedule?taskType={task_type}");
    let answer = cluster.post(&path, &json!({})).await?;
    Ok(answer[task_type].as_str().map(str::to_owned))
}

async fn state(cluster: &Cluster, job: &str) -> Result<String> {
    let state = cluster.get(&format!("/tasks/task/{job}/state")).await?;
    Ok(state.as_str().context("no state")?.to_owned())
}

async fn done(cluster: &Cluster, job: &str) -> Result<()> {
    until("the task is done", || async {
        let state = state(cluster, job).await?;
        ensure!(
            state == "COMPLETED",
            "it is {state}: {}",
            debug(cluster, job).await?
        );
        Ok(())
    })
    .await
}

async fn debug(cluster: &Cluster, job: &str) -> Result<Value> {
    cluster.get(&format!("/tasks/task/{job}/debug")).await
}

/// Orders and waits until nothing is due any more.
async fn all_done(cluster: &Cluster, task_type: &str) -> Result<usize> {
    let mut jobs = 0;
    while let Some(job) = schedule(cluster, task_type).await? {
        done(cluster, &job).await?;
        jobs += 1;
    }
    Ok(jobs)
}

/// Every answer is this one.
async fn always(
    cluster: &Cluster,
    statement: &str,
    wanted: &[i64],
    over: &AtomicBool,
    answers: &AtomicU64,
) -> Result<()> {
    let sql = cluster.sql();
    while !over.load(Ordering::Relaxed) {
        let found = sql.numbers(statement).await?;
        ensure!(found == wanted, "{statement}: {found:?}, not {wanted:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Works while `statement` is asked all the time.
async fn beside<T>(
    cluster: &Cluster,
    (statement, wanted): (&str, &[i64]),
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = always(cluster, statement, wanted, &over, &answers);
    let work = async {
        let worked = work.await;
        over.store(true, Ordering::Relaxed);
        worked
    };
    let (read, worked) = tokio::join!(read, work);
    read?;
    let worked = worked?;
    let answers = answers.into_inner();
    ensure!(answers > 5, "only {answers} times it was asked");
    Ok(worked)
}

const ALL: &str =
    "SELECT COUNT(*), SUM(id), COUNT(DISTINCT id), SUM(fare), COUNT(rider) FROM trips";

fn sums(rows: i64) -> [i64; 5] {
    [rows, rows * (rows - 1) / 2, rows, rows, rows * 3 / 4]
}

#[tokio::test(flavor = "multi_thread")]
async fn small_segments_become_large_ones_whoever_dies_over_it() -> Result<()> {
    const ROWS: i64 = 40_000;
    both_with_minions(2, async |mut cluster: Cluster| {
        let tasks = json!({ "MergeRollupTask": {
            "1day.mergeType": "concat", "1day.bucketTimePeriod": "1d",
            "4days.mergeType": "concat", "4days.bucketTimePeriod": "4d",
            "4days.maxNumRecordsPerSegment": "15000",
        }});
        create(&cluster, offline(&tasks)).await?;
        // Each of 20 files has rows of every day.
        let ts = |id| BEGIN_MS + (id % 4) * DAY_MS + id;
        let files = (0..20).map(|file| file * ROWS / 20..(file + 1) * ROWS / 20);
        import(&cluster, files, ts).await?;
        ensure!(segments(&cluster).await?.len() == 20);
        let job = schedule(&cluster, "MergeRollupTask")
            .await?
            .context("nothing is due")?;
        // Whoever has it is stopped in the middle; the other goes on with it.
        let first = until("a minion works", || async {
            let found = debug(&cluster, &job).await?;
            let part = &found["subtaskInfos"][0];
            ensure!(part["state"] == "RUNNING", "{found}");
            Ok(part["participant"].as_str().context("nobody")?.to_owned())
        })
        .await?;
        let address = |at: usize| cluster.node(at).addresses.minion_http.replace(':', "_");
        let victim = match first.ends_with(&address(MINION)) {
            true => MINION,
            false => MINION + 1,
        };
        cluster.stop_node(victim).await;
        let asked = &cluster;
        beside(asked, (ALL, &sums(ROWS)), async {
            done(asked, &job).await?;
            let parts = &debug(asked, &job).await?["subtaskInfos"];
            let history = parts[0]["history"].as_array().context("no history")?;
            ensure!(history.len() == 2, "{parts}");
            ensure!(history[0]["participant"] == first.as_str(), "{parts}");
            ensure!(history[1]["participant"] != first.as_str(), "{parts}");
            all_done(asked, "MergeRollupTask").await
        })
        .await?;
        // Two buckets of 20,000 rows, 15,000 in a segment.
        ensure!(segments(asked).await?.len() == 4);
        let path = "/tasks/MergeRollupTask/trips_OFFLINE/metadata";
        let marks = cluster.get(path).await?;
        let reached = &marks["watermarkMap"]["1day"];
        ensure!(
            reached
                .as_i64()
                .is_some_and(|ms| ms >= BEGIN_MS + 4 * DAY_MS),
            "{marks}"
        );
        let minion = cluster
            .sql()
            .rows("SELECT COUNT(*) FROM sys.tasks WHERE state = 'DONE'")
            .await?;
        ensure!(minion[0][0].as_i64() > Some(1), "{minion:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_agree_are_rolled_up_or_kept_once() -> Result<()> {
    both(async |cluster: Cluster| {
        // Ten rows of a file are the same but for their time of the day, and so are four files.
        let tasks = json!({ "MergeRollupTask": {
            "1day.mergeType": "rollup", "1day.bucketTimePeriod": "1d",
            "1day.roundBucketTimePeriod": "1d", "fare.aggregationType": "sum",
        }});
        create(&cluster, offline(&tasks)).await?;
        let folder = tempfile::tempdir()?;
        let addresses = &cluster.node(0).addresses;
        let (broker, controller) = (&addresses.broker_http, &addresses.controller_http);
        for file in 0..4i64 {
            let rows = (0..300i64).map(|row| {
                let (day, id) = (row % 3, row % 30);
                let ts = BEGIN_MS + day * DAY_MS + file * 1000 + row;
                format!("{{\"id\":{id},\"rider\":\"r\",\"fare\":2,\"ts\":{ts}}}\n")
            });
            let path = folder.path().join(format!("{file}.json"));
            std::fs::write(&path, rows.collect::<String>())?;
            let inputs = [path.display().to_string()];
            tannin::load::import(broker, controller, "trips", &inputs, None).await?;
        }
        let inputs = [folder.path().display().to_string()];
        let fares = "SELECT SUM(fare), COUNT(DISTINCT id) FROM trips";
        beside(&cluster, (fares, &[2400, 30]), async {
            all_done(&cluster, "MergeRollupTask").await
        })
        .await?;
        let found = cluster
            .sql()
            .numbers("SELECT COUNT(*), MAX(fare) FROM trips")
            .await?;
        ensure!(found == [30, 80], "{found:?}");
        // Twice the same file, and once is enough.
        let body = json!({ "taskType": "MergeRollupTask", "tableName": "trips_OFFLINE",
            "taskConfigs": { "all.mergeType": "dedup", "all.bucketTimePeriod": "30d" } });
        tannin::load::import(broker, controller, "trips", &inputs, None).await?;
        let count = cluster.sql().numbers("SELECT COUNT(*) FROM trips").await?;
        ensure!(count == [1230], "{count:?}");
        let path = folder.path().join("0.json");
        let inputs = [path.display().to_string()];
        tannin::load::import(broker, controller, "trips", &inputs, None).await?;
        let answer = cluster.post("/tasks/execute", &body).await?;
        let job = answer["trips_OFFLINE"].as_str().context("nothing is due")?;
        done(&cluster, job).await?;
        let count = cluster.sql().numbers("SELECT COUNT(*) FROM trips").await?;
        ensure!(count == [1230], "{count:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

fn realtime(cluster: &Cluster, tasks: &Value) -> Value {
    json!({
        "tableName": "trips", "tableType": "REALTIME",
        "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
        "task": { "taskTypeConfigsMap": tasks },
        "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
            "streamType": "kafka", "stream.kafka.topic.name": "trips",
            "stream.kafka.broker.list": cluster.log(),
            "stream.kafka.decoder.class.name": "json",
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "realtime.segment.flush.threshold.rows": "150",
        }] } },
    })
}

/// Day by day rows of a stream move to the OFFLINE part, by the schedule in the table's config.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_moves_to_the_offline_part_while_it_is_read() -> Result<()> {
    const ROWS: i64 = 1200;
    both_with_minions(2, async |mut cluster: Cluster| {
        cluster.create_topic("trips", 2).await?;
        create(&cluster, offline(&json!({}))).await?;
        let tasks = json!({ "RealtimeToOfflineSegmentsTask": {
            "schedule": "*/1 * * * * ?", "bucketTimePeriod": "1d", "bufferTimePeriod": "1d",
        }});
        create(&cluster, realtime(&cluster, &tasks)).await?;
        let ts = |id: i64| BEGIN_MS + id * (DAY_MS / 200);
        let row = |id: i64| {
            let rider = if id % 4 == 0 { "null" } else { "\"ann\"" };
            let ts = ts(id);
            (
                (id % 2) as u32,
                format!("{{\"id\":{id},\"rider\":{rider},\"fare\":1,\"ts\":{ts}}}"),
            )
        };
        cluster.produce("trips", (0..ROWS).map(row)).await?;
        cluster.wait_for("SELECT COUNT(*) FROM trips", ROWS).await?;
        let watermark = async |cluster: &Cluster| {
            let path = "/tasks/RealtimeToOfflineSegmentsTask/trips_REALTIME/metadata";
            anyhow::Ok(cluster.get(path).await?["watermarkMs"].as_i64())
        };
        // What is not sealed keeps its day back; the others move, also when a minion is stopped.
        until("a day has moved", || async {
            let reached = watermark(&cluster).await?;
            ensure!(reached >= Some(BEGIN_MS + DAY_MS), "{reached:?}");
            Ok(())
        })
        .await?;
        cluster.stop_node(MINION).await;
        let asked = &cluster;
        beside(asked, (ALL, &sums(ROWS)), async {
            asked.post("/tables/trips/forceCommit", &json!({})).await?;
            until("everything has moved", || async {
                let reached = watermark(asked).await?;
                ensure!(reached == Some(BEGIN_MS + 6 * DAY_MS), "{reached:?}");
                Ok(())
            })
            .await
        })
        .await?;
        let sql = cluster.sql();
        let moved = sql
            .numbers("SELECT COUNT(*), COUNT(rider) FROM trips_OFFLINE")
            .await?;
        ensure!(moved == [ROWS, ROWS * 3 / 4], "{moved:?}");
        let path = "/debug/timeBoundary/trips";
        let (_, body) = cluster.call(Role::Broker, Method::GET, path, None).await?;
        let told: Value = serde_json::from_str(&body)?;
        let boundary = (ts(ROWS - 1) - DAY_MS).to_string();
        ensure!(told["timeValue"] == boundary.as_str(), "{told}");
        // Nothing is moved twice.
        let count = sql.numbers(ALL).await?;
        ensure!(count == sums(ROWS), "{count:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_removed_for_good_and_segments_made_anew() -> Result<()> {
    both(async |cluster: Cluster| {
        let tasks = json!({
            "PurgeTask": { "purgeFilter": "rider = 'rider 1' OR id = 3" },
            "RefreshSegmentTask": {},
        });
        create(&cluster, offline(&tasks)).await?;
        let files = [0..100, 100..200];
        import(&cluster, files, |id| BEGIN_MS + id).await?;
        let before = segments(&cluster).await?;
        let sum = "SELECT SUM(id) FROM trips WHERE rider = 'rider 2'";
        let wanted: i64 = (0..200).filter(|id| id % 4 == 2).sum();
        beside(&cluster, (sum, &[wanted]), async {
            all_done(&cluster, "PurgeTask").await
        })
        .await?;
        let left = "SELECT COUNT(*), MIN(id), COUNT(rider) FROM trips";
        let found = cluster.sql().numbers(left).await?;
        ensure!(found == [149, 0, 99], "{found:?}");
        let after = segments(&cluster).await?;
        ensure!(
            after.len() == 2 && after.iter().all(|name| !before.contains(name)),
            "{after:?}"
        );
        // Looked at lately; by order they are looked at again, and nothing changes.
        ensure!(schedule(&cluster, "PurgeTask").await?.is_none());
        let body = json!({ "taskType": "PurgeTask", "tableName": "trips", "taskName": "again",
            "taskConfigs": { "purgeFilter": "id < 0", "lastPurgeTimeThresholdPeriod": "0d" } });
        let answer = cluster.post("/tasks/execute", &body).await?;
        ensure!(
            answer["trips_OFFLINE"] == "Task_PurgeTask_again",
            "{answer}"
        );
        done(&cluster, "Task_PurgeTask_again").await?;
        ensure!(segments(&cluster).await? == after);
        // A new order of rows holds for what is made from now on, and by the task for all.
        ensure!(schedule(&cluster, "RefreshSegmentTask").await?.is_none());
        let mut config = offline(&tasks);
        config["tableIndexConfig"]["sortedColumn"] = json!(["rider"]);
        let (status, body) = cluster
            .call(
                Role::Controller,
                Method::PUT,
                "/tables/trips_OFFLINE",
                Some(config.to_string()),
            )
            .await?;
        ensure!(status.is_success(), "{body}");
        let jobs = beside(&cluster, (sum, &[wanted]), async {
            all_done(&cluster, "RefreshSegmentTask").await
        })
        .await?;
        ensure!(jobs == 1, "{jobs} jobs");
        let sorted = "SELECT rider FROM trips WHERE \"$segmentName\" = ";
        for name in segments(&cluster).await? {
            ensure!(!after.contains(&name), "{name}");
            let rows = cluster
                .sql()
                .rows(&format!("{sorted}'{name}' ORDER BY \"$docId\""))
                .await?;
            let riders: Vec<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
            ensure!(riders.is_sorted(), "{riders:?}");
        }
        ensure!(cluster.sql().numbers(left).await? == [149, 0, 99]);
        refused(&cluster).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

async fn refused(cluster: &Cluster) -> Result<()> {
    for (body, reason) in [
        (
            json!({ "taskType": "SweepTask", "tableName": "trips" }),
            "is no type of task",
        ),
        (
            json!({ "taskType": "PurgeTask", "tableName": "none" }),
            "does not exist",
        ),
        (
            json!({ "taskType": "PurgeTask", "tableName": "trips" }),
            "purgeFilter: missing",
        ),
        (
            json!({ "taskType": "PurgeTask", "tableName": "trips",
                "taskConfigs": { "purgeFilter": "nobody = 1" } }),
            "nobody",
        ),
    ] {
        let (status, said) = cluster
            .call(
                Role::Controller,
                Method::POST,
                "/tasks/execute",
                Some(body.to_string()),
            )
            .await?;
        ensure!(
            status.is_client_error() && said.contains(reason),
            "{status}: {said}"
        );
    }
    let path = "/tasks/task/Task_none/state";
    let (status, said) = cluster
        .call(Role::Controller, Method::GET, path, None)
        .await?;
    ensure!(status == 404, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_stopped_cancelled_and_give_way_to_people() -> Result<()> {
    both(async |cluster: Cluster| {
        let tasks = json!({ "MergeRollupTask": {
            "1day.mergeType": "concat", "1day.bucketTimePeriod": "1d",
        }});
        create(&cluster, offline(&tasks)).await?;
        import(&cluster, [0..50, 50..100], |id| BEGIN_MS + id).await?;
        let put = async |path: &str| {
            let (status, said) = cluster
                .call(Role::Controller, Method::PUT, path, None)
                .await?;
            ensure!(status.is_success(), "{path}: {said}");
            anyhow::Ok(())
        };
        put("/tasks/MergeRollupTask/stop").await?;
        ensure!(cluster.get("/tasks/MergeRollupTask/state").await? == "STOPPED");
        let job = schedule(&cluster, "MergeRollupTask")
            .await?
            .context("nothing is due")?;
        ensure!(
            schedule(&cluster, "MergeRollupTask").await?.is_none(),
            "it is ordered already"
        );
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        ensure!(state(&cluster, &job).await? == "NOT_STARTED");
        ensure!(cluster.get("/tasks/MergeRollupTask/tasks").await? == json!([job]));
        let config = cluster.get(&format!("/tasks/task/{job}/config")).await?;
        ensure!(config[0]["taskType"] == "MergeRollupTask", "{config}");
        ensure!(
            config[0]["configs"]["segmentName"] == "trips_0,trips_1",
            "{config}"
        );
        let answer = cluster
            .post(&format!("/v1/tasks/{job}/cancel"), &json!({}))
            .await?;
        ensure!(answer == json!({ "cancelled": 1 }), "{answer}");
        ensure!(state(&cluster, &job).await? == "ABORTED");
        cluster.delete(&format!("/tasks/task/{job}")).await?;
        ensure!(cluster.get("/tasks/MergeRollupTask/tasks").await? == json!([]));
        put("/tasks/MergeRollupTask/resume").await?;
        let job = schedule(&cluster, "MergeRollupTask")
            .await?
            .context("nothing is due")?;
        done(&cluster, &job).await?;
        ensure!(segments(&cluster).await?.len() == 1);
        ensure!(cluster.sql().numbers(ALL).await? == sums(100));
        ensure!(cluster.get("/tasks/tasktypes").await? == json!(["MergeRollupTask"]));
        // What was merged is there for an hour, hidden.
        let all = cluster.get("/segments/trips?type=OFFLINE").await?;
        ensure!(
            all[0]["OFFLINE"].as_array().map(Vec::len) == Some(3),
            "{all}"
        );
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_becomes_parquet_files_that_are_read_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = format!("export.url=file://{}", folder.path().display());
    for settings in [vec![], vec![place.as_str()]] {
        let cluster = Cluster::start_set(Over::InProcess, &settings).await?;
        let mut config = offline(&json!({ "ParquetExportTask": { "maxAttemptsPerTask": 1 } }));
        config["segmentsConfig"]["replication"] = json!("1");
        create(&cluster, config.clone()).await?;
        import(&cluster, [0..40, 40..100], |id| BEGIN_MS + id).await?;
        let job = schedule(&cluster, "ParquetExportTask").await?;
        let job = job.context("nothing is due")?;
        if settings.is_empty() {
            until("it is refused", || async {
                let found = debug(&cluster, &job).await?;
                ensure!(found["taskState"] == "FAILED", "{found}");
                let info = found["subtaskInfos"][0]["info"].as_str();
                ensure!(
                    info.is_some_and(|info| info.contains("export.url")),
                    "{found}"
                );
                Ok(())
            })
            .await?;
            cluster.stop().await;
            continue;
        }
        done(&cluster, &job).await?;
        let exports = folder.path().join("trips_OFFLINE");
        let one = std::fs::read_dir(&exports)?.next().context("no export")??;
        let listed = std::fs::read_dir(one.path())?;
        let mut names: Vec<String> = listed
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        ensure!(
            names == ["_SUCCESS", "trips_0.parquet", "trips_1.parquet"],
            "{names:?}"
        );
        let addresses = &cluster.node(0).addresses;
        let (broker, controller) = (&addresses.broker_http, &addresses.controller_http);
        let inputs = [one.path().display().to_string()];
        let replace = Some(batch::Mode::Refresh);
        tannin::load::import(broker, controller, "trips", &inputs, replace).await?;
        ensure!(cluster.sql().numbers(ALL).await? == sums(100));
        cluster.stop().await;
    }
    Ok(())
}
