//! On which servers the segments of a table may lie, by the tags of the servers.
//!
//! A tenant is a name in front of tags: the servers of tenant `fast` have the tag `fast_OFFLINE`,
//! `fast_REALTIME` or both. Who has no tags of its own has those of [`DEFAULT_TENANT`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::Role;
use crate::ids::{InstanceId, TableType};

pub const DEFAULT_TENANT: &str = "DefaultTenant";

/// Segments of a table that are placed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlaceKind {
    Offline,
    Consuming,
    Completed,
}

impl PlaceKind {
    pub const ALL: [Self; 3] = [Self::Offline, Self::Consuming, Self::Completed];

    /// As Pinot writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "OFFLINE",
            Self::Consuming => "CONSUMING",
            Self::Completed => "COMPLETED",
        }
    }

    /// Those that a table of this type has.
    pub const fn of(table_type: TableType) -> &'static [Self] {
        match table_type {
            TableType::Offline => &[Self::Offline],
            TableType::Realtime => &[Self::Consuming, Self::Completed],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    pub server_tenant: String,
    pub broker_tenant: String,
    /// Whole tags in the place of the tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consuming_tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_tag: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<PlaceKind, GroupSpec>,
    /// The oldest first; a sealed segment lies in the first that takes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            server_tenant: DEFAULT_TENANT.to_owned(),
            broker_tenant: DEFAULT_TENANT.to_owned(),
            consuming_tag: None,
            completed_tag: None,
            groups: BTreeMap::new(),
            tiers: Vec::new(),
        }
    }
}

/// Replicas on sets of servers that have none in common: each set holds the whole table once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// In the place of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How many; 0: replicas are spread over all servers.
    pub groups: u32,
    /// Servers of a group; 0: as many as there are.
    pub instances: u32,
    /// Segments of a partition are on the same servers of a group; 0: all are one partition.
    pub partitions: u32,
    /// Servers of a partition in a group; 0: all of the group.
    pub partition_instances: u32,
    /// Of OFFLINE tables: segments tell by it of which partition they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_column: Option<String>,
}

/// The servers of replica groups: group → partition → servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancePartitions {
    pub groups: Vec<Vec<Vec<InstanceId>>>,
}

/// Sealed segments that go to other servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    pub name: String,
    pub takes: TierTakes,
    pub server_tag: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierTakes {
    /// All rows are older.
    OlderThanMs(i64),
    /// Segments by name.
    Named(Vec<String>),
}

impl Placement {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The tag that servers of these segments have.
    pub fn tag(&self, kind: PlaceKind) -> String {
        let tenant = &self.server_tenant;
        if let Some(tag) = self.groups.get(&kind).and_then(|group| group.tag.as_ref()) {
            return tag.clone();
        }
        let own = match kind {
            PlaceKind::Offline => return format!("{tenant}_OFFLINE"),
            PlaceKind::Consuming => &self.consuming_tag,
            PlaceKind::Completed => &self.completed_tag,
        };
        own.clone().unwrap_or_else(|| format!("{tenant}_REALTIME"))
    }
}

/// What an instance is tagged with until somebody tags it otherwise.
pub fn default_tags(role: Role) -> Vec<String> {
    match role {
        Role::Server => vec![
            format!("{DEFAULT_TENANT}_OFFLINE"),
            format!("{DEFAULT_TENANT}_REALTIME"),
        ],
        Role::Broker => vec![format!("{DEFAULT_TENANT}_BROKER")],
        Role::Minion => vec!["minion_untagged".to_owned()],
        Role::Controller => vec!["controller".to_owned()],
    }
}

/// What operators want of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceOrder {
    #[default]
    Enabled,
    /// It keeps what it has and gets nothing new; it is asked only for what nobody else has.
    Disabled,
    /// It gets nothing new, and what it has goes to others.
    Draining,
}

impl InstanceOrder {
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Draining];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Draining => "DRAINING",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_of_the_tenant_unless_the_table_says_otherwise() {
        let usual = Placement::default();
        assert_eq!(usual.tag(PlaceKind::Offline), "DefaultTenant_OFFLINE");
        assert_eq!(usual.tag(PlaceKind::Completed), "DefaultTenant_REALTIME");
        let mut own = Placement {
            server_tenant: "fast".to_owned(),
            completed_tag: Some("cold_OFFLINE".to_owned()),
            ..Placement::default()
        };
        assert_eq!(own.tag(PlaceKind::Consuming), "fast_REALTIME");
        assert_eq!(own.tag(PlaceKind::Completed), "cold_OFFLINE");
        let group = GroupSpec {
            tag: Some("grouped_REALTIME".to_owned()),
            ..GroupSpec::default()
        };
        own.groups.insert(PlaceKind::Consuming, group);
        assert_eq!(own.tag(PlaceKind::Consuming), "grouped_REALTIME");
        assert!(usual.is_usual() && !own.is_usual());
    }
}
