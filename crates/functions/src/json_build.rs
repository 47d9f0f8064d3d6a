//! PostgreSQL's JSON_BUILD_OBJECT, JSON_BUILD_ARRAY and TO_JSON, SQL's JSON_ARRAY, and the halves
//! of JSON_AGG and JSON_OBJECT_AGG: documents made of values.
//!
//! What is a document already, a JSON column or what one of these made, becomes a part of the new
//! one as it is; any other text becomes a text. The type in the field's metadata tells.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewBuilder, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility, lit,
};
use schemas::arrow::TYPE_KEY;

use crate::arguments::wrong;
use crate::docs::{Example, Section, documentation};
use crate::shown::{ISO, Shown};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Object,
    Array,
    /// Nulls are left out.
    Known,
    Value,
    /// Of a list of documents.
    Documents,
    /// A name and its value, for [`Form::Entries`].
    Entry,
    Entries,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct JsonBuild {
    form: Form,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    docs: Documentation,
}

/// How a column is written into a document.
enum Part<'a> {
    Flag,
    Number(Shown<'a>),
    Document(Shown<'a>),
    Text(Shown<'a>),
    List(&'a ListArray, Box<Column<'a>>),
    Struct(Vec<(&'a str, Column<'a>)>),
}

struct Column<'a> {
    array: &'a dyn Array,
    part: Part<'a>,
}

/// A field's metadata does not travel to servers: there a document is in a field of this name.
const DOCUMENT: &str = "__document";

fn is_document(field: &Field) -> bool {
    field
        .metadata()
        .get(TYPE_KEY)
        .is_some_and(|name| name == "JSON")
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, is_document: bool) -> Result<Self> {
        let data_type = array.data_type();
        let part = match data_type {
            DataType::Boolean => Part::Flag,
            own if own.is_numeric() => Part::Number(Shown::new(array)?),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let entries = Column::new(lists.values().as_ref(), is_document)?;
                Part::List(lists, Box::new(entries))
            }
            DataType::Struct(own) if own.len() == 1 && own[0].name() == DOCUMENT => {
                return Column::new(array.as_struct().column(0).as_ref(), true);
            }
            DataType::Struct(_) => Part::Struct(fields(array.as_struct())?),
            _ if is_document => Part::Document(Shown::new(array)?),
            _ => Part::Text(Shown::with(array, &ISO)?),
        };
        Ok(Self { array, part })
    }

    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || *self.array.data_type() == DataType::Null
    }

    /// Of an entry. `None`: it is null.
    fn name(&self, row: usize) -> Result<Option<String>> {
        match &self.part {
            _ if self.is_null(row) => Ok(None),
            Part::Flag => Ok(Some(self.array.as_boolean().value(row).to_string())),
            Part::Number(shown) | Part::Text(shown) => shown.at(row),
            Part::Document(_) | Part::List(..) | Part::Struct(_) => Err(wrong(
                "a name in a JSON object is a text, a number or a time, and neither a list nor a \
                 document",
            )),
        }
    }

    fn write(&self, row: usize, to: &mut String) -> Result<()> {
        if self.is_null(row) {
            to.push_str("null");
            return Ok(());
        }
        let text = |shown: &Shown<'_>| {
            Ok::<_, datafusion::common::DataFusionError>(shown.at(row)?.unwrap_or_default())
        };
        match &self.part {
            Part::Flag => to.push_str(&self.array.as_boolean().value(row).to_string()),
            Part::Number(shown) => write_number(&text(shown)?, to),
            Part::Document(shown) => to.push_str(&text(shown)?),
            Part::Text(shown) => write_text(&text(shown)?, to),
            Part::List(lists, entries) => {
                let ends = lists.value_offsets();
                to.push('[');
                for at in ends[row]..ends[row + 1] {
                    if at > ends[row] {
                        to.push(',');
                    }
                    entries.write(at as usize, to)?;
                }
                to.push(']');
            }
            Part::Struct(fields) => {
                to.push('{');
                for (at, (name, column)) in fields.iter().enumerate() {
                    if at > 0 {
                        to.push(',');
                    }
                    write_text(name, to);
                    to.push(':');
                    column.write(row, to)?;
                }
                to.push('}');
            }
        }
        Ok(())
    }
}

fn fields(array: &StructArray) -> Result<Vec<(&str, Column<'_>)>> {
    let columns = array.fields().iter().zip(array.columns());
    let columns = columns.map(|(field, array)| {
        let column = Column::new(array.as_ref(), is_document(field))?;
        Ok((field.name().as_str(), column))
    });
    columns.collect()
}

