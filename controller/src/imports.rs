//! Imports that minions carry out: ordered here as tasks, step by step told here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemas::cluster::TableState;
use schemas::decoding::CsvSpec;
use schemas::pinot::csv_reader;
use schemas::proto::import_request::Step;
use schemas::proto::{BeginImport, ImportReply, ImportRequest};
use schemas::segment::SegmentRecord;
use schemas::task::{ImportOrder, StagedFile, Task, TaskKind, Trigger, task_of_replacement};
use schemas::{Fault, TableId, TableType};
use uuid::Uuid;

use crate::background::done_before;
use crate::replacements::Wanted;
use crate::state::State;

const POLL: Duration = Duration::from_millis(50);

/// What a batch config of Pinot says that changes nothing here: how a job is run there.
const WITHOUT_MEANING: [&str; 10] = [
    // The format says which reader.
    "recordreader.classname",
    "recordreader.configclassname",
    "taskname",
    "input.fs.",
    "input.filename",
    "push.",
    "overwriteoutput",
    "segmentnamegenerator.",
    "includefilenamepattern",
    "tabletype",
];

/// A task that was ordered.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
    pub(crate) task: Uuid,
    pub(crate) table: String,
    /// Options that nobody knows.
    pub(crate) unknown: Vec<String>,
}

impl State {
    /// Orders an import of files into an OFFLINE table. Options are those of Pinot's batch configs,
    /// in lower case.
    pub(crate) async fn submit_import(
        &self,
        table: &str,
        uris: Vec<String>,
        staged: Vec<StagedFile>,
        options: &HashMap<String, String>,
    ) -> Result<Submitted, Fault> {
        let table = self.offline_part(table)?;
        for uri in &uris {
            check_uri(uri)?;
        }
        if uris.is_empty() && staged.is_empty() {
            return Err(Fault::invalid("no file is named"));
        }
        let Options {
            format,
            refresh,
            csv,
            unknown,
        } = of_options(options)?;
        let name = table.spec.physical_name();
        let order = ImportOrder {
            table: table.spec.id,
            table_name: name.clone(),
            uris,
            staged,
            format,
            refresh,
            csv,
        };
        let task = Task {
            submitted_ms: self.clock.now_ms(),
            trigger: Trigger::Adhoc,
            ..Task::new(TaskKind::ImportFiles(order))
        };
        self.catalog.put_task(&task).await?;
        Ok(Submitted {
            task: task.id,
            table: name,
            unknown,
        })
    }

    /// Puts a file where minions find it.
    pub(crate) async fn stage(&self, name: String, content: Bytes) -> Result<StagedFile, Fault> {
        let key = ImportOrder::staged_key(Uuid::new_v4());
        self.deep.upload(&key, content).await?;
        Ok(StagedFile { key, name })
    }

    /// What a task came to: its summary, or why it failed.
    pub(crate) async fn task_result(&self, id: Uuid, patience: Duration) -> Result<String, Fault> {
        let deadline = self.clock.monotonic() + patience;
        loop {
            let task = self.catalog.task(id).await?;
            let task = task.ok_or_else(|| Fault::not_found(format!("task {id} is forgotten")))?;
            if task.is_over() {
                return match task.last_error.is_empty() {
                    true => Ok(task.summary),
                    false => Err(Fault::invalid(task.last_error)),
                };
            }
            if self.clock.monotonic() >= deadline {
                return Err(not_done(&task));
            }
            self.clock.sleep(POLL).await;
        }
    }

    pub(crate) async fn import_step(&self, request: ImportRequest) -> Result<ImportReply, Fault> {
        let missing = || Fault::invalid("the request has no table, or no step");
        let id = TableId::from_bytes(&request.table_id).ok_or_else(missing)?;
        let table = self.table(id);
        let table = table.filter(|table| table.spec.table_type == TableType::Offline);
        let table = table.ok_or_else(|| Fault::not_found("the OFFLINE table does not exist"))?;
        let step = request.step.ok_or_else(missing)?;
        if let Step::Begin(begin) = step {
            return self.begin_import(&table, begin).await;
        }
        let import = Uuid::from_slice(&request.import_id)
            .map_err(|error| Fault::invalid(format!("an import has 16 bytes: {error}")))?;
        let mut reply = ImportReply::default();
        match step {
            Step::Begin(_) => {}
            Step::Reserve(_) => {
                self.lineage(id).await?.find(import)?;
                reply.sequence = self.catalog.reserve_sequences(id, 1).await?;
            }
            Step::Add(record) => {
                let record: SegmentRecord = serde_json::from_slice(&record)
                    .map_err(|error| Fault::invalid(format!("no record: {error}")))?;
                if record.id.table != id || !record.is_done() {
                    return Err(Fault::invalid("the segment is not one of the table"));
                }
                reply.segment = self.add_replacing_segment(import, record).await?.name;
            }
            Step::End(end) => {
                let segments: BTreeSet<String> = end.segments.into_iter().collect();
                self.end_replacement(&table, import, Some(segments)).await?;
            }
            Step::Revert(_) => self.revert_replacement(&table, import, true).await?,
        }
        Ok(reply)
    }

