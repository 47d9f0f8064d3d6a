//! The servers that may be asked, and which of them reads a piece.

use std::collections::{BTreeMap, HashMap};

use schemas::cluster::InstanceState;
use schemas::table::InstanceSelector;
use schemas::{InstanceId, Partition};

use super::{Routed, Wanted, is_usable};
use crate::servers::{Stands, choose};

/// In the order of their names.
pub(super) struct Usable<'a> {
    pub(super) servers: Vec<&'a InstanceState>,
    stands: Vec<Stands>,
    places: HashMap<&'a str, usize>,
}

/// By position in [`Usable::servers`].
type Place = usize;

/// Who reads the pieces of a table.
pub(super) enum Readers<'p> {
    /// One server reads all.
    Alone(Place),
    /// Each piece by itself.
    Each,
    /// All of a partition is read by one server, where one can.
    ByPartition(BTreeMap<Partition, Option<Place>>),
    /// The servers with this position among those that a piece is assigned to.
    Replica(usize),
    /// All of what is on the same servers is read by one of them, where one can.
    ByAssigned(HashMap<&'p [InstanceId], Option<Place>>),
}

impl<'a> Usable<'a> {
    pub(super) fn of(wanted: &Wanted<'a>) -> Self {
        let servers = wanted.cluster.instances.values();
        let servers = servers.filter(|i| is_usable(i) && !wanted.avoid.contains(&i.id));
        let mut servers: Vec<&InstanceState> = servers.collect();
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        let places = servers.iter().enumerate();
        let places = places.map(|(place, server)| (server.id.0.as_str(), place));
        let stands = servers.iter();
        let stands = stands.map(|server| wanted.standing.stands(&server.id));
        Self {
            places: places.collect(),
            stands: stands.collect(),
            servers,
        }
    }

    fn place(&self, id: &InstanceId) -> Option<Place> {
        self.places.get(id.0.as_str()).copied()
    }

    fn among<'b>(&'b self, ids: &'b [InstanceId]) -> impl Iterator<Item = Place> + Clone + 'b {
        ids.iter().filter_map(|id| self.place(id))
    }

    fn with_stands<'b>(
        &'b self,
        places: impl Iterator<Item = Place> + Clone + 'b,
    ) -> impl Iterator<Item = (Place, Stands)> + Clone + 'b {
        places.map(|place| (place, self.stands[place]))
    }

    fn whose_turn(&self, holders: &[InstanceId], turn: usize) -> Option<Place> {
        choose(self.with_stands(self.among(holders)), turn)
    }

    /// How the pieces of the table are read in this query.
    pub(super) fn readers<'p>(
        &self,
        wanted: &Wanted<'_>,
        pieces: &'p [Routed<'p>],
        may_be_alone: bool,
    ) -> Readers<'p> {
        let alone = may_be_alone.then(|| self.holder_of(pieces.iter(), wanted.turn));
        if let Some(Some(alone)) = alone {
            return Readers::Alone(alone);
        }
        let spec = &wanted.table.spec;
        let is_keyed = spec.keyed.is_some();
        let selector = spec.routing.selector;
        if selector != InstanceSelector::Balanced
            && let Some(replica) = self.whole_replica(pieces, is_keyed, wanted.turn)
        {
            return Readers::Replica(replica);
        }
        match selector {
            _ if is_keyed => Readers::ByPartition(self.by(pieces, wanted.turn, |piece| {
                (piece.partition, piece.partition as usize)
            })),
            InstanceSelector::StrictReplicaGroup => {
                let groups: HashMap<_, _> = self
                    .by(pieces, wanted.turn, |piece| (piece.assigned, 0))
                    .into_iter()
                    .collect();
                Readers::ByAssigned(groups)
            }
            InstanceSelector::ReplicaGroup => {
                // As much as can be from one replica, the rest from whoever has it.
                let replicas = pieces.iter().map(|piece| piece.assigned.len()).max();
                Readers::Replica(wanted.turn % replicas.unwrap_or(1).max(1))
            }
            InstanceSelector::Balanced => Readers::Each,
        }
    }

    /// Who reads this piece; `None`: nobody can.
    pub(super) fn reader(&self, readers: &Readers<'_>, piece: &Routed<'_>) -> Option<Place> {
        let own = || self.whose_turn(piece.holders, piece.turn);
        match readers {
            Readers::Alone(place) => Some(*place),
            Readers::Each => own(),
            Readers::ByPartition(of) => of.get(&piece.partition).copied().flatten(),
            Readers::ByAssigned(of) => of.get(piece.assigned).copied().flatten(),
            Readers::Replica(replica) => self.of_replica(piece, *replica).or_else(own),
        }
    }

    /// The server with this position, if it has the piece.
    fn of_replica(&self, piece: &Routed<'_>, replica: usize) -> Option<Place> {
        let servers = piece.assigned;
        let id = servers.get(replica % servers.len().max(1))?;
        let holds = piece.holders.contains(id);
        holds.then(|| self.place(id)).flatten()
    }

    /// A replica that has every piece, and each partition on one server where keys have rules. It
    /// is as good as the worst of its servers.
    fn whole_replica(&self, pieces: &[Routed<'_>], is_keyed: bool, turn: usize) -> Option<usize> {
        let replicas = pieces.iter().map(|piece| piece.assigned.len()).max()?;
        let whole = (0..replicas).filter_map(|replica| {
            let mut worst = Stands::default();
            let mut of: HashMap<Partition, Place> = HashMap::new();
            for piece in pieces {
                let place = self.of_replica(piece, replica)?;
                if is_keyed && *of.entry(piece.partition).or_insert(place) != place {
                    return None;
                }
                worst = worst.or_worse(self.stands[place]);
            }
            Some((replica, worst))
        });
        let whole: Vec<(usize, Stands)> = whole.collect();
        choose(whole.into_iter(), turn)
    }

    /// For each group of pieces the server that reads all of it, where one can; `key` gives also
    /// what is added to the turn.
    fn by<'p, K: Ord>(
        &self,
        pieces: &'p [Routed<'p>],
        turn: usize,
        key: impl Fn(&Routed<'p>) -> (K, usize),
    ) -> BTreeMap<K, Option<Place>> {
        let mut groups: BTreeMap<K, (usize, Vec<&Routed<'p>>)> = BTreeMap::new();
        for piece in pieces {
            let (key, more) = key(piece);
            let (_, group) = groups.entry(key).or_insert_with(|| (more, Vec::new()));
            group.push(piece);
        }
        let groups = groups.into_iter();
        let groups = groups
            .map(|(key, (more, pieces))| (key, self.holder_of(pieces.into_iter(), turn + more)));
        groups.collect()
    }

    fn holder_of<'p>(
        &self,
        mut pieces: impl Iterator<Item = &'p Routed<'p>>,
        turn: usize,
    ) -> Option<Place> {
        let mut holders: Vec<Place> = self.among(pieces.next()?.holders).collect();
        for piece in pieces {
            if holders.is_empty() {
                return None;
            }
            holders.retain(|holder| self.among(piece.holders).any(|other| other == *holder));
        }
        choose(self.with_stands(holders.iter().copied()), turn)
    }
}
