//! Exchanges between servers: joins, windows and distinct counts have the answers of the gathered
//! plan; they end with their deadline and their caller, and outlive a server, however it goes.

mod colocated;
mod faults;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, until};
use tests::members::Members;
use tests::process::Sql;

const FILES: i64 = 6;
const ORDERS: i64 = 4000;
const VISITS: i64 = 3000;

fn schema(table: &str, columns: &[(&str, &str)]) -> Value {
    let field = |(name, kind): &(&str, &str)| json!({ "name": name, "dataType": kind });
    let fields: Vec<Value> = columns.iter().map(field).collect();
    json!({ "schemaName": table, "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": fields })
}

/// Where a cluster is asked.
struct Doors {
    http: reqwest::Client,
    broker: String,
    controller: String,
}

impl From<&Cluster> for Doors {
    fn from(cluster: &Cluster) -> Self {
        let addresses = &cluster.node(0).addresses;
        Self {
            http: cluster.http.clone(),
            broker: addresses.broker_http.clone(),
            controller: addresses.controller_http.clone(),
        }
    }
}

impl From<&Members> for Doors {
    fn from(members: &Members) -> Self {
        Self {
            http: members.http.clone(),
            broker: members.broker(),
            controller: members.controller_http(),
        }
    }
}

impl Doors {
    fn sql(&self) -> Sql {
        Sql::new(&self.http, &self.broker)
    }

    async fn import(&self, table: &str, file: &Path) -> Result<()> {
        tannin::load::load_file(&self.broker, &self.controller, table, file).await
    }

    async fn wait_for(&self, sql: &str, wanted: i64) -> Result<()> {
        until(sql, || async {
            let found = self.sql().numbers(sql).await?;
            ensure!(found == [wanted], "it is {found:?}");
            Ok(())
        })
        .await
    }
}

async fn create(doors: &Doors, table: &str, columns: &[(&str, &str)], replicas: u8) -> Result<()> {
    let config = json!({
        "tableName": table, "tableType": "OFFLINE",
        "segmentsConfig": { "replication": replicas.to_string() },
        "tenants": {}, "metadata": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
    });
    create_as(doors, table, columns, config).await
}

async fn create_as(
    doors: &Doors,
    table: &str,
    columns: &[(&str, &str)],
    config: Value,
) -> Result<()> {
    let body = json!({ "schema": schema(table, columns), "tableConfig": config });
    let url = format!("http://{}/v1/tables", doors.controller);
    let answer = doors.http.post(url).json(&body).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "{status}: {}", answer.text().await?);
    Ok(())
}

/// Rows of two tables that share customers, some of which are in one of them alone or in none.
async fn load(cluster: impl Into<Doors>, replicas: u8) -> Result<()> {
    let doors = &cluster.into();
    let orders = [
        ("id", "LONG"),
        ("customer", "LONG"),
        ("city", "STRING"),
        ("amount", "DOUBLE"),
    ];
    create(doors, "orders", &orders, replicas).await?;
    let visits = [("visitor", "LONG"), ("page", "STRING"), ("n", "LONG")];
    create(doors, "visits", &visits, replicas).await?;
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
        doors.import("orders", &path).await?;
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
        doors.import("visits", &path).await?;
    }
    let (orders, visits) = ("SELECT count(*) FROM orders", "SELECT count(*) FROM visits");
    doors.wait_for(orders, ORDERS).await?;
    doors.wait_for(visits, VISITS).await
}