fn write_text(text: &str, to: &mut String) {
    to.push_str(&serde_json::Value::from(text).to_string());
}

/// JSON has no infinity; PostgreSQL writes those as texts.
fn write_number(digits: &str, to: &mut String) {
    match digits {
        "NaN" => to.push_str("\"NaN\""),
        "inf" => to.push_str("\"Infinity\""),
        "-inf" => to.push_str("\"-Infinity\""),
        digits => to.push_str(digits.strip_suffix(".0").unwrap_or(digits)),
    }
}

impl JsonBuild {
    fn new(
        (form, name, alias): (Form, &'static str, &str),
        (syntax, about): (&str, &str),
        examples: &[Example],
    ) -> Self {
        let types = match form {
            Form::Object | Form::Array | Form::Known => {
                TypeSignature::OneOf(vec![TypeSignature::VariadicAny, TypeSignature::Nullary])
            }
            Form::Value | Form::Documents | Form::Entries => TypeSignature::Any(1),
            Form::Entry => TypeSignature::Any(2),
        };
        let mut aliases = vec![crate::canonical(name)];
        if !alias.is_empty() {
            aliases.extend([alias.to_owned(), crate::canonical(alias)]);
        }
        Self {
            form,
            name,
            aliases,
            signature: Signature::new(types, Volatility::Immutable),
            docs: documentation(Section::Json, syntax, about, examples),
        }
    }

    fn write(&self, columns: &[Column<'_>], row: usize, to: &mut String) -> Result<()> {
        match self.form {
            Form::Object => {
                to.push('{');
                for (at, pair) in columns.chunks(2).enumerate() {
                    to.push_str(if at > 0 { ", " } else { "" });
                    self.write_entry(pair, row, to)?;
                }
                to.push('}');
            }
            Form::Array | Form::Known => {
                let is_written =
                    |column: &&Column<'_>| self.form == Form::Array || !column.is_null(row);
                to.push('[');
                for (at, column) in columns.iter().filter(is_written).enumerate() {
                    to.push_str(if at > 0 { ", " } else { "" });
                    column.write(row, to)?;
                }
                to.push(']');
            }
            Form::Value => columns[0].write(row, to)?,
            Form::Entry => self.write_entry(columns, row, to)?,
            Form::Documents => write_list(&columns[0], row, ("[", "]"), to)?,
            Form::Entries => write_list(&columns[0], row, ("{ ", " }"), to)?,
        }
        Ok(())
    }

    fn write_entry(&self, pair: &[Column<'_>], row: usize, to: &mut String) -> Result<()> {
        let [name, value] = pair else {
            let name = self.name.to_uppercase();
            return Err(wrong(format!("{name} takes names and values by turns")));
        };
        let Some(shown) = name.name(row)? else {
            return Err(wrong("a name in a JSON object is null"));
        };
        write_text(&shown, to);
        to.push_str(" : ");
        value.write(row, to)
    }
}

/// Of a list whose entries are written already.
fn write_list(
    column: &Column<'_>,
    row: usize,
    (open, close): (&str, &str),
    to: &mut String,
) -> Result<()> {
    let Part::List(lists, entries) = &column.part else {
        return Err(wrong("a list of documents is wanted"));
    };
    let ends = lists.value_offsets();
    to.push_str(open);
    for at in ends[row]..ends[row + 1] {
        to.push_str(if at > ends[row] { ", " } else { "" });
        entries.write(at as usize, to)?;
    }
    to.push_str(close);
    Ok(())
}

impl ScalarUDFImpl for JsonBuild {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.docs)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if self.form == Form::Object && args.arg_fields.len() % 2 == 1 {
            let name = self.name.to_uppercase();
            return Err(wrong(format!("{name} takes names and values by turns")));
        }
        let is_list = |field: &FieldRef| matches!(field.data_type(), DataType::List(_));
        if matches!(self.form, Form::Documents | Form::Entries)
            && !args.arg_fields.iter().all(is_list)
        {
            let name = self.name.to_uppercase();
            return Err(wrong(format!("{name} takes a list of documents")));
        }
        let field = Field::new(self.name, DataType::Utf8View, true);
        let metadata = [(TYPE_KEY.to_owned(), "JSON".to_owned())];
        Ok(Arc::new(field.with_metadata(metadata.into())))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let mut changed = false;
        let marked = args.into_iter().map(|arg| {
            let (_, field) = arg.to_field(info.schema())?;
            let is_unmarked = is_document(&field) && !field.data_type().is_nested();
            changed |= is_unmarked;
            Ok(match is_unmarked {
                true => named_struct(vec![lit(DOCUMENT), arg]),
                false => arg,
            })
        });
        let args = marked.collect::<Result<Vec<Expr>>>()?;
        if !changed {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let own = ScalarUDF::from(self.clone());
        Ok(ExprSimplifyResult::Simplified(own.call(args)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalars = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if all_scalars { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(count));
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        // Entries of the lists are documents, as those before wrote them.
        let of_documents = matches!(self.form, Form::Documents | Form::Entries);
        let columns = arrays.iter().zip(&args.arg_fields);
        let columns = columns
            .map(|(array, field)| Column::new(array.as_ref(), of_documents || is_document(field)));
        let columns: Vec<Column<'_>> = columns.collect::<Result<_>>()?;
        let of_one = !matches!(
            self.form,
            Form::Object | Form::Array | Form::Known | Form::Entry
        );
        let mut documents = StringViewBuilder::with_capacity(count);
        let mut document = String::new();
        for row in 0..count {
            if of_one && columns[0].is_null(row) {
                documents.append_null();
                continue;
            }
            document.clear();
            self.write(&columns, row, &mut document)?;
            documents.append_value(&document);
        }
        let documents: ArrayRef = Arc::new(documents.finish());
        Ok(match all_scalars {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&documents, 0)?),
            false => ColumnarValue::Array(documents),
        })
    }
}

fn of_values() -> Vec<JsonBuild> {
    vec![
        JsonBuild::new(
            (Form::Object, "json_build_object", "jsonb_build_object"),
            (
                "JSON_BUILD_OBJECT(name, value, …)",
                "An object of names and values. What is a document already becomes a part of it as \
                 it is, any other text a text. `JSON_OBJECT(name VALUE value, …)` is the same.",
            ),
            &[
                (
                    "JSON_BUILD_OBJECT('foo', 1, 'bar', 'x', 'is', true)",
                    "{\"foo\" : 1, \"bar\" : \"x\", \"is\" : true}",
                ),
                (
                    "JSON_BUILD_OBJECT('a', JSON_BUILD_ARRAY(1, NULL))",
                    "{\"a\" : [1, null]}",
                ),
            ],
        ),
        JsonBuild::new(
            (Form::Array, "json_build_array", "jsonb_build_array"),
            (
                "JSON_BUILD_ARRAY(value, …)",
                "An array of values, as JSON_BUILD_OBJECT takes them.",
            ),
            &[(
                "JSON_BUILD_ARRAY(1, 2, 'foo', 4, NULL)",
                "[1, 2, \"foo\", 4, null]",
            )],
        ),
        JsonBuild::new(
            (Form::Known, "json_array", ""),
            (
                "JSON_ARRAY(value, …)",
                "An array of the values that are not null.",
            ),
            &[("JSON_ARRAY(1, NULL, 'x')", "[1, \"x\"]")],
        ),
        JsonBuild::new(
            (Form::Value, "to_json", "to_jsonb"),
            ("TO_JSON(value)", "The value as a document."),
            &[
                ("TO_JSON('Fred said \"Hi.\"')", "\"Fred said \\\"Hi.\\\"\""),
                ("TO_JSON(ARRAY[1, 2])", "[1,2]"),
            ],
        ),
    ]
}

/// The halves of aggregates.
fn of_lists() -> Vec<JsonBuild> {
    vec![
        JsonBuild::new(
            (Form::Documents, "json_array_of", ""),
            (
                "JSON_ARRAY_OF(documents)",
                "An array of the documents in a list. JSON_AGG(x) is this of \
                 ARRAY_AGG(TO_JSON(x)).",
            ),
            &[("JSON_ARRAY_OF(ARRAY['1', '{}'])", "[1, {}]")],
        ),
        JsonBuild::new(
            (Form::Entry, "json_entry", ""),
            (
                "JSON_ENTRY(name, value)",
                "A name and its value, for JSON_OBJECT_OF.",
            ),
            &[("JSON_ENTRY('a', 1)", "\"a\" : 1")],
        ),
        JsonBuild::new(
            (Form::Entries, "json_object_of", ""),
            (
                "JSON_OBJECT_OF(entries)",
                "An object of the entries in a list. JSON_OBJECT_AGG(name, value) is this of \
                 ARRAY_AGG(JSON_ENTRY(name, value)).",
            ),
            &[("JSON_OBJECT_OF(ARRAY['\"a\" : 1'])", "{ \"a\" : 1 }")],
        ),
    ]
}

pub(crate) fn all() -> Vec<ScalarUDF> {
    let all = of_values().into_iter().chain(of_lists());
    all.map(ScalarUDF::from).collect()
}
