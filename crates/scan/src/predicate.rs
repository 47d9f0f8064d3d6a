//! Conjuncts compiled for one segment.
//!
//! A conjunct over one dictionary-coded column is evaluated once for each distinct value: the
//! result is a set of codes. The set is answered by the sorted column's ranges, by the inverted
//! index where few documents match, or by a scan of the codes. A conjunct over constants decides
//! the segment. Everything else is evaluated on the decoded rows of a block that passed so far.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use roaring::RoaringBitmap;
use schemas::TableSpec;
use schemas::proto::NullMode;
use segment::view::{Codes, DictionaryColumn, Values};
use segment::{BLOCK_ROWS, SegmentView};

use crate::columns::{Source, batch, external, project, source};
use crate::rows::{BlockMask, WORDS};
use crate::stats::Counters;

/// Below this share of the rows the inverted index is faster than scanning the codes.
const INVERTED_SHARE_MAX: f64 = 0.02;
/// A column with fewer values is scanned: its codes are bytes.
const INVERTED_CARDINALITY_MIN: u32 = 256;

/// What is left of a filter in one segment.
#[derive(Debug)]
pub(crate) enum Compiled<'a> {
    /// No row can match.
    Never,
    Rows(Vec<Conjunct<'a>>),
}

#[derive(Debug)]
pub(crate) enum Conjunct<'a> {
    /// The documents, from an index.
    Documents(RoaringBitmap),
    Codes {
        codes: CodeSet,
        column: DictionaryColumn<'a>,
        nulls: Option<segment::view::Nulls<'a>>,
    },
    Evaluate {
        expr: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        sources: Vec<Source<'a>>,
    },
}

/// One byte for each code: whether rows with it match.
#[derive(Debug)]
pub(crate) struct CodeSet {
    matches: Vec<bool>,
    /// Whether rows that are null match; only with SQL nulls.
    null_matches: bool,
}

pub(crate) struct Compiler<'a, 'b> {
    pub(crate) view: &'a SegmentView,
    pub(crate) spec: &'b TableSpec,
    pub(crate) table_schema: &'b Schema,
    pub(crate) null_mode: NullMode,
    pub(crate) counters: &'b Counters,
}

impl<'a> Compiler<'a, '_> {
    pub(crate) fn compile(&self, filters: &[Arc<dyn PhysicalExpr>]) -> Result<Compiled<'a>> {
        let mut conjuncts = Vec::new();
        for filter in filters {
            match self.conjunct(filter)? {
                Decided::Always => {}
                Decided::Never => return Ok(Compiled::Never),
                Decided::Rows(conjunct) => conjuncts.push(conjunct),
            }
        }
        // What an index answers comes first: it is exact and skips blocks.
        conjuncts.sort_by_key(|conjunct| match conjunct {
            Conjunct::Documents(_) => 0,
            Conjunct::Codes { .. } => 1,
            Conjunct::Evaluate { .. } => 2,
        });
        Ok(Compiled::Rows(conjuncts))
    }

    fn conjunct(&self, filter: &Arc<dyn PhysicalExpr>) -> Result<Decided<'a>> {
        let mut indices: Vec<usize> = collect_columns(filter).iter().map(Column::index).collect();
        indices.sort_unstable();
        let schema = project(self.table_schema, &indices)?;
        let expr = rebased(filter, &indices)?;
        let sources = indices
            .iter()
            .map(|at| {
                source(
                    self.view,
                    self.spec,
                    self.table_schema.field(*at),
                    self.null_mode,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        if sources
            .iter()
            .all(|source| matches!(source, Source::Constant(_)))
        {
            let constants = sources.iter().map(|source| match source {
                Source::Constant(array) => Ok(Arc::clone(array)),
                _ => internal_err!("not a constant"),
            });
            let verdict = evaluate(&expr, &schema, constants.collect::<Result<_>>()?, 1)?;
            return Ok(if verdict[0] {
                Decided::Always
            } else {
                Decided::Never
            });
        }
        if let [Source::Stored(column)] = &sources[..]
            && let Values::Dictionary(dictionary) = column.values()
        {
            let name = schema.field(0).name();
            let nulls = match self.null_mode {
                NullMode::Defaults => None,
                NullMode::ThreeValued => column.nulls(),
            };
            return self.codes(&expr, &schema, dictionary, column, nulls, name);
        }
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        self.counters.index(format!("scan({})", names.join(",")));
        Ok(Decided::Rows(Conjunct::Evaluate {
            expr,
            schema,
            sources,
        }))
    }

    fn codes(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        schema: &SchemaRef,
        dictionary: DictionaryColumn<'a>,
        column: &segment::view::ColumnView<'a>,
        nulls: Option<segment::view::Nulls<'a>>,
        name: &str,
    ) -> Result<Decided<'a>> {
        let values = dictionary.array();
        let count = values.len();
        let matches = evaluate(expr, schema, vec![values], count)?;
        let null_matches = match nulls {
            None => false,
            Some(_) => {
                let null = arrow::array::new_null_array(schema.field(0).data_type(), 1);
                evaluate(expr, schema, vec![null], 1)?[0]
            }
        };
        self.counters
            .update(|stats| stats.entries_scanned_in_filter += count as u64);
        let none = !matches.contains(&true) && !null_matches;
        let every = !matches.contains(&false) && (nulls.is_none() || null_matches);
        if none {
            self.counters.index(format!("dictionary({name})"));
            return Ok(Decided::Never);
        }
        if every {
            return Ok(Decided::Always);
        }
        if nulls.is_none()
            && let Some(documents) = self.from_index(column, &dictionary, &matches, name)?
        {
            return Ok(Decided::Rows(Conjunct::Documents(documents)));
        }
        self.counters.index(format!("dictionary({name})"));
        let codes = CodeSet {
            matches,
            null_matches,
        };
        Ok(Decided::Rows(Conjunct::Codes {
            codes,
            column: dictionary,
            nulls,
        }))
    }

    /// From the sorted column's ranges, or from the inverted index when few documents match.
    fn from_index(
        &self,
        column: &segment::view::ColumnView<'a>,
        dictionary: &DictionaryColumn<'a>,
        matches: &[bool],
        name: &str,
    ) -> Result<Option<RoaringBitmap>> {
        let codes = || {
            (0u32..)
                .zip(matches)
                .filter(|(_, hit)| **hit)
                .map(|(code, _)| code)
        };
        if column.is_sorted() {
            self.counters.index(format!("sorted({name})"));
            let mut documents = RoaringBitmap::new();
            for range in codes().filter_map(|code| column.sorted_range(code)) {
                documents.insert_range(range);
            }
            return Ok(Some(documents));
        }
        let Some(counts) = dictionary.doc_counts() else {
            return Ok(None);
        };
        if dictionary.cardinality() <= INVERTED_CARDINALITY_MIN {
            return Ok(None);
        }
        let documents: u64 = codes().map(|code| u64::from(counts[code as usize])).sum();
        let share = documents as f64 / f64::from(self.view.row_count().max(1));
        if share > INVERTED_SHARE_MAX {
            return Ok(None);
        }
        let Some(inverted) = column.inverted().map_err(external)? else {
            return Ok(None);
        };
        self.counters.index(format!("inverted({name})"));
        Ok(Some(inverted.docs_of_any(codes()).map_err(external)?))
    }
}

