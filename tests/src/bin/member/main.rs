//! The binary for tests that need roles as processes: to be stopped, continued and killed.

use std::process::ExitCode;

use clap::Parser;
use tannin::args::Cli;

fn main() -> ExitCode {
    match tannin::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("member: {error:#}");
            tannin::exit::code_of(&error)
        }
    }
}
