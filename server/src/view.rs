//! What queries read: for each table one immutable view, replaced whole.
//!
//! Invariants: every row of a partition from the first segment of its run on is in exactly one
//! segment of a view; only the consumer of a partition, or the reconciler where there is none,
//! changes the partition's part of the view. Rows of a table whose keys have rules are shown
//! through the keys of their partition alone: [`Table::select`] is the only way to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use schemas::proto::ConsumerState;
use schemas::table::StreamSpec;
use schemas::{Offset, Partition, SegmentId, Sequence, TableId, TableSpec};
use segment::{MutableSegment, SealedSegment, SegmentError, SegmentView};
use stream::{StreamError, StreamSource};
use tokio::sync::Notify;
use upsert::PartitionKeys;

use crate::Core;

#[derive(Clone, Debug)]
pub(crate) struct TableView {
    pub(crate) spec: Arc<TableSpec>,
    sealed: Arc<BTreeMap<(Partition, Sequence), Arc<SealedSegment>>>,
    /// Assigned, and in the deep store alone ([`crate::cache`]); by their checksums.
    cold: Arc<BTreeMap<(Partition, Sequence), u32>>,
    /// Of each partition the segments that are frozen, then the one that grows.
    runs: BTreeMap<Partition, Vec<Arc<MutableSegment>>>,
    /// Of tables whose keys have rules. A partition without them is not shown.
    keys: BTreeMap<Partition, Arc<PartitionKeys>>,
}

