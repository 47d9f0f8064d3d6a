//! Texts. Places in a text count characters; Pinot's begin with 0.

mod affix;
mod bytes;
mod compare;
mod expression;
mod parts;
mod place;
mod regexp;
mod regexp_lists;
mod shape;
mod split;

use crate::plain::Plain;

pub(super) fn all() -> Vec<Plain> {
    [
        shape::all(),
        parts::all(),
        place::all(),
        split::all(),
        affix::all(),
        compare::all(),
        regexp::all(),
        regexp_lists::all(),
        bytes::all(),
    ]
    .concat()
}

/// Where the character with this number begins; the end of the text if it has no such one.
pub(crate) fn byte_at(text: &str, number: usize) -> usize {
    if number == 0 || text.is_ascii() {
        return number.min(text.len());
    }
    text.char_indices()
        .nth(number)
        .map_or(text.len(), |(at, _)| at)
}

pub(crate) fn length(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}
