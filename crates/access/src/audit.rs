//! The audit log: who wanted what of which table, from where and when, and what was decided. A JSON
//! object a line, into a file of its own or into the node's log (target `audit`).
//!
//! Invariant: a line is written before the answer is; when the file cannot be written, the node's
//! log has the line and the reason.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use runtime::{AppendFile, Clock, Files};
use serde::Serialize;

use crate::AccessError;
use crate::grants::Action;

/// Longer statements are cut.
const STATEMENT_BYTES_MAX: usize = 2_000;

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditLevel {
    /// What was denied.
    Denied,
    /// And what changes something.
    #[default]
    Changes,
    /// And what is read.
    All,
}

/// The default tells nothing: where everybody may do everything there is nothing to tell.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    level: AuditLevel,
    clock: Arc<dyn Clock>,
    /// `None`: the node's log.
    file: Option<Mutex<Box<dyn AppendFile>>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Event<'a> {
    pub(crate) who: Option<&'a str>,
    pub(crate) from: Option<IpAddr>,
    /// Method and path.
    pub(crate) what: &'a str,
    #[serde(serialize_with = "named")]
    pub(crate) action: Option<Action>,
    pub(crate) table: Option<&'a str>,
    pub(crate) decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

fn named<S: serde::Serializer>(action: &Option<Action>, to: S) -> Result<S::Ok, S::Error> {
    action.map(Action::name).serialize(to)
}

impl Audit {
    pub(crate) fn open(
        level: AuditLevel,
        path: Option<&Path>,
        clock: Arc<dyn Clock>,
        files: &dyn Files,
    ) -> Result<Self, AccessError> {
        let opened = path.map(|path| {
            files.open_append(path).map_err(|error| {
                let path = path.display();
                AccessError(format!("the audit log `{path}` cannot be opened: {error}"))
            })
        });
        Ok(Self(Some(Arc::new(Inner {
            level,
            clock,
            file: opened.transpose()?.map(Mutex::new),
        }))))
    }

    pub(crate) fn wants(&self, action: Action, allowed: bool) -> bool {
        self.0.as_ref().is_some_and(|inner| match inner.level {
            AuditLevel::Denied => !allowed,
            AuditLevel::Changes => !allowed || action != Action::Read,
            AuditLevel::All => true,
        })
    }

    /// Somebody was not let in.
    pub(crate) fn refused(&self, from: Option<IpAddr>, what: &str, why: &str) {
        self.write(&Event {
            who: None,
            from,
            what,
            action: None,
            table: None,
            decision: "refused",
            why: Some(why),
            statement: None,
        });
    }

    pub(crate) fn write(&self, event: &Event<'_>) {
        let Some(inner) = &self.0 else {
            return;
        };
        let event = &Event {
            statement: event.statement.map(cut),
            ..*event
        };
        let Some(file) = &inner.file else {
            tracing::info!(
                target: "audit",
                who = event.who,
                from = event.from.map(tracing::field::display),
                what = event.what,
                action = event.action.map(Action::name),
                table = event.table,
                decision = event.decision,
                why = event.why,
                statement = event.statement,
                "access"
            );
            return;
        };
        let time = chrono::DateTime::from_timestamp_millis(inner.clock.now_ms());
        let time = time.unwrap_or_default();
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut line = serde_json::to_vec(&Line { time, event }).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = file.lock().append(&line) {
            let line = String::from_utf8_lossy(&line);
            tracing::error!(%error, line = line.trim_end(), "the audit log cannot be written");
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(STATEMENT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{ManualClock, OsFiles};
    use tempfile::TempDir;

    fn lines(level: AuditLevel) -> Vec<serde_json::Value> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("audit.jsonl");
        let clock = ManualClock::at_ms(1_700_000_000_123);
        let audit = Audit::open(level, Some(&path), clock, &OsFiles).unwrap();
        for (action, decision) in [
            (Action::Read, "allowed"),
            (Action::Read, "denied"),
            (Action::Write, "allowed"),
        ] {
            if audit.wants(action, decision == "allowed") {
                audit.write(&Event {
                    who: Some("ann"),
                    from: "10.0.0.7".parse().ok(),
                    what: "POST /query/sql",
                    action: Some(action),
                    table: Some("clicks"),
                    decision,
                    why: None,
                    statement: Some(&"ü".repeat(2_000)),
                });
            }
        }
        audit.refused(None, "GET /tables", "name or password is wrong");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn levels_say_what_is_told() {
        let counts = [AuditLevel::Denied, AuditLevel::Changes, AuditLevel::All]
            .map(|level| lines(level).len());
        assert_eq!(counts, [2, 3, 4]);
        let lines = lines(AuditLevel::Denied);
        assert_eq!(lines[0]["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(
            (&lines[0]["who"], &lines[0]["action"], &lines[0]["table"]),
            (&"ann".into(), &"read".into(), &"clicks".into())
        );
        assert_eq!(lines[0]["from"], "10.0.0.7");
        assert_eq!(lines[0]["statement"].as_str().unwrap().len(), 2_000);
        assert_eq!(lines[1]["decision"], "refused");
    }
}
