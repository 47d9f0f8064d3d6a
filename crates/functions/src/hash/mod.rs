//! Hashes of bytes; a text is its bytes in UTF-8.

mod checksum;
mod city;
mod digest;
mod fowler;
mod murmur;

use crate::plain::Plain;

pub(super) fn all() -> Vec<Plain> {
    [
        digest::all(),
        murmur::all(),
        fowler::all(),
        checksum::all(),
        city::all(),
    ]
    .concat()
}
