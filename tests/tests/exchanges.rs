//! Exchanges between servers: joins, windows and distinct counts have the answers of the gathered
//! plan; they end with their deadline and their caller, and outlive a server.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, until};

const FILES: i64 = 6;
const ORDERS: i64 = 4000;
const VISITS: i64 = 3000;

fn schema(table: &str, columns: &[(&str, &str)]) -> Value {
    let field = |(name, kind): &(&str, &str)| json!({ "name": name, "dataType": kind });
    let fields: Vec<Value> = columns.iter().map(field).collect();
    json!({ "schemaName": table, "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": fields })
}

async fn create(
    cluster: &Cluster,
    table: &str,
    columns: &[(&str, &str)],
    replicas: u8,
) -> Result<()> {
    let config = json!({
        "tableName": table, "tableType": "OFFLINE",
        "segmentsConfig": { "replication": replicas.to_string() },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
    });
    let body = json!({ "schema": schema(table, columns), "tableConfig": config });
    cluster.post("/v1/tables", &body).await?;
    Ok(())
}

/// Rows of two tables that share customers, some of which are in one of them alone or in none.
async fn load(cluster: &Cluster, replicas: u8) -> Result<()> {
    let orders = [
        ("id", "LONG"),
        ("customer", "LONG"),
        ("city", "STRING"),
        ("amount", "DOUBLE"),
    ];
    create(cluster, "orders", &orders, replicas).await?;
    let visits = [("visitor", "LONG"), ("page", "STRING"), ("n", "LONG")];
    create(cluster, "visits", &visits, replicas).await?;
    let folder = tempfile::tempdir()?;
    for file in 0..FILES {
        let mut rows = String::new();
        for at in (0..ORDERS).filter(|at| at % FILES == file) {
            let customer = match at % 50 {
                0 => "null".to_owned(),
                _ => (at * 7 % 900).to_string(),
            };
            let (city, amount) = (at % 13, at % 101);
            writeln!(
                rows,
                r#"{{"id":{at},"customer":{customer},"city":"city {city}","amount":{amount}.5}}"#
            )?;
        }
        let path = folder.path().join(format!("orders-{file}.json"));
        std::fs::write(&path, rows)?;
        cluster.import("orders", &path).await?;
        let mut rows = String::new();
        for at in (0..VISITS).filter(|at| at % FILES == file) {
            let visitor = match at % 60 {
                0 => "null".to_owned(),
                _ => (at * 11 % 1200 + 300).to_string(),
            };
            writeln!(
                rows,
                r#"{{"visitor":{visitor},"page":"page {}","n":{at}}}"#,
                at % 17
            )?;
        }
        let path = folder.path().join(format!("visits-{file}.json"));
        std::fs::write(&path, rows)?;
        cluster.import("visits", &path).await?;
    }
    cluster
        .wait_for("SELECT count(*) FROM orders", ORDERS)
        .await?;
    cluster
        .wait_for("SELECT count(*) FROM visits", VISITS)
        .await
}

const STATEMENTS: [&str; 22] = [
    "SELECT o.id, v.n FROM orders o JOIN visits v ON o.customer = v.visitor",
    "SELECT count(*), sum(o.amount), min(v.page) FROM orders o JOIN visits v \
     ON o.customer = v.visitor",
    "SELECT o.id, v.n FROM orders o LEFT JOIN visits v ON o.customer = v.visitor \
     AND v.n % 3 = 0",
    "SELECT o.id, v.n FROM orders o RIGHT JOIN visits v ON o.customer = v.visitor",
    "SELECT o.id, v.n FROM orders o FULL JOIN visits v ON o.customer = v.visitor",
    "SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM visits v WHERE v.visitor = o.customer)",
    "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM visits v \
     WHERE v.visitor = o.customer)",
    "SELECT id FROM orders WHERE customer IN (SELECT visitor FROM visits WHERE n > 100)",
    "SELECT id FROM orders WHERE customer NOT IN (SELECT visitor FROM visits \
     WHERE visitor IS NOT NULL)",
    "SELECT o.city, v.page, count(*), sum(o.amount) FROM orders o JOIN visits v \
     ON o.customer = v.visitor GROUP BY o.city, v.page",
    "SELECT o.city, count(DISTINCT v.visitor), avg(v.n) FROM orders o JOIN visits v \
     ON o.customer = v.visitor GROUP BY o.city HAVING count(*) > 5 ORDER BY 2 DESC, 1 LIMIT 5",
    "SELECT count(DISTINCT customer), count(DISTINCT city) FROM orders",
    "SELECT customer, count(*) AS c FROM orders GROUP BY customer ORDER BY c DESC, customer \
     LIMIT 20",
    "SELECT id, row_number() OVER (PARTITION BY customer ORDER BY id) FROM orders",
    "SELECT id, sum(amount) OVER (PARTITION BY city ORDER BY id ROWS BETWEEN 2 PRECEDING AND \
     CURRENT ROW) FROM orders",
    "SELECT id, rank() OVER (ORDER BY customer NULLS LAST, id) FROM orders ORDER BY 2 LIMIT 30",
    "SELECT city, max(r) FROM (SELECT city, rank() OVER (PARTITION BY city ORDER BY amount, id) \
     AS r FROM orders) t GROUP BY city",
    "SELECT customer FROM orders INTERSECT SELECT visitor FROM visits",
    "SELECT customer FROM orders EXCEPT SELECT visitor FROM visits",
    "SELECT customer FROM orders UNION SELECT visitor FROM visits",
    "SELECT a.id, b.id, v.n FROM orders a JOIN orders b ON a.id = b.id + 1 JOIN visits v \
     ON v.visitor = b.customer WHERE a.city <> b.city",
    "SELECT id FROM orders WHERE amount > (SELECT avg(amount) FROM orders) AND customer IN \
     (SELECT visitor FROM visits)",
];

