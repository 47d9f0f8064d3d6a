//! What is done to a cluster, and how it is undone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tests::kafka::Kafka;

use crate::cluster::{Cluster, Role};
use crate::link::Mode;
use crate::load;

/// In ms.
const SHORT: (u64, u64) = (500, 6_000);
/// Longer than a controller's lease, and than a server is waited for.
const LONG: (u64, u64) = (6_000, 14_000);

#[derive(Debug)]
pub(crate) enum Fault {
    Kill(Vec<usize>),
    /// SIGSTOP: it wakes after others took its place.
    Pause(usize),
    /// What others send to it.
    Inbound(usize, Mode),
    /// Its ways to PostgreSQL and the object store.
    Outbound(usize, Mode),
    /// Nobody reaches PostgreSQL.
    NoMetadata,
    /// Nobody reaches the object store.
    NoDeepStore,
    NoKafka,
    /// Killed, and its segments are gone.
    LostDisk(usize),
    /// Killed, and a byte of a segment changed.
    FlippedBit(usize),
    /// Each in its turn is stopped and started.
    Rolling,
    /// Many clients ask what takes long, and tables come and go.
    Overload,
}

/// All kinds in turn, so that a short run has each once.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    next: usize,
}

const KINDS: usize = 16;

impl Plan {
    /// With how long it lasts.
    pub(crate) fn next(&mut self, cluster: &Cluster, random: &mut SmallRng) -> (Fault, Duration) {
        // Neighbours differ, and every kind comes once in so many.
        let kind = self.next * 5 % KINDS;
        self.next += 1;
        let rare = random.random_range(0..5);
        let mut one = |role: Role| {
            let members = cluster.of(role);
            members.choose(random).copied().unwrap_or_default()
        };
        let (fault, range) = match kind {
            0 => (Fault::Kill(vec![one(Role::Server)]), LONG),
            1 => (Fault::Pause(one(Role::Server)), LONG),
            2 => (Fault::Kill(vec![one(Role::Controller)]), LONG),
            3 => (Fault::NoDeepStore, LONG),
            4 => (Fault::Pause(one(Role::Controller)), LONG),
            5 => (Fault::LostDisk(one(Role::Server)), SHORT),
            6 => (Fault::NoMetadata, LONG),
            7 => (Fault::Inbound(one(Role::Server), Mode::Cut), LONG),
            8 => (
                Fault::Kill(vec![one(Role::Broker), one(Role::Minion)]),
                SHORT,
            ),
            9 => (Fault::Inbound(one(Role::Server), Mode::Held), LONG),
            10 => (Fault::FlippedBit(one(Role::Server)), SHORT),
            11 => (Fault::NoKafka, SHORT),
            12 => (Fault::Rolling, SHORT),
            13 | 14 => (Fault::Overload, SHORT),
            _ => match rare {
                0 => (Fault::Kill(cluster.of(Role::Controller)), SHORT),
                1 => (
                    Fault::Inbound(
                        one(Role::Controller),
                        Mode::Slow(Duration::from_millis(100)),
                    ),
                    LONG,
                ),
                2 => (Fault::Outbound(one(Role::Controller), Mode::Held), LONG),
                3 => (Fault::Outbound(one(Role::Server), Mode::Cut), LONG),
                _ => (
                    Fault::Inbound(one(Role::Server), Mode::Slow(Duration::from_millis(50))),
                    LONG,
                ),
            },
        };
        let lasts = random.random_range(range.0..=range.1);
        (fault, Duration::from_millis(lasts))
    }
}

