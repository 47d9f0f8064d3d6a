//! How each reconciler fares, for `sys.tasks`.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::Fault;
use schemas::task::ReconcilerStatus;

#[derive(Debug, Default)]
pub(crate) struct Statuses(Mutex<BTreeMap<&'static str, ReconcilerStatus>>);

impl Statuses {
    /// Another controller leads.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    pub(crate) fn passed(
        &self,
        name: &'static str,
        controller: &str,
        (began_ms, ended_ms): (i64, i64),
        outcome: Result<String, Fault>,
    ) {
        let mut all = self.0.lock();
        let status = all.entry(name).or_default();
        name.clone_into(&mut status.name);
        controller.clone_into(&mut status.controller);
        status.passes += 1;
        status.last_began_ms = Some(began_ms);
        status.last_ended_ms = Some(ended_ms);
        match outcome {
            Ok(summary) => {
                status.summary = summary;
                status.failures = 0;
                status.last_error.clear();
            }
            Err(fault) => {
                status.failures += 1;
                status.last_error = fault.message;
            }
        }
    }

    pub(crate) fn json(&self) -> Vec<Bytes> {
        let all = self.0.lock();
        let json = all.values().map(serde_json::to_vec);
        json.filter_map(Result::ok).map(Bytes::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(statuses: &Statuses) -> ReconcilerStatus {
        let all = statuses.json();
        assert_eq!(all.len(), 1);
        serde_json::from_slice(&all[0]).unwrap()
    }

    #[test]
    fn failures_are_told_until_a_pass_goes_well() {
        let statuses = Statuses::default();
        let failed = || Err(Fault::unavailable("no room"));
        statuses.passed("moves", "c", (1, 2), failed());
        statuses.passed("moves", "c", (3, 4), failed());
        let status = only(&statuses);
        assert_eq!((status.passes, status.failures), (2, 2));
        assert_eq!(status.last_error, "no room");
        statuses.passed("moves", "c", (5, 6), Ok("two".to_owned()));
        let status = only(&statuses);
        assert_eq!((status.failures, status.summary.as_str()), (0, "two"));
        assert_eq!(
            (status.last_error.as_str(), status.last_ended_ms),
            ("", Some(6))
        );
        statuses.forget();
        assert!(statuses.json().is_empty());
    }
}
