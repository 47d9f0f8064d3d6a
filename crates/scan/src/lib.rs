//! The server's half of a query: predicates, native operators, optimizer rules over segments.
//!
//! A fragment is decoded, its scans become [`scan_exec::ServerScanExec`] over the segments at hand,
//! aggregates that fit become native operators over dictionary codes, and DataFusion runs the rest.
//! What was made of a plan is kept for the next run of it ([`prepared`]). Sealed and consuming
//! segments go through the same code.

mod columns;
mod computed;
mod engine;
mod extracted;
mod filter;
mod gather;
mod learned;
mod memory;
mod morsels;
mod native;
mod predicate;
mod prepared;
mod ranges;
mod row_scan;
mod rows;
mod scan_exec;
mod selection;
mod shared;
mod sides;
mod stats;
mod subqueries;
mod suspects;
mod units;

pub use engine::{Engine, EngineConfig, Fragment, FragmentResult, FragmentStream};
pub use gather::read_rows;
pub use suspects::Suspects;
