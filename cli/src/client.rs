//! The HTTP client of a running node, and its answers as types.

use anyhow::{Context, Result, anyhow, bail};
use broker::forms::Form;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::NodeArgs;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    scheme: &'static str,
    pub broker: String,
    pub controller: String,
    /// What has to follow a command so that it asks the same node.
    pub(crate) flags: String,
}

/// Answer of `/v1/sql`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
    pub stats: Stats,
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Stats {
    pub time_used_ms: f64,
    pub segments_processed: u64,
    pub segments_total: u64,
    pub indexes: Vec<String>,
    pub docs_scanned: u64,
    pub total_docs: u64,
    pub newest_event_age_ms: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TableInfo {
    pub name: String,
    pub rows: Option<u64>,
    pub columns: Vec<Column>,
}

/// A statement that was refused, with its place.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub code: u32,
    pub message: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

impl Client {
    pub(crate) fn new(node: &NodeArgs) -> Result<Self> {
        let (http, scheme) = crate::login::client(&node.login)?;
        let broker = shift(&node.broker, node.port_offset)?;
        let controller = shift(&node.controller, node.port_offset)?;
        Ok(Self {
            http,
            scheme,
            broker,
            controller,
            flags: node.flags(),
        })
    }

    /// Of this very process.
    pub(crate) fn at(broker: &str, controller: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false);
        Ok(Self {
            http: http.build()?,
            scheme: "http",
            broker: broker.to_owned(),
            controller: controller.to_owned(),
            flags: String::new(),
        })
    }

    /// In the standard dialect.
    pub(crate) async fn sql(&self, statement: &str) -> Result<Answer> {
        let response = self.answered(statement, Form::Json).await?;
        let text = response.text().await.context("the answer broke off")?;
        serde_json::from_str(&text).context("the broker's answer is not understood")
    }

    /// The answer in a form, not yet read.
    pub(crate) async fn answered(&self, statement: &str, form: Form) -> Result<reqwest::Response> {
        let url = format!("{}://{}/v1/sql", self.scheme, self.broker);
        let request = self.http.post(url).json(&json!({ "sql": statement }));
        let request = request.header(reqwest::header::ACCEPT, form.media_type());
        let response = send(request, "broker", &self.broker).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.context("the answer broke off")?;
        #[derive(Deserialize)]
        struct Failed {
            error: Refusal,
        }
        match serde_json::from_str::<Failed>(&text) {
            Ok(failed) => Err(failed.error.into()),
            Err(_) => Err(refused(status, &text)),
        }
    }

    /// Tables with their columns and row counts.
    pub(crate) async fn tables(&self) -> Result<Vec<TableInfo>> {
        let url = format!("{}://{}/v1/tables", self.scheme, self.broker);
        let request = self.http.get(url);
        let response = send(request, "broker", &self.broker).await?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        if !status.is_success() {
            return Err(refused(status, &text));
        }
        #[derive(Deserialize)]
        struct Body {
            tables: Vec<TableInfo>,
        }
        let body: Body =
            serde_json::from_str(&text).context("the list of tables is not understood")?;
        Ok(body.tables)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.controller_call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.controller_call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Result<Value> {
        self.controller_call(Method::PUT, path, Some(body)).await
    }

    /// `None`: there is no such thing.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>> {
        let request = self.http.get(self.of_controller(path));
        let response = send(request, "controller", &self.controller).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer_of(response).await.map(Some)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.controller_call(Method::DELETE, path, None).await
    }

    async fn controller_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self.http.request(method, self.of_controller(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.controller_answer(request).await
    }

    /// Uploads one packed segment of an import with its record.
    pub(crate) async fn upload(
        &self,
        table: &str,
        import: Uuid,
        record: &str,
        body: Bytes,
    ) -> Result<Value> {
        let url = self.of_controller(&format!("/v1/segments/{table}?import={import}"));
        let request = self
            .http
            .post(url)
            .header("x-tannin-segment", record)
            .body(body);
        self.controller_answer(request).await
    }

    fn of_controller(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.controller)
    }

    async fn controller_answer(&self, request: RequestBuilder) -> Result<Value> {
        let response = send(request, "controller", &self.controller).await?;
        answer_of(response).await
    }
}

async fn answer_of(response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await.context("the answer broke off")?;
    if !status.is_success() {
        return Err(refused(status, &text));
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn send(request: RequestBuilder, role: &str, address: &str) -> Result<reqwest::Response> {
    request.send().await.map_err(|error| {
        if let Some(why) = tls_fault(&error) {
            return anyhow!("no TLS with the {role} at {address}: {why}; see --tls and --ca-file");
        }
        if error.is_connect() {
            anyhow!(
                "no {role} answers at {address}; start one with `tannin quickstart`, or name its \
                 address with --{role} or --port-offset"
            )
        } else {
            anyhow::Error::new(error).context(format!("the {role} at {address} did not answer"))
        }
    })
}

/// What is wrong with a certificate, or that there is none.
fn tls_fault(error: &reqwest::Error) -> Option<String> {
    let mut at = std::error::Error::source(error)?;
    while let Some(deeper) = at.source() {
        at = deeper;
    }
    let text = at.to_string();
    let is_of_tls = ["certificate", "InvalidMessage", "corrupt message", "tls"];
    is_of_tls
        .iter()
        .any(|word| text.contains(word))
        .then_some(text)
}

fn refused(status: StatusCode, text: &str) -> anyhow::Error {
    if status == StatusCode::UNAUTHORIZED {
        return anyhow!(
            "{} (401): name yourself with --user and TANNIN_PASSWORD, or with --token-file",
            said(text)
        );
    }
    anyhow!("{} ({})", said(text), status.as_u16())
}

fn said(text: &str) -> String {
    serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|body| body.get("error").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| text.to_owned())
}

fn shift(address: &str, offset: u16) -> Result<String> {
    if offset == 0 {
        return Ok(address.to_owned());
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        bail!("`{address}` is no address; write host:port");
    };
    let port: u16 = port
        .parse()
        .with_context(|| format!("`{address}` has no port number"))?;
    let port = port
        .checked_add(offset)
        .with_context(|| format!("{port} + {offset} is no port"))?;
    Ok(format!("{host}:{port}"))
}
