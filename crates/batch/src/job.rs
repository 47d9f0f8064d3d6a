//! A whole import: goes of files on all cores, their segments on their way meanwhile, and the end
//! that makes them count.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ingest::files::{FileRows, fields_of};
use schemas::segment::SegmentRecord;
use schemas::{Fault, Sequence, TableSpec};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::build::{Built, Line, Piece, SEGMENT_ROWS_MAX, Unit, build};
use crate::finished::{Finished, GoKey};
use crate::join::{Go, Joining};
use crate::remote::local_path;
use crate::{Begun, Done, ImportError, Job, Progress, Target, Workshop, lanes};

/// Goes that are looked into before their rows are wanted.
const OPENED_AHEAD: usize = 2;
/// Files of a go that are fetched at once.
const FETCHED_AT_ONCE: usize = 8;

/// Imports all sources. On an error nothing of them counts; the same job goes on later.
pub async fn run(
    job: &Job,
    target: &Arc<dyn Target>,
    workshop: &Workshop,
    progress: &Arc<Progress>,
) -> Result<Done, ImportError> {
    run_joining(job, target, (workshop, progress), Joining::default()).await
}

pub(crate) async fn run_joining(
    job: &Job,
    target: &Arc<dyn Target>,
    (workshop, progress): (&Workshop, &Arc<Progress>),
    joining: Joining,
) -> Result<Done, ImportError> {
    let bytes = job.sources.iter().map(|source| source.bytes).sum();
    progress.bytes_total.store(bytes, Ordering::Relaxed);
    let mut begun = target.begin(&job.key, job.mode).await?;
    if begun.is_done {
        return Ok(Done {
            was_done: true,
            ..Done::default()
        });
    }
    if job.start_over && !begun.segments.is_empty() {
        target.revert(begun.id).await?;
        begun = target.begin(&job.key, job.mode).await?;
    }
    let run = Run {
        job,
        import: begun.id,
        spec: Arc::new(begun.spec.clone()),
        reader: Uuid::new_v4(),
        target,
        workshop,
        progress,
        joining,
    };
    let (done, names) = run.all(&begun).await?;
    if done.rows == 0 {
        target.revert(begun.id).await?;
        let files = job.sources.len();
        return Err(ImportError::Nothing { files });
    }
    target.end(begun.id, names).await?;
    Ok(done)
}

struct Run<'a> {
    job: &'a Job,
    import: Uuid,
    spec: Arc<TableSpec>,
    /// Of this attempt.
    reader: Uuid,
    target: &'a Arc<dyn Target>,
    workshop: &'a Workshop,
    progress: &'a Arc<Progress>,
    joining: Joining,
}

