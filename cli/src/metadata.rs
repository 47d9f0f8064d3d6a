//! The metadata store that the settings name, opened.
//!
//! Invariant: a node only ever uses the metadata of one cluster: the first that it saw stays in its
//! data dir.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use metastore::catalog::Catalog;
use metastore::{MetaError, MetaStore, PostgresConfig, PostgresStore, SqliteStore};
use runtime::Clock;
use runtime::settings::{Metastore, MetastoreKind};
use uuid::Uuid;

use crate::data_dir::DataDir;
use crate::exit::Exit;

/// `file` is that of SQLite.
pub(crate) async fn open(
    settings: &Metastore,
    file: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn MetaStore>> {
    match settings.kind {
        MetastoreKind::Sqlite => Ok(Arc::new(SqliteStore::open(file, clock).await?)),
        MetastoreKind::Postgres => {
            let config = PostgresConfig {
                url: settings.url.clone(),
                password: password(settings)?,
                connections_max: settings.connections_max,
                deadline: Duration::from_millis(settings.timeout_ms),
            };
            match PostgresStore::open(&config).await {
                Ok(store) => Ok(Arc::new(store)),
                Err(error @ MetaError::Address(_)) => Err(Exit::usage(error.to_string())),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Refuses the metadata of another cluster than the one that the data dir has known before.
pub(crate) async fn check_cluster(
    store: &Arc<dyn MetaStore>,
    dir: &DataDir,
    clock: &dyn Clock,
) -> Result<Uuid> {
    let catalog = Catalog::new(Arc::clone(store));
    let cluster = catalog.cluster(clock.now_ms()).await?.id;
    let known = dir.cluster_once(&cluster.to_string())?;
    if known != cluster.to_string() {
        return Err(Exit::usage(format!(
            "the metadata is that of cluster {cluster}, but the data dir `{}` belongs to cluster \
             {known}: name the right `metastore.url`, or another data dir",
            dir.path().display()
        )));
    }
    Ok(cluster)
}

/// That of the URL counts when neither is set.
fn password(settings: &Metastore) -> Result<Option<String>> {
    let file = &settings.password_file;
    if file.as_os_str().is_empty() {
        let password = &settings.password.0;
        return Ok((!password.is_empty()).then(|| password.clone()));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(Exit::usage(format!(
            "`metastore.password_file`: cannot read `{}`: {error}",
            file.display()
        ))),
    }
}
