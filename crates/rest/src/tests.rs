//! What every role answers over a real listener: health, refusals, errors, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::TaskGroup;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{Api, get};
use crate::{ApiError, Entrance, HostGuard, Metrics, Params, health_routes, serve};

struct Role {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    tasks: TaskGroup,
}

#[derive(Deserialize)]
struct Wanted {
    count: u32,
}

async fn count(Params(wanted): Params<Wanted>) -> Result<String, ApiError> {
    Ok(wanted.count.to_string())
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(100)).await;
    "late but whole"
}

async fn bug() -> &'static str {
    panic!("the row has no columns")
}

async fn start() -> Role {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let metrics = Metrics::default();
    metrics.counter("tannin_test_total", "of the test").inc();
    let is_ready = move || {
        if asked.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("waiting for the test".to_owned())
        }
    };
    let routes = health_routes("1.2.3", Arc::new(is_ready), metrics).merge(
        Api::default()
            .route("/count", [get("Counts", count)])
            .route("/slow", [get("Takes its time", slow)])
            .route("/bug", [get("Has a bug", bug)]),
    );
    let tasks = TaskGroup::new("role");
    let entrance = Entrance {
        hosts: HostGuard::new(["olap.example".to_owned()]),
        ..Entrance::default()
    };
    serve(listener, routes, entrance, "test", &tasks);
    Role {
        address,
        ready,
        tasks,
    }
}

impl Role {
    /// The whole answer, headers too.
    async fn raw(&self, request: &str) -> String {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, line: &str, headers: &str) -> String {
        let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        self.raw(&request).await
    }

    async fn get(&self, path: &str) -> String {
        let host = format!("Host: {}\r\n", self.address);
        self.ask(&format!("GET {path}"), &host).await
    }
}

#[tokio::test]
async fn every_role_tells_its_health() {
    let role = start().await;
    for path in ["/health", "/health/liveness"] {
        let answer = role.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\nOK"));
    }
    for path in ["/ready", "/health/readiness"] {
        let answer = role.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\nwaiting for the test"), "{answer}");
    }
    role.ready.store(true, Ordering::Relaxed);
    assert!(role.get("/ready").await.ends_with("\r\nREADY"));
    assert!(role.get("/health/readiness").await.ends_with("\r\nOK"));
    let metrics = role.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
    assert!(metrics.contains("# HELP tannin_test_total of the test\n"));
    assert!(metrics.contains("\ntannin_test_total 1\n"));
    let version = role.get("/version").await;
    assert!(version.ends_with(r#"{"tannin":"1.2.3"}"#), "{version}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_on_every_path() {
    let role = start().await;
    let own = role.address;
    let refused = [
        "Host: evil.example\r\n".to_owned(),
        "Host: 10.1.2.3:9000\r\n".to_owned(),
        format!("Host: {own}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {own}\r\nOrigin: null\r\n"),
    ];
    for headers in &refused {
        for line in ["GET /health", "POST /count", "OPTIONS /count", "GET /nope"] {
            let answer = role.ask(line, headers).await;
            assert!(
                answer.starts_with("HTTP/1.1 403 "),
                "{line} {headers}: {answer}"
            );
            assert!(answer.contains(r#"{"code":403,"error":""#), "{answer}");
            assert!(!answer.to_lowercase().contains("access-control"));
        }
    }
    let absolute = role.ask("GET http://evil.example/health", "").await;
    assert!(!absolute.starts_with("HTTP/1.1 200"), "{absolute}");
    let permitted = [
        format!("Host: {own}\r\n"),
        format!("Host: {own}\r\nOrigin: http://{own}\r\n"),
        "Host: localhost\r\n".to_owned(),
        "Host: olap.example:80\r\n".to_owned(),
    ];
    for headers in &permitted {
        let answer = role.ask("GET /health", headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
        assert!(!answer.to_lowercase().contains("access-control"));
    }
}

#[tokio::test]
async fn errors_have_one_shape() {
    let role = start().await;
    let missing = role.get("/nope").await;
    assert!(missing.starts_with("HTTP/1.1 404 "));
    let body = r#"{"code":404,"error":"there is no endpoint `/nope`"}"#;
    assert!(missing.ends_with(body), "{missing}");
    assert!(role.get("/count?count=3").await.ends_with("\r\n3"));
    for path in ["/count", "/count?count=many"] {
        let answer = role.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(r#"{"code":400,"error":"parameters: "#));
        assert!(answer.contains("count"), "{answer}");
    }
}

#[tokio::test]
async fn a_bug_ends_its_request_with_an_answer() {
    let role = start().await;
    let answer = role.get("/bug").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("the row has no columns"), "{answer}");
    assert!(role.get("/count?count=3").await.ends_with("\r\n3"));
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way() {
    let role = start().await;
    let (answer, late) = tokio::join!(role.get("/slow"), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        role.tasks.stop(Duration::from_secs(5)).await
    });
    assert!(answer.ends_with("late but whole"), "{answer}");
    assert!(late.is_empty());
    assert!(TcpStream::connect(role.address).await.is_err());
}
