//! Exchanges between servers: joins, windows and distinct counts have the answers of the gathered
//! plan; they end with their deadline and their caller, and outlive a server, however it goes.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, until};
use tests::guarded::Guarded;
use tests::members::{Members, Signal};
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

/// Bytes that the servers hold for queries.
async fn held(cluster: &Cluster) -> Result<u64> {
    let mut held = 0;
    for index in 0..3 {
        let address = &cluster.node(index).addresses.server_http;
        let metrics = cluster.http.get(format!("http://{address}/metrics"));
        held += held_by(&metrics.send().await?.text().await?)?;
    }
    Ok(held)
}

/// As a server tells it.
fn held_by(metrics: &str) -> Result<u64> {
    let mut lines = metrics.lines();
    let line =
        lines.find(|line| line.starts_with("tannin_server_memory_used_bytes{budget=\"query\"}"));
    let value = line.and_then(|line| line.rsplit_once(' '));
    Ok(value.context("no such figure")?.1.parse::<f64>()? as u64)
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

/// Asks one spread statement all the time.
struct Asking {
    over: AtomicBool,
    answers: AtomicUsize,
    wanted: Vec<String>,
    sql: Sql,
}

impl Asking {
    async fn of(cluster: impl Into<Doors>) -> Result<Self> {
        let doors = cluster.into();
        let sql = doors.sql();
        let wanted = sorted(doors, STATEMENTS[9], false).await?;
        ensure!(!wanted.is_empty(), "no rows");
        Ok(Self {
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            wanted,
            sql,
        })
    }

    /// Until it is over; each answer must be right.
    async fn go_on(&self) -> Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            let answers = self.answers.load(Ordering::Relaxed);
            // However slow the machine is.
            let options = "SET useExchanges = true; SET timeoutMs = 60000";
            let sql = format!("{options}; {}", STATEMENTS[9]);
            let rows = self.sql.rows(&sql).await;
            let rows = rows.with_context(|| format!("after {answers} answers"))?;
            ensure!(
                in_order(&rows) == self.wanted,
                "other rows after {answers} answers"
            );
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// More answers have come; the last of them was asked for after this was called.
    async fn more(&self) -> Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + 4;
        until("more answers", || async {
            let answers = self.answers.load(Ordering::Relaxed);
            ensure!(answers >= wanted, "{answers} of {wanted}");
            Ok(())
        })
        .await
    }

    /// Asks before, while and after something happens.
    async fn around(&self, happens: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let happens = async {
            self.more().await?;
            happens().await?;
            self.more().await?;
            self.over.store(true, Ordering::Relaxed);
            Ok(())
        };
        tokio::try_join!(self.go_on(), happens)?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_is_done_without() -> Result<()> {
    let mut cluster = Cluster::start_of(Over::Grpc, 3).await?;
    load(&cluster, 2).await?;
    let asking = Asking::of(&cluster).await?;
    let stop = async || {
        cluster.stop_node(2).await;
        Ok(())
    };
    asking.around(stop).await?;
    cluster.stop().await;
    Ok(())
}

/// Three servers that are processes. The controller notices nothing: the broker must.
async fn members() -> Result<Members> {
    let program = Path::new(env!("CARGO_BIN_EXE_member"));
    Members::start(program, 3, &["controller.liveness_ms=600000"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_or_dies_is_done_without() -> Result<()> {
    let mut members = members().await?;
    load(&members, 2).await?;
    for (index, signal) in [(1, Signal::Stop), (2, Signal::Kill)] {
        let asking = Asking::of(&members).await?;
        let lost = asking.around(async || members.tell(index, signal)).await;
        lost.with_context(|| format!("{signal:?}"))?;
        if signal == Signal::Stop {
            members.tell(index, Signal::Continue)?;
        }
    }
    members.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_broker_is_exchanged_at_once() -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_member"));
    // Of the broker alone.
    let members = Members::start(program, 3, &["memory.query_bytes=500000"]).await?;
    load(&members, 1).await?;
    let sql = members.sql();
    let many = "SELECT count(DISTINCT concat(repeat(city, 100), CAST(id AS VARCHAR))) FROM orders";
    let gathered = sql
        .numbers(&format!("SET useExchanges = false; {many}"))
        .await;
    let error = gathered.unwrap_err().to_string();
    ensure!(error.contains("more memory than it may have"), "{error}");
    ensure!(sql.numbers(many).await? == [ORDERS]);
    let plan = sql.rows(&format!("EXPLAIN {many}")).await?;
    let plan = json!(plan).to_string();
    ensure!(plan.contains("NetworkShuffleExec"), "{plan}");
    ensure!(sql.numbers(many).await? == [ORDERS]);
    members.stop().await;
    Ok(())
}

/// The servers have begun to work on a statement: they hold memory for it.
async fn begun(members: &Members) -> Result<()> {
    until("the servers hold something for queries", || async {
        for index in 0..3 {
            let url = format!("http://{}/metrics", members.server(index)?);
            let metrics = members.http.get(url).send().await?.text().await?;
            ensure!(held_by(&metrics)? > 0, "server {index} holds nothing");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_replica_it_fails_in_time_and_says_why() -> Result<()> {
    let mut members = members().await?;
    load(&members, 1).await?;
    let wanted = sorted(&members, STATEMENTS[9], false).await?;
    for (index, signal) in [(1, Signal::Stop), (2, Signal::Kill)] {
        let (timeout, sql) = (Duration::from_secs(60), members.sql());
        let endless = format!("SET useExchanges = true; SET timeoutMs = 60000; {ENDLESS}");
        let lose = async {
            begun(&members).await?;
            members.tell(index, signal)?;
            anyhow::Ok(Instant::now())
        };
        let (answer, lost) = tokio::join!(sql.rows(&endless), lose);
        let waited = lost?.elapsed();
        let error = format!("{:#}", answer.unwrap_err());
        ensure!(
            error.contains("no living server holds segments of `"),
            "{signal:?}: {error}"
        );
        ensure!(waited < timeout / 2, "{signal:?}: {waited:?}");
        match signal {
            Signal::Stop => members.tell(index, Signal::Continue)?,
            _ => members.start_server(index)?,
        }
        members.wait_ready(index).await?;
        until("it is asked again", || async {
            let rows = sorted(&members, STATEMENTS[9], true).await?;
            ensure!(rows == wanted, "other rows");
            Ok(())
        })
        .await?;
    }
    members.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_prove_to_each_other_who_they_are() -> Result<()> {
    let cluster = Guarded::start_of(3).await?;
    let join = "SELECT count(*), sum(a.id), min(b.word) FROM mine a JOIN secret b ON a.id = b.id";
    let explained = format!("SET useExchanges = true; EXPLAIN {join}");
    let (_, plan) = cluster.sql("root", &explained).await?;
    let plan = plan["rows"].to_string();
    ensure!(plan.contains("ExchangeExec: servers=3"), "{plan}");
    let mut answers = Vec::new();
    for exchanges in [false, true] {
        let sql = format!("SET useExchanges = {exchanges}; {join}");
        let (status, answer) = cluster.sql("root", &sql).await?;
        ensure!(status.is_success(), "{answer}");
        ensure!(answer["rows"][0][0] == tests::guarded::ROWS, "{answer}");
        answers.push(answer["rows"].clone());
    }
    ensure!(answers[0] == answers[1], "{answers:?}");
    // Whoever has no certificate of the cluster's is no server that exchanges.
    let door = format!("https://{}/", cluster.node.addresses.server_grpc);
    ensure!(cluster.http.post(door).send().await.is_err());
    // Who may not read a table does not in an exchange either.
    let sql = format!("SET useExchanges = true; {join}");
    let (status, answer) = cluster.sql("reader", &sql).await?;
    ensure!(status == reqwest::StatusCode::FORBIDDEN, "{answer}");
    cluster.stop().await;
    Ok(())
}

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
