//! Who it is that asks: credentials of a request become a principal.
//!
//! Invariants:
//! - what was verified once counts until the file changes or the token ends, without being verified
//!   again: a password takes tens of milliseconds, finding it known takes microseconds;
//! - passwords are verified a few at a time, apart from queries; more than can wait are refused;
//! - a name that nobody has takes as long as a password that is wrong;
//! - what is kept is bounded, and holds no credentials: only their keyed hash.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use runtime::{Clock, ComputePool};

use crate::audit::Audit;
use crate::followed::Followed;
use crate::jwt;
use crate::principals::{Book, Principal};
use crate::secrets::{PasswordMark, hash_of_password, sha256};
use crate::{AccessError, Caller};

/// Passwords that are verified at once.
const VERIFIED_AT_ONCE: usize = 2;
/// And that wait for it.
const WAITING_MAX: usize = 32;
const KEPT_MAX: usize = 10_000;
/// A password that was wrong is wrong for so long without being looked at again.
const WRONG_FOR_MS: i64 = 10_000;
const CREDENTIALS_BYTES_MAX: usize = 16 << 10;

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It says not who asks.
    Missing,
    /// For whoever has sent it.
    Wrong(String),
    /// Too many ask at once whose passwords must be verified.
    Busy,
}

/// Of one node. The default lets everybody in.
#[derive(Clone, Debug, Default)]
pub struct Gate(Option<Arc<Guarded>>);

struct Guarded {
    path: PathBuf,
    book: ArcSwap<Open>,
    followed: Followed,
    audit: Audit,
    clock: Arc<dyn Clock>,
    aside: ComputePool,
    waiting: AtomicUsize,
    /// Verified when there is nobody of the name.
    nobody: PasswordMark,
    /// Of this process: what is kept tells nothing to whoever reads its memory later.
    key: hmac::Key,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.path).finish()
    }
}

/// A book, and whom it has let in.
struct Open {
    book: Book,
    kept: Mutex<HashMap<Mark, Kept>>,
}

type Mark = [u8; 32];

#[derive(Clone)]
struct Kept {
    verdict: Result<Principal, String>,
    until_ms: i64,
}

impl Open {
    fn new(book: Book) -> Arc<Self> {
        Arc::new(Self {
            book,
            kept: Mutex::default(),
        })
    }
}

impl Gate {
    pub fn open() -> Self {
        Self::default()
    }

    pub fn guarded(path: &Path, audit: Audit, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let book = Book::read(path)?;
        let followed = Followed::new(book.files.iter().cloned());
        let nobody = hash_of_password("").and_then(|hash| PasswordMark::parse(&hash));
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self(Some(Arc::new(Guarded {
            path: path.to_owned(),
            book: ArcSwap::new(Open::new(book)),
            followed,
            audit,
            clock,
            aside: ComputePool::new(VERIFIED_AT_ONCE),
            waiting: AtomicUsize::new(0),
            nobody: nobody.map_err(AccessError)?,
            key: key.map_err(|_| AccessError("the system gives no random numbers".to_owned()))?,
        }))))
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// `credentials`: of the header `Authorization`. Where everybody is let in they mean nothing.
    pub async fn admit(&self, credentials: Option<&[u8]>) -> Result<Principal, Refused> {
        match (&self.0, credentials) {
            (None, _) => Ok(Principal::anyone()),
            (Some(_), None) => Err(Refused::Missing),
            (Some(guarded), Some(credentials)) => guarded.admit(credentials).await,
        }
    }

    /// The caller of a request: `what` is what it asks for.
    pub fn caller(
        &self,
        principal: Principal,
        from: Option<std::net::IpAddr>,
        what: Arc<str>,
    ) -> Caller {
        let audit = self.0.as_ref().map(|guarded| guarded.audit.clone());
        Caller::new(principal, from, what, audit.unwrap_or_default())
    }

    /// Tells that somebody was not let in.
    pub fn tell_refused(&self, refused: &Refused, from: Option<std::net::IpAddr>, what: &str) {
        if let (Some(guarded), Refused::Wrong(why)) = (&self.0, refused) {
            guarded.audit.refused(from, what, why);
        }
    }

    pub(crate) fn look(&self) {
        if let Some(guarded) = &self.0
            && guarded.followed.changed()
        {
            guarded.read_again();
        }
    }
}

