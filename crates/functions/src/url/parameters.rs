//! Parameters of a URL's query.

use arrow::array::ArrayRef;

use super::decode;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{TEXT, texts_of};

/// What stands before the query, in it, and behind it from `#` on.
fn apart(url: &str) -> (&str, Option<&str>, &str) {
    let (rest, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    match rest.split_once('?') {
        Some((before, query)) => (before, Some(query), fragment),
        None => (rest, None, fragment),
    }
}

fn parameters(url: &str) -> impl Iterator<Item = &str> {
    let query = apart(url).1.unwrap_or_default();
    query.split('&').filter(|parameter| !parameter.is_empty())
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

fn value(url: &str, wanted: &str) -> String {
    let found = parameters(url).find(|parameter| name(parameter) == wanted);
    let value = found
        .and_then(|parameter| parameter.split_once('='))
        .map(|(_, value)| value);
    value.and_then(decode).unwrap_or_default()
}

fn without(url: &str, gone: &[&str]) -> String {
    let (before, query, fragment) = apart(url);
    let Some(query) = query else {
        return url.to_owned();
    };
    let kept = query
        .split('&')
        .filter(|parameter| !gone.contains(&name(parameter)));
    let kept = kept.collect::<Vec<_>>().join("&");
    match kept.is_empty() {
        true => format!("{before}{fragment}"),
        false => format!("{before}?{kept}{fragment}"),
    }
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Text, Texts};
    vec![
        Plain::new("extract_url_parameter", &[Text, Text], TEXT, |rows| {
            rows.map2(|url: &str, wanted: &str| Some(value(url, wanted)))
        })
        .of_entries()
        .says(
            Section::Url,
            "EXTRACTURLPARAMETER(url, 'name')",
            "The value of a parameter; an empty text if there is none.",
            &[("EXTRACTURLPARAMETER('http://a.b/?x=1&y=2%203', 'y')", "2 3")],
        ),
        Plain::new("extract_url_parameters", &[Text], list_of(TEXT), |rows| {
            rows.map(|url: &str| Some(parameters(url).map(str::to_owned).collect::<Vec<_>>()))
        })
        .says(
            Section::Url,
            "EXTRACTURLPARAMETERS(url)",
            "All parameters, as name=value.",
            &[("EXTRACTURLPARAMETERS('http://a.b/?x=1&y=2')", "[x=1, y=2]")],
        ),
        Plain::new(
            "extract_url_parameter_names",
            &[Text],
            list_of(TEXT),
            |rows| {
                rows.map(|url: &str| {
                    Some(
                        parameters(url)
                            .map(|one| name(one).to_owned())
                            .collect::<Vec<_>>(),
                    )
                })
            },
        )
        .says(
            Section::Url,
            "EXTRACTURLPARAMETERNAMES(url)",
            "The names of all parameters.",
            &[("EXTRACTURLPARAMETERNAMES('http://a.b/?x=1&y=2')", "[x, y]")],
        ),
        Plain::new("cut_url_parameter", &[Text, Text], TEXT, |rows| {
            rows.map2(|url: &str, gone: &str| Some(without(url, &[gone])))
        })
        .of_entries()
        .says(
            Section::Url,
            "CUTURLPARAMETER(url, 'name')",
            "The URL without a parameter.",
            &[(
                "CUTURLPARAMETER('http://a.b/?x=1&y=2#t', 'x')",
                "http://a.b/?y=2#t",
            )],
        ),
        Plain::new("cut_url_parameters", &[Text, Texts], TEXT, |rows| {
            rows.map2(|url: &str, gone: ArrayRef| {
                let gone: Vec<&str> = texts_of(&gone).collect();
                Some(without(url, &gone))
            })
        })
        .says(
            Section::Url,
            "CUTURLPARAMETERS(url, names)",
            "The URL without some parameters.",
            &[(
                "CUTURLPARAMETERS('http://a.b/?x=1&y=2', ARRAY['x', 'y'])",
                "http://a.b/",
            )],
        ),
    ]
}
