//! Joins that each server makes of its own rows: rows that match are on one server.
//!
//! Tables whose segments have rows of one partition each (`segmentPartitionConfig`), by the same
//! function into as many partitions, and a server that holds all segments of a partition, of each
//! of the tables: then a join by these columns needs no row of another server, and no server needs
//! to know what others matched. Invariants:
//! - all of a partition, of all tables, is read from one server; where one partition cannot be, or
//!   a segment does not tell its partition (it is consuming, or has several), nothing is joined so;
//! - keys match as values: columns of one type, and null matches nothing;
//! - a share that its server does not answer is answered whole by another one, or the query is
//!   planned anew.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use schemas::cluster::{SegmentState, TableState};
use schemas::partition::Partitioning;
use schemas::proto::{SegmentRef, TableScan};
use schemas::segments::SegmentKey;
use schemas::{InstanceId, TableId};

use crate::ask::FragmentPart;
use crate::context::QueryContext;
use crate::cut::{reads_only_dimension_tables, scans_of};
use crate::parameters::Parameters;
use crate::prune::segments_to_read;
use crate::routing::{TableIndex, holder_among, holds_all, reference, whole_table};
use crate::scan_exec::{ScanDescription, SegmentScanExec};

type Plan = Arc<dyn ExecutionPlan>;

/// Scans of a fragment, and by what their rows are on servers.
#[derive(Clone, Debug)]
pub(crate) struct Colocation {
    by: Partitioning,
    scans: Vec<Scan>,
}

#[derive(Clone, Debug)]
struct Scan {
    description: Arc<ScanDescription>,
    /// Its column of that partitioning; of a dimension table, which every server has whole, none.
    column: Option<String>,
}

/// Columns of an operator's output that tell on which server a row is.
#[derive(Clone, Debug)]
struct Key {
    at: usize,
    by: Partitioning,
    /// Of the scan, as long as there is one.
    column: String,
}

/// What is known of a subtree.
struct Rows {
    keys: Vec<Key>,
    scans: Vec<Scan>,
    /// Tables are joined in it that have shares of rows on servers.
    joined: Option<Partitioning>,
}

impl Colocation {
    /// Of a join, by the configs of its tables. `None`: its rows may match rows of other servers.
    pub(crate) fn of(join: &Plan, context: &QueryContext) -> Option<Self> {
        let Rows { scans, joined, .. } = rows_of_join(join.downcast_ref()?, context)?;
        joined.map(|by| Self { by, scans })
    }

    /// The same of a fragment with the join in it: dimension tables are joined there, too.
    pub(crate) fn in_fragment(mut self, fragment: &Plan) -> Self {
        let known = self.scans.iter().map(|scan| scan.description.table);
        let known: HashSet<TableId> = known.collect();
        let all = scans_of(fragment);
        let all = all.iter().filter_map(|scan| scan.downcast_ref());
        let descriptions = all.map(SegmentScanExec::description);
        let others = descriptions.filter(|own| !known.contains(&own.table));
        self.scans.extend(others.map(dimension));
        self
    }

    /// Who joins what now; `None`: nobody can join all of some partition.
    pub(crate) fn parts(
        &self,
        context: &QueryContext,
        parameters: &Parameters,
    ) -> Option<Vec<FragmentPart>> {
        if context.allows_partial {
            return None;
        }
        let dimensions = self.scans.iter().filter(|scan| scan.column.is_none());
        let table = |scan: &Scan| context.cluster.tables.get(&scan.description.table);
        let dimensions = dimensions.map(|scan| Some((scan.description.table, &**table(scan)?)));
        let dimensions: BTreeMap<TableId, &TableState> = dimensions.collect::<Option<_>>()?;
        let dimensions: Vec<&TableState> = dimensions.into_values().collect();
        let mut indexed = Vec::new();
        for scan in self.scans.iter().filter(|scan| scan.column.is_some()) {
            let state = table(scan)?;
            let index = context.indexes.get(state);
            if !index.is_sealed() || state.spec.keyed.is_some() {
                return None;
            }
            indexed.push((scan, index));
        }
        let mut partitions: BTreeMap<u32, Partition<'_>> = BTreeMap::new();
        for (scan, index) in &indexed {
            for (partition, segment) in self.segments(scan, index, parameters)? {
                let partition = partitions.entry(partition).or_default();
                partition.add(scan.description.table, segment);
            }
        }
        self.shared_out(partitions, &dimensions, context)
    }

