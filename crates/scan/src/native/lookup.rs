//! What a join finds in a small table, as an expression of the other side's columns.
//!
//! Where each key is there once, a row meets one row of the small table or none. Then whether it
//! meets one is a function of the columns by which it is joined, and so is each column of the row
//! that it meets. Nothing is looked up before the small table was read.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{and, filter_record_batch, is_not_null, sort, take};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{NullEquality, Result, ScalarValue, internal_datafusion_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, binary, in_list, lit};

use super::dictionary::OrderedValues;
use super::rows::RowNumbers;
use crate::ranges::RangeSet;

type Expr = Arc<dyn PhysicalExpr>;

/// So few keys are a list, each of which is searched for by itself.
const LISTED_MAX: usize = 4_000;

/// The small side of a join.
#[derive(Debug)]
pub(super) struct Things {
    null_equality: NullEquality,
    rows: OnceLock<Rows>,
}

#[derive(Debug)]
struct Rows {
    keys: RowNumbers,
    is_unique: bool,
    /// Where each key is there once, those of the row with the key's number.
    columns: RecordBatch,
    /// Some row had a null for a key and equals nothing: it is not among them.
    has_null: bool,
    /// Those of one column that are not null, ascending.
    ordered: OnceLock<Option<OrderedValues>>,
    _memory: MemoryReservation,
}

/// Types whose equality is that of their bytes.
pub(super) fn can_be_key(own: &DataType) -> bool {
    own.is_integer()
        || matches!(
            own,
            DataType::Utf8View
                | DataType::BinaryView
                | DataType::Boolean
                | DataType::Timestamp(_, _)
        )
}

impl Things {
    pub(super) fn new(null_equality: NullEquality) -> Self {
        Self {
            null_equality,
            rows: OnceLock::new(),
        }
    }

    /// Whether each key is there once, where the rows were taken.
    pub(super) fn is_unique(&self) -> Option<bool> {
        self.rows.get().map(|rows| rows.is_unique)
    }

    /// Takes all rows, the first time. Whether each key is there once.
    pub(super) fn fill(
        &self,
        rows: &RecordBatch,
        keys: &[Expr],
        memory: MemoryReservation,
    ) -> Result<bool> {
        let columns = match self.null_equality {
            NullEquality::NullEqualsNull => rows.clone(),
            NullEquality::NullEqualsNothing => without_nulls(rows, keys)?,
        };
        let of_keys = evaluated(keys, &columns)?;
        let types = of_keys.iter().map(|key| key.data_type().clone());
        let mut numbers = RowNumbers::new(&types.collect::<Vec<_>>())?;
        numbers.number(&of_keys)?;
        let is_unique = numbers.count() == columns.num_rows();
        let rows = self.rows.get_or_init(|| Rows {
            keys: numbers,
            is_unique,
            has_null: columns.num_rows() < rows.num_rows(),
            columns,
            ordered: OnceLock::new(),
            _memory: memory,
        });
        Ok(rows.is_unique)
    }

    fn rows(&self) -> Result<&Rows> {
        let not_yet = || internal_datafusion_err!("the small side of a join was not read yet");
        self.rows.get().ok_or_else(not_yet)
    }
}

impl Rows {
    fn ordered(&self) -> Option<&OrderedValues> {
        let ordered = self.ordered.get_or_init(|| {
            let values = self.keys.values(0..self.keys.count()).ok()?;
            let [values] = &values[..] else {
                return None;
            };
            let values = sort(values, None).ok()?;
            // Nulls come first.
            let nulls = values.null_count();
            OrderedValues::of(&values.slice(nulls, values.len() - nulls))
        });
        ordered.as_ref()
    }
}

fn evaluated(exprs: &[Expr], rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let arrays = exprs.iter();
    let arrays = arrays.map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()));
    arrays.collect()
}

fn without_nulls(rows: &RecordBatch, keys: &[Expr]) -> Result<RecordBatch> {
    let mut kept: Option<BooleanArray> = None;
    for key in evaluated(keys, rows)? {
        if key.logical_null_count() > 0 {
            let set = is_not_null(&key)?;
            kept = Some(match kept {
                Some(kept) => and(&kept, &set)?,
                None => set,
            });
        }
    }
    Ok(match kept {
        Some(kept) => filter_record_batch(rows, &kept)?,
        None => rows.clone(),
    })
}

