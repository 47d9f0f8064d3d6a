//! The HTTP APIs over both transports, scenario by scenario.

use std::path::Path;

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, both, until};
use tests::scenario::run_folder;
use tests::{flights, memory};

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

/// What is wrong with a body, and where.
const BODIES: [(&[u8], &str); 12] = [
    (b"", "EOF while parsing a value at line 1 column 0"),
    (b"SELECT 1", "expected value at line 1 column 1"),
    (b"[]", "invalid length 0"),
    (b"{}", "missing field `sql` at line 1 column 2"),
    (
        br#"{"sql": 7}"#,
        "invalid type: integer `7`, expected a string at line 1 column 9",
    ),
    (br#"{"sql": null}"#, "invalid type: null, expected a string"),
    (
        br#"{"sql": ["SELECT 1"]}"#,
        "invalid type: sequence, expected a string",
    ),
    (
        br#"{"sql": "SELECT 1", "sql": "SELECT 2"}"#,
        "duplicate field `sql` at line 1 column 25",
    ),
    (
        b"{\"sql\": \"SELECT '\xff'\"}",
        "invalid unicode code point at line 1",
    ),
    (
        br#"{"sql": "SELECT '\ud800'"}"#,
        "unexpected end of hex escape at line 1",
    ),
    (
        br#"{"sql": "SELECT 1"#,
        "EOF while parsing a string at line 1",
    ),
    (
        br#"{"sql": "SELECT 1"} {}"#,
        "trailing characters at line 1 column 21",
    ),
];

/// On stacks as the binary has them.
fn on_its_stacks(test: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(tannin::STACK_BYTES)
        .enable_all()
        .build()?;
    runtime.block_on(runtime.spawn(test))?
}

#[test]
fn bad_bodies_and_statements_have_clear_errors() -> Result<()> {
    on_its_stacks(refuse_what_is_bad())
}

async fn refuse_what_is_bad() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    for path in ["/v1/sql", "/query/sql", "/query"] {
        for (body, wanted) in BODIES {
            let (status, text) = send(&cluster, path, body.to_vec()).await?;
            ensure!(
                status == StatusCode::BAD_REQUEST,
                "{path}: {status}: {text}"
            );
            ensure!(
                text.contains("the body must be JSON with a field `sql`"),
                "{text}"
            );
            let answer: Value = serde_json::from_str(&text)?;
            ensure!(
                answer.to_string().contains(wanted),
                "{path}: {wanted}: {text}"
            );
        }
        let deep = [b"{\"sql\": ".to_vec(), b"[".repeat(100_000)].concat();
        let (status, text) = send(&cluster, path, deep).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{path}: {status}");
        ensure!(text.contains("invalid type: sequence"), "{text}");
    }
    for (sql, wanted) in statements() {
        let body = json!({ "sql": sql }).to_string().into_bytes();
        let (status, text) = send(&cluster, "/v1/sql", body).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{wanted}: {status}");
        let answer: Value = serde_json::from_str(&text)?;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        ensure!(
            !message.is_empty() && message.contains(wanted),
            "{wanted}: {message}"
        );
        ensure!(message.len() < 2_000, "{} bytes", message.len());
    }
    // Long, and right.
    let long = "x".repeat(10 << 20);
    let sql = format!("SELECT LENGTH('{long}') /* {long} */");
    let body = json!({ "sql": sql }).to_string().into_bytes();
    let (status, text) = send(&cluster, "/v1/sql", body).await?;
    ensure!(
        status.is_success(),
        "{status}: {}",
        &text[..text.len().min(300)]
    );
    let answer: Value = serde_json::from_str(&text)?;
    ensure!(answer["rows"] == json!([[10 << 20]]), "{}", answer["rows"]);
    cluster.stop().await;
    Ok(())
}

/// What they may take beside the tables, each after the other.
const LARGE_MIB_MAX: u64 = 1_000;

#[test]
fn large_statements_have_their_answers() -> Result<()> {
    on_its_stacks(answer_what_is_large())
}

async fn answer_what_is_large() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    flights::load(&cluster).await?;
    let before = memory::resident_mib();
    for (sql, same) in large() {
        let shown = &sql[..sql.len().min(200)];
        let (found, wanted) = (rows(&cluster, &sql).await?, rows(&cluster, same).await?);
        ensure!(found == wanted, "{shown}: {found} is not {wanted}");
    }
    let most = memory::peak_mib();
    ensure!(
        most < before + LARGE_MIB_MAX,
        "{before} MiB, {most} at most"
    );
    cluster.stop().await;
    Ok(())
}

