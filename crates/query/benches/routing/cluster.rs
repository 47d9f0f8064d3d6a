//! A cluster that nobody runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use query::{Open, QueryContext, Servers, TableIndexes};
use rpc::InProcessNetwork;
use runtime::SystemClock;
use schemas::cluster::{ClusterState, InstanceState, Role, SegmentState, ServerLists, TableState};
use schemas::partition::{ColumnPartitions, PartitionFunction, Partitioning};
use schemas::proto::NullMode;
use schemas::segment::{SegmentRecord, SegmentStatus};
use schemas::table::ColumnSpec;
use schemas::{DataType, FieldRole, InstanceId, SegmentId, TableSpec, TableType, Value};

pub(crate) const HOUR_MS: i64 = 3_600_000;
const SEGMENTS_PER_PARTITION: usize = 100;
const ROWS: u64 = 5_000_000;

pub(crate) struct Simulated {
    pub(crate) tables: Vec<Arc<TableState>>,
    pub(crate) now_ms: i64,
    pub(crate) cluster: Arc<ClusterState>,
    servers: Arc<Servers>,
    turn: AtomicUsize,
}

impl Simulated {
    pub(crate) fn new(segments: usize, tables: usize, servers: usize) -> Self {
        let clock = SystemClock::shared();
        let now_ms = 2_000 * HOUR_MS;
        let ids = (0..servers)
            .map(|at| InstanceId(format!("Server_10.0.{}.{}_8098", at / 250, at % 250)));
        let ids: Vec<InstanceId> = ids.collect();
        let instances = ids.iter().map(|id| {
            let server = InstanceState {
                id: id.clone(),
                role: Role::Server,
                address: "10.0.0.1:8098".to_owned(),
                alive: true,
                plan_format: query::codec::PLAN_FORMAT,
                exchange_format: 0,
                leads: false,
            };
            (id.clone(), server)
        });
        let mut cluster = ClusterState {
            version: 1,
            tables: HashMap::new(),
            instances: instances.collect(),
        };
        let partitions = segments / tables / SEGMENTS_PER_PARTITION;
        let of_table = (0..tables).map(|at| Arc::new(table(at, partitions, &ids, now_ms)));
        let of_table: Vec<Arc<TableState>> = of_table.collect();
        for table in &of_table {
            cluster.tables.insert(table.spec.id, Arc::clone(table));
        }
        Self {
            tables: of_table,
            now_ms,
            cluster: Arc::new(cluster),
            servers: Arc::new(Servers::new(clock, Arc::new(()), 5)),
            turn: AtomicUsize::new(0),
        }
    }

    /// With a copy of its state.
    pub(crate) fn like(other: &Self, cluster: ClusterState) -> Self {
        let mut like = Self {
            tables: other.tables.clone(),
            now_ms: other.now_ms,
            cluster: Arc::clone(&other.cluster),
            servers: Arc::clone(&other.servers),
            turn: AtomicUsize::new(0),
        };
        like.now(cluster);
        like
    }

    /// The same cluster in another state.
    pub(crate) fn now(&mut self, cluster: ClusterState) {
        for table in &mut self.tables {
            *table = Arc::clone(&cluster.tables[&table.spec.id]);
        }
        self.cluster = Arc::new(cluster);
    }

    pub(crate) fn context(&self, indexes: &Arc<TableIndexes>) -> QueryContext {
        let clock = SystemClock::shared();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (turn, standing) = self.servers.standing(turn);
        QueryContext {
            network: Arc::new(InProcessNetwork::default()),
            deadline_ms: clock.now_ms() + 10_000,
            clock,
            cluster: Arc::clone(&self.cluster),
            caller: access::Caller::anyone(),
            turn,
            timeout_ms: 10_000,
            stop: Default::default(),
            null_mode: NullMode::Defaults,
            options: Default::default(),
            after: Default::default(),
            stats: Mutex::default(),
            indexes: Arc::clone(indexes),
            servers: Arc::clone(&self.servers),
            standing,
            fixed_replica: false,
            allows_partial: false,
            exchanges: Default::default(),
            gathers: Default::default(),
            overflowed: Default::default(),
            gate: Arc::new(Open),
            failed: Mutex::default(),
        }
    }
}

/// Partitioned by `id`; a segment of a partition is an hour of time.
fn table(at: usize, partitions: usize, servers: &[InstanceId], now_ms: i64) -> TableState {
    let by = Partitioning {
        function: PartitionFunction::Modulo,
        partitions: partitions as u32,
    };
    let mut id = ColumnSpec::new("id", DataType::Long, FieldRole::Dimension);
    id.partitioning = Some(by);
    let columns = vec![
        ColumnSpec::new("ts", DataType::Timestamp, FieldRole::DateTime),
        id,
        ColumnSpec::new("amount", DataType::Double, FieldRole::Metric),
    ];
    let name = format!("events_{at}");
    let spec = TableSpec {
        time_column: Some("ts".to_owned()),
        replication: 2,
        ..TableSpec::new(name.parse().unwrap(), TableType::Realtime, columns)
    };
    let mut segments = Vec::new();
    let mut lists = ServerLists::default();
    for partition in 0..partitions as u32 {
        let first = (at * 7 + partition as usize * 2) % servers.len();
        let pair = [first, (first + 1) % servers.len()].map(|at| servers[at].clone());
        let pair = lists.shared(&pair);
        for sequence in 0..=SEGMENTS_PER_PARTITION as u32 {
            let id = SegmentId {
                table: spec.id,
                partition,
                sequence,
            };
            let start = i64::from(sequence) * ROWS as i64;
            let mut record = SegmentRecord::consuming(id, &spec, start, now_ms);
            if (sequence as usize) < SEGMENTS_PER_PARTITION {
                let age = (SEGMENTS_PER_PARTITION as u32 - sequence) as i64;
                let begin = now_ms - age * HOUR_MS;
                seal(&mut record, by, begin);
            }
            segments.push(SegmentState {
                record,
                assigned: pair.clone(),
                online: pair.clone(),
                hidden: false,
            });
        }
    }
    TableState {
        spec,
        segments: segments.into(),
        paused: false,
        time_boundary_ms: None,
        reloads: Vec::new(),
        orders: Default::default(),
    }
}

pub(crate) fn seal(record: &mut SegmentRecord, by: Partitioning, begin_ms: i64) {
    record.status = SegmentStatus::Done;
    record.end = Some(record.start + ROWS as i64);
    record.crc = 7;
    record.ledger.rows = ROWS;
    record.column_ranges = vec![
        (
            "ts".to_owned(),
            Value::Long(begin_ms),
            Value::Long(begin_ms + HOUR_MS - 1),
        ),
        ("id".to_owned(), Value::Long(0), Value::Long(9_000_000_000)),
        (
            "amount".to_owned(),
            Value::Double(0.0),
            Value::Double(10_000.0),
        ),
    ];
    record.partitions = vec![ColumnPartitions {
        column: "id".to_owned(),
        by,
        held: vec![record.id.partition],
    }];
}
