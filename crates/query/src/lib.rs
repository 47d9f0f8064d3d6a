//! The broker's half of a query: dialects, planning, the scan as a description, cut, gather.
//!
//! A table is planned as a scan whose partitions are servers ([`scan_exec`]). `cut` replaces what
//! servers can do by themselves by a leaf that asks them ([`gather`]); DataFusion finishes the rest.
//! Nothing here opens a segment.

pub mod codec;
pub mod ipc;
pub mod scan_exec;
