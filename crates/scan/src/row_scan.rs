//! Rows of a scan as batches: made by several workers, handed over through a bounded queue.
//!
//! Workers stop where they are once enough rows were found or nobody reads on. Batches come in any
//! order. Work that is known to be short is done where it is asked for, without another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use runtime::compute::Turn;
use segment::SegmentView;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::columns::{Source, batch, external, source};
use crate::filter::{Filters, SegmentFilter};
use crate::gather::gather;
use crate::morsels::Morsels;
use crate::predicate::{Compiler, Inputs};
use crate::scan_exec::ServerScanExec;
use crate::stats::Counters;

/// Blocks with fewer rows than this left are put together.
const BATCH_ROWS_MIN: usize = 1024;
const BATCH_ROWS: usize = 4096;

/// Batches that wait for the reader, for each worker.
const QUEUE: usize = 4;

/// Whether the reader wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Reads,
    Left,
}

/// Where batches go.
#[derive(Debug)]
enum Output {
    Kept(Mutex<Vec<RecordBatch>>),
    Sent(mpsc::Sender<RecordBatch>),
}

impl Output {
    fn put(&self, turn: &mut Turn, batch: RecordBatch) -> Reader {
        match self {
            Self::Kept(kept) => {
                kept.lock().push(batch);
                Reader::Reads
            }
            Self::Sent(queue) => match queue.try_send(batch) {
                Ok(()) => Reader::Reads,
                Err(TrySendError::Closed(_)) => Reader::Left,
                Err(TrySendError::Full(batch)) => match turn.aside(|| queue.blocking_send(batch)) {
                    Ok(()) => Reader::Reads,
                    Err(_) => Reader::Left,
                },
            },
        }
    }
}

pub(crate) fn rows(scan: Arc<ServerScanExec>) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let batches = async move {
        // Told only if this way is taken.
        let counters = Counters::default();
        let job = RowScan::new(&scan, &counters, Output::Kept(Mutex::default()));
        if let Some(batches) = job.here()? {
            scan.shared.counters.add(&counters);
            return Ok::<_, DataFusionError>(stream::iter(batches).map(Ok).boxed());
        }
        drop(counters);
        Ok(on_workers(scan).boxed())
    };
    stream::once(batches).try_flatten()
}

fn on_workers(scan: Arc<ServerScanExec>) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let shared = Arc::clone(&scan.shared);
    let (queue, batches) = mpsc::channel(QUEUE * shared.threads());
    let job = async move {
        let job = move |turn: &mut Turn| {
            let counters = &scan.shared.counters;
            RowScan::new(&scan, counters, Output::Sent(queue)).run(turn)
        };
        shared.turns.run(job).await.map_err(external)?
    };
    let end = stream::once(job).try_filter_map(|()| async { Ok(None) });
    let batches = stream::unfold(batches, |mut batches| async move {
        let batch = batches.recv().await?;
        Some((Ok(batch), batches))
    });
    stream::select(batches, end)
}

struct RowScan<'a> {
    scan: &'a ServerScanExec,
    counters: &'a Counters,
    filters: Filters<'a>,
    morsels: Morsels,
    /// Rows that are still wanted.
    left: AtomicUsize,
    output: Output,
}

/// A worker in one segment.
struct Segment<'s> {
    filter: &'s SegmentFilter<'s>,
    columns: Vec<OutputColumn<'s>>,
    /// Rows that were found and not yet put out.
    pending: Vec<u32>,
}

struct OutputColumn<'s> {
    sources: Vec<Source<'s>>,
    /// What is made of them; `None`: there is one, and it is the column.
    computed: Option<Inputs>,
}

impl OutputColumn<'_> {
    /// From the values that each source has for so many rows.
    fn made(&self, rows: usize, of: impl Fn(&Source<'_>) -> Result<ArrayRef>) -> Result<ArrayRef> {
        let Some(inputs) = &self.computed else {
            return of(&self.sources[0]);
        };
        let columns = self.sources.iter().map(of).collect::<Result<_>>()?;
        let batch = batch(&inputs.schema, columns, rows)?;
        inputs.expr.evaluate(&batch)?.into_array(rows)
    }
}

impl<'a> RowScan<'a> {
    fn new(scan: &'a ServerScanExec, counters: &'a Counters, output: Output) -> Self {
        let options = &scan.shared.options;
        let ServerScanExec {
            description,
            spec,
            segments,
            ..
        } = scan;
        Self {
            scan,
            counters,
            filters: Filters::new(description, spec, segments, options, counters),
            morsels: Morsels::new(&scan.segments, scan.shared.morsel_blocks()),
            left: AtomicUsize::new(scan.description.fetch.unwrap_or(usize::MAX)),
            output,
        }
    }

    /// All of it, if it is known to be short.
    fn here(self) -> Result<Option<Vec<RecordBatch>>> {
        if !self.is_short()? {
            return Ok(None);
        }
        self.filters.see_empty()?;
        self.work(&mut self.scan.shared.turns.here())?;
        match self.output {
            Output::Kept(kept) => Ok(Some(kept.into_inner())),
            Output::Sent(_) => Ok(None),
        }
    }

    fn is_short(&self) -> Result<bool> {
        let here_max = self.scan.shared.rows_here_max();
        let is_few = |rows: u64| rows <= here_max;
        let description = &self.scan.description;
        if is_few(self.scan.rows()) {
            return Ok(true);
        }
        if description.filters.is_empty() {
            return Ok(description.fetch.is_some_and(|fetch| is_few(fetch as u64)));
        }
        self.filters.few_match(here_max)
    }

