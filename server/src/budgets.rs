//! Shares of the process's memory that a server gives to its parts.

use runtime::MemoryBudget;

use crate::Config;

#[derive(Debug)]
pub(crate) struct Budgets {
    /// Rows that are consumed and not sealed yet.
    pub(crate) ingest: MemoryBudget,
    /// Fragments of queries.
    pub(crate) query: MemoryBudget,
    /// Primary keys of upsert tables.
    pub(crate) keys: MemoryBudget,
}

impl Budgets {
    pub(crate) fn new(config: &Config, process: &MemoryBudget) -> Self {
        Self {
            ingest: process.child("ingest", config.ingest_memory_bytes),
            query: process.child("query", config.query_memory_bytes),
            keys: process.child("keys", config.key_memory_bytes),
        }
    }

    /// As metrics name them.
    pub(crate) fn named(&self) -> [(&'static str, &MemoryBudget); 3] {
        [
            ("ingest", &self.ingest),
            ("query", &self.query),
            ("keys", &self.keys),
        ]
    }
}
