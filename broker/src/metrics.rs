//! What the broker counts.

use std::collections::BTreeSet;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use query::{Event, Observer, Servers};
use rest::Metrics;
use schemas::FaultKind;

use crate::quota;

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
    pub(crate) partial_answers: IntCounter,
    /// By limit.
    pub(crate) quota_refusals: IntCounterVec,
    retries: IntCounter,
    /// By what became of them.
    hedges: IntCounterVec,
    silences: IntCounter,
    server_latency: IntGaugeVec,
    server_in_flight: IntGaugeVec,
    server_silent: IntGaugeVec,
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
        let help =
            "queries refused by the quota of a table or a tenant, by the limit that was reached";
        let quota_refusals =
            registry.counter_by("tannin_broker_quota_refusals_total", help, "limit");
        for limit in quota::LIMITS {
            quota_refusals.with_label_values(&[limit]);
        }
        let help = "shares of slow servers: asked of another too, answered by it first, or not \
                    asked because the budget was spent";
        let hedges = registry.counter_by("tannin_broker_hedges_total", help, "outcome");
        for outcome in HEDGES {
            hedges.with_label_values(&[outcome]);
        }
        let of_server = |name: &str, help: &str| registry.gauge_by(name, help, &["server"]);
        Self {
            server_latency: of_server(
                "tannin_broker_server_latency_microseconds",
                "estimate of a server's time for a request",
            ),
            server_in_flight: of_server(
                "tannin_broker_server_requests_in_flight",
                "requests that a server has not answered yet",
            ),
            server_silent: of_server(
                "tannin_broker_server_silent",
                "1: a server does not answer, and others are asked instead",
            ),
            partial_answers: registry.counter(
                "tannin_broker_partial_answers_total",
                "answers that lack rows, of queries that allow it",
            ),
            retries: registry.counter(
                "tannin_broker_server_retries_total",
                "shares that a server did not answer and others were asked for",
            ),
            silences: registry.counter(
                "tannin_broker_server_silences_total",
                "how often a server stopped to answer",
            ),
            quota_refusals,
            hedges,
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

const HEDGES: [&str; 3] = ["sent", "won", "unaffordable"];

impl Observer for BrokerMetrics {
    fn happened(&self, event: Event) {
        let hedge = |outcome: &str| self.hedges.with_label_values(&[outcome]).inc();
        match event {
            Event::Retried => self.retries.inc(),
            Event::Silent => self.silences.inc(),
            Event::Heard => {}
            Event::Hedged => hedge("sent"),
            Event::HedgeWon => hedge("won"),
            Event::HedgeUnaffordable => hedge("unaffordable"),
        }
    }
}

impl BrokerMetrics {
    /// What is known of servers now; of those that are gone nothing.
    pub(crate) fn show(&self, servers: &Servers, shown: &mut BTreeSet<String>) {
        let gauges = [
            &self.server_latency,
            &self.server_in_flight,
            &self.server_silent,
        ];
        let estimates = servers.estimates();
        let known = estimates.iter().map(|one| one.server.0.clone());
        let known: BTreeSet<String> = known.collect();
        for gone in shown.difference(&known) {
            for gauge in gauges {
                // It may not be there.
                let _ = gauge.remove_label_values(&[gone.as_str()]);
            }
        }
        *shown = known;
        for one in estimates {
            let values = [
                one.latency.as_micros() as i64,
                one.in_flight as i64,
                i64::from(one.silent),
            ];
            for (gauge, value) in gauges.iter().zip(values) {
                gauge.with_label_values(&[one.server.0.as_str()]).set(value);
            }
        }
    }
}
