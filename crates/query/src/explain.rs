//! EXPLAIN: what the broker does, what servers run, and which index or scan answers which
//! predicate. The servers are asked: EXPLAIN compiles the filter of each segment and reads no row,
//! EXPLAIN ANALYZE runs the query and throws its rows away.
//!
//! Segments that are read in the same way are told as one, so that many give a short answer. In
//! Pinot's dialect a line has an id and the id of its parent; in the standard one it is indented.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use schemas::proto::{Explain, PredicateStep, ScanStats, SegmentClass};
use schemas::{InstanceId, filter_outcome};

use crate::context::QueryStats;
use crate::dialect::{Semantics, Statement};
use crate::exchange::ExchangeExec;
use crate::gather::RemoteExec;
use crate::measured::{line, unmeasured};

/// What a server told of its part.
#[derive(Clone, Debug)]
pub struct Explained {
    pub server: InstanceId,
    /// Of the fragment.
    pub plan_hash: u64,
    pub stats: ScanStats,
}

/// Ways to read segments that are told one by one; the others are counted.
const CLASSES_SHOWN: usize = 8;

pub(crate) fn schema(semantics: Semantics) -> SchemaRef {
    let number = |name| Field::new(name, DataType::Int32, false);
    Arc::new(Schema::new(match semantics {
        Semantics::Standard => vec![Field::new("plan", DataType::Utf8, false)],
        _ => vec![
            Field::new("Operator", DataType::Utf8, false),
            number("Operator_Id"),
            number("Parent_Id"),
        ],
    }))
}

pub(crate) fn explain(
    plan: &Arc<dyn ExecutionPlan>,
    statement: &Statement,
    stats: &QueryStats,
) -> Result<RecordBatch> {
    let mut lines = Lines {
        lines: Vec::new(),
        told: &stats.explained,
        analyzed: statement.explain == Explain::Analyze,
    };
    lines.plan(plan, 0);
    lines.pruned(stats);
    let schema = schema(statement.semantics);
    if statement.semantics == Semantics::Standard {
        let indented = |(depth, text): &(usize, String)| format!("{}{text}", "  ".repeat(*depth));
        let texts: StringArray = lines.lines.iter().map(indented).map(Some).collect();
        return Ok(RecordBatch::try_new(schema, vec![Arc::new(texts)])?);
    }
    let texts: StringArray = lines.lines.iter().map(|(_, text)| Some(text)).collect();
    let ids: Int32Array = (0..lines.lines.len() as i32).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(ids), Arc::new(lines.parents())];
    Ok(RecordBatch::try_new(schema, columns)?)
}

struct Lines<'a> {
    /// Each with its depth.
    lines: Vec<(usize, String)>,
    told: &'a [Explained],
    analyzed: bool,
}

