//! Texts. Places in a text count characters; Pinot's begin with 0.

mod affix;
mod bytes;
mod compare;
mod expression;
mod format;
mod number_format;
mod parts;
mod place;
mod regexp;
mod regexp_lists;
mod shape;
mod split;

use datafusion::common::Result;

use crate::arguments::wrong;
use crate::plain::Plain;

pub use number_format::is_number_pattern;

/// A text may become this long and no longer, whatever a statement says.
const BYTES_MAX: usize = 16 << 20;

fn fits(name: &str, bytes: usize) -> Result<()> {
    match bytes <= BYTES_MAX {
        true => Ok(()),
        false => Err(wrong(format!(
            "{name}: a text of {bytes} bytes would come of it, and {BYTES_MAX} is the most"
        ))),
    }
}

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
        format::all(),
        number_format::all(),
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
