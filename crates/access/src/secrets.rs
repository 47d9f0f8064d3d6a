//! What proves who somebody is: hashes of passwords and tokens, as they stand in the file of
//! principals. The secrets themselves are nowhere.

use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

/// More memory than this for one password is a mistake, or an attempt to use up the node's.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 20;
const TOKEN_BYTES: usize = 32;
const SHA256: &str = "sha256:";

/// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. It is checked when it is read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordMark(String);

impl fmt::Debug for PasswordMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PasswordMark {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = "is not what `tannin access password` prints ($argon2id$…)";
        let hash = PasswordHash::new(text).map_err(|_| wrong.to_owned())?;
        if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
            return Err(wrong.to_owned());
        }
        let params = Params::try_from(&hash).map_err(|_| wrong.to_owned())?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err(format!(
                "costs more than {MEMORY_KIB_MAX} KiB or {PASSES_MAX} passes"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Takes tens of milliseconds.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else {
            return false;
        };
        let verified = Argon2::default().verify_password(password, &hash);
        verified.is_ok()
    }
}

/// For the file of principals.
pub fn hash_of_password(password: &str) -> Result<String, String> {
    let cannot = |error| format!("the password cannot be hashed: {error}");
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(cannot)?;
    let hashed = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hashed.map_err(cannot)?.to_string())
}

/// Of a token that nobody can guess: it needs no salt and no cost.
pub fn hash_of_token(token: &str) -> String {
    let mut text = String::from(SHA256);
    for byte in sha256(token.as_bytes()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A token that nobody can guess.
pub fn new_token() -> Result<String, String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?))
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn parse_token_hash(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix(SHA256)?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_alone() {
        let hash = hash_of_password("söme thing").unwrap();
        assert_ne!(hash, hash_of_password("söme thing").unwrap());
        let mark = PasswordMark::parse(&hash).unwrap();
        assert!(mark.fits("söme thing".as_bytes()));
        assert!(!mark.fits(b"some thing"));
        assert!(!format!("{mark:?}").contains("argon"));
    }

    #[test]
    fn what_is_no_hash_is_told() {
        let costly = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$\
                      CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for text in ["", "secret", "$argon2id$", "$2b$12$abc", costly] {
            assert!(PasswordMark::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tokens_are_kept_by_their_hash() {
        let token = new_token().unwrap();
        assert_eq!(token.len(), 43);
        let hash = hash_of_token(&token);
        assert_eq!(parse_token_hash(&hash), Some(sha256(token.as_bytes())));
        for text in ["", "sha256:", "sha256:zz", &hash[1..], &format!("{hash}0")] {
            assert_eq!(parse_token_hash(text), None, "{text}");
        }
    }
}
