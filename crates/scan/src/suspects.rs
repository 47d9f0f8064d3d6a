//! Which segments were being read when a job panicked: what is damaged in a way that nobody checks
//! for can only be in these.

use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use schemas::SegmentId;
use segment::SegmentView;

/// Clones are one list.
#[derive(Clone, Debug, Default)]
pub struct Suspects(Arc<Mutex<Vec<SegmentId>>>);

impl Suspects {
    /// Empty, unless a job panicked over a segment.
    pub fn list(&self) -> Vec<SegmentId> {
        self.0.lock().clone()
    }

    /// To be held while the segment is read.
    pub(crate) fn reading<'a>(&'a self, view: &'a SegmentView) -> Reading<'a> {
        Reading {
            suspects: self,
            view,
        }
    }
}

#[must_use]
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    suspects: &'a Suspects,
    view: &'a SegmentView,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.suspects.0.lock().push(self.view.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use schemas::{TableSpec, TableType};
    use segment::MutableSegment;

    use super::*;

    #[test]
    fn only_what_was_read_in_a_panic_is_suspected() {
        let spec = TableSpec::new("t".parse().unwrap(), TableType::Realtime, Vec::new());
        let spec = Arc::new(spec);
        let view = |sequence| {
            let id = SegmentId {
                table: spec.id,
                partition: 0,
                sequence,
            };
            let segment = MutableSegment::new(Arc::clone(&spec), id, "t".to_owned(), 0).unwrap();
            Arc::new(segment).view()
        };
        let (whole, damaged) = (view(0), view(1));
        let suspects = Suspects::default();
        drop(suspects.reading(&whole));
        let read = || {
            let _reading = suspects.reading(&damaged);
            panic!("on purpose");
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_err();
        assert_eq!(suspects.list(), [damaged.id()]);
    }
}
