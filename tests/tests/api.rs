//! The HTTP APIs over both transports, scenario by scenario.

use std::path::Path;

use anyhow::Result;
use tests::cluster::both;
use tests::scenario::run_folder;

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("http");
        run_folder(&cluster, &folder).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}
