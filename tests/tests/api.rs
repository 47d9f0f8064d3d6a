//! The HTTP APIs over both transports, scenario by scenario.

use std::path::Path;

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, both, until};
use tests::flights;
use tests::scenario::run_folder;

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("http");
        run_folder(&cluster, &folder).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Makes 64 billion rows.
const LONG: &str = "SELECT COUNT(*) FROM flights a, flights b, flights c";
const SHORT: &str = "SELECT COUNT(*) FROM flights";

/// One place, one that waits for it, and not for long.
const TIGHT: [&str; 3] = [
    "broker.queries_running_max=1",
    "broker.queries_waiting_max=1",
    "broker.queries_wait_max_ms=400",
];

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    code: Option<String>,
    body: Value,
}

async fn ask(cluster: &Cluster, path: &str, sql: &str, options: &str) -> Result<Answer> {
    let broker = &cluster.node(0).addresses.broker_http;
    let request = cluster.http.post(format!("http://{broker}{path}"));
    let body = json!({ "sql": sql, "queryOptions": options });
    let answer = request.json(&body).send().await?;
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    Ok(Answer {
        status: answer.status(),
        retry_after: header("retry-after"),
        code: header("x-pinot-error-code"),
        body: answer.json().await?,
    })
}

/// As `docs/reference/limits.md` says it.
fn must_be_refused(answer: &Answer, limit: &str) -> Result<()> {
    let body = &answer.body;
    ensure!(answer.status == StatusCode::TOO_MANY_REQUESTS, "{body}");
    ensure!(answer.retry_after.as_deref() == Some("1"));
    ensure!(answer.code.as_deref() == Some("429"));
    ensure!(body["exceptions"][0]["errorCode"] == 429, "{body}");
    let message = body["exceptions"][0]["message"].as_str().unwrap_or("");
    ensure!(message.starts_with("TooManyRequestsError: "), "{message}");
    ensure!(message.contains(limit), "{message}");
    ensure!(body["resultTable"].is_null() && body["partialResult"] == true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_limits_is_refused_and_the_rest_is_right() -> Result<()> {
    let cluster = Cluster::start_set(Over::InProcess, &TIGHT).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 1);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(4_000)?).await?;
    cluster.wait_for(SHORT, 4_000).await?;

    // Said in the answer, because it may leave rows out.
    let cut = ask(&cluster, "/query/sql", "SELECT flight FROM flights", "").await?;
    ensure!(cut.body["numRowsResultSet"] == 10, "{}", cut.body);
    let warnings = json!(["LIMIT 10 was added; write a LIMIT to see more"]);
    ensure!(cut.body["warnings"] == warnings, "{}", cut.body);

    let long = ask(
        &cluster,
        "/query/sql",
        LONG,
        "clientQueryId=long;timeoutMs=60000",
    );
    let meanwhile = async {
        until("the long query runs", || async {
            let (_, running) = cluster
                .call(Role::Broker, Method::GET, "/queries", None)
                .await?;
            ensure!(running.contains("flights c"));
            Ok(())
        })
        .await?;
        let waits = ask(&cluster, "/query/sql", SHORT, "");
        let beyond = async {
            until("another one waits", || async {
                let (_, all) = cluster
                    .call(Role::Broker, Method::GET, "/metrics", None)
                    .await?;
                ensure!(all.contains("tannin_broker_queries_waiting 1"));
                Ok(())
            })
            .await?;
            let own = ask(&cluster, "/v1/sql", SHORT, "").await?;
            let refused = ask(&cluster, "/query/sql", SHORT, "").await?;
            anyhow::Ok((refused, own))
        };
        let (waited, beyond) = tokio::join!(waits, beyond);
        let (refused, own) = beyond?;
        must_be_refused(&waited?, "within 400 ms (broker.queries_wait_max_ms)")?;
        must_be_refused(&refused, "1 wait (broker.queries_waiting_max)")?;
        ensure!(own.status == StatusCode::TOO_MANY_REQUESTS, "{}", own.body);
        ensure!(own.retry_after.as_deref() == Some("1"));

        let late = ask(&cluster, "/query/sql", SHORT, "timeoutMs=100").await?;
        let exception = &late.body["exceptions"][0];
        ensure!(exception["errorCode"] == 250, "{}", late.body);
        let message = exception["message"].as_str().unwrap_or("");
        let limit = "within 100 ms, the limit by `timeoutMs`";
        ensure!(message.contains(limit), "{message}");
        let path = "/query/long?client=true";
        cluster
            .call(Role::Broker, Method::DELETE, path, None)
            .await?;
        // The place is free at once.
        let answer = ask(&cluster, "/query/sql", SHORT, "").await?;
        ensure!(
            answer.body["resultTable"]["rows"][0][0] == 4_000,
            "{}",
            answer.body
        );
        anyhow::Ok(())
    };
    let (long, meanwhile) = tokio::join!(long, meanwhile);
    meanwhile?;
    let long = long?.body;
    ensure!(long["exceptions"][0]["errorCode"] == 503, "{long}");
    cluster.stop().await;
    Ok(())
}
