//! URLs and their parts. A text that is no URL has none: null, or an empty text where it is said.

mod cut;
mod parameters;
mod parts;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;

/// What forms leave as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

fn encode(text: &str) -> String {
    let encoded = utf8_percent_encode(text, FORM).to_string();
    encoded.replace("%20", "+")
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

pub(super) fn all() -> Vec<Plain> {
    let text = |name: &str, of: fn(&str) -> Option<String>| {
        Plain::new(name, &[Takes::Text], TEXT, move |rows| rows.map(of)).of_entries()
    };
    let own = vec![
        text("encode_url", |text| Some(encode(text)))
            .alias("url_encode")
            .alias("url_encode_form_component")
            .says(
                Section::Url,
                "ENCODEURL(text)",
                "The text as it stands in a URL's query, with `+` for spaces. Also called \
                 URLENCODE \
                 and URLENCODEFORMCOMPONENT.",
                &[("ENCODEURL('a b/ü')", "a+b%2F%C3%BC")],
            ),
        text("decode_url", decode)
            .alias("url_decode")
            .alias("url_decode_form_component")
            .says(
                Section::Url,
                "DECODEURL(text)",
                "The text that stands in a URL's query. Also called URLDECODE and \
                 URLDECODEFORMCOMPONENT.",
                &[("DECODEURL('a+b%2F%C3%BC')", "a b/ü")],
            ),
    ];
    [own, parts::all(), parameters::all(), cut::all()].concat()
}
