//! The broker's half of a query: dialects, planning, the scan as a description, cut, gather.
//!
//! A table is planned as a scan whose partitions are servers ([`scan_exec`]). [`cut`] replaces what
//! servers can do by themselves by a leaf that asks them ([`gather`]); DataFusion finishes the rest.
//! Nothing here opens a segment.

pub mod codec;
mod cut;
mod dialect;
mod explain;
mod fault;
mod gather;
pub mod ipc;
mod planner;
mod routing;
pub mod scan_exec;
pub mod system;
mod table;

pub use dialect::{Dialect, Options, OutputColumn, Statement, parse};
pub use fault::to_fault;
pub use gather::{QueryContext, QueryStats};
pub use planner::{Planned, Planner, PlannerConfig};
