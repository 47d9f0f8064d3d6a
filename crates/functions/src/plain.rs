//! Functions whose value follows from the arguments of their row alone.
//!
//! [`Plain`] says of one what it takes, what it gives and how it is computed; the rest (names,
//! casts of arguments, literals among them, nulls, columns of several values) is the same for all:
//!
//! - an argument that is null makes the value null;
//! - arguments are cast to what the function takes, numbers to texts and texts to numbers too;
//! - a function [`Plain::of_entries`] that meets a column of several values gives several values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::arguments::wrong;
use crate::docs::{Example, Section, documentation};
use crate::rows::Rows;

/// A literal among the arguments of a statement that is planned.
pub(crate) fn literal<'a>(values: &[Option<&'a ScalarValue>], at: usize) -> Option<&'a str> {
    values.get(at).copied().flatten()?.try_as_str().flatten()
}

/// Times as all columns have them.
pub(crate) const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// What an argument must be, or be cast to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Takes {
    Text,
    Int,
    Long,
    Double,
    /// A whole number stays one.
    Number,
    Flag,
    Bytes,
    /// A number, or BYTES that hold a digest of numbers.
    DoubleOrBytes,
    /// A TIMESTAMP, epoch milliseconds, or text that is a time; read as epoch milliseconds.
    Time,
    Texts,
    Longs,
    Doubles,
    /// Any array, as it is.
    List,
    /// Anything, as it is.
    Any,
}

impl Takes {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Int | Self::Long => "a whole number",
            Self::Double | Self::Number => "a number",
            Self::Flag => "a BOOLEAN",
            Self::Bytes => "BYTES",
            Self::DoubleOrBytes => "a number or BYTES",
            Self::Time => "a TIMESTAMP or epoch milliseconds",
            Self::Texts => "an array of texts",
            Self::Longs => "an array of whole numbers",
            Self::Doubles => "an array of numbers",
            Self::List => "an array",
            Self::Any => "anything",
        }
    }

    /// What the planner casts an argument of type `own` to; `None`: it is none that can be taken.
    pub(crate) fn coerced(self, own: &DataType) -> Option<DataType> {
        let is_text = is_text(own);
        let is_time = matches!(own, DataType::Timestamp(_, _) | DataType::Date32);
        let is_number = own.is_numeric();
        let is_null = *own == DataType::Null;
        let flag = *own == DataType::Boolean;
        let bytes = matches!(
            own,
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary
        );
        let of = |to: DataType, fits: bool| (fits || is_null).then_some(to);
        match self {
            // A literal stays one.
            Self::Text if is_text => Some(own.clone()),
            Self::Text => of(DataType::Utf8View, is_time || is_number || flag),
            Self::Int if is_time => None,
            Self::Int => of(DataType::Int32, is_text || is_number || flag),
            // Times become numbers of the right unit in two steps; the second is `Rows`'.
            Self::Long if is_time => Some(TIME),
            Self::Long => of(DataType::Int64, is_text || is_number || flag),
            Self::Double | Self::Number if is_time => Some(TIME),
            Self::Number if own.is_integer() => Some(DataType::Int64),
            Self::Double | Self::Number => of(DataType::Float64, is_text || is_number || flag),
            Self::Flag => of(DataType::Boolean, is_text || is_number || flag),
            Self::Bytes => of(DataType::BinaryView, is_text || bytes),
            Self::DoubleOrBytes if bytes => Some(DataType::BinaryView),
            Self::DoubleOrBytes => Self::Double.coerced(own),
            Self::Time if is_text || is_time => Some(TIME),
            Self::Time => of(DataType::Int64, is_number),
            Self::Texts | Self::Longs | Self::Doubles => {
                let entry = match self {
                    Self::Texts => DataType::Utf8View,
                    Self::Longs => DataType::Int64,
                    _ => DataType::Float64,
                };
                let is_list = matches!(
                    own,
                    DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
                );
                of(list_of(entry), is_list)
            }
            Self::List => match own {
                DataType::List(_) => Some(own.clone()),
                DataType::LargeList(entry) | DataType::FixedSizeList(entry, _) => {
                    Some(list_of(entry.data_type().clone()))
                }
                _ => None,
            },
            Self::Any => Some(own.clone()),
        }
    }

    /// What the body reads of an argument of type `own`.
    fn read(self, own: &DataType) -> Option<DataType> {
        match self {
            Self::Text => Some(DataType::Utf8View),
            Self::Long | Self::Time => Some(DataType::Int64),
            Self::Number if *own == TIME => Some(DataType::Int64),
            Self::Double => Some(DataType::Float64),
            _ => None,
        }
    }
}

pub(crate) const fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

pub(crate) fn list_of(entry: DataType) -> DataType {
    DataType::List(schemas::arrow::entry_field(entry))
}

