//! Whether what is stored fits together: a pure function from entries to faults, for people.
//!
//! It knows every key of the catalog; one that it does not know is a fault. What it checks are the
//! invariants of [`super::segments`] and [`super::tables`].

use std::collections::{BTreeMap, HashMap, HashSet};

use schemas::segment::SegmentRecord;
use schemas::task::{Task, TaskKind};
use schemas::{Partition, Sequence, TableId, TableType};
use serde::de::DeserializeOwned;

use super::cluster::{CLUSTER, Cluster};
use super::{
    Head, IMPORTING, LEADERS, SCHEMAS, StoredInstance, StoredSegment, StoredTable, decode,
    head_key, name_key, segment_key,
};
use crate::Entry;

/// An object that must be in the deep store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedObject {
    pub key: String,
    pub bytes: u64,
    /// Name of the segment.
    pub segment: String,
}

#[derive(Debug, Default)]
pub struct Checked {
    /// One sentence each.
    pub faults: Vec<String>,
    pub tables: usize,
    pub segments: usize,
    pub tasks: usize,
    pub objects: Vec<WantedObject>,
}

/// Entries of the whole store, as of one revision.
pub fn check(entries: &[Entry]) -> Checked {
    let mut all = All::default();
    for entry in entries {
        all.take(entry);
    }
    all.check_names();
    let tables: Vec<TableId> = all.tables.keys().copied().collect();
    for id in tables {
        all.check_table(id);
    }
    all.check_strays();
    all.check_tasks();
    Checked {
        tables: all.tables.len(),
        segments: all.segments.values().map(BTreeMap::len).sum(),
        tasks: all.tasks.len(),
        objects: all.objects(),
        faults: all.faults,
    }
}

type Place = (Partition, Sequence);

#[derive(Default)]
struct All {
    faults: Vec<String>,
    tables: BTreeMap<TableId, StoredTable>,
    /// Physical name → id as text.
    names: BTreeMap<String, String>,
    segments: BTreeMap<TableId, BTreeMap<Place, StoredSegment>>,
    heads: BTreeMap<TableId, BTreeMap<Partition, Head>>,
    tasks: Vec<Task>,
}

