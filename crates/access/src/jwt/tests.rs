//! Tokens are believed for what their issuer has signed, and for nothing else.

use std::path::PathBuf;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::AccessError;
use crate::der::{Der, INTEGER, SEQUENCE, public_key};

const NOW_MS: i64 = 1_700_000_000_000;
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// Made for this test: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048.
const RSA_PRIVATE: &str = include_str!("test_rsa_private.pem");
const RSA_PUBLIC: &str = include_str!("test_rsa_public.pem");

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn body() -> Value {
    let now = NOW_MS / 1000;
    json!({
        "iss": "login", "aud": ["other", "tannin"], "sub": "ann", "exp": now + 10,
        "groups": ["analysts", "x"],
    })
}

fn token(alg: &str, body: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encoded(&json!({ "alg": alg, "kid": "1" })),
        encoded(body)
    );
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn by_secret(signed: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    hmac::sign(&key, signed).as_ref().to_vec()
}

fn issuer(algorithm: Algorithm, key: &[u8]) -> (Issuer, TempDir) {
    let dir = TempDir::new().unwrap();
    let path: PathBuf = dir.path().join("key");
    std::fs::write(&path, key).unwrap();
    let issuer = Issuer {
        name: "login".to_owned(),
        audience: "tannin".to_owned(),
        groups_claim: "groups".to_owned(),
        key: Key::read(algorithm, &path).unwrap(),
    };
    (issuer, dir)
}

fn of_secret() -> Issuer {
    issuer(Algorithm::Hs256, SECRET).0
}

#[test]
fn a_token_says_who_and_until_when() {
    let claims = believed(&token("HS256", &body(), by_secret), &[of_secret()], NOW_MS).unwrap();
    assert_eq!(claims.subject, "ann");
    assert_eq!(claims.groups, ["analysts", "x"]);
    assert_eq!(claims.ends_ms, NOW_MS + 70_000);
}

#[test]
fn whatever_is_wrong_is_told() {
    let changed = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        body
    };
    let now = NOW_MS / 1000;
    let all = [
        (
            changed("iss", json!("evil")),
            "issuer `evil` is not trusted",
        ),
        (changed("iss", json!(null)), "issuer `` is not trusted"),
        (
            changed("aud", json!("other")),
            "not for the audience `tannin`",
        ),
        (changed("aud", json!(null)), "not for the audience `tannin`"),
        (changed("exp", json!(now - 61)), "has expired"),
        (changed("exp", json!(null)), "has no end"),
        (changed("exp", json!("never")), "has no end"),
        (changed("nbf", json!(now + 100)), "does not count yet"),
        (changed("sub", json!("")), "names nobody"),
    ];
    for (body, wanted) in all {
        let refused = believed(&token("HS256", &body, by_secret), &[of_secret()], NOW_MS);
        let refused = refused.unwrap_err();
        assert!(refused.contains(wanted), "{body}: {refused}");
    }
}

#[test]
fn a_signature_of_another_is_none() {
    let other = |signed: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"another secret of thirty-two bytes..");
        hmac::sign(&key, signed).as_ref().to_vec()
    };
    // Signed by the public key as if it were a secret: the trick that works where a token says its
    // own algorithm.
    let confused = |signed: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, RSA_PUBLIC.as_bytes());
        hmac::sign(&key, signed).as_ref().to_vec()
    };
    let (rsa, _dir) = issuer(Algorithm::Rs256, RSA_PUBLIC.as_bytes());
    let secret = of_secret();
    let good = token("HS256", &body(), by_secret);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let all = [
        (token("HS256", &body(), other), &secret),
        (token("none", &body(), |_| Vec::new()), &secret),
        (token("RS256", &body(), by_secret), &secret),
        (token("HS256", &body(), confused), &rsa),
        (format!("{signed}."), &secret),
    ];
    for (token, issuer) in all {
        let refused = believed(&token, std::slice::from_ref(issuer), NOW_MS).unwrap_err();
        assert!(refused.contains("signature"), "{token}: {refused}");
    }
    for token in ["", "a.b", "a.b.c", "!.!.!", &good[1..]] {
        let refused = believed(token, &[of_secret()], NOW_MS).unwrap_err();
        assert!(refused.contains("damaged"), "{token}: {refused}");
    }
}

#[test]
fn keys_of_each_algorithm_in_each_form() {
    let random = SystemRandom::new();
    let private = PrivatePkcs8KeyDer::from_pem_slice(RSA_PRIVATE.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(private.secret_pkcs8_der()).unwrap();
    let by_rsa = |signed: &[u8]| {
        let mut signature = vec![0; pair.public().modulus_len()];
        let signing = pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature);
        signing.unwrap();
        signature
    };
    let of_rsa = token("RS256", &body(), by_rsa);
    let number = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let info = SubjectPublicKeyInfoDer::from_pem_slice(RSA_PUBLIC.as_bytes()).unwrap();
    let mut numbers = Der(Der(public_key(&info).unwrap()).expect(SEQUENCE).unwrap());
    let mut next = || {
        let bytes = numbers.expect(INTEGER).unwrap();
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        number(&bytes[leading..])
    };
    let (n, e) = (next(), next());
    let set = json!({ "keys": [
        { "kty": "EC", "kid": "1", "crv": "P-256" , "x": "", "y": "" },
        { "kty": "RSA", "kid": "1", "use": "sig", "n": n, "e": e },
    ] });
    for key in [RSA_PUBLIC.to_owned(), set.to_string()] {
        let (issuer, _dir) = issuer(Algorithm::Rs256, key.as_bytes());
        believed(&of_rsa, &[issuer], NOW_MS).unwrap();
    }

    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
    let pair = pair.unwrap();
    let of_curve = token("ES256", &body(), |signed| {
        pair.sign(&random, signed).unwrap().as_ref().to_vec()
    });
    let point = pair.public_key().as_ref();
    let (x, y) = (number(&point[1..33]), number(&point[33..]));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] }).to_string();
    // AlgorithmIdentifier of P-256, then the point.
    let mut info = vec![
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    info.extend(point);
    let info = base64::engine::general_purpose::STANDARD.encode(info);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{info}\n-----END PUBLIC KEY-----\n");
    for key in [set, pem] {
        let (issuer, _dir) = issuer(Algorithm::Es256, key.as_bytes());
        believed(&of_curve, &[issuer], NOW_MS).unwrap();
    }
}

#[test]
fn what_is_no_key_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    let all = [
        (Algorithm::Hs256, "short", "at least 32 bytes"),
        (Algorithm::Rs256, "no key", "as PEM"),
        (Algorithm::Es256, RSA_PUBLIC, "another kind"),
        (Algorithm::Es256, "{\"keys\": []}", "no key of the kind EC"),
        (
            Algorithm::Rs256,
            "{\"keys\": [{\"kty\": \"RSA\"}]}",
            "damaged",
        ),
    ];
    for (algorithm, text, wanted) in all {
        std::fs::write(&path, text).unwrap();
        let AccessError(refused) = Key::read(algorithm, &path).unwrap_err();
        assert!(refused.contains(wanted), "{text}: {refused}");
    }
}