/// That values of all these types have in common.
pub(crate) fn one_type(name: &str, types: &[DataType]) -> Result<DataType> {
    let mut types = types.iter();
    let first = types.next().cloned().unwrap_or(DataType::Null);
    types.try_fold(first, |one, own| {
        comparison_coercion(&one, own).ok_or_else(|| {
            wrong(format!(
                "{name}: {one} and {own} are nothing that goes together"
            ))
        })
    })
}

type Body = Arc<dyn Fn(&Rows) -> Result<ArrayRef> + Send + Sync>;
type Check = Arc<dyn Fn(&[Option<&ScalarValue>]) -> Result<()> + Send + Sync>;
type Simplify = Arc<dyn Fn(&[Expr], &SimplifyContext) -> Result<Option<Expr>> + Send + Sync>;
type Coerce = Arc<dyn Fn(&[DataType]) -> Result<Vec<DataType>> + Send + Sync>;
/// Of arguments, where they are literals.
type Values<'a> = [Option<&'a ScalarValue>];
/// From the types of the arguments, and what is known of their values.
type Gives = Arc<dyn Fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Plain {
    name: String,
    aliases: Vec<String>,
    /// What Pinot's dialect calls it, where the standard dialect means something else by it.
    pub(crate) in_pinot: Vec<&'static str>,
    takes: Vec<Takes>,
    required: usize,
    /// More of the last.
    variadic: bool,
    of_entries: bool,
    gives: Gives,
    body: Body,
    check: Option<Check>,
    simplify: Option<Simplify>,
    coerce: Option<Coerce>,
    signature: Signature,
    docs: Option<Documentation>,
}

crate::known_by_name!(Plain);

