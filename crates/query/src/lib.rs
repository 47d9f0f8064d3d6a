//! The broker's half of a query: dialects, planning, the scan as a description, cut, gather.
//!
//! A table is planned as a scan whose partitions are servers ([`scan_exec`]). `cut` replaces what
//! servers can do by themselves by a leaf that asks them (`gather`); DataFusion finishes the rest.
//! What was planned is kept for statements that differ in literals alone (`templates`). Nothing
//! here opens a segment.

pub mod after;
mod answer;
mod any_entry;
mod any_groups;
mod ask;
mod catalog;
pub mod codec;
mod colocated;
mod conditional_sums;
mod constant_keys;
mod constant_lists;
mod constant_pairs;
mod context;
mod correlated;
mod cut;
mod decimals;
mod default_like;
mod dialect;
mod distinct_counts;
mod distinct_on;
mod distinct_sides;
mod ends_asked;
mod entries;
pub mod exchange;
mod excluding;
mod explain;
pub mod expressions;
mod fault;
mod frames;
mod gate;
mod gather;
mod given_up;
mod group_orders;
pub mod ipc;
mod leaf;
mod lengths;
mod lists;
mod literals;
pub mod measured;
mod null_equal_keys;
mod operators;
mod outer_constants;
mod outer_types;
pub mod parameters;
mod parts;
mod planner;
mod prune;
mod relations;
mod repair;
mod rounding;
mod routing;
mod row_of_nothing;
mod same_time;
pub mod scan_exec;
mod servers;
mod session;
mod shared_memory;
mod sorted_inputs;
pub mod system;
mod table;
mod templates;
mod typed_chains;
pub mod watched;
mod whole;
mod whole_keys;
mod whole_ranks;
mod whole_times;
mod window_orders;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use default_like::DefaultLike;
use relations::Repeated;

pub use any_entry::AnyEntry;
pub use context::{QueryContext, QueryStats};
pub use dialect::{
    Aggregate, Dialect, End, FileImport, Options, OutputColumn, Parsed, Semantics, Shape,
    Statement, file_import, is_settings_only, parse,
};
pub use fault::{timed_out, to_fault};
pub use gate::{Gate, Memory, Open, Pass};
pub use planner::{Answer, Planner, PlannerConfig};
pub use routing::{TableIndexes, servers_of};
pub use servers::{Estimate, Event, Observer, Servers, Standing, look_after};
pub use table::who_reads;
pub use templates::can_be_reset;

/// Functions that stand for what dialects say in other words; brokers and servers know them.
pub fn own_functions() -> Vec<Arc<ScalarUDF>> {
    vec![AnyEntry::udf(), DefaultLike::udf(), Repeated::udf()]
}

#[cfg(test)]
mod tests;
