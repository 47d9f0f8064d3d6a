//! The state of the cluster as the controller publishes it to brokers, servers and minions.

mod servers;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{InstanceId, Offset, Partition, SegmentId, Sequence, TableId, TableName};
use crate::segment::SegmentRecord;
use crate::segments::Segments;
use crate::table::TableSpec;

pub use servers::{ServerLists, Servers};
pub use wire::{Misfit, UPDATE_FORMAT, Updates, changed, whole_tables};

/// Everything about one physical table. States that were published are never changed in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableState {
    pub spec: TableSpec,
    #[serde(default)]
    pub segments: Segments,
    /// Consumption is stopped by an operator.
    pub paused: bool,
    #[serde(default)]
    pub orders: ConsumptionOrders,
    /// Stored time boundary between the OFFLINE and the REALTIME part of a hybrid table.
    pub time_boundary_ms: Option<i64>,
    /// The newest, in the order in which they were asked for.
    #[serde(default)]
    pub reloads: Vec<ReloadJob>,
}

impl TableState {
    /// Those that queries see.
    pub fn seen(&self) -> impl Iterator<Item = &SegmentState> + Clone {
        self.segments.iter().filter(|segment| !segment.hidden)
    }
}

/// What operators ordered about consumption; consumers follow it, and it survives restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumptionOrders {
    /// The last pause or resume of the whole table.
    pub last: Option<PauseNote>,
    /// Positions of topics whose partitions are stopped.
    pub paused_topics: BTreeSet<u32>,
    /// Offsets that are not consumed, by an order to go on at another place.
    pub skips: Vec<Skip>,
    /// "Seal what consumes now": the newest, in the order in which they were asked for.
    pub commits: Vec<CommitJob>,
    /// Rejected messages before these offsets were sent again, or never will be.
    pub retried: BTreeMap<Partition, Offset>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseNote {
    pub at_ms: i64,
    pub comment: String,
}

/// Messages of a partition from `from` on and before `to` are passed over: once, and the same ones
/// by every replica and after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    pub partition: Partition,
    pub from: Offset,
    pub to: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitJob {
    pub id: Uuid,
    pub submitted_ms: i64,
    /// Those that were consuming, and those after them where they were being committed.
    pub segments: Vec<(Partition, Sequence)>,
}

impl ConsumptionOrders {
    /// The skip that begins or goes on at `next`, or else the first after it.
    pub fn skip_after(&self, partition: Partition, next: Offset) -> Option<Skip> {
        let ahead = self
            .skips
            .iter()
            .filter(|skip| skip.partition == partition && next < skip.to);
        ahead.min_by_key(|skip| skip.from).copied()
    }
}

/// "Give these segments the indexes that the table's config names now."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadJob {
    pub id: Uuid,
    pub submitted_ms: i64,
    /// `None`: all that were sealed then.
    pub segment: Option<SegmentId>,
    /// Also loads them again from the deep store.
    pub force_download: bool,
    /// Only on this server.
    pub instance: Option<InstanceId>,
}

impl ReloadJob {
    pub fn concerns(&self, segment: &SegmentState, server: &InstanceId) -> bool {
        let record = &segment.record;
        let was_sealed = record
            .sealed_ms
            .is_none_or(|sealed| sealed <= self.submitted_ms);
        record.is_done()
            && was_sealed
            && segment.assigned.contains(server)
            && self.segment.is_none_or(|id| id == record.id)
            && self.instance.as_ref().is_none_or(|only| only == server)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentState {
    pub record: SegmentRecord,
    /// Servers that shall hold it.
    pub assigned: Servers,
    /// Servers that said they do, and live. A broker routes to these only.
    pub online: Servers,
    /// By the table's lineage: servers hold it, queries do not see it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// First sequence of a partition that is not committed, and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionHead {
    pub partition: Partition,
    pub sequence: Sequence,
    pub start: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    pub id: InstanceId,
    pub role: Role,
    /// gRPC address of a server, HTTP address of the others.
    pub address: String,
    pub alive: bool,
    pub plan_format: u32,
    /// Of exchanges between servers; 0 = it offers none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exchange_format: u32,
    /// Of a controller: it decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leads: bool,
}

fn is_zero(format: &u32) -> bool {
    *format == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Controller,
    Broker,
    Server,
    Minion,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Controller, Self::Broker, Self::Server, Self::Minion];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Broker => "broker",
            Self::Server => "server",
            Self::Minion => "minion",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is no role: controller, broker, server or minion"))
    }
}

/// A copy of the controller's state, replaced whole with each update.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    pub version: u64,
    pub tables: HashMap<TableId, Arc<TableState>>,
    pub instances: HashMap<InstanceId, InstanceState>,
}

impl ClusterState {
    /// The OFFLINE and the REALTIME part behind a raw or a physical name.
    pub fn resolve(&self, name: &str) -> Vec<Arc<TableState>> {
        let Ok((raw, table_type)) = TableName::parse_physical(name) else {
            return Vec::new();
        };
        let fits = |table: &&Arc<TableState>| {
            table.spec.name == raw && table_type.is_none_or(|t| t == table.spec.table_type)
        };
        let mut parts: Vec<_> = self.tables.values().filter(fits).cloned().collect();
        parts.sort_by_key(|table| table.spec.table_type);
        parts
    }
}
