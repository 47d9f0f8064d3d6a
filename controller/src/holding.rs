//! What a server says that it holds, as its heartbeats tell it: everything at first, then what
//! changes.
//!
//! Invariant: `revision` names what is here; what differs from another revision is not taken.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::proto::{HeartbeatRequest, IndexList};
use schemas::segment::SegmentRecord;
use schemas::segments::SegmentKey;
use schemas::{SegmentId, TableId};

#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    tables: HashMap<TableId, HashMap<SegmentKey, Held>>,
    /// Of whoever said it; 0: by somebody who does not number them.
    revision: u64,
}

/// A segment may be held sealed and, until it is committed, consuming.
#[derive(Clone, Debug, Default)]
struct Held {
    sealed: Option<u32>,
    consuming: bool,
    indexes: Option<Arc<IndexList>>,
    /// Of the sealed one, where keys have rules: rows by which none is known, about.
    dead: u32,
}

impl Held {
    /// By the crc of which 0 says that it consumes.
    fn is(&self, crc: u32) -> bool {
        match crc {
            0 => self.consuming,
            crc => self.sealed == Some(crc),
        }
    }
}

/// What a heartbeat says of segments.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Of these it holds others than before.
    Changed(Vec<SegmentId>),
    /// It told what differs from something that is not known here: it shall tell everything.
    Unknown,
}

impl Holding {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The segment's file, or one whose place that has taken: it answers alike until its server
    /// turns to it.
    pub(crate) fn has(&self, record: &SegmentRecord) -> bool {
        let Some(held) = self.find(record.id) else {
            return false;
        };
        held.is(record.crc) || held.sealed.is_some_and(|crc| record.earlier.contains(&crc))
    }

    /// Of the present file.
    pub(crate) fn dead(&self, record: &SegmentRecord) -> Option<u32> {
        let held = self.find(record.id)?;
        (held.sealed == Some(record.crc)).then_some(held.dead)
    }

    pub(crate) fn indexes(&self, id: SegmentId) -> Option<&Arc<IndexList>> {
        self.find(id)?.indexes.as_ref()
    }

    fn find(&self, id: SegmentId) -> Option<&Held> {
        self.tables.get(&id.table)?.get(&id.key())
    }

    pub(crate) fn has_some_of(&self, table: TableId) -> bool {
        self.tables.contains_key(&table)
    }

    pub(crate) fn len(&self) -> usize {
        let held = self.tables.values().flat_map(HashMap::values);
        held.map(|held| usize::from(held.sealed.is_some()) + usize::from(held.consuming))
            .sum()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.tables.iter().flat_map(|(table, segments)| {
            segments.keys().map(|(partition, sequence)| SegmentId {
                table: *table,
                partition: *partition,
                sequence: *sequence,
            })
        })
    }

    /// Takes what a heartbeat says.
    pub(crate) fn hear(&mut self, request: &HeartbeatRequest) -> Heard {
        let base = request.held_base;
        if base != 0 {
            if base != self.revision {
                return Heard::Unknown;
            }
            self.revision = request.held_revision;
            let mut changed = self.let_go(request);
            changed.extend(self.take(request));
            return Heard::Changed(changed);
        }
        let mut fresh = Self {
            tables: HashMap::new(),
            revision: request.held_revision,
        };
        fresh.take(request);
        let differs = |id: &SegmentId| {
            let told = |held: Option<&Held>| held.map(|held| (held.sealed, held.consuming));
            told(self.find(*id)) != told(fresh.find(*id))
        };
        let gone = self.ids().filter(|id| fresh.find(*id).is_none());
        let changed = gone.chain(fresh.ids().filter(differs)).collect();
        *self = fresh;
        Heard::Changed(changed)
    }

    fn take(&mut self, request: &HeartbeatRequest) -> Vec<SegmentId> {
        let lists: Vec<Arc<IndexList>> =
            request.index_lists.iter().cloned().map(Arc::new).collect();
        let mut taken = Vec::with_capacity(request.held.len());
        for one in &request.held {
            let (Some(segment), Some(table)) =
                (one.segment.as_ref(), TableId::from_bytes(&one.table_id))
            else {
                continue;
            };
            let key = (segment.partition, segment.sequence);
            let held = self
                .tables
                .entry(table)
                .or_default()
                .entry(key)
                .or_default();
            let list = (one.index_list as usize).checked_sub(1);
            match segment.crc {
                0 => held.consuming = true,
                crc => {
                    held.sealed = Some(crc);
                    held.indexes = list.and_then(|at| lists.get(at)).map(Arc::clone);
                    held.dead = one.dead_rows;
                }
            }
            taken.push(SegmentId {
                table,
                partition: segment.partition,
                sequence: segment.sequence,
            });
        }
        taken
    }

    fn let_go(&mut self, request: &HeartbeatRequest) -> Vec<SegmentId> {
        let mut gone = Vec::with_capacity(request.let_go.len());
        for one in &request.let_go {
            let Some(table) = TableId::from_bytes(&one.table_id) else {
                continue;
            };
            let key = (one.partition, one.sequence);
            let Some(segments) = self.tables.get_mut(&table) else {
                continue;
            };
            if let Some(held) = segments.get_mut(&key) {
                match one.crc {
                    0 => held.consuming = false,
                    crc if held.sealed == Some(crc) => (held.sealed, held.indexes) = (None, None),
                    _ => {}
                }
                if held.sealed.is_none() && !held.consuming {
                    segments.remove(&key);
                }
            }
            if segments.is_empty() {
                self.tables.remove(&table);
            }
            gone.push(SegmentId {
                table,
                partition: one.partition,
                sequence: one.sequence,
            });
        }
        gone
    }
}
