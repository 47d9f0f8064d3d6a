//! After a restart: the table has every offset of the log exactly once, each row as it was sent,
//! and says so itself in its ledger.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use schemas::Offset;
use stream::{KafkaSource, StreamSource};

use super::model::{COLUMNS, Model, PARTITIONS, REJECTING, Sums, TABLE};
use crate::process::{Sql, number};

const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What the table has after the comparison.
#[derive(Debug)]
pub struct Verified {
    pub rows: i64,
    pub rejected: i64,
    pub sealed: i64,
}

/// Of a table with upserts: all that is stored.
const ALL_ROWS: &str = "SET skipUpsert = true; ";

/// `at_odds`: for so long servers may count more, or less, than the others know of.
pub async fn verify(
    (sql, upserts, at_odds): (&Sql, bool, Duration),
    brokers: &str,
    model: &mut Model,
) -> Result<Verified> {
    let source = KafkaSource::new(brokers, &[], "crash-verify")?;
    let mut ends = [0; PARTITIONS];
    for (partition, end) in ends.iter_mut().enumerate() {
        *end = source.watermarks(TABLE, partition as u32).await?.1;
        let acknowledged = model.acknowledged_end(partition);
        ensure!(
            usize::try_from(*end)? >= acknowledged,
            "the log of partition {partition} ends at {end}, acknowledged was up to {acknowledged}"
        );
    }
    let ledger = wait_for_ledger(sql, &ends, at_odds).await?;
    let all = if upserts { ALL_ROWS } else { "" };
    for (partition, end) in ends.iter().enumerate() {
        let begin = model.compared(partition);
        let rows = sql
            .rows(&format!(
                "{all}SELECT \"$offset\", {COLUMNS} FROM {TABLE} WHERE \"$partition\" = {partition} \
                 AND \"$offset\" >= {begin}"
            ))
            .await?;
        model.compare(partition, usize::try_from(*end)?, &rows)?;
    }
    compare_ledger(&ledger, model)?;
    compare_sums(sql, all, model).await?;
    compare_proof(sql, all).await?;
    if upserts {
        compare_newest(sql, model).await?;
    }
    let sealed = sql
        .numbers(&format!(
            "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = '{TABLE}' AND status = 'DONE'"
        ))
        .await?;
    Ok(Verified {
        rows: model.sums().rows,
        rejected: ledger.iter().map(|line| line.rejected).sum(),
        sealed: sealed.first().copied().unwrap_or(0),
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    start: Offset,
    end: Offset,
    rows: i64,
    rejected: i64,
    others: i64,
}

/// Waits until the ledger reaches the ends of the log; it must add up at every moment.
async fn wait_for_ledger(
    sql: &Sql,
    ends: &[Offset; PARTITIONS],
    at_odds: Duration,
) -> Result<Vec<Ledger>> {
    let begin = Instant::now();
    let mut added_up = Instant::now();
    loop {
        let ledger = match read_ledger(sql).await {
            Err(_) if added_up.elapsed() < at_odds => {
                tokio::time::sleep(POLL).await;
                continue;
            }
            read => read?,
        };
        added_up = Instant::now();
        let behind = ledger.iter().zip(ends).find(|(line, end)| line.end < **end);
        let Some((line, end)) = behind else {
            return Ok(ledger);
        };
        ensure!(
            begin.elapsed() < CATCH_UP_MAX,
            "after {CATCH_UP_MAX:?} the table is at {line:?}, the log ends at {end}"
        );
        tokio::time::sleep(POLL).await;
    }
}

async fn read_ledger(sql: &Sql) -> Result<Vec<Ledger>> {
    let rows = sql
        .rows(&format!(
            "SELECT partition, MIN(start_offset), MAX(COALESCE(end_offset, start_offset)), \
             SUM(rows), SUM(rejected), SUM(filtered) + SUM(absent) FROM sys.segments \
             WHERE \"table\" = '{TABLE}' GROUP BY partition ORDER BY partition"
        ))
        .await?;
    let mut ledger = vec![Ledger::default(); PARTITIONS];
    for row in &rows {
        let numbers: Vec<i64> = row.iter().map(number).collect();
        let &[partition, start, end, rows, rejected, others] = numbers.as_slice() else {
            continue;
        };
        let line = ledger.get_mut(usize::try_from(partition)?);
        let line = line.with_context(|| format!("sys.segments has partition {partition}"))?;
        *line = Ledger {
            start,
            end,
            rows,
            rejected,
            others,
        };
        let sum = rows + rejected + others;
        ensure!(
            end - start == sum,
            "the ledger of partition {partition} does not add up: {line:?}"
        );
    }
    Ok(ledger)
}

fn compare_ledger(ledger: &[Ledger], model: &Model) -> Result<()> {
    for (partition, line) in ledger.iter().enumerate() {
        let rejected = model.rejected(partition);
        let rows = model.compared(partition) as i64 - rejected;
        let same = line.rows == rows && line.rejected == rejected;
        ensure!(
            line.start == 0 && line.others == 0 && same,
            "partition {partition}: the ledger is {line:?}, there must be {rows} rows and {rejected} rejected"
        );
    }
    Ok(())
}

/// A checksum of every column over all rows, also over those that were compared before.
async fn compare_sums(sql: &Sql, all: &str, model: &Model) -> Result<()> {
    let statement = format!("{all}{}", Sums::SQL);
    let sums = Sums::from_numbers(&sql.numbers(&statement).await?)?;
    ensure!(
        sums == *model.sums(),
        "sums of the columns: {sums:?}, sent were {:?}",
        model.sums()
    );
    Ok(())
}

/// The proof that anybody can ask for: zeros where nothing was rejected.
async fn compare_proof(sql: &Sql, all: &str) -> Result<()> {
    let proof = sql
        .rows(&format!(
            "{all}SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
             MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM {TABLE} GROUP BY 1"
        ))
        .await?;
    for row in &proof {
        let numbers: Vec<i64> = row.iter().map(number).collect();
        let fine = match numbers.as_slice() {
            [partition, 0, gaps] => *partition == REJECTING as i64 || *gaps == 0,
            _ => false,
        };
        ensure!(fine, "the proof in SQL gives {row:?}");
    }
    Ok(())
}

/// Of each key the newest row, and no other.
async fn compare_newest(sql: &Sql, model: &Model) -> Result<()> {
    let newest = model.newest();
    let counted = sql
        .numbers(&format!(
            "SELECT COUNT(*), COUNT(DISTINCT \"$partition\" * 100000000 + \
             CAST(substr(who, 6) AS BIGINT)) FROM {TABLE}"
        ))
        .await?;
    ensure!(
        counted == [newest.len() as i64; 2],
        "rows and keys are {counted:?}, there must be {}",
        newest.len()
    );
    let rows = sql
        .rows(&format!("SELECT \"$partition\", who, id FROM {TABLE}"))
        .await?;
    for row in &rows {
        let (partition, id) = (number(&row[0]), number(&row[2]));
        let who = row[1].as_str().unwrap_or_default().to_owned();
        let wanted = newest.get(&(partition, who.clone()));
        ensure!(
            wanted == Some(&id),
            "partition {partition}: the newest row of {who} is {id}, must be {wanted:?}"
        );
    }
    Ok(())
}
