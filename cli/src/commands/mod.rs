//! One file for each command.

pub mod config;
mod create;
pub mod import;
mod prompt;
pub mod prove;
pub mod quickstart;
pub mod sql;
pub mod start;
pub mod table;
