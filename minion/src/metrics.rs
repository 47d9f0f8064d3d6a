//! What `/metrics` of a minion tells.

use prometheus::{IntCounter, IntCounterVec};
use rest::Metrics;
use schemas::task::TaskKind;

#[derive(Clone, Debug)]
pub(crate) struct MinionMetrics {
    pub(crate) all: Metrics,
    pub(crate) finished: IntCounterVec,
    pub(crate) failed: IntCounterVec,
    pub(crate) objects_removed: IntCounter,
}

impl MinionMetrics {
    pub(crate) fn new() -> Self {
        let all = Metrics::default();
        let finished = all.counter_by("tannin_minion_tasks_total", "tasks done", "kind");
        let failed = all.counter_by(
            "tannin_minion_task_failures_total",
            "tasks that failed and will be tried again",
            "kind",
        );
        // All are there from the start, at 0.
        for kind in TaskKind::NAMES {
            finished.with_label_values(&[kind]);
            failed.with_label_values(&[kind]);
        }
        Self {
            finished,
            failed,
            objects_removed: all.counter(
                "tannin_minion_objects_removed_total",
                "objects removed from the deep store",
            ),
            all,
        }
    }
}
