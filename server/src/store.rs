//! The segment files on this machine: `segments/<table>/<partition>/<sequence>-<crc>.seg`, beside
//! them sidecars with later indexes: `<sequence>-<crc>.a.idx` or `.b.idx`, in turns.
//!
//! Invariants: a file is used only when its checksum is the one that the metadata names; a damaged
//! file is moved to `segments/quarantine` and never read again. A damaged sidecar is removed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deepstore::{DeepStore, DeepStoreError};
use prometheus::IntCounter;
use runtime::{Clock, ComputePool, Files};
use schemas::segment::SegmentRecord;
use schemas::{Fault, FaultKind, SegmentId, TableId, TableSpec};
use segment::{Extent, SealedSegment, SegmentError};
use tempfile::TempPath;
use tokio::sync::Mutex;

use crate::Config;
use crate::indexes::write_sidecar;
use crate::metrics::ServerMetrics;
use crate::peers::Peers;

const QUARANTINE: &str = "quarantine";
/// Damaged files that are kept, the newest.
const QUARANTINED_MAX: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) folder: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) deep: DeepStore,
    pub(crate) peers: Peers,
    pub(crate) compute: ComputePool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) downloads: IntCounter,
    pub(crate) peer_downloads: IntCounter,
    pub(crate) quarantined: IntCounter,
    pub(crate) dropped_sidecars: IntCounter,
    /// Whose turn it is to write a sidecar: two loads of a segment would write the same file.
    pub(crate) sidecar_turn: Arc<Mutex<()>>,
}

pub(crate) fn segment_fault(error: &SegmentError) -> Fault {
    Fault::from_chain(FaultKind::Internal, error)
}

pub(crate) fn io_fault(action: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::internal(format!("cannot {action} `{}`: {error}", path.display()))
}

impl Store {
    pub(crate) fn new(
        config: &Config,
        files: &Arc<dyn Files>,
        deep: &DeepStore,
        compute: &ComputePool,
        clock: &Arc<dyn Clock>,
        metrics: &ServerMetrics,
        peers: Peers,
    ) -> Self {
        Self {
            folder: config.data_dir.join("segments"),
            files: Arc::clone(files),
            deep: deep.clone(),
            compute: compute.clone(),
            clock: Arc::clone(clock),
            downloads: metrics.downloads.clone(),
            peers,
            peer_downloads: metrics.peer_downloads.clone(),
            quarantined: metrics.quarantined.clone(),
            dropped_sidecars: metrics.dropped_sidecars.clone(),
            sidecar_turn: Arc::default(),
        }
    }

    /// Where the segments of a partition lie.
    pub(crate) fn partition_folder(&self, id: SegmentId) -> PathBuf {
        let table = self.folder.join(id.table.to_string());
        table.join(id.partition.to_string())
    }

    pub(crate) fn path(&self, id: SegmentId, crc: u32) -> PathBuf {
        let name = format!("{}-{crc:08x}.seg", id.sequence);
        self.partition_folder(id).join(name)
    }

    /// Where its sidecars are: a new one comes beside the old one, which then goes.
    fn sidecars(&self, id: SegmentId, crc: u32) -> [PathBuf; 2] {
        let path = self.path(id, crc);
        ["a.idx", "b.idx"].map(|ending| path.with_extension(ending))
    }

    /// The segment's file, and its sidecars if it has some.
    pub(crate) fn paths(&self, id: SegmentId, crc: u32) -> Vec<PathBuf> {
        let mut paths = vec![self.path(id, crc)];
        paths.extend(self.sidecars(id, crc));
        paths
    }

    /// Where the next sidecar of a segment goes.
    pub(crate) fn next_sidecar(&self, segment: &SealedSegment) -> PathBuf {
        let [first, second] = self.sidecars(segment.id(), segment.crc());
        match segment.sidecar() {
            Some((present, _)) if present == first => second,
            _ => first,
        }
    }

