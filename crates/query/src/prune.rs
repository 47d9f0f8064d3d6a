//! Leaving out sealed segments whose values cannot match.
//!
//! The ranges of a segment's record hold every stored value, the defaults of nulls among them. In
//! doubt a segment stays. Comparisons of columns with literals are judged here, because every query
//! has them; DataFusion's pruning predicate judges the rest.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column as NamedColumn, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use schemas::Value;
use schemas::cluster::TableState;
use schemas::segment::SegmentRecord;

use crate::parameters::{Parameters, bound, value_of};

/// For each segment of the table whether it must be read.
pub(crate) fn segments_to_read(
    table: &TableState,
    schema: &SchemaRef,
    filters: &[Arc<dyn PhysicalExpr>],
    parameters: &Parameters,
) -> Vec<bool> {
    let segments = table.segments.iter();
    let mut keep = vec![true; table.segments.len()];
    if segments.clone().all(|s| s.record.column_ranges.is_empty()) {
        return keep;
    }
    let mut rest = Vec::new();
    for filter in filters {
        let Some(test) = Test::of(filter, parameters) else {
            rest.extend(bound(filter, parameters).ok());
            continue;
        };
        for (keep, segment) in keep.iter_mut().zip(segments.clone()) {
            let record = &segment.record;
            *keep = *keep && (!record.is_done() || test.may_match(record));
        }
    }
    if !rest.is_empty() {
        judge_others(table, schema, rest, &mut keep);
    }
    keep
}

/// A condition on the ranges of columns.
#[derive(Debug)]
enum Test<'a> {
    Compare(&'a str, Operator, Value),
    OneOf(&'a str, Vec<Value>),
    All(Box<[Self; 2]>),
    Any(Box<[Self; 2]>),
}

impl<'a> Test<'a> {
    /// `None`: the filter is of another kind.
    fn of(filter: &'a Arc<dyn PhysicalExpr>, parameters: &Parameters) -> Option<Self> {
        if let Some(list) = filter.downcast_ref::<InListExpr>() {
            let column = list
                .expr()
                .downcast_ref::<Column>()
                .filter(|_| !list.negated())?;
            let values = list.list().iter();
            let values = values.map(|value| value_of(value, parameters).and_then(stored));
            return Some(Self::OneOf(column.name(), values.collect::<Option<_>>()?));
        }
        let binary = filter.downcast_ref::<BinaryExpr>()?;
        let (left, right) = (binary.left(), binary.right());
        let both = || -> Option<Box<[Self; 2]>> {
            let both = [Self::of(left, parameters)?, Self::of(right, parameters)?];
            Some(Box::new(both))
        };
        match *binary.op() {
            Operator::And => both().map(Self::All),
            Operator::Or => both().map(Self::Any),
            op => {
                let (column, op, literal) = match left.downcast_ref::<Column>() {
                    Some(column) => (column, op, right),
                    None => (right.downcast_ref::<Column>()?, op.swap()?, left),
                };
                let value = value_of(literal, parameters).and_then(stored)?;
                is_comparison(op).then(|| Self::Compare(column.name(), op, value))
            }
        }
    }

    fn may_match(&self, record: &SegmentRecord) -> bool {
        let range = |column: &str| {
            let mut ranges = record.column_ranges.iter();
            ranges.find(|(name, ..)| name == column)
        };
        match self {
            Self::All(both) => both.iter().all(|test| test.may_match(record)),
            Self::Any(both) => both.iter().any(|test| test.may_match(record)),
            Self::Compare(column, op, value) => {
                range(column).is_none_or(|(_, least, greatest)| fits(*op, value, least, greatest))
            }
            Self::OneOf(column, values) => range(column).is_none_or(|(_, least, greatest)| {
                values
                    .iter()
                    .any(|value| fits(Operator::Eq, value, least, greatest))
            }),
        }
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator as Op;
    matches!(
        op,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
    )
}

/// Whether some value of the range compares so with `value`.
fn fits(op: Operator, value: &Value, least: &Value, greatest: &Value) -> bool {
    let (Some(to_least), Some(to_greatest)) = (compared(least, value), compared(greatest, value))
    else {
        return true;
    };
    match op {
        Operator::Eq => to_least.is_le() && to_greatest.is_ge(),
        Operator::NotEq => !(to_least.is_eq() && to_greatest.is_eq()),
        Operator::Lt => to_least.is_lt(),
        Operator::LtEq => to_least.is_le(),
        Operator::Gt => to_greatest.is_gt(),
        Operator::GtEq => to_greatest.is_ge(),
        _ => true,
    }
}

/// Values of other types, and of two types, are not compared.
fn compared(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Long(a), Value::Long(b)) => a.cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => return None,
    })
}

