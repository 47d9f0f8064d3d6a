//! Indexes that a table asks for later: built beside queries, with unchanged answers, found again
//! after a restart, and never a reason for a wrong answer when their file is damaged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, SERVERS, both, until};
use tests::flights;

const ROWS: u64 = 14_000;
const TREE: &str = "SELECT carrier, origin, COUNT(*), SUM(distance), MAX(air_time) FROM flights \
                    WHERE dest = 'ATL' GROUP BY carrier, origin ORDER BY carrier, origin LIMIT 100";
const DEST: &str = "SELECT COUNT(*), SUM(distance) FROM flights WHERE origin = 'JFK'";

async fn load(cluster: &Cluster) -> Result<Value> {
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let mut table = flights::table(&cluster.log(), "flights", 2);
    table["tableConfig"]["tableIndexConfig"]["invertedIndexColumns"] = json!(["carrier"]);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(ROWS)?).await?;
    cluster
        .wait_for("SELECT COUNT(*) FROM flights", ROWS as i64)
        .await?;
    // A replica that takes a segment from the other reads on behind it: first all of them have it.
    let sealed = "SELECT COUNT(*) FROM sys.segments \
                  WHERE \"table\" = 'flights' AND status = 'DONE' AND servers LIKE '%,%'";
    cluster.wait_for(sealed, 4).await?;
    cluster
        .wait_for_each("SELECT COUNT(*) FROM flights", ROWS as i64)
        .await?;
    Ok(table["tableConfig"].clone())
}

async fn put(cluster: &Cluster, config: &Value) -> Result<Value> {
    let body = Some(config.to_string());
    let (status, text) = cluster
        .call(Role::Controller, Method::PUT, "/tables/flights", body)
        .await?;
    ensure!(status.is_success(), "{status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

/// Reloads the table and waits until every replica is done; the last status.
async fn reload(cluster: &Cluster, path: &str) -> Result<Value> {
    let answer = cluster.post(path, &json!({})).await?;
    let status = answer["status"].as_str().context("no status")?;
    let job = match answer.get("reloadJobId") {
        Some(id) => id.as_str().map(str::to_owned),
        None => {
            let jobs: Value = serde_json::from_str(status)?;
            let id = &jobs["flights_REALTIME"]["reloadJobId"];
            id.as_str().map(str::to_owned)
        }
    };
    let job = job.with_context(|| format!("no job: {answer}"))?;
    until("the reload is done", || async {
        let status = cluster
            .get(&format!("/segments/segmentReloadStatus/{job}"))
            .await?;
        ensure!(status["failureCount"] == 0, "{status}");
        ensure!(
            status["successCount"] == status["totalSegmentCount"],
            "{status}"
        );
        Ok(status)
    })
    .await
}

fn rows(answer: &Value) -> Value {
    answer["resultTable"]["rows"].clone()
}

/// Documents and entries that a question looked at.
fn looked_at(answer: &Value) -> u64 {
    let keys = [
        "numDocsScanned",
        "numEntriesScannedInFilter",
        "numEntriesScannedPostFilter",
    ];
    keys.iter().filter_map(|key| answer[*key].as_u64()).sum()
}

fn sidecars(cluster: &Cluster) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for index in 0..SERVERS {
        let mut folders = vec![cluster.data_dir(index).join("segments")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "idx") {
                    found.push(path);
                }
            }
        }
    }
    Ok(found)
}

