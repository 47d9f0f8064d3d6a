//! SHA, MD5 and MD2, as hexadecimal texts.

use md2::Md2;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::conversion::to_hex;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;

fn of<D: Digest>(bytes: &[u8]) -> String {
    to_hex(&D::digest(bytes))
}

type Row = (
    &'static str,
    &'static str,
    fn(&[u8]) -> String,
    &'static str,
);

/// Of `a`.
const ALL: &[Row] = &[
    (
        "sha",
        "SHA-1",
        of::<Sha1>,
        "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8",
    ),
    (
        "pinot_sha224",
        "SHA-224",
        of::<Sha224>,
        "abd37534c7d9a2efb9465de931cd7055ffdb8879563ae98078d6d6d5",
    ),
    (
        "pinot_sha256",
        "SHA-256",
        of::<Sha256>,
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    ),
    (
        "pinot_sha384",
        "SHA-384",
        of::<Sha384>,
        "54a59b9f22b0b80880d8427e548b7c23abd873486e1f035dce9cd697e8517503\
         3caa88e6d57bc35efae0b5afd3145f31",
    ),
    (
        "pinot_sha512",
        "SHA-512",
        of::<Sha512>,
        "1f40fc92da241694750979ee6cf582f2d5d7d28e18335de05abc54d0560e0f53\
         02860c652bf08d560252aa5e74210546f369fbbbce8c12cfc7957b2652fe9a75",
    ),
    (
        "pinot_md5",
        "MD5",
        of::<Md5>,
        "0cc175b9c0f1b6a831c399e269772661",
    ),
    ("md2", "MD2", of::<Md2>, "32ec01ec4a6dac72c0ab96fb34c0b5d1"),
];

pub(super) fn all() -> Vec<Plain> {
    let all = ALL.iter().map(|(name, title, of, value)| {
        let bare = name.strip_prefix("pinot_");
        let shown: &'static str = bare.unwrap_or(name).to_uppercase().leak();
        let example: &'static str = format!("{shown}('a')").leak();
        let function = Plain::new(*name, &[Takes::Bytes], TEXT, |rows| {
            rows.map(|bytes: &[u8]| Some(of(bytes)))
        });
        let function = if bare.is_some() {
            // Where the standard dialect has none of its own, the name is for both.
            function.in_pinot(&[shown]).alias(shown.to_lowercase())
        } else {
            function
        };
        let about = format!("The {title} of bytes, or of a text's, in hexadecimal digits.");
        function.says(
            Section::Hash,
            &format!("{shown}(bytes)"),
            &about,
            &[(example, value)],
        )
    });
    all.collect()
}