impl Guarded {
    fn read_again(&self) {
        match Book::read(&self.path) {
            Ok(book) => {
                self.followed.follow(book.files.iter().cloned());
                tracing::info!(
                    principals = book.by_name.len(),
                    "the file of principals was read again"
                );
                self.book.store(Open::new(book));
            }
            Err(error) => tracing::error!(
                %error,
                "the file of principals is wrong: what it said before stays in force"
            ),
        }
    }

    async fn admit(&self, credentials: &[u8]) -> Result<Principal, Refused> {
        if credentials.len() > CREDENTIALS_BYTES_MAX {
            return Err(Refused::Wrong("the credentials are too long".to_owned()));
        }
        let open = self.book.load_full();
        let mark = self.mark(credentials);
        let now_ms = self.clock.now_ms();
        if let Some(kept) = open.kept.lock().get(&mark)
            && kept.until_ms > now_ms
        {
            return kept.verdict.clone().map_err(Refused::Wrong);
        }
        let kept = self.verified(&open, credentials, now_ms).await?;
        let verdict = kept.verdict.clone();
        let mut all = open.kept.lock();
        if all.len() >= KEPT_MAX {
            all.retain(|_, kept| kept.until_ms > now_ms && kept.verdict.is_ok());
            if all.len() >= KEPT_MAX {
                all.clear();
            }
        }
        all.insert(mark, kept);
        verdict.map_err(Refused::Wrong)
    }

    fn mark(&self, credentials: &[u8]) -> Mark {
        let tag = hmac::sign(&self.key, credentials);
        let mut mark = [0; 32];
        mark.copy_from_slice(tag.as_ref());
        mark
    }

    async fn verified(
        &self,
        open: &Open,
        credentials: &[u8],
        now_ms: i64,
    ) -> Result<Kept, Refused> {
        let wrong = |why: String| Kept {
            verdict: Err(why),
            until_ms: now_ms + WRONG_FOR_MS,
        };
        let text = std::str::from_utf8(credentials).unwrap_or_default();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let verdict = self.by_password(&open.book, rest).await?;
            return Ok(match verdict {
                Ok(principal) => Kept {
                    verdict: Ok(principal),
                    until_ms: i64::MAX,
                },
                Err(why) => wrong(why),
            });
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(by_token(&open.book, rest, now_ms).unwrap_or_else(wrong));
        }
        let why = "send `Authorization: Basic` with name and password, or `Authorization: Bearer` \
                   with a token";
        Err(Refused::Wrong(why.to_owned()))
    }

    async fn by_password(
        &self,
        book: &Book,
        encoded: &str,
    ) -> Result<Result<Principal, String>, Refused> {
        const WRONG: &str = "name or password is wrong";
        let decoded = STANDARD.decode(encoded).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
        let Some((name, password)) = pair else {
            return Ok(Err("`Basic` takes base64 of name:password".to_owned()));
        };
        let known = book.by_name.get(name);
        let mark = known.and_then(|known| known.password.clone());
        let principal = known.map(|known| known.principal.clone());
        let is_known = mark.is_some();
        let mark = mark.unwrap_or_else(|| self.nobody.clone());
        let _place = Place::take(&self.waiting).ok_or(Refused::Busy)?;
        let password = password.to_owned();
        let fits = self.aside.run(move || mark.fits(password.as_bytes())).await;
        let fits = fits.unwrap_or(false) && is_known;
        Ok(principal.filter(|_| fits).ok_or_else(|| WRONG.to_owned()))
    }
}

fn by_token(book: &Book, token: &str, now_ms: i64) -> Result<Kept, String> {
    if let Some(principal) = book.by_token.get(&sha256(token.as_bytes())) {
        return Ok(Kept {
            verdict: Ok(principal.clone()),
            until_ms: i64::MAX,
        });
    }
    if !jwt::is_jwt(token) || book.issuers.is_empty() {
        return Err("the token is not known here".to_owned());
    }
    let claims = jwt::believed(token, &book.issuers, now_ms)?;
    let principal = book.with_groups(&claims.subject, &claims.groups);
    Ok(Kept {
        verdict: Ok(principal),
        until_ms: claims.ends_ms,
    })
}

/// One of those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        (before < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
