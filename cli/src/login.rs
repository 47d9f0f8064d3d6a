//! Who a command is, to the nodes that it asks: name and password, or a token; over TLS or not.
//!
//! Secrets come from files or the environment. There is no flag for them: everybody on the machine
//! sees a process's flags.

use std::path::Path;

use access::tls::client_config;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::args::LoginArgs;
use crate::exit::Exit;

/// The client, and `http` or `https`.
pub(crate) fn client(login: &LoginArgs) -> Result<(reqwest::Client, &'static str)> {
    let mut builder = reqwest::Client::builder().no_proxy();
    let ca_file = login
        .ca_file
        .clone()
        .or_else(|| variable("TANNIN_CA_FILE").map(Into::into));
    let has_tls = login.tls || ca_file.is_some();
    builder = match has_tls {
        true => {
            let config = client_config(ca_file.as_deref());
            builder.use_preconfigured_tls(config.map_err(|error| Exit::usage(error.to_string()))?)
        }
        false => builder.tls_built_in_root_certs(false),
    };
    if let Some(said) = said(login)? {
        let mut value = HeaderValue::try_from(said)
            .map_err(|_| Exit::usage("the login has characters that cannot be sent"))?;
        value.set_sensitive(true);
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    let scheme = if has_tls { "https" } else { "http" };
    Ok((builder.build().context("no HTTP client")?, scheme))
}

/// The value of `Authorization`. Flags count before the environment.
fn said(login: &LoginArgs) -> Result<Option<String>> {
    let bearer = |token: String| Some(format!("Bearer {token}"));
    if let Some(file) = &login.token_file {
        return Ok(bearer(secret_of("--token-file", file)?));
    }
    let user = login.user.clone();
    if user.is_none()
        && login.password_file.is_none()
        && let Some(token) = variable("TANNIN_TOKEN")
    {
        return Ok(bearer(token));
    }
    let user = user.or_else(|| variable("TANNIN_USER"));
    let password = match &login.password_file {
        Some(file) => Some(secret_of("--password-file", file)?),
        None => variable("TANNIN_PASSWORD"),
    };
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            Ok(Some(format!("Basic {pair}")))
        }
        (Some(user), None) => Err(Exit::usage(format!(
            "`{user}` has no password: set TANNIN_PASSWORD, or name a file with --password-file"
        ))),
        (None, Some(_)) => Err(Exit::usage(
            "whose password is it? Name the principal with --user, or set TANNIN_USER",
        )),
    }
}

fn secret_of(flag: &str, file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Exit::usage(format!("{flag}: cannot read `{}`: {error}", file.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.into_string().ok()?;
    (!value.is_empty()).then_some(value)
}
