//! Comparisons, lists and patterns over a sorted dictionary of byte strings, without making an
//! array of it: binary search for what has an order, one search through all bytes for what is
//! somewhere inside.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use index::dictionary::BytesDictionary;
use memchr::memmem;

use super::solve::first_from;
use crate::ranges::RangeSet;

/// For which codes it is true, and for which false; for the others it is null. Codes at and past
/// the cardinality mean nothing.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) yes: RangeSet,
    no: RangeSet,
}

impl Found {
    fn just(yes: RangeSet) -> Self {
        let no = yes.clone().complement();
        Self { yes, no }
    }

    /// What compares with null is null.
    const fn null() -> Self {
        Self {
            yes: RangeSet::none(),
            no: RangeSet::none(),
        }
    }

    fn negated_if(self, is_negated: bool) -> Self {
        match is_negated {
            true => Self {
                yes: self.no,
                no: self.yes,
            },
            false => self,
        }
    }
}

/// `None`: it must be evaluated.
pub(super) fn find(expr: &dyn PhysicalExpr, dictionary: BytesDictionary<'_>) -> Option<Found> {
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        let is_column = is_null.arg().is::<Column>();
        return is_column.then(|| Found::just(RangeSet::none()));
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        let is_column = is_not_null.arg().is::<Column>();
        return is_column.then(|| Found::just(RangeSet::all()));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return find(not.arg().as_ref(), dictionary).map(|found| found.negated_if(true));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return listed(list, dictionary);
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        if like.case_insensitive() || !like.expr().is::<Column>() {
            return None;
        }
        let found = match literal(like.pattern().as_ref())? {
            Some(pattern) => Found::just(like_codes(pattern, dictionary)?),
            None => Found::null(),
        };
        return Some(found.negated_if(like.negated()));
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let [column, wanted] = call.args() else {
            return None;
        };
        if !column.is::<Column>() {
            return None;
        }
        let wanted = literal(wanted.as_ref())??;
        return Some(Found::just(match call.name() {
            "starts_with" => prefixed(wanted, dictionary),
            "contains" => holding(&[wanted], dictionary, |_| true),
            _ => return None,
        }));
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (op, wanted) = match (binary.left().is::<Column>(), binary.right().is::<Column>()) {
        (true, false) => (*binary.op(), binary.right()),
        (false, true) => (binary.op().swap()?, binary.left()),
        _ => return None,
    };
    compared(op, literal(wanted.as_ref())?, dictionary)
}

/// The bytes of a literal; `Some(None)`: it is null.
fn literal(expr: &dyn PhysicalExpr) -> Option<Option<&[u8]>> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) => {
            Some(text.as_deref().map(str::as_bytes))
        }
        ScalarValue::BinaryView(bytes) | ScalarValue::Binary(bytes) => Some(bytes.as_deref()),
        _ => None,
    }
}

fn compared(op: Operator, wanted: Option<&[u8]>, dictionary: BytesDictionary<'_>) -> Option<Found> {
    let is_known = matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    );
    if !is_known {
        return None;
    }
    let Some(wanted) = wanted else {
        return Some(Found::null());
    };
    // The first code that is not less, and the first that is greater.
    let (from, past) = match dictionary.find(wanted) {
        Ok(code) => (i64::from(code), i64::from(code) + 1),
        Err(code) => (i64::from(code), i64::from(code)),
    };
    let (below, equal) = (
        |end: i64| RangeSet::of(0, end - 1),
        RangeSet::of(from, past - 1),
    );
    Some(Found::just(match op {
        Operator::Eq => equal,
        Operator::NotEq => equal.complement(),
        Operator::Lt => below(from),
        Operator::LtEq => below(past),
        Operator::Gt => below(past).complement(),
        _ => below(from).complement(),
    }))
}

fn listed(list: &InListExpr, dictionary: BytesDictionary<'_>) -> Option<Found> {
    if !list.expr().is::<Column>() {
        return None;
    }
    let mut wanted = Vec::with_capacity(list.list().len());
    let mut has_null = false;
    for item in list.list() {
        match literal(item.as_ref())? {
            Some(item) => wanted.push(item),
            None => has_null = true,
        }
    }
    if !wanted.is_sorted() {
        wanted.sort_unstable();
    }
    let count = dictionary.cardinality() as usize;
    let (mut from, mut codes) = (0, Vec::with_capacity(wanted.len()));
    for item in wanted {
        from = first_from(from, count, |code| dictionary.get(code as u32) >= item);
        if from < count && dictionary.get(from as u32) == item {
            codes.push((from as i64, from as i64));
        }
    }
    let mut found = Found::just(RangeSet::of_any(codes));
    if has_null {
        // What is not listed may be equal to the null.
        found.no = RangeSet::none();
    }
    Some(found.negated_if(list.negated()))
}

