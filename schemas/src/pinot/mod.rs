//! Pinot's JSON for schemas and table configs, parsed at the edge into a [`TableSpec`].
//!
//! What we know is checked and every fault is reported at once, each with its JSON path. A key that
//! Pinot does not know either is collected with the nearest known one. A key of Pinot that we do
//! not support is a fault when it would change data or answers, and a warning when it is about
//! speed or placement.

mod reader;
mod record_reader;
mod schema;
mod table_config;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

pub use record_reader::csv_reader;
pub use schema::{parse_schema, parse_schema_with, schema_json};
pub use table_config::{
    Table, TableConfig, parse_table, parse_table_config, parse_table_config_with, table_name,
    table_spec, tenant_quota,
};

use crate::Fault;
use crate::ids::TableName;
use crate::table::ColumnSpec;

/// A schema as it was posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub name: TableName,
    pub columns: Vec<ColumnSpec>,
    pub primary_key: Vec<String>,
}

/// What was understood, and what was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<T> {
    pub value: T,
    /// JSON pointer → what stands there, for `unrecognizedProperties`.
    pub unrecognized: BTreeMap<String, Unknown>,
    /// Sentences.
    pub warnings: Vec<String>,
}

/// What stands under a key that nobody knows. As JSON it is the value; with the nearest known key,
/// when there is one near, `{"value": …, "didYouMean": "…"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    pub value: Json,
    pub nearest: Option<&'static str>,
}

impl Serialize for Unknown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.nearest {
            None => self.value.serialize(serializer),
            Some(nearest) => {
                json!({ "value": self.value, "didYouMean": nearest }).serialize(serializer)
            }
        }
    }
}

/// What becomes of keys that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeys {
    /// As Pinot does.
    Collect,
    /// They are faults: what our own API and commands want.
    Refuse,
}

/// Every fault of a document, each with its JSON path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(pub Vec<String>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Violations {}

impl From<Violations> for Fault {
    fn from(violations: Violations) -> Self {
        Self::invalid(violations.to_string())
    }
}

impl Violations {
    /// The same, of a document that is a part of another.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        let inside = |fault: String| match fault.strip_prefix('/') {
            Some(pointer) => format!("/{part}/{pointer}"),
            None => format!("{part}.{fault}"),
        };
        Self(self.0.into_iter().map(inside).collect())
    }
}

#[cfg(test)]
mod tests;
