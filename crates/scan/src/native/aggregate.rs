//! What an aggregate is to the native operator.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;

use super::general::General;
use super::linear::Linear;
use super::pairs::PairOf;
use super::plan::Output;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    /// Variance, of a sample or of all there are, or its root.
    Spread {
        sample: bool,
        root: bool,
    },
    Distinct,
    ApproxDistinct,
    Percentile {
        share: f64,
        how: Percentile,
    },
    /// Of two numbers.
    Pair(PairOf),
    General,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Percentile {
    /// The mean of the two in the middle.
    Median,
    /// Between two values, as DataFusion weighs them.
    Exact,
    /// Of n values the one with `n * share` others before it: Pinot's.
    Rank,
    /// As near as a digest of so many centroids; better is allowed.
    Digest(usize),
}

/// What the values are added up or compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Long,
    Double,
    /// As they are: text, and all that is only told apart.
    Own,
}

/// One aggregate; its expressions are over the columns of the table.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(super) kind: Kind,
    pub(super) width: Width,
    /// `None`: rows are counted.
    pub(super) argument: Option<Arc<dyn PhysicalExpr>>,
    /// The other arguments, and what rows are ordered by.
    pub(super) more: Vec<Arc<dyn PhysicalExpr>>,
    /// Only of the kind.
    pub(super) general: Option<Arc<General>>,
    /// What is made of the argument, or rather of what became of it.
    pub(super) linear: Linear,
    /// `FILTER (WHERE …)`.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Columns of its state.
    pub(super) states: Vec<FieldRef>,
    pub(super) result: DataType,
}

impl Aggregate {
    /// Whether this one's states answer the other as well.
    pub(super) fn answers(&self, other: &Self) -> bool {
        let same_values = self.argument == other.argument && self.filter == other.filter;
        match (self.kind, other.kind) {
            // States of numbers count them.
            (own, Kind::Count) if own.is_total() && self.width != Width::Own => {
                same_values && other.argument.is_some()
            }
            (Kind::Percentile { how, .. }, Kind::Percentile { how: other_how, .. }) => {
                same_values && how == other_how && self.width == other.width
            }
            (Kind::Sum | Kind::Avg, Kind::Sum | Kind::Avg) => {
                same_values && self.width == other.width
            }
            (Kind::Pair(_), Kind::Pair(_)) => same_values && self.more == other.more,
            (Kind::General, Kind::General) => match (&self.general, &other.general) {
                (Some(own), Some(others)) => Arc::ptr_eq(own, others),
                _ => false,
            },
            (own, others) => same_values && own == others && self.width == other.width,
        }
    }

    /// Whether both are kept of the same numbers, so that these need be read only once.
    pub(super) fn reads_with(&self, other: &Self) -> bool {
        self.kind.is_total()
            && other.kind.is_total()
            && self.width == other.width
            && self.width != Width::Own
            && self.argument == other.argument
            && self.filter == other.filter
    }

    /// Of EXPLAIN.
    pub(super) fn name(&self) -> String {
        match &self.general {
            Some(general) => general.name().to_owned(),
            None => format!("{:?}", self.kind).to_lowercase(),
        }
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.argument.iter().chain(&self.more)
    }

    pub(super) fn counts_rows(&self) -> bool {
        self.kind == Kind::Count && self.argument.is_none() && self.filter.is_none()
    }
}

impl Kind {
    /// A number for each group that each value changes.
    const fn is_total(self) -> bool {
        matches!(self, Self::Sum | Self::Avg | Self::Min | Self::Max)
    }

    /// Of values in the opposite order.
    pub(super) const fn reversed(self) -> Self {
        match self {
            Self::Min => Self::Max,
            Self::Max => Self::Min,
            other => other,
        }
    }
}

