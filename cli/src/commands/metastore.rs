//! `tannin metastore`: all metadata as text, back into an empty store, and whether it fits together.
//!
//! The store is opened as a controller opens it. A file of SQLite is opened by one process only:
//! the node must be stopped. With PostgreSQL controllers may go on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use deepstore::DeepStore;
use metastore::MetaStore;
use metastore::catalog::{Catalog, Checked, WantedObject, check};
use metastore::dump::{self, Dump};
use runtime::settings::{Layers, MetastoreKind, Settings};
use runtime::{Clock, ComputePool, Files, OsFiles, SystemClock, files};

use super::start;
use crate::args::{MetastoreAction, StoreArgs};
use crate::data_dir::DataDir;
use crate::exit::Exit;
use crate::{metadata, units};

const FILE: &str = "metastore.db";
/// Faults that are shown; the rest is counted.
const FAULTS_SHOWN: usize = 100;

pub(crate) async fn run(action: MetastoreAction) -> Result<()> {
    match action {
        MetastoreAction::Export { to, store } => export(&store, to.as_deref()).await,
        MetastoreAction::Import { file, store } => import(&store, &file).await,
        MetastoreAction::Check { files, store } => verify(&store, files).await,
    }
}

/// An open store, with what keeps others from it.
struct Opened {
    settings: Settings,
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    _dir: Option<DataDir>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// What a controller has left.
    Filled,
    Empty,
}

async fn open(args: &StoreArgs, wanted: Wanted) -> Result<Opened> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        layers.file(&path.display().to_string(), &start::read(path)?);
    }
    let mut flags = args.set.clone();
    let dir = args.data_dir.iter();
    flags.extend(dir.map(|dir| format!("node.data_dir={}", dir.display())));
    let settings = start::finish(layers, &flags)?;
    let clock = SystemClock::shared();
    let dir = match settings.metastore.kind {
        MetastoreKind::Postgres => None,
        MetastoreKind::Sqlite => {
            let folder = &settings.node.data_dir;
            if wanted == Wanted::Filled && !folder.join(FILE).is_file() {
                let what = format!("there is no metadata in `{}`", folder.display());
                return Err(Exit::usage(format!(
                    "{what}; name it with --data-dir or --config"
                )));
            }
            Some(DataDir::open(folder)?)
        }
    };
    let file = dir.as_ref().map(|dir| dir.join(FILE)).unwrap_or_default();
    let store = metadata::open(&settings.metastore, &file, Arc::clone(&clock)).await?;
    Ok(Opened {
        settings,
        store,
        clock,
        _dir: dir,
    })
}

async fn export(args: &StoreArgs, to: Option<&Path>) -> Result<()> {
    let opened = open(args, Wanted::Filled).await?;
    let catalog = Catalog::new(Arc::clone(&opened.store));
    let dump = Dump::of(&catalog, &*opened.store, opened.clock.now_ms()).await?;
    let Some(to) = to else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        return dump.write(&mut out).context("cannot write the dump");
    };
    OsFiles
        .write_new(to, "metadata", &mut |out| {
            dump.write(&mut BufWriter::new(out))
        })
        .with_context(|| format!("cannot write `{}`", to.display()))?;
    let entries = units::grouped(dump.header.entries as u64);
    let (cluster, revision) = (dump.header.cluster, dump.header.revision);
    println!("{entries} entries of cluster {cluster}, as of revision {revision}");
    Ok(())
}

async fn import(args: &StoreArgs, file: &Path) -> Result<()> {
    let opened = open(args, Wanted::Empty).await?;
    let dump = File::open(file)
        .map_err(|error| Exit::usage(format!("cannot read `{}`: {error}", file.display())))?;
    let header = dump::import(&*opened.store, &mut BufReader::new(dump)).await?;
    let entries = units::grouped(header.entries as u64);
    println!(
        "{entries} entries of cluster {} are in the store",
        header.cluster
    );
    Ok(())
}

async fn verify(args: &StoreArgs, files: bool) -> Result<()> {
    let opened = open(args, Wanted::Filled).await?;
    let (entries, revision) = opened.store.range("/").await?;
    let mut checked = check(&entries);
    if files {
        let faults = check_objects(&opened.settings, &checked.objects).await?;
        checked.faults.extend(faults);
    }
    show(&checked, files, revision)
}

fn show(checked: &Checked, files: bool, revision: u64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for fault in checked.faults.iter().take(FAULTS_SHOWN) {
        writeln!(out, "{fault}")?;
    }
    let number = |count: usize| units::grouped(count as u64);
    let (tables, segments) = (number(checked.tables), number(checked.segments));
    let looked = match files {
        true => format!(
            ", {} objects of the deep store",
            number(checked.objects.len())
        ),
        false => String::new(),
    };
    let tasks = number(checked.tasks);
    let what = format!("{tables} tables, {segments} segments, {tasks} tasks{looked}");
    match checked.faults.len() {
        0 => {
            writeln!(out, "all fits together as of revision {revision}: {what}")?;
            Ok(())
        }
        faults => bail!("{} faults in {what}", number(faults)),
    }
}

/// Every segment's object is there, with its size.
async fn check_objects(settings: &Settings, wanted: &[WantedObject]) -> Result<Vec<String>> {
    let folder = match settings.deepstore.path.as_str() {
        "" => settings.node.data_dir.join("deepstore"),
        path => Path::new(path).to_owned(),
    };
    let deep = DeepStore::local(&folder, files::shared(), ComputePool::new(1))?;
    let listed = deep.list("").await?;
    let there: HashMap<&str, u64> = listed
        .iter()
        .map(|object| (object.key.as_str(), object.bytes))
        .collect();
    let wrong = wanted.iter().filter_map(|object| {
        let WantedObject {
            key,
            bytes,
            segment,
        } = object;
        match there.get(key.as_str()) {
            None => Some(format!(
                "`{key}` of segment `{segment}` is not in the deep store"
            )),
            Some(found) if found != bytes => Some(format!(
                "`{key}` of segment `{segment}` has {found} bytes in the deep store, not {bytes}"
            )),
            Some(_) => None,
        }
    });
    Ok(wrong.collect())
}
