//! Forms of PostgreSQL and of DuckDB in words that the planner takes: patterns with escapes,
//! ordered aggregates, formats of times, ORDER BY ALL.
//!
//! What has no such form is refused, never passed over.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, ObjectName, ObjectNamePart, OrderBy,
    OrderByKind, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor,
    UnaryOperator, Value, ValueWithSpan,
};
use schemas::Fault;

use super::gaps::{literal, name_of};
use super::{number, postgres, syntax};

/// Collations by which texts are ordered anyway.
const BINARY: [&str; 4] = ["c", "posix", "binary", "ucs_basic"];

/// `None`: the expression is taken as it is.
pub(super) fn of_expr(expr: &Expr) -> Result<Option<Expr>, Fault> {
    match expr {
        Expr::Like {
            any: false,
            escape_char: Some(escape),
            pattern,
            ..
        }
        | Expr::ILike {
            any: false,
            escape_char: Some(escape),
            pattern,
            ..
        } => escaped(expr, pattern, escape),
        Expr::Like {
            any: true, pattern, ..
        }
        | Expr::ILike {
            any: true, pattern, ..
        } => Ok(like_any(expr, pattern)),
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => similar(expr, pattern, escape_char.as_ref(), *negated).map(Some),
        Expr::Collate { expr, collation } => {
            let name = collation.to_string();
            let bare = name.trim_matches('"').to_lowercase();
            match BINARY.contains(&bare.as_str()) {
                true => Ok(Some(expr.as_ref().clone())),
                false => Err(syntax(&format!(
                    "texts are ordered by their bytes: COLLATE takes \"C\", not {name}"
                ))),
            }
        }
        // The planner knows no sign of what has no type.
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } if is_null(expr) => Ok(Some(null())),
        other => postgres::of_expr(other),
    }
}

/// NULL, with and without a sign.
fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => value.value == Value::Null,
        Expr::Nested(inner) => is_null(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Plus | UnaryOperator::Minus,
            expr,
        } => is_null(expr),
        _ => false,
    }
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

/// `SUM(NULL)` and its kin are of no type: here they are of whole numbers.
fn of_nothing(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = &mut list.args[..]
        && is_null(argument)
    {
        *argument = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(null()),
            data_type: DataType::BigInt(None),
            format: None,
            array: false,
        };
    }
}

/// `x LIKE ANY (ARRAY['a%', 'b%'])`: as one of them. `None`: they are not written there.
fn like_any(like: &Expr, patterns: &Expr) -> Option<Expr> {
    let patterns = match patterns {
        Expr::Nested(inner) => return like_any(like, inner),
        Expr::Array(array) => &array.elem,
        Expr::Tuple(patterns) => patterns,
        _ => return None,
    };
    let each = patterns.iter().map(|one| {
        let mut like = like.clone();
        if let Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. } = &mut like {
            (*any, **pattern) = (false, one.clone());
        }
        like
    });
    let any = each.reduce(|any, next| Expr::BinaryOp {
        left: Box::new(any),
        op: BinaryOperator::Or,
        right: Box::new(next),
    })?;
    Some(Expr::Nested(Box::new(any)))
}

fn escape_of(escape: &ValueWithSpan) -> Result<Option<char>, Fault> {
    let text = escape.value.clone().into_string().unwrap_or_default();
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (first, None) => Ok(first),
        _ => Err(syntax("ESCAPE takes one character")),
    }
}

/// With the backslash in the place of another escape.
fn escaped(like: &Expr, pattern: &Expr, escape: &ValueWithSpan) -> Result<Option<Expr>, Fault> {
    let escape = escape_of(escape)?;
    if escape == Some('\\') {
        return Ok(None);
    }
    let Some(text) = literal(pattern) else {
        return Err(syntax("the pattern before ESCAPE must be a literal"));
    };
    let (mut meant, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                meant.push('\\');
                meant.extend(chars.next());
            }
            '\\' => meant.push_str("\\\\"),
            c => meant.push(c),
        }
    }
    let mut like = like.clone();
    if let Expr::Like {
        pattern,
        escape_char,
        ..
    }
    | Expr::ILike {
        pattern,
        escape_char,
        ..
    } = &mut like
    {
        **pattern = Expr::value(Value::SingleQuotedString(meant));
        *escape_char = None;
    }
    Ok(Some(like))
}

/// SIMILAR TO is a regular expression of the whole text in which `%` and `_` are as in LIKE.
fn similar(
    expr: &Expr,
    pattern: &Expr,
    escape: Option<&ValueWithSpan>,
    negated: bool,
) -> Result<Expr, Fault> {
    let Some(text) = literal(pattern) else {
        return Err(syntax("the pattern of SIMILAR TO must be a literal"));
    };
    let escape = match escape {
        Some(escape) => escape_of(escape)?,
        None => Some('\\'),
    };
    let (mut meant, mut chars) = (String::from("^(?s:"), text.chars());
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                meant.push('\\');
                meant.extend(chars.next());
            }
            '[' | ']' => {
                in_class = c == '[';
                meant.push(c);
            }
            '%' if !in_class => meant.push_str(".*"),
            '_' if !in_class => meant.push('.'),
            '.' | '^' | '$' if !in_class => meant.extend(['\\', c]),
            c => meant.push(c),
        }
    }
    meant.push_str(")$");
    let matches = Expr::BinaryOp {
        left: Box::new(expr.clone()),
        op: BinaryOperator::PGRegexMatch,
        right: Box::new(Expr::value(Value::SingleQuotedString(meant))),
    };
    let matches = Expr::Nested(Box::new(matches));
    Ok(match negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(matches),
        },
        false => matches,
    })
}

