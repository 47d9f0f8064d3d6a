//! Objects of S3, and of whatever speaks as it does: `s3://bucket/key`, all below
//! `s3://bucket/prefix/`, or a pattern of keys.
//!
//! Invariant: an object is fetched whole, by a request that is signed for a short while, and is the
//! one that was listed: its tag is the same.

use std::time::Duration;

use ingest::files::FileFormat;
use reqwest::Client;
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

use crate::remote::{away, told, whole};
use crate::source::{Place, is_meant};
use crate::{ImportError, Source};

/// A request is signed when it is sent.
const SIGNED_FOR: Duration = Duration::from_secs(3600);

/// Where buckets are. Who asks is told by the environment, as for the tools of AWS.
#[derive(Clone, Debug)]
pub struct S3 {
    pub endpoint: Url,
    pub region: String,
}

/// An object and the bucket that it is in.
#[derive(Clone, Debug)]
pub struct Object {
    bucket: Bucket,
    key: String,
}

impl Object {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn signed(&self) -> Url {
        let credentials = Credentials::from_env();
        self.bucket
            .get_object(credentials.as_ref(), &self.key)
            .sign(SIGNED_FOR)
    }
}

/// The objects that an address names.
pub async fn s3_sources(
    uri: &str,
    s3: &S3,
    format: Option<FileFormat>,
) -> Result<Vec<Source>, ImportError> {
    let rest = uri.strip_prefix("s3://").unwrap_or(uri);
    let (name, wanted) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket = Bucket::new(
        s3.endpoint.clone(),
        UrlStyle::Path,
        name.to_owned(),
        s3.region.clone(),
    );
    let bucket = bucket.map_err(|error| told(uri, error))?;
    let is_pattern = |c| matches!(c, '*' | '?' | '[');
    let pattern = wanted.find(is_pattern).map(|_| glob::Pattern::new(wanted));
    let pattern = pattern.transpose().map_err(|error| told(uri, error))?;
    let prefix = wanted.split(is_pattern).next().unwrap_or_default();
    let fits = |key: &str| match &pattern {
        Some(pattern) => pattern.matches(key),
        None => key == wanted || wanted.is_empty() || key.starts_with(&below(wanted)),
    };
    let mut sources = Vec::new();
    for object in listed(uri, &bucket, prefix).await? {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        let is_named = object.key == wanted;
        if fits(&object.key) && (is_named || is_meant(name, format)) && !object.key.ends_with('/') {
            let key = object.key;
            sources.push(Source {
                uri: format!("s3://{}/{key}", bucket.name()),
                version: object.etag.unwrap_or_default(),
                bytes: object.size.unwrap_or(0),
                place: Place::S3(Object {
                    bucket: bucket.clone(),
                    key,
                }),
            });
        }
    }
    match sources.is_empty() {
        true => Err(told(uri, "there is no such object")),
        false => Ok(sources),
    }
}

fn below(prefix: &str) -> String {
    format!("{}/", prefix.trim_end_matches('/'))
}

async fn listed(
    uri: &str,
    bucket: &Bucket,
    prefix: &str,
) -> Result<Vec<rusty_s3::actions::list_objects_v2::ListObjectsContent>, ImportError> {
    let credentials = Credentials::from_env();
    let client = Client::builder().no_proxy().build();
    let client = client.map_err(|error| told(uri, error))?;
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let mut list = bucket.list_objects_v2(credentials.as_ref());
        list.with_prefix(prefix.to_owned());
        if let Some(token) = next.take() {
            list.with_continuation_token(token);
        }
        let answer = client.get(list.sign(SIGNED_FOR)).send().await;
        let answer = whole(uri, answer.map_err(|error| away(uri, error.without_url()))?)?;
        let text = answer
            .text()
            .await
            .map_err(|error| away(uri, error.without_url()))?;
        let page = ListObjectsV2::parse_response(&text).map_err(|error| told(uri, error))?;
        found.extend(page.contents);
        next = page.next_continuation_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}
