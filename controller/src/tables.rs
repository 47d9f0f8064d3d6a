//! Creating, changing and dropping tables.

use std::sync::Arc;
use std::time::Duration;

use metastore::catalog::{CreateOutcome, StoredTable};
use schemas::cluster::TableState;
use schemas::pinot::{Parsed, Schema, Table, UnknownKeys, parse_schema, parse_table};
use schemas::{ColumnSpec, Fault, TableName, TableSpec};

use crate::reconcile::open_partitions;
use crate::state::State;

/// A DELETE waits so long for brokers to hear of it, and then for servers to let go of the table.
pub(crate) const DROP_PATIENCE: Duration = Duration::from_secs(10);
/// How long the answer to a CREATE, or a change of columns, waits for brokers and servers; it is
/// done in any case.
const TOLD_PATIENCE: Duration = Duration::from_secs(5);
const DROP_POLL: Duration = Duration::from_millis(20);

impl State {
    /// Physical tables behind a raw or a physical name.
    pub(crate) fn resolve(&self, name: &str) -> Result<Vec<Arc<TableState>>, Fault> {
        let (raw, table_type) =
            TableName::parse_physical(name).map_err(|error| Fault::not_found(error.to_string()))?;
        let fits = |table: &Arc<TableState>| {
            table.spec.name == raw && table_type.is_none_or(|t| t == table.spec.table_type)
        };
        let found: Vec<_> = self.tables().into_iter().filter(fits).collect();
        if found.is_empty() {
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        Ok(found)
    }

    /// Returns when the brokers know it.
    pub(crate) async fn create_table(
        &self,
        schema_json: String,
        config_json: String,
        spec: TableSpec,
    ) -> Result<Arc<TableState>, Fault> {
        for other in self.tables() {
            let differ = differences(&spec.columns, &spec.primary_key, &other.spec);
            if other.spec.name == spec.name && !differ.is_empty() {
                let (other, differ) = (other.spec.physical_name(), differ.join(", "));
                let message = format!("its schema is not that of table `{other}`: {differ}");
                return Err(Fault::invalid(message));
            }
            let is_other_part =
                other.spec.name == spec.name && other.spec.table_type != spec.table_type;
            if is_other_part && other.spec.time_column != spec.time_column {
                let other = other.spec.physical_name();
                let message = format!(
                    "segmentsConfig.timeColumnName: it is not that of table `{other}`, and both \
                     are divided by time"
                );
                return Err(Fault::invalid(message));
            }
        }
        self.check(&spec)?;
        self.check_tags(&spec)?;
        let stored = StoredTable {
            spec,
            config_json,
            schema_json,
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
        };
        let id = stored.spec.id;
        if self.catalog.create_table(&stored).await? == CreateOutcome::NameTaken {
            let name = stored.spec.physical_name();
            return Err(Fault::conflict(format!("table `{name}` already exists")));
        }
        self.publish(id).await?;
        let gone = || Fault::internal("the table is gone again");
        let table = self.table(id).ok_or_else(gone)?;
        if let Err(fault) = open_partitions(self, &table).await {
            tracing::debug!(cause = %fault, "partitions will be opened later");
        }
        self.tell_all("a table was created").await;
        self.table(id).ok_or_else(gone)
    }

    /// Replaces the config of a table that exists; its id, columns and segments stay.
    pub(crate) async fn change_table(
        &self,
        table: &TableState,
        config_json: String,
    ) -> Result<Parsed<Table>, Fault> {
        let (id, name) = (table.spec.id, table.spec.physical_name());
        let gone = || Fault::not_found(format!("table `{name}` does not exist"));
        let stored = self.catalog.table(id).await?.ok_or_else(gone)?.value;
        let schema = parse_schema(&stored.schema_json)?.value;
        let mut parsed = parse_table(&config_json, Some(&schema), id, UnknownKeys::Collect)?;
        let spec = parsed.value.spec.clone();
        self.check(&spec)?;
        if spec.placement != table.spec.placement {
            self.check_tags(&spec)?;
        }
        let kept = unchangeable(&table.spec, &spec);
        if !kept.is_empty() {
            return Err(Fault::invalid(kept.join("; ")));
        }
        let now_ms = self.clock.now_ms();
        let change = |stored: &mut StoredTable| {
            note_change(stored, &spec, now_ms);
            stored.spec = spec;
            stored.config_json = config_json;
        };
        self.catalog.change_table(id, change).await?;
        self.forget_source(id);
        self.publish(id).await?;
        let kept = only_for_new_segments(&table.spec, &parsed.value.spec);
        parsed.warnings.extend(kept);
        Ok(parsed)
    }

    /// Gives a table the columns that its schema has more now. Segments that are there answer with
    /// defaults; those that consume are sealed and go on with the new columns.
    pub(crate) async fn change_schema(
        &self,
        table: &TableState,
        schema_json: &str,
        schema: &Schema,
    ) -> Result<(), Fault> {
        let (id, name) = (table.spec.id, table.spec.physical_name());
        let gone = || Fault::not_found(format!("table `{name}` does not exist"));
        let stored = self.catalog.table(id).await?.ok_or_else(gone)?.value;
        let config = &stored.config_json;
        let parsed = parse_table(config, Some(schema), id, UnknownKeys::Collect)?;
        let spec = parsed.value.spec;
        self.check(&spec)?;
        let schema_json = schema_json.to_owned();
        let now_ms = self.clock.now_ms();
        let change = |stored: &mut StoredTable| {
            note_change(stored, &spec, now_ms);
            stored.spec = spec;
            stored.schema_json = schema_json;
        };
        self.catalog.change_table(id, change).await?;
        self.publish(id).await?;
        // What is produced after the answer has the columns of the schema on every replica.
        self.tell_all("a schema was changed").await;
        Ok(())
    }

    /// What was done is done, whoever has not heard of it.
    async fn tell_all(&self, done: &str) {
        if let Err(fault) = self.wait_until_seen(TOLD_PATIENCE).await {
            tracing::warn!(cause = %fault, done, "not everybody acts on it yet");
        }
    }

    /// Returns when no broker answers from it and no living server holds anything of it any more.
    pub(crate) async fn drop_table(&self, table: &TableState) -> Result<(), Fault> {
        let id = table.spec.id;
        if let Some(stored) = self.catalog.table(id).await? {
            self.catalog.drop_table(&stored.value).await?;
        }
        self.forget_source(id);
        self.completion.lock().forget_table(id);
        self.publish(id).await?;
        self.wait_until_seen(DROP_PATIENCE).await?;
        let deadline = self.clock.monotonic() + DROP_PATIENCE;
        while self.is_held(id) {
            if self.clock.monotonic() >= deadline {
                return Err(Fault::timeout(format!(
                    "table `{}` is dropped, but a server still holds parts of it",
                    table.spec.physical_name()
                )));
            }
            self.clock.sleep(DROP_POLL).await;
        }
        Ok(())
    }
}

/// When segments are made otherwise from now on: by other columns, indexes or another order.
fn note_change(stored: &mut StoredTable, new: &TableSpec, now_ms: i64) {
    let old = &stored.spec;
    let is_same = old.columns == new.columns
        && old.sorted_column == new.sorted_column
        && old.star_trees == new.star_trees;
    if !is_same {
        stored.spec_changed_ms = now_ms;
    }
}

/// What a new config says otherwise and cannot: the segments that are there rest on it.
fn unchangeable(old: &TableSpec, new: &TableSpec) -> Vec<String> {
    let mut kept = Vec::new();
    let mut keep = |path: &str, same: bool, what: &str| {
        if !same {
            kept.push(format!(
                "{path}: {what} of a table cannot change; drop it first"
            ));
        }
    };
    let named = (&old.name, old.table_type) == (&new.name, new.table_type);
    keep("tableName", named, "name and type");
    let time = old.time_column == new.time_column;
    keep("segmentsConfig.timeColumnName", time, "the time column");
    let dimension = old.is_dimension_table == new.is_dimension_table;
    keep("isDimTable", dimension, "the kind");
    // Rows that are stored were judged by them, and are judged again after a start.
    let keyed = old.keyed == new.keyed;
    keep("upsertConfig, dedupConfig", keyed, "the rules of keys");
    // Their offsets would mean other messages; others may follow them.
    let topics = |spec: &TableSpec| -> Vec<_> {
        let streams = spec.streams.iter();
        streams.map(|s| (s.kind, s.topic.clone())).collect()
    };
    let path = "stream.kafka.topic.name";
    keep(path, topics(new).starts_with(&topics(old)), "the topic");
    kept
}

/// What a new config says of how segments are laid out: those that are sealed stay as they are.
fn only_for_new_segments(old: &TableSpec, new: &TableSpec) -> Vec<String> {
    let mut kept = Vec::new();
    let mut tell = |path: &str, column: &str| {
        kept.push(format!(
            "{path}: `{column}` is laid out so in new segments; those that are sealed keep their \
             form, also when they are reloaded"
        ));
    };
    if old.sorted_column != new.sorted_column {
        let column = new.sorted_column.as_ref().or(old.sorted_column.as_ref());
        tell(
            "tableIndexConfig.sortedColumn",
            column.map_or("", String::as_str),
        );
    }
    for column in &new.columns {
        let before = old.column(&column.name);
        if before.is_some_and(|before| before.no_dictionary != column.no_dictionary) {
            tell("tableIndexConfig.noDictionaryColumns", &column.name);
        }
        if before.is_some_and(|before| before.partitioning != column.partitioning) {
            tell("tableIndexConfig.segmentPartitionConfig", &column.name);
        }
    }
    kept
}

/// What a schema says otherwise of the columns of a table that is there, and why it cannot: their
/// values are stored. New columns are fine.
pub(crate) fn unchangeable_columns(schema: &Schema, table: &TableSpec) -> Vec<String> {
    let mut refused = Vec::new();
    for old in &table.columns {
        let name = &old.name;
        let Some(new) = schema.columns.iter().find(|column| column.name == *name) else {
            refused.push(format!("`{name}` is missing, and columns are not removed"));
            continue;
        };
        let shape = |column: &ColumnSpec| {
            let several = if column.multi_value {
                " of several values"
            } else {
                ""
            };
            format!("{}{several}", column.data_type)
        };
        if shape(old) != shape(new) {
            let (old, new) = (shape(old), shape(new));
            refused.push(format!("`{name}` is {old} and cannot become {new}"));
        } else if (&old.default, old.role) != (&new.default, new.role) {
            refused.push(format!(
                "`{name}` differs in its kind of field or its default"
            ));
        } else if old.not_null != new.not_null {
            refused.push(format!("`{name}` differs in `notNull`"));
        }
    }
    if schema.primary_key != table.primary_key {
        refused.push("the primary key differs".to_owned());
    }
    refused
}

/// What a schema says of columns otherwise than `table`, which was made from an older one.
pub(crate) fn differences(
    columns: &[ColumnSpec],
    primary_key: &[String],
    table: &TableSpec,
) -> Vec<String> {
    // Indexes come from the table config.
    let bare = |column: &ColumnSpec| ColumnSpec {
        inverted_index: false,
        no_dictionary: false,
        range_index: false,
        bloom_filter: None,
        text_index: None,
        json_index: None,
        timestamp_index: Vec::new(),
        partitioning: None,
        transform: None,
        ..column.clone()
    };
    let mut differ = Vec::new();
    for column in columns {
        let name = &column.name;
        match table.column(name) {
            None => differ.push(format!("`{name}` is new")),
            Some(old) if bare(old) != bare(column) => differ.push(format!("`{name}` differs")),
            Some(_) => {}
        }
    }
    for old in &table.columns {
        let name = &old.name;
        if !columns.iter().any(|column| column.name == *name) {
            differ.push(format!("`{name}` is missing"));
        }
    }
    if primary_key != table.primary_key {
        differ.push("the primary key differs".to_owned());
    }
    differ
}
