//! The state and its internal service without listeners and loops, under a clock that is held.

use metastore::catalog::Catalog;
use metastore::catalog::StoredTable;
use runtime::ManualClock;
use schemas::cluster::TableState;
use schemas::pinot::{UnknownKeys, parse_schema, parse_table};
use schemas::proto::{CommitEndRequest, CommitStartRequest, HeartbeatRequest};
use schemas::{InstanceId, TableSpec};

use super::*;
use crate::api::Api;
use crate::state::State;

pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Bare {
    pub(crate) state: Arc<State>,
    pub(crate) api: Api,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) deep: DeepStore,
    pub(crate) streams: FakeStreams,
    store: Arc<dyn MetaStore>,
}

impl Bare {
    pub(crate) async fn new() -> Self {
        let clock = ManualClock::at_ms(START_MS);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let store = Arc::new(MemoryStore::new(shared));
        Self::over(store, clock, DeepStore::in_memory()).await
    }

    async fn over(store: Arc<dyn MetaStore>, clock: Arc<ManualClock>, deep: DeepStore) -> Self {
        let config = Config {
            instance: "Controller_test".to_owned(),
            address: "127.0.0.1:9000".to_owned(),
            version: "9.9.9",
            liveness: Duration::from_secs(5),
            clock_skew_max: Duration::from_secs(60),
            reconcile_every: Duration::from_secs(1),
            entrance: Entrance::default(),
            election: None,
        };
        let streams = FakeStreams::default();
        let state = State::load(
            config,
            Catalog::new(Arc::clone(&store)),
            deep.clone(),
            Arc::new(streams.clone()),
            Arc::new(NoCheck),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let state = Arc::new(state.await.unwrap());
        Self {
            api: Api(Arc::clone(&state)),
            state,
            clock,
            deep,
            streams,
            store,
        }
    }

    /// Everything that was only in memory is lost.
    pub(crate) async fn restart(&mut self) {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        *self = Self::over(store, clock, self.deep.clone()).await;
    }

    /// Another controller over the same store, which does not know that it does not lead.
    pub(crate) async fn twin(&self) -> Self {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Self::over(store, clock, self.deep.clone()).await
    }

    pub(crate) async fn table(&self, config: &str, change: impl FnOnce(&mut TableSpec)) -> TableId {
        let stored = spec(config, change);
        let id = stored.spec.id;
        self.state.catalog.create_table(&stored).await.unwrap();
        self.state.publish(id).await.unwrap();
        id
    }

    pub(crate) fn store(&self) -> &dyn MetaStore {
        &*self.store
    }

    pub(crate) fn published(&self, table: TableId) -> Arc<TableState> {
        self.state.table(table).unwrap()
    }

    pub(crate) fn beat(&self, name: &str) {
        let request = HeartbeatRequest {
            instance: name.to_owned(),
            role: "server".to_owned(),
            ..HeartbeatRequest::default()
        };
        self.state.heartbeat(request).unwrap();
    }

    /// A heartbeat of a server that has loaded all that it shall hold.
    pub(crate) fn hold(&self, name: &str) {
        let id = InstanceId(name.to_owned());
        let tables = self.state.tables();
        let segments = tables.iter().flat_map(|table| &table.segments);
        let own = segments.filter(|segment| segment.assigned.contains(&id));
        let request = HeartbeatRequest {
            instance: name.to_owned(),
            role: "server".to_owned(),
            held: own.map(double::held).collect(),
            ..HeartbeatRequest::default()
        };
        self.state.heartbeat(request).unwrap();
    }

    pub(crate) async fn open(&self, table: TableId, server: &str) {
        self.open_on(table, &[server]).await;
    }

    pub(crate) async fn open_on(&self, table: TableId, servers: &[&str]) {
        let spec = self.published(table).spec.clone();
        let servers = servers.iter().map(|name| InstanceId((*name).to_owned()));
        let servers = servers.collect();
        let catalog = &self.state.catalog;
        let opened = catalog.open_partition(&spec, 0, 0, servers, START_MS);
        assert!(opened.await.unwrap());
        self.state.publish(table).await.unwrap();
    }

    /// Puts the object where the record says, as a committer does.
    pub(crate) async fn store_object(&self, record: &mut SegmentRecord) {
        let key = SegmentRecord::object_key(record.id, record.crc);
        let content = Bytes::from_static(b"a packed segment");
        record.stored_bytes = content.len() as u64;
        self.deep.upload(&key, content).await.unwrap();
        record.uri = Some(key);
    }

    pub(crate) async fn start(&self, who: &str, id: SegmentId, epoch: u64) -> bool {
        let request = CommitStartRequest {
            instance: who.to_owned(),
            table_id: id.table.to_bytes(),
            partition: id.partition,
            sequence: id.sequence,
            epoch,
        };
        self.api.commit_start(request).await.unwrap().accepted
    }

    pub(crate) async fn end(&self, who: &str, record: &SegmentRecord, epoch: u64) -> bool {
        let request = CommitEndRequest {
            instance: who.to_owned(),
            epoch,
            segment: serde_json::to_vec(record).unwrap().into(),
        };
        self.api.commit_end(request).await.unwrap().accepted
    }

    /// Seals the next segment of partition 0 with its rows at these times.
    pub(crate) async fn seal(&self, table: TableId, rows: i64, newest_ms: i64) -> SegmentRecord {
        let catalog = &self.state.catalog;
        let head = catalog.head(table, 0).await.unwrap().unwrap().value;
        let id = segment(table, 0, head.sequence);
        let epoch = catalog.elect(id).await.unwrap().unwrap();
        let mut record = sealed(id, head.start, head.start + rows, 1 + head.sequence);
        record.time_range = Some((newest_ms - 1, newest_ms));
        self.store_object(&mut record).await;
        assert!(self.end("a", &record, epoch).await);
        record
    }
}

/// A table as it is stored when it is new.
pub(crate) fn spec(config: &str, change: impl FnOnce(&mut TableSpec)) -> StoredTable {
    let id = TableId::random();
    let schema = parse_schema(SCHEMA).unwrap().value;
    let table = parse_table(config, Some(&schema), id, UnknownKeys::Refuse);
    let mut spec = table.unwrap().value.spec;
    change(&mut spec);
    StoredTable {
        spec,
        config_json: config.to_owned(),
        schema_json: SCHEMA.to_owned(),
        paused: false,
        time_boundary_ms: None,
        set_boundary_ms: None,
        reloads: Vec::new(),
        lineage: Default::default(),
        orders: Default::default(),
        watermarks: Default::default(),
        scheduled: Default::default(),
        spec_changed_ms: 0,
        moves: Default::default(),
    }
}
