//! Objects as programs mostly write them, read at the speed of their bytes.
//!
//! Invariant: an object is taken only where [`super::thorough`] takes it, with the same cells. What
//! is unusual is left to that one, and so is what is wrong: it tells the reason. Afterwards the
//! row may hold remains.

use std::borrow::Cow;

use schemas::DataType;
use serde_json::value::RawValue;

use crate::coerce::Cell;
use crate::field::Field;
use crate::row::{Row, Shape, Target};

/// Digits of a whole number that always fits into 64 bits.
const DIGITS_MAX: usize = 19;
/// Digits of a number that a float holds exactly.
const EXACT_DIGITS: usize = 15;
const POWERS: [f64; EXACT_DIGITS + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

pub(super) fn read(target: &Target, row: &mut Row, payload: &[u8]) -> Option<()> {
    // Once for all texts, so that each is cut out of it without another look.
    let text = std::str::from_utf8(payload).ok()?;
    let columns = target.spec.columns.len();
    if row.follows.len() != columns + 1 {
        row.follows = (0..=columns).collect();
    }
    let mut cursor = Cursor {
        whole: text,
        bytes: payload,
        at: 0,
    };
    cursor.pass(b'{')?;
    if cursor.space()? == b'}' {
        cursor.at += 1;
        return cursor.ends();
    }
    // Of `follows`: what comes after the beginning, or after the column before.
    let mut before = 0;
    loop {
        let column = cursor.key(target, row.follows[before])?;
        cursor.pass(b':')?;
        cursor.space()?;
        match column {
            None => cursor.skip()?,
            Some(at) => {
                row.follows[before] = at;
                before = at + 1;
                cursor.value(target, at, row)?;
            }
        }
        match cursor.space()? {
            b',' => cursor.at += 1,
            b'}' => {
                cursor.at += 1;
                return cursor.ends();
            }
            _ => return None,
        }
    }
}

struct Cursor<'a> {
    whole: &'a str,
    /// Of `whole`.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is no space; it is not passed.
    #[inline]
    fn space(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn pass(&mut self, wanted: u8) -> Option<()> {
        let found = self.space()? == wanted;
        self.at += usize::from(found);
        found.then_some(())
    }

    fn ends(&mut self) -> Option<()> {
        self.space().is_none().then_some(())
    }

    /// The column of a key, where there is one. Keys mostly follow each other as they did in the
    /// message before.
    #[inline]
    fn key(&mut self, target: &Target, expected: usize) -> Option<Option<usize>> {
        if self.space()? != b'"' {
            return None;
        }
        let next = self.bytes[self.at + 1..].first_chunk();
        if let (Some(name), Some(next)) = (target.names.get(expected), next)
            && name.begins(u128::from_le_bytes(*next))
        {
            self.at += name.bytes + 1;
            return Some(Some(expected));
        }
        if let Some(column) = target.spec.columns.get(expected)
            && let Some(rest) = self.bytes[self.at + 1..].strip_prefix(column.name.as_bytes())
            && rest.first() == Some(&b'"')
        {
            self.at += column.name.len() + 2;
            return Some(Some(expected));
        }
        let key = self.text()?;
        Some(target.position(&key))
    }

    /// Each cell is written where it stays: a copy of what was just written in parts takes longer
    /// than all else that is done for it.
    #[inline(always)]
    fn value(&mut self, target: &Target, at: usize, row: &mut Row) -> Option<()> {
        let Row {
            cells,
            texts,
            entries,
            ..
        } = row;
        let (cell, shape) = (&mut cells[at], target.shapes[at]);
        let first = self.peek()?;
        match shape {
            Shape::Text { length_max } if first == b'"' => {
                let (from, to) = self.plain(length_max)?;
                if from <= to {
                    let start = texts.text.len();
                    texts.text.push_str(self.whole.get(from..to)?);
                    *cell = Cell::Text(start as u32, u32::try_from(texts.text.len()).ok()?);
                } else {
                    *cell = target.field(at, texts).text(&self.text()?).ok()?;
                }
            }
            Shape::Int | Shape::Long | Shape::Double if matches!(first, b'-' | b'0'..=b'9') => {
                match (shape, self.number()?) {
                    (Shape::Long, Number::Whole(value)) => *cell = Cell::Long(value),
                    (Shape::Int, Number::Whole(value)) if i32::try_from(value).is_ok() => {
                        *cell = Cell::Long(value);
                    }
                    (Shape::Double, Number::Float(value)) => *cell = Cell::Double(value),
                    (_, number) => *cell = number.into_cell(target.field(at, texts))?,
                }
            }
            Shape::Several => *cell = self.several(target.field(at, texts), entries)?,
            _ => *cell = self.one(target.field(at, texts))?,
        }
        Some(())
    }

    /// Passes a text that stands as it is meant, and is not too long: where it begins and ends. Of
    /// others nothing is passed, and the beginning comes after the end.
    #[inline(always)]
    fn plain(&mut self, length_max: usize) -> Option<(usize, usize)> {
        let from = self.at + 1;
        let to = from + stop(self.bytes.get(from..)?)?;
        if self.bytes[to] != b'"' || to - from > length_max {
            return Some((1, 0));
        }
        self.at = to + 1;
        Some((from, to))
    }

    fn one(&mut self, field: Field<'_>) -> Option<Cell> {
        if matches!(
            field.column.data_type,
            DataType::Json | DataType::BigDecimal
        ) {
            return field.json(self.raw()?).ok();
        }
        match self.peek()? {
            b'"' => field.text(&self.text()?).ok(),
            b'-' | b'0'..=b'9' => self.number()?.into_cell(field),
            b't' => self
                .literal(b"true")
                .and_then(|()| field.boolean(true).ok()),
            b'f' => self
                .literal(b"false")
                .and_then(|()| field.boolean(false).ok()),
            b'n' => self.literal(b"null").map(|()| Cell::Null),
            _ => None,
        }
    }

    fn several(&mut self, mut field: Field<'_>, entries: &mut Vec<Cell>) -> Option<Cell> {
        let from = entries.len();
        if self.peek()? != b'[' {
            push(entries, self.one(field)?);
        } else {
            self.at += 1;
            if self.space()? == b']' {
                self.at += 1;
                return Some(Cell::Null);
            }
            loop {
                self.space()?;
                push(entries, self.one(field.again())?);
                match self.space()? {
                    b',' => self.at += 1,
                    b']' => break self.at += 1,
                    _ => return None,
                }
            }
        }
        Some(Cell::of_entries(from, entries.len()))
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.text().map(drop),
            _ => self.raw().map(drop),
        }
    }

    /// Any value, as it stands.
    fn raw(&mut self) -> Option<&'a str> {
        let rest = self.bytes.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value.get())
    }

    #[inline]
    fn text(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at + 1;
        let to = from + stop(self.bytes.get(from..)?)?;
        if self.bytes[to] != b'"' {
            return self.escaped().map(Cow::Owned);
        }
        self.at = to + 1;
        self.whole.get(from..to).map(Cow::Borrowed)
    }

    #[cold]
    fn escaped(&mut self) -> Option<String> {
        let mut to = self.at + 1;
        loop {
            to += stop(self.bytes.get(to..)?)?;
            match self.bytes[to] {
                b'"' => break,
                b'\\' => to += 2,
                _ => return None,
            }
        }
        let text = serde_json::from_slice(&self.bytes[self.at..=to]).ok()?;
        self.at = to + 1;
        Some(text)
    }

    #[inline(always)]
    fn number(&mut self) -> Option<Number> {
        let from = self.at;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.at;
        let whole = self.digits(0);
        let count = self.at - digits;
        if count == 0 || count > DIGITS_MAX || (count > 1 && self.bytes[digits] == b'0') {
            return None;
        }
        if let Some(b'.' | b'e' | b'E') = self.peek() {
            let value = self.float(from, whole, count)?;
            return Some(Number::Float(if negative { -value } else { value }));
        }
        match (negative, i64::try_from(whole)) {
            (false, Ok(value)) => Some(Number::Whole(value)),
            (false, Err(_)) => Some(Number::Large(whole)),
            (true, Ok(0)) => Some(Number::Float(-0.0)),
            (true, Ok(value)) => Some(Number::Whole(-value)),
            (true, Err(_)) => None,
        }
    }

    /// Passes digits; the number that they make after `number`, as far as it fits.
    #[inline]
    fn digits(&mut self, mut number: u64) -> u64 {
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        number
    }

    /// The rest of a number with a fraction or an exponent, without its sign.
    fn float(&mut self, from: usize, whole: u64, count: usize) -> Option<f64> {
        let (mut digits, mut places) = (whole, 0);
        if self.peek() == Some(b'.') {
            self.at += 1;
            let fraction = self.at;
            digits = self.digits(whole);
            places = self.at - fraction;
            if places == 0 {
                return None;
            }
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            let exponent = self.at;
            self.digits(0);
            if self.at == exponent {
                return None;
            }
        }
        if !has_exponent && count + places <= EXACT_DIGITS {
            return Some(digits as f64 / POWERS[places]);
        }
        let text = std::str::from_utf8(&self.bytes[from..self.at]).ok()?;
        let value: f64 = text.trim_start_matches('-').parse().ok()?;
        value.is_finite().then_some(value)
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i64),
    /// Beyond the signed ones.
    Large(u64),
    Float(f64),
}

impl Number {
    fn into_cell(self, field: Field<'_>) -> Option<Cell> {
        match self {
            Self::Whole(value) => field.integer(value).ok(),
            Self::Large(value) => field.unsigned(value).ok(),
            Self::Float(value) => field.float(value).ok(),
        }
    }
}

fn push(entries: &mut Vec<Cell>, cell: Cell) {
    if !matches!(cell, Cell::Null) {
        entries.push(cell);
    }
}

/// Where a text ends, or something stands that is not simply part of it.
#[inline]
fn stop(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The lowest of the bits that these set is that of a byte that is meant.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quotes | escapes | controls) & HIGHS;
        if found != 0 {
            return Some(at * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let is_meant = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let at = rest.iter().position(is_meant)?;
    Some(words.len() * 8 + at)
}
