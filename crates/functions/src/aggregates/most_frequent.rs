//! MODE of standard SQL: the most frequent value of any type. Pinot's, of numbers, is
//! [`super::mode`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
};

use super::states::{list_of_array, lists, longs, longs_of};
use crate::docs::{Section, documentation};
use crate::plain::list_of;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct MostFrequent {
    signature: Signature,
    docs: Documentation,
}

impl Default for MostFrequent {
    fn default() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
            docs: documentation(
                Section::Aggregate,
                "MOST_FREQUENT(x)",
                "The most frequent value; of several the least. In the standard dialect MODE(x) \
                 and MODE() WITHIN GROUP (ORDER BY x) are this one.",
                &[("MOST_FREQUENT(s) FROM numbers", "b")],
            ),
        }
    }
}

impl AggregateUDFImpl for MostFrequent {
    fn name(&self) -> &str {
        "most_frequent"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.docs)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let values = list_of(args.return_field.data_type().clone());
        let states = [("values", values), ("counts", list_of(DataType::Int64))];
        let fields = states.map(|(name, data_type)| {
            Arc::new(Field::new(
                format_state_name(args.name, name),
                data_type,
                true,
            ))
        });
        Ok(fields.to_vec())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type().clone();
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Box::new(Counts {
            data_type,
            converter,
            counts: HashMap::new(),
        }))
    }
}

#[derive(Debug)]
struct Counts {
    data_type: DataType,
    converter: RowConverter,
    /// By the bytes of a value, whose order is that of the values.
    counts: HashMap<Box<[u8]>, i64>,
}

impl Counts {
    fn add(&mut self, values: &ArrayRef, mut counts: impl Iterator<Item = i64>) -> Result<()> {
        let rows = self
            .converter
            .convert_columns(std::slice::from_ref(values))?;
        let nulls = values.logical_nulls();
        for (at, row) in rows.iter().enumerate() {
            let count = counts.next().unwrap_or(1);
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
                continue;
            }
            match self.counts.get_mut(row.as_ref()) {
                Some(known) => *known += count,
                None => drop(self.counts.insert(row.as_ref().into(), count)),
            }
        }
        Ok(())
    }

    fn values<'a>(&self, bytes: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let rows = bytes.map(|bytes| parser.parse(bytes));
        Ok(self.converter.convert_rows(rows)?.remove(0))
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], std::iter::empty())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (values, counts) in lists(&states[0]).zip(lists(&states[1])) {
            self.add(&values, longs_of(&counts))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.values(self.counts.keys().map(|bytes| &**bytes))?;
        let counts = self.counts.values().copied().collect();
        Ok(vec![list_of_array(values), longs(counts)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let of_most = self.counts.iter().max_by(|(one, a), (other, b)| {
            // Of those that are as frequent, the least.
            a.cmp(b).then_with(|| other.cmp(one))
        });
        match of_most {
            Some((bytes, _)) => {
                let value = self.values(std::iter::once(&**bytes))?;
                ScalarValue::try_from_array(&value, 0)
            }
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        let bytes = self.counts.keys().map(|bytes| bytes.len());
        size_of_val(self) + self.counts.capacity() * 24 + bytes.sum::<usize>()
    }
}
