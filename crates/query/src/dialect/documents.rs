//! JSON of PostgreSQL and of SQL's standard: operators on documents, JSON_AGG and its kin, and
//! functions that give a row for each part of a document.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef,
    TableFactor, Value,
};
use schemas::Fault;

use super::gaps::{expression, literal, quoted};
use super::{called, syntax};

/// Of a name that begins with `json`, in lower case. `None`: the call is what it is.
pub(super) fn of_function(
    function: &Function,
    (name, arguments): (&str, &[&Expr]),
) -> Result<Option<Expr>, Fault> {
    let one = |sql: String| expression(&sql).map(Some);
    if let [document] = arguments
        && let Some(list) = rows_of(name, document)
    {
        return one(format!("unnest({list})"));
    }
    match (name, arguments) {
        ("json_value" | "json_query", [document, path]) => match literal(path) {
            Some(path) => one(at_path(document, &path)),
            None => Err(syntax(&format!(
                "the path of {} must be a literal",
                name.to_uppercase()
            ))),
        },
        ("json_exists", [document, path]) => one(format!("jsonpathexists({document}, {path})")),
        (
            "json_extract_path"
            | "jsonb_extract_path"
            | "json_extract_path_text"
            | "jsonb_extract_path_text",
            [document, steps @ ..],
        ) if !steps.is_empty() => {
            let steps = steps.iter().map(|step| step_of(step));
            match steps.collect::<Option<String>>() {
                Some(steps) => one(at_path(document, &format!("${steps}"))),
                None => Ok(None),
            }
        }
        ("json_agg" | "jsonb_agg", [value]) => {
            let document = called("to_json", vec![(*value).clone()]);
            Ok(Some(of_all(function, document, "json_array_of")))
        }
        ("json_object_agg" | "jsonb_object_agg", [name, value]) => {
            let entry = called("json_entry", vec![(*name).clone(), (*value).clone()]);
            Ok(Some(of_all(function, entry, "json_object_of")))
        }
        ("json_object", _) => Ok(object(function)),
        _ => Ok(None),
    }
}

/// A list of the parts that a function of this name gives rows of.
fn rows_of(name: &str, document: &Expr) -> Option<String> {
    let list = match name {
        "json_array_elements"
        | "jsonb_array_elements"
        | "json_array_elements_text"
        | "jsonb_array_elements_text" => "json_string_to_array",
        "json_object_keys" | "jsonb_object_keys" => "json_object_names",
        _ => return None,
    };
    Some(format!("{list}({document})"))
}

/// ARRAY_AGG with all clauses of the aggregate, and what makes a document of the list.
fn of_all(function: &Function, value: Expr, document: &str) -> Expr {
    let mut all = function.clone();
    all.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("array_agg"))]);
    if let FunctionArguments::List(list) = &mut all.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    }
    called(document, vec![Expr::Function(all)])
}

/// `JSON_OBJECT('name' VALUE x, …)`. `None`: it has clauses that say more.
fn object(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    if !list.clauses.is_empty() {
        return None;
    }
    let mut pairs = Vec::with_capacity(list.args.len() * 2);
    for argument in &list.args {
        let (name, value) = match argument {
            FunctionArg::ExprNamed {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Value | FunctionArgOperator::Colon,
            } => (name.clone(), value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Value | FunctionArgOperator::Colon,
            } => (named_value(name), value),
            _ => return None,
        };
        pairs.extend([name, value.clone()]);
    }
    Some(called("json_build_object", pairs))
}

/// The parser takes a text before VALUE for a name.
fn named_value(name: &Ident) -> Expr {
    match name.quote_style {
        Some('\'') => Expr::value(Value::SingleQuotedString(name.value.clone())),
        _ => Expr::Identifier(name.clone()),
    }
}

/// `document -> step` and `document #> '{step,step}'`, and as texts. `None`: the steps are not
/// known before the statement runs.
pub(super) fn of_operator(
    document: &Expr,
    op: &BinaryOperator,
    right: &Expr,
) -> Result<Option<Expr>, Fault> {
    let steps = match op {
        BinaryOperator::HashArrow | BinaryOperator::HashLongArrow => {
            literal(right).as_deref().and_then(steps_of)
        }
        _ => step_of(right),
    };
    match steps {
        Some(steps) => expression(&at_path(document, &format!("${steps}"))).map(Some),
        None => Ok(None),
    }
}

/// Of `{a,0,"b c"}`.
fn steps_of(list: &str) -> Option<String> {
    let steps = list.trim().strip_prefix('{')?.strip_suffix('}')?;
    let steps = steps.split(',').map(|step| {
        let step = step.trim();
        match step.parse::<u32>() {
            Ok(place) => format!("[{place}]"),
            Err(_) => named(step.trim_matches('"')),
        }
    });
    Some(steps.collect())
}

fn named(step: &str) -> String {
    format!("['{}']", step.replace('\'', "\\'"))
}

/// A name or a place in a document. `None`: it is not known before the statement runs.
fn step_of(step: &Expr) -> Option<String> {
    let text = literal(step)?;
    let is_place = matches!(step, Expr::Value(value) if matches!(value.value, Value::Number(..)));
    Some(match is_place {
        true => format!("[{text}]"),
        false => named(&text),
    })
}

fn at_path(document: &Expr, path: &str) -> String {
    let path = quoted(path);
    // Nothing there is null.
    format!(
        "CASE WHEN jsonpathexists({document}, {path}) THEN jsonpathstring({document}, {path}) END"
    )
}

/// `FROM json_array_elements(t.document) AS e(part)` is UNNEST of a list.
pub(super) fn unnest_parts(table: &mut TableFactor) -> Result<(), Fault> {
    let (name, arguments, alias) = match table {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } => (name, &args.args, alias),
        TableFactor::Function {
            name, args, alias, ..
        } => (name, &*args, alias),
        _ => return Ok(()),
    };
    let [ObjectNamePart::Identifier(called)] = name.0.as_slice() else {
        return Ok(());
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(document))] = arguments.as_slice() else {
        return Ok(());
    };
    let Some(list) = rows_of(&called.value.to_lowercase(), document) else {
        return Ok(());
    };
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: called.clone(),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        let column = TableAliasColumnDef::from_name("value");
        alias.columns.push(column);
    }
    *table = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![expression(&list)?],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
    Ok(())
}
