//! What the controller counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use rest::Metrics;

#[derive(Clone, Debug)]
pub(crate) struct ControllerMetrics {
    pub(crate) registry: Metrics,
    pub(crate) commits: IntCounter,
    pub(crate) fenced: IntCounter,
    pub(crate) segments_removed: IntCounter,
    pub(crate) tables: IntGauge,
    pub(crate) metastore_up: IntGauge,
    pub(crate) leads: IntGauge,
    pub(crate) takeovers: IntCounter,
    pub(crate) last_commit: IntGauge,
    /// By reconciler.
    pub(crate) failures: IntCounterVec,
    /// Set by [`crate::reconcile::figures`]: by role and state.
    pub(crate) instances: IntGaugeVec,
    pub(crate) segments: IntGauge,
    pub(crate) missing: IntGauge,
    pub(crate) under_replicated: IntGauge,
    pub(crate) unconsumed: IntGauge,
    /// By state.
    pub(crate) tasks: IntGaugeVec,
    pub(crate) tasks_failed: IntCounter,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        let registry = Metrics::default();
        Self {
            commits: registry.counter("tannin_controller_commits_total", "segments committed"),
            fenced: registry.counter("tannin_controller_fenced_total", "commits refused as stale"),
            segments_removed: registry.counter(
                "tannin_controller_segments_removed_total",
                "segments past retention",
            ),
            tables: registry.gauge("tannin_controller_tables", "tables"),
            metastore_up: registry.gauge(
                "tannin_controller_metastore_up",
                "1: the metadata can be reached; 0: commits wait for it",
            ),
            leads: registry.gauge("tannin_controller_leads", "1: this controller decides"),
            takeovers: registry.counter(
                "tannin_controller_takeovers_total",
                "times that this controller took the lead",
            ),
            last_commit: registry.gauge(
                "tannin_controller_last_commit_timestamp_seconds",
                "when a segment was committed last; 0: none since the start",
            ),
            failures: registry.counter_by(
                "tannin_controller_reconcile_failures_total",
                "passes of a reconciler that failed and are tried again",
                "reconciler",
            ),
            instances: registry.gauge_by(
                "tannin_controller_instances",
                "nodes that were heard of since the start",
                &["role", "state"],
            ),
            segments: registry.gauge("tannin_controller_segments", "sealed segments"),
            missing: registry.gauge(
                "tannin_controller_segments_missing",
                "sealed segments that no living server holds: they are missing in answers",
            ),
            under_replicated: registry.gauge(
                "tannin_controller_segments_under_replicated",
                "sealed segments that fewer servers hold than the table's config wants",
            ),
            unconsumed: registry.gauge(
                "tannin_controller_partitions_unconsumed",
                "partitions that no living server consumes",
            ),
            tasks: registry.gauge_by(
                "tannin_controller_tasks",
                "tasks of minions that are not over",
                &["state"],
            ),
            tasks_failed: registry.counter(
                "tannin_controller_tasks_failed_total",
                "ordered tasks that failed and are not tried again",
            ),
            registry,
        }
    }
}
