//! Where a deep store is, and how it is opened: one address, and what it lacks.
//!
//! Invariant: credentials come from the environment, from a file, or from the cloud that the
//! process runs in; they are in no setting and are never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::DeepStoreError;
use crate::credentials::{self, Credentials};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// One request is tried again so often, waiting for up to [`BACKOFF_MAX`] in between.
const RETRIES: usize = 6;
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What the settings say.
#[derive(Clone, Debug)]
pub struct Config {
    /// `s3://bucket/prefix`, `gs://…`, `az://container/…`, or `file:///folder`.
    pub url: String,
    /// Empty: the cloud's own, or what the environment names.
    pub endpoint: String,
    /// Of S3. Empty: what the environment names, or us-east-1.
    pub region: String,
    pub path_style: bool,
    pub allow_http: bool,
    /// Empty: the environment, then the cloud's own chain.
    pub credentials_file: String,
    /// One request, from connecting to the last byte of its answer.
    pub request_within: Duration,
}

impl Default for Config {
    /// Of a cloud's own store, as the environment says.
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: String::new(),
            region: String::new(),
            path_style: true,
            allow_http: false,
            credentials_file: String::new(),
            request_within: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    S3,
    Gcs,
    Azure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket {
        cloud: Cloud,
        bucket: String,
        prefix: String,
    },
}

const KNOWN: &str = "it must be s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or \
                     file:///folder";

fn wrong(key: &'static str, reason: impl Into<String>) -> DeepStoreError {
    DeepStoreError::Setting {
        key,
        reason: reason.into(),
    }
}

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self, DeepStoreError> {
        let refused = |what: &str| wrong("url", format!("`{url}` {what}: {KNOWN}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| refused("is no address"))?;
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "gs" => Cloud::Gcs,
            "az" => Cloud::Azure,
            "file" if rest.starts_with('/') => return Ok(Self::Folder(PathBuf::from(rest))),
            "file" => return Err(refused("names no folder from the root on")),
            _ => return Err(refused("is of no store that is known")),
        };
        if rest.contains(['@', '?', '#']) {
            // Not repeated: it may be a secret.
            let reason = "it takes no credentials and no parameters: deepstore.credentials_file \
                          or the environment bring those";
            return Err(wrong("url", reason));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(refused("names no bucket"));
        }
        Ok(Self::Bucket {
            cloud,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }
}

/// The objects of a bucket below a prefix.
pub(crate) fn open(
    config: &Config,
    cloud: Cloud,
    bucket: &str,
    prefix: &str,
) -> Result<Arc<dyn ObjectStore>, DeepStoreError> {
    if config.endpoint.starts_with("http://") && !config.allow_http {
        let reason = format!(
            "`{}` is not encrypted; deepstore.allow_http = true allows that",
            config.endpoint
        );
        return Err(wrong("endpoint", reason));
    }
    let given = match config.credentials_file.as_str() {
        "" => Credentials::default(),
        file => credentials::read(Path::new(file))
            .map_err(|reason| wrong("credentials_file", format!("`{file}`: {reason}")))?,
    };
    let objects = match cloud {
        Cloud::S3 => s3(config, bucket, given),
        Cloud::Gcs => gcs(config, bucket, given),
        Cloud::Azure => azure(config, bucket, given),
    }?;
    Ok(match prefix {
        "" => objects,
        prefix => Arc::new(PrefixStore::new(objects, prefix)),
    })
}

fn client(config: &Config) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(config.request_within)
        .with_connect_timeout(CONNECT_WITHIN)
        .with_allow_http(config.allow_http)
}

fn retry(config: &Config) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: BACKOFF_MAX,
            ..BackoffConfig::default()
        },
        max_retries: RETRIES,
        retry_timeout: config.request_within,
    }
}

fn unusable(error: &object_store::Error) -> DeepStoreError {
    wrong("url", crate::error::reason(error))
}

fn s3(
    config: &Config,
    bucket: &str,
    given: Credentials,
) -> Result<Arc<dyn ObjectStore>, DeepStoreError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_client_options(client(config))
        .with_retry(retry(config))
        // The store refuses what was changed on its way.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(config.endpoint.trim_end_matches('/'));
    }
    if !config.region.is_empty() {
        builder = builder.with_region(config.region.as_str());
    }
    for (name, value) in given.pairs()? {
        let key = name.parse().map_err(|_| not_known(&name, "S3"))?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| unusable(&error))?;
    Ok(Arc::new(store))
}

fn gcs(
    config: &Config,
    bucket: &str,
    given: Credentials,
) -> Result<Arc<dyn ObjectStore>, DeepStoreError> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(config))
        .with_retry(retry(config));
    if !config.endpoint.is_empty() {
        builder = builder.with_base_url(config.endpoint.trim_end_matches('/'));
    }
    match given {
        Credentials::Json(json) => builder = builder.with_service_account_key(json),
        Credentials::Pairs(pairs) => {
            if let Some((name, _)) = pairs.first() {
                return Err(not_known(name, "a service account of Google"));
            }
        }
    }
    let store = builder.build().map_err(|error| unusable(&error))?;
    Ok(Arc::new(store))
}

fn azure(
    config: &Config,
    container: &str,
    given: Credentials,
) -> Result<Arc<dyn ObjectStore>, DeepStoreError> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(container)
        .with_client_options(client(config))
        .with_retry(retry(config));
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(config.endpoint.trim_end_matches('/').to_owned());
    }
    for (name, value) in given.pairs()? {
        let key = name.parse().map_err(|_| not_known(&name, "Azure"))?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| unusable(&error))?;
    Ok(Arc::new(store))
}

fn not_known(name: &str, cloud: &str) -> DeepStoreError {
    wrong(
        "credentials_file",
        format!("`{name}` is nothing that {cloud} knows"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(cloud: Cloud, bucket: &str, prefix: &str) -> Place {
        Place::Bucket {
            cloud,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn an_address_names_a_bucket_and_a_prefix_or_a_folder() {
        let place = |url| Place::parse(url).unwrap();
        assert_eq!(place("s3://b/p/q/"), bucket(Cloud::S3, "b", "p/q"));
        assert_eq!(place("gs://b"), bucket(Cloud::Gcs, "b", ""));
        assert_eq!(place("az://c/p"), bucket(Cloud::Azure, "c", "p"));
        assert_eq!(place("file:///x/y"), Place::Folder("/x/y".into()));
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        let told = |url| Place::parse(url).unwrap_err().to_string();
        assert!(told("bucket/p").contains("`bucket/p` is no address"));
        assert!(told("hdfs://x/y").contains("of no store that is known"));
        assert!(told("s3:///p").contains("names no bucket"));
        assert!(told("file://x").contains("no folder from the root on"));
        let secret = told("s3://key:secret@bucket/p");
        assert!(
            secret.contains("no credentials") && !secret.contains("secret@"),
            "{secret}"
        );
    }

    #[test]
    fn an_endpoint_that_is_not_encrypted_must_be_allowed() {
        let config = Config {
            endpoint: "http://127.0.0.1:1".to_owned(),
            ..Config::default()
        };
        let error = open(&config, Cloud::S3, "b", "").unwrap_err();
        assert!(error.is_of_settings());
        assert!(error.to_string().contains("deepstore.allow_http"));
    }
}