const STATEMENTS: [&str; 35] = [
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
    "SELECT count(DISTINCT customer) FROM orders",
    "SELECT city, count(DISTINCT customer) FROM orders WHERE id % 3 > 0 GROUP BY city",
    "SELECT city, count(DISTINCT customer), sum(amount), count(*), min(id), max(amount), \
     count(customer) FROM orders GROUP BY city",
    "SELECT count(DISTINCT customer), sum(amount), count(*) FROM orders WHERE amount < 0",
    "SELECT count(DISTINCT customer), count(DISTINCT city), count(DISTINCT id % 11), avg(amount), \
     max(city), sum(id) FROM orders",
    "SELECT city, count(DISTINCT customer) FILTER (WHERE city < 'city 2'), count(DISTINCT id), \
     avg(amount) FROM orders GROUP BY city",
    "SELECT customer % 10 AS c, count(DISTINCT id) FILTER (WHERE amount > 50) FROM orders \
     GROUP BY customer % 10",
    "SELECT count(DISTINCT customer) FILTER (WHERE amount < 0), count(DISTINCT city) \
     FILTER (WHERE amount > 5) FROM orders",
    "SELECT city FROM orders GROUP BY city HAVING count(DISTINCT customer) > 60 ORDER BY city",
    "SELECT count(DISTINCT amount), count(DISTINCT customer) FROM orders",
    "SELECT DISTINCT customer, city FROM orders",
    "SELECT o.id FROM orders o WHERE o.id % 20 < (SELECT count(DISTINCT v.page) FROM visits v \
     WHERE v.visitor = o.customer)",
    "SELECT count(DISTINCT upper(city)), count(DISTINCT n) FROM orders JOIN visits \
     ON customer = visitor WHERE page <> city",
];

async fn sorted(cluster: impl Into<Doors>, sql: &str, exchanges: bool) -> Result<Vec<String>> {
    let sql = format!("SET useExchanges = {exchanges}; {sql}");
    let rows = cluster.into().sql().rows(&sql).await?;
    Ok(in_order(&rows))
}

fn in_order(rows: &[Vec<Value>]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| json!(row).to_string()).collect();
    rows.sort_unstable();
    rows
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
    ensure!(spread >= 32, "{spread} plans were spread");
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
async fn what_brought_many_groups_or_values_is_exchanged_from_then_on() -> Result<()> {
    let settings = ["broker.exchange_rows_min=700"];
    let cluster = Cluster::start_all_set(Over::Grpc, 3, &settings).await?;
    load(&cluster, 1).await?;
    // Beside each the same with another literal.
    let many = [
        ("SELECT count(DISTINCT id) FROM orders", ""),
        (
            "SELECT count(DISTINCT id), max(amount) FROM orders WHERE amount > 3",
            "3|4",
        ),
        (
            "SELECT customer, count(*) FROM orders GROUP BY customer",
            "",
        ),
        (
            "SELECT DISTINCT city, id FROM orders WHERE city <> 'city 1'",
            "city 1|city 2",
        ),
        (
            "SELECT city, count(DISTINCT id) FROM orders GROUP BY city ORDER BY 2 DESC, 1",
            "",
        ),
    ];
    for (sql, other) in many {
        let first = plan(&cluster, &format!("EXPLAIN {sql}")).await?;
        ensure!(!first.contains("ExchangeExec"), "{sql}: {first}");
        let gathered = in_order(&cluster.sql().rows(sql).await?);
        let (this, that) = other.split_once('|').unwrap_or_default();
        let other = sql.replace(this, that);
        for sql in [sql, &other] {
            let then = plan(&cluster, &format!("EXPLAIN {sql}")).await?;
            ensure!(then.contains("NetworkShuffleExec"), "{sql}: {then}");
            let never = format!("SET useExchanges = false; EXPLAIN {sql}");
            let never = plan(&cluster, &never).await?;
            ensure!(!never.contains("ExchangeExec"), "{sql}: {never}");
        }
        // Also where a plan of the shape is kept.
        for _ in 0..2 {
            let exchanged = in_order(&cluster.sql().rows(sql).await?);
            ensure!(gathered == exchanged, "{sql}: other rows");
        }
    }
    for sql in [
        "SELECT city, count(*) FROM orders GROUP BY city",
        "SELECT count(DISTINCT city) FROM orders",
        "SELECT id FROM orders",
    ] {
        cluster.sql().rows(sql).await?;
        let plan = plan(&cluster, &format!("EXPLAIN {sql}")).await?;
        ensure!(!plan.contains("ExchangeExec"), "{sql}: {plan}");
    }
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
