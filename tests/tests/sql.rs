//! SQL over both transports: answers of the standard dialect are DuckDB's over the same rows.

use std::path::Path;

use anyhow::Result;
use tests::cluster::both;
use tests::flights;
use tests::slt::{Door, run_folder};

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        flights::load(&cluster).await?;
        let broker = &cluster.node(0).addresses.broker_http;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
        run_folder(broker, Door::Standard, &folder.join("standard")).await?;
        run_folder(broker, Door::Pinot, &folder.join("pinot")).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}
