//! Asks one input and judges the answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::cluster::Cluster;

use super::TIMEOUT;
use super::mutate::{Door, Input};
use super::watch::Found;

/// After the time limit: for what cannot be broken off at once, on a busy machine.
const SLACK: Duration = Duration::from_secs(10);
/// Of a bug, as `schemas::fault::pinot_code` has it.
const INTERNAL: u64 = 450;

pub(crate) struct Asker {
    http: reqwest::Client,
    broker: String,
    asks: PathBuf,
}

impl Asker {
    pub(crate) fn new(cluster: &Cluster, asks: PathBuf) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            broker: cluster.node(0).addresses.broker_http.clone(),
            asks,
        })
    }

    pub(crate) async fn ask(&self, number: u64, input: &Input, found: &Found) -> Result<()> {
        let (door, bytes, sql) = match input {
            Input::Statement { door, sql } => (*door, of_statement(*door, sql), Some(sql)),
            Input::Body { door, bytes } => (*door, bytes.clone(), None),
        };
        std::fs::write(
            &self.asks,
            [format!("{number} ").as_bytes(), &bytes].concat(),
        )?;
        let path = match door {
            Door::Standard => "/v1/sql",
            Door::Pinot => "/query/sql",
            Door::MultiStage => "/query",
        };
        let begin = Instant::now();
        let request = self.http.post(format!("http://{}{path}", self.broker));
        let request = request
            .header("content-type", "application/json")
            .body(bytes);
        let answered = request.timeout(TIMEOUT + 3 * SLACK).send().await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                found.add("no answer", number, &error.to_string());
                return Ok(());
            }
        };
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        if begin.elapsed() > TIMEOUT + SLACK {
            found.add("late", number, &format!("after {:?}", begin.elapsed()));
        }
        match judged(door, status, &text, sql.map(String::as_str)) {
            Ok(kind) => found.count(kind),
            Err((kind, why)) => found.add(kind, number, &why),
        }
        Ok(())
    }
}

fn of_statement(door: Door, sql: &str) -> Vec<u8> {
    let body = match door {
        Door::Standard => json!({ "sql": sql }),
        _ => json!({ "sql": sql, "queryOptions": "timeoutMs=1000" }),
    };
    body.to_string().into_bytes()
}

/// What kind of answer it is, or what is wrong with it.
fn judged(
    door: Door,
    status: u16,
    text: &str,
    sql: Option<&str>,
) -> Result<String, (&'static str, String)> {
    let short = || text.chars().take(300).collect::<String>();
    let body: Value = serde_json::from_str(text).map_err(|_| ("no JSON", short()))?;
    let error = match door {
        Door::Standard => &body["error"],
        _ => &body["exceptions"][0],
    };
    if error.is_null() {
        let is_answer = body["rows"].is_array() || body["exceptions"].is_array();
        return match (status, is_answer) {
            (200, true) => Ok("answered".to_owned()),
            // A body that is no question.
            (400 | 413 | 415 | 422, _) => Ok(format!("status {status}")),
            _ => Err(("neither rows nor error", format!("{status}: {}", short()))),
        };
    }
    let code = error["code"].as_u64().or(error["errorCode"].as_u64());
    let message = error["message"].as_str().unwrap_or_default();
    let Some(code) = code.filter(|_| !message.is_empty()) else {
        return Err(("an error without code or message", short()));
    };
    if code == INTERNAL || message.contains("likely caused by a bug") {
        return Err(("internal", message.to_owned()));
    }
    if let (Some(sql), Some(end)) = (sql, error["span"]["end"].as_u64())
        && (end as usize > sql.len() || !sql.is_char_boundary(end as usize))
    {
        return Err(("a place outside of the statement", short()));
    }
    Ok(format!("error {code}"))
}
