//! A cluster whose metadata is in PostgreSQL: as with SQLite while it is there; while it is away
//! queries and consumption go on, and commits wait.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use runtime::settings::{Layers, Settings};
use schemas::cluster::Role;
use tannin::exit;
use tannin::node::{Node, Parts, Transport};
use tests::cluster::{Cluster, Over, until};
use tests::flights;
use tests::postgres::Postgres;
use tests::process::number;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const SEALED: &str =
    "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
/// Of each partition: rows that are there twice, and offsets that are missing.
const PROOF: &str = "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
                     MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM flights GROUP BY 1";

async fn prove(cluster: &Cluster, rows: i64) -> Result<()> {
    cluster.wait_for(COUNT, rows).await?;
    for row in cluster.sql().rows(PROOF).await? {
        ensure!(number(&row[1]) == 0 && number(&row[2]) == 0, "{row:?}");
    }
    Ok(())
}

async fn ask(cluster: &Cluster, path: &str) -> Result<(StatusCode, String)> {
    cluster
        .call(Role::Controller, Method::GET, path, None)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_when_postgresql_was_away() -> Result<()> {
    let Some(server) = Postgres::start("metadata that is away")? else {
        return Ok(());
    };
    let metastore = format!("metastore={}", server.up()?);
    let own = [
        metastore.as_str(),
        "metastore.timeout_ms=2000",
        // A segment that cannot be committed grows.
        "server.seal_wait_ms=200",
    ];
    let cluster = Cluster::start_set(Over::Grpc, &own).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 1);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(8_000)?).await?;
    cluster.wait_for(COUNT, 8_000).await?;
    cluster.wait_for(SEALED, 2).await?;

    server.down()?;
    let waits = until("the controller says so", || async {
        let (status, text) = ask(&cluster, "/ready").await?;
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE,
            "{status}: {text}"
        );
        Ok(text)
    })
    .await?;
    ensure!(
        waits.starts_with("the controller waits for its metadata: PostgreSQL at"),
        "{waits}"
    );
    ensure!(!waits.contains("password"), "{waits}");
    ensure!(cluster.node(0).ready().is_err());
    until("metrics say so", || async {
        let (_, metrics) = ask(&cluster, "/metrics").await?;
        ensure!(
            metrics.contains("tannin_controller_metastore_up 0"),
            "{metrics}"
        );
        Ok(())
    })
    .await?;
    prove(&cluster, 8_000).await?;
    let more: Vec<_> = flights::events(16_000)?.split_off(8_000);
    cluster.produce("flights", more).await?;
    prove(&cluster, 16_000).await?;
    ensure!(
        cluster.sql().numbers(SEALED).await? == [2],
        "nothing is committed meanwhile"
    );
    let refused = cluster.post("/v1/tables", &table).await;
    let refused = refused
        .err()
        .context("nobody can create a table now")?
        .to_string();
    ensure!(
        refused.contains("503") && refused.contains("does not answer"),
        "{refused}"
    );

    server.up()?;
    cluster.wait_ready().await?;
    cluster.wait_for(SEALED, 4).await?;
    prove(&cluster, 16_000).await?;
    cluster.stop().await;
    Ok(())
}

fn settings(folder: &std::path::Path, assignments: &[&str]) -> Result<Settings> {
    let mut layers = Layers::default();
    layers.assignment(&format!("node.data_dir={}", folder.display()));
    layers.assignment("log.enabled=false");
    for port in ["http_port", "grpc_port"] {
        layers.assignment(&format!("controller.{port}=0"));
    }
    for assignment in assignments {
        layers.assignment(assignment);
    }
    Ok(layers.settings()?)
}

async fn start(settings: &Settings) -> Result<Node> {
    Node::start(settings, &[Role::Controller], Parts::real(Transport::Grpc)).await
}

/// The sentence, and the exit code of `tannin start`.
async fn refusal(settings: &Settings) -> Result<(String, bool)> {
    let error = start(settings).await.err().context("it started")?;
    let is_usage = exit::code_of(&error) == std::process::ExitCode::from(2);
    let said = format!("{error:#}");
    ensure!(!said.contains("secret") && !said.contains('\n'), "{said}");
    Ok((said, is_usage))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_one_sentence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let url = format!("metastore=postgres://me:secret@127.0.0.1:{port}/x");
    let (said, is_usage) = refusal(&settings(folder.path(), &[&url])?).await?;
    ensure!(said.contains("refused") && !is_usage, "{said}");
    let nameless = format!("metastore=postgres://me:secret@127.0.0.1:{port}");
    let (said, is_usage) = refusal(&settings(folder.path(), &[&nameless])?).await?;
    ensure!(said.contains("no database is named") && is_usage, "{said}");
    let missing = [url.as_str(), "metastore.password_file=/nowhere/secret-file"];
    let error = start(&settings(folder.path(), &missing)?).await.err();
    let said = error.context("it started")?.to_string();
    ensure!(
        said.contains("`metastore.password_file`: cannot read"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_another_cluster_is_refused() -> Result<()> {
    let Some(server) = Postgres::start("another cluster's metadata")? else {
        return Ok(());
    };
    let url = server.up()?;
    let (login, rest) = url.split_once('@').context("no login")?;
    let (user, password) = login.rsplit_once(':').context("no password")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    std::fs::write(
        &file,
        format!("{}\n", password.replace("%20", " ").replace("%27", "'")),
    )?;
    let assignments = [
        format!("metastore={user}@{rest}"),
        format!("metastore.password_file={}", file.display()),
    ];
    let assignments: Vec<&str> = assignments.iter().map(String::as_str).collect();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    start(&settings(&first, &assignments)?).await?.stop().await;
    start(&settings(&first, &assignments)?).await?.stop().await;
    start(&settings(&second, &[])?).await?.stop().await;
    let (said, is_usage) = refusal(&settings(&second, &assignments)?).await?;
    ensure!(
        said.starts_with("the metadata is that of cluster") && is_usage,
        "{said}"
    );
    ensure!(
        said.ends_with("name the right `metastore.url`, or another data dir"),
        "{said}"
    );
    Ok(())
}
