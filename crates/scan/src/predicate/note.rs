//! What EXPLAIN tells of the filters of segments.
//!
//! Kept only for queries that ask for it; segments that are read in the same way are one class.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::physical_expr::PhysicalExpr;
use schemas::filter_outcome;
use schemas::proto::{Explain, PredicateStep, ScanOptions, SegmentClass};
use segment::{BLOCK_ROWS, SegmentView};

use super::conjunct::{Access, Conjunct};
use crate::stats::Counters;

/// Of one segment, while a query that asks for it reads the segment.
#[derive(Debug)]
pub(crate) struct Story {
    class: SegmentClass,
    reads: bool,
    blocks_read: AtomicU64,
}

impl Story {
    /// `None`: nobody asked.
    pub(crate) fn begin(view: &SegmentView, table: &str, options: &ScanOptions) -> Option<Self> {
        let explain = options.explain();
        (explain != Explain::None).then(|| Self {
            class: SegmentClass {
                table: table.to_owned(),
                consuming: view.is_consuming(),
                segments: 1,
                rows: u64::from(view.row_count()),
                blocks: u64::from(view.row_count().div_ceil(BLOCK_ROWS)),
                ..SegmentClass::default()
            },
            reads: explain == Explain::Analyze,
            blocks_read: AtomicU64::new(0),
        })
    }

    /// Whether rows are read, too.
    pub(crate) fn reads(&self) -> bool {
        self.reads
    }

    pub(crate) fn block_read(&self) {
        self.blocks_read.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, conjuncts: Option<&[Conjunct<'_>]>, counters: &Counters) {
        let (outcome, steps) = match conjuncts {
            None => (filter_outcome::NEVER, Vec::new()),
            Some([]) => (filter_outcome::ALWAYS, Vec::new()),
            Some(conjuncts) => (filter_outcome::FILTERED, steps(conjuncts)),
        };
        self.tell(outcome, steps, counters);
    }

    /// The segment's rows were not needed: `given` records of a star-tree were looked at and `kept`
    /// are added up.
    pub(crate) fn end_by_tree(
        &self,
        (tree, filters): (&str, &[Arc<dyn PhysicalExpr>]),
        (given, kept): (u64, u64),
        counters: &Counters,
    ) {
        let texts: Vec<String> = filters.iter().map(|f| readable(&f.to_string())).collect();
        let predicate = match texts.is_empty() {
            true => "every row".to_owned(),
            false => texts.join(" AND "),
        };
        let did = |records| if self.reads { records } else { 0 };
        let step = PredicateStep {
            depth: 0,
            predicate,
            access: tree.to_owned(),
            estimated: kept,
            given: did(given),
            kept: did(kept),
        };
        self.tell(filter_outcome::SUMMED, vec![step], counters);
    }

    fn tell(&self, outcome: &str, steps: Vec<PredicateStep>, counters: &Counters) {
        counters.explain(SegmentClass {
            outcome: outcome.to_owned(),
            blocks_read: self.blocks_read.load(Ordering::Relaxed),
            steps,
            ..self.class.clone()
        });
    }
}

/// Of one conjunct: its text, how its rows are found, and what it did.
#[derive(Debug)]
pub(super) struct Note {
    text: String,
    access: String,
    /// Rows that it was asked about, and that it kept.
    given: AtomicU64,
    kept: AtomicU64,
}

impl Note {
    pub(super) fn new(text: String, access: &str) -> Box<Self> {
        Box::new(Self {
            text,
            access: access.to_owned(),
            given: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        })
    }

    pub(super) fn add(&self, given: u32, kept: u32) {
        self.given.fetch_add(u64::from(given), Ordering::Relaxed);
        self.kept.fetch_add(u64::from(kept), Ordering::Relaxed);
    }

