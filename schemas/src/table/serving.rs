//! How brokers serve a table: which replicas they ask, and how much they let through.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutingSpec {
    pub selector: InstanceSelector,
    /// Every query asks the same replica, as long as it answers.
    pub fixed_replica: bool,
}

impl RoutingSpec {
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Which of the replicas of its segments a query reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceSelector {
    /// Of each segment one, in turn.
    #[default]
    Balanced,
    /// Of all segments the same one, where it has them.
    ReplicaGroup,
    /// As that, and of segments on the same servers never two.
    StrictReplicaGroup,
}

/// Of all brokers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaSpec {
    pub queries_per_second: Option<f64>,
    pub queries_running_max: Option<u32>,
    /// Of what queries hold at a broker, together.
    pub memory_bytes_max: Option<u64>,
}

impl QuotaSpec {
    /// It limits nothing.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}