async fn sorted(cluster: &Cluster, sql: &str, exchanges: bool) -> Result<Vec<String>> {
    let sql = format!("SET useExchanges = {exchanges}; {sql}");
    let rows = cluster.sql().rows(&sql).await?;
    let mut rows: Vec<String> = rows.iter().map(|row| json!(row).to_string()).collect();
    rows.sort_unstable();
    Ok(rows)
}

async fn plan(cluster: &Cluster, sql: &str) -> Result<String> {
    let rows = cluster.sql().rows(sql).await?;
    let lines: Vec<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
    Ok(lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_those_of_the_gathered_plans() -> Result<()> {
    let cluster = Cluster::start_of(Over::Grpc, 3).await?;
    load(&cluster, 1).await?;
    let mut spread = 0;
    for sql in STATEMENTS {
        let gathered = sorted(&cluster, sql, false).await?;
        let exchanged = sorted(&cluster, sql, true).await?;
        ensure!(!gathered.is_empty(), "{sql}: no rows");
        let rows = (gathered.len(), exchanged.len());
        ensure!(gathered == exchanged, "{sql}: other rows, {rows:?} of them");
        let plan = plan(&cluster, &format!("SET useExchanges = true; EXPLAIN {sql}")).await?;
        spread += usize::from(plan.contains("ExchangeExec: servers=3"));
    }
    ensure!(spread >= 20, "{spread} plans were spread");
    // Servers say what they read, whoever merges it.
    let body = |exchanges: bool| {
        let options = format!("useMultistageEngine=true;useExchanges={exchanges}");
        json!({ "sql": STATEMENTS[1], "queryOptions": options }).to_string()
    };
    let mut answers = Vec::new();
    for exchanges in [false, true] {
        let path = "/query/sql";
        let asked = cluster.call(Role::Broker, Method::POST, path, Some(body(exchanges)));
        let (_, text) = asked.await?;
        let answer: Value = serde_json::from_str(&text)?;
        let told = [
            "numDocsScanned",
            "totalDocs",
            "numSegmentsQueried",
            "numServersResponded",
        ];
        answers.push(told.map(|name| answer[name].clone()));
    }
    ensure!(answers[0] == answers[1], "{answers:?}");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rows_are_gathered_and_many_are_not() -> Result<()> {
    let settings = ["broker.exchange_rows_min=1000"];
    let cluster = Cluster::start_all_set(Over::Grpc, 3, &settings).await?;
    load(&cluster, 1).await?;
    let join = "FROM orders o JOIN visits v ON o.customer = v.visitor";
    let many = plan(&cluster, &format!("EXPLAIN SELECT count(*) {join}")).await?;
    ensure!(many.contains("NetworkBroadcastExec"), "{many}");
    let full = "EXPLAIN SELECT count(*) FROM orders o FULL JOIN visits v ON o.customer = v.visitor";
    let full = plan(&cluster, full).await?;
    ensure!(full.contains("NetworkShuffleExec"), "{full}");
    // A fragment is shown below the leaf of its stage.
    ensure!(
        many.contains("SegmentScanExec: table=orders_OFFLINE"),
        "{many}"
    );
    let few = format!("EXPLAIN SELECT count(*) {join} WHERE o.id = 17");
    let few = plan(&cluster, &few).await?;
    ensure!(!few.contains("ExchangeExec"), "{few}");
    let never = format!("SET useExchanges = false; EXPLAIN SELECT count(*) {join}");
    let never = plan(&cluster, &never).await?;
    ensure!(!never.contains("ExchangeExec"), "{never}");
    let analyzed = plan(&cluster, &format!("EXPLAIN ANALYZE SELECT count(*) {join}")).await?;
    ensure!(analyzed.contains("output_rows="), "{analyzed}");
    // One server answers alone, and one process has no lines between servers.
    let group = plan(
        &cluster,
        "EXPLAIN SELECT city, count(*) FROM orders GROUP BY city",
    )
    .await?;
    ensure!(!group.contains("ExchangeExec"), "{group}");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_process_gather() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 2).await?;
    load(&cluster, 1).await?;
    let sql = format!("SET useExchanges = true; EXPLAIN {}", STATEMENTS[0]);
    let plan = plan(&cluster, &sql).await?;
    ensure!(!plan.contains("ExchangeExec"), "{plan}");
    cluster.stop().await;
    Ok(())
}

/// Bytes that the servers hold for queries.
async fn held(cluster: &Cluster) -> Result<u64> {
    let mut held = 0;
    for index in 0..3 {
        let address = &cluster.node(index).addresses.server_http;
        let metrics = cluster.http.get(format!("http://{address}/metrics"));
        let metrics = metrics.send().await?.text().await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("tannin_server_memory_used_bytes{budget=\"query\"}"));
        let value = line.and_then(|line| line.rsplit_once(' '));
        held += value.context("no such figure")?.1.parse::<f64>()? as u64;
    }
    Ok(held)
}

async fn freed(cluster: &Cluster) -> Result<()> {
    until("the servers hold nothing for queries", || async {
        let held = held(cluster).await?;
        ensure!(held == 0, "{held} bytes");
        Ok(())
    })
    .await
}

/// So many pairs that it takes minutes.
const ENDLESS: &str = "SELECT count(*), max(a.amount + b.amount + c.amount) FROM orders a \
    JOIN orders b ON a.city = b.city JOIN orders c ON b.city = c.city";

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_deadline_and_with_its_caller() -> Result<()> {
    let cluster = Cluster::start_of(Over::Grpc, 3).await?;
    load(&cluster, 1).await?;
    let begun = Instant::now();
    let sql = format!("SET useExchanges = true; SET timeoutMs = 1000; {ENDLESS}");
    let error = cluster.sql().rows(&sql).await.unwrap_err().to_string();
    ensure!(error.contains("within 1000 ms"), "{error}");
    ensure!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    freed(&cluster).await?;
    let sql = format!("SET useExchanges = true; SET clientQueryId = 'mine'; {ENDLESS}");
    let asked = cluster.sql();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let path = "/query/mine?client=true";
        let (status, text) = cluster
            .call(Role::Broker, Method::DELETE, path, None)
            .await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(())
    };
    let (error, cancelled) = tokio::join!(asked.rows(&sql), cancel);
    cancelled?;
    let error = error.unwrap_err().to_string();
    ensure!(error.contains("cancelled"), "{error}");
    freed(&cluster).await?;
    // And the servers go on.
    let exchanged = sorted(&cluster, STATEMENTS[1], true).await?;
    ensure!(exchanged == sorted(&cluster, STATEMENTS[1], false).await?);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_is_done_without() -> Result<()> {
    let mut cluster = Cluster::start_of(Over::Grpc, 3).await?;
    load(&cluster, 2).await?;
    let wanted = sorted(&cluster, STATEMENTS[9], false).await?;
    let asked = cluster.sql();
    let over = std::sync::atomic::AtomicBool::new(false);
    let ask = async {
        let mut answers = 0;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let sql = format!("SET useExchanges = true; {}", STATEMENTS[9]);
            let rows = asked.rows(&sql).await?;
            let mut rows: Vec<String> = rows.iter().map(|row| json!(row).to_string()).collect();
            rows.sort_unstable();
            ensure!(rows == wanted, "other rows after {answers} answers");
            answers += 1;
        }
        Ok(answers)
    };
    let stop = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.stop_node(2).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(ask, stop);
    ensure!(answers? > 3);
    cluster.stop().await;
    Ok(())
}
