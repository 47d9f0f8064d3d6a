//! Passwords, tokens, what is kept of them, and a file that changes.

use std::time::{Duration, Instant};

use runtime::ManualClock;
use tempfile::TempDir;

use super::*;
use crate::Action;
use crate::secrets::{hash_of_token, new_token};

struct Place {
    gate: Gate,
    clock: Arc<ManualClock>,
    path: PathBuf,
    _dir: TempDir,
}

fn place(text: &str) -> Place {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("principals.toml");
    std::fs::write(&path, text).unwrap();
    let clock = ManualClock::at_ms(1_700_000_000_000);
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let gate = Gate::guarded(&path, Audit::default(), shared).unwrap();
    Place {
        gate,
        clock,
        path,
        _dir: dir,
    }
}

fn ann() -> String {
    let hash = hash_of_password("secret").unwrap();
    format!("[principals.ann]\npassword = '{hash}'\ntables = {{ clicks = ['read'] }}\n")
}

fn basic(pair: &str) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(pair)).into_bytes()
}

impl Place {
    async fn admit(&self, credentials: &[u8]) -> Result<String, Refused> {
        let admitted = self.gate.admit(Some(credentials)).await;
        admitted.map(|principal| principal.name().to_owned())
    }
}

fn wrong(refused: Result<String, Refused>) -> String {
    match refused {
        Err(Refused::Wrong(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn names_and_passwords() {
    let place = place(&ann());
    assert_eq!(place.admit(&basic("ann:secret")).await.unwrap(), "ann");
    for pair in ["ann:Secret", "ann:", "bob:secret", ":", "None:None"] {
        let why = wrong(place.admit(&basic(pair)).await);
        assert_eq!(why, "name or password is wrong", "{pair}");
    }
    assert_eq!(place.gate.admit(None).await.unwrap_err(), Refused::Missing);
    for credentials in [
        &b"Basic !"[..],
        b"Basic",
        b"Digest x",
        b"",
        b"\xff",
        b"Bearer x",
    ] {
        let why = wrong(place.admit(credentials).await);
        assert!(!why.is_empty());
    }
    let open = Gate::open();
    assert!(
        open.admit(Some(b"Basic Tm9uZTpOb25l"))
            .await
            .unwrap()
            .is_anyone()
    );
}

#[tokio::test]
async fn what_was_verified_is_not_verified_again() {
    let place = place(&ann());
    let credentials = basic("ann:secret");
    let begun = Instant::now();
    place.admit(&credentials).await.unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..100 {
        place.admit(&credentials).await.unwrap();
    }
    let hundred = begun.elapsed();
    eprintln!("verified in {first:?}, then known in {:?}", hundred / 100);
    assert!(hundred < first, "a hundred took as long as one");
}

#[tokio::test]
async fn a_file_that_changes_counts_and_one_that_is_wrong_does_not() {
    let place = place(&ann());
    let credentials = basic("ann:secret");
    place.admit(&credentials).await.unwrap();
    std::fs::write(&place.path, "[principals.ann]\npasword = 'x'").unwrap();
    place.gate.look();
    place.admit(&credentials).await.unwrap();
    let token = new_token().unwrap();
    let hash = hash_of_token(&token);
    std::fs::write(&place.path, format!("[principals.bob]\ntoken = '{hash}'\n")).unwrap();
    place.gate.look();
    wrong(place.admit(&credentials).await);
    let bearer = format!("bearer {token}");
    assert_eq!(place.admit(bearer.as_bytes()).await.unwrap(), "bob");
    let bob = place.gate.admit(Some(bearer.as_bytes())).await.unwrap();
    assert!(!bob.may(Action::Read, "clicks"));
}

#[tokio::test]
async fn a_token_ends_though_it_was_verified() {
    let dir = TempDir::new().unwrap();
    let secret = "a secret of at least thirty-two bytes";
    std::fs::write(dir.path().join("key"), secret).unwrap();
    let key = dir.path().join("key");
    let text = format!(
        "[groups.readers]\ntables = {{ '*' = ['read'] }}\n[[issuers]]\nissuer = 'login'\n\
         audience = 'tannin'\nalgorithm = 'HS256'\nkey_file = '{}'\n",
        key.display()
    );
    let place = place(&text);
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let ends = 1_700_000_000 + 100;
    let body = format!(
        "{{\"iss\":\"login\",\"aud\":\"tannin\",\"sub\":\"cy\",\"groups\":\"readers\",\
         \"exp\":{ends}}}"
    );
    let signed = format!("{}.{}", part("{\"alg\":\"HS256\"}"), part(&body));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
    let bearer = format!("Bearer {signed}.{signature}").into_bytes();
    let cy = place.gate.admit(Some(&bearer)).await.unwrap();
    assert!(cy.may(Action::Read, "anything") && !cy.may(Action::Write, "anything"));
    place.clock.advance(Duration::from_secs(159));
    assert_eq!(place.admit(&bearer).await.unwrap(), "cy");
    place.clock.advance(Duration::from_secs(2));
    assert!(wrong(place.admit(&bearer).await).contains("expired"));
}
