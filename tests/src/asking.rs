//! A question that is asked again and again while a cluster is changed: no answer may be an error,
//! and each is within what may be there at the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinHandle;

use crate::process::Sql;

const PAUSE: Duration = Duration::from_millis(3);

#[derive(Debug)]
pub struct Asking {
    shared: Arc<Shared>,
    task: JoinHandle<Result<u64>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    least: AtomicI64,
    most: AtomicI64,
}

impl Asking {
    /// `sql` answers one number, which is `now` until it is said that it may be otherwise.
    #[expect(clippy::disallowed_methods, reason = "it is joined by `finish`")]
    pub fn start(sql: Sql, statement: &str, now: i64) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            least: AtomicI64::new(now),
            most: AtomicI64::new(now),
        });
        let (seen, statement) = (Arc::clone(&shared), statement.to_owned());
        let task = tokio::spawn(async move {
            let mut asked = 0;
            while !seen.stop.load(Ordering::SeqCst) {
                let least = seen.least.load(Ordering::SeqCst);
                let found = sql.numbers(&statement).await;
                let found = found.with_context(|| format!("after {asked} answers"))?;
                let most = seen.most.load(Ordering::SeqCst);
                let [count] = found[..] else {
                    bail!("{statement}: {found:?}");
                };
                ensure!(
                    (least..=most).contains(&count),
                    "{statement}: {count} is not between {least} and {most}, after {asked} answers"
                );
                asked += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(asked)
        });
        Self { shared, task }
    }

    /// It grows from now on, up to this.
    pub fn may_be(&self, most: i64) {
        self.shared.most.store(most, Ordering::SeqCst);
    }

    /// All replicas show this by now.
    pub fn must_be(&self, least: i64) {
        self.shared.least.store(least, Ordering::SeqCst);
    }

    /// How often it was answered.
    pub async fn finish(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let asked = self.task.await??;
        ensure!(asked > 0, "nothing was asked");
        Ok(asked)
    }
}
