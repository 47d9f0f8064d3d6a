//! Arguments of a call and values made of them, row by row without a value in between.
//!
//! A literal is one value for all rows. Where any argument is null the value is null and the body
//! is not asked.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray, BooleanBuilder,
    Float64Array, Int32Array, Int64Array, ListArray, ListBuilder, PrimitiveBuilder,
    StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimestampMillisecondType,
};
use datafusion::common::{Result, internal_err};

use crate::arguments::wrong;

#[derive(Debug)]
pub(crate) struct Rows {
    name: String,
    columns: Vec<(ArrayRef, bool)>,
    count: usize,
}

/// A value of an argument.
pub(crate) trait In<'a>: Sized {
    type Array: Array + 'static;
    fn at(array: &'a Self::Array, row: usize) -> Self;
}

/// What a body gives for a row.
pub(crate) trait Out: Sized {
    type Builder;
    fn builder(rows: usize) -> Self::Builder;
    fn push(value: Option<Self>, to: &mut Self::Builder);
    fn finish(builder: Self::Builder) -> ArrayRef;
}

macro_rules! read_as {
    ($($value:ty => $array:ty),*) => {$(
        impl<'a> In<'a> for $value {
            type Array = $array;
            fn at(array: &'a $array, row: usize) -> Self {
                array.value(row)
            }
        }
    )*};
}

read_as!(
    i32 => Int32Array, i64 => Int64Array, f64 => Float64Array, bool => BooleanArray,
    &'a str => StringViewArray, &'a [u8] => BinaryViewArray, ArrayRef => ListArray
);

/// A time of a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ms(pub(crate) i64);

