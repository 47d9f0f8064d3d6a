//! What Debezium writes of a change: `{"before": …, "after": …, "op": "c|u|d|r", "ts_ms": …}`,
//! alone or under `payload` beside its schema.
//!
//! The row is the one after the change, and before it where it was deleted. What the change was is
//! in the columns `__op`, `__deleted` (BOOLEAN, for `deleteRecordColumn`) and `__ts_ms`, where the
//! table has them: those that Debezium's own ExtractNewRecordState adds. So are those of where it
//! happened: `__source_ts_ms` is `ts_ms` of `source`, and `__table`, `__db`, `__schema`, `__lsn`
//! and whatever else no change has itself are of `source`, too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decoder::Taken;
use crate::json;
use crate::row::{Row, Target};

const OP: &str = "__op";
const DELETED: &str = "__deleted";
const TS_MS: &str = "__ts_ms";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<Cow<'a, str>>,
    #[serde(default)]
    ts_ms: Option<i64>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
}

/// Columns that are filled from `source`, by the names that its fields have there.
pub(crate) fn source_columns(target: &Target) -> HashMap<String, usize> {
    let columns = target.spec.columns.iter().enumerate();
    let named = columns.filter_map(|(at, column)| {
        let name = column.name.strip_prefix("__")?;
        let is_own = [OP, DELETED, TS_MS].contains(&column.name.as_str());
        let name = name.strip_prefix("source_").or((!is_own).then_some(name))?;
        Some((name.to_owned(), at))
    });
    named.collect()
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Upsert,
    Delete,
    /// TRUNCATE of a whole table, or a message of the log: no row is meant.
    Other,
}

pub(crate) fn op(text: &str) -> Result<Op, String> {
    match text {
        "c" | "u" | "r" => Ok(Op::Upsert),
        "d" => Ok(Op::Delete),
        "t" | "m" => Ok(Op::Other),
        other => Err(format!("`{other}` is no `op` of Debezium's: c, u, r, d")),
    }
}

pub(crate) fn read_json(
    target: &Target,
    sources: &HashMap<String, usize>,
    row: &mut Row,
    payload: &[u8],
) -> Result<Taken, String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let is_there = |raw: &&RawValue| raw.get() != "null";
    let parse = |text| serde_json::from_str::<Change<'_>>(text).map_err(|error| error.to_string());
    let message: Message<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let change = match message.payload.filter(is_there) {
        Some(inner) => parse(inner.get())?,
        None => parse(text)?,
    };
    let name = change.op.as_deref();
    let name = name.ok_or("the message is no change of Debezium's: it has no `op`")?;
    let kind = op(name)?;
    let image = match kind {
        Op::Other => return Ok(Taken::Nothing),
        Op::Upsert => change
            .after
            .filter(is_there)
            .ok_or("the change has no `after`")?,
        Op::Delete => change
            .before
            .filter(is_there)
            .ok_or("the delete has no `before`")?,
    };
    json::read(target, row, image.get().as_bytes())?;
    describe(target, row, name, kind, change.ts_ms)?;
    if let Some(source) = change.source.filter(|source| is_there(source))
        && !sources.is_empty()
    {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(source.get()).map_err(|error| format!("`source`: {error}"))?;
        for (name, value) in fields {
            if let Some(at) = sources.get(name.as_ref()) {
                row.cells[*at] = json::value(target, row, *at, value.get())?;
            }
        }
    }
    Ok(Taken::Row)
}

/// Fills the columns that tell of the change.
pub(crate) fn describe(
    target: &Target,
    row: &mut Row,
    name: &str,
    kind: Op,
    ts_ms: Option<i64>,
) -> Result<(), String> {
    if let Some(at) = target.position(OP) {
        row.cells[at] = target.field(at, &mut row.texts).text(name)?;
    }
    if let Some(at) = target.position(DELETED) {
        let deleted = kind == Op::Delete;
        row.cells[at] = target.field(at, &mut row.texts).boolean(deleted)?;
    }
    if let (Some(at), Some(ms)) = (target.position(TS_MS), ts_ms) {
        row.cells[at] = target.field(at, &mut row.texts).instant(Some(ms), ms)?;
    }
    Ok(())
}
