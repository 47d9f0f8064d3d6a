//! `tannin`: one binary for every role and every command.
//!
//! Results go to stdout, logs and errors to stderr. Errors end with an exit code of
//! [`tannin::exit`].

use std::process::ExitCode;

use clap::Parser;
use tannin::args::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tannin::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tannin: {error:#}");
            tannin::exit::code_of(&error)
        }
    }
}