    /// That a scan reads, each with its one partition.
    fn segments<'a>(
        &self,
        scan: &Scan,
        index: &'a TableIndex,
        parameters: &Parameters,
    ) -> Option<Vec<(u32, &'a SegmentState)>> {
        let ScanDescription {
            table_schema,
            filters,
            ..
        } = &*scan.description;
        let column = scan.column.as_ref()?;
        let keep = segments_to_read(index, table_schema, filters, parameters);
        let seen = keep.into_iter().filter(|segment| !segment.hidden);
        let segments = seen.map(|segment| {
            let known = segment.record.partitions.iter();
            let mut known = known.filter(|own| own.column == *column && own.by == self.by);
            match known.next()?.held[..] {
                [partition] => Some((partition, segment)),
                _ => None,
            }
        });
        segments.collect()
    }

    fn shared_out(
        &self,
        partitions: BTreeMap<u32, Partition<'_>>,
        dimensions: &[&TableState],
        context: &QueryContext,
    ) -> Option<Vec<FragmentPart>> {
        // Each server is told of every table, also of one of which it reads nothing.
        let shared_out = self.scans.iter().filter(|scan| scan.column.is_some());
        let shared_out = shared_out.map(|scan| (scan.description.table, BTreeMap::new()));
        let nothing: Sealed = shared_out.collect();
        let avoid = context.failed.lock().clone();
        let (turn, standing) = context.turn_and_standing();
        let mut parts = BTreeMap::new();
        for (number, partition) in partitions {
            let turn = (turn + number as usize, standing);
            let server = holder_among(&context.cluster, &partition.holders?, turn, &avoid)?;
            if !holds_all(dimensions, &server.id) {
                return None;
            }
            let begun = parts.entry(&server.id);
            let (_, tables) = begun.or_insert_with(|| (server, nothing.clone()));
            for (table, segment) in partition.segments {
                let sealed = tables.entry(table).or_default();
                sealed.insert(segment.record.id.key(), reference(segment));
            }
        }
        let parts = parts.into_values().map(|(server, tables)| {
            let shares = tables.into_iter().map(|(table, sealed)| TableScan {
                table_id: table.to_bytes(),
                sealed: sealed.into_values().collect(),
                ..TableScan::default()
            });
            let whole = dimensions.iter().map(|table| whole_table(table));
            FragmentPart {
                server: server.clone(),
                shared_out: None,
                whole: shares.chain(whole).collect(),
                finishes: true,
            }
        });
        Some(parts.collect())
    }
}

/// Segments that one server reads, by table.
type Sealed = BTreeMap<TableId, BTreeMap<SegmentKey, SegmentRef>>;

/// All segments of a partition, and the servers that have each of them.
#[derive(Default)]
struct Partition<'a> {
    segments: Vec<(TableId, &'a SegmentState)>,
    holders: Option<Vec<&'a InstanceId>>,
}

impl<'a> Partition<'a> {
    fn add(&mut self, table: TableId, segment: &'a SegmentState) {
        self.segments.push((table, segment));
        let online = &segment.online;
        match &mut self.holders {
            Some(holders) => holders.retain(|holder| online.contains(holder)),
            None => self.holders = Some(online.iter().collect()),
        }
    }
}

fn dimension(description: &Arc<ScanDescription>) -> Scan {
    Scan {
        description: Arc::clone(description),
        column: None,
    }
}

fn rows_of(node: &Plan, context: &QueryContext) -> Option<Rows> {
    if reads_only_dimension_tables(node) {
        let scans = scans_of(node);
        let scans = scans.iter().filter_map(|scan| scan.downcast_ref());
        let scans = scans.map(|scan: &SegmentScanExec| dimension(scan.description()));
        return Some(Rows {
            keys: Vec::new(),
            scans: scans.collect(),
            joined: None,
        });
    }
    if let Some(scan) = node.downcast_ref::<SegmentScanExec>() {
        return rows_of_scan(scan, context);
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return rows_of_join(join, context);
    }
    let [child] = node.children()[..] else {
        return None;
    };
    let rows = rows_of(child, context)?;
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter();
        let from: Vec<Option<usize>> = exprs.map(|own| column_of(&own.expr)).collect();
        return Some(rows.with_output(&from));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return Some(match filter.projection() {
            Some(projection) => rows.projected(projection),
            None => rows,
        });
    }
    let hands_on = node.is::<CooperativeExec>() || node.is::<CoalescePartitionsExec>();
    hands_on.then_some(rows)
}

fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

