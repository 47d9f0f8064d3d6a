//! SQL over both transports: answers of the standard dialect are DuckDB's over the same rows.

use std::path::Path;

use anyhow::Result;
use tests::cluster::{Cluster, Over, both};
use tests::flights;
use tests::slt::{Door, Way, run_folder};

/// Beside the usual way, which uses what there is.
const WAYS: [Way<'_>; 5] = [
    Some(("nativeOperators", "false")),
    Some(("planTemplates", "false")),
    Some(("maxThreads", "1")),
    Some(("rowsPerThread", "1")),
    Some(("skipIndexes", "*=*")),
];

async fn ask_everything(cluster: &Cluster, way: Way<'_>) -> Result<()> {
    let broker = &cluster.node(0).addresses.broker_http;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    run_folder(broker, Door::Standard, way, &folder.join("standard")).await?;
    run_folder(broker, Door::Pinot, way, &folder.join("pinot")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        flights::load(&cluster).await?;
        for way in WAYS.into_iter().chain([None]) {
            ask_everything(&cluster, way).await?;
        }
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// There it runs whole plans; the second time with the plans of the first.
#[tokio::test(flavor = "multi_thread")]
async fn one_server_gives_the_same_answers() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    flights::load(&cluster).await?;
    for way in [None, None].into_iter().chain(WAYS) {
        ask_everything(&cluster, way).await?;
    }
    cluster.stop().await;
    Ok(())
}
