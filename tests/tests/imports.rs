//! Imports beside readers: what is replaced is seen whole, old or new; a hybrid table has every row
//! once while segments come on both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use batch::Mode;
use deepstore::DeepStore;
use deepstore::conformance::{s3_config, test_s3};
use reqwest::Method;
use runtime::{ComputePool, OsFiles};
use schemas::cluster::Role;
use serde_json::json;
use tests::cluster::{Cluster, Over, both, until};

const SCHEMA: &str = r#"{"schemaName":"trips","enableColumnBasedNullHandling":true,
 "dimensionFieldSpecs":[{"name":"id","dataType":"LONG"}],
 "metricFieldSpecs":[{"name":"generation","dataType":"LONG"}],
 "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;

const DAY_MS: i64 = 86_400_000;
/// 2026-01-01.
const BEGIN_MS: i64 = 1_767_225_600_000;

async fn create(cluster: &Cluster, config: serde_json::Value) -> Result<()> {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA)?;
    let body = json!({ "schema": schema, "tableConfig": config });
    cluster.post("/v1/tables", &body).await?;
    Ok(())
}

fn offline() -> serde_json::Value {
    json!({
        "tableName": "trips", "tableType": "OFFLINE",
        "segmentsConfig": { "timeColumnName": "ts", "replication": "2" },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
        "ingestionConfig": { "batchIngestionConfig": { "segmentIngestionType": "REFRESH",
            "segmentIngestionFrequency": "DAILY" } },
    })
}

