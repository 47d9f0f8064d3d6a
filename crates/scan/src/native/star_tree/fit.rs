//! Whether a star-tree can tell what is asked of a segment, and how.
//!
//! It can when every column that the question reads is a dimension or an aggregate of the tree and
//! has no SQL nulls in the segment, filters are sets of codes, and keys are the same for all rows
//! of a code.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use index::sketch::DIGEST_SIZE;
use index::star_tree::{Metric, Question};
use schemas::table::{StarTreeFunction, TimeGranularity};
use segment::SegmentView;
use segment::calendar::Unit;
use segment::view::{StarTree, StarTreeDimension, Values};

use crate::columns::Source;
use crate::learned;
use crate::native::aggregate::{Aggregate, Kind, Percentile, Width};
use crate::native::exec::NativeAggregateExec;
use crate::native::number::of_bits;
use crate::predicate::{Compiler, Inputs};
use crate::ranges::RangeSet;

/// How a tree answers.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) question: Question,
    pub(super) keys: Vec<KeyOf>,
    /// What the codes of each dimension stand for that is grouped by.
    pub(super) values: Vec<Option<ArrayRef>>,
    /// One for each aggregate; `None`: it counts rows.
    pub(super) metrics: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(super) struct KeyOf {
    /// `None`: it is the same for all rows.
    pub(super) dimension: Option<usize>,
    pub(super) inputs: Inputs,
}

struct Asked<'a, 'b> {
    operator: &'b NativeAggregateExec,
    compiler: Compiler<'a, 'b>,
    tree: &'b StarTree,
}

impl Fit {
    pub(super) fn new(
        operator: &NativeAggregateExec,
        view: &SegmentView,
        tree: &StarTree,
    ) -> Result<Option<Self>> {
        let asked = Asked {
            operator,
            compiler: operator.compiler(view),
            tree,
        };
        let dimensions = tree.dimensions.len();
        let mut fit = Self {
            question: Question {
                filters: vec![None; dimensions],
                grouped: vec![false; dimensions],
            },
            keys: Vec::with_capacity(operator.keys.len()),
            values: vec![None; dimensions],
            metrics: Vec::with_capacity(operator.aggregates.len()),
        };
        let fits = fit.aggregates(&asked)? && fit.keys(&asked)? && fit.filters(&asked)?;
        Ok(fits.then_some(fit))
    }

