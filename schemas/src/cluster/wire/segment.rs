//! A segment within an update: what repeats from segment to segment is listed once in the update,
//! what follows from other fields is left out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::super::{SegmentState, ServerLists, Servers};
use super::{Misfit, Tell, json};
use crate::ids::{InstanceId, SegmentId, TableId};
use crate::partition::{ColumnPartitions, Partitioning};
use crate::proto::range_end::Value as End;
use crate::proto::{
    ClusterUpdate, ColumnHeld, ColumnRange, RangeEnd, SegmentFacts, SegmentUpdate, ServerList,
};
use crate::segment::{Ledger, SegmentRecord, SegmentStatus, TaskMarks};
use crate::types::Value;

/// Things in the order in which they were first named.
#[derive(Debug)]
struct Positions<T> {
    known: HashMap<T, u32>,
    order: Vec<T>,
}

impl<T> Default for Positions<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            order: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Positions<T> {
    fn of<Q: Eq + Hash + ?Sized>(&mut self, wanted: &Q, make: impl FnOnce() -> T) -> u32
    where
        T: std::borrow::Borrow<Q>,
    {
        if let Some(at) = self.known.get(wanted) {
            return *at;
        }
        let at = self.order.len() as u32;
        let made = make();
        self.order.push(made.clone());
        self.known.insert(made, at);
        at
    }
}

/// What an update lists.
#[derive(Debug, Default)]
pub(super) struct Listed {
    servers: Positions<InstanceId>,
    server_lists: Positions<Servers>,
    columns: Positions<String>,
    partitionings: Vec<Partitioning>,
}

impl Listed {
    pub(super) fn into_update(self) -> ClusterUpdate {
        let mut servers = self.servers;
        let lists = self.server_lists.order.iter().map(|list| {
            let list = list.iter();
            let positions = list.map(|one| servers.of(one, || one.clone()));
            ServerList {
                servers: positions.collect(),
            }
        });
        ClusterUpdate {
            server_lists: lists.collect(),
            servers: servers.order.into_iter().map(|id| id.0).collect(),
            columns: self.columns.order,
            partitionings: self.partitionings.iter().map(json).collect(),
            ..ClusterUpdate::default()
        }
    }

    pub(super) fn tell(&mut self, segment: &SegmentState, tell: Tell) -> SegmentUpdate {
        let id = segment.record.id;
        let mut list = |servers: &Servers| self.server_lists.of(servers, || servers.clone());
        let (assigned, online) = (list(&segment.assigned), list(&segment.online));
        SegmentUpdate {
            partition: id.partition,
            sequence: id.sequence,
            assigned,
            online,
            hidden: segment.hidden,
            facts: (tell == Tell::All).then(|| self.facts(&segment.record)),
        }
    }

    fn facts(&mut self, record: &SegmentRecord) -> SegmentFacts {
        let ledger = record.ledger;
        let own_key = SegmentRecord::object_key(record.id, record.crc);
        let has_own_key = record.uri.as_ref() == Some(&own_key);
        let ranges = record.column_ranges.iter();
        let ranges = ranges.map(|(column, least, greatest)| ColumnRange {
            column: self.columns.of(column, || column.clone()),
            least: Some(end(least)),
            greatest: Some(end(greatest)),
        });
        let ranges = ranges.collect();
        SegmentFacts {
            name: record.name.clone(),
            done: record.is_done(),
            start: record.start,
            end: record.end,
            rows: ledger.rows,
            rejected: ledger.rejected,
            filtered: ledger.filtered,
            absent: ledger.absent,
            unnested: ledger.unnested,
            merged: ledger.merged,
            crc: record.crc,
            bytes: record.bytes,
            stored_bytes: record.stored_bytes,
            has_own_key,
            uri: record.uri.clone().filter(|_| !has_own_key),
            unstored: record.unstored,
            created_ms: record.created_ms,
            sealed_ms: record.sealed_ms,
            least_time_ms: record.time_range.map(|(least, _)| least),
            greatest_time_ms: record.time_range.map(|(_, greatest)| greatest),
            ranges,
            partitions: record
                .partitions
                .iter()
                .map(|held| self.held(held))
                .collect(),
            source: record.source.as_ref().map(json).unwrap_or_default(),
            earlier: record.earlier.clone(),
            marks: match record.marks == TaskMarks::default() {
                true => Default::default(),
                false => json(&record.marks),
            },
        }
    }

    fn held(&mut self, known: &ColumnPartitions) -> ColumnHeld {
        let at = self.partitionings.iter().position(|by| *by == known.by);
        let at = at.unwrap_or_else(|| {
            self.partitionings.push(known.by);
            self.partitionings.len() - 1
        });
        ColumnHeld {
            column: self.columns.of(&known.column, || known.column.clone()),
            partitioning: at as u32,
            held: known.held.clone(),
        }
    }
}

fn end(value: &Value) -> RangeEnd {
    let value = match value {
        Value::Boolean(truth) => End::Truth(*truth),
        Value::Long(whole) => End::Whole(*whole),
        Value::Double(number) => End::Number(*number),
        Value::String(text) => End::Text(text.clone()),
        Value::Bytes(raw) => End::Raw(raw.clone().into()),
    };
    RangeEnd { value: Some(value) }
}

