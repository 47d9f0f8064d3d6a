//! Long answers are packed for clients that take them so: by gzip, at its fastest.
//!
//! Answers of known length alone: what is sent bit by bit must not wait for its end.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use runtime::ComputePool;

/// Shorter ones cost more than they save.
const PACKED_FROM_BYTES: u64 = 16 << 10;
/// Longer ones are packed where they hold up nobody.
const HERE_BYTES_MAX: usize = 256 << 10;

pub(crate) async fn pack(
    State(aside): State<ComputePool>,
    request: Request,
    next: Next,
) -> Response {
    let is_wanted = accepts_gzip(request.headers());
    let response = next.run(request).await;
    let length = response.body().size_hint().exact().unwrap_or(0);
    if !is_wanted || length < PACKED_FROM_BYTES || response.headers().contains_key(CONTENT_ENCODING)
    {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let packed = match body.len() > HERE_BYTES_MAX {
        true => {
            let body = body.clone();
            aside.run(move || gzip(&body)).await.ok().flatten()
        }
        false => gzip(&body),
    };
    let Some(packed) = packed else {
        return Response::from_parts(head, Body::from(body));
    };
    head.headers.remove(CONTENT_LENGTH);
    let gzip = HeaderValue::from_static("gzip");
    head.headers.insert(CONTENT_ENCODING, gzip);
    let by = HeaderValue::from_static("accept-encoding");
    head.headers.append(VARY, by);
    Response::from_parts(head, Body::from(packed))
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    packed.write_all(body).ok()?;
    packed.finish().ok()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).into_iter();
    let lists = lists.filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").unwrap_or("1");
        let is_refused = quality.parse::<f32>().is_ok_and(|quality| quality == 0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_say_what_they_take() {
        for (said, wanted) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.8", true),
            ("gzip;q=0", false),
            ("identity", false),
        ] {
            let said = HeaderValue::from_static(said);
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, said)]);
            assert_eq!(accepts_gzip(&headers), wanted, "{headers:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
