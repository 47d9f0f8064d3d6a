//! The deep store of a node, as its settings name it.
//!
//! Invariant: no role starts before the store has shown that it can be used, and a controller only
//! in a place that is its cluster's own. What only other settings can mend ends with 2.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use deepstore::{Config, DeepStore, DeepStoreError};
use runtime::settings::Settings;
use runtime::{ComputePool, Files};
use uuid::Uuid;

use crate::exit::Exit;

/// In the data dir, where the settings name no other place.
pub(crate) const FOLDER: &str = "deepstore";

/// `own_folder` is used where the settings name none.
pub(crate) fn open(
    settings: &Settings,
    own_folder: &Path,
    files: Arc<dyn Files>,
    pool: ComputePool,
) -> Result<DeepStore> {
    let settings = &settings.deepstore;
    let opened = match settings.url.as_str() {
        "" => DeepStore::local(own_folder, files, pool),
        url => {
            let config = Config {
                url: url.to_owned(),
                endpoint: settings.endpoint.clone(),
                region: settings.region.clone(),
                path_style: settings.path_style,
                allow_http: settings.allow_http,
                credentials_file: settings.credentials_file.clone(),
                request_within: Duration::from_millis(settings.request_ms),
            };
            DeepStore::open(&config, files, pool)
        }
    };
    opened.map_err(exit)
}

/// How imports reach buckets.
pub(crate) fn of_imports(settings: &Settings) -> Config {
    let import = &settings.import;
    Config {
        url: String::new(),
        endpoint: import.endpoint.clone(),
        region: import.region.clone(),
        path_style: import.path_style,
        allow_http: import.allow_http,
        credentials_file: import.credentials_file.clone(),
        request_within: Duration::from_millis(settings.deepstore.request_ms),
    }
}

/// Where minions put files for others; `None`: nowhere.
pub(crate) fn exports(settings: &Settings, files: &Arc<dyn Files>) -> Result<Option<DeepStore>> {
    let url = &settings.export.url;
    if url.is_empty() {
        return Ok(None);
    }
    let config = Config {
        url: url.clone(),
        ..of_imports(settings)
    };
    let opened = DeepStore::open(&config, Arc::clone(files), ComputePool::new(1));
    Ok(Some(opened.map_err(|error| {
        Exit::usage(format!("export.url: {error}"))
    })?))
}

pub(crate) async fn prove(deep: &DeepStore) -> Result<()> {
    deep.prove().await.map_err(exit)
}

pub(crate) async fn claim(deep: &DeepStore, cluster: Uuid) -> Result<()> {
    deep.claim(cluster).await.map_err(exit)
}

/// Empty: no controller has claimed it yet.
pub(crate) async fn owner(deep: &DeepStore) -> Result<String> {
    let owner = deep.owner().await.map_err(exit)?;
    Ok(owner.unwrap_or_default())
}

fn exit(error: DeepStoreError) -> anyhow::Error {
    match error.is_of_settings() {
        true => Exit::usage(error.to_string()),
        false => error.into(),
    }
}
