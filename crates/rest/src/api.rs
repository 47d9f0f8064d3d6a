//! Routes that describe themselves: the router and the OpenAPI document come from one list.
//!
//! Invariants: what a role serves is described and what is described is served, because there is no
//! other way to add a route; each operation asks for what it needs before its handler runs, and one
//! that says nothing about it is for administrators of the cluster alone.

use std::collections::HashSet;

use access::Action;
use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};

use crate::permitted::{Need, permitted};

/// Routes of a role, or of a part of it.
#[derive(Debug)]
pub struct Api<S = ()> {
    router: Router<S>,
    paths: Map<String, Value>,
    /// Method and path of what is open to everybody.
    open: HashSet<(&'static str, String)>,
    version: &'static str,
}

/// One method of a path.
#[derive(Debug)]
pub struct Operation<S> {
    handler: MethodRouter<S>,
    method: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    need: Need,
}

macro_rules! operations {
    ($($name:ident, $filter:ident;)*) => {$(
        #[doc = concat!("An operation of the method ", stringify!($filter), ".")]
        pub fn $name<H, T, S>(summary: &'static str, handler: H) -> Operation<S>
        where
            H: Handler<T, S>,
            T: 'static,
            S: Clone + Send + Sync + 'static,
        {
            Operation {
                handler: on(MethodFilter::$filter, handler),
                method: stringify!($name),
                summary,
                parameters: Vec::new(),
                body: None,
                need: Need::Undeclared,
            }
        }
    )*};
}

operations! {
    get, GET;
    post, POST;
    put, PUT;
    delete, DELETE;
}

impl<S> Operation<S> {
    /// A parameter behind the `?`.
    #[must_use]
    pub fn query(self, name: &str, about: &str) -> Self {
        self.parameter("query", name, about)
    }

    /// For everybody, also for those of whom nothing is known: whether the process lives.
    #[must_use]
    pub fn open(self) -> Self {
        self.needs(Need::Nothing)
    }

    /// For everybody who is known.
    #[must_use]
    pub fn known(self) -> Self {
        self.needs(Need::Login)
    }

    /// For those who may do this to the `{table}` of the path.
    #[must_use]
    pub fn table(self, action: Action) -> Self {
        self.needs(Need::OnTable(action, "table"))
    }

    /// For those who may do this to the table that a part of the path names.
    #[must_use]
    pub fn named(self, action: Action, part: &'static str) -> Self {
        self.needs(Need::OnTable(action, part))
    }

    #[must_use]
    pub fn cluster(self, action: Action) -> Self {
        self.needs(Need::OnCluster(action))
    }

    /// The handler asks, because it alone knows for what.
    #[must_use]
    pub fn inside(self) -> Self {
        self.needs(Need::Inside)
    }

    fn needs(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    #[must_use]
    pub fn header(self, name: &str, about: &str) -> Self {
        self.parameter("header", name, about)
    }

    /// An example of the JSON that is sent.
    #[must_use]
    pub fn body(mut self, example: Value) -> Self {
        self.body = Some(json!({ "content": { "application/json": { "example": example } } }));
        self
    }

    fn parameter(mut self, place: &str, name: &str, about: &str) -> Self {
        self.parameters.push(parameter(place, name, about));
        self
    }

    fn described(mut self, path: &str) -> Value {
        self.parameters.extend(names_in(path).map(|name| {
            let mut described = parameter("path", name, "");
            described["required"] = json!(true);
            described
        }));
        let mut operation = json!({
            "summary": self.summary,
            "x-needs": self.need.to_string(),
            "tags": [path.split('/').nth(1).unwrap_or_default()],
            "parameters": self.parameters,
            "responses": {
                "200": { "description": "done" },
                "default": { "$ref": "#/components/responses/Refused" },
            },
        });
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

fn parameter(place: &str, name: &str, about: &str) -> Value {
    json!({ "in": place, "name": name, "description": about, "schema": { "type": "string" } })
}

/// `table` of `/tables/{table}/size`.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

impl<S: Clone + Send + Sync + 'static> Default for Api<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            paths: Map::new(),
            open: HashSet::new(),
            version: "",
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    #[must_use]
    pub fn route<const N: usize>(mut self, path: &str, operations: [Operation<S>; N]) -> Self {
        let described = self.paths.entry(path).or_insert_with(|| json!({}));
        for mut operation in operations {
            let method = operation.method;
            let need = operation.need;
            if need == Need::Nothing {
                self.open.insert((method, path.to_owned()));
            }
            let handler = std::mem::take(&mut operation.handler);
            let handler = handler.route_layer(from_fn_with_state(need, permitted));
            self.router = self.router.route(path, handler);
            described[method] = operation.described(path);
        }
        self
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.paths.extend(other.paths);
        self.open.extend(other.open);
        if self.version.is_empty() {
            self.version = other.version;
        }
        self
    }

    #[must_use]
    pub fn with_state(self, state: S) -> Api {
        Api {
            router: self.router.with_state(state),
            paths: self.paths,
            open: self.open,
            version: self.version,
        }
    }

    pub(crate) fn open(&self) -> HashSet<(&'static str, String)> {
        self.open.clone()
    }

    /// Bodies of requests may be so large.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        let limit = axum::extract::DefaultBodyLimit::max(bytes);
        self.router = self.router.layer(limit);
        self
    }

    /// What every request passes.
    #[must_use]
    pub fn pass<F>(mut self, through: fn(Request, Next) -> F) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.router = self.router.layer(from_fn(through));
        self
    }

    /// As [`Self::pass`], with something that it needs.
    #[must_use]
    pub fn pass_with<T, F>(mut self, state: T, through: fn(State<T>, Request, Next) -> F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.router = self.router.layer(from_fn_with_state(state, through));
        self
    }

    /// A header of every answer.
    #[must_use]
    pub fn answer_header(mut self, name: &'static str, value: &str) -> Self {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(value));
        if let Ok(value) = value {
            self.router = self.router.layer(map_response(move |mut answer: Response| {
                answer.headers_mut().insert(name.clone(), value.clone());
                std::future::ready(answer)
            }));
        }
        self
    }

    #[must_use]
    pub(crate) fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }
}

const PAGE: &str = include_str!("help/index.html");
const SCRIPT: &str = include_str!("help/page.js");

impl Api {
    /// The routes, with the document and the page that shows it.
    pub(crate) fn into_router(self, name: &str) -> Router {
        let document = self.document(name).to_string();
        let file = |kind: &'static str, content: String| {
            on(MethodFilter::GET, async move || {
                let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")];
                (headers, content).into_response()
            })
        };
        self.router
            .route("/help", file("text/html; charset=utf-8", PAGE.to_owned()))
            .route(
                "/help/page.js",
                file("text/javascript; charset=utf-8", SCRIPT.to_owned()),
            )
            .route("/help/openapi.json", file("application/json", document))
    }