/// `None`: the pattern has `_` or an escape.
fn like_codes(pattern: &[u8], dictionary: BytesDictionary<'_>) -> Option<RangeSet> {
    if pattern.iter().any(|byte| matches!(byte, b'_' | b'\\')) {
        return None;
    }
    let pieces: Vec<&[u8]> = pattern.split(|byte| *byte == b'%').collect();
    Some(match &pieces[..] {
        [whole] => match dictionary.find(whole) {
            Ok(code) => RangeSet::of(code.into(), code.into()),
            Err(_) => RangeSet::none(),
        },
        [prefix, rest @ ..] if rest.iter().all(|piece| piece.is_empty()) => {
            prefixed(prefix, dictionary)
        }
        [first, middle @ .., last] => {
            let middle: Vec<&[u8]> = middle.iter().copied().filter(|m| !m.is_empty()).collect();
            let fits = |value: &[u8]| {
                let Some(value) = value.strip_prefix(*first) else {
                    return false;
                };
                let Some(mut value) = value.strip_suffix(*last) else {
                    return false;
                };
                for piece in &middle {
                    let Some(at) = memmem::find(value, piece) else {
                        return false;
                    };
                    value = &value[at + piece.len()..];
                }
                true
            };
            match (first.is_empty() && last.is_empty(), &middle[..]) {
                (true, [one]) => holding(&[one], dictionary, |_| true),
                _ if first.is_empty() => holding(&middle_and(last, &middle), dictionary, fits),
                _ => {
                    let near = prefixed(first, dictionary);
                    let codes = near.ranges().iter().flat_map(|(low, high)| *low..=*high);
                    let codes = codes.filter(|code| fits(dictionary.get(*code as u32)));
                    RangeSet::of_any(codes.map(|code| (code, code)).collect())
                }
            }
        }
        [] => return None,
    })
}

fn middle_and<'p>(last: &'p [u8], middle: &[&'p [u8]]) -> Vec<&'p [u8]> {
    middle.iter().copied().chain([last]).collect()
}

fn prefixed(prefix: &[u8], dictionary: BytesDictionary<'_>) -> RangeSet {
    let count = dictionary.cardinality() as usize;
    let from = match dictionary.find(prefix) {
        Ok(code) | Err(code) => code as usize,
    };
    let past = first_from(from, count, |code| {
        !dictionary.get(code as u32).starts_with(prefix)
    });
    RangeSet::of(from as i64, past as i64 - 1)
}

/// Values that hold the longest of `pieces` and pass `fits`: one search over the bytes of all.
fn holding(
    pieces: &[&[u8]],
    dictionary: BytesDictionary<'_>,
    fits: impl Fn(&[u8]) -> bool,
) -> RangeSet {
    let longest = pieces.iter().max_by_key(|piece| piece.len());
    let Some(longest) = longest.filter(|piece| !piece.is_empty()) else {
        let codes = (0..dictionary.cardinality()).filter(|code| fits(dictionary.get(*code)));
        let codes = codes.map(|code| (i64::from(code), i64::from(code)));
        return RangeSet::of_any(codes.collect());
    };
    let (offsets, bytes) = dictionary.whole();
    let finder = memmem::Finder::new(longest);
    let count = dictionary.cardinality() as usize;
    let (mut codes, mut code, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = finder.find(&bytes[at..]) {
        let start = at + found;
        // The value in which the hit begins.
        code = first_from(code, count, |code| offsets[code + 1] as usize > start);
        if start + longest.len() > offsets[code + 1] as usize {
            at = start + 1;
            continue;
        }
        if fits(dictionary.get(code as u32)) {
            codes.push((code as i64, code as i64));
        }
        at = offsets[code + 1] as usize;
    }
    RangeSet::of_any(codes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{AsArray, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::{binary, col, in_list, like, lit, not};
    use index::dictionary::DictionaryWriter;
    use proptest::prelude::*;

    use super::*;

    fn agree(values: &BTreeSet<String>, expr: &Arc<dyn PhysicalExpr>) {
        let mut writer = DictionaryWriter::default();
        for value in values {
            writer.push(value.as_bytes()).unwrap();
        }
        let (offsets, bytes) = writer.finish();
        let dictionary = BytesDictionary::new(&offsets, &bytes);
        let array = Arc::new(StringViewArray::from_iter_values(values));
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8View, true)]));
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        let verdict = expr
            .evaluate(&batch)
            .unwrap()
            .into_array(values.len())
            .unwrap();
        let verdict = verdict.as_boolean();
        let Some(found) = find(expr.as_ref(), dictionary) else {
            panic!("{expr} is not known");
        };
        for (code, value) in values.iter().enumerate() {
            let expected = verdict.iter().nth(code).flatten() == Some(true);
            assert_eq!(
                found.yes.contains(code as i64),
                expected,
                "{expr} of `{value}`"
            );
        }
    }

    proptest! {
        #[test]
        fn searches_say_what_the_expression_says(
            values in prop::collection::btree_set("[ab%é]{0,4}", 0..30),
            pieces in prop::collection::vec("[abé]{0,2}", 1..5),
            wanted in prop::collection::vec("[ab]{0,3}", 0..6),
        ) {
            let schema = Schema::new(vec![Field::new("x", DataType::Utf8View, true)]);
            let x = || col("x", &schema).unwrap();
            let text = |text: &str| lit(ScalarValue::Utf8View(Some(text.to_owned())));
            let pattern = pieces.join("%");
            for negated in [false, true] {
                agree(&values, &like(negated, false, x(), text(&pattern), &schema).unwrap());
                let mut items: Vec<_> = wanted.iter().map(|item| text(item)).collect();
                agree(&values, &in_list(x(), items.clone(), &negated, &schema).unwrap());
                items.push(lit(ScalarValue::Utf8View(None)));
                let list = in_list(x(), items, &negated, &schema).unwrap();
                agree(&values, &list);
                agree(&values, &not(list).unwrap());
            }
            use Operator as O;
            for op in [O::Eq, O::NotEq, O::Lt, O::LtEq, O::Gt, O::GtEq] {
                let expr = binary(x(), op, text(&pieces[0]), &schema).unwrap();
                agree(&values, &expr);
                agree(&values, &not(expr).unwrap());
                agree(&values, &binary(text(&pieces[0]), op, x(), &schema).unwrap());
            }
        }
    }
}
