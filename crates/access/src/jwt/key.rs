//! Keys of issuers: a secret that both know, or a public key, as PEM or in a JSON Web Key Set.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use crate::AccessError;
use crate::der::public_key;
use crate::followed::read;

/// Shorter ones are guessed from one token.
const SECRET_BYTES_MIN: usize = 32;
/// An uncompressed point of the curve.
const POINT_BYTES: usize = 65;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Hs256, Self::Rs256, Self::Es256];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

pub(crate) struct Key {
    algorithm: Algorithm,
    /// With the names by which tokens may choose.
    keys: Vec<(Option<String>, Material)>,
}

enum Material {
    Secret(hmac::Key),
    /// RSAPublicKey of PKCS#1.
    Rsa(Vec<u8>),
    RsaNumbers {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Point(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm).finish()
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    pub(crate) fn read(algorithm: Algorithm, path: &Path) -> Result<Self, AccessError> {
        let bytes = read("the key", path)?;
        let keys = match algorithm {
            Algorithm::Hs256 => secret(&bytes),
            _ if bytes.trim_ascii_start().starts_with(b"{") => of_set(algorithm, &bytes),
            _ => of_pem(algorithm, &bytes),
        };
        let keys = keys.map_err(|wrong| {
            let (name, path) = (algorithm.name(), path.display());
            AccessError(format!("the key `{path}` is none for {name}: {wrong}"))
        })?;
        Ok(Self { algorithm, keys })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn verifies(&self, kid: Option<&str>, signed: &[u8], signature: &[u8]) -> bool {
        let mut fitting = self.keys.iter().filter(|(name, _)| match (name, kid) {
            (Some(name), Some(kid)) => name == kid,
            _ => true,
        });
        fitting.any(|(_, material)| material.verifies(signed, signature))
    }
}

impl Material {
    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Secret(key) => return hmac::verify(key, signed, signature).is_ok(),
            Self::Rsa(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(signed, signature)
            }
            Self::RsaNumbers { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Self::Point(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed, signature)
            }
        };
        verified.is_ok()
    }
}

type Keys = Result<Vec<(Option<String>, Material)>, String>;

fn secret(bytes: &[u8]) -> Keys {
    let bytes = bytes.trim_ascii_end();
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
    Ok(vec![(None, Material::Secret(key))])
}

fn of_pem(algorithm: Algorithm, bytes: &[u8]) -> Keys {
    let info = SubjectPublicKeyInfoDer::from_pem_slice(bytes);
    let info = info.map_err(|_| "write a `PUBLIC KEY` as PEM, or a JSON Web Key Set")?;
    let key = public_key(&info).ok_or("the public key is damaged")?;
    let is_point = key.len() == POINT_BYTES && key.first() == Some(&4);
    let material = match (algorithm, is_point) {
        (Algorithm::Es256, true) => Material::Point(key.to_vec()),
        (Algorithm::Rs256, false) => Material::Rsa(key.to_vec()),
        _ => return Err("it is a key of another kind".to_owned()),
    };
    Ok(vec![(None, material)])
}

fn of_set(algorithm: Algorithm, bytes: &[u8]) -> Keys {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let kind = match algorithm {
        Algorithm::Es256 => "EC",
        _ => "RSA",
    };
    let is_wanted = |key: &&Jwk| key.kty == kind && key.usage.as_deref() != Some("enc");
    let keys = set.keys.iter().filter(is_wanted).map(|key| {
        let material = match algorithm {
            Algorithm::Es256 => key.point(),
            _ => key.numbers(),
        };
        let name = key.kid.clone().unwrap_or_default();
        let material = material.ok_or_else(|| format!("its key `{name}` is damaged"))?;
        Ok((key.kid.clone(), material))
    });
    let keys = keys.collect::<Result<Vec<_>, String>>()?;
    match keys.is_empty() {
        true => Err(format!("the set has no key of the kind {kind}")),
        false => Ok(keys),
    }
}

impl Jwk {
    fn numbers(&self) -> Option<Material> {
        Some(Material::RsaNumbers {
            n: bytes_of(self.n.as_deref())?,
            e: bytes_of(self.e.as_deref())?,
        })
    }

    fn point(&self) -> Option<Material> {
        if self.crv.as_deref() != Some("P-256") {
            return None;
        }
        let mut point = vec![4];
        point.extend(bytes_of(self.x.as_deref())?);
        point.extend(bytes_of(self.y.as_deref())?);
        (point.len() == POINT_BYTES).then_some(Material::Point(point))
    }
}

fn bytes_of(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}
