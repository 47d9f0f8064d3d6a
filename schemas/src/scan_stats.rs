//! What servers did for a query, added up.

use crate::proto::ScanStats;

impl ScanStats {
    pub fn add(&mut self, more: &Self) {
        self.segments_queried += more.segments_queried;
        self.segments_processed += more.segments_processed;
        self.segments_matched += more.segments_matched;
        self.segments_pruned += more.segments_pruned;
        self.consuming_queried += more.consuming_queried;
        self.consuming_processed += more.consuming_processed;
        self.consuming_matched += more.consuming_matched;
        self.docs_total += more.docs_total;
        self.docs_scanned += more.docs_scanned;
        self.entries_scanned_in_filter += more.entries_scanned_in_filter;
        self.entries_scanned_post_filter += more.entries_scanned_post_filter;
        self.native_operators += more.native_operators;
        self.fallback_operators += more.fallback_operators;
        self.cpu_ns += more.cpu_ns;
        self.threads = self.threads.max(more.threads);
        for warning in &more.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
        for index in &more.indexes {
            if !self.indexes.contains(index) {
                self.indexes.push(index.clone());
            }
        }
    }
}
