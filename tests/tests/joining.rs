//! Nodes that do not belong: a second one under a name, one of another cluster, one whose clock is
//! wrong. None of them changes anything for the others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::Clock;
use tests::clock::JumpingClock;
use tests::cluster::{Cluster, Over, until};
use tests::flights;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const ROWS: i64 = 4_000;
const HOUR: Duration = Duration::from_secs(3600);
/// Twice the lease of a name in these tests, and heartbeats.
const SOON: Duration = Duration::from_secs(20);

async fn cluster() -> Result<Cluster> {
    let cluster = Cluster::start_of(Over::Grpc, 2).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 2);
    cluster.post("/v1/tables", &table).await?;
    cluster
        .produce("flights", flights::events(ROWS as u64)?)
        .await?;
    cluster.wait_for_each(COUNT, ROWS).await?;
    Ok(cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_the_second_is_refused() -> Result<()> {
    let mut cluster = cluster().await?;
    let before = cluster.servers().await?;
    let copy = tempfile::tempdir()?;
    for file in ["INSTANCE", "CLUSTER", "FORMAT"] {
        std::fs::copy(cluster.data_dir(1).join(file), copy.path().join(file))?;
    }
    let second = cluster.start_stranger(copy.path()).await?;
    let refused = tokio::time::timeout(SOON, second.refused());
    let reason = refused.await.context("both go on")?;
    let own = &second.addresses.server_grpc;
    let first = &cluster.node(1).addresses.server_grpc;
    for told in [
        format!("lives already, at {first}, and another process, at {own}"),
        "stop one of them".to_owned(),
    ] {
        ensure!(reason.contains(&told), "{reason}");
    }
    ensure!(second.ready() == Err(reason), "it says that it serves");
    second.stop().await;
    // Nobody else has noticed.
    ensure!(cluster.servers().await? == before);
    cluster.wait_for_each(COUNT, ROWS).await?;

    // Who is stopped has let go of the name: the copy has it at once.
    cluster.stop_node(1).await;
    let second = cluster.start_stranger(copy.path()).await?;
    until("the copy serves", || async {
        second.ready().map_err(anyhow::Error::msg)
    })
    .await?;
    cluster.wait_for_each(COUNT, ROWS).await?;
    second.stop().await;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_refused() -> Result<()> {
    let cluster = cluster().await?;
    let ours = std::fs::read_to_string(cluster.data_dir(1).join("CLUSTER"))?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("FORMAT"), "1\n")?;
    std::fs::write(folder.path().join("CLUSTER"), "of-somebody-else\n")?;
    let stranger = cluster.start_stranger(folder.path()).await?;
    let refused = tokio::time::timeout(SOON, stranger.refused());
    let reason = refused.await.context("it is taken")?;
    let told = format!(
        "worked for the cluster of-somebody-else, and this is {}",
        ours.trim()
    );
    ensure!(reason.contains(&told), "{reason}");
    ensure!(cluster.servers().await?.len() == 2);
    stranger.stop().await;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off_is_not_taken_until_it_is_right() -> Result<()> {
    let mut cluster = cluster().await?;
    cluster.stop_node(1).await;
    let clock = JumpingClock::shared();
    clock.jump(HOUR);
    cluster
        .start_node_at(1, Arc::clone(&clock) as Arc<dyn Clock>)
        .await?;
    let wrong = async |cluster: &Cluster| {
        until("its clock is told to be wrong", || async {
            let reason = cluster
                .node(1)
                .ready()
                .err()
                .context("it says that it serves")?;
            let told = " s apart, and at most 60 s are allowed";
            ensure!(reason.contains(told), "{reason}");
            let alive = cluster.servers().await?;
            ensure!(alive.len() == 1, "{alive:?} live");
            Ok(())
        })
        .await
    };
    wrong(&cluster).await?;
    clock.back(HOUR);
    cluster.wait_ready().await?;
    cluster.wait_for_each(COUNT, ROWS).await?;

    // One that was taken goes on as if it were dead, and comes back.
    clock.jump(HOUR);
    wrong(&cluster).await?;
    for _ in 0..10 {
        let found = cluster.sql().numbers(COUNT).await?;
        ensure!(found == [ROWS], "{found:?}");
    }
    clock.back(HOUR);
    cluster.wait_ready().await?;
    cluster.wait_for_each(COUNT, ROWS).await?;
    cluster.stop().await;
    Ok(())
}
