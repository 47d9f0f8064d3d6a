//! What `/metrics` of a server tells.

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec};
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
    pub(crate) cold: IntGauge,
    pub(crate) cache: CacheMetrics,
    pub(crate) consuming: IntGauge,
    pub(crate) keys: IntGauge,
    pub(crate) key_bytes: IntGauge,
    pub(crate) spilled_key_bytes: IntGauge,
    pub(crate) missing: IntGauge,
    pub(crate) figures: Figures,
}

/// Measured again and again, by [`crate::figures`].
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// By table and partition.
    pub(crate) lag: IntGaugeVec,
    pub(crate) newest_row: IntGaugeVec,
    pub(crate) stopped: IntGaugeVec,
    /// By budget.
    pub(crate) memory_used: IntGaugeVec,
    pub(crate) memory_limit: IntGaugeVec,
    pub(crate) segment_bytes: IntGauge,
    pub(crate) disk_free: IntGauge,
    pub(crate) disk_total: IntGauge,
}

/// Of [`crate::cache`].
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    pub(crate) misses: IntCounter,
    pub(crate) evictions: IntCounter,
}

impl CacheMetrics {
    fn new(all: &Metrics) -> Self {
        Self {
            misses: all.counter(
                "tannin_server_cache_misses_total",
                "cold segments that a query waited for",
            ),
            evictions: all.counter(
                "tannin_server_cache_evictions_total",
                "segment files that made room for others",
            ),
        }
    }
}

const OF_PARTITIONS: [&str; 2] = ["table", "partition"];

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
            cold: all.gauge(
                "tannin_server_cold_segments",
                "sealed segments that are in the deep store alone until they are read",
            ),
            cache: CacheMetrics::new(&all),
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
            missing: all.gauge(
                "tannin_server_segments_missing",
                "sealed segments that are assigned to this server and not loaded",
            ),
            figures: Figures::new(&all),
            all,
        }
    }
}

impl Figures {
    fn new(all: &Metrics) -> Self {
        Self {
            lag: all.gauge_by(
                "tannin_server_partition_lag_messages",
                "messages between a consumer and the end of its log",
                &OF_PARTITIONS,
            ),
            newest_row: all.gauge_by(
                "tannin_server_partition_newest_row_timestamp_seconds",
                "when the newest row of a partition was taken",
                &OF_PARTITIONS,
            ),
            stopped: all.gauge_by(
                "tannin_server_partition_stopped",
                "1: the partition is not consumed because of an error",
                &OF_PARTITIONS,
            ),
            memory_used: all.gauge_by(
                "tannin_server_memory_used_bytes",
                "bytes taken from a budget",
                &["budget"],
            ),
            memory_limit: all.gauge_by(
                "tannin_server_memory_limit_bytes",
                "bytes of a budget",
                &["budget"],
            ),
            segment_bytes: all.gauge(
                "tannin_server_segment_bytes",
                "bytes of sealed segments and their indexes on disk",
            ),
            disk_free: all.gauge(
                "tannin_server_disk_free_bytes",
                "bytes that are free where the data dir is",
            ),
            disk_total: all.gauge(
                "tannin_server_disk_total_bytes",
                "bytes of the file system where the data dir is",
            ),
        }
    }
}
