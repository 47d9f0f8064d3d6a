//! The run of statements over several tables.

use std::process::ExitCode;

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tests::generated::oracle::Oracle;
use tests::generated::statements::Statement;
use tests::generated::statements::world::{Asked, Tables};

use crate::Args;

/// So many show each kind with rows.
const STATEMENTS_MIN: u64 = 600;

pub(crate) async fn run(args: &Args, oracle: &mut Oracle) -> Result<ExitCode> {
    if args.compare {
        return compare(args.seed, oracle).await;
    }
    let mut asked = Asked::default();
    let (mut seed, mut drawn, mut differences) = (args.seed, 0, 0);
    while drawn < args.questions && differences < args.differences {
        let tables = Tables::make(seed, oracle).await?;
        let wanted = args.per_table.min(args.questions - drawn);
        for number in 0..wanted {
            if args.only.is_some_and(|only| only != number) {
                continue;
            }
            // Two of the same shape follow each other.
            let (shape, literals) = (seed * 1_000_003 + number / 2, seed * 7_000_003 + number);
            let statement = Statement::draw(shape, literals);
            let mut random = SmallRng::seed_from_u64(literals);
            let failures = tables
                .check(&statement, oracle, &mut random, &mut asked)
                .await?;
            if let Some(first) = failures.first() {
                differences += 1;
                let count = failures.len();
                println!(
                    "--seed {seed} --only {number}: {count} answers, this one first: {first}\n"
                );
            }
            if differences >= args.differences {
                break;
            }
        }
        tables.end().await;
        drawn += wanted;
        println!("seed {seed}: {drawn} statements, {differences} differ");
        seed += 1;
        if args.only.is_some() {
            break;
        }
    }
    println!("{asked:#?}");
    if differences > 0 {
        println!("{differences} statements differ");
        return Ok(ExitCode::FAILURE);
    }
    if args.only.is_none() && drawn >= STATEMENTS_MIN {
        all_had_rows(&asked)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn compare(seed: u64, oracle: &mut Oracle) -> Result<ExitCode> {
    let tables = Tables::make(seed, oracle).await?;
    for line in std::io::stdin().lines() {
        println!("{}", tables.compare(&line?, oracle).await?);
    }
    tables.end().await;
    Ok(ExitCode::SUCCESS)
}

/// A kind that never has rows says nothing.
fn all_had_rows(asked: &Asked) -> Result<()> {
    let refused: u64 = asked.refused_by_oracle.values().sum();
    if asked.with_rows * 2 < asked.statements || refused * 50 > asked.statements {
        bail!("too many statements have no answer");
    }
    let missing = asked.missing();
    if !missing.is_empty() {
        bail!("never had rows: {}", missing.join(", "));
    }
    Ok(())
}
