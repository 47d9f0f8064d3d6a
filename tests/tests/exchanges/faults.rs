//! Exchanges that end before their end: by a deadline, a caller, a server that goes, memory that is
//! short; and who may take part.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::json;
use tests::cluster::{Cluster, Over, until};
use tests::guarded::Guarded;
use tests::members::{Members, Signal};
use tests::process::Sql;

use super::{Doors, ORDERS, STATEMENTS, in_order, load, sorted};

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
