//! One test of the flights from end to end, on the built-in log and on a real Apache Kafka: only
//! the address differs. `cargo xtask test` starts a Kafka and names it in `TEST_KAFKA`.

use anyhow::{Result, ensure};
use stream::{KafkaSource, StreamSource};
use tests::cluster::{both, produce};
use tests::{flights, process::number};

const ROWS: u64 = 10_000;
const PROOF: &str = "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
                     MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM flights GROUP BY 1";
const PER_CARRIER: &str = "SELECT carrier, COUNT(*), SUM(distance), COUNT(dep_delay), \
                           SUM(dep_delay) FROM flights GROUP BY carrier ORDER BY carrier";
/// DuckDB's answer to [`PER_CARRIER`] over the first 10,000 flights.
const EXPECTED: &str = include_str!("kafka.expected");

#[expect(
    clippy::disallowed_methods,
    reason = "the command that runs the tests says where the real Kafka is"
)]
fn real_kafka() -> Option<String> {
    std::env::var("TEST_KAFKA").ok()
}

async fn flights_from(brokers: Option<String>) -> Result<()> {
    both(|cluster| {
        let brokers = brokers.clone();
        async move {
            let brokers = brokers.unwrap_or_else(|| cluster.log());
            let topic = format!("flights-{}-{:?}", std::process::id(), cluster.over());
            let source = KafkaSource::new(&brokers, &[], "tests")?;
            source.create_topic(&topic, flights::PARTITIONS).await?;
            let table = flights::table(&brokers, &topic, 1);
            cluster.post("/v1/tables", &table).await?;
            produce(&brokers, &topic, flights::events(ROWS)?).await?;
            let count = "SELECT COUNT(*) FROM flights";
            cluster.wait_for(count, i64::try_from(ROWS)?).await?;
            let sql = cluster.sql();
            for row in sql.rows(PROOF).await? {
                ensure!(number(&row[1]) == 0 && number(&row[2]) == 0, "{row:?}");
            }
            let rows = sql.rows(PER_CARRIER).await?;
            let shown = rows.iter().map(|row| {
                let carrier = row[0].as_str().unwrap_or_default();
                let numbers: Vec<String> = row[1..].iter().map(|v| number(v).to_string()).collect();
                format!("{carrier} {}\n", numbers.join(" "))
            });
            let shown: String = shown.collect();
            ensure!(shown == EXPECTED, "{shown}");
            cluster.stop().await;
            Ok(())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_from_the_built_in_log() -> Result<()> {
    flights_from(None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_from_apache_kafka() -> Result<()> {
    match real_kafka() {
        Some(brokers) => flights_from(Some(brokers)).await,
        None => {
            eprintln!("not run on Apache Kafka: TEST_KAFKA is not set (cargo xtask test sets it)");
            Ok(())
        }
    }
}
