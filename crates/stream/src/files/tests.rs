//! What is special about files; the rest is in the suite that all sources pass.

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::conformance::{Failed, Writer, source_conformance};

const WAIT: Duration = Duration::from_millis(100);

fn append(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn source(folder: &Path) -> FileSource {
    FileSource::new(folder, &[folder.to_owned()]).unwrap()
}

fn texts(messages: &crate::Messages) -> Vec<(i64, String)> {
    let texts = messages.messages.iter().map(|message| {
        let payload = message.payload.as_deref().unwrap();
        (
            message.offset,
            String::from_utf8_lossy(payload).into_owned(),
        )
    });
    texts.collect()
}

fn told(lines: &[(i64, &str)]) -> Vec<(i64, String)> {
    lines
        .iter()
        .map(|(at, text)| (*at, (*text).to_owned()))
        .collect()
}

#[derive(Debug)]
struct Appends(PathBuf);

#[async_trait]
impl Writer for Appends {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        payloads: &[String],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let lines: String = payloads
            .iter()
            .map(|payload| format!("{payload}\n"))
            .collect();
        append(&self.0, &format!("{topic}-{partition}.{EXTENSION}"), &lines);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_conform() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let writer = Appends(source.folder.to_path_buf());
    let passed = source_conformance(&source, &writer, "files").await;
    let passed = passed.unwrap_or_else(|failed: Failed| panic!("{failed}"));
    assert_eq!(passed.len(), 7);
}

#[tokio::test]
async fn a_line_counts_when_its_end_is_there() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "t-0.log", "one\r\n\ntwo");
    let source = source(folder.path());
    let mut reader = source.open("t", 0, 0).await.unwrap();
    let fetched = reader.fetch(WAIT).await.unwrap();
    assert_eq!(texts(&fetched), told(&[(0, "one")]));
    assert_eq!(
        (fetched.next, fetched.log_end),
        (6, Some(6)),
        "nothing is missing"
    );
    assert_eq!(source.watermarks("t", 0).await.unwrap(), (0, 6));
    append(folder.path(), "t-0.log", "!\nthree\n");
    let fetched = reader.fetch(WAIT).await.unwrap();
    assert_eq!(texts(&fetched), told(&[(6, "two!"), (11, "three")]));
    assert_eq!((fetched.next, fetched.log_end), (17, Some(17)));
}

#[tokio::test]
async fn partitions_are_numbers_in_names() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    append(outside.path(), "t-9.log", "secret\n");
    std::os::unix::fs::symlink(
        outside.path().join("t-9.log"),
        folder.path().join("t-9.log"),
    )
    .unwrap();
    for other in ["t.log", "t-x.log", "tt-1.log", "t--1.log", "t-1x.log"] {
        append(folder.path(), other, "no\n");
    }
    let source = source(folder.path());
    let nothing = source.partitions("t").await;
    assert!(
        matches!(nothing, Err(StreamError::TopicMissing { .. })),
        "{nothing:?}"
    );
    append(folder.path(), "t-2.log", "yes\n");
    assert_eq!(source.partitions("t").await.unwrap(), 3);
    assert_eq!(
        source.watermarks("t", 1).await.unwrap(),
        (0, 0),
        "it may come"
    );
    let mut reader = source.open("t", 1, 0).await.unwrap();
    assert!(reader.fetch(WAIT).await.unwrap().messages.is_empty());
    append(folder.path(), "t-1.log", "late\n");
    let fetched = reader.fetch(WAIT).await.unwrap();
    assert_eq!(texts(&fetched), told(&[(0, "late")]));
    append(folder.path(), "t-1.csv", "twice\n");
    let twice = source.partitions("t").await.unwrap_err().to_string();
    assert!(twice.contains("are both partition 1"), "{twice}");
}

#[tokio::test]
async fn another_file_under_the_same_name_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t-0.log");
    append(folder.path(), "t-0.log", "one\ntwo\n");
    let source = source(folder.path());
    let mut reader = source.open("t", 0, 0).await.unwrap();
    assert_eq!(reader.fetch(WAIT).await.unwrap().messages.len(), 2);
    fs::rename(&path, folder.path().join("old")).unwrap();
    append(folder.path(), "t-0.log", "something else\nand more\n");
    let replaced = reader.fetch(WAIT).await.unwrap_err().to_string();
    assert!(replaced.contains("is another file now"), "{replaced}");
    assert!(reader.fetch(WAIT).await.is_err(), "it is over");
    // Also for a reader that comes later: no line begins there.
    let mut reader = source.open("t", 0, 8).await.unwrap();
    let replaced = reader.fetch(WAIT).await.unwrap_err().to_string();
    assert!(replaced.contains("no line of"), "{replaced}");

    let mut reader = source.open("t", 0, 0).await.unwrap();
    assert_eq!(reader.fetch(WAIT).await.unwrap().messages.len(), 2);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(3).unwrap();
    let shorter = reader.fetch(WAIT).await;
    let named = matches!(shorter, Err(StreamError::OffsetOutOfRange { end: 3, .. }));
    assert!(named, "{shorter:?}");
}

#[tokio::test]
async fn only_allowed_folders_are_read() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let refused = FileSource::new(folder.path(), &[]).unwrap_err().to_string();
    assert!(refused.contains("node.stream_folders"), "{refused}");
    FileSource::new(folder.path(), &[other.path().to_owned()]).unwrap_err();
    let around = folder.path().join("../..");
    FileSource::new(&around, &[folder.path().to_owned()]).unwrap_err();
}

#[tokio::test]
async fn a_line_that_is_too_long_is_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(17 << 20);
    append(folder.path(), "t-0.log", &long);
    let source = source(folder.path());
    let mut reader = source.open("t", 0, 0).await.unwrap();
    assert!(
        reader.fetch(WAIT).await.unwrap().messages.is_empty(),
        "it has no end yet"
    );
    append(folder.path(), "t-0.log", "\nshort\n");
    let (mut read, end) = (Vec::new(), (17 << 20) + 7);
    while read.len() < 2 {
        read.extend(texts(&reader.fetch(WAIT).await.unwrap()));
    }
    let shown = read[0].1.trim_start_matches('x');
    assert!(shown.contains("a line of 17825792 bytes"), "{shown}");
    assert_eq!(read[1], ((17 << 20) + 1, "short".to_owned()));
    assert_eq!(source.watermarks("t", 0).await.unwrap(), (0, end));
}
