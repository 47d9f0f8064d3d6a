//! Objects of S3, Google Cloud Storage and Azure: `s3://bucket/key`, all below
//! `s3://bucket/prefix/`, or a pattern of keys.
//!
//! Invariant: an object is fetched whole before it is read, and is the one that was listed.

use std::path::Path;
use std::sync::Arc;

use deepstore::{Config, DeepStore, DeepStoreError, Object};
use ingest::files::FileFormat;
use tempfile::TempPath;

use crate::remote::{away, told};
use crate::source::{Place, is_meant};
use crate::{ImportError, Source, Workshop};

const SCHEMES: [&str; 3] = ["s3://", "gs://", "az://"];

/// Whether an address is of objects.
pub fn names_objects(uri: &str) -> bool {
    SCHEMES.iter().any(|scheme| uri.starts_with(scheme))
}

/// The objects that an address names.
pub async fn object_sources(
    uri: &str,
    format: Option<FileFormat>,
    workshop: &Workshop,
) -> Result<Vec<Source>, ImportError> {
    let (bucket, wanted) = parts(uri);
    let store = open(uri, bucket, workshop)?;
    let is_pattern = |c| matches!(c, '*' | '?' | '[');
    let pattern = wanted.find(is_pattern).map(|_| glob::Pattern::new(wanted));
    let pattern = pattern.transpose().map_err(|error| told(uri, error))?;
    // What is listed is a folder: of a pattern the last one before its first wildcard.
    let literal = wanted.split(is_pattern).next().unwrap_or_default();
    let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
    let below = format!("{}/", wanted.trim_end_matches('/'));
    let fits = |key: &str| match &pattern {
        Some(pattern) => pattern.matches(key),
        None => key == wanted || wanted.is_empty() || key.starts_with(&below),
    };
    let listed = store.list(folder).await;
    let mut sources = Vec::new();
    for object in listed.map_err(|error| failed(uri, &error))? {
        let Object {
            key,
            bytes,
            version,
            ..
        } = object;
        let name = key.rsplit('/').next().unwrap_or_default();
        if fits(&key) && (key == wanted || is_meant(name, format)) {
            sources.push(Source {
                uri: format!("{bucket}/{key}"),
                version,
                bytes,
                place: Place::Object {
                    bucket: bucket.to_owned(),
                    key,
                },
            });
        }
    }
    match sources.is_empty() {
        true => Err(told(uri, "there is no such object")),
        false => Ok(sources),
    }
}

/// Its name ends as the key does, which tells the format.
pub(crate) async fn fetch_object(
    source: &Source,
    bucket: &str,
    key: &str,
    workshop: &Workshop,
) -> Result<TempPath, ImportError> {
    let uri = source.uri.as_str();
    let store = open(uri, bucket, workshop)?;
    let path = temporary(source, &workshop.folder)?;
    let fetched = store.download_to(key, &path).await;
    let fetched = fetched.map_err(|error| failed(uri, &error))?;
    match fetched.version == source.version {
        true => Ok(path),
        false => Err(told(uri, "it has changed since the import began")),
    }
}

fn temporary(source: &Source, folder: &Path) -> Result<TempPath, ImportError> {
    let suffix = format!("-{}", source.name());
    let file = tempfile::Builder::new().suffix(&suffix).tempfile_in(folder);
    let file = file.map_err(|error| ImportError::Read {
        path: source.uri.clone(),
        source: error,
    })?;
    Ok(file.into_temp_path())
}

/// `s3://bucket` and the key, the prefix or the pattern.
fn parts(uri: &str) -> (&str, &str) {
    let host = uri.find("://").map_or(0, |at| at + 3);
    match uri[host..].find('/') {
        Some(slash) => (&uri[..host + slash], &uri[host + slash + 1..]),
        None => (uri, ""),
    }
}

fn open(uri: &str, bucket: &str, workshop: &Workshop) -> Result<DeepStore, ImportError> {
    let config = Config {
        url: bucket.to_owned(),
        ..workshop.objects.clone()
    };
    let files = Arc::clone(&workshop.files);
    let opened = DeepStore::open(&config, files, workshop.compute.clone());
    opened.map_err(|error| match error {
        DeepStoreError::Setting { reason, .. } => told(uri, reason),
        error => told(uri, error),
    })
}

fn failed(uri: &str, error: &DeepStoreError) -> ImportError {
    match error {
        DeepStoreError::Missing { .. }
        | DeepStoreError::Setting { .. }
        | DeepStoreError::Refused { .. } => told(uri, error),
        error => away(uri, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_what_is_wanted_of_it() {
        assert_eq!(parts("s3://b/day/*.csv"), ("s3://b", "day/*.csv"));
        assert_eq!(parts("gs://b"), ("gs://b", ""));
        assert!(names_objects("az://c/x") && !names_objects("http://s3/x"));
    }
}
