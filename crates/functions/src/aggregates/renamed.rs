//! An aggregate of Pinot's that is planned as another one.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, Signature, Volatility,
};

use crate::arguments::wrong;
use crate::docs::{Example, Section, documentation};
use crate::plain::Takes;

/// What is called instead.
pub(crate) struct Call {
    pub(crate) function: Arc<AggregateUDF>,
    pub(crate) args: Vec<Expr>,
    pub(crate) distinct: bool,
}

impl Call {
    pub(crate) fn new(function: Arc<AggregateUDF>, args: Vec<Expr>) -> Self {
        Self {
            function,
            args,
            distinct: false,
        }
    }
}

type To = Arc<dyn Fn(&[Expr]) -> Result<Call> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Renamed {
    name: String,
    aliases: Vec<String>,
    takes: Vec<Takes>,
    required: usize,
    gives: DataType,
    /// Over no rows, if it is not null.
    of_nothing: Option<ScalarValue>,
    to: To,
    signature: Signature,
    docs: Option<Documentation>,
}

impl fmt::Debug for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Renamed").field(&self.name).finish()
    }
}

impl PartialEq for Renamed {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Renamed {}

impl Hash for Renamed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Renamed {
    /// `gives` is the type of what is called instead.
    pub(crate) fn new(
        name: impl Into<String>,
        takes: &[Takes],
        gives: DataType,
        to: impl Fn(&[Expr]) -> Result<Call> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            takes: takes.to_vec(),
            required: takes.len(),
            gives,
            of_nothing: None,
            to: Arc::new(to),
            signature: Signature::user_defined(Volatility::Immutable),
            docs: None,
        }
    }

    pub(crate) fn alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }

    /// Names without underscores are names as well.
    pub(crate) fn with_canonical_names(mut self) -> Self {
        let bare = self.aliases.iter().map(|name| crate::canonical(name));
        let mut bare: Vec<String> = bare.collect();
        bare.push(crate::canonical(&self.name));
        bare.retain(|name| *name != self.name && !self.aliases.contains(name));
        self.aliases.extend(bare);
        self
    }

    pub(crate) fn optional(mut self, count: usize) -> Self {
        self.required -= count;
        self
    }

    /// What it is over no rows.
    pub(crate) fn never_null(mut self, of_nothing: ScalarValue) -> Self {
        self.of_nothing = Some(of_nothing);
        self
    }

    pub(crate) fn says(mut self, syntax: &str, about: &str, examples: &[Example]) -> Self {
        self.docs = Some(documentation(Section::Aggregate, syntax, about, examples));
        self
    }

    fn shown(&self) -> &str {
        let syntax = self.docs.as_ref().map(|docs| docs.syntax_example.as_str());
        syntax.unwrap_or(&self.name)
    }
}

impl AggregateUDFImpl for Renamed {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.docs.as_ref()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name.to_uppercase();
        if !(self.required..=self.takes.len()).contains(&types.len()) {
            let (count, shown) = (types.len(), self.shown());
            return Err(wrong(format!(
                "{name} was given {count} arguments; it is called as {shown}"
            )));
        }
        let types = types.iter().zip(&self.takes).enumerate();
        let coerced = types.map(|(at, (own, takes))| {
            takes.coerced(own).ok_or_else(|| {
                let (number, taken, shown) = (at + 1, takes.name(), self.shown());
                wrong(format!(
                    "{name}: argument {number} is {own}, and {taken} is taken there; it is called \
                     as {shown}"
                ))
            })
        });
        coerced.collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn is_nullable(&self) -> bool {
        self.of_nothing.is_none()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match &self.of_nothing {
            Some(value) => Ok(value.clone()),
            None => ScalarValue::try_from(data_type),
        }
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let to = Arc::clone(&self.to);
        Some(Box::new(move |call: AggregateFunction, _| {
            let params = call.params;
            let Call {
                function,
                args,
                distinct,
            } = to(&params.args)?;
            Ok(Expr::AggregateFunction(AggregateFunction {
                func: function,
                params: AggregateFunctionParams {
                    args,
                    distinct: distinct || params.distinct,
                    ..params
                },
            }))
        }))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let name = self.name.to_uppercase();
        Err(wrong(format!("{name} is no window function")))
    }
}