enum Decided<'a> {
    Always,
    Never,
    Rows(Conjunct<'a>),
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

impl Conjunct<'_> {
    /// Keeps in `mask` the rows of the block at `start` that match.
    pub(crate) fn apply(
        &self,
        start: u32,
        mask: &mut BlockMask,
        null_mode: NullMode,
        counters: &Counters,
    ) -> Result<()> {
        let len = mask.len;
        match self {
            Self::Documents(documents) => {
                let mut hits = BlockMask::none(len);
                for document in documents.range(start..start + len) {
                    hits.set(document - start);
                }
                mask.and(&hits);
            }
            Self::Codes {
                codes,
                column,
                nulls,
            } => {
                counters.update(|stats| stats.entries_scanned_in_filter += u64::from(len));
                let mut hits = codes.scan(column.codes(start..start + len), len);
                if let Some(nulls) = nulls {
                    let mut null = [0; WORDS];
                    nulls.fill_mask(start, &mut null);
                    for (word, null) in hits.words.iter_mut().zip(null) {
                        *word = if codes.null_matches {
                            *word | null
                        } else {
                            *word & !null
                        };
                    }
                }
                mask.and(&hits);
            }
            Self::Evaluate {
                expr,
                schema,
                sources,
            } => {
                let mut rows = Vec::new();
                mask.collect_into(&mut rows);
                counters.update(|stats| {
                    stats.entries_scanned_in_filter += rows.len() as u64 * sources.len() as u64;
                });
                let columns = sources
                    .iter()
                    .map(|source| source.array(start, len, Some(&rows), null_mode))
                    .collect::<Result<Vec<_>>>()?;
                let verdict = evaluate(expr, schema, columns, rows.len())?;
                let mut hits = BlockMask::none(len);
                let kept = rows.iter().zip(verdict).filter(|(_, hit)| *hit);
                kept.for_each(|(row, _)| hits.set(*row));
                mask.and(&hits);
            }
        }
        Ok(())
    }

    /// The first block at or after `block` that can have a match; `None` = no more.
    pub(crate) fn next_block(&self, block: u32) -> Option<u32> {
        let Self::Documents(documents) = self else {
            return Some(block);
        };
        let from = block * BLOCK_ROWS;
        documents
            .range(from..)
            .next()
            .map(|document| document / BLOCK_ROWS)
    }
}

impl CodeSet {
    fn scan(&self, codes: Codes<'_>, len: u32) -> BlockMask {
        match codes {
            Codes::U8(codes) => self.scan_bytes(codes, len),
            Codes::U16(codes) => self.scan_wide(codes, len, usize::from),
            Codes::U32(codes) => self.scan_wide(codes, len, |code| code as usize),
        }
    }

    /// A table of 256 entries needs no bounds check.
    fn scan_bytes(&self, codes: &[u8], len: u32) -> BlockMask {
        let mut table = [0u64; 256];
        for (entry, hit) in table.iter_mut().zip(&self.matches) {
            *entry = u64::from(*hit);
        }
        let mut mask = BlockMask::none(len);
        for (word, codes) in mask.words.iter_mut().zip(codes.chunks(64)) {
            for (bit, code) in codes.iter().enumerate() {
                *word |= table[usize::from(*code)] << bit;
            }
        }
        mask
    }

    fn scan_wide<T: Copy>(&self, codes: &[T], len: u32, at: impl Fn(T) -> usize) -> BlockMask {
        let mut mask = BlockMask::none(len);
        for (word, codes) in mask.words.iter_mut().zip(codes.chunks(64)) {
            for (bit, code) in codes.iter().enumerate() {
                *word |= u64::from(self.matches[at(*code)]) << bit;
            }
        }
        mask
    }
}