/// `None`: of a kind that this version does not know.
fn value(end: Option<&RangeEnd>) -> Option<Value> {
    Some(match end?.value.as_ref()? {
        End::Truth(truth) => Value::Boolean(*truth),
        End::Whole(whole) => Value::Long(*whole),
        End::Number(number) => Value::Double(*number),
        End::Text(text) => Value::String(text.clone()),
        End::Raw(raw) => Value::Bytes(raw.to_vec()),
    })
}

/// What an update lists, to whoever reads it.
pub(super) struct Known<'a> {
    lists: Vec<Servers>,
    columns: &'a [String],
    /// `None`: of a function that this version does not know.
    partitionings: Vec<Option<Partitioning>>,
}

impl<'a> Known<'a> {
    pub(super) fn of(update: &'a ClusterUpdate, lists: &mut ServerLists) -> Result<Self, Misfit> {
        let server = |at: &u32| -> Result<InstanceId, Misfit> {
            let name = update.servers.get(*at as usize);
            let name = name.ok_or(Misfit::NotListed("server", *at))?;
            Ok(InstanceId(name.clone()))
        };
        let mut list = |list: &ServerList| -> Result<Servers, Misfit> {
            let servers = list.servers.iter().map(server);
            Ok(lists.shared(&servers.collect::<Result<Vec<_>, Misfit>>()?))
        };
        let partitionings = update.partitionings.iter();
        Ok(Self {
            lists: update
                .server_lists
                .iter()
                .map(&mut list)
                .collect::<Result<_, Misfit>>()?,
            columns: &update.columns,
            partitionings: partitionings
                .map(|json| serde_json::from_slice(json).ok())
                .collect(),
        })
    }

    fn list(&self, at: u32) -> Result<Servers, Misfit> {
        let list = self.lists.get(at as usize).cloned();
        list.ok_or(Misfit::NotListed("list of servers", at))
    }

    fn column(&self, at: u32) -> Result<String, Misfit> {
        let column = self.columns.get(at as usize).cloned();
        column.ok_or(Misfit::NotListed("column", at))
    }

    pub(super) fn segment(
        &self,
        table: TableId,
        told: &SegmentUpdate,
        old: Option<&SegmentRecord>,
    ) -> Result<Arc<SegmentState>, Misfit> {
        let (partition, sequence) = (told.partition, told.sequence);
        let id = SegmentId {
            table,
            partition,
            sequence,
        };
        let record = match (&told.facts, old) {
            (Some(facts), _) => self.record(id, facts)?,
            (None, Some(old)) => old.clone(),
            (None, None) => return Err(Misfit::NoFacts(partition, sequence)),
        };
        Ok(Arc::new(SegmentState {
            record,
            assigned: self.list(told.assigned)?,
            online: self.list(told.online)?,
            hidden: told.hidden,
        }))
    }

    fn record(&self, id: SegmentId, facts: &SegmentFacts) -> Result<SegmentRecord, Misfit> {
        let mut ranges = Vec::with_capacity(facts.ranges.len());
        for range in &facts.ranges {
            let ends = value(range.least.as_ref()).zip(value(range.greatest.as_ref()));
            if let Some((least, greatest)) = ends {
                ranges.push((self.column(range.column)?, least, greatest));
            }
        }
        Ok(SegmentRecord {
            id,
            name: facts.name.clone(),
            status: match facts.done {
                true => SegmentStatus::Done,
                false => SegmentStatus::InProgress,
            },
            start: facts.start,
            end: facts.end,
            ledger: Ledger {
                rows: facts.rows,
                rejected: facts.rejected,
                filtered: facts.filtered,
                absent: facts.absent,
                unnested: facts.unnested,
                merged: facts.merged,
            },
            crc: facts.crc,
            bytes: facts.bytes,
            stored_bytes: facts.stored_bytes,
            uri: match facts.has_own_key {
                true => Some(SegmentRecord::object_key(id, facts.crc)),
                false => facts.uri.clone(),
            },
            unstored: facts.unstored,
            created_ms: facts.created_ms,
            sealed_ms: facts.sealed_ms,
            time_range: facts.least_time_ms.zip(facts.greatest_time_ms),
            column_ranges: ranges,
            partitions: self.partitions(facts)?,
            source: optional(&facts.source)?,
            earlier: facts.earlier.clone(),
            marks: optional(&facts.marks)?.unwrap_or_default(),
        })
    }

    fn partitions(&self, facts: &SegmentFacts) -> Result<Vec<ColumnPartitions>, Misfit> {
        let mut all = Vec::with_capacity(facts.partitions.len());
        for told in &facts.partitions {
            let at = told.partitioning;
            let by = self.partitionings.get(at as usize);
            let by = by.ok_or(Misfit::NotListed("way of partitioning", at))?;
            if let Some(by) = by {
                all.push(ColumnPartitions {
                    column: self.column(told.column)?,
                    by: *by,
                    held: told.held.clone(),
                });
            }
        }
        Ok(all)
    }
}

fn optional<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<Option<T>, serde_json::Error> {
    match json.is_empty() {
        true => Ok(None),
        false => serde_json::from_slice(json).map(Some),
    }
}