fn with_indexes(config: &Value) -> Value {
    let mut config = config.clone();
    let indexes = &mut config["tableIndexConfig"];
    indexes["invertedIndexColumns"] = json!(["carrier", "origin"]);
    indexes["starTreeIndexConfigs"] = json!([{
        "dimensionsSplitOrder": ["dest", "carrier", "origin"],
        "functionColumnPairs": ["COUNT__*", "SUM__distance", "MAX__air_time"],
        "maxLeafRecords": 10,
    }]);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_come_and_go_beside_queries() -> Result<()> {
    both(|mut cluster| async move {
        let config = load(&cluster).await?;
        let (tree, dest) = (cluster.pinot(TREE).await?, cluster.pinot(DEST).await?);
        let need = "/segments/flights_REALTIME/needReload?verbose=true";
        until("no index is missing", || async {
            ensure!(cluster.get(need).await?["needReload"] == false);
            Ok(())
        })
        .await?;

        reload_under_questions(&cluster, &with_indexes(&config), need).await?;
        ensure!(cluster.get(need).await?["needReload"] == false);

        let after = cluster.pinot(TREE).await?;
        ensure!(rows(&after) == rows(&tree), "{after} is not {tree}");
        ensure!(looked_at(&after) < looked_at(&tree), "{after}");
        let off = cluster
            .pinot(&format!("SET useStarTree = false; {TREE}"))
            .await?;
        ensure!(rows(&off) == rows(&tree), "{off} is not {tree}");
        ensure!(looked_at(&off) > looked_at(&after), "{off}");
        ensure!(rows(&cluster.pinot(DEST).await?) == rows(&dest));
        shows_indexes(&cluster).await?;

        // A restart finds them again.
        ensure!(sidecars(&cluster)?.len() == 8, "{:?}", sidecars(&cluster)?);
        for index in (0..SERVERS).rev() {
            cluster.stop_node(index).await;
        }
        for index in 0..SERVERS {
            cluster.start_node(index).await?;
        }
        cluster.wait_ready().await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM flights", ROWS as i64)
            .await?;
        let again = cluster.pinot(TREE).await?;
        ensure!(rows(&again) == rows(&tree), "{again} is not {tree}");

        changed_without_a_reload(&cluster, &config, need).await?;

        // What is not wanted any more is not used, and its files go.
        put(&cluster, &config).await?;
        until("the sidecars go", || async {
            let left = sidecars(&cluster)?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let without = cluster.pinot(TREE).await?;
        ensure!(rows(&without) == rows(&tree), "{without} is not {tree}");
        ensure!(looked_at(&without) > looked_at(&after), "{without}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Puts the config and reloads, under questions without a pause.
async fn reload_under_questions(cluster: &Cluster, config: &Value, need: &str) -> Result<()> {
    let stop = AtomicBool::new(false);
    let sql = cluster.sql();
    let asking = async {
        let expected = sql.numbers(DEST).await?;
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            let found = sql.numbers(DEST).await?;
            ensure!(found == expected, "{found:?} are not {expected:?}");
            asked += 1;
        }
        ensure!(asked > 0, "nothing was asked");
        Ok(())
    };
    let reloading = async {
        put(cluster, config).await?;
        until("servers tell what is missing", || async {
            ensure!(cluster.get(need).await?["needReload"] == true);
            Ok(())
        })
        .await?;
        let status = reload(cluster, "/segments/flights/reload").await?;
        ensure!(status["totalSegmentCount"] == 8, "{status}");
        ensure!(
            status["metadata"]["jobType"] == "RELOAD_SEGMENT",
            "{status}"
        );
        Ok(())
    };
    let reloading = async {
        let outcome = reloading.await;
        stop.store(true, Ordering::Relaxed);
        outcome
    };
    let (asking, reloading) = tokio::join!(asking, reloading);
    reloading.and(asking)
}

/// A config that gives up one index and names another: what it gives up goes, nothing is built
/// until somebody asks for it.
async fn changed_without_a_reload(cluster: &Cluster, config: &Value, need: &str) -> Result<()> {
    let mut other = with_indexes(config);
    other["tableIndexConfig"]["invertedIndexColumns"] = json!(["carrier", "dest"]);
    let whole = sidecars(cluster)?;
    put(cluster, &other).await?;
    until("the sidecars are written anew", || async {
        let found = sidecars(cluster)?;
        let are_new = found.iter().all(|path| !whole.contains(path));
        ensure!(found.len() == whole.len() && are_new, "{found:?}");
        Ok(())
    })
    .await?;
    let indexes = "SELECT DISTINCT indexes FROM sys.segments WHERE status = 'DONE'";
    let found = cluster.pinot(indexes).await?;
    let kept = json!([["inverted(carrier), star_tree(dest,carrier,origin)"]]);
    ensure!(rows(&found) == kept, "{found}");
    ensure!(cluster.get(need).await?["needReload"] == true);
    reload(cluster, "/segments/flights/reload").await?;
    let found = cluster.pinot(indexes).await?;
    let all = json!([["inverted(carrier), inverted(dest), star_tree(dest,carrier,origin)"]]);
    ensure!(rows(&found) == all, "{found}");
    Ok(())
}

async fn shows_indexes(cluster: &Cluster) -> Result<()> {
    let all = cluster.get("/tables/flights/indexes").await?;
    ensure!(
        all["columnToIndexesCount"]["origin"]["inverted"] == 4,
        "{all}"
    );
    ensure!(all["starTreesCount"]["dest,carrier,origin"] == 4, "{all}");
    let segments = cluster.get("/segments/flights").await?;
    let names = segments[0]["REALTIME"].as_array().context("no segments")?;
    let name = names
        .iter()
        .filter_map(Value::as_str)
        .find(|name| name.contains("__0__0__"));
    let name = name.context("no first segment")?;
    let metadata = cluster
        .get(&format!("/segments/flights/{name}/metadata"))
        .await?;
    ensure!(
        metadata["indexes"]["origin"]["inverted-index"] == "YES",
        "{metadata}"
    );
    let tree = &metadata["star-tree-index"][0];
    ensure!(
        tree["dimension-columns"] == json!(["dest", "carrier", "origin"]),
        "{metadata}"
    );
    // One segment alone, taken from the deep store once more.
    let path = format!("/segments/flights/{name}/reload?forceDownload=true");
    let status = reload(cluster, &path).await?;
    ensure!(status["totalSegmentCount"] == 2, "{status}");
    ensure!(status["metadata"]["segmentName"] == name, "{status}");
    let (status, text) = cluster
        .call(
            Role::Controller,
            Method::GET,
            "/segments/segmentReloadStatus/none",
            None,
        )
        .await?;
    ensure!(status == 404, "{status}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_sidecars_are_dropped_and_built_again() -> Result<()> {
    both(|mut cluster| async move {
        let config = load(&cluster).await?;
        let tree = cluster.pinot(TREE).await?;
        put(&cluster, &with_indexes(&config)).await?;
        reload(&cluster, "/segments/flights/reload").await?;
        let fast = cluster.pinot(TREE).await?;
        // While they are in use.
        for path in sidecars(&cluster)? {
            spoil(&path)?;
        }
        for _ in 0..4 {
            let found = cluster.pinot(TREE).await?;
            ensure!(rows(&found) == rows(&tree), "{found} is not {tree}");
        }
        is_fast_again(&cluster, &fast).await?;
        // While nobody looks, and one of them is gone.
        for index in (0..SERVERS).rev() {
            cluster.stop_node(index).await;
        }
        let files = sidecars(&cluster)?;
        let (first, rest) = files.split_first().context("no sidecars")?;
        std::fs::remove_file(first)?;
        for path in rest {
            spoil(path)?;
        }
        for index in 0..SERVERS {
            cluster.start_node(index).await?;
        }
        cluster.wait_ready().await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM flights", ROWS as i64)
            .await?;
        let found = cluster.pinot(TREE).await?;
        ensure!(rows(&found) == rows(&tree), "{found} is not {tree}");
        is_fast_again(&cluster, &fast).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

async fn is_fast_again(cluster: &Cluster, fast: &Value) -> Result<()> {
    until("the indexes are built again", || async {
        let found = cluster.pinot(TREE).await?;
        ensure!(rows(&found) == rows(fast), "{found} is not {fast}");
        ensure!(looked_at(&found) <= looked_at(fast), "{found}");
        Ok(())
    })
    .await
}

/// Writes over the middle of a file.
fn spoil(path: &std::path::Path) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle).take(512) {
        *byte ^= 0x55;
    }
    std::fs::write(path, bytes)?;
    Ok(())
}

/// Columns that came later, with what makes them: `[name, type, transform]`.
const LATER: [[&str; 3]; 5] = [
    ["route", "STRING", "concat(origin, dest, '-')"],
    ["late", "INT", "CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END"],
    ["hours", "DOUBLE", "air_time / 60.0"],
    ["minutes", "DOUBLE", "hours * 60.0"],
    ["lost", "STRING", "upper(\"no column\")"],
];
const BY_ROUTE: &str = "SELECT route, COUNT(*), SUM(late) FROM flights \
                        GROUP BY route ORDER BY route LIMIT 1000";
/// The same, from what was there from the beginning.
const BY_ENDS: &str = "SELECT concat(origin, dest, '-') AS r, COUNT(*), \
                       SUM(CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END) FROM flights \
                       GROUP BY r ORDER BY r LIMIT 1000";
const WRONG: &str = "SET enableNullHandling = true; \
                     SELECT COUNT(*) FROM flights WHERE route IS NULL OR lost IS NOT NULL \
                     OR (hours IS NULL) <> (air_time IS NULL) OR hours <> air_time / 60.0 \
                     OR (minutes IS NULL) <> (hours IS NULL) OR minutes <> hours * 60.0";

async fn add_columns(cluster: &Cluster, config: &Value) -> Result<()> {
    let mut schema = flights::table(&cluster.log(), "flights", 2)["schema"].clone();
    let fields = schema["dimensionFieldSpecs"].as_array_mut();
    let fields = fields.context("no dimensions")?;
    // With what makes them, in one step: no row comes with one and without the other.
    fields.extend(LATER.map(|[name, data_type, transform]| {
        json!({"name": name, "dataType": data_type, "transformFunction": transform})
    }));
    let (path, body) = ("/schemas/flights", Some(schema.to_string()));
    let (status, text) = cluster
        .call(Role::Controller, Method::PUT, path, body)
        .await?;
    ensure!(status.is_success(), "{status}: {text}");
    let mut config = config.clone();
    config["tableIndexConfig"]["invertedIndexColumns"] = json!(["carrier", "route"]);
    put(cluster, &config).await.map(drop)
}

/// Of each replica, whatever it has been through.
async fn is_computed(cluster: &Cluster) -> Result<()> {
    let wanted = cluster.pinot(BY_ENDS).await?;
    for _ in 0..2 * SERVERS {
        let found = cluster.pinot(BY_ROUTE).await?;
        ensure!(rows(&found) == rows(&wanted), "{found} is not {wanted}");
        let wrong = cluster.pinot(WRONG).await?;
        ensure!(rows(&wrong) == json!([[0]]), "{wrong}");
    }
    let by_route = "SELECT COUNT(*) FROM flights WHERE route = 'JFK-LAX'";
    let by_route = cluster.pinot(by_route).await?;
    let by_ends = "SELECT COUNT(*) FROM flights WHERE origin = 'JFK' AND dest = 'LAX'";
    let by_ends = cluster.pinot(by_ends).await?;
    ensure!(
        rows(&by_route) == rows(&by_ends),
        "{by_route} is not {by_ends}"
    );
    Ok(())
}

/// Old segments have the columns and, as all have, the index of one.
async fn is_indexed(cluster: &Cluster) -> Result<()> {
    until("the indexes are built", || async {
        let count = "SELECT SUM(CASE WHEN indexes LIKE '%computed(route)%' THEN 1 ELSE 0 END), \
                     SUM(CASE WHEN indexes LIKE '%inverted(route)%' THEN 1 ELSE 0 END), COUNT(*) \
                     FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
        let found = cluster.sql().numbers(count).await?;
        ensure!(found[0] >= 4 && found[1] == found[2], "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_later_are_computed() -> Result<()> {
    both(|mut cluster| async move {
        let config = load(&cluster).await?;
        add_columns(&cluster, &config).await?;
        let need = "/segments/flights_REALTIME/needReload?verbose=true";
        until("servers tell what is missing", || async {
            ensure!(cluster.get(need).await?["needReload"] == true);
            Ok(())
        })
        .await?;
        let before = "SELECT COUNT(*) FROM flights WHERE route IS NULL";
        let before = cluster.pinot(before).await?;
        ensure!(rows(&before) != json!([[0]]), "{before}");
        // Rows with the columns come to those without.
        let more: Vec<(u32, String)> = flights::events(ROWS + 4000)?.split_off(ROWS as usize);
        cluster.produce("flights", more).await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM flights", ROWS as i64 + 4000)
            .await?;
        reload(&cluster, "/segments/flights/reload").await?;
        is_computed(&cluster).await?;
        is_indexed(&cluster).await?;
        ensure!(cluster.get(need).await?["needReload"] == false);

        // While they are in use.
        let files = sidecars(&cluster)?;
        ensure!(!files.is_empty(), "nothing was written");
        for path in &files {
            spoil(path)?;
        }
        is_computed(&cluster).await?;
        is_indexed(&cluster).await?;
        // Servers that lost them show no segment without.
        for index in (0..SERVERS).rev() {
            cluster.stop_node(index).await;
        }
        for path in sidecars(&cluster)? {
            std::fs::remove_file(path)?;
        }
        for index in 0..SERVERS {
            cluster.start_node(index).await?;
        }
        cluster.wait_ready().await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM flights", ROWS as i64 + 4000)
            .await?;
        is_computed(&cluster).await?;
        is_indexed(&cluster).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}