impl All {
    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    fn decoded<T: DeserializeOwned>(&mut self, entry: &Entry) -> Option<T> {
        match decode(entry) {
            Ok(found) => Some(found.value),
            Err(error) => {
                self.fault(error.to_string());
                None
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        let key = entry.key.as_str();
        let parts: Vec<&str> = key.split('/').skip(1).collect();
        let id = |text: &str| text.parse().ok().map(TableId);
        match parts[..] {
            _ if key == CLUSTER => {
                let _: Option<Cluster> = self.decoded(entry);
            }
            _ if key == IMPORTING => self.fault("an import was cut off".to_owned()),
            _ if key.starts_with(LEADERS) || key.starts_with(SCHEMAS) => {}
            ["names", name] => {
                let table = String::from_utf8_lossy(&entry.value).into_owned();
                self.names.insert(name.to_owned(), table);
            }
            ["tables", table] => match (id(table), self.decoded::<StoredTable>(entry)) {
                (Some(id), Some(stored)) if stored.spec.id == id => {
                    self.tables.insert(id, stored);
                }
                (_, None) => {}
                _ => self.fault(format!("`{key}` holds another table")),
            },
            ["segments", table, _, _] => self.take_segment(entry, id(table)),
            ["heads", table, partition] => {
                let head: Option<Head> = self.decoded(entry);
                match (id(table), partition.parse::<Partition>(), head) {
                    (Some(id), Ok(partition), Some(head)) if head_key(id, partition) == key => {
                        self.heads.entry(id).or_default().insert(partition, head);
                    }
                    (_, _, None) => {}
                    _ => self.fault(format!("`{key}` is no key of a partition")),
                }
            }
            ["stopped_tasks", _] => {}
            ["tasks", task] => match self.decoded::<Task>(entry) {
                Some(stored) if stored.id.to_string() == task => self.tasks.push(stored),
                None => {}
                _ => self.fault(format!("`{key}` holds another task")),
            },
            ["instances", name] => match self.decoded::<StoredInstance>(entry) {
                Some(stored) if stored.id.0 != name => {
                    self.fault(format!("`{key}` holds another instance"));
                }
                _ => {}
            },
            _ => self.fault(format!("`{key}` is no key that this version knows")),
        }
    }

    fn take_segment(&mut self, entry: &Entry, table: Option<TableId>) {
        let Some(stored) = self.decoded::<StoredSegment>(entry) else {
            return;
        };
        let at = stored.record.id;
        if table != Some(at.table) || segment_key(at.table, at.partition, at.sequence) != entry.key
        {
            self.fault(format!("`{}` holds another segment", entry.key));
            return;
        }
        let of_table = self.segments.entry(at.table).or_default();
        of_table.insert((at.partition, at.sequence), stored);
    }

    fn check_names(&mut self) {
        let mut faults = Vec::new();
        for (name, id) in &self.names {
            let is_there = self.tables.values().any(|table| {
                table.spec.physical_name() == *name && table.spec.id.to_string() == *id
            });
            if !is_there {
                faults.push(format!(
                    "`{}` names table {id}, which is not there",
                    name_key(name)
                ));
            }
        }
        for table in self.tables.values() {
            let name = table.spec.physical_name();
            if self.names.get(&name) != Some(&table.spec.id.to_string()) {
                faults.push(format!(
                    "table {} is not under its name `{name}`",
                    table.spec.id
                ));
            }
        }
        self.faults.extend(faults);
    }

    fn check_table(&mut self, id: TableId) {
        let (Some(table), none) = (self.tables.get(&id), BTreeMap::new()) else {
            return;
        };
        let name = table.spec.physical_name();
        let segments = self.segments.get(&id).unwrap_or(&none);
        let mut faults: Vec<String> = segments
            .values()
            .filter_map(|segment| wrong_record(&segment.record))
            .map(|what| format!("table `{name}`: {what}"))
            .collect();
        let no_heads = BTreeMap::new();
        let heads = self.heads.get(&id).unwrap_or(&no_heads);
        let mut by_partition: BTreeMap<Partition, Vec<&SegmentRecord>> = BTreeMap::new();
        for ((partition, _), segment) in segments {
            by_partition
                .entry(*partition)
                .or_default()
                .push(&segment.record);
        }
        for partition in heads.keys() {
            by_partition.entry(*partition).or_default();
        }
        for (partition, records) in by_partition {
            let wrong = match (table.spec.table_type, heads.get(&partition)) {
                (_, None) => vec!["it has segments and no head".to_owned()],
                (TableType::Realtime, Some(head)) => wrong_chain(&records, *head),
                (TableType::Offline, Some(head)) => wrong_set(&records, *head),
            };
            let told = wrong.into_iter();
            faults
                .extend(told.map(|what| format!("table `{name}`, partition {partition}: {what}")));
        }
        let twice = same_names(segments).into_iter();
        faults.extend(twice.map(|what| format!("table `{name}`: {what}")));
        self.faults.extend(faults);
    }

    /// What belongs to tables that are not there.
    fn check_strays(&mut self) {
        let of_segments = self
            .segments
            .iter()
            .map(|(id, all)| (id, all.len(), "segments"));
        let of_heads = self.heads.iter().map(|(id, all)| (id, all.len(), "heads"));
        let faults: Vec<String> = of_segments
            .chain(of_heads)
            .filter(|(id, ..)| !self.tables.contains_key(id))
            .map(|(id, count, what)| format!("{count} {what} belong to no table, but to {id}"))
            .collect();
        self.faults.extend(faults);
    }

    fn check_tasks(&mut self) {
        let used: HashMap<String, String> = self
            .objects()
            .into_iter()
            .map(|object| (object.key, object.segment))
            .collect();
        let mut faults = Vec::new();
        for task in &self.tasks {
            match &task.kind {
                TaskKind::RemoveObjects { keys, .. } => {
                    let lost = keys.iter().filter_map(|key| Some((key, used.get(key)?)));
                    faults.extend(lost.map(|(key, segment)| {
                        format!(
                            "task {} would remove `{key}` of segment `{segment}`",
                            task.id
                        )
                    }));
                }
                TaskKind::ImportFiles(order)
                    if !task.is_over() && !self.tables.contains_key(&order.table) =>
                {
                    let table = &order.table_name;
                    faults.push(format!(
                        "task {} imports into `{table}`, which is not there",
                        task.id
                    ));
                }
                TaskKind::Rewrite(order)
                    if !task.is_over() && !self.tables.contains_key(&order.target) =>
                {
                    let table = &order.table_name;
                    faults.push(format!(
                        "task {} rewrites segments of `{table}`, which is not there",
                        task.id
                    ));
                }
                TaskKind::ImportFiles(_)
                | TaskKind::Rewrite(_)
                | TaskKind::Export(_)
                | TaskKind::Compact(_)
                | TaskKind::RemoveOrphans { .. } => {}
            }
        }
        self.faults.extend(faults);
    }

    fn objects(&self) -> Vec<WantedObject> {
        let segments = self.segments.values().flat_map(BTreeMap::values);
        // What servers have alone gets into the deep store later.
        let stored = segments.filter(|segment| !segment.record.unstored);
        let objects = stored.filter_map(|segment| {
            Some(WantedObject {
                key: segment.record.uri.clone()?,
                bytes: segment.record.stored_bytes,
                segment: segment.record.name.clone(),
            })
        });
        objects.collect()
    }
}

/// What a sealed segment must have, and a consuming one cannot.
fn wrong_record(record: &SegmentRecord) -> Option<String> {
    let name = &record.name;
    match (record.is_done(), record.end, &record.uri) {
        (true, None, _) => Some(format!("segment `{name}` is DONE without an end")),
        (true, _, None) => Some(format!("segment `{name}` is DONE and has no object")),
        (false, Some(_), _) | (false, _, Some(_)) => Some(format!(
            "segment `{name}` is IN_PROGRESS and has an end or an object"
        )),
        _ => None,
    }
}

/// Of a REALTIME partition, by sequence: every offset is in exactly one segment, and the ledger of
/// each accounts for all of its offsets. Retention takes segments away, which leaves gaps.
fn wrong_chain(records: &[&SegmentRecord], head: Head) -> Vec<String> {
    let mut wrong = Vec::new();
    for record in records {
        let (name, sequence) = (&record.name, record.id.sequence);
        match record.end {
            Some(_) if sequence >= head.sequence => {
                wrong.push(format!(
                    "segment `{name}` is DONE, but the head is at {}",
                    head.sequence
                ));
            }
            None if sequence != head.sequence => {
                wrong.push(format!(
                    "segment `{name}` consumes, but the head is at {}",
                    head.sequence
                ));
            }
            None if record.start != head.start => {
                wrong.push(format!("segment `{name}` does not begin at {}", head.start));
            }
            Some(end) => wrong.extend(wrong_ledger(record, end)),
            None => {}
        }
    }
    if records.last().map(|last| last.id.sequence) != Some(head.sequence) {
        wrong.push(format!("there is no segment at the head {}", head.sequence));
    }
    for pair in records.windows(2) {
        let (Some(end), next) = (pair[0].end, pair[1]) else {
            continue;
        };
        let is_next = pair[0].id.sequence + 1 == next.id.sequence;
        if next.start < end || (is_next && next.start != end) {
            wrong.push(format!(
                "segment `{}` ends at {end}, `{}` begins at {}",
                pair[0].name, next.name, next.start
            ));
        }
    }
    wrong
}

fn wrong_ledger(record: &SegmentRecord, end: i64) -> Option<String> {
    let offsets = u64::try_from(end - record.start).ok();
    let told = record.ledger.total();
    (offsets != Some(told)).then(|| {
        format!(
            "segment `{}` has offsets [{}, {end}), its ledger accounts for {told}",
            record.name, record.start
        )
    })
}

fn wrong_set(records: &[&SegmentRecord], head: Head) -> Vec<String> {
    let late = records
        .iter()
        .filter(|record| record.id.sequence >= head.sequence);
    late.map(|record| {
        format!(
            "segment `{}` has a sequence that is still free: {}",
            record.name, record.id.sequence
        )
    })
    .collect()
}

/// Lineage and people name segments: two of one name would be one to them.
fn same_names(segments: &BTreeMap<Place, StoredSegment>) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = segments.values().map(|one| one.record.name.as_str());
    let twice = names.filter(|name| !seen.insert(*name));
    twice
        .map(|name| format!("two segments are called `{name}`"))
        .collect()
}
