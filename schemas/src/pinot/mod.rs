//! Pinot's JSON for schemas and table configs, parsed at the edge into a [`TableSpec`].
//!
//! What we know is checked and every fault is reported at once, each with its JSON path. A key that
//! Pinot does not know either is collected with the nearest known one. A key of Pinot that we do
//! not support is a fault when it would change data or answers, and a warning when it is about
//! speed or placement.

mod reader;
mod schema;
mod table_config;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

pub use schema::{parse_schema, schema_json};
pub use table_config::{TableConfig, parse_table_config, table_spec};

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
    /// JSON path → the value, for `unrecognizedProperties`.
    pub unrecognized: BTreeMap<String, Json>,
    /// Sentences.
    pub warnings: Vec<String>,
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

impl<T> Parsed<T> {
    /// Unknown keys are faults: what our own API and commands want.
    pub fn strict(self) -> Result<Self, Violations> {
        if self.unrecognized.is_empty() {
            return Ok(self);
        }
        let unknown = self
            .unrecognized
            .keys()
            .map(|key| format!("unknown key {key}"));
        Err(Violations(unknown.collect()))
    }
}

#[cfg(test)]
mod tests;