impl Run<'_> {
    async fn all(&self, begun: &Begun) -> Result<(Done, BTreeSet<String>), ImportError> {
        let finished = &Finished::of(&begun.segments);
        let threads = self.workshop.compute.threads();
        let (sources, format) = (&self.job.sources, self.job.format);
        let goes = self.joining.goes(sources, format, finished, threads);
        // All of them at first, but nothing is done before it is wanted.
        let opening = goes.iter().map(|go| self.open(go, finished));
        let opening: Vec<_> = opening.collect();
        let opened = stream::iter(opening).buffered(OPENED_AHEAD);
        let units = opened
            .map_ok(|units| stream::iter(units).map(Ok))
            .try_flatten();
        let (mut done, mut names) = (Done::default(), BTreeSet::new());
        let mut built = units
            .map_ok(|unit| async move {
                match finished.segments(&unit.key) {
                    Some(kept) => Ok(self.kept(&unit, kept)),
                    None => self.unit(unit).await,
                }
            })
            .try_buffer_unordered(threads);
        while let Some((of_unit, unit_names)) = built.try_next().await? {
            done.add(of_unit);
            names.extend(unit_names);
        }
        done.files = sources.len() as u64;
        Ok((done, names))
    }

    /// What an earlier attempt has made of it.
    fn kept(&self, unit: &Unit, kept: &[&SegmentRecord]) -> (Done, Vec<String>) {
        let mut done = Done::default();
        for record in kept {
            done.count(record.ledger.rows, record.ledger.filtered);
            done.bytes += record.stored_bytes;
            done.kept += 1;
        }
        let bytes = unit.pieces.iter().map(|piece| piece.bytes).sum();
        self.progress.add_rows(done.rows);
        self.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let names = kept.iter().map(|record| record.name.clone()).collect();
        (done, names)
    }

    /// What is read at once of a go, each by one thread.
    async fn open(&self, go: &Go<'_>, finished: &Finished<'_>) -> Result<Vec<Unit>, ImportError> {
        let is_joined = go.is_joined;
        let key = go.key(0);
        if is_joined && finished.segments(&key).is_some() {
            // Nothing of it is read again.
            let bytes = go.sources.iter().map(|source| source.bytes).sum();
            self.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
            let pieces = Vec::new();
            return Ok(vec![Unit { key, pieces }]);
        }
        let fetching = go.sources.iter().map(|source| async move {
            let (path, fetched) = local_path(source, self.workshop).await?;
            Ok::<_, ImportError>((path, fetched.map(Arc::new), source.bytes))
        });
        let fetching: Vec<_> = fetching.collect();
        let fetched = stream::iter(fetching).buffered(FETCHED_AT_ONCE);
        let fetched: Vec<_> = fetched.try_collect().await?;
        let (format, csv) = (self.job.format, self.job.csv.clone());
        let spec = Arc::clone(&self.spec);
        let expressions = Arc::clone(&self.workshop.expressions);
        let now_ms = self.workshop.clock.now_ms();
        let open = move || {
            let fields = fields_of(&spec, expressions.as_ref()).map_err(Fault::invalid)?;
            let mut pieces = Vec::new();
            for (path, fetched, bytes) in fetched {
                let file = FileRows::open_with(&path, format, csv.as_ref())?;
                fits(&file, fields.as_deref(), &spec)?;
                let parts = file.parts(u64::from(SEGMENT_ROWS_MAX))?;
                let bytes = bytes / parts.len().max(1) as u64;
                let file = Arc::new(file);
                pieces.extend(parts.into_iter().map(|part| Piece {
                    file: Arc::clone(&file),
                    _fetched: fetched.clone(),
                    part,
                    bytes,
                    lane: None,
                }));
            }
            if is_joined {
                lanes::sort(&mut pieces, (&spec, expressions.as_ref()), now_ms)?;
                return Ok(vec![Unit { key, pieces }]);
            }
            let unit = |(piece, part)| Unit {
                key: GoKey {
                    part,
                    ..key.clone()
                },
                pieces: vec![piece],
            };
            Ok(pieces.into_iter().zip(0..).map(unit).collect())
        };
        self.workshop.compute.run(open).await?
    }

    /// Builds a unit on a thread of the pool, while its segments are sent.
    async fn unit(&self, unit: Unit) -> Result<(Done, Vec<String>), ImportError> {
        let (mut line, mut take) = sending(self.target, self.import);
        let (spec, reader) = (Arc::clone(&self.spec), self.reader);
        let (workshop, progress) = (self.workshop.clone(), Arc::clone(self.progress));
        let job = move || build(&unit, &spec, reader, (&workshop, &progress), &mut line);
        let building = async { self.workshop.compute.run_behind(job).await? };
        let sending = async {
            let (mut done, mut names) = (Done::default(), Vec::new());
            while let Some(Built { record, packed }) = take.recv().await {
                done.count(record.ledger.rows, record.ledger.filtered);
                done.bytes += packed.len() as u64;
                let adding = self.target.add(self.import, record, Bytes::from(packed));
                names.push(adding.await?);
            }
            // Closed first: a builder that still has something stops.
            take.close();
            Ok::<_, ImportError>((done, names))
        };
        let ((), sent) = futures::try_join!(building, sending)?;
        Ok(sent)
    }
}

/// A column of the file that the table does not take would be lost without a word.
fn fits(file: &FileRows, fields: Option<&[String]>, spec: &TableSpec) -> Result<(), ImportError> {
    let Some(fields) = fields else {
        return Ok(());
    };
    let foreign = file.columns.iter().map(|column| &column.name);
    let foreign: Vec<&str> = foreign
        .filter(|name| !fields.contains(name))
        .map(String::as_str)
        .collect();
    match foreign.is_empty() {
        true => Ok(()),
        false => Err(ImportError::Columns {
            table: spec.name.to_string(),
            columns: foreign.join(", "),
        }),
    }
}

/// From a thread of the pool to whoever sends.
pub(crate) fn sending(
    target: &Arc<dyn Target>,
    import: Uuid,
) -> (impl Line + use<>, mpsc::Receiver<Built>) {
    let (give, take) = mpsc::channel(1);
    let line = Sending {
        target: Arc::clone(target),
        import,
        runtime: Handle::current(),
        give,
    };
    (line, take)
}

struct Sending {
    target: Arc<dyn Target>,
    import: Uuid,
    runtime: Handle,
    give: mpsc::Sender<Built>,
}

impl Line for Sending {
    fn next_sequence(&mut self) -> Result<Sequence, ImportError> {
        Ok(self.runtime.block_on(self.target.reserve(self.import))?)
    }

    fn hand_on(&mut self, built: Built) -> Result<(), ImportError> {
        self.give
            .blocking_send(built)
            .map_err(|_| ImportError::GivenUp)
    }
}

impl Done {
    fn count(&mut self, rows: u64, filtered: u64) {
        self.rows += rows;
        self.filtered += filtered;
        self.segments += 1;
    }

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.filtered += other.filtered;
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.files += other.files;
        self.kept += other.kept;
    }
}