    fn run(&self, turn: &mut Turn) -> Result<()> {
        self.filters.see_empty()?;
        let workers = self.scan.shared.workers(self.scan.rows());
        let ends = turn.split(workers, |turn| self.work(turn));
        ends.into_iter().collect()
    }

    fn work(&self, turn: &mut Turn) -> Result<()> {
        let mut current: Option<(usize, Option<Segment<'_>>)> = None;
        while self.left.load(Ordering::Relaxed) > 0 {
            let at = current.as_ref().map(|(at, _)| *at);
            let Some(morsel) = self.morsels.next(at) else {
                break;
            };
            let suspects = &self.scan.shared.suspects;
            let _reading = suspects.reading(&self.scan.segments[morsel.segment]);
            if at != Some(morsel.segment) {
                if let Some((_, Some(mut last))) = current.take()
                    && self.flush(turn, &mut last)? == Reader::Left
                {
                    return Ok(());
                }
                current = Some((morsel.segment, self.enter(morsel.segment)?));
            }
            let Some((_, Some(segment))) = &mut current else {
                continue;
            };
            if self.blocks(turn, segment, morsel.blocks)? == Reader::Left {
                return Ok(());
            }
        }
        if let Some((_, Some(mut last))) = current {
            self.flush(turn, &mut last)?;
        }
        Ok(())
    }

    fn enter(&self, at: usize) -> Result<Option<Segment<'_>>> {
        let scan = self.scan;
        let view: &SegmentView = &scan.segments[at];
        let Some(filter) = self.filters.of(at)? else {
            return Ok(None);
        };
        let columns = match scan.computed() {
            None => self.plain_columns(view)?,
            Some(computed) => self.computed_columns(view, computed)?,
        };
        Ok(Some(Segment {
            filter,
            columns,
            pending: Vec::new(),
        }))
    }

    fn plain_columns<'s>(&self, view: &'s SegmentView) -> Result<Vec<OutputColumn<'s>>> {
        let ServerScanExec {
            description, spec, ..
        } = self.scan;
        let columns = self.scan.schema().fields().iter().map(|field| {
            Ok(OutputColumn {
                sources: vec![source(view, spec, field, description.null_mode)?],
                computed: None,
            })
        });
        columns.collect()
    }

    fn computed_columns<'s>(
        &self,
        view: &'s SegmentView,
        computed: &[Arc<dyn PhysicalExpr>],
    ) -> Result<Vec<OutputColumn<'s>>> {
        let ServerScanExec {
            description,
            spec,
            shared,
            ..
        } = self.scan;
        let compiler = Compiler {
            view,
            spec,
            table_schema: &description.table_schema,
            null_mode: description.null_mode,
            options: &shared.options,
            counters: self.counters,
        };
        let columns = computed.iter().map(|output| {
            let (inputs, sources) = compiler.inputs(output)?;
            Ok(OutputColumn {
                sources,
                computed: Some(inputs),
            })
        });
        columns.collect()
    }

    fn blocks(
        &self,
        turn: &mut Turn,
        segment: &mut Segment<'_>,
        blocks: std::ops::Range<u32>,
    ) -> Result<Reader> {
        let mut rows = Vec::new();
        let mut found = segment.filter.blocks(blocks);
        while let Some((start, mask)) = found.next(turn)? {
            mask.collect_into(&mut rows);
            rows.truncate(self.take(rows.len()));
            if rows.is_empty() {
                return Ok(Reader::Reads);
            }
            if rows.len() < BATCH_ROWS_MIN {
                segment.pending.extend(rows.iter().map(|row| start + row));
                if segment.pending.len() >= BATCH_ROWS && self.flush(turn, segment)? == Reader::Left
                {
                    return Ok(Reader::Left);
                }
                continue;
            }
            let picked = (rows.len() < mask.len as usize).then_some(rows.as_slice());
            let columns = segment.columns.iter().map(|column| {
                column.made(rows.len(), |source| source.array(start, mask.len, picked))
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let made = batch(self.scan.schema(), columns, rows.len())?;
            if self.put(turn, segment.filter, made) == Reader::Left {
                return Ok(Reader::Left);
            }
        }
        Ok(Reader::Reads)
    }

    /// How many of so many rows are still wanted.
    fn take(&self, rows: usize) -> usize {
        let update = |left: usize| Some(left.saturating_sub(rows));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        left.unwrap_or(0).min(rows)
    }

    fn flush(&self, turn: &mut Turn, segment: &mut Segment<'_>) -> Result<Reader> {
        if segment.pending.is_empty() {
            return Ok(Reader::Reads);
        }
        let pending = &segment.pending;
        let columns = segment.columns.iter();
        let columns =
            columns.map(|column| column.made(pending.len(), |source| gather(source, pending)));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let made = batch(self.scan.schema(), columns, segment.pending.len())?;
        segment.pending.clear();
        Ok(self.put(turn, segment.filter, made))
    }

    fn put(&self, turn: &mut Turn, filter: &SegmentFilter<'_>, batch: RecordBatch) -> Reader {
        let rows = batch.num_rows() as u64;
        filter.count(rows, rows * batch.num_columns() as u64);
        self.output.put(turn, batch)
    }
}
