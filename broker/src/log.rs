//! What runs, and what ran lately: for those who ask, cancel, or read `sys.queries`.
//!
//! Invariants: a query is in the list of those that run until its [`Entry`] is dropped, also when
//! its client goes away; of those that ended at most [`RECENT_MAX`] are kept, and at most
//! [`RECENT_BYTES`] of their texts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use access::{Action, Caller};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parking_lot::Mutex;
use runtime::CancellationToken;
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};

const RECENT_MAX: usize = 1_000;
const RECENT_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct QueryLog {
    running: Mutex<BTreeMap<u64, Running>>,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Running {
    sql: String,
    owner: String,
    client_id: Option<String>,
    started_ms: i64,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Recent {
    queries: VecDeque<Ran>,
    bytes: usize,
}

/// A query that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) id: u64,
    /// Who asked.
    pub(crate) owner: String,
    pub(crate) sql: String,
    pub(crate) client_id: Option<String>,
    pub(crate) started_ms: i64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) rows: u64,
    pub(crate) docs_scanned: u64,
    pub(crate) servers: u64,
    pub(crate) template_used: bool,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// A query that runs, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    log: &'a QueryLog,
    id: u64,
    pub(crate) stop: CancellationToken,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.log.running.lock().remove(&self.id);
    }
}

impl QueryLog {
    pub(crate) fn started(
        &self,
        (id, sql): (u64, &str),
        owner: &str,
        client_id: Option<String>,
        started_ms: i64,
    ) -> Entry<'_> {
        let stop = CancellationToken::new();
        let running = Running {
            sql: sql.to_owned(),
            owner: owner.to_owned(),
            client_id,
            started_ms,
            stop: stop.clone(),
        };
        self.running.lock().insert(id, running);
        Entry {
            log: self,
            id,
            stop,
        }
    }

    pub(crate) fn ended(&self, ran: Ran) {
        let mut recent = self.recent.lock();
        recent.bytes += ran.bytes();
        recent.queries.push_back(ran);
        while recent.queries.len() > RECENT_MAX || recent.bytes > RECENT_BYTES {
            let Some(oldest) = recent.queries.pop_front() else {
                break;
            };
            recent.bytes -= oldest.bytes();
        }
    }

    /// Id → statement of what runs now: one's own, or all for those who may read the cluster.
    pub(crate) fn running(&self, caller: &Caller) -> BTreeMap<String, String> {
        let running = self.running.lock();
        running
            .iter()
            .filter(|(_, query)| may_see(caller, &query.owner))
            .map(|(id, query)| (id.to_string(), query.sql.clone()))
            .collect()
    }

    /// By our id, or by the client's. That of another is not there, but for those who may
    /// administer the cluster.
    pub(crate) fn cancel(&self, id: &str, by_client: bool, caller: &Caller) -> Result<(), Fault> {
        let may_end_all = caller.may_cluster(Action::Admin);
        let running = self.running.lock();
        let found = running.iter().find(|(own, query)| {
            let is_meant = match by_client {
                true => query.client_id.as_deref() == Some(id),
                false => own.to_string() == id,
            };
            is_meant && (may_end_all || caller.is(&query.owner))
        });
        match found {
            Some((_, query)) => {
                query.stop.cancel();
                Ok(())
            }
            None => Err(Fault::new(
                FaultKind::NotFound,
                pinot_code::QUERY_CANCELLATION,
                format!("there is no running query `{id}`"),
            )),
        }
    }

    /// `sys.queries`: those that run, then the others, the newest first. One's own, or all for
    /// those who may read the cluster.
    pub(crate) fn rows(
        &self,
        caller: &Caller,
        now_ms: i64,
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        let mut all: Vec<Row> = Vec::new();
        let of_running = |(id, query): (&u64, &Running)| Row {
            state: "RUNNING",
            ran: Ran {
                id: *id,
                owner: query.owner.clone(),
                sql: query.sql.clone(),
                client_id: query.client_id.clone(),
                started_ms: query.started_ms,
                elapsed: Duration::from_millis((now_ms - query.started_ms).max(0) as u64),
                cpu: Duration::ZERO,
                rows: 0,
                docs_scanned: 0,
                servers: 0,
                template_used: false,
                error: None,
            },
        };
        all.extend(self.running.lock().iter().rev().map(of_running));
        let recent = self.recent.lock();
        all.extend(recent.queries.iter().rev().map(|ran| Row {
            state: if ran.error.is_none() {
                "DONE"
            } else {
                "FAILED"
            },
            ran: ran.clone(),
        }));
        all.retain(|row| may_see(caller, &row.ran.owner));
        batch(&all)
    }
}

fn may_see(caller: &Caller, owner: &str) -> bool {
    caller.is(owner) || caller.may_cluster(Action::Read)
}

impl Ran {
    fn bytes(&self) -> usize {
        self.sql.len() + self.error.as_ref().map_or(0, String::len)
    }
}

struct Row {
    state: &'static str,
    ran: Ran,
}

fn batch(rows: &[Row]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |name: &str, of: fn(&Row) -> Option<&str>| {
        let values: StringViewArray = rows.iter().map(of).collect();
        (
            Field::new(name, DataType::Utf8View, true),
            Arc::new(values) as ArrayRef,
        )
    };
    let long = |name: &str, of: fn(&Ran) -> u64| {
        let values = rows.iter().map(|row| of(&row.ran) as i64);
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        (Field::new(name, DataType::Int64, true), values)
    };
    let millis = |name: &str, of: fn(&Ran) -> Duration| {
        let values = rows.iter().map(|row| of(&row.ran).as_secs_f64() * 1e3);
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values(values));
        (Field::new(name, DataType::Float64, false), values)
    };
    let started = rows.iter().map(|row| row.ran.started_ms);
    let started: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(started));
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let columns = vec![
        long("id", |ran| ran.id),
        text("state", |row| Some(row.state)),
        text("sql", |row| Some(&row.ran.sql)),
        text("client_id", |row| row.ran.client_id.as_deref()),
        (Field::new("started", time, true), started),
        millis("elapsed_ms", |ran| ran.elapsed),
        millis("cpu_ms", |ran| ran.cpu),
        long("rows", |ran| ran.rows),
        long("docs_scanned", |ran| ran.docs_scanned),
        long("servers", |ran| ran.servers),
        text("plan", |row| {
            Some(if row.ran.template_used {
                "template"
            } else {
                "anew"
            })
        }),
        text("error", |row| row.ran.error.as_deref()),
        text("principal", |row| Some(&row.ran.owner)),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
