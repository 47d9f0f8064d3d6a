//! Draws tables and questions, or statements, from a seed and compares every way to an answer with
//! DuckDB.
//!
//! Ends with exit code 1 when an answer differed, or when something was never used.

#![expect(clippy::print_stdout, reason = "what differs is its output")]

mod statements;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tests::generated::oracle::Oracle;
use tests::generated::questions::Question;
use tests::generated::ways::Used;
use tests::generated::world::World;

#[derive(Debug, Parser)]
struct Args {
    /// Statements over several tables instead of questions about one
    #[arg(long)]
    statements: bool,
    /// Answers to statements by hand, one a line of stdin, over the tables of `--statements`
    #[arg(long)]
    compare: bool,
    /// Questions in all
    #[arg(long, default_value_t = 2_000)]
    questions: u64,
    /// Questions asked of one table
    #[arg(long, default_value_t = 400)]
    per_table: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this question of the first table
    #[arg(long)]
    only: Option<u64>,
    /// Asks this statement of the first table in every form, where `{t}` stands for it
    #[arg(long)]
    ask: Option<String>,
    /// A python with the package `duckdb`
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Stop after so many differences
    #[arg(long, default_value_t = 10)]
    differences: usize,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut oracle = Oracle::start(&args.python)?;
    if args.statements || args.compare {
        return statements::run(&args, &mut oracle).await;
    }
    let mut used = Used::default();
    let mut differences = 0;
    let mut seed = args.seed;
    while used.questions < args.questions {
        let world = World::make(seed, &mut oracle).await?;
        if let Some(sql) = &args.ask {
            for line in world.show(sql).await? {
                println!("{line}");
            }
            world.end().await;
            return Ok(ExitCode::SUCCESS);
        }
        let wanted = args.per_table.min(args.questions - used.questions);
        let failures = ask(&world, wanted, args.only, &mut oracle, &mut used).await?;
        world.end().await;
        for failure in &failures {
            println!("{failure}\n");
        }
        differences += failures.len();
        println!(
            "seed {seed}: {} questions, {differences} differences",
            used.questions
        );
        seed += 1;
        if differences >= args.differences || args.only.is_some() {
            break;
        }
    }
    println!("{used:#?}");
    if differences > 0 {
        println!("{differences} answers differ");
        return Ok(ExitCode::FAILURE);
    }
    if args.only.is_none() && used.questions >= 1_000 {
        all_was_used(&used)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(
    world: &World,
    count: u64,
    only: Option<u64>,
    oracle: &mut Oracle,
    used: &mut Used,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for number in 0..count {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        // Two questions of the same shape follow each other.
        let shape = world.seed * 1_000_003 + number / 2;
        let literals = world.seed * 7_000_003 + number;
        let mut random = SmallRng::seed_from_u64(literals);
        let mut wrong = if number % 16 == 15 {
            world
                .check_equal(
                    &Question::partitioned(&world.table, shape),
                    &mut random,
                    used,
                )
                .await?
        } else {
            let question = Question::draw(&world.table, shape, literals);
            world.check(&question, oracle, &mut random, used).await?
        };
        for failure in &mut wrong {
            *failure = format!("--seed {} --only {number}: {failure}", world.seed);
        }
        failures.extend(wrong);
    }
    Ok(failures)
}

/// A test that never takes a way says nothing about it.
fn all_was_used(used: &Used) -> Result<()> {
    if used.with_rows * 2 < used.questions || used.refused_by_oracle * 25 > used.questions {
        bail!("too many questions have no answer: {used:?}");
    }
    let missing = used.missing();
    if !missing.is_empty() {
        bail!("never used: {}", missing.join(", "));
    }
    Ok(())
}
