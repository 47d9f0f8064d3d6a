//! Filters compiled for one segment.
//!
//! A tree over one column is solved once for each distinct value ([`solve`]): the result is a set
//! of codes, or of raw values. Its rows come from the sorted column's ranges, from an index over
//! documents, from zones that decide whole blocks, or from a scan; [`plan`] decides by what is
//! known of their numbers. A predicate over constants decides the segment. Everything else is
//! evaluated on the decoded rows of a block that passed so far.

mod buckets;
mod candidate;
mod codes;
mod conjunct;
mod counted;
mod entries;
mod extract;
mod missing;
mod note;
mod plan;
mod prune;
mod raw;
mod search;
mod sieve;
mod solve;
mod text;
mod tree;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use index::range::RangeReader;
use schemas::TableSpec;
use schemas::proto::{Explain, IndexKind, NullMode, ScanOptions};
use segment::view::{ColumnView, DictionaryColumn, RawColumn, Values};
use segment::{BLOCK_ROWS, SegmentView};

pub(crate) use self::conjunct::{Conjunct, next_block};
pub(crate) use self::extract::extracts;
pub(crate) use self::note::{Story, classify};

use self::candidate::{ByIndex, Candidate, Lists, Probe};
use self::codes::CodeSet;
use self::conjunct::Access;
use self::counted::{Counted, counted};
use self::plan::Part;
use self::raw::{Verdict, judge};
use self::solve::{Distinct, Solved, Solver};
use self::tree::{Tree, columns_of};
use crate::columns::{Source, Stored, batch, external, project, source};
use crate::native::Combined;
use crate::ranges::RangeSet;
use crate::stats::Counters;

/// Rows that an expression keeps of which nothing is known.
const SHARE_UNKNOWN: f64 = 0.3;
/// Combinations of values of several columns, which are looked at beforehand.
const COMBINATIONS_MAX: u64 = 1 << 16;
const ROWS_PER_COMBINATION: u32 = 4;
/// Nanoseconds to find the combination of a row, about.
const COMBINED_NS: f64 = 1.5;
/// Nanoseconds to decode a row and to evaluate an expression on it, about.
const EVALUATED_NS: f64 = 20.0;

/// What is left of a filter in one segment.
#[derive(Debug)]
pub(crate) enum Compiled<'a> {
    /// No row can match.
    Never,
    Rows(Vec<Conjunct<'a>>),
}

pub(crate) struct Compiler<'a, 'b> {
    pub(crate) view: &'a SegmentView,
    pub(crate) spec: &'b TableSpec,
    pub(crate) table_schema: &'b Schema,
    pub(crate) null_mode: NullMode,
    pub(crate) options: &'b ScanOptions,
    pub(crate) counters: &'b Counters,
}

/// What is known of a tree before its rows are looked for.
enum Decided<'a> {
    Always,
    Never,
    Rows(Box<Candidate<'a>>),
    /// Its branches must be decided one by one; a leaf must be evaluated.
    Parts,
}

