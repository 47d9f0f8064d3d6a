//! Tables that are partitioned alike are joined on their servers, without an exchange.

use std::fmt::Write;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Over};

use super::{Doors, create_as, in_order, plan};

/// Of a column, in remainders by three, each on one server.
async fn create_by(doors: &Doors, table: &str, columns: &[(&str, &str)]) -> Result<()> {
    let (by, _) = columns[0];
    let config = json!({
        "tableName": table, "tableType": "OFFLINE",
        "segmentsConfig": { "replication": "1" },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": {
            "nullHandlingEnabled": true,
            "segmentPartitionConfig": { "columnPartitionMap": {
                by: { "functionName": "Modulo", "numPartitions": PARTITIONS } } },
        },
        "instanceAssignmentConfigMap": { "OFFLINE": { "replicaGroupPartitionConfig": {
            "replicaGroupBased": true, "numReplicaGroups": 1, "numPartitions": PARTITIONS,
            "numInstancesPerPartition": 1, "partitionColumn": by } } },
    });
    create_as(doors, table, columns, config).await
}

const PARTITIONS: i64 = 3;
/// Where the default of nulls is.
const OF_NULLS: i64 = i64::MIN.rem_euclid(PARTITIONS);

/// Rows of two tables by the same keys, those of a file in one partition.
async fn load_by_partition(doors: &Doors) -> Result<()> {
    create_by(
        doors,
        "buys",
        &[("customer", "LONG"), ("id", "LONG"), ("amount", "LONG")],
    )
    .await?;
    create_by(doors, "clicks", &[("visitor", "LONG"), ("page", "STRING")]).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.json");
    let key = |at: i64, every: i64, times: i64| match at % every {
        0 => None,
        _ => Some(at * times % 700),
    };
    let partition = |key: Option<i64>| key.map_or(OF_NULLS, |key| key.rem_euclid(PARTITIONS));
    for file in 0..2 * PARTITIONS {
        let is_here = |at: i64, key| partition(key) == file % PARTITIONS && at % 2 == file / 3;
        let (mut buys, mut clicks) = (String::new(), String::new());
        for at in 0..3000 {
            let customer = key(at, 40, 7);
            if is_here(at, customer) {
                let row = json!({ "customer": customer, "id": at, "amount": at % 23 });
                writeln!(buys, "{row}")?;
            }
            let visitor = key(at, 50, 11).map(|key| key + 200);
            if at < 2000 && is_here(at, visitor) {
                let row = json!({ "visitor": visitor, "page": format!("page {}", at % 17) });
                writeln!(clicks, "{row}")?;
            }
        }
        std::fs::write(&path, buys)?;
        doors.import("buys", &path).await?;
        std::fs::write(&path, clicks)?;
        doors.import("clicks", &path).await?;
    }
    doors.wait_for("SELECT count(*) FROM buys", 3000).await?;
    doors.wait_for("SELECT count(*) FROM clicks", 2000).await
}

/// Whether servers join by themselves, and a statement.
const BY_PARTITION: [(bool, &str); 10] = [
    (
        true,
        "SELECT b.id, c.page FROM buys b JOIN clicks c ON b.customer = c.visitor",
    ),
    (
        true,
        "SELECT count(*), sum(b.amount), max(c.page) FROM buys b JOIN clicks c \
        ON b.customer = c.visitor",
    ),
    (
        true,
        "SELECT b.amount, count(*), count(DISTINCT c.page) FROM buys b JOIN clicks c \
        ON b.customer = c.visitor WHERE b.id > 100 AND c.page <> 'page 3' GROUP BY b.amount",
    ),
    (
        true,
        "SELECT b.id, c.page FROM buys b LEFT JOIN clicks c ON b.customer = c.visitor \
        AND c.page < 'page 2'",
    ),
    (
        true,
        "SELECT b.id, c.page FROM buys b RIGHT JOIN clicks c ON b.customer = c.visitor",
    ),
    (
        true,
        "SELECT b.id, c.page FROM buys b FULL JOIN clicks c ON b.customer = c.visitor",
    ),
    (
        true,
        "SELECT count(*) FROM buys b JOIN clicks c ON b.customer = c.visitor JOIN buys d \
        ON c.visitor = d.customer AND d.id < 200",
    ),
    (
        false,
        "SELECT b.id, c.page FROM buys b JOIN clicks c ON b.customer = c.visitor + 1",
    ),
    (
        false,
        "SELECT b.id FROM buys b JOIN clicks c ON b.id = c.visitor",
    ),
    (
        false,
        "SELECT b.id FROM buys b WHERE b.customer = 7 AND EXISTS (SELECT 1 FROM clicks c \
        WHERE c.visitor <> b.customer)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_partitioned_alike_are_joined_where_they_are() -> Result<()> {
    let cluster = Cluster::start_of(Over::Grpc, 3).await?;
    let doors = Doors::from(&cluster);
    load_by_partition(&doors).await?;
    // A sum of a column is not the column: so they are gathered.
    let elsewhere = |sql: &str| sql.replace("b.customer =", "b.customer + 0 =");
    for round in 0..2 {
        for (is_colocated, sql) in BY_PARTITION {
            let explained = plan(&cluster, &format!("EXPLAIN {sql}")).await?;
            let told = explained.contains("colocated=true");
            let is_spread = explained.contains("ExchangeExec");
            ensure!(
                told == (is_colocated && round == 0),
                "{round}: {sql}: {explained}"
            );
            ensure!(!is_spread, "{sql}: {explained}");
            let wanted = in_order(&cluster.sql().rows(&elsewhere(sql)).await?);
            ensure!(!wanted.is_empty(), "{sql}: no rows");
            // The second time with a plan that is kept, and with another literal.
            for sql in [sql, sql, &sql.replace("> 100", "> 90")] {
                let rows = in_order(&cluster.sql().rows(sql).await?);
                let is_other = sql.contains("> 90");
                ensure!(rows == wanted || is_other, "{round}: {sql}: other rows");
            }
        }
        // A file whose rows are in two partitions: it is nowhere with both of them.
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("mixed.json");
        let rows = "{\"customer\":5,\"id\":1500,\"amount\":1}\n\
                    {\"customer\":6,\"id\":1501,\"amount\":1}\n";
        std::fs::write(&path, rows)?;
        doors.import("buys", &path).await?;
        let wanted = 3002 + 2 * round;
        doors.wait_for("SELECT count(*) FROM buys", wanted).await?;
    }
    cluster.stop().await;
    Ok(())
}
