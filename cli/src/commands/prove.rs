//! `tannin prove`: the ledger of a table. Each offset of every segment went to exactly one place.

use anyhow::{Result, bail};

use crate::args::{OutputFormat, ProveArgs};
use crate::client::Client;
use crate::render;

pub(crate) async fn run(args: ProveArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    let table = args.table.replace('\'', "''");
    let ledger = client
        .sql(&format!(
            "SELECT \"partition\", sequence, status, start_offset, end_offset, \"rows\", rejected, \
             filtered, absent, merged, unnested, \
             end_offset - start_offset - \"rows\" - rejected - filtered - absent \
             - merged + unnested AS unaccounted \
             FROM sys.segments WHERE \"table\" = '{table}' AND type = (SELECT MAX(type) FROM \
             sys.segments WHERE \"table\" = '{table}') ORDER BY 1, 2"
        ))
        .await?;
    if ledger.rows.is_empty() {
        bail!("table `{}` has no segment, or does not exist", args.table);
    }
    println!("{}", render::answer(&ledger, OutputFormat::Table));
    let gaps = gaps(&ledger.rows);
    let unaccounted: i64 = ledger
        .rows
        .iter()
        .filter_map(|row| row.last()?.as_i64())
        .map(i64::abs)
        .sum();
    if unaccounted == 0 && gaps.is_empty() {
        println!(
            "proved: every offset of {} is in exactly one place",
            args.table
        );
        return Ok(());
    }
    for gap in &gaps {
        eprintln!("{gap}");
    }
    bail!(
        "not proved: {unaccounted} offsets are unaccounted for, {} seams do not meet",
        gaps.len()
    )
}

/// Segments of one partition must meet: each starts where the one before ended.
fn gaps(rows: &[Vec<serde_json::Value>]) -> Vec<String> {
    let number = |row: &[serde_json::Value], index: usize| row.get(index).and_then(|v| v.as_i64());
    rows.windows(2)
        .filter(|pair| pair[0][0] == pair[1][0])
        .filter_map(|pair| {
            let (end, start) = (number(&pair[0], 4)?, number(&pair[1], 3)?);
            (end != start).then(|| {
                format!(
                    "partition {}: a segment ends at {end}, the next starts at {start}",
                    pair[0][0]
                )
            })
        })
        .collect()
}