/// `None`: not one that we keep.
pub(super) fn kind_of(function: &AggregateFunctionExpr) -> Option<Kind> {
    let name = function.fun().name();
    let arguments = function.expressions();
    if function.is_distinct() {
        let counts = name == "count" && arguments.len() == 1;
        return counts.then_some(Kind::Distinct);
    }
    let percentile = |how| {
        let share = match arguments.get(1)?.downcast_ref::<Literal>()?.value() {
            ScalarValue::Float64(Some(percent)) if how == Percentile::Rank => *percent / 100.0,
            ScalarValue::Float64(Some(share)) => *share,
            _ => return None,
        };
        let descends = function.order_bys().first();
        let descends = descends.is_some_and(|order| order.options.descending);
        let share = if descends { 1.0 - share } else { share };
        (0.0..=1.0)
            .contains(&share)
            .then_some(Kind::Percentile { share, how })
    };
    match (name, arguments.len()) {
        ("approx_percentile_cont", 2) => {
            return percentile(Percentile::Digest(index::sketch::DIGEST_SIZE));
        }
        ("approx_percentile_cont", 3) => {
            let size = match arguments[2].downcast_ref::<Literal>()?.value() {
                ScalarValue::Int64(Some(size)) => usize::try_from(*size).ok()?,
                _ => return None,
            };
            return percentile(Percentile::Digest(size));
        }
        ("percentile_cont", 2) => return percentile(Percentile::Exact),
        ("percentile", 2) => return percentile(Percentile::Rank),
        (name, 2) => return PairOf::named(name).map(Kind::Pair),
        (_, 1) if function.order_bys().is_empty() => {}
        _ => return None,
    }
    let middle = |how| Kind::Percentile { share: 0.5, how };
    let spread = |sample, root| Kind::Spread { sample, root };
    Some(match name {
        "count" => Kind::Count,
        "sum" => Kind::Sum,
        "min" | "bool_and" => Kind::Min,
        "max" | "bool_or" => Kind::Max,
        "avg" => Kind::Avg,
        "var" => spread(true, false),
        "var_pop" => spread(false, false),
        "stddev" => spread(true, true),
        "stddev_pop" => spread(false, true),
        "approx_distinct" => Kind::ApproxDistinct,
        "median" => middle(Percentile::Median),
        "approx_median" => middle(Percentile::Digest(index::sketch::DIGEST_SIZE)),
        _ => return None,
    })
}

/// How values of type `own` are kept; `None`: they cannot be.
pub(super) fn width_of(
    kind: Kind,
    own: &DataType,
    aggregate: &Aggregate,
    output: Output,
) -> Option<Width> {
    let whole = matches!(own, DataType::Int32 | DataType::Int64);
    let time = *own == DataType::Timestamp(TimeUnit::Millisecond, None);
    let float = matches!(own, DataType::Float32 | DataType::Float64);
    let text = matches!(own, DataType::Utf8View | DataType::BinaryView);
    let result = &aggregate.result;
    match kind {
        Kind::Count => Some(Width::Long),
        Kind::Sum if *result == DataType::Int64 && whole => Some(Width::Long),
        Kind::Sum if *result == DataType::Float64 && (whole || float) => Some(Width::Double),
        Kind::Min | Kind::Max if whole || time || *own == DataType::Boolean => Some(Width::Long),
        Kind::Min | Kind::Max if float => Some(Width::Double),
        Kind::Min | Kind::Max if text => Some(Width::Own),
        Kind::Avg if *result != DataType::Float64 => None,
        // Sums of 32-bit numbers are exact in 64 bits; wider ones could overflow.
        Kind::Avg if *own == DataType::Int32 => Some(Width::Long),
        Kind::Avg | Kind::Spread { .. } if whole || float => Some(Width::Double),
        // Without a group there is a list of all distinct values as the state: others do that.
        Kind::Distinct if whole || time || text || *own == DataType::Boolean => Some(Width::Own),
        Kind::ApproxDistinct if whole || time || text => Some(Width::Own),
        Kind::Percentile {
            how: Percentile::Digest(_),
            ..
        } if whole || float => Some(Width::Double),
        // The state is a list of all values.
        Kind::Percentile { .. } if output == Output::States => None,
        Kind::Percentile { .. } if *result == DataType::Float64 && (whole || float) => {
            Some(Width::Double)
        }
        _ => None,
    }
}
