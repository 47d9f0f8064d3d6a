//! What happens over days and failures: restarts, replicas, damage, retention, dropped tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::clock::JumpingClock;
use tests::cluster::{Cluster, Over, both, until};
use tests::flights;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
/// Every column of every row.
const SUM: &str = "SELECT COUNT(*), SUM(flight), SUM(distance), SUM(dep_delay), SUM(arr_delay), \
                   SUM(air_time), SUM(dep_time), SUM(arr_time), SUM(sched_dep_time), \
                   SUM(sched_arr_time), SUM(year + month + day + hour + minute), \
                   COUNT(DISTINCT tailnum), COUNT(DISTINCT carrier), COUNT(DISTINCT origin), \
                   COUNT(DISTINCT dest), COUNT(DISTINCT time_hour), COUNT(DISTINCT event_time), \
                   SUM(\"$offset\") FROM flights";

async fn load_flights(cluster: &Cluster, rows: u64, replication: u32) -> Result<()> {
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", replication);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(rows)?).await?;
    cluster.wait_for(COUNT, i64::try_from(rows)?).await
}

async fn wait_sealed(cluster: &Cluster, segments: i64) -> Result<()> {
    let sealed =
        "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
    cluster.wait_for(sealed, segments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_no_answer() -> Result<()> {
    both(|mut cluster| async move {
        load_flights(&cluster, 8_000, 1).await?;
        wait_sealed(&cluster, 2).await?;
        let before = cluster.sql().numbers(SUM).await?;
        for index in (0..tests::cluster::SERVERS).rev() {
            cluster.stop_node(index).await;
        }
        for index in 0..tests::cluster::SERVERS {
            cluster.start_node(index).await?;
        }
        cluster.wait_ready().await?;
        cluster.wait_for(COUNT, 8_000).await?;
        ensure!(cluster.sql().numbers(SUM).await? == before);
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_a_table() -> Result<()> {
    both(|cluster| async move {
        load_flights(&cluster, 8_000, 1).await?;
        let answer = cluster.pinot(COUNT).await?;
        ensure!(answer["numServersQueried"] == 2, "{answer}");
        ensure!(answer["numServersResponded"] == 2, "{answer}");
        let answer = cluster
            .pinot("SELECT COUNT(*) FROM flights WHERE \"$partition\" = 1")
            .await?;
        ensure!(answer["resultTable"]["rows"][0][0] == 4_000, "{answer}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_without_losing_a_row() -> Result<()> {
    both(|mut cluster| async move {
        load_flights(&cluster, 8_000, 2).await?;
        wait_sealed(&cluster, 2).await?;
        let before = cluster.sql().numbers(SUM).await?;
        // Both hold the same bytes of every sealed segment.
        let files = |index| seg_files(&cluster.data_dir(index).join("segments"));
        until("both replicas hold all segments", || async {
            let (first, second) = (files(0)?, files(1)?);
            ensure!(first.len() == 2 && first == second, "{first:?} {second:?}");
            Ok(())
        })
        .await?;
        cluster.stop_node(1).await;
        until("one server answers for all", || async {
            ensure!(cluster.sql().numbers(SUM).await? == before);
            Ok(())
        })
        .await?;
        // It seals on without the other.
        let more: Vec<_> = flights::events(16_000)?.split_off(8_000);
        cluster.produce("flights", more).await?;
        cluster.wait_for(COUNT, 16_000).await?;
        wait_sealed(&cluster, 4).await?;
        cluster.start_node(1).await?;
        cluster.wait_ready().await?;
        cluster.wait_for(COUNT, 16_000).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Names of the segment files below a folder, without their folder.
fn seg_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in walk(folder)? {
        if path.extension().is_some_and(|end| end == "seg") {
            let inside = path.strip_prefix(folder)?;
            names.push(inside.display().to_string());
        }
    }
    names.sort();
    Ok(names)
}

/// All files but the one that says whose the deep store is.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_none_or(|name| name != "CLUSTER") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_set_aside_and_loaded_again() -> Result<()> {
    both(|mut cluster| async move {
        load_flights(&cluster, 8_000, 1).await?;
        wait_sealed(&cluster, 2).await?;
        let before = cluster.sql().numbers(SUM).await?;
        for index in (0..tests::cluster::SERVERS).rev() {
            cluster.stop_node(index).await;
        }
        let mut damaged = 0;
        for index in 0..tests::cluster::SERVERS {
            for file in walk(&cluster.data_dir(index).join("segments"))? {
                let mut bytes = std::fs::read(&file)?;
                match damaged {
                    0 => {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    }
                    _ => bytes.truncate(bytes.len() - 100),
                }
                std::fs::write(&file, bytes)?;
                damaged += 1;
            }
        }
        ensure!(damaged == 2, "{damaged} files instead of 2");
        for index in 0..tests::cluster::SERVERS {
            cluster.start_node(index).await?;
        }
        cluster.wait_ready().await?;
        until("the answer is right again", || async {
            let found = cluster.sql().numbers(SUM).await;
            // Refused is fine in the meantime, wrong is not.
            if let Ok(found) = &found
                && found != &before
            {
                panic!("wrong answer: {found:?} instead of {before:?}");
            }
            found
        })
        .await?;
        let mut quarantined = 0;
        for index in 0..tests::cluster::SERVERS {
            let folder = cluster.data_dir(index).join("segments/quarantine");
            quarantined += walk(&folder).map_or(0, |files| files.len());
        }
        ensure!(quarantined == 2, "{quarantined} files are set aside");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_segments_and_their_objects() -> Result<()> {
    for over in [Over::InProcess, Over::Grpc] {
        let clock = JumpingClock::shared();
        let cluster = Cluster::start_at(over, Arc::clone(&clock) as _).await?;
        load_flights(&cluster, 8_000, 1).await?;
        wait_sealed(&cluster, 2).await?;
        let deep = cluster.deepstore();
        ensure!(walk(&deep)?.len() == 2);

        // 36,500 days of retention, from 2013.
        clock.jump(Duration::from_secs(86_400 * 36_500));
        cluster.wait_for(COUNT, 2_000).await?;
        wait_sealed(&cluster, 0).await?;
        until("the minion has removed the objects", || async {
            let left = walk(&deep)?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        cluster.stop().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_nobody_refers_to_are_removed() -> Result<()> {
    for over in [Over::InProcess, Over::Grpc] {
        let clock = JumpingClock::shared();
        let cluster = Cluster::start_at(over, Arc::clone(&clock) as _).await?;
        load_flights(&cluster, 8_000, 1).await?;
        wait_sealed(&cluster, 2).await?;
        let known = walk(&cluster.deepstore())?;
        let orphan = |name: &str| known[0].with_file_name(name);
        let (old, young) = (orphan("77-0badc0de.seg"), orphan("78-0badc0de.seg"));
        for file in [&old, &young] {
            std::fs::write(file, "left behind by a commit that was killed")?;
        }
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        let times = std::fs::FileTimes::new().set_modified(long_ago);
        std::fs::File::options()
            .write(true)
            .open(&old)?
            .set_times(times)?;
        // They are looked for now and then; the files have the real time.
        clock.pass(Duration::from_secs(1_800));
        until("the orphan is gone", || async {
            ensure!(!old.exists(), "it is still there");
            Ok(())
        })
        .await?;
        // It may belong to a commit that is under way.
        ensure!(young.exists(), "the young one is gone too");
        ensure!(walk(&cluster.deepstore())?.len() == known.len() + 1);
        cluster.stop().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_leaves_nothing_and_its_name_is_free() -> Result<()> {
    both(|cluster| async move {
        load_flights(&cluster, 8_000, 1).await?;
        wait_sealed(&cluster, 2).await?;
        cluster.delete("/tables/flights").await?;
        until("the broker does not know it", || async {
            ensure!(cluster.sql().numbers(COUNT).await.is_err(), "it answers");
            Ok(())
        })
        .await?;
        until("no file is left", || async {
            let mut left = walk(&cluster.deepstore())?;
            for index in 0..tests::cluster::SERVERS {
                left.extend(walk(&cluster.data_dir(index).join("segments"))?);
            }
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        // The same name, another table: nothing of the old one comes back.
        let mut table = flights::table(&cluster.log(), "other", 1);
        table["tableConfig"]["tableName"] = json!("flights");
        cluster.create_topic("other", 1).await?;
        cluster.post("/v1/tables", &table).await?;
        cluster.wait_for(COUNT, 0).await?;
        let first = flights::events(1)?.pop().context("no event")?;
        cluster.produce("other", [first]).await?;
        cluster.wait_for(COUNT, 1).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}
