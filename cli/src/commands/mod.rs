//! One file for each command.

pub(crate) mod access;
pub(crate) mod config;
mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod metastore;
pub(crate) mod node;
pub(crate) mod preview;
mod prompt;
pub(crate) mod prove;
pub(crate) mod segment;
pub(crate) mod sql;
pub(crate) mod start;
pub(crate) mod table;
pub(crate) mod task;
