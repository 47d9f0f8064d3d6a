//! What an earlier attempt has finished: parts of files all of whose segments have come.

use std::collections::HashMap;

use schemas::segment::SegmentRecord;
use uuid::Uuid;

use crate::Source;

/// By part of a file, as its content is now.
#[derive(Debug, Default)]
pub(crate) struct Finished<'a> {
    parts: HashMap<(&'a str, &'a str, u32), Vec<&'a SegmentRecord>>,
}

impl<'a> Finished<'a> {
    pub(crate) fn of(segments: &'a [SegmentRecord]) -> Self {
        let mut read: HashMap<(&str, &str, u32, Uuid), Vec<&SegmentRecord>> = HashMap::new();
        for record in segments {
            if let Some(mark) = &record.source {
                let key = (
                    mark.uri.as_str(),
                    mark.version.as_str(),
                    mark.part,
                    mark.reader,
                );
                read.entry(key).or_default().push(record);
            }
        }
        let mut parts = HashMap::new();
        for ((uri, version, part, _), mut pieces) in read {
            let piece = |record: &&SegmentRecord| record.source.as_ref().map(|mark| mark.piece);
            pieces.sort_by_key(piece);
            let is_gapless = pieces
                .iter()
                .zip(0..)
                .all(|(one, at)| piece(one) == Some(at));
            let ends = pieces.last().and_then(|one| one.source.as_ref());
            if is_gapless && ends.is_some_and(|mark| mark.is_last) {
                parts.insert((uri, version, part), pieces);
            }
        }
        Self { parts }
    }

    pub(crate) fn segments<'s>(
        &'s self,
        source: &'s Source,
        part: u32,
    ) -> Option<&'s [&'a SegmentRecord]> {
        let key = (source.uri.as_str(), source.version.as_str(), part);
        self.parts.get(&key).map(Vec::as_slice)
    }
}
