//! A node whose deep store cannot be used does not start: it says why in a sentence, and its exit
//! code says whether settings are wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use deepstore::conformance::{s3_config, test_s3};

const BINARY: &str = env!("CARGO_BIN_EXE_tannin");
const PORTS: [&str; 7] = [
    "controller.http_port=0",
    "controller.grpc_port=0",
    "broker.http_port=0",
    "server.http_port=0",
    "server.grpc_port=0",
    "minion.http_port=0",
    "log.port=0",
];

/// The exit code, and what was said last.
fn start(settings: &[String]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = format!("node.data_dir={}", folder.path().join("data").display());
    let output = Command::new(BINARY)
        .arg("start")
        .args(["--set", &data_dir])
        .args(PORTS.iter().flat_map(|setting| ["--set", setting]))
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default().to_owned();
    (output.status.code(), last)
}

fn refused(settings: &[&str], code: i32, reason: &str) {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let (found, said) = start(&settings);
    assert!(said.contains(reason), "{settings:?}: {said}");
    assert_eq!(found, Some(code), "{settings:?}: {said}");
}

#[test]
fn wrong_settings_end_with_2() {
    refused(&["deepstore.url=hdfs://x/y"], 2, "it must be s3://");
    refused(
        &[
            "deepstore.url=s3://b",
            "deepstore.endpoint=http://127.0.0.1:1",
        ],
        2,
        "deepstore.allow_http",
    );
    refused(
        &["deepstore.url=s3://b", "deepstore.credentials_file=/none"],
        2,
        "deepstore.credentials_file: `/none`",
    );
}

#[test]
fn an_endpoint_that_does_not_answer_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let config = s3_config("http://127.0.0.1:1", "b", folder.path()).unwrap();
    let credentials = format!("deepstore.credentials_file={}", config.credentials_file);
    refused(
        &[
            "deepstore.url=s3://b/p",
            "deepstore.endpoint=http://127.0.0.1:1",
            "deepstore.allow_http=true",
            "deepstore.request_ms=500",
            &credentials,
        ],
        1,
        "cannot write: Connection refused",
    );
}

#[test]
fn a_bucket_that_is_not_there_ends_with_2() {
    let Some((endpoint, _)) = test_s3("a_bucket_that_is_not_there") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = s3_config(&endpoint, "b", folder.path()).unwrap();
    refused(
        &[
            "deepstore.url=s3://there-is-no-such-bucket/p",
            &format!("deepstore.endpoint={endpoint}"),
            "deepstore.allow_http=true",
            &format!("deepstore.credentials_file={}", config.credentials_file),
        ],
        2,
        "refuses to write: The specified bucket does not exist (NoSuchBucket)",
    );
}
