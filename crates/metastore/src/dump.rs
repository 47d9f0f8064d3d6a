//! All of the metadata as text: out of any store, and into an empty one of any kind.
//!
//! ```text
//! DUMP   := HEADER ENTRY…                       one JSON object a line
//! HEADER := {"dump":"tannin metadata","version":1,"cluster":ID,"revision":N,"entries":N,"at_ms":N}
//! ENTRY  := {"key":KEY,"text":VALUE}            in the order of keys
//!         | {"key":KEY,"base64":VALUE}          where the value is no UTF-8
//! ```
//!
//! Invariants: a dump is the store as of one revision; what belongs to processes (who leads) is not
//! in it; a dump that was cut off is refused; nobody uses a store into which an import was cut off.
//! Revisions begin anew in the new store.

use std::io::{BufRead, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::{Catalog, IMPORTING, LEADERS};
use crate::{Entry, MetaError, MetaStore, Revision, Txn, TxnOutcome};

const KIND: &str = "tannin metadata";
const VERSION: u32 = 1;
/// Entries and bytes of one transaction of an import.
const BATCH_ENTRIES: usize = 5_000;
const BATCH_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub dump: String,
    pub version: u32,
    pub cluster: Uuid,
    /// Of the store that it came from.
    pub revision: Revision,
    pub entries: usize,
    pub at_ms: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Store(#[from] MetaError),
    #[error("the dump cannot be read")]
    File(#[from] std::io::Error),
    #[error("line {line} of the dump: {detail}")]
    Line { line: usize, detail: String },
    #[error(
        "the store is not empty, it has `{key}`: a dump goes into an empty one only, before a \
         controller uses it"
    )]
    NotEmpty { key: String },
}

/// All that goes into a dump, as of one revision.
#[derive(Debug)]
pub struct Dump {
    pub header: Header,
    entries: Vec<Entry>,
}

impl Dump {
    pub async fn of(
        catalog: &Catalog,
        store: &dyn MetaStore,
        now_ms: i64,
    ) -> Result<Self, MetaError> {
        let cluster = catalog.cluster(now_ms).await?.id;
        let (mut entries, revision) = store.range("/").await?;
        entries.retain(|entry| !entry.key.starts_with(LEADERS));
        let header = Header {
            dump: KIND.to_owned(),
            version: VERSION,
            cluster,
            revision,
            entries: entries.len(),
            at_ms: now_ms,
        };
        Ok(Self { header, entries })
    }

    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        write_line(out, &self.header)?;
        for Entry { key, value, .. } in &self.entries {
            let text = std::str::from_utf8(value).ok();
            let line = Line {
                key: key.clone(),
                base64: text.is_none().then(|| BASE64_STANDARD.encode(value)),
                text: text.map(str::to_owned),
            };
            write_line(out, &line)?;
        }
        out.flush()
    }
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// All of it is checked before anything is written.
pub async fn import(store: &dyn MetaStore, input: &mut dyn BufRead) -> Result<Header, DumpError> {
    let (header, entries) = read(input)?;
    if let Some(entry) = store.range("/").await?.0.into_iter().next() {
        return Err(DumpError::NotEmpty { key: entry.key });
    }
    let begin = Txn::default().if_absent(IMPORTING);
    let mark = begin.put(IMPORTING, header.cluster.to_string());
    let mut revision = commit(store, mark).await?;
    for batch in batches(entries) {
        let txn = Txn::default()
            .if_revision(IMPORTING, revision)
            .put(IMPORTING, header.cluster.to_string());
        let txn = batch
            .into_iter()
            .fold(txn, |txn, (key, value)| txn.put(key, value));
        revision = commit(store, txn).await?;
    }
    let end = Txn::default().if_revision(IMPORTING, revision);
    commit(store, end.delete(IMPORTING)).await?;
    Ok(header)
}

async fn commit(store: &dyn MetaStore, txn: Txn) -> Result<Revision, DumpError> {
    match store.txn(txn).await? {
        TxnOutcome::Committed(revision) => Ok(revision),
        TxnOutcome::Conflict { key } => Err(DumpError::NotEmpty { key }),
    }
}

type Pair = (String, Bytes);

fn batches(entries: Vec<Pair>) -> Vec<Vec<Pair>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for entry in entries {
        let size = entry.0.len() + entry.1.len();
        let last = batches.len() - 1;
        let is_full = batches[last].len() >= BATCH_ENTRIES || bytes + size > BATCH_BYTES;
        if is_full && !batches[last].is_empty() {
            batches.push(vec![entry]);
            bytes = size;
        } else {
            batches[last].push(entry);
            bytes += size;
        }
    }
    batches
}