impl<'a> Compiler<'a, '_> {
    pub(crate) fn compile(&self, filters: &[Arc<dyn PhysicalExpr>]) -> Result<Compiled<'a>> {
        if self.view.row_count() == 0 && !filters.is_empty() {
            return Ok(Compiled::Never);
        }
        let tree = Tree::of_all(filters)?;
        if self.is_absent(&tree)? {
            return Ok(Compiled::Never);
        }
        let rows = f64::from(self.view.row_count());
        let part = self.all(std::slice::from_ref(&tree), rows)?;
        Ok(match part {
            Part::Always => Compiled::Rows(Vec::new()),
            Part::Never => Compiled::Never,
            Part::Rows(conjuncts) => Compiled::Rows(conjuncts),
        })
    }

    /// Only for a query that asks how it is answered.
    fn text(&self, tree: &Tree) -> Option<String> {
        self.text_of(|| note::readable(&tree.to_string()))
    }

    fn text_of(&self, text: impl FnOnce() -> String) -> Option<String> {
        (self.options.explain() != Explain::None).then(text)
    }

    /// The filters as one set for each column that they read: of codes where `is_coded` says so,
    /// else of values. `None`: they are more than that, or a column may be SQL null.
    pub(crate) fn by_column(
        &self,
        filters: &[Arc<dyn PhysicalExpr>],
        is_coded: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<(String, RangeSet)>>> {
        let Tree::All(branches) = Tree::of_all(filters)? else {
            return Ok(None);
        };
        let mut sets: Vec<(String, RangeSet)> = Vec::new();
        for branch in &branches {
            let [index] = branch.columns()[..] else {
                return Ok(None);
            };
            let schema = project(self.table_schema, &[index])?;
            let field = schema.field(0);
            let source = source(self.view, self.spec, field, self.null_mode)?;
            let Source::Stored(Stored {
                column,
                nulls: None,
            }) = source
            else {
                return Ok(None);
            };
            let dictionary = match column.values() {
                Values::Dictionary(dictionary) if is_coded(field.name()) => Some(dictionary),
                _ => None,
            };
            let solver = Solver {
                schema: &schema,
                index,
                has_nulls: false,
                distinct: dictionary.map(Distinct::Single),
                chunks: None,
                raw: None,
            };
            if is_coded(field.name()) && dictionary.is_none() {
                return Ok(None);
            }
            let Some(Solved { set, .. }) = solver.solve(branch) else {
                return Ok(None);
            };
            match sets.iter_mut().find(|(name, _)| name == field.name()) {
                Some((_, own)) => *own = own.clone().intersection(set),
                None => sets.push((field.name().clone(), set)),
            }
        }
        Ok(Some(sets))
    }

    fn decide(&self, tree: &Tree) -> Result<Decided<'a>> {
        if let Some(candidate) = self.searched(tree)? {
            return Ok(Decided::Rows(Box::new(candidate)));
        }
        let columns = tree.columns();
        if !matches!(tree, Tree::Leaf(_)) && (columns.len() > 1 || self.is_searched(tree)?) {
            return Ok(Decided::Parts);
        }
        let schema = project(self.table_schema, &columns)?;
        let fields = schema.fields().iter();
        let sources = fields.map(|field| source(self.view, self.spec, field, self.null_mode));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        if let Some(constants) = constants(&sources) {
            let expr = rebased(&tree.expr(self.table_schema)?, &columns)?;
            let verdict = evaluate(&expr, &schema, constants, 1)?;
            return Ok(match verdict[0] {
                true => Decided::Always,
                false => Decided::Never,
            });
        }
        let ([index], [source]) = (&columns[..], &sources[..]) else {
            return Ok(Decided::Parts);
        };
        let mut solver = Solver {
            schema: &schema,
            index: *index,
            has_nulls: false,
            distinct: None,
            chunks: None,
            raw: None,
        };
        match source {
            Source::Stored(stored) => {
                solver.has_nulls = stored.nulls.is_some();
                let name = schema.field(0).name();
                let indexed = self.options.uses(name, IndexKind::Text);
                solver.chunks = indexed.then_some(stored.column);
                match stored.column.values() {
                    Values::Dictionary(dictionary) => {
                        solver.distinct = Some(Distinct::Single(dictionary));
                        self.by_code(tree, &solver, dictionary, stored)
                    }
                    Values::Raw(values) => {
                        solver.raw = Some((stored.column, values));
                        self.by_value(tree, &solver, values, stored)
                    }
                    values => match (self.by_null_test(tree, (stored.nulls, name)), values) {
                        (Some(decided), _) => Ok(decided),
                        (None, Values::Multi(multi)) => self.by_entry(tree, &schema, multi, stored),
                        (None, _) => Ok(Decided::Parts),
                    },
                }
            }
            Source::DocId => Ok(self.by_document(tree, &solver)),
            Source::IsNull(nulls) => self.by_missing(tree, &schema, *index, *nulls),
            Source::Constant(_) | Source::Extracted(_) => Ok(Decided::Parts),
        }
    }

    /// Looks at the decoded values of each row.
    fn evaluated(&self, tree: &Tree) -> Result<Candidate<'a>> {
        let inputs = Inputs::of(&tree.expr(self.table_schema)?, self.table_schema)?;
        let sources = inputs.sources(self.view, self.spec, self.null_mode)?;
        let fields = inputs.schema.fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        let told = format!("scan({})", names.join(","));
        let (scan, row_ns) = match self.by_combination(&inputs, &sources)? {
            Some(access) => (access, COMBINED_NS),
            None => (
                Access::Evaluate {
                    expr: inputs.expr,
                    schema: inputs.schema,
                    sources,
                },
                EVALUATED_NS,
            ),
        };
        Ok(Candidate {
            told,
            text: self.text(tree),
            scan,
            estimate: f64::from(self.view.row_count()) * SHARE_UNKNOWN,
            is_exact: false,
            row_ns,
            by_index: None,
        })
    }

    /// Looks at each combination of values once, where there are few.
    fn by_combination(
        &self,
        inputs: &Inputs,
        sources: &[Source<'a>],
    ) -> Result<Option<Access<'a>>> {
        let mut fields = inputs.schema.fields().iter();
        let is_stored = |source: &Source<'_>| matches!(source, Source::Stored(_));
        if !sources.iter().all(is_stored)
            || !fields.all(|field| self.options.uses(field.name(), IndexKind::Dictionary))
        {
            return Ok(None);
        }
        let most = COMBINATIONS_MAX.min(u64::from(self.view.row_count() / ROWS_PER_COMBINATION));
        let Some(combined) = Combined::new(inputs, most, self)? else {
            return Ok(None);
        };
        let numbers: Vec<u64> = (0..combined.domain).collect();
        let columns = combined.columns(&numbers)?;
        // What fails for some combination may never be asked for: then row by row.
        let verdict = evaluate(&inputs.expr, &inputs.schema, columns, numbers.len());
        Ok(verdict.ok().map(|held| Access::Combined { combined, held }))
    }

    fn by_document(&self, tree: &Tree, solver: &Solver<'_, '_>) -> Decided<'a> {
        let Some(solved) = solver.solve(tree) else {
            return Decided::Parts;
        };
        let rows = self.view.row_count();
        let within = solved
            .set
            .intersection(RangeSet::of(0, i64::from(rows) - 1));
        let ranges = within.ranges().iter();
        let ranges: Vec<_> = ranges
            .map(|(low, high)| *low as u32..*high as u32 + 1)
            .collect();
        let estimate = ranges
            .iter()
            .map(|range| f64::from(range.end - range.start))
            .sum();
        let told = format!("sorted({})", solver.schema.field(0).name());
        Decided::Rows(Box::new(Candidate {
            told: told.clone(),
            text: self.text(tree),
            scan: Access::Ranges(ranges.clone()),
            estimate,
            is_exact: self.view.valid().is_none(),
            row_ns: 0.1,
            by_index: Some(ByIndex {
                told,
                documents: Lists::Sorted(ranges),
                nulls: None,
            }),
        }))
    }

    fn by_value(
        &self,
        tree: &Tree,
        solver: &Solver<'_, '_>,
        values: RawColumn<'a>,
        stored: &Stored<'a>,
    ) -> Result<Decided<'a>> {
        let Some(Solved { set, null_matches }) = solver.solve(tree) else {
            return Ok(Decided::Parts);
        };
        let Stored { column, nulls } = *stored;
        let rows = self.view.row_count();
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let name = solver.schema.field(0).name();
        if let Some(decided) = self.by_nulls(tree, &set, null_matches, (stored.nulls, name)) {
            return Ok(decided);
        }
        let zones = self.options.uses(name, IndexKind::Zone);
        let (none, all, mut estimate) = judged(&set, &column, zones, blocks);
        let never = none == blocks && !null_matches;
        if never || (all == blocks && (nulls.is_none() || null_matches)) {
            self.counters.index(format!("zone({name})"));
            return Ok(match never {
                true => Decided::Never,
                false => Decided::Always,
            });
        }
        let looked_at = 1.0 - f64::from(none + all) / f64::from(blocks.max(1));
        let sample = values.values(0..rows.min(1));
        let by_index = match null_matches {
            true => None,
            false => self.range_index(&set, Probe::Values(values), stored, name)?,
        };
        if let Some(exact) = by_index.as_ref().map(ByIndex::documents_about) {
            estimate = exact;
        }
        let row_ns = raw::cost(&set, sample) * looked_at;
        let sieve = raw::sieve(&set, rows);
        if let Some(found) = self.by_bucket(tree, &set, null_matches, (stored, name))? {
            estimate = found.estimate;
            if by_index.is_none() && found.row_ns < row_ns {
                return Ok(Decided::Rows(Box::new(found)));
            }
        }
        let index = if none + all > 0 { "zone" } else { "scan" };
        Ok(Decided::Rows(Box::new(Candidate {
            told: format!("{index}({name})"),
            text: self.text(tree),
            estimate,
            is_exact: false,
            row_ns,
            scan: Access::Values {
                set,
                sieve,
                column,
                values,
                nulls,
                null_matches,
                zones,
            },
            by_index,
        })))
    }

    fn range_index(
        &self,
        set: &RangeSet,
        probe: Probe<'a>,
        stored: &Stored<'a>,
        name: &str,
    ) -> Result<Option<ByIndex<'a>>> {
        if !self.options.uses(name, IndexKind::Range) {
            return Ok(None);
        }
        let reader = stored.column.index::<RangeReader>().map_err(external)?;
        Ok(reader.map(|reader| ByIndex {
            told: format!("range({name})"),
            documents: Lists::Range {
                buckets: reader.find(set.ranges()),
                reader,
                set: set.clone(),
                probe,
            },
            nulls: stored.nulls,
        }))
    }

    fn by_code(
        &self,
        tree: &Tree,
        solver: &Solver<'a, '_>,
        dictionary: DictionaryColumn<'a>,
        stored: &Stored<'a>,
    ) -> Result<Decided<'a>> {
        let name = solver.schema.field(0).name();
        if !self.options.uses(name, IndexKind::Dictionary) {
            return Ok(Decided::Parts);
        }
        let Some(Solved { set, null_matches }) = solver.solve(tree) else {
            return Ok(Decided::Parts);
        };
        let nulls = stored.nulls;
        let cardinality = dictionary.cardinality();
        let codes = CodeSet::new(&set, cardinality);
        let whole = match &codes {
            None => RangeSet::none(),
            Some(codes) if codes.covers(cardinality) => RangeSet::all(),
            Some(_) => set,
        };
        if let Some(decided) = self.by_nulls(tree, &whole, null_matches, (nulls, name)) {
            self.counters.index(format!("dictionary({name})"));
            return Ok(decided);
        }
        let held = codes
            .as_ref()
            .map(|codes| counted(codes, dictionary.doc_counts()));
        let held = held.unwrap_or(Counted::NONE);
        let by_index = match &codes {
            Some(codes) if !null_matches => self.index_of(codes, &dictionary, stored, name)?,
            _ => None,
        };
        let zones = self
            .options
            .uses(name, IndexKind::Zone)
            .then_some(stored.column);
        let is_exact = held.is_exact && nulls.is_none() && self.view.valid().is_none();
        Ok(Decided::Rows(Box::new(Candidate {
            told: format!("dictionary({name})"),
            text: self.text(tree),
            estimate: held.documents,
            is_exact,
            row_ns: codes.as_ref().map_or(0.02, |codes| codes.cost(cardinality)),
            scan: Access::Codes {
                codes,
                column: dictionary,
                nulls,
                null_matches,
                zones,
            },
            by_index,
        })))
    }

    fn index_of(
        &self,
        codes: &CodeSet,
        dictionary: &DictionaryColumn<'a>,
        stored: &Stored<'a>,
        name: &str,
    ) -> Result<Option<ByIndex<'a>>> {
        let Stored { column, nulls } = *stored;
        if column.is_sorted() && self.options.uses(name, IndexKind::Sorted) {
            let start = |code| column.sorted_range(code).map_or(0, |rows| rows.start);
            let end = |code| column.sorted_range(code).map_or(0, |rows| rows.end);
            let ranges = codes.ranges().iter();
            let ranges = ranges.map(|(low, high)| start(*low)..end(*high));
            return Ok(Some(ByIndex {
                told: format!("sorted({name})"),
                documents: Lists::Sorted(ranges.collect()),
                nulls,
            }));
        }
        if self.options.uses(name, IndexKind::Inverted) {
            let inverted = column.inverted().map_err(external)?;
            if let Some(reader) = inverted {
                return Ok(Some(ByIndex {
                    told: format!("inverted({name})"),
                    documents: Lists::Inverted(reader, codes.ranges().to_vec()),
                    nulls,
                }));
            }
        }
        let set = codes.ranges().iter();
        let set = set.map(|(low, high)| (i64::from(*low), i64::from(*high)));
        let set = RangeSet::of_any(set.collect());
        self.range_index(&set, Probe::Codes(*dictionary), stored, name)
    }
}