impl Plain {
    pub(crate) fn new(
        name: impl Into<String>,
        takes: &[Takes],
        gives: DataType,
        body: impl Fn(&Rows) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            in_pinot: Vec::new(),
            takes: takes.to_vec(),
            required: takes.len(),
            variadic: false,
            of_entries: false,
            gives: Arc::new(move |_, _| Ok(gives.clone())),
            body: Arc::new(body),
            check: None,
            simplify: None,
            coerce: None,
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

    pub(crate) fn in_pinot(mut self, names: &[&'static str]) -> Self {
        self.in_pinot.extend(names);
        self
    }

    /// The last arguments may be missing.
    pub(crate) fn optional(mut self, count: usize) -> Self {
        self.required -= count;
        self
    }

    /// Any number of the last argument.
    pub(crate) fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Of a column of several values it gives several, under the name with MV behind it too.
    pub(crate) fn of_entries(mut self) -> Self {
        self.of_entries = true;
        self.aliases.push(format!("{}_mv", self.name));
        self
    }

    /// The type follows from those of the arguments.
    pub(crate) fn gives(
        mut self,
        gives: impl Fn(&[DataType], &Values<'_>) -> Result<DataType> + Send + Sync + 'static,
    ) -> Self {
        self.gives = Arc::new(gives);
        self
    }

    /// Literals are looked at when the statement is planned; `None`: it is none, or not yet known.
    pub(crate) fn checks(
        mut self,
        check: impl Fn(&[Option<&ScalarValue>]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// What is planned instead.
    pub(crate) fn simplifies(
        mut self,
        to: impl Fn(&[Expr], &SimplifyContext) -> Result<Option<Expr>> + Send + Sync + 'static,
    ) -> Self {
        self.simplify = Some(Arc::new(to));
        self
    }

    /// Arguments are cast to these types.
    pub(crate) fn coerces(
        mut self,
        coerce: impl Fn(&[DataType]) -> Result<Vec<DataType>> + Send + Sync + 'static,
    ) -> Self {
        self.coerce = Some(Arc::new(coerce));
        self
    }

    /// Arguments are cast to one type, as operators cast them.
    pub(crate) fn of_one_type(self) -> Self {
        let name = self.name.to_uppercase();
        self.coerces(move |types| Ok(vec![one_type(&name, types)?; types.len()]))
    }

    pub(crate) fn volatile(mut self, volatility: Volatility) -> Self {
        self.signature = Signature::user_defined(volatility);
        self
    }

    pub(crate) fn says(
        mut self,
        section: Section,
        syntax: &str,
        about: &str,
        examples: &[Example],
    ) -> Self {
        self.docs = Some(documentation(section, syntax, about, examples));
        self
    }

    /// Of columns that need no cast.
    #[cfg(test)]
    pub(crate) fn types_taken(&self) -> Vec<DataType> {
        let of = |takes: &Takes| takes.coerced(&DataType::Null).unwrap_or(list_of(TIME));
        self.takes[..self.required].iter().map(of).collect()
    }

    fn taken(&self, at: usize) -> Takes {
        let last = self.takes.last().copied().unwrap_or(Takes::Any);
        self.takes.get(at).copied().unwrap_or(last)
    }

    fn shown(&self) -> String {
        let syntax = self.docs.as_ref().map(|docs| docs.syntax_example.as_str());
        syntax.unwrap_or(&self.name).to_owned()
    }

    fn check_count(&self, count: usize) -> Result<()> {
        let most = if self.variadic {
            usize::MAX
        } else {
            self.takes.len()
        };
        if (self.required..=most).contains(&count) {
            return Ok(());
        }
        let (name, given) = (self.name.to_uppercase(), count);
        Err(wrong(format!(
            "{name} was given {given} arguments; it is called as {}",
            self.shown()
        )))
    }

    fn is_of_entries(&self, types: &[DataType]) -> bool {
        self.of_entries && matches!(types.first(), Some(DataType::List(_)))
    }

    fn result(&self, types: &[DataType], values: &[Option<&ScalarValue>]) -> Result<DataType> {
        match types.first() {
            Some(DataType::List(entry)) if self.of_entries => {
                let mut types = types.to_vec();
                types[0] = entry.data_type().clone();
                Ok(list_of((self.gives)(&types, values)?))
            }
            _ => (self.gives)(types, values),
        }
    }

    /// Arguments as the body reads them. Literals stay one value.
    fn rows(&self, args: &ScalarFunctionArgs) -> Result<Rows> {
        let mut columns = Vec::with_capacity(args.args.len());
        let mut all_literals = true;
        for (at, arg) in args.args.iter().enumerate() {
            let (array, is_literal) = match arg {
                ColumnarValue::Scalar(value) => (value.to_array()?, true),
                ColumnarValue::Array(array) => (Arc::clone(array), false),
            };
            all_literals &= is_literal;
            let array = match self.taken(at).read(array.data_type()) {
                Some(read) if *array.data_type() != read && !is_list(array.data_type()) => {
                    cast(&array, &read)?
                }
                _ => array,
            };
            columns.push((array, is_literal));
        }
        let count = if all_literals { 1 } else { args.number_rows };
        Ok(Rows::new(&self.name, columns, count))
    }

    /// Calls the body for all entries of all rows at once.
    fn call_for_entries(&self, rows: &Rows) -> Result<ArrayRef> {
        let lists = rows.whole(0)?;
        let lists = lists.as_list::<i32>();
        let offsets = lists.value_offsets();
        let first = offsets[0] as usize;
        let count = offsets[lists.len()] as usize - first;
        let entries = lists.values().slice(first, count);
        let row_of = || {
            let rows = offsets.windows(2).enumerate();
            rows.flat_map(|(row, ends)| (ends[0]..ends[1]).map(move |_| row as u32))
        };
        let entries = match self.taken(0).read(entries.data_type()) {
            Some(read) => cast(&entries, &read)?,
            None => entries,
        };
        let mut columns = vec![(entries, false)];
        for (array, is_literal) in &rows.columns()[1..] {
            let array = match is_literal {
                true => Arc::clone(array),
                false => take(array, &UInt32Array::from_iter_values(row_of()), None)?,
            };
            columns.push((array, *is_literal));
        }
        let values = (self.body)(&Rows::new(&self.name, columns, count))?;
        let lengths = offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize);
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        let field = schemas::arrow::entry_field(values.data_type().clone());
        let nulls = lists.nulls().cloned();
        Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
    }
}

const fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_))
}

impl ScalarUDFImpl for Plain {
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
        self.check_count(types.len())?;
        if let Some(coerce) = &self.coerce {
            return coerce(types);
        }
        let coerced = types.iter().enumerate().map(|(at, own)| {
            let takes = self.taken(at);
            if at == 0
                && self.of_entries
                && let DataType::List(entry) = own
                && let Some(entry) = takes.coerced(entry.data_type())
            {
                return Ok(list_of(entry));
            }
            takes.coerced(own).ok_or_else(|| {
                wrong(format!(
                    "{}: argument {} is {own}, and {} is taken there; it is called as {}",
                    self.name.to_uppercase(),
                    at + 1,
                    takes.name(),
                    self.shown()
                ))
            })
        });
        coerced.collect()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.check_count(types.len())?;
        self.result(types, &[])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.check_count(args.arg_fields.len())?;
        if let Some(check) = &self.check {
            check(args.scalar_arguments)?;
        }
        let types = args.arg_fields.iter();
        let types: Vec<_> = types.map(|field| field.data_type().clone()).collect();
        let result = self.result(&types, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(&self.name, result, true)))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let Some(simplify) = &self.simplify
            && let Some(simple) = simplify(&args, info)?
        {
            return Ok(ExprSimplifyResult::Simplified(simple));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<_> = args.args.iter().map(ColumnarValue::data_type).collect();
        let rows = self.rows(&args)?;
        let array = match self.is_of_entries(&types) {
            true => self.call_for_entries(&rows)?,
            false => (self.body)(&rows)?,
        };
        let all_literals = rows.columns().iter().all(|(_, is_literal)| *is_literal);
        match all_literals && self.signature.volatility != Volatility::Volatile {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?)),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}
