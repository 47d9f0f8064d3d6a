//! An aggregate of Pinot's that is planned as another one.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Sort};
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
    pub(crate) order_by: Vec<Sort>,
}

impl Call {
    pub(crate) fn new(function: Arc<AggregateUDF>, args: Vec<Expr>) -> Self {
        Self {
            function,
            args,
            distinct: false,
            order_by: Vec::new(),
        }
    }
}

type To = Arc<dyn Fn(&[Expr]) -> Result<Call> + Send + Sync>;
type Gives = Arc<dyn Fn(&[DataType]) -> DataType + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Renamed {
    name: String,
    aliases: Vec<String>,
    takes: Vec<Takes>,
    required: usize,
    variadic: bool,
    gives: Gives,
    /// What Pinot's dialect calls it, where SQL means something else by it.
    pub(crate) in_pinot: Vec<&'static str>,
    /// What BYTES are planned as, if it is another one: sketches that are joined.
    of_bytes: Option<To>,
    /// Over no rows, if it is not null.
    of_nothing: Option<ScalarValue>,
    to: To,
    signature: Signature,
    docs: Option<Documentation>,
}

crate::known_by_name!(Renamed);

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
            variadic: false,
            gives: Arc::new(move |_| gives.clone()),
            in_pinot: Vec::new(),
            of_bytes: None,
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

    /// Any number of the last argument.
    pub(crate) fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// The type follows from those of the arguments.
    pub(crate) fn gives(
        mut self,
        gives: impl Fn(&[DataType]) -> DataType + Send + Sync + 'static,
    ) -> Self {
        self.gives = Arc::new(gives);
        self
    }

    pub(crate) fn in_pinot(mut self, names: &[&'static str]) -> Self {
        self.in_pinot.extend(names);
        self
    }

    pub(crate) fn of_bytes(
        mut self,
        joined: impl Fn(&[Expr]) -> Result<Call> + Send + Sync + 'static,
    ) -> Self {
        self.of_bytes = Some(Arc::new(joined));
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

const fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary
    )
}

/// What arguments are cast to, of a function by its name and how it is called, which takes so
/// many.
pub(super) fn coerced(
    (name, shown): (&str, &str),
    (takes, count): (&[Takes], RangeInclusive<usize>),
    types: &[DataType],
) -> Result<Vec<DataType>> {
    let name = name.to_uppercase();
    if !count.contains(&types.len()) {
        let given = types.len();
        return Err(wrong(format!(
            "{name} was given {given} arguments; it is called as {shown}"
        )));
    }
    let last = takes.last().copied().unwrap_or(Takes::Any);
    let types = types.iter().enumerate();
    let coerced = types.map(|(at, own)| {
        let takes = takes.get(at).copied().unwrap_or(last);
        takes.coerced(own).ok_or_else(|| {
            let (number, taken) = (at + 1, takes.name());
            wrong(format!(
                "{name}: argument {number} is {own}, and {taken} is taken there; it is called as \
                 {shown}"
            ))
        })
    });
    coerced.collect()
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
        let most = if self.variadic {
            usize::MAX
        } else {
            self.takes.len()
        };
        let count = self.required..=most;
        coerced((&self.name, self.shown()), (&self.takes, count), types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok((self.gives)(types))
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
        let (to, of_bytes) = (Arc::clone(&self.to), self.of_bytes.clone());
        Some(Box::new(move |call: AggregateFunction, info| {
            let params = call.params;
            let Call {
                function,
                args,
                distinct,
                order_by,
            } = match &of_bytes {
                Some(joined) if is_bytes(&info.get_data_type(&params.args[0])?) => {
                    joined(&params.args)?
                }
                _ => to(&params.args)?,
            };
            let params = AggregateFunctionParams {
                args,
                distinct: distinct || params.distinct,
                order_by: [order_by, params.order_by].concat(),
                ..params
            };
            let func = function;
            Ok(Expr::AggregateFunction(AggregateFunction { func, params }))
        }))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let name = self.name.to_uppercase();
        Err(wrong(format!("{name} is no window function")))
    }
}
