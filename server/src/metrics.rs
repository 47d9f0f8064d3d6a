//! What `/metrics` of a server tells.

use prometheus::{Histogram, IntCounter, IntGauge};
use rest::Metrics;

#[derive(Clone, Debug)]
pub(crate) struct ServerMetrics {
    pub(crate) all: Metrics,
    pub(crate) rows: IntCounter,
    pub(crate) rejected: IntCounter,
    pub(crate) filtered: IntCounter,
    pub(crate) incomplete: IntCounter,
    pub(crate) stream_errors: IntCounter,
    pub(crate) sealed: IntCounter,
    pub(crate) downloads: IntCounter,
    pub(crate) peer_downloads: IntCounter,
    pub(crate) quarantined: IntCounter,
    pub(crate) dropped_sidecars: IntCounter,
    pub(crate) fragments: IntCounter,
    pub(crate) fragment_seconds: Histogram,
    pub(crate) segments: IntGauge,
    pub(crate) consuming: IntGauge,
    pub(crate) keys: IntGauge,
    pub(crate) key_bytes: IntGauge,
    pub(crate) spilled_key_bytes: IntGauge,
}

impl ServerMetrics {
    pub(crate) fn new() -> Self {
        let all = Metrics::default();
        let counter = |name: &str, help: &str| all.counter(name, help);
        Self {
            rows: counter("tannin_server_rows_total", "rows taken from streams"),
            rejected: counter(
                "tannin_server_rejected_rows_total",
                "messages that were no row",
            ),
            filtered: counter(
                "tannin_server_filtered_rows_total",
                "records that a table's filter left out",
            ),
            incomplete: counter(
                "tannin_server_incomplete_rows_total",
                "rows of which a wrong value was made null",
            ),
            stream_errors: counter(
                "tannin_server_stream_errors_total",
                "fetches from streams that failed",
            ),
            sealed: counter("tannin_server_seals_total", "segments sealed here"),
            downloads: counter(
                "tannin_server_downloads_total",
                "segments loaded from the deep store",
            ),
            peer_downloads: counter(
                "tannin_server_peer_downloads_total",
                "segments loaded from another server, as the deep store did not give them",
            ),
            quarantined: counter(
                "tannin_server_quarantined_total",
                "damaged segment files set aside",
            ),
            dropped_sidecars: counter(
                "tannin_server_dropped_sidecars_total",
                "damaged files of indexes that were dropped",
            ),
            fragments: counter("tannin_server_fragments_total", "fragments of queries"),
            fragment_seconds: all.latency(
                "tannin_server_fragment_seconds",
                "time from a fragment's request to its last answer",
            ),
            segments: all.gauge("tannin_server_sealed_segments", "sealed segments at hand"),
            consuming: all.gauge("tannin_server_consuming_segments", "segments in memory"),
            keys: all.gauge("tannin_server_keys", "primary keys that are known"),
            key_bytes: all.gauge(
                "tannin_server_key_bytes",
                "bytes of primary keys, in memory and on disk",
            ),
            spilled_key_bytes: all.gauge(
                "tannin_server_spilled_key_bytes",
                "bytes of primary keys on disk",
            ),
            all,
        }
    }
}
