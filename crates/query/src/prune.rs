//! Leaving out sealed segments whose values cannot match.
//!
//! The ranges of a segment's record hold every stored value, the defaults of nulls among them.
//! DataFusion's pruning predicate does the reasoning; in doubt a segment stays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use schemas::Value;
use schemas::cluster::TableState;
use schemas::segment::SegmentRecord;

/// For each segment of the table whether it must be read.
pub(crate) fn segments_to_read(
    table: &TableState,
    schema: &SchemaRef,
    filters: &[Arc<dyn PhysicalExpr>],
) -> Vec<bool> {
    let mut keep = vec![true; table.segments.len()];
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
    let telling = filters.iter().filter(|filter| {
        let columns = collect_columns(filter);
        columns.iter().any(|column| known.contains(column.name()))
    });
    let telling: Vec<_> = telling.cloned().collect();
    if telling.is_empty() {
        return keep;
    }
    let predicate = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(schema))
        .try_build(conjunction(telling));
    let Ok(predicate) = predicate else {
        return keep;
    };
    let ranges = Ranges { records, schema };
    if let Ok(verdicts) = predicate.prune(&ranges) {
        for (at, verdict) in sealed.into_iter().zip(verdicts) {
            keep[at] = verdict;
        }
    }
    keep
}

struct Ranges<'a> {
    records: Vec<&'a SegmentRecord>,
    schema: &'a Schema,
}

impl Ranges<'_> {
    fn bounds(
        &self,
        column: &Column,
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
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |(_, least, _)| least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |(_, _, greatest)| greatest)
    }

    fn num_containers(&self) -> usize {
        self.records.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
