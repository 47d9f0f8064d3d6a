//! What happened to consumption that somebody may want to know of: `sys.ingest_events`.
//!
//! Invariants: the newest are kept, so many; they are in a file beside the segments that is written
//! anew every few seconds when there are new ones, so that a restart forgets only the last few
//! seconds, and a disk that is full or slow keeps no consumer waiting.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use parking_lot::Mutex;
use query::system::INGEST_EVENTS_SCHEMA;
use runtime::TaskGroup;
use schemas::ingest_event::Event;
use schemas::{Fault, FaultKind, InstanceId};

use crate::Core;

const KEPT: usize = 2000;
const WRITE_EVERY: Duration = Duration::from_secs(2);
const FILE: &str = "ingest-events.json";

#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    unwritten: bool,
}

impl Events {
    /// What was kept before; an unreadable file is as none, as nothing rests on it.
    pub(crate) fn open(data_dir: &std::path::Path) -> Self {
        let path = data_dir.join(FILE);
        let read = std::fs::read(&path).ok();
        let events = read.and_then(|bytes| match serde_json::from_slice(&bytes) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "events cannot be read, begun anew");
                None
            }
        });
        let state = State {
            events: events.unwrap_or_default(),
            unwritten: false,
        };
        Self {
            path,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn note(&self, event: Event) {
        tracing::info!(
            table = event.table,
            partition = event.partition,
            kind = event.kind.name(),
            from = event.from,
            to = event.to,
            text = event.text,
            "ingestion"
        );
        let mut state = self.state.lock();
        if state.events.len() >= KEPT {
            state.events.pop_front();
        }
        state.events.push_back(event);
        state.unwritten = true;
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.state.lock().events.iter().cloned().collect()
    }

    /// What is to be written; `None`: nothing new.
    fn take_unwritten(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.unwritten) {
            return None;
        }
        serde_json::to_vec(&state.events).ok()
    }
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn("ingest events", |stop| async move {
        loop {
            let waited = stop.run_until_cancelled(core.clock.sleep(WRITE_EVERY));
            let stops = waited.await.is_none();
            write(&core).await;
            if stops {
                return;
            }
        }
    });
}

async fn write(core: &Arc<Core>) {
    let Some(bytes) = core.events.take_unwritten() else {
        return;
    };
    let writer = Arc::clone(core);
    let written = core.compute.run(move || {
        std::fs::create_dir_all(&writer.config.data_dir)?;
        let write = &mut |to: &mut dyn std::io::Write| to.write_all(&bytes);
        writer
            .files
            .write_new(&writer.events.path, "ingest_events", write)
    });
    let failed = match written.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    core.events.state.lock().unwritten = true;
    tracing::debug!(error = failed, "events cannot be written, tried again");
}

pub(crate) fn rows(events: &[Event], server: &InstanceId) -> Result<RecordBatch, Fault> {
    let texts = |of: fn(&Event) -> &str| {
        let values = events.iter().map(of);
        Arc::new(StringViewArray::from_iter_values(values)) as ArrayRef
    };
    let longs = |of: fn(&Event) -> i64| {
        let values = events.iter().map(of);
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let times = events.iter().map(|event| event.time_ms);
    let partitions = events.iter().map(|event| event.partition as i32);
    let servers = events.iter().map(|_| server.0.as_str());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
        texts(|event| &event.table),
        Arc::new(Int32Array::from_iter_values(partitions)),
        Arc::new(StringViewArray::from_iter_values(servers)),
        texts(|event| event.kind.name()),
        longs(|event| event.from),
        longs(|event| event.to),
        texts(|event| &event.text),
    ];
    RecordBatch::try_new(Arc::clone(&INGEST_EVENTS_SCHEMA), columns)
        .map_err(|error| Fault::from_chain(FaultKind::Internal, &error))
}

#[cfg(test)]
mod tests {
    use schemas::ingest_event::EventKind;

    use super::*;

    #[test]
    fn the_newest_events_are_kept_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::open(folder.path());
        let event = |at: i64| Event {
            time_ms: at,
            table: "t".to_owned(),
            partition: 0,
            kind: EventKind::Lost,
            from: at,
            to: at + 1,
            text: "gone".to_owned(),
        };
        for at in 0..KEPT as i64 + 10 {
            events.note(event(at));
        }
        let bytes = events.take_unwritten().unwrap();
        assert!(events.take_unwritten().is_none(), "written once");
        std::fs::write(folder.path().join(FILE), &bytes).unwrap();
        let again = Events::open(folder.path()).all();
        assert_eq!(again.len(), KEPT);
        assert_eq!((again[0].from, &again), (10, &events.all()));
        std::fs::write(folder.path().join(FILE), &bytes[1..]).unwrap();
        assert!(Events::open(folder.path()).all().is_empty());
    }
}