/// Blocks of which no row and every row matches, and how many rows do in all, about.
fn judged(set: &RangeSet, column: &ColumnView<'_>, zones: bool, blocks: u32) -> (u32, u32, f64) {
    let (mut none, mut all, mut estimate) = (0, 0, 0.0);
    for block in 0..blocks {
        let zone = zones.then(|| column.zone(block)).flatten();
        match judge(set, zone) {
            Verdict::None => none += 1,
            Verdict::All => {
                all += 1;
                estimate += f64::from(BLOCK_ROWS);
            }
            Verdict::Look => estimate += raw::share(set, zone) * f64::from(BLOCK_ROWS),
        }
    }
    (none, all, estimate)
}

/// An expression with the columns that it reads, and no others.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) schema: SchemaRef,
}

impl Inputs {
    /// `expr` is over the columns of `schema`.
    pub(crate) fn of(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self> {
        let indices = columns_of(expr);
        Ok(Self {
            expr: rebased(expr, &indices)?,
            schema: project(schema, &indices)?,
        })
    }

    pub(crate) fn sources<'a>(
        &self,
        view: &'a SegmentView,
        spec: &TableSpec,
        null_mode: NullMode,
    ) -> Result<Vec<Source<'a>>> {
        let fields = self.schema.fields().iter();
        fields
            .map(|field| source(view, spec, field, null_mode))
            .collect()
    }
}

/// One value of each source, when none depends on the row.
pub(crate) fn constants(sources: &[Source<'_>]) -> Option<Vec<ArrayRef>> {
    let constant = |source: &Source<'_>| match source {
        Source::Constant(array) => Some(Arc::clone(array)),
        _ => None,
    };
    sources.iter().map(constant).collect()
}

/// The expression over a batch that has only the columns at `indices`.
fn rebased(expr: &Arc<dyn PhysicalExpr>, indices: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let rebased = Arc::clone(expr).transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let Some(at) = indices.iter().position(|index| *index == column.index()) else {
            return internal_err!("column {} is not in the filter", column.name());
        };
        Ok(Transformed::yes(
            Arc::new(Column::new(column.name(), at)) as _
        ))
    })?;
    Ok(rebased.data)
}

/// Rows for which the expression is true; null is not true.
pub(crate) fn evaluate(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<Vec<bool>> {
    let batch = batch(schema, columns, rows)?;
    let verdict = expr.evaluate(&batch)?.into_array(rows)?;
    let Some(verdict) = verdict.as_boolean_opt() else {
        return internal_err!("a filter that is not boolean");
    };
    Ok((0..rows)
        .map(|row| verdict.is_valid(row) && verdict.value(row))
        .collect())
}