async fn import(cluster: &Cluster, folder: &std::path::Path, mode: Option<Mode>) -> Result<u64> {
    let addresses = &cluster.node(0).addresses;
    let (broker, controller) = (&addresses.broker_http, &addresses.controller_http);
    let inputs = [folder.display().to_string()];
    let done = tannin::load::import(broker, controller, "trips", &inputs, mode).await?;
    Ok(done.rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_the_old_rows_or_the_new() -> Result<()> {
    both(async |cluster: Cluster| {
        create(&cluster, offline()).await?;
        let over = Arc::new(AtomicBool::new(false));
        let folder = tempfile::tempdir()?;
        let write = |generation: i64| -> Result<()> {
            for file in 0..4 {
                let rows = (0..50 * generation).map(|id| {
                    let ts = BEGIN_MS + id;
                    format!("{{\"id\":{id},\"generation\":{generation},\"ts\":{ts}}}\n")
                });
                let path = folder.path().join(format!("{file}.json"));
                std::fs::write(path, rows.collect::<String>())?;
            }
            Ok(())
        };
        write(1)?;
        import(&cluster, folder.path(), None).await?;
        let sql = cluster.sql();
        let read = {
            let over = Arc::clone(&over);
            async move {
                let (mut newest, mut answers) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let statement = "SELECT MIN(generation), MAX(generation), COUNT(*) FROM trips";
                    let found = sql.numbers(statement).await?;
                    let [least, most, rows] = found[..] else {
                        anyhow::bail!("{found:?}");
                    };
                    ensure!(least == most, "rows of {least} and of {most}");
                    ensure!(rows == 200 * most, "{rows} rows of {most}");
                    ensure!(most >= newest, "{most} after {newest}");
                    (newest, answers) = (most, answers + 1);
                }
                Ok(answers)
            }
        };
        let work = async {
            for generation in 2..=6 {
                write(generation)?;
                ensure!(import(&cluster, folder.path(), None).await? == 200 * generation as u64);
                // Whoever was told that it is done sees it.
                let found = cluster
                    .sql()
                    .numbers("SELECT MAX(generation) FROM trips")
                    .await?;
                ensure!(found == [generation], "{found:?} after {generation}");
            }
            // A bad file: nothing of the others is seen either.
            std::fs::write(folder.path().join("z.json"), "{\"id\":\"x\"}\n")?;
            ensure!(import(&cluster, folder.path(), None).await.is_err());
            tokio::time::sleep(Duration::from_millis(200)).await;
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(())
        };
        let (answers, worked) = tokio::join!(read, work);
        worked?;
        ensure!(answers? > 5, "hardly anything was asked");
        std::fs::remove_file(folder.path().join("z.json"))?;
        import(&cluster, folder.path(), None).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// A bad one among them: nothing of the others is seen either.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_small_files_become_few_segments() -> Result<()> {
    both(async |cluster: Cluster| {
        create(&cluster, offline()).await?;
        let folder = tempfile::tempdir()?;
        for file in 0..400 {
            let ids = file * 10..file * 10 + 10;
            let (name, rows): (_, Vec<String>) = match file % 2 {
                0 => (format!("{file:03}.json"), ids.map(row).collect()),
                _ => {
                    let fields = ids.map(|id| format!("{id},1,{}", BEGIN_MS + id));
                    let header = "id,generation,ts".to_owned();
                    let lines = std::iter::once(header).chain(fields);
                    (format!("{file:03}.csv"), lines.collect())
                }
            };
            std::fs::write(folder.path().join(name), rows.join("\n"))?;
        }
        let bad = folder.path().join("200a.json");
        std::fs::write(&bad, "{\"id\":\"x\"}\n")?;
        let failed = import(&cluster, folder.path(), None).await;
        let told = format!("{:#}", failed.err().context("it was taken")?);
        ensure!(told.contains("200a.json` row 1"), "{told}");
        let count = "SELECT COUNT(*), SUM(id), COUNT(DISTINCT id) FROM trips";
        let found = cluster.sql().rows(count).await?;
        ensure!(found[0][0] == 0, "{found:?}");
        std::fs::remove_file(&bad)?;
        ensure!(import(&cluster, folder.path(), None).await? == 4000);
        let found = cluster.sql().numbers(count).await?;
        ensure!(found == [4000, 4000 * 3999 / 2, 4000], "{found:?}");
        let segments = "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'trips' AND seen";
        let found = cluster.sql().numbers(segments).await?;
        ensure!(found == [1], "{found:?} segments");
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Day by day events are produced, then imported, while readers count.
#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_table_has_every_row_once() -> Result<()> {
    both(async |cluster: Cluster| {
        cluster.create_topic("trips", 2).await?;
        create(&cluster, offline()).await?;
        let realtime = json!({
            "tableName": "trips", "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {}, "metadata": {},
            "tableIndexConfig": { "nullHandlingEnabled": true },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka", "stream.kafka.topic.name": "trips",
                "stream.kafka.broker.list": cluster.log(),
                "stream.kafka.decoder.class.name": "json",
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": "150",
            }] } },
        });
        create(&cluster, realtime).await?;
        let (produced, over) = (AtomicI64::new(0), AtomicBool::new(false));
        let read = count_while(&cluster, &produced, &over);
        let work = async {
            let worked = days(&cluster, &produced).await;
            over.store(true, Ordering::Relaxed);
            worked
        };
        let (answers, worked) = tokio::join!(read, work);
        worked?;
        ensure!(answers? > 10, "hardly anything was asked");
        // Both sides are there, and each is asked for what it has alone.
        let sql = cluster.sql();
        let offline = sql.numbers("SELECT COUNT(*) FROM trips_OFFLINE").await?;
        ensure!(offline == [5 * ROWS_A_DAY], "{offline:?}");
        let path = "/debug/timeBoundary/trips";
        let (_, body) = cluster.call(Role::Broker, Method::GET, path, None).await?;
        let told: serde_json::Value = serde_json::from_str(&body)?;
        let newest = BEGIN_MS + 5 * DAY_MS - DAY_MS / ROWS_A_DAY;
        let boundary = (newest - DAY_MS).to_string();
        ensure!(
            told == json!({ "timeColumn": "ts", "timeValue": boundary }),
            "{told}"
        );
        // Without its OFFLINE rows all come from the stream again, at once.
        cluster.delete("/segments/trips?type=OFFLINE").await?;
        let found = sql.numbers("SELECT COUNT(*), SUM(id) FROM trips").await?;
        let all = 6 * ROWS_A_DAY;
        ensure!(found == [all, all * (all - 1) / 2], "{found:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

const ROWS_A_DAY: i64 = 200;

fn row(id: i64) -> String {
    let ts = BEGIN_MS + id * (DAY_MS / ROWS_A_DAY);
    format!("{{\"id\":{id},\"generation\":1,\"ts\":{ts}}}")
}

/// Each day's rows come in two halves by the stream, whole by import; some days twice.
async fn days(cluster: &Cluster, produced: &AtomicI64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for day in 0..6 {
        for half in 0..2 {
            let first = day * ROWS_A_DAY + half * ROWS_A_DAY / 2;
            let ids = first..first + ROWS_A_DAY / 2;
            let last = ids.end;
            cluster
                .produce("trips", ids.map(|id| ((id % 2) as u32, row(id))))
                .await?;
            cluster
                .wait_for("SELECT COUNT(*) FROM trips_REALTIME", last)
                .await?;
            produced.store(last, Ordering::Relaxed);
        }
        if day == 0 {
            continue;
        }
        // All days before this one; the last of them is still read from the stream.
        let rows = (0..day * ROWS_A_DAY)
            .map(row)
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::write(folder.path().join("days.json"), rows)?;
        import(cluster, folder.path(), None).await?;
    }
    Ok(())
}

/// Every answer has as many rows as were there when it was asked for, or a later moment.
async fn count_while(cluster: &Cluster, produced: &AtomicI64, over: &AtomicBool) -> Result<u64> {
    let sql = cluster.sql();
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let least = produced.load(Ordering::Relaxed);
        let statement = "SELECT COUNT(*), COALESCE(SUM(id), 0), COUNT(DISTINCT id) FROM trips";
        let found = sql
            .numbers(statement)
            .await
            .context("while segments came")?;
        let [rows, sum, distinct] = found[..] else {
            anyhow::bail!("{found:?}");
        };
        ensure!(rows >= least, "{rows} rows, {least} were there before");
        ensure!(rows == distinct, "{rows} rows with {distinct} ids");
        // Rows come in the order of their ids in each of two partitions.
        let known = rows <= 6 * ROWS_A_DAY && sum >= rows * (rows - 1) / 2;
        ensure!(known, "{rows} rows with the sum {sum}");
        answers += 1;
    }
    Ok(answers)
}

/// Orders an import; the id of its task.
async fn insert(cluster: &Cluster, statement: &str) -> Result<String> {
    let answer = cluster.pinot(statement).await?;
    let rows = &answer["resultTable"]["rows"];
    ensure!(rows[0][0] == "trips_OFFLINE", "{answer}");
    Ok(rows[0][1].as_str().context("no task")?.to_owned())
}

/// State, and what it did or why it failed.
async fn ended(cluster: &Cluster, task: &str) -> Result<(String, String)> {
    let statement = format!("SELECT state, summary, last_error FROM sys.tasks WHERE id = '{task}'");
    until("the task is over", || async {
        let rows = cluster.sql().rows(&statement).await?;
        let row = rows.first().context("no such task")?;
        let text = |at: usize| row[at].as_str().unwrap_or_default().to_owned();
        ensure!(["DONE", "FAILED"].contains(&text(0).as_str()), "{row:?}");
        let said = if text(0) == "DONE" { text(1) } else { text(2) };
        Ok((text(0), said))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_the_node_may_read_become_rows() -> Result<()> {
    let Some((endpoint, bucket)) = test_s3("objects_that_the_node_may_read") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let config = s3_config(&endpoint, &bucket, folder.path())?;
    let store = DeepStore::open(&config, Arc::new(OsFiles), ComputePool::new(1))?;
    for (key, ids) in [
        ("in/a.json", 0..10),
        ("in/b.json", 10..15),
        ("out/c.json", 0..1),
    ] {
        let rows = ids.map(row).collect::<Vec<_>>().join("\n");
        store.upload(key, rows.into()).await?;
    }
    let base = &config.url;
    let settings = [
        format!("import.objects=[\"{base}/in\"]"),
        format!("import.endpoint={endpoint}"),
        format!("import.credentials_file={}", config.credentials_file),
        "import.allow_http=true".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    for over in [Over::InProcess, Over::Grpc] {
        let cluster = Cluster::start_set(over, &settings).await?;
        let mut config = offline();
        config["segmentsConfig"]["replication"] = json!("1");
        create(&cluster, config).await?;
        let order = |what: &str| format!("INSERT INTO trips FROM FILE '{base}/{what}'");
        let task = insert(&cluster, &order("in/")).await?;
        let (state, said) = ended(&cluster, &task).await?;
        ensure!(state == "DONE" && said.contains("15 rows"), "{said}");
        ensure!(cluster.sql().numbers("SELECT COUNT(*) FROM trips").await? == [15]);
        for (what, reason) in [
            ("out/c.json", "import.objects"),
            ("in/none", "no such object"),
        ] {
            let task = insert(&cluster, &order(what)).await?;
            let (state, said) = ended(&cluster, &task).await?;
            ensure!(state == "FAILED" && said.contains(reason), "{what}: {said}");
        }
        cluster.stop().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_the_node_may_read_become_rows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().canonicalize()?.join("in");
    std::fs::create_dir(&root)?;
    let write = |name: &str, ids: std::ops::Range<i64>| {
        let rows = ids.map(row).collect::<Vec<_>>().join("\n");
        std::fs::write(root.join(name), rows)
    };
    write("a.json", 0..10)?;
    write("b.json", 10..15)?;
    write("../secret.json", 0..1)?;
    std::os::unix::fs::symlink(root.join("../secret.json"), root.join("link.json"))?;
    let root = root.display();
    let folders = format!("import.folders=[\"{root}\"]");
    for over in [Over::InProcess, Over::Grpc] {
        let settings = [folders.as_str(), "import.hosts=[\"127.0.0.1\"]"];
        let cluster = Cluster::start_set(over, &settings).await?;
        let mut config = offline();
        config["segmentsConfig"]["replication"] = json!("1");
        create(&cluster, config).await?;
        let statement = format!("INSERT INTO trips FROM FILE 'file://{root}/[ab].json'");
        let task = insert(&cluster, &statement).await?;
        let (state, said) = ended(&cluster, &task).await?;
        ensure!(
            (state.as_str(), said.as_str()) == ("DONE", "15 rows in 1 segment from 2 files"),
            "{said}"
        );
        let count = "SELECT COUNT(*) FROM trips";
        ensure!(cluster.sql().numbers(count).await? == [15]);
        for (uri, reason) in [
            (format!("{root}/../secret.json"), "import.folders"),
            (format!("{root}/link.json"), "import.folders"),
            ("file:///etc/passwd".to_owned(), "import.folders"),
            ("http://127.0.0.1:1/x.json".to_owned(), "no import may ask"),
            ("http://elsewhere.example/x.json".to_owned(), "import.hosts"),
            (format!("{root}/none.json"), "no such file"),
        ] {
            let task = insert(&cluster, &format!("INSERT INTO trips FROM FILE '{uri}'")).await?;
            let (state, said) = ended(&cluster, &task).await?;
            ensure!(
                state == "FAILED" && said.contains(reason),
                "{uri}: {state}: {said}"
            );
        }
        refused_at_once(&cluster).await?;

        // The two doors that answer when it is done; the second adds to what the first put there.
        let path = format!(
            "/ingestFromURI?tableNameWithType=trips_OFFLINE&sourceURIStr=file://{root}/b.json"
        );
        let answer = cluster.post(&path, &json!({})).await?;
        let said = answer["status"].as_str().unwrap_or_default();
        ensure!(said.contains("5 rows"), "{said}");
        ensure!(cluster.sql().numbers(count).await? == [5]);
        let form = format!(
            "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"more.csv\"\r\n\r\n\
             id,generation,ts\n1,1,{BEGIN_MS}\n2,1,{BEGIN_MS}\n\r\n--X--\r\n"
        );
        let path = "/ingestFromFile?tableNameWithType=trips_OFFLINE&batchConfigMapStr=\
                    %7B%22inputFormat%22%3A%22csv%22%2C%22segmentIngestionType%22%3A%22APPEND%22%7D";
        let request = cluster.request(Role::Controller, Method::POST, path, None);
        let request = request.header("content-type", "multipart/form-data; boundary=X");
        let answer = request.body(form).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(
            status.is_success() && body.contains("2 rows"),
            "{status}: {body}"
        );
        ensure!(cluster.sql().numbers(count).await? == [7]);
        cluster.stop().await;
    }
    Ok(())
}

async fn refused_at_once(cluster: &Cluster) -> Result<()> {
    for (statement, reason) in [
        ("INSERT INTO trips VALUES (1)", "from files alone"),
        (
            "INSERT INTO trips FROM FILE 'ftp://x/y.csv'",
            "cannot be read here",
        ),
        ("INSERT INTO none FROM FILE '/x.csv'", "does not exist"),
    ] {
        let answer = cluster.pinot(statement).await?;
        let said = answer["exceptions"][0]["message"]
            .as_str()
            .unwrap_or_default();
        ensure!(said.contains(reason), "{statement}: {answer}");
    }
    let path = "/query/sql?sql=INSERT%20INTO%20trips%20FROM%20FILE%20%27%2Fx.csv%27";
    let (_, body) = cluster.call(Role::Broker, Method::GET, path, None).await?;
    ensure!(body.contains("GET reads"), "{body}");
    Ok(())
}
