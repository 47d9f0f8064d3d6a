//! How each round kills: every fail point in turn with random instants between them, so that a few
//! rounds already touch different steps and many rounds touch all of them many times.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

/// (fail point, most hits to let pass before dying), in an order that spreads the steps.
const POINTS: &[(&str, u32)] = &[
    ("seal.after_write", 4),
    ("commit.after_upload", 4),
    ("metastore.before_commit", 8),
    ("seal.after_rename", 4),
    ("commit.before_start", 4),
    ("upload.after_write", 4),
    ("commit.after_end", 4),
    ("load.after_fsync", 3),
    ("seal.before_write", 4),
    ("metastore.after_commit", 8),
    ("upload.after_rename", 4),
    ("commit.before_upload", 4),
    ("seal.after_fsync", 4),
    ("load.before_write", 3),
    ("commit.after_start", 4),
    ("upload.before_write", 4),
    ("upload.after_fsync", 4),
    ("load.after_rename", 3),
    ("load.after_write", 3),
];

/// A point that is not reached by then counts as such, and the node is killed.
const POINT_MAX: Duration = Duration::from_secs(20);
const INSTANT_MAX_MS: u64 = 4000;

#[derive(Debug)]
pub(crate) enum Kill {
    At(Duration),
    Point { name: &'static str, skip: u32 },
}

impl Kill {
    pub(crate) fn point(&self) -> Option<(&'static str, u32)> {
        match self {
            Self::At(_) => None,
            Self::Point { name, skip } => Some((name, *skip)),
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        match self {
            Self::At(instant) => *instant,
            Self::Point { .. } => POINT_MAX,
        }
    }

    /// A node loads segments from the deep store only when it has lost its own.
    pub(crate) fn loses_local_segments(&self) -> bool {
        matches!(self, Self::Point { name, .. } if name.starts_with("load."))
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(instant) => write!(f, "killed after {} ms", instant.as_millis()),
            Self::Point { name, skip: 0 } => write!(f, "{name}"),
            Self::Point { name, skip } => write!(f, "{name}, hit {}", skip + 1),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    round: usize,
    points: usize,
}

impl Plan {
    /// One of three rounds kills at a random instant, also while the node starts.
    pub(crate) fn next(&mut self, random: &mut SmallRng) -> Kill {
        self.round += 1;
        if self.round.is_multiple_of(3) {
            return Kill::At(Duration::from_millis(
                random.random_range(20..INSTANT_MAX_MS),
            ));
        }
        let (name, skip_max) = POINTS[self.points % POINTS.len()];
        self.points += 1;
        let skip = random.random_range(0..=skip_max);
        Kill::Point { name, skip }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_point_has_its_turn() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut plan = Plan::default();
        let mut points = Vec::new();
        for _ in 0..30 {
            points.extend(plan.next(&mut random).point().map(|(name, _)| name));
        }
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), POINTS.len());
    }
}
