//! Numbers. What the planner's own functions say the same way is not here.

mod arithmetic;
mod bits;
mod elementary;
mod whole;

use crate::plain::Plain;

pub(super) fn all() -> Vec<Plain> {
    [
        arithmetic::all(),
        elementary::all(),
        whole::all(),
        bits::all(),
    ]
    .concat()
}
