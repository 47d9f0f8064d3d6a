//! Filters compiled for one segment.
//!
//! A conjunct over one dictionary-coded column is evaluated once for each distinct value: the
//! result is a set of codes, answered by the sorted column's ranges, by the inverted index where
//! few documents match, or by a scan of the codes. Comparisons of a raw column are ranges, which
//! zones decide for whole blocks. A conjunct over constants decides the segment. Everything else
//! is evaluated on the decoded rows of a block that passed so far.

mod codes;
mod conjunct;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use roaring::RoaringBitmap;
use schemas::TableSpec;
use schemas::proto::{IndexKind, NullMode, ScanOptions};
use segment::view::{ColumnView, DictionaryColumn, Nulls, RawColumn, Values};
use segment::{BLOCK_ROWS, SegmentView};

pub(crate) use self::conjunct::Conjunct;

use self::codes::{CodeSet, by_search};
use self::conjunct::{Verdict, judge};
use crate::columns::{Source, Stored, batch, external, project, source};
use crate::ranges;
use crate::stats::Counters;

/// Below this share of the rows the inverted index is faster than scanning the codes.
const INVERTED_SHARE_MAX: f64 = 0.02;
/// Codes of so few values are bytes, and scanned faster.
const BYTE_CODES: u32 = 256;
const INVERTED_SHARE_MAX_BYTES: f64 = 0.01;

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

enum Decided<'a> {
    Always,
    Never,
    Rows(Conjunct<'a>),
}