    fn aggregates(&mut self, asked: &Asked<'_, '_>) -> Result<bool> {
        for aggregate in asked.operator.aggregates.iter() {
            if aggregate.filter.is_some() {
                return Ok(false);
            }
            let Some(argument) = &aggregate.argument else {
                self.metrics.push(None);
                continue;
            };
            let Some(column) = argument.downcast_ref::<Column>() else {
                return Ok(false);
            };
            if !is_plain(asked, argument)? {
                return Ok(false);
            }
            if aggregate.kind == Kind::Count {
                self.metrics.push(None);
                continue;
            }
            match metric(aggregate, column.name(), asked.tree) {
                Some(metric) => self.metrics.push(Some(metric)),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn keys(&mut self, asked: &Asked<'_, '_>) -> Result<bool> {
        let table = asked.compiler.table_schema;
        for key in &asked.operator.keys {
            let inputs = Inputs::of(key, table)?;
            let [field] = &inputs.schema.fields()[..] else {
                if !inputs.schema.fields().is_empty() {
                    return Ok(false);
                }
                self.keys.push(KeyOf {
                    dimension: None,
                    inputs,
                });
                continue;
            };
            let fits = |dimension: &StarTreeDimension| {
                let bucket = dimension.bucket;
                dimension.column == *field.name()
                    && bucket.is_none_or(|bucket| is_same_in(&inputs.expr, bucket))
            };
            let Some(at) = best(asked.tree, fits) else {
                return Ok(false);
            };
            let Some(values) = values_of(asked, &inputs, at)? else {
                return Ok(false);
            };
            self.values[at] = Some(values);
            self.question.grouped[at] = true;
            self.keys.push(KeyOf {
                dimension: Some(at),
                inputs,
            });
        }
        Ok(true)
    }

    fn filters(&mut self, asked: &Asked<'_, '_>) -> Result<bool> {
        let tree = asked.tree;
        let Compiler { view, options, .. } = asked.compiler;
        let filters = learned::current(&asked.operator.description, view, options, |_| {
            Ok(u64::from(view.row_count()))
        })?;
        let is_coded = |column: &str| {
            let mut dimensions = tree.dimensions.iter();
            dimensions.any(|d| d.column == column && d.bucket.is_none() && d.values.is_none())
        };
        let Some(sets) = asked.compiler.by_column(&filters, is_coded)? else {
            return Ok(false);
        };
        for (column, set) in sets {
            let mut found = None;
            let fitting =
                (0..tree.dimensions.len()).filter(|at| tree.dimensions[*at].column == column);
            for at in fitting {
                if let Some(codes) = codes_in(&set, tree, at) {
                    found = Some((at, codes));
                    break;
                }
            }
            let Some((at, codes)) = found else {
                return Ok(false);
            };
            let cardinality = tree.tree.shape().dimensions[at].cardinality as usize;
            if codes.len() < cardinality {
                self.question.filters[at] = Some(codes);
            }
        }
        Ok(true)
    }
}

/// The dimension that fits; one that is not cut to buckets before others.
fn best(tree: &StarTree, fits: impl Fn(&StarTreeDimension) -> bool) -> Option<usize> {
    let fitting = (0..tree.dimensions.len()).filter(|at| fits(&tree.dimensions[*at]));
    fitting.min_by_key(|at| tree.dimensions[*at].bucket.is_some())
}

/// A column of the segment without SQL nulls.
fn is_plain(asked: &Asked<'_, '_>, argument: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    let compiler = &asked.compiler;
    let inputs = Inputs::of(argument, compiler.table_schema)?;
    let sources = inputs.sources(compiler.view, compiler.spec, compiler.null_mode)?;
    Ok(matches!(&sources[..], [Source::Stored(stored)] if stored.nulls.is_none()))
}

/// The metric that the aggregate reads.
fn metric(aggregate: &Aggregate, column: &str, tree: &StarTree) -> Option<usize> {
    let function = match aggregate.kind {
        Kind::Sum | Kind::Avg => StarTreeFunction::Sum,
        Kind::Min => StarTreeFunction::Min,
        Kind::Max => StarTreeFunction::Max,
        Kind::ApproxDistinct => StarTreeFunction::DistinctCountHll,
        // A finer digest is wanted, or all values.
        Kind::Percentile {
            how: Percentile::Digest(size),
            ..
        } if size <= DIGEST_SIZE => StarTreeFunction::PercentileTDigest,
        _ => return None,
    };
    let at = tree.metric(function, column)?;
    let fits = match (tree.tree.metric(at), aggregate.width) {
        (Metric::Sketches(_), Width::Own) | (Metric::Digests(_), Width::Double) => true,
        (Metric::Longs(_), Width::Long) | (Metric::Doubles(_), Width::Double) => true,
        // Added up as doubles, no sum wraps around.
        (Metric::Longs(_), Width::Double) => tree.metrics[at].is_exact,
        _ => false,
    };
    fits.then_some(at)
}

/// What the codes of a dimension stand for; `None`: it may have SQL nulls, or codes of others.
fn values_of(asked: &Asked<'_, '_>, inputs: &Inputs, at: usize) -> Result<Option<ArrayRef>> {
    let compiler = &asked.compiler;
    let sources = inputs.sources(compiler.view, compiler.spec, compiler.null_mode)?;
    let [Source::Stored(stored)] = &sources[..] else {
        return Ok(None);
    };
    if stored.nulls.is_some() {
        return Ok(None);
    }
    if let Some(values) = &asked.tree.dimensions[at].values {
        let values = values.iter().map(|value| Some(*value));
        return of_bits(values, inputs.schema.field(0).data_type()).map(Some);
    }
    let cardinality = asked.tree.tree.shape().dimensions[at].cardinality;
    Ok(match stored.column.values() {
        Values::Dictionary(dictionary) if dictionary.cardinality() == cardinality => {
            Some(dictionary.array())
        }
        _ => None,
    })
}

/// The codes of a dimension whose rows are all in `set`; `None`: it keeps some rows of a code and
/// not others.
fn codes_in(set: &RangeSet, tree: &StarTree, at: usize) -> Option<Vec<u32>> {
    let dimension = &tree.dimensions[at];
    let Some(values) = &dimension.values else {
        let last = i64::from(tree.tree.shape().dimensions[at].cardinality) - 1;
        let within = set.clone().intersection(RangeSet::of(0, last));
        let ranges = within.ranges().iter();
        return Some(
            ranges
                .flat_map(|(low, high)| *low as u32..=*high as u32)
                .collect(),
        );
    };
    let unit = dimension.bucket.map(Unit::from);
    let mut codes = Vec::new();
    for (code, first) in (0..).zip(values) {
        let last = match unit {
            None => *first,
            Some(unit) => unit.next_boundary(first.checked_add(1)?)?.checked_sub(1)?,
        };
        if set.covers(*first, last) {
            codes.push(code);
        } else if set.overlaps(*first, last) {
            return None;
        }
    }
    Some(codes)
}

/// Whether the expression is the begin of the bucket that a time lies in.
pub(in crate::native) fn is_begin_of(
    expr: &Arc<dyn PhysicalExpr>,
    bucket: TimeGranularity,
) -> bool {
    let call = expr.downcast_ref::<ScalarFunctionExpr>();
    call.is_some_and(|call| call.name() == "date_trunc") && cut_of(expr) == Some(bucket)
}

/// Whether the expression has one value for all times of a bucket: it only cuts them further.
pub(in crate::native) fn is_same_in(expr: &Arc<dyn PhysicalExpr>, bucket: TimeGranularity) -> bool {
    if expr.is::<Column>() {
        return false;
    }
    if let Some(unit) = cut_of(expr) {
        return refines(bucket, unit);
    }
    let mut children = expr.children().into_iter();
    children.all(|child| is_same_in(child, bucket))
}

/// The unit, when the expression is a column of time cut to it.
fn cut_of(expr: &Arc<dyn PhysicalExpr>) -> Option<TimeGranularity> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [unit, column] = call.args() else {
        return None;
    };
    if !matches!(call.name(), "date_trunc" | "date_part") || !column.is::<Column>() {
        return None;
    }
    let unit = match unit.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8(Some(unit))
        | ScalarValue::Utf8View(Some(unit))
        | ScalarValue::LargeUtf8(Some(unit)) => unit.to_uppercase(),
        _ => return None,
    };
    let part = call.name() == "date_part";
    Some(match unit.as_str() {
        // Parts of a second may come with a fraction.
        "SECOND" | "MILLISECOND" if part => return None,
        "DOW" | "DOY" if part => TimeGranularity::Day,
        // Weeks of a year follow days, not weeks.
        "WEEK" if part => TimeGranularity::Day,
        name => TimeGranularity::named(name)?,
    })
}

/// Every bucket of `fine` lies in one of `coarse`.
fn refines(fine: TimeGranularity, coarse: TimeGranularity) -> bool {
    let order = |one| {
        TimeGranularity::ALL
            .into_iter()
            .position(|known| known == one)
    };
    match (fine, coarse) {
        (TimeGranularity::Week, _) | (_, TimeGranularity::Week) => {
            fine == coarse || order(fine) <= order(TimeGranularity::Day)
        }
        _ => order(fine) <= order(coarse),
    }
}