    /// Opens the local file when it is the right one, else downloads it. Its sidecar comes with
    /// it.
    pub(crate) async fn load(
        &self,
        spec: &Arc<TableSpec>,
        record: &SegmentRecord,
    ) -> Result<Arc<SealedSegment>, Fault> {
        let path = self.path(record.id, record.crc);
        match self.open(&path, spec, record.crc).await? {
            Ok(segment) => return Ok(segment),
            Err(SegmentError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.is_corrupt() => self.quarantine(&path, &error.to_string()),
            Err(error) => return Err(segment_fault(&error)),
        }
        self.download(record, path.clone()).await?;
        let opened = self.open(&path, spec, record.crc).await?;
        opened.map_err(|error| segment_fault(&error))
    }

    /// Downloads the segment though it is here. The caller shows it in the place of the other.
    pub(crate) async fn load_again(
        &self,
        spec: &Arc<TableSpec>,
        record: &SegmentRecord,
    ) -> Result<Arc<SealedSegment>, Fault> {
        let path = self.path(record.id, record.crc);
        self.download(record, path.clone()).await?;
        let opened = self.open(&path, spec, record.crc).await?;
        opened.map_err(|error| segment_fault(&error))
    }

    async fn download(&self, record: &SegmentRecord, path: PathBuf) -> Result<(), Fault> {
        let key = match &record.uri {
            Some(uri) => uri.clone(),
            None => SegmentRecord::object_key(record.id, record.crc),
        };
        make_folder(&path)?;
        // Nobody has stored it yet.
        if record.unstored && self.load_from_peer(record, path.clone()).await.is_ok() {
            self.peer_downloads.inc();
            return Ok(());
        }
        let Err(fault) = self.load_from_deep_store(record, &key, path.clone()).await else {
            self.downloads.inc();
            return Ok(());
        };
        if let Err(other) = self.load_from_peer(record, path.clone()).await {
            tracing::debug!(segment = %record.id, cause = %other, "nor from another server");
            return Err(fault);
        }
        self.peer_downloads.inc();
        tracing::info!(segment = %record.id, cause = %fault,
            "loaded from another server, as the deep store did not give it");
        if fault.kind == FaultKind::NotFound {
            self.put_back(record, &key, path).await;
        }
        Ok(())
    }

    async fn load_from_deep_store(
        &self,
        record: &SegmentRecord,
        key: &str,
        to: PathBuf,
    ) -> Result<(), Fault> {
        if let Some(file) = self.deep.file(key) {
            return self.unpack(file, to, record.crc, key).await;
        }
        let file = self.temporary(&to)?;
        self.deep.download_to(key, &file).await?;
        self.unpack(file.to_path_buf(), to, record.crc, key).await
    }

    async fn load_from_peer(&self, record: &SegmentRecord, to: PathBuf) -> Result<(), Fault> {
        let file = self.temporary(&to)?;
        self.peers.fetch(record, &file).await?;
        let (files, crc) = (Arc::clone(&self.files), record.crc);
        let copied = self.compute.run(move || {
            segment::copy_file(&file, &*files, &to, crc).map_err(|error| segment_fault(&error))
        });
        copied.await.map_err(job_fault)?
    }

    /// What the deep store has lost gets there again from whoever notices.
    async fn put_back(&self, record: &SegmentRecord, key: &str, path: PathBuf) {
        match self.put(record.crc, key, path).await {
            Ok(_) => tracing::warn!(key, "the deep store had lost an object, it is there again"),
            Err(fault) => tracing::warn!(key, cause = %fault, "the deep store has lost an object"),
        }
    }

    /// Uploads a segment's file; the bytes of its object.
    pub(crate) async fn put(&self, crc: u32, key: &str, path: PathBuf) -> Result<u64, Fault> {
        let packed = self
            .compute
            .run_behind(move || segment::pack(&path, crc))
            .await;
        let packed = packed.map_err(job_fault)?;
        let packed = packed.map_err(|error| segment_fault(&error))?;
        let bytes = packed.len() as u64;
        self.upload(key, packed.into()).await?;
        Ok(bytes)
    }

    /// What is there already with another content is the same segment, packed by another version,
    /// or was damaged: ours takes its place. Whoever reads either gets the content that the key
    /// names, or an error.
    pub(crate) async fn upload(&self, key: &str, packed: Bytes) -> Result<(), Fault> {
        match self.deep.upload(key, packed.clone()).await {
            Err(DeepStoreError::Conflict { .. }) => {
                tracing::warn!(
                    key,
                    "what is in the deep store is packed otherwise, replaced"
                );
                Ok(self.deep.replace(key, packed).await?)
            }
            uploaded => Ok(uploaded?),
        }
    }

    /// A name beside the segment's, for what is on its way. It goes when it is dropped; after a
    /// crash the sweep removes it.
    fn temporary(&self, path: &Path) -> Result<TempPath, Fault> {
        let folder = path.parent().unwrap_or(&self.folder);
        let file = tempfile::Builder::new()
            .prefix("download-")
            .tempfile_in(folder);
        let file = file.map_err(|error| io_fault("write to", folder, &error))?;
        Ok(file.into_temp_path())
    }

    /// Gives what was packed its place, if it is the content with this checksum.
    async fn unpack(&self, packed: PathBuf, to: PathBuf, crc: u32, key: &str) -> Result<(), Fault> {
        let (files, key) = (Arc::clone(&self.files), key.to_owned());
        let unpacked = self.compute.run(move || {
            segment::unpack_file(&packed, &*files, &to, crc).map_err(|error| match error {
                SegmentError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    Fault::not_found(format!("`{key}` is not in the deep store"))
                }
                error => segment_fault(&error),
            })
        });
        unpacked.await.map_err(job_fault)?
    }

