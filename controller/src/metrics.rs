//! What the controller counts.

use prometheus::{IntCounter, IntGauge};
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
            registry,
        }
    }
}
