//! Comparisons, lists and patterns over a dictionary of byte strings, without making an array of
//! it. In a sorted one: binary search for what has an order. In one whose values are in the order
//! in which they came: a look at what they begin with, and by hash for what is equal. In both: one
//! search through all bytes for what is somewhere inside.

use std::cmp::Ordering;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use index::dictionary::BytesDictionary;
use memchr::memmem;
use segment::view::{Head, SeenTexts};

use super::solve::{first_from, runs};
use crate::ranges::RangeSet;

/// The values of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Texts<'a> {
    Sorted(BytesDictionary<'a>),
    Seen(SeenTexts<'a>),
}

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
pub(super) fn find(expr: &dyn PhysicalExpr, texts: Texts<'_>) -> Option<Found> {
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        let is_column = is_null.arg().is::<Column>();
        return is_column.then(|| Found::just(RangeSet::none()));
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        let is_column = is_not_null.arg().is::<Column>();
        return is_column.then(|| Found::just(RangeSet::all()));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return find(not.arg().as_ref(), texts).map(|found| found.negated_if(true));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return listed(list, texts);
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        if like.case_insensitive() || !like.expr().is::<Column>() {
            return None;
        }
        let found = match literal(like.pattern().as_ref())? {
            Some(pattern) => Found::just(like_codes(pattern, texts)?),
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
            "starts_with" => texts.prefixed(wanted),
            "contains" => texts.holding(&[wanted], |_| true),
            _ => return None,
        }));
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (op, wanted) = match (binary.left().is::<Column>(), binary.right().is::<Column>()) {
        (true, false) => (*binary.op(), binary.right()),
        (false, true) => (binary.op().swap()?, binary.left()),
        _ => return None,
    };
    compared(op, literal(wanted.as_ref())?, texts)
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

fn compared(op: Operator, wanted: Option<&[u8]>, texts: Texts<'_>) -> Option<Found> {
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
    Some(Found::just(match op {
        Operator::Eq => texts.equal(wanted),
        Operator::NotEq => texts.equal(wanted).complement(),
        Operator::Lt => texts.where_order(wanted, |order| order.is_lt()),
        Operator::LtEq => texts.where_order(wanted, |order| order.is_le()),
        Operator::Gt => texts.where_order(wanted, |order| order.is_gt()),
        _ => texts.where_order(wanted, |order| order.is_ge()),
    }))
}

fn listed(list: &InListExpr, texts: Texts<'_>) -> Option<Found> {
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
    let mut found = Found::just(texts.any_of(wanted));
    if has_null {
        // What is not listed may be equal to the null.
        found.no = RangeSet::none();
    }
    Some(found.negated_if(list.negated()))
}

/// `None`: the pattern has `_` or an escape.
fn like_codes(pattern: &[u8], texts: Texts<'_>) -> Option<RangeSet> {
    if pattern.iter().any(|byte| matches!(byte, b'_' | b'\\')) {
        return None;
    }
    let pieces: Vec<&[u8]> = pattern.split(|byte| *byte == b'%').collect();
    Some(match &pieces[..] {
        [whole] => texts.equal(whole),
        [prefix, rest @ ..] if rest.iter().all(|piece| piece.is_empty()) => texts.prefixed(prefix),
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
                (true, [one]) => texts.holding(&[one], |_| true),
                _ if first.is_empty() => texts.holding(&middle_and(last, &middle), fits),
                _ => texts.beginning(first, fits),
            }
        }
        [] => return None,
    })
}