impl Lines<'_> {
    fn parents(&self) -> Int32Array {
        let mut above: Vec<i32> = Vec::new();
        let parent = |(id, (depth, _)): (i32, &(usize, String))| {
            above.truncate(*depth);
            let parent = above.last().copied().unwrap_or(-1);
            above.push(id);
            parent
        };
        (0..).zip(&self.lines).map(parent).collect()
    }

    fn add(&mut self, depth: usize, text: impl Into<String>) {
        self.lines.push((depth, text.into()));
    }

    fn plan(&mut self, plan: &Arc<dyn ExecutionPlan>, depth: usize) {
        self.add(depth, line(plan));
        if let Some(remote) = unmeasured(plan).downcast_ref::<RemoteExec>() {
            self.remote(remote, depth + 1);
        }
        if let Some(exchange) = unmeasured(plan).downcast_ref::<ExchangeExec>() {
            self.nested(&exchange.shown(), depth + 1);
        }
        for child in plan.children() {
            self.plan(child, depth + 1);
        }
    }

    fn pruned(&mut self, stats: &QueryStats) {
        let QueryStats {
            segments_pruned_by_broker: segments,
            docs_pruned_by_broker: rows,
            ..
        } = *stats;
        if segments > 0 {
            let (segments, rows) = (counted(segments, "segment"), counted(rows, "row"));
            self.add(
                1,
                format!("not read, pruned by the broker: {segments}, {rows}"),
            );
        }
    }

    fn remote(&mut self, remote: &RemoteExec, depth: usize) {
        let told = self
            .told
            .iter()
            .filter(|told| told.plan_hash == remote.hash());
        let told: Vec<&Explained> = told.collect();
        let first = told.first().map(|told| told.stats.plan.as_str());
        // What a server made of it, where it told that; each has times of its own.
        let first = first.filter(|plan| !plan.is_empty());
        let plan = match self.analyzed && first.is_some() {
            true => "",
            false => first.unwrap_or(remote.shown()),
        };
        self.nested(plan, depth);
        for server in told {
            let ScanStats {
                plan: own,
                explained,
                ..
            } = &server.stats;
            self.server(server, depth);
            if own != plan {
                self.nested(own, depth + 1);
            }
            let mut classes: Vec<&SegmentClass> = explained.iter().collect();
            classes.sort_by_key(|class| std::cmp::Reverse((class.rows, class.segments)));
            for class in classes.iter().take(CLASSES_SHOWN) {
                self.class(class, depth + 1);
            }
            let hidden = classes.iter().skip(CLASSES_SHOWN);
            let (ways, segments) = hidden.fold((0, 0), |(ways, segments), class| {
                (ways + 1, segments + class.segments)
            });
            if ways > 0 {
                self.add(
                    depth + 1,
                    format!("{segments} segments in {ways} other ways"),
                );
            }
        }
    }

    /// Lines that are indented by two spaces a level.
    fn nested(&mut self, text: &str, depth: usize) {
        for line in text.lines() {
            let level = (line.len() - line.trim_start().len()) / 2;
            self.add(depth + level, line.trim());
        }
    }

    fn server(&mut self, told: &Explained, depth: usize) {
        let stats = &told.stats;
        let classes = &stats.explained;
        let segments: u64 = classes.iter().map(|class| class.segments).sum();
        let rows: u64 = classes.iter().map(|class| class.rows).sum();
        let mut line = format!(
            "server {}: {}, {}",
            told.server,
            counted(segments, "segment"),
            counted(rows, "row")
        );
        if self.analyzed {
            let ms = stats.cpu_ns as f64 / 1e6;
            let matched = grouped(stats.docs_scanned);
            line.push_str(&format!("; {matched} rows passed, {ms:.2} ms of CPU"));
            if stats.segments_pruned > 0 {
                let pruned = counted(stats.segments_pruned, "segment");
                line.push_str(&format!(", {pruned} pruned"));
            }
        }
        if !stats.indexes.is_empty() {
            line.push_str(&format!("; indexes: {}", stats.indexes.join(", ")));
        }
        self.add(depth, line);
    }

    fn class(&mut self, class: &SegmentClass, depth: usize) {
        let SegmentClass {
            table,
            segments,
            rows,
            consuming,
            ..
        } = class;
        let mut line = format!("{table}: {}", counted(*segments, "segment"));
        if *consuming {
            line.push_str(" (consuming)");
        }
        line.push_str(&format!(", {}: {}", counted(*rows, "row"), class.outcome));
        if self.analyzed && class.blocks > 0 && !class.steps.is_empty() {
            let skipped = class.blocks - class.blocks_read.min(class.blocks);
            let (skipped, blocks) = (grouped(skipped), grouped(class.blocks));
            line.push_str(&format!("; {skipped} of {blocks} blocks skipped"));
        }
        self.add(depth, line);
        let what = match class.outcome == filter_outcome::SUMMED {
            true => "records",
            false => "rows",
        };
        for step in &class.steps {
            self.step(step, what, depth + 1 + step.depth as usize);
        }
    }

    /// `what` the step keeps.
    fn step(&mut self, step: &PredicateStep, what: &str, depth: usize) {
        let PredicateStep {
            access, predicate, ..
        } = step;
        let about = grouped(step.estimated);
        let mut line = match access.is_empty() {
            true => format!("{predicate}: about {about} {what}"),
            false => format!("{access}: {predicate}: about {about} {what}"),
        };
        if self.analyzed {
            let (kept, given) = (grouped(step.kept), grouped(step.given));
            line.push_str(&format!(", kept {kept} of {given}"));
        }
        self.add(depth, line);
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// With a comma for every thousand.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_told_apart() {
        let texts = [0, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345,678"]);
    }
}