fn rows_of_scan(scan: &SegmentScanExec, context: &QueryContext) -> Option<Rows> {
    let description = scan.description();
    // The first so many rows of a server are not those of the table.
    if description.fetch.is_some() {
        return None;
    }
    let spec = &context.cluster.tables.get(&description.table)?.spec;
    let columns = description.projection.iter().enumerate();
    let keys = columns.filter_map(|(at, column)| {
        let column = description.table_schema.field(*column).name();
        let by = spec.column(column)?.partitioning?;
        let column = column.clone();
        Some(Key { at, by, column })
    });
    Some(Rows {
        keys: keys.collect(),
        scans: vec![Scan {
            description: Arc::clone(description),
            // Whatever it is joined by first.
            column: Some(String::new()),
        }],
        joined: None,
    })
}

fn rows_of_join(join: &HashJoinExec, context: &QueryContext) -> Option<Rows> {
    if *join.partition_mode() != PartitionMode::CollectLeft
        || join.null_equality() != NullEquality::NullEqualsNothing
        || join.null_aware
    {
        return None;
    }
    let (left, right) = (
        rows_of(join.left(), context)?,
        rows_of(join.right(), context)?,
    );
    let left_columns = join.left().schema().fields().len();
    let rows = match (left.is_shared_out(), right.is_shared_out()) {
        (true, true) => left.joined_with(right, join, left_columns)?,
        // Of what every server has, none knows what others matched.
        (false, true) => match join.join_type() {
            JoinType::Inner | JoinType::Right => right.behind(left, left_columns),
            JoinType::RightSemi | JoinType::RightAnti => right.behind(left, 0),
            _ => return None,
        },
        _ => return None,
    };
    Some(match &join.projection {
        Some(projection) => rows.projected(projection),
        None => rows,
    })
}

impl Rows {
    fn is_shared_out(&self) -> bool {
        self.scans.iter().any(|scan| scan.column.is_some())
    }

    /// Output columns by the columns of the input that they are.
    fn with_output(mut self, from: &[Option<usize>]) -> Self {
        let keys = from.iter().enumerate().flat_map(|(at, from)| {
            let same = self.keys.iter().filter(|key| Some(key.at) == *from);
            same.map(move |key| Key { at, ..key.clone() })
        });
        self.keys = keys.collect();
        self
    }

    fn projected(self, to: &[usize]) -> Self {
        let from: Vec<Option<usize>> = to.iter().copied().map(Some).collect();
        self.with_output(&from)
    }

    /// Beside the columns of dimension tables, which come first.
    fn behind(mut self, dimensions: Self, columns: usize) -> Self {
        self.keys.iter_mut().for_each(|key| key.at += columns);
        self.scans.extend(dimensions.scans);
        self
    }

    /// By one partitioning of both.
    fn joined_with(mut self, mut other: Self, join: &HashJoinExec, columns: usize) -> Option<Self> {
        let (left, right) = join.on().iter().find_map(|(left, right)| {
            let (left, right) = (column_of(left)?, column_of(right)?);
            let left = self.keys.iter().filter(|key| key.at == left);
            let mut pairs = left.flat_map(|left| other.keys.iter().map(move |key| (left, key)));
            let (left, right) = pairs.find(|(l, r)| r.at == right && l.by == r.by)?;
            Some((left.clone(), right.clone()))
        })?;
        self.choose(&left);
        other.choose(&right);
        use JoinType as J;
        let (has_left, has_right) = match join.join_type() {
            J::Inner | J::Left | J::Right | J::Full => (true, true),
            J::LeftSemi | J::LeftAnti => (true, false),
            J::RightSemi | J::RightAnti => (false, true),
            J::LeftMark | J::RightMark => return None,
        };
        let before = if has_left { columns } else { 0 };
        other.keys.iter_mut().for_each(|key| key.at += before);
        self.keys.retain(|_| has_left);
        self.keys
            .extend(other.keys.into_iter().filter(|_| has_right));
        self.scans.extend(other.scans);
        self.joined = Some(left.by);
        Some(self)
    }

    /// Its rows are on servers by this key: others say nothing any more.
    fn choose(&mut self, chosen: &Key) {
        if self.joined.is_none() {
            let shared_out = self
                .scans
                .iter_mut()
                .filter_map(|scan| scan.column.as_mut());
            shared_out.for_each(|column| column.clone_from(&chosen.column));
        }
        let same = |key: &Key| key.by == chosen.by && key.column == chosen.column;
        let joined = self.joined;
        self.keys.retain(|key| joined.is_some() || same(key));
    }
}