/// A literal as records store values; the reverse of [`scalar`].
fn stored(value: &ScalarValue) -> Option<Value> {
    Some(match value {
        ScalarValue::Int32(Some(value)) => Value::Long((*value).into()),
        ScalarValue::Int64(Some(value)) => Value::Long(*value),
        ScalarValue::TimestampMillisecond(Some(value), None) => Value::Long(*value),
        ScalarValue::Boolean(Some(value)) => Value::Boolean(*value),
        ScalarValue::Utf8View(Some(value)) => Value::String(value.clone()),
        _ => return None,
    })
}

fn judge_others(
    table: &TableState,
    schema: &SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    keep: &mut [bool],
) {
    let sealed: Vec<usize> = (0..table.segments.len())
        .filter(|at| table.segments[*at].record.is_done())
        .collect();
    let records: Vec<&SegmentRecord> = sealed
        .iter()
        .map(|at| &table.segments[*at].record)
        .collect();
    // A filter on columns without ranges tells nothing, and may be costly to look at.
    let known: HashSet<&str> = records
        .iter()
        .flat_map(|record| record.column_ranges.iter().map(|(name, ..)| name.as_str()))
        .collect();
    let telling = filters.into_iter().filter(|filter| {
        let columns = collect_columns(filter);
        columns.iter().any(|column| known.contains(column.name()))
    });
    let telling: Vec<_> = telling.collect();
    if telling.is_empty() {
        return;
    }
    let predicate = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(schema))
        .try_build(conjunction(telling));
    let Ok(predicate) = predicate else {
        return;
    };
    let ranges = Ranges { records, schema };
    if let Ok(verdicts) = predicate.prune(&ranges) {
        for (at, verdict) in sealed.into_iter().zip(verdicts) {
            keep[at] &= verdict;
        }
    }
}

struct Ranges<'a> {
    records: Vec<&'a SegmentRecord>,
    schema: &'a Schema,
}

impl Ranges<'_> {
    fn bounds(
        &self,
        column: &NamedColumn,
        side: fn(&(String, Value, Value)) -> &Value,
    ) -> Option<ArrayRef> {
        let data_type = self.schema.field_with_name(column.name()).ok()?.data_type();
        let none = ScalarValue::try_new_null(data_type).ok()?;
        let of_record = |record: &&SegmentRecord| {
            let range = record
                .column_ranges
                .iter()
                .find(|(name, ..)| *name == column.name)?;
            scalar(side(range), data_type)
        };
        let values = self.records.iter().map(of_record);
        ScalarValue::iter_to_array(values.map(|value| value.unwrap_or_else(|| none.clone()))).ok()
    }
}

/// Floats have no range here: NaN is outside of any, yet it is compared.
fn scalar(value: &Value, data_type: &DataType) -> Option<ScalarValue> {
    Some(match (value, data_type) {
        (Value::Long(value), DataType::Int32) => {
            ScalarValue::Int32(Some((*value).try_into().ok()?))
        }
        (Value::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Value::Long(value), DataType::Timestamp(TimeUnit::Millisecond, None)) => {
            ScalarValue::TimestampMillisecond(Some(*value), None)
        }
        (Value::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Value::String(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        _ => return None,
    })
}

impl PruningStatistics for Ranges<'_> {
    fn min_values(&self, column: &NamedColumn) -> Option<ArrayRef> {
        self.bounds(column, |(_, least, _)| least)
    }

    fn max_values(&self, column: &NamedColumn) -> Option<ArrayRef> {
        self.bounds(column, |(_, _, greatest)| greatest)
    }

    fn num_containers(&self) -> usize {
        self.records.len()
    }

    fn null_counts(&self, _: &NamedColumn) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &NamedColumn, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