/// What is asked of the row that a key finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// A column of it; null where there is none.
    Column(usize),
    /// Whether it is there.
    IsThere,
    /// Whether the key is surely none of all, as `NOT IN` has it.
    IsNone,
}

#[derive(Clone, Debug)]
pub(crate) struct LookupExpr {
    things: Arc<Things>,
    keys: Vec<Expr>,
    asked: Asked,
    field: FieldRef,
}

impl LookupExpr {
    pub(super) fn new(things: &Arc<Things>, keys: &[Expr], asked: Asked, field: FieldRef) -> Self {
        Self {
            things: Arc::clone(things),
            keys: keys.to_vec(),
            asked,
            field,
        }
    }

    /// What this condition says in a form that indexes know. Unlike this expression it is null
    /// where the key is.
    pub(super) fn known(&self, schema: &Schema) -> Result<Known> {
        let (Asked::IsThere, [key]) = (self.asked, &self.keys[..]) else {
            return Ok(Known::Nothing);
        };
        let keys = &self.things.rows()?.keys;
        let Some(ends) = keys.ends() else {
            return Ok(Known::Same(lit(false)));
        };
        let is_short = keys.count() <= LISTED_MAX;
        let values = match is_short {
            true => keys.values(0..keys.count())?,
            false => keys.values(ends.into_iter())?,
        };
        let values = &values[0];
        if values.null_count() > 0 {
            return Ok(Known::Nothing);
        }
        let values = (0..values.len()).map(|at| Ok(lit(ScalarValue::try_from_array(values, at)?)));
        let values = values.collect::<Result<Vec<_>>>()?;
        let key = || Arc::clone(key);
        if is_short {
            return Ok(Known::Same(in_list(key(), values, &false, schema)?));
        }
        let [least, greatest] = &values[..] else {
            return Ok(Known::Nothing);
        };
        Ok(Known::Between([
            binary(key(), Operator::GtEq, Arc::clone(least), schema)?,
            binary(key(), Operator::LtEq, Arc::clone(greatest), schema)?,
        ]))
    }
}

impl LookupExpr {
    /// Which of a column's ordered values this condition holds for, each by its position: both are
    /// walked in their order, as most values are not looked for. `None`: each must be looked up.
    pub(crate) fn held(&self, column: usize, values: &ArrayRef) -> Option<RangeSet> {
        let (Asked::IsThere, [key]) = (self.asked, &self.keys[..]) else {
            return None;
        };
        if key.downcast_ref::<Column>()?.index() != column {
            return None;
        }
        let keys = self.things.rows.get()?.ordered()?;
        let values = OrderedValues::of(values).filter(|values| values.are_like(keys))?;
        let (mut held, mut from) = (Vec::new(), 0);
        for key in 0..keys.len() as u32 {
            from = match values.find(keys.at(key), from) {
                Ok(position) => {
                    held.push((i64::from(position), i64::from(position)));
                    position + 1
                }
                Err(next) => next,
            };
        }
        Some(RangeSet::of_any(held))
    }
}

/// Of a condition, for those who do not look keys up.
#[derive(Debug)]
pub(super) enum Known {
    Nothing,
    /// It is the same as this.
    Same(Expr),
    /// Only where both of these are true.
    Between([Expr; 2]),
}

impl PartialEq for LookupExpr {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.things, &other.things)
            && self.keys == other.keys
            && self.asked == other.asked
    }
}

impl Eq for LookupExpr {}

impl Hash for LookupExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.things).hash(state);
        self.keys.hash(state);
        self.asked.hash(state);
    }
}

impl fmt::Display for LookupExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(ToString::to_string);
        let keys = keys.collect::<Vec<_>>().join(", ");
        match self.asked {
            Asked::Column(_) => write!(f, "{} of {keys}", self.field.name()),
            Asked::IsThere => write!(f, "{keys} is found"),
            Asked::IsNone => write!(f, "{keys} is none of all"),
        }
    }
}

