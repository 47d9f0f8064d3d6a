//! Dates and times: epoch milliseconds in UTC, seen from a time zone where the call names one.

mod add;
mod ago;
mod at_zone;
mod convert;
mod date_trunc;
mod epoch;
mod format;
mod lengths;
mod parts;
mod pattern;
mod round;
mod text;
mod unit;
mod window_hop;
mod zone;

use crate::plain::Plain;

pub use convert::granularity_ms;
pub use format::{granularity_of, time_in};
pub use lengths::{interval_microseconds, interval_times};
pub(crate) use round::to_digits;

pub(super) fn all() -> Vec<Plain> {
    [
        date_trunc::all(),
        convert::all(),
        window_hop::all(),
        text::all(),
        epoch::all(),
        parts::all(),
        add::all(),
        ago::all(),
        at_zone::all(),
        lengths::all(),
        round::all(),
    ]
    .concat()
}
