//! A cluster whose segments are in S3: they come back from there, go with their table, and wait
//! while the store is away. `cargo xtask test` starts an S3 and names it in `TEST_S3`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use deepstore::conformance::{FaultyProxy, SLOW_DOWN, Trouble, s3_config, test_s3};
use deepstore::{Config, DeepStore};
use runtime::{ComputePool, OsFiles};
use serde_json::json;
use tests::cluster::{Cluster, Over, SERVERS, until};
use tests::flights;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const SUM: &str = "SELECT COUNT(*), SUM(flight), SUM(distance), SUM(dep_delay), \
                   COUNT(DISTINCT tailnum), SUM(\"$offset\") FROM flights";
const SEALED: &str =
    "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";

/// A place of its own in the tests' S3, behind a proxy; nothing where no S3 is named.
struct S3 {
    proxy: FaultyProxy,
    config: Config,
    _folder: tempfile::TempDir,
}

impl S3 {
    async fn start(test: &str) -> Result<Option<Self>> {
        let Some((endpoint, bucket)) = test_s3(test) else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let proxy = FaultyProxy::start(&endpoint).await?;
        let config = s3_config(proxy.address(), &bucket, folder.path())?;
        Ok(Some(Self {
            proxy,
            config,
            _folder: folder,
        }))
    }

    fn settings(&self) -> Vec<String> {
        let config = &self.config;
        vec![
            format!("deepstore.url={}", config.url),
            format!("deepstore.endpoint={}", config.endpoint),
            format!("deepstore.region={}", config.region),
            format!("deepstore.credentials_file={}", config.credentials_file),
            "deepstore.allow_http=true".to_owned(),
            "deepstore.request_ms=5000".to_owned(),
        ]
    }

    async fn cluster(&self, over: Over, servers: usize) -> Result<Cluster> {
        let settings = self.settings();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Cluster::start_all_set(over, servers, &settings).await
    }

    fn store(&self) -> Result<DeepStore> {
        let pool = ComputePool::new(1);
        Ok(DeepStore::open(&self.config, Arc::new(OsFiles), pool)?)
    }

    /// Objects of segments.
    async fn segments(&self) -> Result<usize> {
        let objects = self.store()?.list("").await?;
        Ok(objects
            .iter()
            .filter(|object| object.key.ends_with(".seg"))
            .count())
    }
}

async fn load_flights(cluster: &Cluster, rows: u64, replication: u32) -> Result<()> {
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", replication);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(rows)?).await?;
    cluster.wait_for(COUNT, i64::try_from(rows)?).await
}

fn remove_segments(data_dir: &Path) -> Result<()> {
    let folder = data_dir.join("segments");
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())
}

