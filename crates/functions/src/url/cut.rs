//! URLs without a part of them.

use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;

fn without_www(url: &str) -> String {
    url.replacen("://www.", "://", 1)
}

fn without_fragment(url: &str) -> String {
    url.split('#').next().unwrap_or_default().to_owned()
}

fn without_query(url: &str) -> String {
    let (rest, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let before = rest.split('?').next().unwrap_or_default();
    format!("{before}{fragment}")
}

fn without_both(url: &str) -> String {
    without_query(&without_fragment(url))
}

type Cut = (&'static str, fn(&str) -> String, &'static str, &'static str);

const CUTS: &[Cut] = &[
    (
        "cut_www",
        without_www,
        "The URL without `www.`.",
        "http://a.b/?x=1#t",
    ),
    (
        "cut_query_string",
        without_query,
        "The URL without its query.",
        "http://www.a.b/#t",
    ),
    (
        "cut_fragment",
        without_fragment,
        "The URL without its fragment.",
        "http://www.a.b/?x=1",
    ),
    (
        "cut_query_string_and_fragment",
        without_both,
        "The URL without its query and fragment.",
        "http://www.a.b/",
    ),
];

pub(super) fn all() -> Vec<Plain> {
    let cuts = CUTS.iter().map(|(name, of, about, value)| {
        let shown = name.to_uppercase().replace('_', "");
        let example: &'static str = format!("{shown}('http://www.a.b/?x=1#t')").leak();
        Plain::new(*name, &[Takes::Text], TEXT, |rows| {
            rows.map(|url: &str| Some(of(url)))
        })
        .of_entries()
        .says(
            Section::Url,
            &format!("{shown}(url)"),
            about,
            &[(example, value)],
        )
    });
    cuts.collect()
}
