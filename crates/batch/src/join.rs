//! Which files are read in one go: what is small becomes segments together.
//!
//! Invariant: every file is in exactly one go. Files that an earlier attempt has read together stay
//! together while each of them is as it was and they still follow each other; what else is small is
//! joined anew.

use ingest::files::FileFormat;
use sha2::{Digest, Sha256};

use crate::Source;
use crate::finished::{Finished, GoKey};

/// How much is read in one go. Bytes are those of text: what is packed becomes more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    /// No less, even when threads have nothing to do.
    pub(crate) bytes_min: u64,
    /// No more; a file with more than half of it is read alone.
    pub(crate) bytes_max: u64,
    pub(crate) files_max: usize,
}

impl Default for Joining {
    fn default() -> Self {
        Self {
            bytes_min: 64 << 20,
            bytes_max: 512 << 20,
            files_max: 4096,
        }
    }
}

/// Files that are read one after the other.
#[derive(Debug)]
pub(crate) struct Go<'a> {
    pub(crate) sources: Vec<&'a Source>,
    /// It is read by one thread; else each part of its one file on its own.
    pub(crate) is_joined: bool,
}

impl Go<'_> {
    pub(crate) fn key(&self, part: u32) -> GoKey {
        GoKey {
            uri: self.sources[0].uri.clone(),
            version: version(&self.sources),
            part,
            files: match self.is_joined {
                true => self.sources.len() as u32,
                false => 0,
            },
        }
    }
}

/// Changes with any of the files, and with which they are.
pub(crate) fn version(sources: &[&Source]) -> String {
    if let [one] = sources {
        return one.version.clone();
    }
    let mut digest = Sha256::new();
    for source in sources {
        for text in [&source.uri, &source.version] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
    format!("{:x}", digest.finalize())
}

impl Joining {
    pub(crate) fn goes<'a>(
        &self,
        sources: &'a [Source],
        format: Option<FileFormat>,
        finished: &Finished<'_>,
        threads: usize,
    ) -> Vec<Go<'a>> {
        let (mut goes, mut small) = (Vec::new(), Vec::new());
        let (mut files, mut weights) = (Vec::new(), 0);
        for source in sources {
            match weight(source, format).filter(|weight| weight.saturating_mul(2) <= self.bytes_max)
            {
                Some(weight) => {
                    small.push((source, weight));
                    weights += weight;
                    files.push(source);
                }
                None => goes.push(Go {
                    sources: vec![source],
                    is_joined: false,
                }),
            }
        }
        let wanted = (weights / threads.max(1) as u64).clamp(self.bytes_min, self.bytes_max);
        let (mut open, mut held, mut at) = (Vec::new(), 0, 0);
        while at < small.len() {
            let kept = finished.joined(&files[at..]);
            let (source, weight) = small[at];
            let is_full = open.len() >= self.files_max || held + weight > self.bytes_max;
            if kept.is_some() || is_full || held >= wanted {
                goes.extend(joined(std::mem::take(&mut open)));
                held = 0;
            }
            if let Some(count) = kept {
                goes.extend(joined(files[at..at + count].to_vec()));
                at += count;
                continue;
            }
            open.push(source);
            held += weight;
            at += 1;
        }
        goes.extend(joined(open));
        goes
    }
}

fn joined(sources: Vec<&Source>) -> Option<Go<'_>> {
    (!sources.is_empty()).then_some(Go {
        sources,
        is_joined: true,
    })
}

/// About the bytes that its rows have as text. `None`: nobody knows before it is read.
fn weight(source: &Source, format: Option<FileFormat>) -> Option<u64> {
    let name = source.name().to_ascii_lowercase();
    let is_packed = name.ends_with(".gz") || name.ends_with(".zst");
    let times = match format.or_else(|| FileFormat::of(&name))? {
        FileFormat::Parquet => 8,
        FileFormat::Arrow | FileFormat::Avro => 2,
        FileFormat::Csv | FileFormat::Json if is_packed => 8,
        FileFormat::Csv | FileFormat::Json => 1,
    };
    (source.is_measured()).then(|| source.bytes.saturating_mul(times))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::Place;

    const JOINING: Joining = Joining {
        bytes_min: 100,
        bytes_max: 400,
        files_max: 50,
    };

    fn source(name: &str, bytes: u64) -> Source {
        Source {
            uri: format!("/in/{name}"),
            version: "1".to_owned(),
            bytes,
            place: Place::File(PathBuf::from("/in").join(name)),
        }
    }

    fn goes(sources: &[Source], threads: usize) -> Vec<Vec<&str>> {
        let goes = JOINING.goes(sources, None, &Finished::of(&[]), threads);
        let goes = goes.into_iter().map(|go| go.sources);
        goes.map(|sources| sources.into_iter().map(Source::name).collect())
            .collect()
    }

    #[test]
    fn what_is_small_is_read_together_and_what_is_not_alone() {
        let sources = [
            source("a.json", 10),
            source("b.csv", 201),
            source("c.parquet", 10),
            source("d.json.gz", 26),
            source("e.avro", 5),
            source("f.bin", 1),
        ];
        // 10, then 80, then 10; 208 is more than half of the most.
        let wanted: [&[&str]; 4] = [
            &["b.csv"],
            &["d.json.gz"],
            &["f.bin"],
            &["a.json", "c.parquet", "e.avro"],
        ];
        assert_eq!(goes(&sources, 2), wanted);
    }

    #[test]
    fn goes_are_as_large_as_threads_let_them_be() {
        let sources: Vec<Source> = (0..100).map(|n| source(&format!("{n}.json"), 20)).collect();
        let sizes = |threads| {
            let goes = goes(&sources, threads).into_iter();
            goes.map(|go| go.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [20; 5], "400 bytes each");
        assert_eq!(
            sizes(8),
            [13, 13, 13, 13, 13, 13, 13, 9],
            "an eighth, by whole files"
        );
        assert_eq!(sizes(1000), [5; 20], "100 bytes each");
        let empty: Vec<Source> = (0..100).map(|n| source(&format!("{n}.json"), 0)).collect();
        let goes = goes(&empty, 2);
        assert_eq!([goes[0].len(), goes[1].len()], [50, 50], "not all at once");
    }

    #[test]
    fn the_version_tells_files_from_others() {
        let (a, b) = (source("a.json", 1), source("b.json", 1));
        let mut changed = source("b.json", 1);
        changed.version = "2".to_owned();
        let of_both = version(&[&a, &b]);
        assert_eq!(of_both.len(), 64);
        assert_ne!(of_both, version(&[&a, &changed]));
        assert_ne!(of_both, version(&[&b, &a]));
        assert_eq!(version(&[&a]), "1");
    }
}