async fn come_back(over: Over) -> Result<()> {
    let Some(s3) = S3::start("segments_come_back_from_s3").await? else {
        return Ok(());
    };
    let mut cluster = s3.cluster(over, 1).await?;
    load_flights(&cluster, 8_000, 1).await?;
    cluster.wait_for(SEALED, 2).await?;
    ensure!(s3.segments().await? == 2);
    let before = cluster.sql().numbers(SUM).await?;
    cluster.stop_node(0).await;
    remove_segments(&cluster.data_dir(0))?;
    // The first answers are cut, damaged, or none; the node starts all the same.
    cluster.start_node(0).await?;
    s3.proxy
        .next([SLOW_DOWN, Trouble::CutAfter(100), Trouble::Status(500, "")]);
    cluster.wait_ready().await?;
    cluster.wait_for(COUNT, 8_000).await?;
    let after = cluster.sql().numbers(SUM).await?;
    ensure!(after == before, "{after:?} instead of {before:?}");

    cluster.delete("/tables/flights").await?;
    until("no object is left", || async {
        let left = s3.segments().await?;
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_come_back_from_s3() -> Result<()> {
    come_back(Over::InProcess).await?;
    come_back(Over::Grpc).await
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_the_way_is_found_and_loaded_again() -> Result<()> {
    let Some(s3) = S3::start("damage_on_the_way").await? else {
        return Ok(());
    };
    let mut cluster = s3.cluster(Over::InProcess, 1).await?;
    load_flights(&cluster, 8_000, 1).await?;
    cluster.wait_for(SEALED, 2).await?;
    let before = cluster.sql().numbers(SUM).await?;
    cluster.stop_node(0).await;
    remove_segments(&cluster.data_dir(0))?;
    // Every answer has a wrong bit, so that no proof passes and no node starts on it.
    s3.proxy.always(Some(Trouble::FlipBit));
    let error = cluster.start_node(0).await.err();
    let told = format!("{:#}", error.context("it starts on a store that lies")?);
    ensure!(told.contains("deep store"), "{told}");
    s3.proxy.always(None);
    cluster.start_node(0).await?;
    s3.proxy.always(Some(Trouble::FlipBit));
    // Refused is fine, wrong is not.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    if let Ok(found) = cluster.sql().numbers(SUM).await {
        ensure!(found == before, "wrong answer: {found:?}");
    }
    s3.proxy.always(None);
    cluster.wait_ready().await?;
    cluster.wait_for(COUNT, 8_000).await?;
    ensure!(cluster.sql().numbers(SUM).await? == before);
    cluster.stop().await;
    Ok(())
}

async fn away(over: Over) -> Result<()> {
    let Some(s3) = S3::start("a_store_that_is_away_keeps_nobody").await? else {
        return Ok(());
    };
    let cluster = s3.cluster(over, SERVERS).await?;
    load_flights(&cluster, 8_000, 2).await?;
    cluster.wait_for(SEALED, 2).await?;
    s3.proxy.set_away(true);
    // Each partition's segment becomes full: it is sealed, and cannot be uploaded.
    let more: Vec<_> = flights::events(12_000)?.split_off(8_000);
    cluster.produce("flights", more).await?;
    cluster.wait_for_each(COUNT, 12_000).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.wait_for(SEALED, 2).await?;
    let during = cluster.sql().numbers(SUM).await?;
    s3.proxy.set_away(false);
    cluster.wait_for(SEALED, 4).await?;
    ensure!(s3.segments().await? == 4);
    let after = cluster.sql().numbers(SUM).await?;
    ensure!(after == during, "{after:?} instead of {during:?}");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_keeps_nobody() -> Result<()> {
    away(Over::InProcess).await?;
    away(Over::Grpc).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_place_is_refused() -> Result<()> {
    let Some(s3) = S3::start("another_clusters_place_is_refused").await? else {
        return Ok(());
    };
    let first = s3.cluster(Over::InProcess, 1).await?;
    let second = s3.cluster(Over::InProcess, 1).await;
    let told = format!("{:#}", second.err().context("two clusters share a place")?);
    ensure!(told.contains("belongs to the cluster"), "{told}");
    first.stop().await;
    Ok(())
}

async fn committed_without(over: Over) -> Result<()> {
    let Some(s3) = S3::start("a_table_may_commit_without_the_store").await? else {
        return Ok(());
    };
    let cluster = s3.cluster(over, SERVERS).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let mut table = flights::table(&cluster.log(), "flights", 2);
    table["tableConfig"]["segmentsConfig"]["peerSegmentDownloadScheme"] = json!("http");
    cluster.post("/v1/tables", &table).await?;
    s3.proxy.set_away(true);
    cluster.produce("flights", flights::events(8_000)?).await?;
    cluster.wait_for_each(COUNT, 8_000).await?;
    // After the patience it is committed, and the other replica has it from the first.
    cluster.wait_for(SEALED, 2).await?;
    let on_both = format!("{SEALED} AND servers LIKE '%,%'");
    cluster.wait_for(&on_both, 2).await?;
    let during = cluster.sql().numbers(SUM).await?;
    s3.proxy.set_away(false);
    until("what was committed without is stored", || async {
        let found = s3.segments().await?;
        ensure!(found == 2, "{found} objects");
        Ok(())
    })
    .await?;
    let after = cluster.sql().numbers(SUM).await?;
    ensure!(after == during, "{after:?} instead of {during:?}");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_commit_without_the_store() -> Result<()> {
    committed_without(Over::InProcess).await?;
    committed_without(Over::Grpc).await
}

async fn replica_gives(over: Over) -> Result<()> {
    let Some(s3) = S3::start("a_replica_gives_what_the_store_has_lost").await? else {
        return Ok(());
    };
    let mut cluster = s3.cluster(over, SERVERS).await?;
    load_flights(&cluster, 8_000, 2).await?;
    cluster.wait_for(SEALED, 2).await?;
    let before = cluster.sql().numbers(SUM).await?;
    cluster.wait_for_each(COUNT, 8_000).await?;
    // The one that goes on has the files too.
    let on_both = format!("{SEALED} AND servers LIKE '%,%'");
    cluster.wait_for(&on_both, 2).await?;
    cluster.stop_node(1).await;
    remove_segments(&cluster.data_dir(1))?;
    let store = s3.store()?;
    for object in store.list("").await? {
        if object.key.ends_with(".seg") {
            store.delete(&object.key).await?;
        }
    }
    cluster.start_node(1).await?;
    cluster.wait_ready().await?;
    cluster.wait_for_each(COUNT, 8_000).await?;
    ensure!(cluster.sql().numbers(SUM).await? == before);
    until("what was lost is in the store again", || async {
        let found = s3.segments().await?;
        ensure!(found == 2, "{found} objects");
        Ok(())
    })
    .await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_gives_what_the_store_has_lost() -> Result<()> {
    replica_gives(Over::InProcess).await?;
    replica_gives(Over::Grpc).await
}