fn middle_and<'p>(last: &'p [u8], middle: &[&'p [u8]]) -> Vec<&'p [u8]> {
    middle.iter().copied().chain([last]).collect()
}

impl Texts<'_> {
    fn equal(self, wanted: &[u8]) -> RangeSet {
        let code = match self {
            Self::Sorted(dictionary) => dictionary.find(wanted).ok(),
            Self::Seen(seen) => seen.find(wanted),
        };
        code.map_or(RangeSet::none(), |code| {
            RangeSet::of(code.into(), code.into())
        })
    }

    fn any_of(self, mut wanted: Vec<&[u8]>) -> RangeSet {
        let mut codes = Vec::with_capacity(wanted.len());
        match self {
            Self::Sorted(dictionary) => {
                if !wanted.is_sorted() {
                    wanted.sort_unstable();
                }
                let count = dictionary.cardinality() as usize;
                let mut from = 0;
                for item in wanted {
                    let not_less = |code| dictionary.get(code as u32) >= item;
                    from = first_from(from, count, not_less);
                    if from < count && dictionary.get(from as u32) == item {
                        codes.push((from as i64, from as i64));
                    }
                }
            }
            Self::Seen(seen) => {
                let found = wanted.iter().filter_map(|item| seen.find(item));
                codes.extend(found.map(|code| (i64::from(code), i64::from(code))));
            }
        }
        RangeSet::of_any(codes)
    }

    /// Values whose order to `wanted` fits, which the one or the other end of all does.
    fn where_order(self, wanted: &[u8], fits: impl Fn(Ordering) -> bool) -> RangeSet {
        match self {
            Self::Sorted(dictionary) => {
                // The first code that is not less, and the first that is greater.
                let (from, past) = match dictionary.find(wanted) {
                    Ok(code) => (i64::from(code), i64::from(code) + 1),
                    Err(code) => (i64::from(code), i64::from(code)),
                };
                let end = match fits(Ordering::Equal) == fits(Ordering::Less) {
                    true => past,
                    false => from,
                };
                match fits(Ordering::Less) {
                    true => RangeSet::of(0, end - 1),
                    false => RangeSet::of(end, i64::MAX),
                }
            }
            Self::Seen(seen) => {
                let head = Head::of(wanted).bytes;
                let by_head = |own: Head| match own.bytes.cmp(&head) {
                    Ordering::Equal => None,
                    order => Some(fits(order)),
                };
                runs(seen.passing(by_head, |value| fits(value.cmp(wanted))))
            }
        }
    }

    fn prefixed(self, prefix: &[u8]) -> RangeSet {
        match self {
            Self::Sorted(dictionary) => {
                let count = dictionary.cardinality() as usize;
                let from = match dictionary.find(prefix) {
                    Ok(code) | Err(code) => code as usize,
                };
                let past = first_from(from, count, |code| {
                    !dictionary.get(code as u32).starts_with(prefix)
                });
                RangeSet::of(from as i64, past as i64 - 1)
            }
            Self::Seen(_) => self.beginning(prefix, |_| true),
        }
    }

    /// Values that begin with `prefix` and pass `fits`.
    fn beginning(self, prefix: &[u8], fits: impl Fn(&[u8]) -> bool) -> RangeSet {
        match self {
            Self::Sorted(dictionary) => {
                let near = self.prefixed(prefix);
                let codes = near.ranges().iter().flat_map(|(low, high)| *low..=*high);
                let codes = codes.filter(|code| fits(dictionary.get(*code as u32)));
                RangeSet::of_any(codes.map(|code| (code, code)).collect())
            }
            Self::Seen(seen) => {
                let head = Head::of(prefix).bytes;
                let told = match prefix.len() {
                    0 => 0,
                    length => u32::MAX << (32 - 8 * length.min(4)),
                };
                let by_head = |own: Head| ((own.bytes ^ head) & told != 0).then_some(false);
                let by_value = |value: &[u8]| value.starts_with(prefix) && fits(value);
                runs(seen.passing(by_head, by_value))
            }
        }
    }

    /// Values that hold the longest of `pieces` and pass `fits`: one search over the bytes of all.
    fn holding(self, pieces: &[&[u8]], fits: impl Fn(&[u8]) -> bool) -> RangeSet {
        let longest = pieces.iter().max_by_key(|piece| piece.len());
        let longest = longest.filter(|piece| !piece.is_empty());
        match (self, longest) {
            (Self::Sorted(dictionary), Some(piece)) => sorted_holding(dictionary, piece, fits),
            (Self::Sorted(dictionary), None) => {
                let codes =
                    (0..dictionary.cardinality()).filter(|code| fits(dictionary.get(*code)));
                let codes = codes.map(|code| (i64::from(code), i64::from(code)));
                RangeSet::of_any(codes.collect())
            }
            (Self::Seen(seen), Some(piece)) => {
                let finder = memmem::Finder::new(piece);
                runs(seen.holding(piece, |bytes| finder.find(bytes), fits))
            }
            (Self::Seen(seen), None) => runs(seen.passing(|_| None, fits)),
        }
    }
}