macro_rules! written_as {
    ($($value:ty => $arrow:ty, $native:expr;)*) => {$(
        impl Out for $value {
            type Builder = PrimitiveBuilder<$arrow>;
            fn builder(rows: usize) -> Self::Builder {
                PrimitiveBuilder::with_capacity(rows)
            }
            fn push(value: Option<Self>, to: &mut Self::Builder) {
                to.append_option(value.map($native));
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )*};
}

written_as!(
    i32 => Int32Type, |value| value;
    i64 => Int64Type, |value| value;
    f64 => Float64Type, |value| value;
    Ms => TimestampMillisecondType, |value| value.0;
    IntervalMonthDayNano => IntervalMonthDayNanoType, |value| value;
);

impl Out for bool {
    type Builder = BooleanBuilder;

    fn builder(rows: usize) -> BooleanBuilder {
        BooleanBuilder::with_capacity(rows)
    }

    fn push(value: Option<Self>, to: &mut BooleanBuilder) {
        to.append_option(value);
    }

    fn finish(mut builder: BooleanBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

macro_rules! viewed_as {
    ($($value:ty => $builder:ty;)*) => {$(
        impl Out for $value {
            type Builder = $builder;
            fn builder(rows: usize) -> Self::Builder {
                <$builder>::with_capacity(rows)
            }
            fn push(value: Option<Self>, to: &mut Self::Builder) {
                to.append_option(value);
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )*};
}

viewed_as!(
    &str => StringViewBuilder;
    String => StringViewBuilder;
    Cow<'_, str> => StringViewBuilder;
    Vec<u8> => BinaryViewBuilder;
    &[u8] => BinaryViewBuilder;
);

macro_rules! listed_as {
    ($($entry:ty => $builder:ty;)*) => {$(
        impl Out for Vec<$entry> {
            type Builder = ListBuilder<$builder>;
            fn builder(rows: usize) -> Self::Builder {
                ListBuilder::with_capacity(<$builder>::default(), rows)
            }
            fn push(value: Option<Self>, to: &mut Self::Builder) {
                let is_valid = value.is_some();
                for entry in value.into_iter().flatten() {
                    to.values().append_value(entry);
                }
                to.append(is_valid);
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )*};
}

listed_as!(
    i32 => PrimitiveBuilder<Int32Type>;
    i64 => PrimitiveBuilder<Int64Type>;
    f64 => PrimitiveBuilder<Float64Type>;
    String => StringViewBuilder;
    &str => StringViewBuilder;
);

impl Out for Vec<Vec<Option<&str>>> {
    type Builder = ListBuilder<ListBuilder<StringViewBuilder>>;

    fn builder(rows: usize) -> Self::Builder {
        ListBuilder::with_capacity(ListBuilder::new(StringViewBuilder::new()), rows)
    }

    fn push(value: Option<Self>, to: &mut Self::Builder) {
        let is_valid = value.is_some();
        for list in value.into_iter().flatten() {
            let entries = to.values();
            list.into_iter()
                .for_each(|entry| entries.values().append_option(entry));
            entries.append(true);
        }
        to.append(is_valid);
    }

    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// One argument, typed.
struct Argument<'a, T: In<'a>> {
    array: &'a T::Array,
    is_literal: bool,
}

impl<'a, T: In<'a>> Argument<'a, T> {
    #[inline(always)]
    fn at(&self, row: usize) -> Option<T> {
        let row = if self.is_literal { 0 } else { row };
        self.array.is_valid(row).then(|| T::at(self.array, row))
    }
}

impl Rows {
    pub(crate) fn new(name: &str, columns: Vec<(ArrayRef, bool)>, count: usize) -> Self {
        let name = name.to_uppercase();
        Self {
            name,
            columns,
            count,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Rows of the result.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Arguments, and whether they are literals.
    pub(crate) fn columns(&self) -> &[(ArrayRef, bool)] {
        &self.columns
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        at < self.columns.len()
    }

    /// An argument with a value for each row.
    pub(crate) fn whole(&self, at: usize) -> Result<ArrayRef> {
        let (array, is_literal) = &self.columns[at];
        match *is_literal && self.count != 1 {
            true => {
                let zeros = arrow::array::UInt32Array::from_value(0, self.count);
                Ok(arrow::compute::take(array, &zeros, None)?)
            }
            false => Ok(Arc::clone(array)),
        }
    }

    /// A text that is the same for all rows; `None`: it is missing or null.
    pub(crate) fn literal(&self, at: usize) -> Result<Option<&str>> {
        let Some((array, is_literal)) = self.columns.get(at) else {
            return Ok(None);
        };
        if !is_literal {
            return Err(wrong(format!(
                "{}: argument {} must be a literal, the same for every row",
                self.name,
                at + 1
            )));
        }
        let texts = array.as_string_view();
        Ok(texts.is_valid(0).then(|| texts.value(0)))
    }

    /// As [`Self::literal`], of one that must be there.
    pub(crate) fn text(&self, at: usize) -> Result<&str> {
        match self.literal(at)? {
            Some(text) => Ok(text),
            None => Err(wrong(format!(
                "{}: argument {} is a text, not NULL",
                self.name,
                at + 1
            ))),
        }
    }

    fn argument<'a, T: In<'a>>(&'a self, at: usize) -> Result<Argument<'a, T>> {
        let Some((array, is_literal)) = self.columns.get(at) else {
            return internal_err!("{} lacks its argument {at}", self.name);
        };
        match array.as_any().downcast_ref::<T::Array>() {
            Some(array) => Ok(Argument {
                array,
                is_literal: *is_literal,
            }),
            None => internal_err!("{}: argument {at} is {}", self.name, array.data_type()),
        }
    }

    /// As [`Self::try_map`], with the number of the row.
    pub(crate) fn try_map_rows<'a, A: In<'a>, R: Out>(
        &'a self,
        mut f: impl FnMut(usize, A) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let a = self.argument::<A>(0)?;
        self.collect(|row| a.at(row).map_or(Ok(None), |a| f(row, a)))
    }

    /// Whatever the arguments are.
    pub(crate) fn collect<R: Out>(
        &self,
        mut of_row: impl FnMut(usize) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let mut builder = R::builder(self.count);
        for row in 0..self.count {
            R::push(of_row(row)?, &mut builder);
        }
        Ok(R::finish(builder))
    }

    pub(crate) fn map0<R: Out>(&self, f: impl Fn() -> R) -> Result<ArrayRef> {
        self.collect(|_| Ok(Some(f())))
    }

    pub(crate) fn map<'a, A: In<'a>, R: Out>(
        &'a self,
        f: impl Fn(A) -> Option<R>,
    ) -> Result<ArrayRef> {
        self.try_map(|a| Ok(f(a)))
    }

    pub(crate) fn try_map<'a, A: In<'a>, R: Out>(
        &'a self,
        mut f: impl FnMut(A) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let a = self.argument::<A>(0)?;
        self.collect(|row| a.at(row).map_or(Ok(None), &mut f))
    }

    /// Of the second argument; the first is one for all rows.
    pub(crate) fn second<'a, A: In<'a>, R: Out>(
        &'a self,
        f: impl Fn(A) -> Option<R>,
    ) -> Result<ArrayRef> {
        let a = self.argument::<A>(1)?;
        self.collect(|row| Ok(a.at(row).and_then(&f)))
    }

    pub(crate) fn map2<'a, A: In<'a>, B: In<'a>, R: Out>(
        &'a self,
        f: impl Fn(A, B) -> Option<R>,
    ) -> Result<ArrayRef> {
        self.try_map2(|a, b| Ok(f(a, b)))
    }

    pub(crate) fn try_map2<'a, A: In<'a>, B: In<'a>, R: Out>(
        &'a self,
        mut f: impl FnMut(A, B) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let (a, b) = (self.argument::<A>(0)?, self.argument::<B>(1)?);
        self.collect(|row| match (a.at(row), b.at(row)) {
            (Some(a), Some(b)) => f(a, b),
            _ => Ok(None),
        })
    }

    pub(crate) fn map3<'a, A: In<'a>, B: In<'a>, C: In<'a>, R: Out>(
        &'a self,
        f: impl Fn(A, B, C) -> Option<R>,
    ) -> Result<ArrayRef> {
        self.try_map3(|a, b, c| Ok(f(a, b, c)))
    }

    pub(crate) fn try_map3<'a, A: In<'a>, B: In<'a>, C: In<'a>, R: Out>(
        &'a self,
        mut f: impl FnMut(A, B, C) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let (a, b) = (self.argument::<A>(0)?, self.argument::<B>(1)?);
        let c = self.argument::<C>(2)?;
        self.collect(|row| match (a.at(row), b.at(row), c.at(row)) {
            (Some(a), Some(b), Some(c)) => f(a, b, c),
            _ => Ok(None),
        })
    }

    /// Texts that `write` makes in a room for all of them, which is empty each time.
    pub(crate) fn write3<'a, A: In<'a>, B: In<'a>, C: In<'a>>(
        &'a self,
        mut write: impl FnMut(A, B, C, &mut String) -> Result<()>,
    ) -> Result<ArrayRef> {
        let (a, b) = (self.argument::<A>(0)?, self.argument::<B>(1)?);
        let c = self.argument::<C>(2)?;
        let mut texts = StringViewBuilder::with_capacity(self.count);
        let mut room = String::new();
        for row in 0..self.count {
            let (Some(a), Some(b), Some(c)) = (a.at(row), b.at(row), c.at(row)) else {
                texts.append_null();
                continue;
            };
            room.clear();
            write(a, b, c, &mut room)?;
            texts.append_value(&room);
        }
        Ok(Arc::new(texts.finish()))
    }

    pub(crate) fn try_map4<'a, A: In<'a>, B: In<'a>, C: In<'a>, D: In<'a>, R: Out>(
        &'a self,
        f: impl Fn(A, B, C, D) -> Result<Option<R>>,
    ) -> Result<ArrayRef> {
        let (a, b) = (self.argument::<A>(0)?, self.argument::<B>(1)?);
        let (c, d) = (self.argument::<C>(2)?, self.argument::<D>(3)?);
        self.collect(|row| match (a.at(row), b.at(row), c.at(row), d.at(row)) {
            (Some(a), Some(b), Some(c), Some(d)) => f(a, b, c, d),
            _ => Ok(None),
        })
    }
}

/// Of a list's entries, as the planner cast them.
pub(crate) fn texts_of(list: &ArrayRef) -> impl Iterator<Item = &str> {
    list.as_string_view().iter().flatten()
}

pub(crate) const TEXT: DataType = DataType::Utf8View;