    pub(crate) async fn open(
        &self,
        path: &Path,
        spec: &Arc<TableSpec>,
        crc: u32,
    ) -> Result<Result<Arc<SealedSegment>, SegmentError>, Fault> {
        let (path, spec, store) = (path.to_owned(), Arc::clone(spec), self.clone());
        let (of, to_open) = (Arc::clone(&spec), path.clone());
        let opened = self.compute.run(move || {
            let segment = SealedSegment::open(&to_open, &of, crc)?;
            Ok(store.with_sidecar(segment, &of))
        });
        match opened.await.map_err(job_fault)? {
            Ok(segment) => self.with_computed(segment, &spec).await.map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// With the columns that can be computed: the segment is shown with them from the beginning.
    async fn with_computed(
        &self,
        segment: Arc<SealedSegment>,
        spec: &Arc<TableSpec>,
    ) -> Result<Arc<SealedSegment>, Fault> {
        if !segment.lacks_computed(spec) {
            return Ok(segment);
        }
        let _turn = self.sidecar_turn.lock().await;
        // Another load of it may have written them meanwhile.
        let plain = segment.without_sidecar(spec);
        let (of, store) = (Arc::clone(spec), self.clone());
        let found = self.compute.run(move || store.with_sidecar(plain, &of));
        let segment = found.await.map_err(job_fault)?;
        if !segment.lacks_computed(spec) {
            return Ok(segment);
        }
        let path = self.next_sidecar(&segment);
        let (to, of, store) = (Arc::clone(&segment), Arc::clone(spec), self.clone());
        let job = move || {
            let wanted = (&*of, Extent::Computed);
            write_sidecar(&to, wanted, &*store.files, &path)?;
            let fresh = to.with_sidecar(&path, &of);
            let fresh = fresh.map_err(|error| segment_fault(&error))?;
            if let Some((old, _)) = to.sidecar() {
                store.remove_file(old);
            }
            Ok(fresh)
        };
        let computed = runtime::aside::run("compute columns", job).await;
        let computed = computed.map_err(|error| Fault::internal(error.to_string()))?;
        Ok(computed.unwrap_or_else(|fault: Fault| {
            tracing::error!(segment = %segment.id(), cause = %fault,
                "columns that came later cannot be computed, they are null");
            segment
        }))
    }

    /// With the newest of its sidecars; one that is of no use is dropped.
    fn with_sidecar(&self, segment: Arc<SealedSegment>, spec: &TableSpec) -> Arc<SealedSegment> {
        let mut best = segment;
        for path in self.sidecars(best.id(), best.crc()) {
            match best.with_sidecar(&path, spec) {
                Ok(with) => {
                    let number = |one: &SealedSegment| one.sidecar().map(|(_, number)| number);
                    let older = match number(&with) > number(&best) {
                        true => std::mem::replace(&mut best, with),
                        false => with,
                    };
                    if let Some((left_over, _)) = older.sidecar() {
                        self.remove_file(left_over);
                    }
                }
                Err(SegmentError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.drop_sidecar(&path, &error.to_string()),
            }
        }
        best
    }

    /// What a damaged sidecar held is built again; it is worth no place in quarantine.
    pub(crate) fn drop_sidecar(&self, path: &Path, reason: &str) {
        self.dropped_sidecars.inc();
        tracing::error!(file = %path.display(), reason,
            "the file with later indexes of a segment is damaged, it is dropped and built again");
        self.remove_file(path);
    }

    /// Sets a damaged file aside, for whoever wants to know what happened to it.
    pub(crate) fn quarantine(&self, path: &Path, reason: &str) {
        self.quarantined.inc();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.folder.join(QUARANTINE);
        let to = aside.join(format!("{}-{name}", self.clock.now_ms()));
        tracing::error!(file = %path.display(), reason, to = %to.display(),
            "segment file is damaged, set aside");
        let moved = std::fs::create_dir_all(&aside).and_then(|()| std::fs::rename(path, &to));
        if let Err(error) = moved {
            tracing::error!(%error, file = %path.display(), "cannot set it aside, removing it");
            self.remove_file(path);
        }
        self.forget_old(&aside);
    }

    /// Names in quarantine begin with the time.
    fn forget_old(&self, aside: &Path) {
        let mut kept = entries(aside).unwrap_or_default();
        kept.sort();
        let over = kept.len().saturating_sub(QUARANTINED_MAX);
        for old in &kept[..over] {
            self.remove_file(old);
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "cannot remove a segment file");
            }
            _ => {}
        }
    }

    pub(crate) fn remove_table(&self, id: TableId) {
        let folder = self.folder.join(id.to_string());
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %folder.display(), "cannot remove a table's files");
            }
            _ => {}
        }
    }

    /// Removes whatever is not in `wanted`: left over from before the last stop.
    pub(crate) fn sweep(&self, wanted: &HashSet<PathBuf>) -> io::Result<()> {
        for table in entries(&self.folder)? {
            if table.file_name().is_some_and(|name| name == QUARANTINE) || !table.is_dir() {
                continue;
            }
            for partition in entries(&table)? {
                for file in entries(&partition)? {
                    if !wanted.contains(&file) {
                        tracing::debug!(file = %file.display(), "removing a left-over file");
                        self.remove_file(&file);
                    }
                }
                // Only empty folders go.
                let _ = std::fs::remove_dir(&partition);
            }
            let _ = std::fs::remove_dir(&table);
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(crate) fn make_folder(file: &Path) -> Result<(), Fault> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| io_fault("make folder", folder, &error))
}

pub(crate) fn job_fault(error: runtime::compute::JobPanicked) -> Fault {
    Fault::internal(error.to_string())
}