fn sorted_holding(
    dictionary: BytesDictionary<'_>,
    piece: &[u8],
    fits: impl Fn(&[u8]) -> bool,
) -> RangeSet {
    let (offsets, bytes) = dictionary.whole();
    let finder = memmem::Finder::new(piece);
    let count = dictionary.cardinality() as usize;
    let (mut codes, mut code, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = finder.find(&bytes[at..]) {
        let start = at + found;
        // The value in which the hit begins.
        code = first_from(code, count, |code| offsets[code + 1] as usize > start);
        if start + piece.len() > offsets[code + 1] as usize {
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

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema, TimestampMillisecondType};
    use datafusion::physical_expr::expressions::{binary, col, in_list, like, lit, not};
    use index::dictionary::DictionaryWriter;
    use proptest::prelude::*;
    use schemas::arrow::ingest_schema;
    use schemas::{ColumnSpec, FieldRole, SegmentId, TableSpec, TableType};
    use segment::view::Values;
    use segment::{MutableSegment, SegmentView};

    use super::*;

    /// A view of a consuming segment with a row for each value.
    fn consuming(values: &[&String]) -> SegmentView {
        let column = ColumnSpec::new("x", schemas::DataType::String, FieldRole::Dimension);
        let spec = TableSpec::new("t".parse().unwrap(), TableType::Realtime, vec![column]);
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence: 0,
        };
        let offsets = Int64Array::from_iter_values(0..values.len() as i64);
        let times = offsets.reinterpret_cast::<TimestampMillisecondType>();
        let texts = StringViewArray::from_iter_values(values);
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(offsets), Arc::new(times)];
        let rows = RecordBatch::try_new(ingest_schema(&spec), columns).unwrap();
        let segment = MutableSegment::new(Arc::new(spec), id, "t".to_owned(), 0).unwrap();
        segment.append(&rows).unwrap();
        Arc::new(segment).view()
    }

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
        let expected: Vec<bool> = verdict.iter().map(|said| said == Some(true)).collect();
        let found = find(expr.as_ref(), Texts::Sorted(dictionary));
        let found = found.unwrap_or_else(|| panic!("{expr} is not known"));
        for (code, (value, expected)) in values.iter().zip(&expected).enumerate() {
            let is_found = found.yes.contains(code as i64);
            assert_eq!(is_found, *expected, "{expr} of `{value}`");
        }
        // The greatest came first.
        let backwards: Vec<&String> = values.iter().rev().collect();
        let view = consuming(&backwards);
        let column = view.column("x").unwrap().unwrap();
        let Values::Dictionary(dictionary) = column.values() else {
            panic!("texts have codes");
        };
        let seen = dictionary.texts().expect("their order is another");
        let found = find(expr.as_ref(), Texts::Seen(seen)).expect("known as well");
        let wanted = backwards.iter().zip(expected.iter().rev()).enumerate();
        for (code, (value, expected)) in wanted {
            let is_found = found.yes.contains(code as i64);
            assert_eq!(is_found, *expected, "{expr} of consuming `{value}`");
        }
    }

    proptest! {
        #[test]
        fn searches_say_what_the_expression_says(
            values in prop::collection::btree_set("([ab]é%yxyxyxyxyxyx)?[ab%é]{0,4}", 0..30),
            pieces in prop::collection::vec("x?[abé]{0,2}", 1..5),
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