impl TableView {
    fn new(spec: Arc<TableSpec>) -> Self {
        Self {
            spec,
            sealed: Arc::default(),
            cold: Arc::default(),
            runs: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    pub(crate) fn sealed(&self) -> &BTreeMap<(Partition, Sequence), Arc<SealedSegment>> {
        &self.sealed
    }

    pub(crate) fn cold(&self) -> &BTreeMap<(Partition, Sequence), u32> {
        &self.cold
    }

    /// From now on its file comes when it is read.
    pub(crate) fn make_cold(&mut self, id: SegmentId, crc: u32) {
        let key = (id.partition, id.sequence);
        Arc::make_mut(&mut self.sealed).remove(&key);
        Arc::make_mut(&mut self.cold).insert(key, crc);
    }

    pub(crate) fn forget_cold(&mut self, partition: Partition, sequence: Sequence) {
        if self.cold.contains_key(&(partition, sequence)) {
            Arc::make_mut(&mut self.cold).remove(&(partition, sequence));
        }
    }

    pub(crate) fn find(
        &self,
        partition: Partition,
        sequence: Sequence,
    ) -> Option<&Arc<SealedSegment>> {
        self.sealed.get(&(partition, sequence))
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Arc<MutableSegment>> {
        self.runs.values().flatten()
    }

    pub(crate) fn run(&self, partition: Partition) -> &[Arc<MutableSegment>] {
        self.runs.get(&partition).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.runs.keys().copied()
    }

    /// Whether the partition may be asked.
    pub(crate) fn is_shown(&self, partition: Partition) -> bool {
        self.spec.keyed.is_none() || self.keys.contains_key(&partition)
    }

    pub(crate) fn keys(&self, partition: Partition) -> Option<&Arc<PartitionKeys>> {
        self.keys.get(&partition)
    }

    pub(crate) fn all_keys(&self) -> impl Iterator<Item = &Arc<PartitionKeys>> {
        self.keys.values()
    }

    /// From now on the partition is shown by these; what is here of it brings its keys.
    pub(crate) fn set_keys(
        &mut self,
        partition: Partition,
        keys: Arc<PartitionKeys>,
    ) -> Result<(), SegmentError> {
        for segment in self.sealed_of(partition) {
            keys.seat(segment)?;
        }
        self.keys.insert(partition, keys);
        Ok(())
    }

    pub(crate) fn remove_keys(&mut self, partition: Partition) {
        self.keys.remove(&partition);
    }

    pub(crate) fn sealed_of(
        &self,
        partition: Partition,
    ) -> impl Iterator<Item = &Arc<SealedSegment>> {
        let sealed = self.sealed.range((partition, 0)..=(partition, u32::MAX));
        sealed.map(|(_, segment)| segment)
    }

    /// It shows the indexes that the spec wants, of those that it has. An error: the file cannot
    /// be read, and is not shown.
    pub(crate) fn add_sealed(&mut self, segment: Arc<SealedSegment>) -> Result<(), SegmentError> {
        let SegmentId {
            partition,
            sequence,
            ..
        } = segment.id();
        if let Some(keys) = self.keys.get(&partition) {
            keys.seat(&segment)?;
        }
        let segment = segment.with_spec(&self.spec);
        Arc::make_mut(&mut self.sealed).insert((partition, sequence), segment);
        self.forget_cold(partition, sequence);
        Ok(())
    }

    /// The segment does not belong to this server any more.
    pub(crate) fn retire(&mut self, partition: Partition, sequence: Sequence) {
        if let (Some(keys), Some(segment)) =
            (self.keys.get(&partition), self.find(partition, sequence))
        {
            keys.retire(segment);
        }
        self.remove_sealed(partition, sequence);
    }

    pub(crate) fn remove_sealed(&mut self, partition: Partition, sequence: Sequence) {
        Arc::make_mut(&mut self.sealed).remove(&(partition, sequence));
    }

    pub(crate) fn set_run(&mut self, partition: Partition, run: Vec<Arc<MutableSegment>>) {
        self.runs.insert(partition, run);
    }

    pub(crate) fn remove_run(&mut self, partition: Partition) {
        self.runs.remove(&partition);
        self.keys.remove(&partition);
    }

    /// Segments show from now on the indexes that the new spec wants.
    pub(crate) fn set_spec(&mut self, spec: Arc<TableSpec>) {
        let sealed = self.sealed.iter();
        let sealed = sealed.map(|(key, segment)| (*key, segment.with_spec(&spec)));
        self.sealed = Arc::new(sealed.collect());
        self.spec = spec;
    }

    /// Takes the sealed form of a segment in the place of its consuming one.
    pub(crate) fn seal(&mut self, segment: Arc<SealedSegment>) -> Result<(), SegmentError> {
        let id = segment.id();
        self.add_sealed(segment)?;
        if let Some(run) = self.runs.get_mut(&id.partition) {
            run.retain(|frozen| frozen.id().sequence != id.sequence);
        }
        Ok(())
    }

    /// Every segment of the partition from `from` on, without a gap; `None` when the first is not
    /// here or begins elsewhere than at `start`.
    pub(crate) fn consuming_from(
        &self,
        partition: Partition,
        from: Sequence,
        start: Offset,
    ) -> Option<Vec<SegmentView>> {
        let sealed = self.sealed.range((partition, from)..=(partition, u32::MAX));
        let run = self.run(partition);
        let first_of_run = run.first().map_or(u32::MAX, |first| first.id().sequence);
        let mut views: Vec<SegmentView> = sealed
            .filter(|((_, sequence), _)| *sequence < first_of_run)
            .map(|(_, segment)| segment.view())
            .collect();
        let wanted = run.iter().filter(|segment| segment.id().sequence >= from);
        views.extend(wanted.map(MutableSegment::view));
        let first = views.first()?;
        let meets = first.id().sequence == from && first.start_offset() == start;
        let mut sequences = views.iter().map(|view| view.id().sequence);
        let whole = (from..).zip(&mut sequences).all(|(a, b)| a == b);
        (meets && whole && !run.is_empty()).then_some(views)
    }
}

/// One physical table on this server.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    view: ArcSwap<TableView>,
    publisher: Mutex<()>,
    /// Rows were appended or the view changed.
    pub(crate) progress: Notify,
    consumers: Mutex<BTreeMap<Partition, ConsumerStatus>>,
    /// Partitions whose consumers have not caught up with another replica.
    hidden: Mutex<BTreeSet<Partition>>,
    /// A client for each topic.
    sources: Mutex<Vec<(StreamSpec, Arc<dyn StreamSource>)>>,
}

/// What a consumer says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsumerStatus {
    pub(crate) state: ConsumerState,
    /// Another replica serves the partition until this one has caught up.
    pub(crate) hidden: bool,
}

impl Table {
    pub(crate) fn new(spec: Arc<TableSpec>) -> Self {
        Self {
            id: spec.id,
            view: ArcSwap::from_pointee(TableView::new(spec)),
            publisher: Mutex::default(),
            progress: Notify::new(),
            consumers: Mutex::default(),
            hidden: Mutex::default(),
            sources: Mutex::default(),
        }
    }

