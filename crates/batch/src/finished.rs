//! What an earlier attempt has finished: goes all of whose segments have come.

use std::collections::HashMap;

use schemas::segment::{SegmentRecord, SourceMark};
use uuid::Uuid;

use crate::Source;
use crate::join::version;

/// What is read in one go, as its content is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GoKey {
    /// Of the first file.
    pub(crate) uri: String,
    pub(crate) version: String,
    /// Of a file that is read in parts.
    pub(crate) part: u32,
    /// So many whole files; 0: a part of one.
    pub(crate) files: u32,
}

impl GoKey {
    pub(crate) fn mark(&self, reader: Uuid, piece: u32, is_last: bool) -> SourceMark {
        SourceMark {
            uri: self.uri.clone(),
            version: self.version.clone(),
            reader,
            part: self.part,
            files: self.files,
            piece,
            is_last,
        }
    }

    fn of(mark: &SourceMark) -> Self {
        Self {
            uri: mark.uri.clone(),
            version: mark.version.clone(),
            part: mark.part,
            files: mark.files,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Finished<'a> {
    goes: HashMap<GoKey, Vec<&'a SegmentRecord>>,
    /// Numbers of whole files, by the first of them; the greatest first.
    joined: HashMap<&'a str, Vec<u32>>,
}

impl<'a> Finished<'a> {
    pub(crate) fn of(segments: &'a [SegmentRecord]) -> Self {
        let mut read: HashMap<(GoKey, Uuid), Vec<(&SourceMark, &SegmentRecord)>> = HashMap::new();
        for record in segments {
            if let Some(mark) = &record.source {
                let pieces = read.entry((GoKey::of(mark), mark.reader)).or_default();
                pieces.push((mark, record));
            }
        }
        let mut finished = Self::default();
        for ((key, _), mut pieces) in read {
            pieces.sort_by_key(|(mark, _)| mark.piece);
            let is_gapless = (0..).zip(&pieces).all(|(at, (mark, _))| mark.piece == at);
            let Some((last, _)) = pieces.last().filter(|(mark, _)| mark.is_last && is_gapless)
            else {
                continue;
            };
            if last.files > 0 {
                let counts = finished.joined.entry(&last.uri).or_default();
                counts.push(last.files);
                counts.sort_unstable_by(|a, b| b.cmp(a));
            }
            let records = pieces.into_iter().map(|(_, record)| record);
            finished.goes.insert(key, records.collect());
        }
        finished
    }

    pub(crate) fn segments(&self, key: &GoKey) -> Option<&[&'a SegmentRecord]> {
        self.goes.get(key).map(Vec::as_slice)
    }

    /// So many of the first of `sources` were read together, and are as they were.
    pub(crate) fn joined(&self, sources: &[&Source]) -> Option<usize> {
        let first = sources.first()?;
        let counts = self.joined.get(first.uri.as_str())?.iter();
        let mut counts = counts.map(|count| *count as usize);
        counts.find(|count| {
            sources.get(..*count).is_some_and(|together| {
                let key = GoKey {
                    uri: first.uri.clone(),
                    version: version(together),
                    part: 0,
                    files: *count as u32,
                };
                self.goes.contains_key(&key)
            })
        })
    }
}
