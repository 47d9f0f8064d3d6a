//! The JSON text of a request: the body, or the first part of a form, as `curl -F schema=@file`
//! sends it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use memchr::memmem;
use rest::ApiError;
use schemas::Fault;
use serde::de::DeserializeOwned;

#[derive(Clone, Debug)]
pub(super) struct Document(pub(super) String);

impl Document {
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_str(&self.0)
            .map_err(|error| Fault::invalid(format!("the body is not understood: {error}")))
    }
}

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok());
        let boundary = kind.and_then(boundary).map(str::to_owned);
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Fault::invalid(error.body_text()))?;
        let text = String::from_utf8(body.into())
            .map_err(|_| Fault::invalid("the body is not text in UTF-8"))?;
        let Some(boundary) = boundary else {
            return Ok(Self(text));
        };
        let part = first_part(&text, &boundary);
        let part = part.ok_or_else(|| Fault::invalid("the form has no part"))?;
        Ok(Self(part.to_owned()))
    }
}

/// The name and the content of the first file of a form.
pub(super) fn first_file(form: &Bytes, boundary: &str) -> Option<(String, Bytes)> {
    let delimiter = format!("--{boundary}");
    let begin = find(form, delimiter.as_bytes(), 0)?;
    let mut at = begin + delimiter.len();
    loop {
        let content = find(form, b"\r\n\r\n", at)? + 4;
        let end = find(form, format!("\r\n{delimiter}").as_bytes(), content)?;
        let head = String::from_utf8_lossy(&form[at..content]);
        let named = head.split_once("filename=\"");
        if let Some((name, _)) = named.and_then(|(_, rest)| rest.split_once('"')) {
            return Some((name.to_owned(), form.slice(content..end)));
        }
        at = end + 2 + delimiter.len();
    }
}

fn find(form: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    memmem::find(form.get(from..)?, wanted).map(|at| from + at)
}

/// Of `multipart/form-data; boundary=…`.
pub(super) fn boundary(kind: &str) -> Option<&str> {
    let (media, parameters) = kind.split_once(';')?;
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut parameters = parameters.split(';').map(str::trim);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim_matches('"'))
}

fn first_part<'a>(form: &'a str, boundary: &str) -> Option<&'a str> {
    let delimiter = format!("--{boundary}");
    let (_, part) = form.split_once(&delimiter)?;
    let (_, content) = part.split_once("\r\n\r\n")?;
    let end = content.find(&format!("\r\n{delimiter}"))?;
    Some(&content[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found() {
        let of = |kind| boundary(kind);
        assert_eq!(of("multipart/form-data; boundary=x-1"), Some("x-1"));
        assert_eq!(
            of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""),
            Some("a b")
        );
        assert_eq!(of("application/json; boundary=x"), None);
        assert_eq!(of("application/json"), None);
        assert_eq!(of("multipart/form-data; charset=utf-8"), None);
    }

    #[test]
    fn the_first_part_is_taken() {
        let form = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{\"a\":\r\n1}\r\n\
                    --x\r\n\r\nsecond\r\n--x--\r\n";
        assert_eq!(first_part(form, "x"), Some("{\"a\":\r\n1}"));
        assert_eq!(first_part("--x\r\n\r\nnever ends", "x"), None);
        assert_eq!(first_part("{}", "x"), None);
    }
}
