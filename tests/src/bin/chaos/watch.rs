//! Clients that ask all the time, one for each broker. An answer must be that of some prefix of
//! each partition, or an error, or say that it is not whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::exactly_once::model::{PARTITIONS, REJECTING, TABLE};
use tests::process::number;
use tokio::task::JoinSet;

const PAUSE: Duration = Duration::from_millis(20);
/// A query that takes longer is given up by its client.
const PATIENCE: Duration = Duration::from_secs(20);
/// Queries in flight when a server is lost may fail.
const FIRST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) asked: u32,
    /// The broker itself was not there.
    pub(crate) unreachable: u32,
    pub(crate) failed_at_first: u32,
    pub(crate) failed_later: u32,
    /// Answers that said what is missing.
    pub(crate) flagged: u32,
    /// Answers that had fewer rows than one before, at the same broker.
    pub(crate) backwards: u32,
    pub(crate) slowest: Duration,
    /// How failures began, and how often.
    pub(crate) failures: BTreeMap<String, u32>,
    wrong: Option<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.unreachable += other.unreachable;
        self.failed_at_first += other.failed_at_first;
        self.failed_later += other.failed_later;
        self.flagged += other.flagged;
        self.backwards += other.backwards;
        self.slowest = self.slowest.max(other.slowest);
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }

    pub(crate) fn report(&self) {
        println!(
            "{} questions, the slowest {:.1} s: {} failed in the first second of a fault, {} \
             later, {} found no broker, {} said what is missing, {} had less than one before",
            self.asked,
            self.slowest.as_secs_f64(),
            self.failed_at_first,
            self.failed_later,
            self.unreachable,
            self.flagged,
            self.backwards
        );
        for (failure, count) in &self.failures {
            println!("{count:>6}  {failure}");
        }
    }
}

#[derive(Debug)]
struct State {
    seen: Seen,
    fault: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Watch {
    pub(crate) fn start(brokers: Vec<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let state = Arc::new(Mutex::new(State {
            seen: Seen::default(),
            fault: None,
        }));
        let mut tasks = JoinSet::new();
        for broker in brokers {
            let (http, state) = (http.clone(), Arc::clone(&state));
            tasks.spawn(async move {
                let mut most = [0; PARTITIONS];
                loop {
                    let begin = Instant::now();
                    let answer = ask(&http, &broker).await;
                    state.lock().unwrap_or_else(PoisonError::into_inner).take(
                        answer,
                        (begin, &broker),
                        &mut most,
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(Self {
            state,
            _tasks: tasks,
        })
    }

    pub(crate) fn fault_begins(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fault = Some(Instant::now());
    }

    /// What was seen since the last call; an error after a wrong answer.
    pub(crate) fn take(&self) -> Result<Seen> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::take(&mut state.seen);
        ensure!(
            seen.wrong.is_none(),
            "a wrong answer: {}",
            seen.wrong.unwrap_or_default()
        );
        Ok(seen)
    }
}

enum Answer {
    Rows(Vec<Vec<Value>>),
    Flagged,
    Failed(String),
    Unreachable,
}

async fn ask(http: &reqwest::Client, broker: &str) -> Answer {
    let sql = format!(
        "SET skipUpsert = true; SELECT \"$partition\", COUNT(*), COUNT(DISTINCT \"$offset\"), MIN(\"$offset\"), \
         MAX(\"$offset\") FROM {TABLE} GROUP BY 1"
    );
    let request = http.post(format!("http://{broker}/v1/sql"));
    let answer = match request.json(&json!({ "sql": sql })).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Answer::Failed("no answer".to_owned()),
        Err(_) => return Answer::Unreachable,
    };
    let status = answer.status();
    let Ok(mut body) = answer.json::<Value>().await else {
        return Answer::Unreachable;
    };
    if !status.is_success() {
        let message = body["error"]["message"].as_str().unwrap_or_default();
        return Answer::Failed(format!("{status}: {message}"));
    }
    let missing = |warning: &Value| {
        let code = warning["code"].as_str().unwrap_or_default();
        code.contains("MISSING") || code.contains("PARTIAL")
    };
    let warnings = body["warnings"].as_array();
    if warnings.is_some_and(|warnings| warnings.iter().any(missing)) {
        return Answer::Flagged;
    }
    match serde_json::from_value(body["rows"].take()) {
        Ok(rows) => Answer::Rows(rows),
        Err(error) => Answer::Failed(format!("no rows: {error}")),
    }
}

impl State {
    fn take(
        &mut self,
        answer: Answer,
        (begin, broker): (Instant, &str),
        most: &mut [i64; PARTITIONS],
    ) {
        let seen = &mut self.seen;
        seen.asked += 1;
        match answer {
            Answer::Unreachable => seen.unreachable += 1,
            Answer::Flagged => seen.flagged += 1,
            Answer::Failed(message) => {
                let first = self.fault.is_some_and(|fault| begin < fault + FIRST);
                match first {
                    true => seen.failed_at_first += 1,
                    false => seen.failed_later += 1,
                }
                let begun: String = message.chars().take(160).collect();
                *seen.failures.entry(begun).or_default() += 1;
            }
            Answer::Rows(rows) => {
                seen.slowest = seen.slowest.max(begin.elapsed());
                if let Err(error) = check(&rows, most, &mut seen.backwards) {
                    let wrong = format!("{broker}: {error:#}");
                    seen.wrong.get_or_insert(wrong);
                }
            }
        }
    }
}

/// Each offset once, and none left out: what the decoder rejects is in one partition alone.
fn check(rows: &[Vec<Value>], most: &mut [i64; PARTITIONS], backwards: &mut u32) -> Result<()> {
    let mut found = [0; PARTITIONS];
    for row in rows {
        let numbers: Vec<i64> = row.iter().map(number).collect();
        let &[partition, rows, distinct, least, greatest] = numbers.as_slice() else {
            anyhow::bail!("{row:?}");
        };
        let partition = usize::try_from(partition)?;
        ensure!(partition < PARTITIONS, "partition {partition}");
        let length = greatest + 1;
        let whole = match partition == REJECTING {
            // The first event is one of those that are rejected.
            true => rows <= length && (length - rows - 1) * 10 <= length,
            false => rows == length && least == 0,
        };
        ensure!(
            whole && rows == distinct,
            "partition {partition}: {rows} rows with {distinct} offsets, {least} to {greatest}"
        );
        found[partition] = length;
    }
    let less = found.iter().zip(most.iter()).any(|(own, most)| own < most);
    *backwards += u32::from(less);
    for (most, own) in most.iter_mut().zip(found) {
        *most = own.max(*most);
    }
    Ok(())
}

#[cfg(test)]
mod checks {
    use super::*;

    fn asked(partition: usize, (rows, least, greatest): (i64, i64, i64)) -> Result<()> {
        let row = [partition as i64, rows, rows, least, greatest];
        check(
            &[row.map(Value::from).to_vec()],
            &mut [0; PARTITIONS],
            &mut 0,
        )
    }

    #[test]
    fn an_event_less_is_right_only_where_events_are_rejected() {
        for rows in [1, 2, 40] {
            asked(REJECTING, (rows, 1, rows)).unwrap();
            asked(0, (rows, 1, rows)).unwrap_err();
            asked(0, (rows, 0, rows - 1)).unwrap();
        }
        asked(REJECTING, (80, 1, 100)).unwrap_err();
        asked(REJECTING, (101, 0, 99)).unwrap_err();
    }
}
