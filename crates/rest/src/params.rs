//! Parameters behind the `?` of a request, refused in the shape of every other error.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use schemas::Fault;
use serde::de::DeserializeOwned;

use crate::ApiError;

#[derive(Clone, Copy, Debug, Default)]
pub struct Params<T>(pub T);

impl<S, T> FromRequestParts<S> for Params<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Fault::invalid(format!("parameters: {}", error.body_text())).into()),
        }
    }
}
