//! Answers that are kept, to be read in pieces: Pinot's cursors.
//!
//! Invariants: what is kept takes at most `bytes_max` together, and is gone an hour after its query
//! ended. The pieces are of the one answer: later rows of its tables are not in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Caller;
use arrow::array::RecordBatch;
use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use parking_lot::Mutex;
use rest::api::{delete, get};
use rest::{Api, ApiError, By, Params};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Door, State, answer};
use crate::pinot::Part;
use crate::query::{Outcome, Queries, Rows};

const LIFETIME_MS: i64 = 3_600_000;
/// Rows of a piece when the request does not say.
const PAGE_ROWS: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Cursors {
    bytes_max: usize,
    kept: Mutex<BTreeMap<u64, Arc<Kept>>>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) outcome: Outcome,
    pub(crate) submitted_ms: i64,
    pub(crate) expires_ms: i64,
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
}

/// Rows of a kept answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) offset: usize,
    pub(crate) rows: Rows,
}

impl Cursors {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    pub(crate) fn keep(&self, outcome: Outcome, now_ms: i64) -> Result<Arc<Kept>, Fault> {
        let batches = outcome.result.as_ref().map(|rows| rows.batches.as_slice());
        let batches = batches.unwrap_or_default();
        let kept = Kept {
            bytes: batches.iter().map(RecordBatch::get_array_memory_size).sum(),
            rows: batches.iter().map(RecordBatch::num_rows).sum(),
            submitted_ms: now_ms,
            expires_ms: now_ms + LIFETIME_MS,
            outcome,
        };
        let mut all = self.kept.lock();
        all.retain(|_, other| other.expires_ms > now_ms);
        let held: usize = all.values().map(|other| other.bytes).sum();
        if held + kept.bytes > self.bytes_max {
            let message = format!(
                "the answer has {} bytes and those that are kept have {held}, of {} that may be \
                 kept; delete one with DELETE /responseStore/ID, or ask without getCursor",
                kept.bytes, self.bytes_max
            );
            return Err(Fault::new(
                FaultKind::Overloaded,
                pinot_code::SERVER_RESOURCE_LIMIT,
                message,
            ));
        }
        let kept = Arc::new(kept);
        all.insert(kept.outcome.id, Arc::clone(&kept));
        Ok(kept)
    }

    fn find(&self, id: &str, caller: &Caller, now_ms: i64) -> Result<Arc<Kept>, Fault> {
        let mut all = self.kept.lock();
        all.retain(|_, kept| kept.expires_ms > now_ms);
        let found = id.parse().ok().and_then(|id: u64| all.get(&id).cloned());
        let found = found.filter(|kept| kept.is_of(caller));
        found.ok_or_else(|| unknown(id))
    }

    fn remove(&self, id: &str, caller: &Caller) -> Result<(), Fault> {
        let number = id.parse::<u64>().map_err(|_| unknown(id))?;
        let mut all = self.kept.lock();
        if !all.get(&number).is_some_and(|kept| kept.is_of(caller)) {
            return Err(unknown(id));
        }
        all.remove(&number);
        Ok(())
    }
}

fn unknown(id: &str) -> Fault {
    Fault::not_found(format!("no answer is kept of query `{id}`"))
}

impl Kept {
    /// Nobody else sees it, also one who may read the same tables: by now it may be another.
    fn is_of(&self, caller: &Caller) -> bool {
        caller.is(&self.outcome.owner)
    }

    pub(crate) fn page(&self, offset: usize, rows: Option<usize>) -> Result<Page, Fault> {
        if offset > 0 && offset >= self.rows {
            let message = format!("offset {offset} is behind the last of {} rows", self.rows);
            return Err(Fault::invalid(message));
        }
        let all = self.outcome.result.as_ref().map_err(Fault::clone)?;
        let (mut skip, mut wanted) = (offset, rows.unwrap_or(PAGE_ROWS));
        let mut batches = Vec::new();
        for batch in &all.batches {
            let from = skip.min(batch.num_rows());
            let taken = wanted.min(batch.num_rows() - from);
            (skip, wanted) = (skip - from, wanted - taken);
            if taken > 0 {
                batches.push(batch.slice(from, taken));
            }
        }
        let schema = Arc::clone(&all.schema);
        let rows = Rows { schema, batches };
        Ok(Page { offset, rows })
    }
}

pub(crate) fn routes() -> Api<Arc<Queries>> {
    let all = || {
        let remove = delete("Forgets answers that have expired", remove_expired);
        [
            get("Answers that are kept, without their rows", list).inside(),
            remove
                .query("expiredBefore", "epoch milliseconds; now unless it is set")
                .inside(),
        ]
    };
    let one = || {
        [
            get("A kept answer without its rows", read).inside(),
            delete("Forgets a kept answer", remove).inside(),
        ]
    };
    let rows = get("Rows of a kept answer", rows)
        .query("offset", "rows before the first one")
        .query("numRows", "10000 unless it is set")
        .inside();
    Api::default()
        .route("/responseStore", all())
        .route("/responseStore/", all())
        .route("/responseStore/{id}", one())
        .route("/responseStore/{id}/", one())
        .route("/responseStore/{id}/results", [rows])
}

async fn list(Shared(queries): State, By(caller): By) -> Json<Value> {
    let now_ms = queries.clock.now_ms();
    let kept: Vec<Arc<Kept>> = {
        let mut all = queries.cursors.kept.lock();
        all.retain(|_, kept| kept.expires_ms > now_ms);
        let own = all.values().filter(|kept| kept.is_of(&caller));
        own.cloned().collect()
    };
    let mut list = Vec::new();
    for kept in &kept {
        let (body, _) = crate::pinot::response(&queries, &kept.outcome, Part::Nothing(kept)).await;
        list.push(serde_json::from_slice(&body).unwrap_or(Value::Null));
    }
    Json(Value::Array(list))
}

async fn read(
    Shared(queries): State,
    By(caller): By,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Door {
    let now_ms = queries.clock.now_ms();
    let kept = queries.cursors.find(&id, &caller, now_ms)?;
    Ok(answer(&queries, &headers, &kept.outcome, Part::Nothing(&kept)).await)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    offset: usize,
    num_rows: Option<usize>,
}

async fn rows(
    Shared(queries): State,
    By(caller): By,
    headers: HeaderMap,
    Path(id): Path<String>,
    Params(wanted): Params<Wanted>,
) -> Door {
    let now_ms = queries.clock.now_ms();
    let kept = queries.cursors.find(&id, &caller, now_ms)?;
    let page = kept.page(wanted.offset, wanted.num_rows)?;
    Ok(answer(&queries, &headers, &kept.outcome, Part::Page(&kept, &page)).await)
}

async fn remove(
    Shared(queries): State,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    queries.cursors.remove(&id, &caller)?;
    Ok(Json(json!(format!("Query Results for {id} deleted."))))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expired {
    expired_before: Option<i64>,
}

async fn remove_expired(
    Shared(queries): State,
    By(caller): By,
    Params(expired): Params<Expired>,
) -> Json<Value> {
    let limit_ms = expired.expired_before.unwrap_or(queries.clock.now_ms());
    let mut all = queries.cursors.kept.lock();
    let before = all.len();
    all.retain(|_, kept| kept.expires_ms > limit_ms || !kept.is_of(&caller));
    let removed = before - all.len();
    Json(json!(format!("Deleted {removed} expired response(s).")))
}
