//! Developer commands of the workspace, each one file, each of them also run by
//! `.ci/run`. Nothing here is part of the product; nothing here is needed to build it.

#![expect(
    clippy::print_stdout,
    reason = "a command line tool prints its results"
)]

mod clients;
mod codegen;
mod deploy;
mod deps;
mod drivers;
mod golang;
mod kafka;
mod node;
mod page;
mod postgres;
mod python;
mod quickstart;
mod s3;
mod steps;
mod superset;
mod system;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Tannin")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every test; installs what they need into a cache folder outside the checkout
    Test(test::Options),
    /// Check the form of the files: headers, sizes, names, notes left behind
    Tidy,
    /// Check who depends on whom
    Deps,
    /// Generate the Rust code of schemas/proto (needs `--features codegen`)
    Codegen,
    /// Kill the real binary again and again and compare every row with what was produced
    Crash(drivers::CrashOptions),
    /// Drive a simulated cluster by a seeded dice: leases, commits, moves, routing
    Simulate(drivers::SimulateOptions),
    /// Kill, stop, cut off and restart the processes of a cluster under load, and compare every row
    Chaos(drivers::ChaosOptions),
    /// Ask generated questions of generated tables in every way, and compare with DuckDB
    Generated(drivers::GeneratedOptions),
    /// Send a broker statements and bodies that nobody would write
    Fuzz(drivers::FuzzOptions),
    /// Measure the whole system and print the figures
    Bench {
        #[command(subcommand)]
        suite: drivers::Suite,
    },
    /// Start or stop a real Apache Kafka
    Kafka {
        #[command(subcommand)]
        action: ServerAction,
    },
    /// Start or stop a real PostgreSQL
    Postgres {
        #[command(subcommand)]
        action: ServerAction,
    },
}

#[derive(Debug, Subcommand)]
enum ServerAction {
    /// Start one on PORT (Kafka: and PORT+1) that keeps its data in DIR
    Up { port: u16, dir: PathBuf },
    /// Stop the one of DIR
    Down { dir: PathBuf },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy::run(),
        Command::Deps => deps::run(),
        Command::Codegen => codegen::run(),
        Command::Crash(options) => drivers::crash(&options),
        Command::Simulate(options) => drivers::simulate(&options),
        Command::Chaos(options) => drivers::chaos(&options),
        Command::Generated(options) => drivers::generated(&options),
        Command::Fuzz(options) => drivers::fuzz(&options),
        Command::Bench { suite } => drivers::bench(&suite),
        Command::Kafka {
            action: ServerAction::Up { port, dir },
        } => kafka::up(port, &dir),
        Command::Kafka {
            action: ServerAction::Down { dir },
        } => kafka::down(&dir),
        Command::Postgres {
            action: ServerAction::Up { port, dir },
        } => postgres::up(port, &dir),
        Command::Postgres {
            action: ServerAction::Down { dir },
        } => postgres::down(&dir),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
