//! What consumers learn from all segments of their table, counted once for all of them and again
//! only where a table changes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use schemas::TableId;
use schemas::cluster::{SegmentState, TableState};
use schemas::segments::PerChunk;
use schemas::table::topic_partition;

use super::limits::{LEARNED_FROM, Sealed, newest_first};

#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<HashMap<TableId, Known>>);

#[derive(Debug)]
struct Known {
    of: Weak<TableState>,
    chunks: PerChunk<Arc<Digest>>,
    whole: Arc<Digest>,
}

/// Of some segments of a table.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    /// Partitions that consume, by topic.
    pub(crate) consuming: HashMap<usize, usize>,
    /// The newest few.
    pub(crate) sealed: Vec<Sealed>,
}

impl Digest {
    fn of(chunk: &[Arc<SegmentState>]) -> Self {
        let mut digest = Self::default();
        for segment in chunk {
            let record = &segment.record;
            if record.is_done() {
                digest.sealed.extend(Sealed::of(record));
            } else {
                let (topic, _) = topic_partition(record.id.partition);
                *digest.consuming.entry(topic).or_default() += 1;
            }
        }
        newest_first(&mut digest.sealed);
        digest
    }

    fn add(&mut self, other: &Self) {
        for (topic, count) in &other.consuming {
            *self.consuming.entry(*topic).or_default() += count;
        }
        self.sealed.extend_from_slice(&other.sealed);
        if self.sealed.len() > 8 * LEARNED_FROM {
            newest_first(&mut self.sealed);
        }
    }
}

impl Digests {
    pub(crate) fn get(&self, table: &Arc<TableState>) -> Arc<Digest> {
        let mut all = self.0.lock();
        let known = all.remove(&table.spec.id);
        if let Some(known) = known {
            let whole = Arc::clone(&known.whole);
            if known.of.as_ptr() == Arc::as_ptr(table) {
                all.insert(table.spec.id, known);
                return whole;
            }
            return Self::count(&mut all, table, &known.chunks);
        }
        all.retain(|_, known| known.of.strong_count() > 0);
        Self::count(&mut all, table, &PerChunk::default())
    }

    fn count(
        all: &mut HashMap<TableId, Known>,
        table: &Arc<TableState>,
        before: &PerChunk<Arc<Digest>>,
    ) -> Arc<Digest> {
        let chunks = before.updated(&table.segments, |chunk| Arc::new(Digest::of(chunk)));
        let mut whole = Digest::default();
        chunks.iter().for_each(|(_, one)| whole.add(one));
        newest_first(&mut whole.sealed);
        let whole = Arc::new(whole);
        let known = Known {
            of: Arc::downgrade(table),
            chunks,
            whole: Arc::clone(&whole),
        };
        all.insert(table.spec.id, known);
        whole
    }
}
