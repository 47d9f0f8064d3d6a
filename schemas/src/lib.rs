//! Every shape that crosses a process or a release: ids, table schema and config, segment
//! metadata, cluster state, internal messages, errors.
//!
//! This crate depends on no other of ours and holds no behaviour beyond parsing, checking and
//! converting its own shapes. Whatever is written to disk or sent to another process is defined
//! here, so that compatibility is the worry of one folder.

pub mod arrow;
pub mod boundary;
pub mod cluster;
mod consumer;
pub mod decoding;
pub mod fault;
pub mod ids;
pub mod ingest_event;
pub mod keyed;
pub mod lineage;
pub mod partition;
pub mod pinot;
pub mod placement;
pub mod proto;
mod scan_options;
mod scan_stats;
pub mod segment;
pub mod segments;
pub mod table;
pub mod task;
pub mod types;

pub use fault::{Fault, FaultKind, Span};
pub use ids::{InstanceId, Offset, Partition, SegmentId, Sequence, TableId, TableName, TableType};
pub use scan_options::filter_outcome;
pub use table::{ColumnSpec, TableSpec};
pub use types::{DataType, FieldRole, Value};