async fn rows(cluster: &Cluster, sql: &str) -> Result<Value> {
    // In a debug build on a busy machine they take tens of seconds.
    let body = json!({ "sql": sql, "options": { "timeoutMs": "90000" } }).to_string();
    let (status, text) = send(cluster, "/v1/sql", body.into_bytes()).await?;
    let shown = &text[..text.len().min(300)];
    ensure!(status.is_success(), "{status}: {shown}");
    let mut answer: Value = serde_json::from_str(&text)?;
    Ok(answer["rows"].take())
}

/// Statements, and short ones with the same answers.
fn large() -> Vec<(String, &'static str)> {
    const ALL: &str = "SELECT COUNT(*) FROM flights";
    let many = |count: usize, between: &str, each: &dyn Fn(usize) -> String| {
        (0..count).map(each).collect::<Vec<_>>().join(between)
    };
    let count = |condition: String| format!("{ALL} WHERE {condition}");
    let nested = |depth| {
        let (open, close) = ("(SELECT * FROM ".repeat(depth), ") t".repeat(depth));
        format!("SELECT COUNT(*) FROM {open}flights{close}")
    };
    vec![
        (
            count(many(1_000, " AND ", &|at| format!("distance <> -{at}"))),
            "SELECT COUNT(*) FROM flights WHERE distance <> 0",
        ),
        (
            count(many(1_000, " OR ", &|at| format!("distance = {at}"))),
            "SELECT COUNT(*) FROM flights WHERE distance < 1000",
        ),
        (nested(20), ALL),
        (
            format!(
                "SELECT COUNT(*) FROM ({}) t",
                many(300, " UNION ALL ", &|at| format!("SELECT {at}"))
            ),
            "SELECT 300",
        ),
        (
            format!("SELECT {}", many(1_000, " + ", &|at| at.to_string())),
            "SELECT 499500",
        ),
        (
            format!(
                "SELECT SUM({}) FROM flights",
                many(500, " + ", &|at| format!("(month + {at})"))
            ),
            "SELECT SUM(500 * month + 124750) FROM flights",
        ),
        (
            count(format!(
                "flight IN ({})",
                many(100_000, ", ", &|at| at.to_string())
            )),
            "SELECT COUNT(flight) FROM flights",
        ),
        (
            count(format!(
                "carrier IN ('UA', {})",
                many(100_000, ", ", &|at| format!("'x{at}'"))
            )),
            "SELECT COUNT(*) FROM flights WHERE carrier = 'UA'",
        ),
    ]
}

async fn send(cluster: &Cluster, path: &str, body: Vec<u8>) -> Result<(StatusCode, String)> {
    let broker = &cluster.node(0).addresses.broker_http;
    let request = cluster.http.post(format!("http://{broker}{path}"));
    let answer = request.body(body).send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// Statements that nobody can plan, and what is said of them.
fn statements() -> Vec<(String, &'static str)> {
    let deep = |open: &str, close: &str, count: usize| {
        format!("SELECT {}1{}", open.repeat(count), close.repeat(count))
    };
    vec![
        (String::new(), "the statement is empty"),
        ("\u{0}".to_owned(), ""),
        ("SELECT 'a".to_owned(), "nterminated"),
        ("SELECT \"a".to_owned(), "close delimiter"),
        (deep("(", ")", 10_000), "deep"),
        (deep("NOT ", "", 10_000), "in a row"),
        (deep("- ", "", 10_000), "in a row"),
        (deep("abs(", ")", 10_000), "deep"),
        (deep("(SELECT ", ")", 500), "deep"),
        (
            format!("{}1{}", "SELECT * FROM (".repeat(500), ") t".repeat(500)),
            "deep",
        ),
        (deep("1 + ", "", 10_000), "in a row"),
        (deep("1 UNION ALL SELECT ", "", 10_000), "in a row"),
        ("(".repeat(1 << 16), ""),
        (
            format!("SELECT {}", "1 = 1 AND ".repeat(1 << 20)),
            "in a row",
        ),
    ]
}
