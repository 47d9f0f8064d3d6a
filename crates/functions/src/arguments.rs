//! Arguments of functions: a column of text, then literals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use schemas::Fault;

/// A call of one of our functions on a plain column, with literals behind it.
#[derive(Debug)]
pub struct Call<'a> {
    pub column: &'a Column,
    literals: Vec<&'a ScalarValue>,
}

impl<'a> Call<'a> {
    /// `None`: another function, or other arguments.
    pub fn of<F: ScalarUDFImpl>(expr: &'a dyn PhysicalExpr) -> Option<Self> {
        let call = ScalarFunctionExpr::try_downcast_func::<F>(expr)?;
        let (column, literals) = call.args().split_first()?;
        let literals = literals.iter();
        let literals = literals.map(|arg| Some(arg.downcast_ref::<Literal>()?.value()));
        Some(Self {
            column: column.downcast_ref::<Column>()?,
            literals: literals.collect::<Option<_>>()?,
        })
    }

    /// The literals as texts.
    pub fn texts(&self) -> Vec<Option<String>> {
        self.literals.iter().map(|value| text_of(value)).collect()
    }
}

pub(crate) fn wrong(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Fault::invalid(message)))
}

/// A literal as text; numbers and flags as they are written.
pub(crate) fn text_of(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match value.try_as_str() {
        Some(text) => text.map(str::to_owned),
        None => Some(value.to_string()),
    }
}

/// Behind the first argument. An argument that depends on the row is a fault.
pub(crate) fn literals(name: &str, args: &ScalarFunctionArgs) -> Result<Vec<Option<String>>> {
    let literals = args.args.iter().skip(1).map(|arg| match arg {
        ColumnarValue::Scalar(value) => Ok(text_of(value)),
        ColumnarValue::Array(_) => Err(not_literal(name)),
    });
    literals.collect()
}

/// As [`literals`], when a statement is planned. Parameters have no value yet: `None`.
pub(crate) fn planned(scalars: &[Option<&ScalarValue>]) -> Vec<Option<String>> {
    let behind = scalars.iter().skip(1);
    behind.map(|value| text_of((*value)?)).collect()
}

pub(crate) fn not_literal(name: &str) -> DataFusionError {
    wrong(format!(
        "{name} takes a column and then literals; only the first argument may differ from row \
         to row"
    ))
}

/// Texts, or lists of them: the column that a function reads.
pub(crate) fn check_column(name: &str, field: &FieldRef) -> Result<()> {
    let is_text = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
        )
    };
    let fits = match field.data_type() {
        DataType::List(item) => is_text(item.data_type()),
        data_type => is_text(data_type),
    };
    match fits {
        true => Ok(()),
        false => Err(wrong(format!(
            "{name} reads texts; `{}` is {}",
            field.name(),
            field.data_type()
        ))),
    }
}

/// The values of each row: none where it is null, several in a column of lists.
pub(crate) enum Texts {
    Single(ArrayRef),
    Lists(ArrayRef),
}

impl Texts {
    pub(crate) fn of(args: &ScalarFunctionArgs) -> Result<Self> {
        let array = args.args[0].to_array(args.number_rows)?;
        Ok(match array.data_type() {
            DataType::List(item) if *item.data_type() == DataType::Utf8View => Self::Lists(array),
            DataType::List(item) => {
                let item = item.as_ref().clone().with_data_type(DataType::Utf8View);
                Self::Lists(cast(&array, &DataType::List(Arc::new(item)))?)
            }
            DataType::Utf8View => Self::Single(array),
            _ => Self::Single(cast(&array, &DataType::Utf8View)?),
        })
    }

    /// Calls `judge` for every row that is not null, and gathers what it says.
    pub(crate) fn map<T>(&self, mut judge: impl FnMut(&[&str]) -> T) -> Vec<Option<T>> {
        match self {
            Self::Single(array) => {
                let texts = array.as_string_view().iter();
                texts.map(|text| text.map(|text| judge(&[text]))).collect()
            }
            Self::Lists(array) => {
                let mut values: Vec<&str> = Vec::new();
                let lists = array.as_list::<i32>();
                let texts = lists.values().as_string_view();
                (0..lists.len())
                    .map(|row| {
                        if lists.is_null(row) {
                            return None;
                        }
                        let offsets = lists.value_offsets();
                        values.clear();
                        values.extend(
                            (offsets[row] as usize..offsets[row + 1] as usize)
                                .filter(|at| texts.is_valid(*at))
                                .map(|at| texts.value(at)),
                        );
                        Some(judge(&values))
                    })
                    .collect()
            }
        }
    }
}
