//! Leaving out sealed segments whose values cannot match.
//!
//! The ranges and partitions of a segment's record are of every stored value, the defaults of nulls
//! among them; the record names the segment and its partition of the stream. In doubt a segment
//! stays. Comparisons of columns with literals are judged here, because every query
//! has them; DataFusion's pruning predicate judges the rest.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{DataType, Decimal256Type, Schema, SchemaRef, TimeUnit, i256};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column as NamedColumn, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use schemas::Value;
use schemas::arrow::{BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE};
use schemas::cluster::SegmentState;
use schemas::partition::Partitioning;
use schemas::segment::SegmentRecord;
use schemas::table::virtual_column;

use crate::parameters::{Parameters, bound, value_of};
use crate::routing::{Bounds, Conditions, TableIndex};

/// The segments of the table that must be read, in their order.
pub(crate) fn segments_to_read<'a>(
    index: &'a TableIndex,
    schema: &SchemaRef,
    filters: &[Arc<dyn PhysicalExpr>],
    parameters: &Parameters,
) -> Vec<&'a SegmentState> {
    let (mut tests, mut rest) = (Vec::new(), Vec::new());
    for filter in filters {
        match Test::of(filter, parameters) {
            Some(test) => tests.push(test),
            None => rest.extend(bound(filter, parameters).ok()),
        }
    }
    let mut keep = index.candidates(&AllOf(&tests));
    for test in tests {
        keep.retain(|segment| test.may_match(&segment.record));
    }
    if !rest.is_empty() {
        judge_others(schema, rest, &mut keep);
    }
    keep
}

/// Tests that must all hold.
struct AllOf<'a>(&'a [Test<'a>]);

impl Conditions for AllOf<'_> {
    fn bounds(&self, column: &str) -> Bounds {
        let mut bounds = Bounds::default();
        self.0
            .iter()
            .for_each(|test| test.narrow(column, &mut bounds));
        bounds
    }

    fn partition(&self, column: &str, by: &Partitioning) -> Option<u32> {
        self.0.iter().find_map(|test| test.only(column, by))
    }
}