/// `LISTAGG(x, ';') WITHIN GROUP (ORDER BY y)` is an aggregate in an order, EVERY is BOOL_AND, and
/// TO_CHAR, TO_DATE and TO_TIMESTAMP take PostgreSQL's formats too.
pub(super) fn of_function(function: &mut Function) {
    let Some(name) = name_of(function).map(str::to_lowercase) else {
        return;
    };
    match name.as_str() {
        "listagg" | "string_agg" if !function.within_group.is_empty() => {
            let order = std::mem::take(&mut function.within_group);
            if let FunctionArguments::List(list) = &mut function.args {
                list.clauses.push(FunctionArgumentClause::OrderBy(order));
                if list.args.len() == 1 {
                    let nothing = Expr::value(Value::SingleQuotedString(String::new()));
                    list.args
                        .push(FunctionArg::Unnamed(FunctionArgExpr::Expr(nothing)));
                }
            }
            rename(function, "string_agg");
        }
        "sum" | "avg" | "min" | "max" => of_nothing(function),
        "every" => rename(function, "bool_and"),
        "variance" => rename(function, "var_samp"),
        "approx_count_distinct" => rename(function, "approx_distinct"),
        "mode" => postgres::ordered_mode(function),
        "to_char" | "to_date" | "to_timestamp" => {
            if let FunctionArguments::List(list) = &mut function.args
                && let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(format))] =
                    list.args.as_mut_slice()
                && let Some(text) = literal(format)
                && !text.contains('%')
            {
                *format = Expr::value(Value::SingleQuotedString(strftime(&text)));
            }
        }
        _ => {}
    }
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
}

/// PostgreSQL's patterns, the longer ones first.
const PATTERNS: [(&str, &str); 24] = [
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("YYYY", "%Y"),
    ("Month", "%B"),
    ("MONTH", "%B"),
    ("IYYY", "%G"),
    ("DDD", "%j"),
    ("Mon", "%b"),
    ("MON", "%b"),
    ("Day", "%A"),
    ("DAY", "%A"),
    ("HH", "%I"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("Dy", "%a"),
    ("DY", "%a"),
    ("IW", "%V"),
    ("AM", "%p"),
    ("PM", "%p"),
];

fn strftime(format: &str) -> String {
    let (mut meant, mut rest) = (String::new(), format);
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            meant.push_str(text);
            rest = after;
        } else if let Some((pattern, own)) = PATTERNS.iter().find(|(p, _)| rest.starts_with(p)) {
            meant.push_str(own);
            rest = &rest[pattern.len()..];
        } else {
            meant.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    meant
}

/// A part of the rows is not what TABLESAMPLE would give.
pub(super) fn check_table(table: &TableFactor) -> Result<(), Fault> {
    match table {
        TableFactor::Table {
            sample: Some(_), ..
        }
        | TableFactor::Derived {
            sample: Some(_), ..
        } => Err(syntax(
            "TABLESAMPLE is not supported; ask for a share of the rows by a condition, for example \
             MURMURHASH3BIT32(key, 0) % 10 = 0",
        )),
        _ => Ok(()),
    }
}

/// The numbers of a series are called like it, or like its alias.
pub(super) fn name_series(table: &mut TableFactor) {
    let TableFactor::Table {
        name,
        args: Some(_),
        alias,
        ..
    } = table
    else {
        return;
    };
    let [ObjectNamePart::Identifier(function)] = name.0.as_slice() else {
        return;
    };
    if !["generate_series", "range"].contains(&function.value.to_lowercase().as_str()) {
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: function.clone(),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        let name = alias.name.clone();
        let column = TableAliasColumnDef {
            name,
            data_type: None,
        };
        alias.columns.push(column);
    }
}

/// ORDER BY ALL goes by every column from left to right.
pub(super) fn order_by_all(query: &mut Query) {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(by),
        ..
    }) = &mut query.order_by
    else {
        return;
    };
    let [all] = by.as_slice() else {
        return;
    };
    let is_all =
        |name: &Ident| name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
    if !matches!(&all.expr, Expr::Identifier(name) if is_all(name)) {
        return;
    }
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else {
        return;
    };
    let is_one = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    // How many `*` are is not known here.
    if !select.projection.iter().all(is_one) {
        return;
    }
    let each = |at| {
        let mut by = all.clone();
        by.expr = number(at);
        by
    };
    *by = (1..=select.projection.len() as u64).map(each).collect();
}