impl Fault {
    pub(crate) async fn begin(
        &self,
        cluster: &mut Cluster,
        kafka: &Kafka,
        random: &mut SmallRng,
    ) -> Result<()> {
        match self {
            Self::Kill(members) => {
                for at in members {
                    cluster.kill(*at)?;
                }
            }
            Self::Pause(at) => cluster.signal(*at, "STOP")?,
            Self::Inbound(at, mode) => cluster.members[*at].set((true, false), *mode),
            Self::Outbound(at, mode) => cluster.members[*at].set((false, true), *mode),
            Self::NoMetadata => {
                for at in cluster.of(Role::Controller) {
                    cluster.members[at].outbound[1].set(Mode::Cut);
                }
            }
            Self::NoDeepStore => {
                for member in &cluster.members {
                    member.outbound[0].set(Mode::Cut);
                }
            }
            Self::NoKafka => kafka.kill()?,
            Self::LostDisk(at) => {
                cluster.kill(*at)?;
                std::fs::remove_dir_all(cluster.members[*at].data.join("segments"))?;
            }
            Self::FlippedBit(at) => {
                cluster.kill(*at)?;
                flip(&cluster.members[*at].data, random)?;
            }
            Self::Rolling => {
                for at in 0..cluster.members.len() {
                    cluster.restart(at).await?;
                    cluster.wait_ready().await?;
                }
            }
            Self::Overload => load::heavy(cluster).await?,
        }
        Ok(())
    }

    pub(crate) fn end(&self, cluster: &mut Cluster, kafka: &Kafka) -> Result<()> {
        match self {
            Self::Kill(members) => {
                for at in members {
                    cluster.start_member(*at)?;
                }
            }
            Self::Pause(at) => cluster.signal(*at, "CONT")?,
            Self::Inbound(at, _) | Self::Outbound(at, _) => {
                cluster.members[*at].set((true, true), Mode::Passes);
            }
            Self::NoMetadata | Self::NoDeepStore => {
                for member in &cluster.members {
                    member.set((false, true), Mode::Passes);
                }
            }
            Self::NoKafka => kafka.start()?,
            Self::LostDisk(at) | Self::FlippedBit(at) => cluster.start_member(*at)?,
            Self::Rolling | Self::Overload => {}
        }
        Ok(())
    }

    /// As the report calls it.
    pub(crate) fn told(&self, cluster: &Cluster) -> String {
        let name = |at: &usize| cluster.members[*at].name.as_str();
        match self {
            Self::Kill(members) => {
                let names: Vec<&str> = members.iter().map(name).collect();
                format!("kill {}", names.join(", "))
            }
            Self::Pause(at) => format!("stop and wake {}", name(at)),
            Self::Inbound(at, mode) => format!("to {}: {}", name(at), Told(*mode)),
            Self::Outbound(at, mode) => format!("from {}: {}", name(at), Told(*mode)),
            Self::NoMetadata => "no PostgreSQL".to_owned(),
            Self::NoDeepStore => "no object store".to_owned(),
            Self::NoKafka => "no Kafka".to_owned(),
            Self::LostDisk(at) => format!("{} loses its disk", name(at)),
            Self::FlippedBit(at) => format!("a bit flips at {}", name(at)),
            Self::Rolling => "rolling restart".to_owned(),
            Self::Overload => "overload, tables come and go".to_owned(),
        }
    }
}

struct Told(Mode);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Mode::Passes => f.write_str("nothing"),
            Mode::Cut => f.write_str("cut"),
            Mode::Held => f.write_str("silence"),
            Mode::Slow(late) => write!(f, "{late:?} late"),
        }
    }
}

/// One byte of one sealed segment, if there is any.
fn flip(data: &Path, random: &mut SmallRng) -> Result<()> {
    let mut files = Vec::new();
    segments(&data.join("segments"), &mut files)?;
    let Some(file) = files.choose(random) else {
        return Ok(());
    };
    let mut bytes = std::fs::read(file)?;
    let at = random.random_range(0..bytes.len());
    bytes[at] ^= 1 << random.random_range(0..8);
    std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}

fn segments(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        match path.is_dir() {
            true => segments(&path, files)?,
            false if path.extension().is_some_and(|end| end == "seg") => files.push(path),
            false => {}
        }
    }
    files.sort();
    Ok(())
}
