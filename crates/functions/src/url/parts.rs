//! URLPROTOCOL, URLDOMAIN, URLPATH and the other parts of a URL.

use arrow::datatypes::DataType;
use url::Url;

use super::decode;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::TEXT;

/// Absolute, with a host.
fn parsed(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(Url::has_host)
}

fn host(text: &str) -> Option<String> {
    parsed(text)?.host_str().map(str::to_owned)
}

/// Where the significant part of a host begins, of its labels.
fn significant(labels: &[&str]) -> usize {
    let generic = matches!(labels.last(), Some(&"com" | &"net" | &"org" | &"co"));
    match labels.len() {
        ..=2 => 0,
        count if generic => count - 2,
        count => count - 3,
    }
}

fn cut_to_significant(text: &str, keep_www: bool) -> Option<String> {
    let host = host(text)?;
    let labels: Vec<&str> = host.split('.').collect();
    let from = significant(&labels);
    let www = keep_www && from == 1 && labels[0] == "www";
    Some(labels[if www { 0 } else { from }..].join("."))
}

/// A path or fragment as it is read.
fn readable(text: &str) -> Option<String> {
    // A plus is one there.
    decode(&text.replace('+', "%2B"))
}

fn path(url: &Url, text: &str) -> Option<String> {
    // The parser puts a slash where the text has none.
    let bare = url.path() == "/" && !text.trim_end().contains(&format!("{}/", url.authority()));
    if bare {
        Some(String::new())
    } else {
        readable(url.path())
    }
}

fn query_and_fragment(text: &str) -> Option<String> {
    let url = parsed(text)?;
    match (url.query(), url.fragment()) {
        (None, None) => None,
        (Some(query), None) => readable(query),
        (None, Some(fragment)) => readable(fragment),
        (Some(query), Some(fragment)) => readable(&format!("{query}#{fragment}")),
    }
}

/// The URL of the host, then one longer by each part of the path.
fn hierarchy(text: &str, with_host: bool) -> Option<Vec<String>> {
    let Some(url) = parsed(text) else {
        return Some(Vec::new());
    };
    let path = path(&url, text)?;
    let mut longer = match with_host {
        true => format!("{}://{}", url.scheme(), url.host_str()?),
        false => String::new(),
    };
    let mut all = Vec::new();
    if with_host {
        all.push(longer.clone());
    }
    for part in path.trim_end_matches('/').split('/').skip(1) {
        longer.push('/');
        longer.push_str(part);
        all.push(longer.clone());
    }
    Some(all)
}

type Part = (
    &'static str,
    fn(&str) -> Option<String>,
    &'static str,
    &'static str,
);

/// Of this one, if nothing else is said.
const URL: &str = "https://www.example.co.uk:8443/a/b%20c?x=1&y=2#top";

const PARTS: &[Part] = &[
    (
        "url_protocol",
        |text| Some(parsed(text)?.scheme().to_owned()),
        "The protocol.",
        "https",
    ),
    ("url_domain", host, "The host.", "www.example.co.uk"),
    (
        "url_domain_without_www",
        |text| host(text).map(|host| host.strip_prefix("www.").unwrap_or(&host).to_owned()),
        "The host without `www.` before it.",
        "example.co.uk",
    ),
    (
        "url_top_level_domain",
        |text| host(text)?.rsplit('.').next().map(str::to_owned),
        "What stands behind the last point of the host.",
        "uk",
    ),
    (
        "url_first_significant_subdomain",
        |text| {
            let host = host(text)?;
            let labels: Vec<&str> = host.split('.').collect();
            labels
                .get(significant(&labels))
                .map(|label| (*label).to_owned())
        },
        "The part of the host before its top-level domain.",
        "example",
    ),
    (
        "cut_to_first_significant_subdomain",
        |text| cut_to_significant(text, false),
        "The host from its significant part on.",
        "example.co.uk",
    ),
    (
        "cut_to_first_significant_subdomain_with_www",
        |text| cut_to_significant(text, true),
        "The same; `www.` before it stays.",
        "www.example.co.uk",
    ),
    (
        "url_path",
        |text| path(&parsed(text)?, text),
        "The path, decoded.",
        "/a/b c",
    ),
    (
        "url_path_with_query",
        |text| {
            let url = parsed(text)?;
            let query = url
                .query()
                .map_or_else(String::new, |query| format!("?{query}"));
            Some(format!("{}{query}", url.path()))
        },
        "The path and the query, as they are written.",
        "/a/b%20c?x=1&y=2",
    ),
    (
        "url_query_string",
        |text| parsed(text)?.query().map(str::to_owned),
        "The query.",
        "x=1&y=2",
    ),
    (
        "url_fragment",
        |text| readable(parsed(text)?.fragment()?),
        "The fragment.",
        "top",
    ),
    (
        "url_query_string_and_fragment",
        query_and_fragment,
        "The query and the fragment.",
        "x=1&y=2#top",
    ),
    (
        "url_netloc",
        |text| Some(parsed(text)?.authority().to_owned()),
        "User, host and port.",
        "www.example.co.uk:8443",
    ),
];

pub(super) fn all() -> Vec<Plain> {
    let parts = PARTS.iter().map(|(name, of, about, value)| {
        let shown = name.to_uppercase().replace('_', "");
        let example: &'static str = format!("{shown}('{URL}')").leak();
        Plain::new(*name, &[Takes::Text], TEXT, |rows| rows.map(*of))
            .of_entries()
            .says(
                Section::Url,
                &format!("{shown}(url)"),
                about,
                &[(example, value)],
            )
    });
    let port = Plain::new("url_port", &[Takes::Text], DataType::Int32, |rows| {
        rows.map(|text: &str| {
            let port = Url::parse(text).ok().and_then(|url| url.port());
            Some(port.map_or(-1, i32::from))
        })
    })
    .of_entries()
    .says(
        Section::Url,
        "URLPORT(url)",
        "The port, or -1 if none is written.",
        &[("URLPORT('http://a.b:8080/')", "8080")],
    );
    let hierarchies = [
        Plain::new("url_hierarchy", &[Takes::Text], list_of(TEXT), |rows| {
            rows.map(|text: &str| hierarchy(text, true))
        })
        .says(
            Section::Url,
            "URLHIERARCHY(url)",
            "The URL of the host, then one longer by each part of the path.",
            &[(
                "URLHIERARCHY('http://a.b/c/d')",
                "[http://a.b, http://a.b/c, http://a.b/c/d]",
            )],
        ),
        Plain::new(
            "url_path_hierarchy",
            &[Takes::Text],
            list_of(TEXT),
            |rows| rows.map(|text: &str| hierarchy(text, false)),
        )
        .says(
            Section::Url,
            "URLPATHHIERARCHY(url)",
            "The path's first part, its first two, and so on.",
            &[("URLPATHHIERARCHY('http://a.b/c/d')", "[/c, /c/d]")],
        ),
    ];
    parts.chain([port]).chain(hierarchies).collect()
}