    /// Of two whose documents became one list.
    pub(super) fn joined(a: Option<&Self>, b: Option<&Self>, op: &str) -> Option<Box<Self>> {
        let (Some(a), Some(b)) = (a, b) else {
            return a.or(b).map(|one| Self::new(one.text.clone(), &one.access));
        };
        let access = match a.access == b.access {
            true => a.access.clone(),
            false => format!("{} and {}", a.access, b.access),
        };
        Some(Self::new(format!("{} {op} {}", a.text, b.text), &access))
    }
}

/// The filter of one segment, as lines.
fn steps(conjuncts: &[Conjunct<'_>]) -> Vec<PredicateStep> {
    let mut steps = Vec::new();
    collect(conjuncts, 0, &mut steps);
    steps
}

fn collect(conjuncts: &[Conjunct<'_>], depth: u32, steps: &mut Vec<PredicateStep>) {
    for conjunct in conjuncts {
        if let Some(note) = &conjunct.note {
            steps.push(PredicateStep {
                depth,
                predicate: note.text.clone(),
                access: note.access.clone(),
                estimated: conjunct.estimate,
                given: note.given.load(Ordering::Relaxed),
                kept: note.kept.load(Ordering::Relaxed),
            });
        }
        if let Access::Any(alternatives) = &conjunct.access {
            for alternative in alternatives {
                collect(alternative, depth + 1, steps);
            }
        }
    }
}

/// Adds a segment to its class.
pub(crate) fn classify(classes: &mut Vec<SegmentClass>, segment: SegmentClass) {
    let same_step = |(a, b): (&PredicateStep, &PredicateStep)| {
        (a.depth, &a.predicate, &a.access) == (b.depth, &b.predicate, &b.access)
    };
    let same = |class: &&mut SegmentClass| {
        (&class.table, &class.outcome, class.consuming)
            == (&segment.table, &segment.outcome, segment.consuming)
            && class.steps.len() == segment.steps.len()
            && class.steps.iter().zip(&segment.steps).all(same_step)
    };
    let Some(class) = classes.iter_mut().find(same) else {
        classes.push(segment);
        return;
    };
    class.segments += segment.segments;
    class.rows += segment.rows;
    class.blocks += segment.blocks;
    class.blocks_read += segment.blocks_read;
    for (sum, more) in class.steps.iter_mut().zip(segment.steps) {
        sum.estimated += more.estimated;
        sum.given += more.given;
        sum.kept += more.kept;
    }
}

/// An expression without the positions of its columns: `delay@3 > 5` is `delay > 5`.
pub(super) fn readable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        quoted ^= c == '\'';
        let follows_name = shown.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if c == '@' && !quoted && follows_name && rest.peek().is_some_and(char::is_ascii_digit) {
            while rest.peek().is_some_and(char::is_ascii_digit) {
                rest.next();
            }
            continue;
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_columns_are_left_out() {
        let text = "delay@3 > 5 AND city@12 = 'me@1' OR f(a_b@0)";
        assert_eq!(readable(text), "delay > 5 AND city = 'me@1' OR f(a_b)");
    }

    #[test]
    fn segments_that_are_read_alike_are_one_class() {
        let segment = |access: &str, rows| SegmentClass {
            table: "t".to_owned(),
            segments: 1,
            rows,
            blocks: 2,
            blocks_read: 1,
            steps: vec![PredicateStep {
                access: access.to_owned(),
                estimated: 5,
                ..PredicateStep::default()
            }],
            ..SegmentClass::default()
        };
        let mut classes = Vec::new();
        for (access, rows) in [("scan(a)", 10), ("zone(a)", 20), ("scan(a)", 30)] {
            classify(&mut classes, segment(access, rows));
        }
        let told: Vec<_> = classes
            .iter()
            .map(|class| (class.segments, class.rows))
            .collect();
        assert_eq!(told, [(2, 40), (1, 20)]);
        assert_eq!(
            (classes[0].steps[0].estimated, classes[0].blocks_read),
            (10, 2)
        );
    }
}