impl PhysicalExpr for LookupExpr {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = self.things.rows()?;
        let keys = evaluated(&self.keys, batch)?;
        let found: UInt32Array = rows.keys.find(&keys)?;
        Ok(ColumnarValue::Array(match self.asked {
            Asked::Column(_) if rows.columns.num_rows() == 0 => {
                new_null_array(self.field.data_type(), found.len())
            }
            Asked::Column(at) => take(rows.columns.column(at), &found, None)?,
            Asked::IsThere => Arc::new(is_not_null(&found)?),
            Asked::IsNone => {
                let is_empty = rows.columns.num_rows() == 0 && !rows.has_null;
                let is_none = |at: usize| {
                    let is_null = keys.iter().any(|key| key.is_null(at));
                    is_empty || !rows.has_null && !is_null && found.is_null(at)
                };
                let none: BooleanArray = (0..found.len()).map(|at| Some(is_none(at))).collect();
                Arc::new(none)
            }
        }))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn children(&self) -> Vec<&Expr> {
        self.keys.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, keys: Vec<Expr>) -> Result<Expr> {
        Ok(Arc::new(Self {
            keys,
            ..Self::clone(&self)
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Field;
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};

    use super::*;

    /// A condition that keys are among these, where nulls equal nulls or nothing.
    fn is_among(keys: ArrayRef, null_equality: NullEquality) -> LookupExpr {
        let field = Arc::new(Field::new("key", keys.data_type().clone(), true));
        let schema = Arc::new(Schema::new(vec![field]));
        let rows = RecordBatch::try_new(schema, vec![keys]).unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let memory = MemoryConsumer::new("keys").register(&pool);
        let key: Expr = Arc::new(Column::new("key", 0));
        let things = Arc::new(Things::new(null_equality));
        things.fill(&rows, &[Arc::clone(&key)], memory).unwrap();
        let flag = Arc::new(Field::new("mark", DataType::Boolean, false));
        LookupExpr::new(&things, &[key], Asked::IsThere, flag)
    }

    #[test]
    fn keys_are_found_in_order_as_each_by_itself() {
        let numbers = |step: i64, count: i64| (0..count).map(move |n| n * step % 7_919);
        let texts = |step, count| numbers(step, count).map(|n| n.to_string());
        for (step, count) in [(0, 0), (0, 1), (3, 900), (1, 5_000), (17, 7_918)] {
            let nulls = [None, None].into_iter();
            let longs: Int64Array = numbers(step, count).map(Some).chain(nulls).collect();
            let nulls = [None::<String>].into_iter();
            let words: StringViewArray = texts(step, count).map(Some).chain(nulls).collect();
            let mut ordered: Vec<String> = texts(5, 4_000).collect();
            ordered.sort();
            let values: [ArrayRef; 2] = [
                Arc::new(Int64Array::from_iter_values((0..4_000).map(|n| n * 2))),
                Arc::new(StringViewArray::from_iter_values(ordered)),
            ];
            for (keys, values) in [Arc::new(longs) as ArrayRef, Arc::new(words)]
                .into_iter()
                .zip(values)
            {
                for nulls in [
                    NullEquality::NullEqualsNull,
                    NullEquality::NullEqualsNothing,
                ] {
                    let lookup = is_among(Arc::clone(&keys), nulls);
                    let field = Field::new("key", values.data_type().clone(), true);
                    let schema = Arc::new(Schema::new(vec![field]));
                    let rows = RecordBatch::try_new(schema, vec![Arc::clone(&values)]).unwrap();
                    let each = lookup.evaluate(&rows).unwrap().into_array(values.len());
                    let each = each.unwrap();
                    let held = lookup.held(0, &values).unwrap();
                    let differs = (0..values.len())
                        .find(|at| each.as_boolean().value(*at) != held.contains(*at as i64));
                    assert_eq!(differs, None, "{step} {count}");
                }
            }
        }
        let longs: ArrayRef = Arc::new(Int64Array::from_iter_values(0..9));
        let lookup = is_among(Arc::clone(&longs), NullEquality::NullEqualsNothing);
        assert_eq!(lookup.held(1, &longs), None, "it is about another column");
        let words: ArrayRef = Arc::new(StringViewArray::from_iter_values(["1", "2"]));
        assert_eq!(lookup.held(0, &words), None, "they are of another type");
    }
}
