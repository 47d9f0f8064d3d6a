//! SQL over both transports: answers of the standard dialect are DuckDB's over the same rows.

use std::path::Path;

use anyhow::Result;
use tests::cluster::{Cluster, Over, both};
use tests::flights;
use tests::slt::{Door, run_folder};

async fn ask_everything(cluster: &Cluster) -> Result<()> {
    let broker = &cluster.node(0).addresses.broker_http;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    run_folder(broker, Door::Standard, &folder.join("standard")).await?;
    run_folder(broker, Door::Pinot, &folder.join("pinot")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        flights::load(&cluster).await?;
        ask_everything(&cluster).await?;
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
    for _ in 0..2 {
        ask_everything(&cluster).await?;
    }
    cluster.stop().await;
    Ok(())
}