fn read(input: &mut dyn BufRead) -> Result<(Header, Vec<Pair>), DumpError> {
    let mut header = None;
    let mut entries: Vec<Pair> = Vec::new();
    for (at, line) in input.lines().enumerate() {
        let (line, number) = (line?, at + 1);
        let wrong = |detail: String| DumpError::Line {
            line: number,
            detail,
        };
        if header.is_none() {
            header = Some(read_header(&line).map_err(wrong)?);
            continue;
        }
        let (key, value) = read_entry(&line).map_err(wrong)?;
        if entries.last().is_some_and(|(before, _)| *before >= key) {
            return Err(wrong(format!("`{key}` is not in the order of keys")));
        }
        entries.push((key, value));
    }
    let wrong = |detail: String| DumpError::Line {
        line: entries.len() + 1,
        detail,
    };
    let Some(header) = header else {
        return Err(wrong("the dump is empty".to_owned()));
    };
    if header.entries != entries.len() {
        return Err(wrong(format!(
            "the dump ends after {} of {} entries",
            entries.len(),
            header.entries
        )));
    }
    Ok((header, entries))
}

fn read_header(line: &str) -> Result<Header, String> {
    let header: Header = serde_json::from_str(line)
        .map_err(|error| format!("this is no dump of the metadata: {error}"))?;
    if header.dump != KIND {
        return Err(format!("this is a dump of `{}`", header.dump));
    }
    if header.version != VERSION {
        return Err(format!(
            "the dump has version {}, this version reads {VERSION}",
            header.version
        ));
    }
    Ok(header)
}

fn read_entry(line: &str) -> Result<Pair, String> {
    let Line { key, text, base64 } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    match (text, base64) {
        (Some(text), None) => Ok((key, Bytes::from(text))),
        (None, Some(base64)) => match BASE64_STANDARD.decode(base64) {
            Ok(bytes) => Ok((key, Bytes::from(bytes))),
            Err(error) => Err(format!("the value of `{key}` is no base64: {error}")),
        },
        _ => Err(format!(
            "`{key}` has not one value, as \"text\" or \"base64\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::{Clock, ManualClock};

    use super::*;
    use crate::{MemoryStore, SqliteStore};

    fn clock() -> Arc<dyn Clock> {
        ManualClock::at_ms(0)
    }

    async fn filled() -> Arc<dyn MetaStore> {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(clock()));
        let txn = (0..12_000).fold(Txn::default(), |txn, at| {
            txn.put(format!("/many/{at:05}"), format!("{{\"at\":{at}}}"))
        });
        let txn = txn
            .put("/bytes", vec![0xff, 0, 1])
            .put("/lines", "a\nb\"ü")
            .put(format!("{LEADERS}0"), "somebody");
        store.txn(txn).await.unwrap();
        store
    }

    async fn dumped(store: &Arc<dyn MetaStore>) -> Vec<u8> {
        let catalog = Catalog::new(Arc::clone(store));
        let mut dump = Vec::new();
        let read = Dump::of(&catalog, &**store, 7).await.unwrap();
        read.write(&mut dump).unwrap();
        dump
    }

    async fn pairs(store: &dyn MetaStore) -> Vec<(String, Bytes)> {
        let (entries, _) = store.range("/").await.unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    #[tokio::test]
    async fn what_goes_out_comes_in() {
        let store = filled().await;
        let dump = dumped(&store).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("metastore.db");
        let sqlite = SqliteStore::open(&file, clock()).await.unwrap();
        let header = import(&sqlite, &mut dump.as_slice()).await.unwrap();
        let mut wanted = pairs(&*store).await;
        wanted.retain(|(key, _)| !key.starts_with(LEADERS));
        assert_eq!(pairs(&sqlite).await, wanted);
        assert_eq!(header.entries, wanted.len());
        let again = import(&sqlite, &mut dump.as_slice()).await.unwrap_err();
        assert!(matches!(again, DumpError::NotEmpty { .. }), "{again}");
        let sqlite: Arc<dyn MetaStore> = Arc::new(sqlite);
        let cluster = Catalog::new(sqlite).cluster(9).await.unwrap();
        assert_eq!((cluster.id, cluster.created_ms), (header.cluster, 7));
    }

    #[tokio::test]
    async fn what_is_no_whole_dump_changes_nothing() {
        let text = String::from_utf8(dumped(&filled().await).await).unwrap();
        let cut = &text[..text.len() - 40];
        let lines: Vec<&str> = text.lines().collect();
        let shorter = lines[..lines.len() - 1].join("\n");
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        let swapped = [lines[0], lines[2], lines[1]].join("\n");
        for (dump, said) in [
            (cut, "line 12004 of the dump: EOF while parsing"),
            (
                &shorter,
                "line 12003 of the dump: the dump ends after 12002 of 12003 entries",
            ),
            (
                &newer,
                "line 1 of the dump: the dump has version 2, this version reads 1",
            ),
            (
                &swapped,
                "line 3 of the dump: `/bytes` is not in the order of keys",
            ),
            ("", "line 1 of the dump: the dump is empty"),
            ("{}", "line 1 of the dump: this is no dump of the metadata"),
        ] {
            let store = MemoryStore::new(clock());
            let error = import(&store, &mut dump.as_bytes()).await.unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}");
            assert!(pairs(&store).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_store_with_half_a_dump_is_used_by_nobody() {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(clock()));
        let txn = Txn::default().put(IMPORTING, "x").put("/cluster", "{}");
        store.txn(txn).await.unwrap();
        let error = Catalog::new(store).cluster(0).await.unwrap_err();
        assert!(
            error.to_string().contains("an import was cut off"),
            "{error}"
        );
    }
}
