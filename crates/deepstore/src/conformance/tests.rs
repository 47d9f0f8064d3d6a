//! The suite over a folder, memory and S3; what only a proxy in between can show.

use std::sync::Arc;
use std::time::Duration;

use runtime::{ComputePool, OsFiles};
use tempfile::TempDir;

use super::*;

fn open(config: &Config) -> DeepStore {
    DeepStore::open(config, Arc::new(OsFiles), ComputePool::new(1)).unwrap()
}

/// An S3 behind a proxy; nothing where no S3 is named.
struct Behind {
    proxy: FaultyProxy,
    config: Config,
    scratch: TempDir,
}

impl Behind {
    async fn start(test: &str) -> Option<Self> {
        let (endpoint, bucket) = test_s3(test)?;
        let scratch = tempfile::tempdir().unwrap();
        let proxy = FaultyProxy::start(&endpoint).await.unwrap();
        let config = s3_config(proxy.address(), &bucket, scratch.path()).unwrap();
        Some(Self {
            proxy,
            config,
            scratch,
        })
    }

    fn store(&self) -> DeepStore {
        open(&self.config)
    }

    /// Several troubles one after the other, all of which were met.
    async fn through(&self, troubles: &[Trouble], work: impl Future<Output = ()>) {
        self.proxy.next(troubles.iter().cloned());
        work.await;
        assert_eq!(self.proxy.left(), 0, "no request has met the last ones");
    }
}

#[tokio::test]
async fn a_folder_passes() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    let url = format!("file://{}", folder.display());
    let config = Config {
        url,
        ..s3_config("", "b", scratch.path()).unwrap()
    };
    suite(&open(&config), scratch.path()).await.unwrap();
}

#[tokio::test]
async fn memory_passes() {
    let scratch = tempfile::tempdir().unwrap();
    let store = DeepStore::in_memory();
    suite(&store, scratch.path()).await.unwrap();
}

#[tokio::test]
async fn s3_passes() {
    let Some(behind) = Behind::start("s3_passes").await else {
        return;
    };
    suite(&behind.store(), behind.scratch.path()).await.unwrap();
}

#[tokio::test]
async fn s3_passes_that_answers_with_errors_now_and_then() {
    let Some(behind) = Behind::start("s3_passes_that_answers_with_errors").await else {
        return;
    };
    // Every other request of the first sixty meets one.
    let passes = Trouble::Late(Duration::from_millis(5));
    let internal = Trouble::Status(500, "");
    for _ in 0..15 {
        let four = [SLOW_DOWN, passes.clone(), internal.clone(), passes.clone()];
        behind.proxy.next(four);
    }
    suite(&behind.store(), behind.scratch.path()).await.unwrap();
}

#[tokio::test]
async fn without_conditional_writes_a_look_goes_first() {
    let Some(behind) = Behind::start("without_conditional_writes").await else {
        return;
    };
    let store = behind.store();
    store
        .decides
        .store(false, std::sync::atomic::Ordering::Relaxed);
    written_once(&store).await.unwrap();
    store.prove().await.unwrap();
    assert!(store.decides_who_is_first(), "moto honours If-None-Match");
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_done_once() {
    let Some(behind) = Behind::start("an_upload_whose_answer_is_lost").await else {
        return;
    };
    let store = behind.store();
    let upload = async { store.upload("k", "content".into()).await.unwrap() };
    behind.through(&[Trouble::Unanswered], upload).await;
    assert_eq!(store.download("k").await.unwrap(), "content");
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut() {
    let Some(behind) = Behind::start("a_download_goes_on").await else {
        return;
    };
    let store = behind.store();
    let content = pattern(2 * PART_BYTES + 7);
    store.upload("k", content.clone()).await.unwrap();
    let to = behind.scratch.path().join("k");
    let cut = [
        Trouble::Late(Duration::ZERO),
        Trouble::CutAfter(1000),
        Trouble::CutAfter(PART_BYTES / 2),
        SLOW_DOWN,
        Trouble::Status(500, ""),
    ];
    let download = async {
        store.download_to("k", &to).await.unwrap();
    };
    behind.through(&cut, download).await;
    assert!(
        std::fs::read(&to).unwrap() == content,
        "it came back changed"
    );
}

#[tokio::test]
async fn a_store_that_is_away_says_so() {
    let Some(behind) = Behind::start("a_store_that_is_away").await else {
        return;
    };
    let store = behind.store();
    behind.proxy.set_away(true);
    let error = store.prove().await.unwrap_err();
    assert!(
        matches!(
            error,
            DeepStoreError::Away {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_of_settings(), "{error}");
    behind.proxy.set_away(false);
    store.prove().await.unwrap();
}

#[tokio::test]
async fn who_must_not_is_told_what() {
    let Some(behind) = Behind::start("who_must_not").await else {
        return;
    };
    let told = |error: DeepStoreError| {
        assert!(error.is_of_settings(), "{error}");
        let told = error.to_string();
        assert!(!told.contains("not-a-secret"), "{told}");
        told
    };
    let answers = [
        ("InvalidAccessKeyId", "The key does not exist."),
        ("SignatureDoesNotMatch", "The signature does not match."),
        ("AccessDenied", "Access Denied"),
    ];
    for (code, message) in answers {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        behind.proxy.next([Trouble::Status(403, body.leak())]);
        let told = told(behind.store().prove().await.unwrap_err());
        assert!(told.contains("refuses to write"), "{told}");
        assert!(told.contains(&format!("{message} ({code})")), "{told}");
    }
    let config = Config {
        url: "s3://there-is-no-such-bucket/x".to_owned(),
        ..behind.config.clone()
    };
    let told = told(open(&config).prove().await.unwrap_err());
    assert!(
        told.contains("NoSuchBucket") && told.contains("make the bucket"),
        "{told}"
    );
}

#[tokio::test]
async fn another_clusters_place_is_refused() {
    let Some(behind) = Behind::start("another_clusters_place").await else {
        return;
    };
    behind.store().claim(Uuid::new_v4()).await.unwrap();
    let error = behind.store().claim(Uuid::new_v4()).await.unwrap_err();
    assert!(error.is_of_settings());
    assert!(
        error.to_string().contains("belongs to the cluster"),
        "{error}"
    );
}
