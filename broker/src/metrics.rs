//! What the broker counts.

use prometheus::{Histogram, IntCounterVec};
use rest::Metrics;

#[derive(Clone, Debug)]
pub(crate) struct BrokerMetrics {
    pub(crate) registry: Metrics,
    pub(crate) latency: Histogram,
    pub(crate) queries: IntCounterVec,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        let registry = Metrics::default();
        let queries = registry.counter_by("tannin_broker_queries_total", "queries", "outcome");
        // Both are there from the start, at 0.
        for outcome in ["ok", "error"] {
            queries.with_label_values(&[outcome]);
        }
        Self {
            latency: registry.latency("tannin_broker_query_seconds", "time of a query"),
            queries,
            registry,
        }
    }
}