/// A condition on the values of columns.
#[derive(Debug)]
enum Test<'a> {
    Compare(&'a str, Operator, Literal),
    OneOf(&'a str, Vec<Literal>),
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
            let values = values.map(|value| value_of(value, parameters).and_then(Literal::of));
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
                let value = value_of(literal, parameters).and_then(Literal::of)?;
                is_comparison(op).then(|| Self::Compare(column.name(), op, value))
            }
        }
    }

    /// Whole numbers alone have bounds that say as much as the test.
    fn narrow(&self, column: &str, bounds: &mut Bounds) {
        match self {
            Self::All(both) => both.iter().for_each(|test| test.narrow(column, bounds)),
            Self::Compare(name, op, Literal::Stored(Value::Long(value))) if *name == column => {
                match op {
                    Operator::Eq => {
                        bounds.at_least(*value);
                        bounds.at_most(*value);
                    }
                    Operator::Gt | Operator::GtEq => bounds.at_least(*value),
                    Operator::Lt | Operator::LtEq => bounds.at_most(*value),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The partition of the one value that the column must have.
    fn only(&self, column: &str, by: &Partitioning) -> Option<u32> {
        match self {
            Self::All(both) => both.iter().find_map(|test| test.only(column, by)),
            Self::Compare(name, Operator::Eq, value) if *name == column => value.partition(by),
            _ => None,
        }
    }

    fn may_match(&self, record: &SegmentRecord) -> bool {
        match self {
            Self::All(both) => both.iter().all(|test| test.may_match(record)),
            Self::Any(both) => both.iter().any(|test| test.may_match(record)),
            Self::Compare(column, Operator::Eq, value) => may_hold(record, column, value),
            Self::Compare(column, op, value) => in_range(record, column, *op, value),
            Self::OneOf(column, values) => {
                values.iter().any(|value| may_hold(record, column, value))
            }
        }
    }
}

fn may_hold(record: &SegmentRecord, column: &str, value: &Literal) -> bool {
    let mut known = record
        .partitions
        .iter()
        .filter(|known| known.column == column);
    let in_partition = known.all(|known| {
        let partition = value.partition(&known.by);
        partition.is_none_or(|partition| known.held.binary_search(&partition).is_ok())
    });
    in_partition && in_range(record, column, Operator::Eq, value)
}

/// Whether some value of the column may compare so with `value`.
fn in_range(record: &SegmentRecord, column: &str, op: Operator, value: &Literal) -> bool {
    if [virtual_column::PARTITION, virtual_column::PARTITION_ID].contains(&column) {
        let only = Value::Long(record.id.partition.into());
        return fits(op, value, &only, &only);
    }
    let mut ranges = record.column_ranges.iter();
    let range = ranges.find(|(name, ..)| name == column);
    range.is_none_or(|(_, least, greatest)| fits(op, value, least, greatest))
}

fn is_comparison(op: Operator) -> bool {
    use Operator as Op;
    matches!(
        op,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
    )
}

/// Whether some value of the range compares so with `value`.
fn fits(op: Operator, value: &Literal, least: &Value, greatest: &Value) -> bool {
    let (Some(to_least), Some(to_greatest)) = (value.compared(least), value.compared(greatest))
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

/// What a column is compared with.
#[derive(Debug)]
enum Literal {
    /// As records store it.
    Stored(Value),
    /// Unscaled; records store it as text.
    Decimal(i256),
}

impl Literal {
    /// The reverse of [`scalar`].
    fn of(value: &ScalarValue) -> Option<Self> {
        Some(Self::Stored(match value {
            ScalarValue::Int32(Some(value)) => Value::Long((*value).into()),
            ScalarValue::Int64(Some(value)) => Value::Long(*value),
            ScalarValue::Float32(Some(value)) => Value::Double((*value).into()),
            ScalarValue::Float64(Some(value)) => Value::Double(*value),
            ScalarValue::TimestampMillisecond(Some(value), None) => Value::Long(*value),
            ScalarValue::Boolean(Some(value)) => Value::Boolean(*value),
            ScalarValue::Utf8View(Some(value)) => Value::String(value.clone()),
            ScalarValue::Decimal256(Some(value), _, BIG_DECIMAL_SCALE) => {
                return Some(Self::Decimal(*value));
            }
            _ => return None,
        }))
    }

    /// How a stored value compares with this one. Values of other types, and of two types, are not
    /// compared. The order of floats is total: a range ends with both zeros or none and holds no
    /// NaN, so that this leaves out nothing that IEEE's order would keep.
    fn compared(&self, stored: &Value) -> Option<Ordering> {
        Some(match (stored, self) {
            (Value::Long(a), Self::Stored(Value::Long(b))) => a.cmp(b),
            (Value::Double(a), Self::Stored(Value::Double(b))) => a.total_cmp(b),
            (Value::Boolean(a), Self::Stored(Value::Boolean(b))) => a.cmp(b),
            (Value::String(a), Self::Stored(Value::String(b))) => a.cmp(b),
            (Value::String(text), Self::Decimal(b)) => decimal(text)?.cmp(b),
            _ => return None,
        })
    }

    fn partition(&self, by: &Partitioning) -> Option<u32> {
        match self {
            Self::Stored(Value::Long(number)) => by.of_number(*number),
            Self::Stored(Value::String(text)) => by.of_text(text),
            _ => None,
        }
    }
}

/// Unscaled.
fn decimal(text: &str) -> Option<i256> {
    parse_decimal::<Decimal256Type>(text, BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE).ok()
}

fn judge_others(
    schema: &SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    keep: &mut Vec<&SegmentState>,
) {
    let sealed = keep.iter().filter(|segment| segment.record.is_done());
    let records: Vec<&SegmentRecord> = sealed.map(|segment| &segment.record).collect();
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
        let mut verdicts = verdicts.into_iter();
        keep.retain(|segment| !segment.record.is_done() || verdicts.next().unwrap_or(true));
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
        (Value::Double(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Value::Double(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Value::String(text), DataType::Decimal256(precision, BIG_DECIMAL_SCALE)) => {
            ScalarValue::Decimal256(Some(decimal(text)?), *precision, BIG_DECIMAL_SCALE)
        }
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

#[cfg(test)]
mod tests;
