//! The server's half of a query: predicates, native operators, optimizer rules over segments.
//!
//! A fragment is decoded, its scans become [`scan_exec::ServerScanExec`] over the segments at hand,
//! partial aggregates that fit become native operators over dictionary codes, and DataFusion runs
//! the rest. Sealed and consuming segments go through the same code.

mod columns;
mod engine;
mod filter;
mod gather;
mod learned;
mod memory;
mod morsels;
mod native;
mod predicate;
mod ranges;
mod row_scan;
mod rows;
mod scan_exec;
mod selection;
mod shared;
mod stats;

pub use engine::{Engine, EngineConfig, Fragment, FragmentResult, FragmentStream};