impl<'a> Compiler<'a, '_> {
    pub(crate) fn compile(&self, filters: &[Arc<dyn PhysicalExpr>]) -> Result<Compiled<'a>> {
        let mut conjuncts = Vec::new();
        let mut documents: Option<RoaringBitmap> = None;
        for filter in filters.iter().flat_map(split_conjunction) {
            match self.conjunct(filter)? {
                Decided::Always => {}
                Decided::Never => return Ok(Compiled::Never),
                Decided::Rows(Conjunct::Documents(more)) => {
                    documents = Some(match documents {
                        Some(documents) => documents & more,
                        None => more,
                    });
                }
                Decided::Rows(conjunct) => conjuncts.push(conjunct),
            }
        }
        if let Some(documents) = documents {
            if documents.is_empty() {
                return Ok(Compiled::Never);
            }
            conjuncts.push(Conjunct::Documents(documents));
        }
        conjuncts.sort_by_key(Conjunct::rank);
        Ok(Compiled::Rows(conjuncts))
    }

    fn conjunct(&self, filter: &Arc<dyn PhysicalExpr>) -> Result<Decided<'a>> {
        let inputs = Inputs::of(filter, self.table_schema)?;
        let sources = inputs.sources(self.view, self.spec, self.null_mode)?;
        if let Some(constants) = constants(&sources) {
            let verdict = evaluate(&inputs.expr, &inputs.schema, constants, 1)?;
            return Ok(match verdict[0] {
                true => Decided::Always,
                false => Decided::Never,
            });
        }
        if let [Source::Stored(stored)] = &sources[..] {
            let decided = match stored.column.values() {
                Values::Dictionary(dictionary) => self.codes(&inputs, dictionary, stored)?,
                Values::Raw(values) => self.ranges(&inputs, values, stored),
            };
            if let Some(decided) = decided {
                return Ok(decided);
            }
        }
        let fields = inputs.schema.fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        self.counters.index(format!("scan({})", names.join(",")));
        Ok(Decided::Rows(Conjunct::Evaluate {
            expr: inputs.expr,
            schema: inputs.schema,
            sources,
        }))
    }

    /// `None`: it cannot be said by ranges.
    fn ranges(
        &self,
        inputs: &Inputs,
        values: RawColumn<'a>,
        stored: &Stored<'a>,
    ) -> Option<Decided<'a>> {
        let field = inputs.schema.field(0);
        if matches!(field.data_type(), DataType::Decimal256(_, _)) {
            return None;
        }
        let set = ranges::of_expr(inputs.expr.as_ref(), field.data_type())?;
        let Stored { column, nulls } = *stored;
        let blocks = self.view.row_count().div_ceil(BLOCK_ROWS);
        let zones = self.options.uses(field.name(), IndexKind::Zone);
        let verdicts = (0..blocks).map(|block| match zones {
            true => judge(&set, column.zone(block)),
            false => Verdict::Look,
        });
        let (mut none, mut all) = (0, 0);
        for verdict in verdicts {
            none += u32::from(verdict == Verdict::None);
            all += u32::from(verdict == Verdict::All);
        }
        let name = field.name();
        let index = if none + all > 0 { "zone" } else { "scan" };
        self.counters.index(format!("{index}({name})"));
        Some(if none == blocks {
            Decided::Never
        } else if all == blocks && nulls.is_none() {
            Decided::Always
        } else {
            Decided::Rows(Conjunct::Ranges {
                set,
                column,
                values,
                nulls,
                zones,
            })
        })
    }

    /// `None`: the expression fails on some value; whether a row has it must be seen.
    fn codes(
        &self,
        inputs: &Inputs,
        dictionary: DictionaryColumn<'a>,
        stored: &Stored<'a>,
    ) -> Result<Option<Decided<'a>>> {
        let Stored { column, nulls } = *stored;
        let name = inputs.schema.field(0).name();
        if !self.options.uses(name, IndexKind::Dictionary) {
            return Ok(None);
        }
        let Some((codes, null_matches)) = self.matches(inputs, &dictionary, nulls.is_some()) else {
            return Ok(None);
        };
        let index = |kind: &str| self.counters.index(format!("{kind}({name})"));
        let Some(codes) = codes else {
            index("dictionary");
            return Ok(Some(if null_matches {
                Decided::Rows(Conjunct::Codes {
                    codes: None,
                    column: dictionary,
                    nulls,
                    null_matches,
                })
            } else {
                Decided::Never
            }));
        };
        if codes.covers(dictionary.cardinality()) && (nulls.is_none() || null_matches) {
            return Ok(Some(Decided::Always));
        }
        if !null_matches
            && let Some(mut documents) = self.by_index(&column, &dictionary, &codes, name)?
        {
            if let Some(nulls) = nulls {
                documents -= self.null_documents(nulls);
            }
            return Ok(Some(Decided::Rows(Conjunct::Documents(documents))));
        }
        index("dictionary");
        Ok(Some(Decided::Rows(Conjunct::Codes {
            codes: Some(codes),
            column: dictionary,
            nulls,
            null_matches,
        })))
    }

    /// The codes whose values match, and whether null does. `None`: the expression fails.
    fn matches(
        &self,
        inputs: &Inputs,
        dictionary: &DictionaryColumn<'a>,
        has_nulls: bool,
    ) -> Option<(Option<CodeSet>, bool)> {
        let values = dictionary.array();
        let count = values.len();
        if dictionary.is_ordered()
            && let Some(found) = by_search(inputs.expr.as_ref(), &values)
        {
            let mut matches = vec![false; count];
            found.iter().for_each(|code| matches[*code as usize] = true);
            return Some((CodeSet::new(matches), false));
        }
        let matches = evaluate(&inputs.expr, &inputs.schema, vec![values], count).ok()?;
        let null_matches = if has_nulls {
            let null = arrow::array::new_null_array(inputs.schema.field(0).data_type(), 1);
            evaluate(&inputs.expr, &inputs.schema, vec![null], 1).ok()?[0]
        } else {
            false
        };
        self.counters
            .update(|stats| stats.entries_scanned_in_filter += count as u64);
        Some((CodeSet::new(matches), null_matches))
    }

    fn null_documents(&self, nulls: Nulls<'_>) -> RoaringBitmap {
        let rows = self.view.row_count();
        let blocks = (0..rows).step_by(BLOCK_ROWS as usize);
        let blocks = blocks.map(|start| start..rows.min(start + BLOCK_ROWS));
        blocks
            .filter(|block| nulls.any_in(block.clone()))
            .flat_map(|block| block.filter(|document| nulls.is_null(*document)))
            .collect()
    }

    /// From the sorted column's ranges, or from the inverted index when few documents match.
    fn by_index(
        &self,
        column: &ColumnView<'a>,
        dictionary: &DictionaryColumn<'a>,
        codes: &CodeSet,
        name: &str,
    ) -> Result<Option<RoaringBitmap>> {
        if column.is_sorted() && self.options.uses(name, IndexKind::Sorted) {
            self.counters.index(format!("sorted({name})"));
            let mut documents = RoaringBitmap::new();
            for range in codes.iter().filter_map(|code| column.sorted_range(code)) {
                documents.insert_range(range);
            }
            return Ok(Some(documents));
        }
        let Some(counts) = dictionary.doc_counts() else {
            return Ok(None);
        };
        if !self.options.uses(name, IndexKind::Inverted) {
            return Ok(None);
        }
        let share_max = match dictionary.cardinality() <= BYTE_CODES {
            true => INVERTED_SHARE_MAX_BYTES,
            false => INVERTED_SHARE_MAX,
        };
        let documents: u64 = codes
            .iter()
            .map(|code| u64::from(counts[code as usize]))
            .sum();
        let share = documents as f64 / f64::from(self.view.row_count().max(1));
        if share > share_max {
            return Ok(None);
        }
        let Some(inverted) = column.inverted().map_err(external)? else {
            return Ok(None);
        };
        self.counters.index(format!("inverted({name})"));
        let documents = inverted.docs_of_any(codes.iter()).map_err(external)?;
        Ok(Some(documents))
    }
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
        let mut indices: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        indices.sort_unstable();
        indices.dedup();
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
fn evaluate(
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