    pub(crate) fn view(&self) -> Arc<TableView> {
        self.view.load_full()
    }

    /// Replaces the view by a changed one. Queries see all of the change or nothing of it.
    pub(crate) fn publish<T>(&self, change: impl FnOnce(&mut TableView) -> T) -> T {
        let _one_at_a_time = self.publisher.lock();
        let mut next = TableView::clone(&self.view.load());
        let changed = change(&mut next);
        self.view.store(Arc::new(next));
        self.progress.notify_waiters();
        changed
    }

    /// What a query takes of the view. Where keys have rules the view is not replaced meanwhile:
    /// which rows count belongs to the segments of this very view.
    pub(crate) fn select<T>(&self, select: impl FnOnce(&TableView) -> T) -> T {
        let view = self.view();
        if view.spec.keyed.is_none() {
            return select(&view);
        }
        let _not_replaced = self.publisher.lock();
        select(&self.view())
    }

    /// The stream, one client for all partitions.
    pub(crate) fn source(
        &self,
        spec: &StreamSpec,
        core: &Core,
    ) -> Result<Arc<dyn StreamSource>, StreamError> {
        let mut known = self.sources.lock();
        if let Some((_, source)) = known.iter().find(|(of, _)| of == spec) {
            return Ok(Arc::clone(source));
        }
        let source = core.streams.source(spec, &core.config.instance.0)?;
        known.retain(|(of, _)| of.topic != spec.topic);
        known.push((spec.clone(), Arc::clone(&source)));
        Ok(source)
    }

    pub(crate) fn report(&self, partition: Partition, status: ConsumerStatus) {
        if !status.hidden {
            self.hidden.lock().remove(&partition);
        }
        self.consumers.lock().insert(partition, status);
    }

    pub(crate) fn forget_consumer(&self, partition: Partition) {
        self.hidden.lock().remove(&partition);
        self.consumers.lock().remove(&partition);
    }

    /// Another replica is asked until the consumer of the partition has caught up.
    pub(crate) fn hide(&self, partition: Partition) {
        self.hidden.lock().insert(partition);
    }

    pub(crate) fn hidden(&self) -> BTreeSet<Partition> {
        self.hidden.lock().clone()
    }

    /// What answers lack of these partitions: those that are stopped, or read late.
    pub(crate) fn behind(&self, partitions: &[Partition], now_ms: i64) -> Vec<String> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let consumers = self.consumers.lock();
        let named = partitions
            .iter()
            .filter_map(|partition| consumers.get(partition));
        let behind = named.filter_map(|status| status.state.behind(now_ms));
        let mut behind: Vec<String> = behind.collect();
        if !behind.is_empty() {
            let name = self.view().spec.name.to_string();
            behind
                .iter_mut()
                .for_each(|one| *one = format!("`{name}`: {one}"));
        }
        behind
    }

    pub(crate) fn consumers(&self) -> BTreeMap<Partition, ConsumerStatus> {
        self.consumers.lock().clone()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: RwLock<HashMap<TableId, Arc<Table>>>,
}

impl Tables {
    pub(crate) fn get(&self, id: TableId) -> Option<Arc<Table>> {
        self.tables.read().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Table>> {
        self.tables.read().values().cloned().collect()
    }

    /// The table, made when it is not here; follows a changed spec.
    pub(crate) fn open(&self, spec: &TableSpec) -> Arc<Table> {
        let known = self.get(spec.id);
        if let Some(table) = known {
            if *table.view().spec != *spec {
                let spec = Arc::new(spec.clone());
                table.publish(|view| view.set_spec(spec));
            }
            return table;
        }
        let table = Arc::new(Table::new(Arc::new(spec.clone())));
        self.tables.write().insert(spec.id, Arc::clone(&table));
        table
    }

    pub(crate) fn remove(&self, id: TableId) {
        self.tables.write().remove(&id);
    }
}
