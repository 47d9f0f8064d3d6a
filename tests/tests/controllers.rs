//! Two controllers over one PostgreSQL: one decides, both answer, and when the lead moves in the
//! middle of commits nothing is lost and nothing is there twice.

use anyhow::{Context, Result, ensure};
use metastore::catalog::check;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream::{KafkaSource, StreamSource};
use tests::cluster::{produce, until};
use tests::flights;
use tests::postgres::Postgres;
use tests::process::number;
use tests::several::Several;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const SEALED: &str =
    "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
/// Of each partition: rows that are there twice, and offsets that are missing.
const PROOF: &str = "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
                     MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM flights GROUP BY 1";

async fn create_flights(cluster: &Several, through: usize) -> Result<()> {
    let source = KafkaSource::new(&cluster.log(), &[], "tests")?;
    source.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 1);
    let created = cluster.call(through, Method::POST, "/v1/tables", Some(&table));
    let (status, text) = created.await?;
    ensure!(status.is_success(), "{status}: {text}");
    Ok(())
}

async fn wait_for(cluster: &Several, sql: &str, wanted: impl Fn(i64) -> bool) -> Result<()> {
    let asked = cluster.sql();
    until(sql, || async {
        let found = asked.numbers(sql).await?;
        ensure!(wanted(found[0]), "it is {found:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_controller_answers_and_one_decides() -> Result<()> {
    let Some(server) = Postgres::start("two controllers")? else {
        return Ok(());
    };
    let mut cluster = Several::start(&server.up()?, 2).await?;
    let leader = cluster.wait_for_leader().await?;
    let other = 1 - leader;
    create_flights(&cluster, other).await?;
    for index in [leader, other] {
        let (status, tables) = cluster.get(index, "/tables").await?;
        ensure!(
            status.is_success() && tables.contains("flights"),
            "{index}: {tables}"
        );
        let (_, said) = cluster.get(index, "/leader/tables").await?;
        let said: Value = serde_json::from_str(&said)?;
        let wanted = json!({
            "leadControllerId": cluster.name(leader),
            "tableNames": ["flights_REALTIME"],
        });
        ensure!(
            said["leadControllerEntryMap"]["leadControllerResource_0"] == wanted,
            "{said}"
        );
    }
    let (status, missing) = cluster.get(other, "/tables/nothing/schema").await?;
    ensure!(
        status == StatusCode::NOT_FOUND,
        "as the leader says it: {status}: {missing}"
    );
    let nodes = "SELECT COUNT(*), SUM(CASE WHEN leads THEN 1 ELSE 0 END) FROM sys.nodes WHERE \
                 role = 'controller' AND alive";
    until("both controllers are in sys.nodes", || async {
        let found = cluster.sql().numbers(nodes).await?;
        ensure!(found == [2, 1], "{found:?}");
        Ok(())
    })
    .await?;

    // The leader goes: the other answers for itself.
    cluster.stop_controller(leader).await;
    let now = cluster.wait_for_leader().await?;
    ensure!(now == other);
    let (status, text) = cluster
        .call(other, Method::DELETE, "/tables/flights_REALTIME", None)
        .await?;
    ensure!(status.is_success(), "{status}: {text}");
    cluster.start_controller(leader).await?;
    until("the one that came back follows", || async {
        let (_, said) = cluster.get(leader, "/leader/tables").await?;
        let (_, tables) = cluster.get(leader, "/tables").await?;
        ensure!(!tables.contains("flights"), "{said} {tables}");
        Ok(())
    })
    .await?;
    ensure!(cluster.wait_for_leader().await? == other);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_moves_amid_commits_and_nothing_is_lost() -> Result<()> {
    const SLICES: usize = 6;
    const ROWS: u64 = 36_000;
    let Some(server) = Postgres::start("a lead that moves")? else {
        return Ok(());
    };
    let mut cluster = Several::start(&server.up()?, 2).await?;
    create_flights(&cluster, 0).await?;
    let events = flights::events(ROWS)?;
    for (n, slice) in events.chunks(events.len() / SLICES).enumerate() {
        // Each slice fills a segment of each partition: commits are under way.
        produce(&cluster.log(), "flights", slice.iter().cloned()).await?;
        let leader = cluster.wait_for_leader().await?;
        if n % 2 == 0 {
            cluster.stop_controller(leader).await;
            let after = cluster.wait_for_leader().await?;
            ensure!(after != leader);
            cluster.start_controller(leader).await?;
        } else {
            // Its holder does not know, and goes on until it is told.
            cluster.take_leases_away().await?;
        }
        let sum = i64::try_from((n + 1) * events.len() / SLICES)?;
        wait_for(&cluster, COUNT, |rows| rows == sum).await?;
    }
    let sealed = i64::try_from(ROWS / flights::SEGMENT_ROWS)?;
    wait_for(&cluster, SEALED, |count| count >= sealed - 2).await?;
    wait_for(&cluster, COUNT, |rows| rows == ROWS as i64).await?;
    for row in cluster.sql().rows(PROOF).await? {
        ensure!(number(&row[1]) == 0 && number(&row[2]) == 0, "{row:?}");
    }
    let checked = check(&cluster.entries().await?);
    ensure!(checked.faults.is_empty(), "{:?}", checked.faults);
    ensure!(checked.tables == 1 && checked.segments > 10, "{checked:?}");
    let objects = cluster.folder().join("deepstore");
    for object in &checked.objects {
        let file = objects.join(&object.key);
        let bytes = std::fs::metadata(&file)
            .with_context(|| object.key.clone())?
            .len();
        ensure!(bytes == object.bytes, "{}: {bytes} bytes", object.key);
    }
    cluster.stop().await;
    Ok(())
}
