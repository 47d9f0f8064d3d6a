//! The only binary: commands, and the composition root of all roles.
//!
//! This is the only crate that knows all roles and the only one that reads arguments and
//! environment. It is a library too, so that tests start the same node that users start.

#![allow(clippy::print_stdout, reason = "commands print their results")]

pub mod args;
mod client;
mod commands;
mod configs;
mod data_dir;
mod deep;
mod entrance;
pub mod exit;
pub mod load;
mod local;
mod login;
mod machine;
mod metadata;
pub mod node;
mod ports;
mod quickstart;
mod registries;
mod render;
pub mod sample;
mod signals;
mod telemetry;
mod units;

use anyhow::{Context, Result};

use args::{Cli, Command};

/// Of each thread; only what is used takes memory. Planning goes as deep as a statement does.
pub const STACK_BYTES: usize = 64 << 20;

/// Runs one command to its end.
pub fn run(cli: Cli) -> Result<()> {
    #[cfg(feature = "failpoints")]
    arm_failpoints()?;
    match cli.command {
        Command::Access { action } => return commands::access::run(action),
        Command::Config { action } => return commands::config::run(action),
        Command::Segment { action } => return commands::segment::run(action),
        Command::Version => {
            println!("tannin {}", env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
        _ => {}
    }
    machine::keep_memory_small();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .on_thread_park(machine::give_back_own_memory)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Quickstart(args) => quickstart::run(args).await,
            Command::Start(args) => commands::start::run(args).await,
            Command::Sql(args) => commands::sql::run(args).await,
            Command::Preview(args) => commands::preview::run(args).await,
            Command::Table(args) => commands::table::run(args).await,
            Command::Task(args) => commands::task::run(args).await,
            Command::Node(args) => commands::node::run(args).await,
            Command::Import(args) => commands::import::run(args).await,
            Command::Export(args) => commands::export::run(args).await,
            Command::Prove(args) => commands::prove::run(args).await,
            Command::Metastore { action } => commands::metastore::run(action).await,
            Command::Access { .. }
            | Command::Config { .. }
            | Command::Segment { .. }
            | Command::Version => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

/// Fail points are set like settings are: by whoever starts the process.
#[cfg(feature = "failpoints")]
fn arm_failpoints() -> Result<()> {
    let list = std::env::var_os("FAILPOINTS").unwrap_or_default();
    runtime::failpoint::arm(&list.to_string_lossy()).map_err(exit::Exit::usage)
}
