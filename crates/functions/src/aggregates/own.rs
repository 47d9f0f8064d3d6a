//! An aggregate that is computed here: what it takes, what it gives, and an accumulator.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
};

use super::renamed::coerced;
use crate::docs::{Example, Section, documentation};
use crate::plain::Takes;

type Make = Arc<dyn Fn(&AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Own {
    name: String,
    aliases: Vec<String>,
    takes: Vec<Takes>,
    required: usize,
    variadic: bool,
    gives: DataType,
    states: Vec<(&'static str, DataType)>,
    make: Make,
    signature: Signature,
    docs: Option<Documentation>,
}

crate::known_by_name!(Own);

impl Own {
    pub(crate) fn new(
        name: impl Into<String>,
        takes: &[Takes],
        gives: DataType,
        states: &[(&'static str, DataType)],
        make: impl Fn(&AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        let bare = crate::canonical(&name);
        Self {
            aliases: if bare == name { Vec::new() } else { vec![bare] },
            name,
            takes: takes.to_vec(),
            required: takes.len(),
            variadic: false,
            gives,
            states: states.to_vec(),
            make: Arc::new(make),
            signature: Signature::user_defined(Volatility::Immutable),
            docs: None,
        }
    }

    pub(crate) fn alias(mut self, alias: &str) -> Self {
        self.aliases
            .extend([alias.to_owned(), crate::canonical(alias)]);
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

    pub(crate) fn says(mut self, syntax: &str, about: &str, examples: &[Example]) -> Self {
        self.docs = Some(documentation(Section::Aggregate, syntax, about, examples));
        self
    }
}

impl AggregateUDFImpl for Own {
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
        let shown = self.docs.as_ref().map(|docs| docs.syntax_example.as_str());
        let most = if self.variadic {
            usize::MAX
        } else {
            self.takes.len()
        };
        let shown = shown.unwrap_or(&self.name);
        coerced(
            (&self.name, shown),
            (&self.takes, self.required..=most),
            types,
        )
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields = self.states.iter().map(|(name, data_type)| {
            let name = format_state_name(args.name, name);
            Arc::new(Field::new(name, data_type.clone(), true))
        });
        Ok(fields.collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        (self.make)(&args)
    }
}
