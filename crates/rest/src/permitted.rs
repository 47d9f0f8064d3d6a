//! What an operation needs, asked before its handler runs.

use std::fmt;

use access::Action;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::Fault;

use crate::{ApiError, By};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    Login,
    /// The table is named by a part of the path.
    OnTable(Action, &'static str),
    OnCluster(Action),
    /// The handler asks.
    Inside,
    /// The operation says nothing: a test names it, and it is for administrators alone.
    Undeclared,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Login => f.write_str("a login"),
            Self::OnTable(action, _) => write!(f, "{action} of the table"),
            Self::OnCluster(action) => write!(f, "{action} of the cluster"),
            Self::Inside => f.write_str("what it does to which table"),
            Self::Undeclared => f.write_str("admin of the cluster (undeclared)"),
        }
    }
}

pub(crate) async fn permitted(State(need): State<Need>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match ask(need, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

async fn ask(need: Need, parts: &mut Parts) -> Result<(), ApiError> {
    let (action, part) = match need {
        Need::Nothing | Need::Login | Need::Inside => return Ok(()),
        Need::OnTable(action, part) => (action, Some(part)),
        Need::OnCluster(action) => (action, None),
        Need::Undeclared => (Action::Admin, None),
    };
    let By(caller) = By::from_request_parts(parts, &()).await?;
    let Some(part) = part else {
        return Ok(caller.check_cluster(action)?);
    };
    let named = RawPathParams::from_request_parts(parts, &()).await;
    let named = named.map_err(|_| Fault::invalid("the path is no UTF-8"))?;
    let mut named = named.iter();
    let missing = || Fault::internal(format!("the path has no part `{part}`"));
    let (_, table) = named.find(|(name, _)| *name == part).ok_or_else(missing)?;
    Ok(caller.check(action, table)?)
}