    fn document(&self, name: &str) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": { "title": format!("Tannin {name}"), "version": self.version },
            "paths": self.paths,
            "components": {
                "responses": {
                    "Refused": {
                        "description": "what is wrong",
                        "content": { "application/json": {
                            "schema": { "$ref": "#/components/schemas/Error" },
                        } },
                    },
                },
                "schemas": {
                    "Error": {
                        "type": "object",
                        "required": ["code", "error"],
                        "properties": {
                            "code": { "type": "integer", "description": "the HTTP status" },
                            "error": { "type": "string" },
                        },
                    },
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_described() {
        let api = Api::<()>::default()
            .route(
                "/query",
                [post("Runs", async || "").body(json!({ "sql": "SELECT 1" }))],
            )
            .route(
                "/tables/{table}/size",
                [
                    get("Bytes", async || "")
                        .query("type", "OFFLINE or REALTIME")
                        .table(Action::Read),
                    delete("Removes", async || ""),
                ],
            )
            .with_version("1.2.3");
        let document = api.document("broker");
        assert_eq!(document["info"]["version"], "1.2.3");
        let size = &document["paths"]["/tables/{table}/size"];
        assert_eq!(size["get"]["tags"], json!(["tables"]));
        assert_eq!(size["get"]["parameters"][0]["name"], "type");
        assert_eq!(size["get"]["parameters"][1]["in"], "path");
        assert_eq!(size["delete"]["summary"], "Removes");
        assert_eq!(size["get"]["x-needs"], "read of the table");
        assert_eq!(
            size["delete"]["x-needs"],
            "admin of the cluster (undeclared)"
        );
        let body = &document["paths"]["/query"]["post"]["requestBody"];
        assert_eq!(
            body["content"]["application/json"]["example"]["sql"],
            "SELECT 1"
        );
    }
}
