//! Identities. A thing that has an id is never named by a bare `String` or integer.
//!
//! A table gets a new [`TableId`] each time it is created, so that a table made again under an old
//! name never meets the old one's segments. A segment is (table, partition, sequence); its name is
//! for people and for Pinot's clients only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One creation of a physical table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub Uuid);

impl TableId {
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    pub fn to_bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.0.as_bytes())
    }

    /// `None` unless there are exactly 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableId({self})")
    }
}

/// What users write after FROM: the name without `_OFFLINE` or `_REALTIME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

#[derive(Debug, thiserror::Error)]
#[error("`{name}` is no table name: {reason}")]
pub struct InvalidTableName {
    name: String,
    reason: &'static str,
}

impl TableName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The physical name, as Pinot writes it: `flights_REALTIME`.
    pub fn with_type(&self, table_type: TableType) -> String {
        format!("{}_{table_type}", self.0)
    }

    /// Splits `flights_REALTIME` and passes a raw name through. A leading `default.` is dropped.
    pub fn parse_physical(text: &str) -> Result<(Self, Option<TableType>), InvalidTableName> {
        let text = text.strip_prefix("default.").unwrap_or(text);
        for table_type in [TableType::Offline, TableType::Realtime] {
            if let Some(raw) = text.strip_suffix(table_type.suffix()) {
                return Ok((raw.parse()?, Some(table_type)));
            }
        }
        Ok((text.parse()?, None))
    }
}

impl FromStr for TableName {
    type Err = InvalidTableName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > 200 {
            "it is longer than 200 bytes"
        } else if name.contains("__") {
            "`__` separates the parts of segment names"
        } else if !name
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        {
            "only letters, digits, `_` and `-` are allowed"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidTableName {
            name: name.to_owned(),
            reason,
        })
    }
}

impl TryFrom<String> for TableName {
    type Error = InvalidTableName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TableType {
    Offline,
    Realtime,
}

impl TableType {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Offline => "_OFFLINE",
            Self::Realtime => "_REALTIME",
        }
    }
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffix()[1..])
    }
}

/// Partition of the stream; always 0 for OFFLINE tables.
pub type Partition = u32;
/// Position of a segment in its partition, from 0. OFFLINE tables number all segments in one row.
pub type Sequence = u32;
/// Offset in the log of a partition.
pub type Offset = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentId {
    pub table: TableId,
    pub partition: Partition,
    pub sequence: Sequence,
}

impl SegmentId {
    /// Where it is within its table.
    pub const fn key(self) -> (Partition, Sequence) {
        (self.partition, self.sequence)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.table, self.partition, self.sequence)
    }
}

/// `Broker_127.0.0.1_8099`: role, host and port, as Pinot names instances.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
