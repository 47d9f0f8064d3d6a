//! A whole cluster is lost but for Kafka, and comes back from the two copies that an operator has:
//! the exported metadata and the objects of the deep store (`docs/operations/backup.md`).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::Clock;
use serde_json::{Value, json};
use tannin::args::{Cli, Command, MetastoreAction, StoreArgs};
use tests::clock::JumpingClock;
use tests::cluster::{Cluster, Over};
use tests::flights;

/// What the answers rest on: rows that are sealed, that consume, that were imported, and keys.
const QUESTIONS: [&str; 4] = [
    "SELECT carrier, COUNT(*), SUM(distance), MIN(\"$offset\"), MAX(\"$offset\") FROM flights \
     GROUP BY 1 ORDER BY 1",
    "SELECT \"$partition\", COUNT(*), COUNT(DISTINCT \"$offset\") FROM flights GROUP BY 1 ORDER BY 1",
    "SELECT a.name, COUNT(*) FROM flights f JOIN airlines a ON a.carrier = f.carrier GROUP BY 1 \
     ORDER BY 1",
    "SELECT COUNT(*), SUM(LENGTH(name)) FROM airports",
];

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

/// As a person types it.
async fn command(action: MetastoreAction) -> Result<()> {
    let command = Command::Metastore { action };
    let run = std::thread::spawn(move || tannin::run(Cli { command }));
    while !run.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = run.join();
    ended.map_err(|_| anyhow::anyhow!("the command panicked"))?
}

fn store(data_dir: &Path) -> StoreArgs {
    StoreArgs {
        config: None,
        data_dir: Some(data_dir.to_owned()),
        set: Vec::new(),
    }
}

async fn answers(cluster: &Cluster) -> Result<Vec<Vec<Vec<Value>>>> {
    let sql = cluster.sql();
    let mut answers = Vec::new();
    for question in QUESTIONS {
        answers.push(sql.rows(question).await?);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn a_cluster_comes_back_from_its_copies() -> Result<()> {
    let clock = JumpingClock::shared();
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let mut cluster = Cluster::start_at(Over::Grpc, shared).await?;
    flights::load(&cluster).await?;
    let servers = cluster.servers().await?;
    let tags = "DefaultTenant_OFFLINE,DefaultTenant_REALTIME,spare_OFFLINE";
    let path = format!("/instances/{}/updateTags?tags={tags}", servers[1]);
    cluster.put(&path).await?;
    let before = answers(&cluster).await?;
    let config = cluster.get("/tables/flights").await?;

    // The backup. Rows that come after it are in Kafka alone.
    let backup = tempfile::tempdir()?;
    let dump = backup.path().join("metadata.jsonl");
    let objects = backup.path().join("deepstore");
    let (data, deep) = (cluster.data_dir(0), cluster.deepstore());
    cluster.stop_node(1).await;
    cluster.stop_node(0).await;
    let export = MetastoreAction::Export {
        to: Some(dump.clone()),
        store: store(&data),
    };
    command(export).await?;
    copy(&deep, &objects)?;

    // Life goes on: what is sealed now is not in the backup.
    cluster.start_node(0).await?;
    cluster.start_node(1).await?;
    cluster.wait_ready().await?;
    let more = flights::events(flights::ROWS + 8_000)?.split_off(flights::ROWS as usize);
    cluster.produce("flights", more.clone()).await?;
    let all = (flights::ROWS + 8_000) as i64;
    cluster
        .wait_for("SELECT COUNT(*) FROM flights", all)
        .await?;
    let sealed =
        "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
    cluster.wait_for(sealed, 8).await?;
    let with_more = answers(&cluster).await?;
    ensure!(with_more != before);

    // All machines are lost. The log stands for Kafka, which is not ours.
    cluster.stop_node(1).await;
    cluster.stop_node(0).await;
    let log = backup.path().join("log");
    copy(&data.join("log"), &log)?;
    fs::remove_dir_all(&data)?;
    fs::remove_dir_all(cluster.data_dir(1))?;
    fs::remove_dir_all(&deep)?;

    // Other machines, with the two copies.
    let import = MetastoreAction::Import {
        file: dump.clone(),
        store: store(&data),
    };
    command(import).await?;
    copy(&objects, &deep)?;
    copy(&log, &data.join("log"))?;
    let check = MetastoreAction::Check {
        files: false,
        store: store(&data),
    };
    command(check).await?;
    cluster.start_node(0).await?;
    cluster.start_node(1).await?;
    // Servers that do not come back are waited for.
    clock.pass(Duration::from_secs(40));
    cluster.wait_ready().await?;
    let now = cluster.servers().await?;
    ensure!(
        now.iter().all(|server| !servers.contains(server)),
        "{now:?}"
    );
    cluster
        .wait_for("SELECT COUNT(*) FROM flights", all)
        .await?;
    cluster.wait_for(sealed, 8).await?;
    let after = tests::cluster::until("every answer is as before", || async {
        let after = answers(&cluster).await?;
        ensure!(after == with_more, "{after:?}");
        Ok(after)
    })
    .await?;
    ensure!(after == with_more);
    ensure!(cluster.get("/tables/flights").await? == config);
    let told = cluster.get(&format!("/instances/{}", servers[1])).await?;
    ensure!(
        told["tags"] == json!(tags.split(',').collect::<Vec<_>>()),
        "{told}"
    );

    // It lives on.
    let again: Vec<_> = flights::events(flights::ROWS + 9_000)?.split_off(all as usize);
    cluster.produce("flights", again).await?;
    cluster
        .wait_for("SELECT COUNT(*) FROM flights", all + 1_000)
        .await?;
    let proof =
        "SELECT COUNT(*), COUNT(DISTINCT \"$offset\") FROM flights WHERE \"$partition\" = 0";
    let found = cluster.sql().numbers(proof).await?;
    let [rows, offsets] = found[..] else {
        anyhow::bail!("{found:?}");
    };
    ensure!(
        rows == offsets && rows == (all + 1_000) / 2,
        "{rows} of {offsets}"
    );
    cluster.stop().await;
    dump.metadata().context("the backup is still there")?;
    Ok(())
}