    async fn begin_import(
        &self,
        table: &Arc<TableState>,
        begin: BeginImport,
    ) -> Result<ImportReply, Fault> {
        let of_task = task_of_replacement(&begin.key);
        let task = match of_task {
            Some(id) => self.catalog.task(id).await?.map(|task| task.kind),
            None => None,
        };
        // Whoever had it before has done it, and was not heard.
        let before = done_before(&self.lineage(table.spec.id).await?, &begin.key);
        if let Some(done) = before.filter(|_| of_task.is_some()) {
            return Ok(ImportReply {
                import_id: done.as_bytes().to_vec().into(),
                ..ImportReply::default()
            });
        }
        let wanted = match (of_task, task) {
            (Some(id), Some(TaskKind::Rewrite(_))) => Wanted::Rewrite {
                key: begin.key,
                order: self.open_rewrite(id).await?,
            },
            _ => Wanted::Import {
                key: begin.key,
                refresh: begin.refresh.unwrap_or(table.spec.batch.refresh),
            },
        };
        let begun = self.start_replacement(table, wanted).await?;
        let stored = self.catalog.segments(table.spec.id).await?.into_iter();
        let come = stored.filter(|one| begun.to.contains(&one.record.name));
        let json = |error| Fault::internal(format!("it is no JSON: {error}"));
        let segments = come.map(|one| Ok(serde_json::to_vec(&one.record).map_err(json)?.into()));
        Ok(ImportReply {
            import_id: begun.id.as_bytes().to_vec().into(),
            spec: serde_json::to_vec(&table.spec).map_err(json)?.into(),
            segments: segments.collect::<Result<_, Fault>>()?,
            ..ImportReply::default()
        })
    }
}

fn not_done(task: &Task) -> Fault {
    let said = match (task.last_error.as_str(), task.summary.as_str()) {
        ("", "") => "no minion has begun it".to_owned(),
        ("", summary) => summary.to_owned(),
        (error, _) => format!("it failed and will be tried again: {error}"),
    };
    let id = task.id;
    Fault::timeout(format!(
        "import {id} is not done yet ({said}); `SELECT * FROM sys.tasks` tells of it"
    ))
}

/// Whether it may be read is said by whoever reads it.
fn check_uri(uri: &str) -> Result<(), Fault> {
    const SCHEMES: [&str; 7] = [
        "/", "file:/", "https://", "http://", "s3://", "gs://", "az://",
    ];
    match SCHEMES.iter().any(|scheme| uri.starts_with(scheme)) {
        true => Ok(()),
        false => Err(Fault::invalid(format!(
            "`{uri}` cannot be read here: write /path, file:///path, https://host/path or \
             s3://bucket/key"
        ))),
    }
}

/// What a job's config says.
struct Options {
    format: Option<String>,
    refresh: Option<bool>,
    csv: Option<CsvSpec>,
    unknown: Vec<String>,
}

/// Options of the reader begin so.
const READER: &str = "recordreader.prop.";

fn of_options(options: &HashMap<String, String>) -> Result<Options, Fault> {
    let (mut format, mut refresh, mut unknown) = (None, None, Vec::new());
    let reader = options.iter().filter_map(|(key, value)| {
        let key = key.strip_prefix(READER)?;
        Some((key, value.as_str()))
    });
    let csv = csv_reader(reader)?;
    for (key, value) in options {
        match key.as_str() {
            "inputformat" => format = Some(value.to_lowercase()),
            "segmentingestiontype" => {
                refresh = Some(match value.to_uppercase().as_str() {
                    "APPEND" => false,
                    "REFRESH" => true,
                    _ => {
                        return Err(Fault::invalid(format!(
                            "{key}: `{value}` is neither APPEND nor REFRESH"
                        )));
                    }
                });
            }
            reader if reader.starts_with(READER) => {}
            other if WITHOUT_MEANING.iter().any(|known| other.starts_with(known)) => {}
            _ => unknown.push(key.clone()),
        }
    }
    unknown.sort();
    Ok(Options {
        format,
        refresh,
        csv,
        unknown,
    })
}
