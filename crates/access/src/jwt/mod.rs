//! Bearer tokens that an issuer has signed (JWT).
//!
//! Invariants: a token names no algorithm and no key for itself: it counts only when the one that
//! the file of principals says for its issuer has signed it; one without an end is refused.

mod key;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use key::{Algorithm, Key};

/// Clocks of others are this far from ours.
const LEEWAY_SECONDS: f64 = 60.0;

/// Who may issue tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(crate) audience: String,
    /// Names the groups of whoever has the token.
    pub(crate) groups_claim: String,
    pub(crate) key: Key,
}

/// What a token says, once it is believed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) groups: Vec<String>,
    /// Epoch milliseconds.
    pub(crate) ends_ms: i64,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<Value>,
}

/// Looks like one: three parts with dots between.
pub(crate) fn is_jwt(token: &str) -> bool {
    token.split('.').count() == 3
}

/// `Err`: why it is not believed, for whoever has sent it.
pub(crate) fn believed(token: &str, issuers: &[Issuer], now_ms: i64) -> Result<Claims, String> {
    let damaged = || "the token is damaged".to_owned();
    let (signed, signature) = token.rsplit_once('.').ok_or_else(damaged)?;
    let (head, body) = signed.split_once('.').ok_or_else(damaged)?;
    let head: Head = decoded(head).ok_or_else(damaged)?;
    let body: Map<String, Value> = decoded(body).ok_or_else(damaged)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| damaged())?;
    if head.crit.is_some() {
        return Err("the token wants more than is understood (crit)".to_owned());
    }
    let from = body.get("iss").and_then(Value::as_str).unwrap_or_default();
    let mut of_name = issuers
        .iter()
        .filter(|issuer| issuer.name == from)
        .peekable();
    if of_name.peek().is_none() {
        return Err(format!("the token's issuer `{from}` is not trusted here"));
    }
    let issuer = of_name.find(|issuer| {
        let key = &issuer.key;
        key.algorithm().name() == head.alg
            && key.verifies(head.kid.as_deref(), signed.as_bytes(), &signature)
    });
    let issuer = issuer.ok_or("the token's signature is not that of its issuer")?;
    issuer.claims(&body, now_ms)
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Issuer {
    fn claims(&self, body: &Map<String, Value>, now_ms: i64) -> Result<Claims, String> {
        let is_for_us = match body.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(all)) => all.iter().any(|one| one == self.audience.as_str()),
            _ => false,
        };
        if !is_for_us {
            return Err(format!(
                "the token is not for the audience `{}`",
                self.audience
            ));
        }
        let now = now_ms as f64 / 1000.0;
        let seconds = |name: &str| body.get(name).and_then(Value::as_f64);
        let ends = seconds("exp").ok_or("the token has no end (exp)")?;
        if ends + LEEWAY_SECONDS <= now {
            return Err("the token has expired".to_owned());
        }
        if seconds("nbf").is_some_and(|from| from - LEEWAY_SECONDS > now) {
            return Err("the token does not count yet (nbf)".to_owned());
        }
        let subject = body.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() {
            return Err("the token names nobody (sub)".to_owned());
        }
        let groups = match body.get(&self.groups_claim) {
            Some(Value::String(all)) => all.split(' ').map(str::to_owned).collect(),
            Some(Value::Array(all)) => {
                let names = all.iter().filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Ok(Claims {
            subject: subject.to_owned(),
            groups,
            ends_ms: ((ends + LEEWAY_SECONDS) * 1000.0) as i64,
        })
    }
}

#[cfg(test)]
mod tests;
