//! What the broker counts.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use rest::Metrics;
use schemas::FaultKind;

#[derive(Clone, Debug)]
pub(crate) struct BrokerMetrics {
    pub(crate) registry: Metrics,
    pub(crate) latency: Histogram,
    pub(crate) queries: IntCounterVec,
    /// By kind of fault.
    pub(crate) errors: IntCounterVec,
    pub(crate) waiting: IntGauge,
    pub(crate) rejected: IntCounter,
    pub(crate) templates: IntCounterVec,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        let registry = Metrics::default();
        let queries = registry.counter_by("tannin_broker_queries_total", "queries", "outcome");
        // Both are there from the start, at 0.
        for outcome in ["ok", "error"] {
            queries.with_label_values(&[outcome]);
        }
        let help = "queries that failed, by what their sender should do";
        let errors = registry.counter_by("tannin_broker_query_errors_total", help, "kind");
        for (_, kind) in FaultKind::ALL {
            errors.with_label_values(&[kind]);
        }
        let help = "plans: used again or made anew";
        let templates = registry.counter_by("tannin_broker_plans_total", help, "plan");
        for plan in ["template", "anew"] {
            templates.with_label_values(&[plan]);
        }
        Self {
            latency: registry.latency("tannin_broker_query_seconds", "time of a query"),
            queries,
            errors,
            waiting: registry.gauge(
                "tannin_broker_queries_waiting",
                "queries that wait for a place",
            ),
            rejected: registry.counter(
                "tannin_broker_queries_rejected_total",
                "queries refused because too many ran and waited",
            ),
            templates,
            registry,
        }
    }
}
