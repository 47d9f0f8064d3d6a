//! What a query says about indexes, as `skipIndexes` writes it: `carrier=inverted,range&*=text`.
//!
//! Names of indexes are Pinot's, and ours where Pinot has no such index. A name that is not known
//! is refused: a query that asks for the impossible must not look as if it had been heard.

use crate::Fault;
use crate::proto::{IndexKind, ScanOptions, SkippedIndexes};

/// What became of a filter in a segment, as [`SegmentClass`](crate::proto::SegmentClass) says it.
pub mod filter_outcome {
    pub const NEVER: &str = "no row can match";
    pub const ALWAYS: &str = "every row matches";
    pub const FILTERED: &str = "filtered";
    pub const SUMMED: &str = "answered by a star-tree";
}

const EVERY: &str = "*";

const NAMES: [(&str, IndexKind); 10] = [
    ("dictionary", IndexKind::Dictionary),
    ("sorted", IndexKind::Sorted),
    ("inverted", IndexKind::Inverted),
    ("range", IndexKind::Range),
    ("bloom", IndexKind::Bloom),
    ("null", IndexKind::Null),
    ("zone", IndexKind::Zone),
    ("text", IndexKind::Text),
    ("json", IndexKind::Json),
    ("timestamp", IndexKind::Timestamp),
];

impl ScanOptions {
    /// Whether an index of this kind may be used for a predicate or a group of `column`.
    pub fn uses(&self, column: &str, kind: IndexKind) -> bool {
        let is_meant =
            |skipped: &&SkippedIndexes| skipped.column == EVERY || skipped.column == column;
        let mut meant = self.skipped_indexes.iter().filter(is_meant);
        !meant.any(|skipped| skipped.kinds.contains(&kind.into()))
    }

    /// Adds what the value of `skipIndexes` lists.
    pub fn skip_indexes(&mut self, list: &str) -> Result<(), Fault> {
        for piece in list
            .split('&')
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
        {
            let (column, kinds) = piece.split_once('=').ok_or_else(|| {
                Fault::invalid(format!(
                    "`skipIndexes` takes column=index,… joined by `&`, `*` for every column; \
                     `{piece}` has no `=`"
                ))
            })?;
            let kinds = kinds.split(',').map(|name| kinds_of(name.trim()));
            let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
            self.skipped_indexes.push(SkippedIndexes {
                column: column.trim().to_owned(),
                kinds: kinds.concat(),
            });
        }
        Ok(())
    }
}

fn kinds_of(name: &str) -> Result<Vec<i32>, Fault> {
    if name == EVERY {
        return Ok(NAMES.iter().map(|(_, kind)| (*kind).into()).collect());
    }
    // Pinot's indexes that no segment here has: nothing to skip.
    if ["fst", "h3", "vector"]
        .iter()
        .any(|none| name.eq_ignore_ascii_case(none))
    {
        return Ok(Vec::new());
    }
    let found = NAMES
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    let (_, kind) = found.ok_or_else(|| {
        let known = NAMES.map(|(known, _)| known).join(", ");
        Fault::invalid(format!(
            "`skipIndexes` does not know index `{name}`; it knows {known}, and `*` for all"
        ))
    })?;
    Ok(vec![(*kind).into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_is_not_used() {
        let mut options = ScanOptions::default();
        options
            .skip_indexes("a=inverted,RANGE & *=text&b=*")
            .unwrap();
        let used = |column, kind| options.uses(column, kind);
        assert!(!used("a", IndexKind::Inverted) && !used("a", IndexKind::Range));
        assert!(used("a", IndexKind::Sorted) && used("c", IndexKind::Inverted));
        assert!(!used("c", IndexKind::Text) && !used("b", IndexKind::Zone));
        assert!(ScanOptions::default().uses("a", IndexKind::Inverted));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refusal = |list: &str| {
            let mut options = ScanOptions::default();
            options.skip_indexes(list).unwrap_err().message
        };
        assert!(refusal("a=invertd").contains("`invertd`"));
        assert!(refusal("a").contains("has no `=`"));
    }
}
