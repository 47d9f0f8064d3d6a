//! How nodes of a cluster know each other: by certificates of the cluster's own authority, by a
//! secret that all of them have, or by both.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::AccessError;
use crate::followed::read;
use crate::secrets::sha256;
use crate::tls::Tls;

const TOKEN_BYTES_MIN: usize = 16;

/// The default trusts whoever can connect: for loopback, and for roles in one process.
#[derive(Clone, Debug, Default)]
pub struct NodeTrust {
    pub tls: Option<Tls>,
    token: Option<NodeToken>,
}

#[derive(Clone)]
struct NodeToken(Arc<str>);

impl fmt::Debug for NodeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl NodeTrust {
    pub(crate) fn load(tls: Option<Tls>, token: Option<&Path>) -> Result<Self, AccessError> {
        let read_token = |path: &Path| {
            let bytes = read("the token of the cluster", path)?;
            let text = String::from_utf8(bytes).unwrap_or_default();
            let text = text.trim();
            let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
            if text.len() < TOKEN_BYTES_MIN || !is_printable {
                let path = path.display();
                return Err(AccessError(format!(
                    "the token of the cluster in `{path}` is not {TOKEN_BYTES_MIN} or more \
                     printable characters: `tannin access token` makes one"
                )));
            }
            Ok(NodeToken(text.into()))
        };
        let token = token.map(read_token).transpose()?;
        Ok(Self { tls, token })
    }

    /// Whether a node must prove that it is one.
    pub fn is_proven(&self) -> bool {
        self.token.is_some() || self.tls.as_ref().is_some_and(Tls::is_mutual)
    }

    /// What a node says about itself: the value of `authorization`.
    pub fn said(&self) -> Option<String> {
        let token = self.token.as_ref();
        token.map(|token| format!("Bearer {}", token.0))
    }

    /// Whether that is what a node of this cluster says. Compared by hashes, which take the same
    /// time whatever is wrong.
    pub fn believes(&self, said: Option<&[u8]>) -> bool {
        match self.said() {
            None => true,
            Some(wanted) => said.is_some_and(|said| sha256(said) == sha256(wanted.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_say_the_same() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let trust = NodeTrust::load(None, Some(&path)).unwrap();
        assert!(trust.is_proven() && !NodeTrust::default().is_proven());
        assert!(trust.believes(Some(b"Bearer 0123456789abcdef")));
        for said in [None, Some(&b""[..]), Some(b"Bearer 0123456789abcdeF")] {
            assert!(!trust.believes(said));
            assert!(NodeTrust::default().believes(said));
        }
        assert!(!format!("{trust:?}").contains("0123"));
        for short in ["", "short", "with spaces in between"] {
            std::fs::write(&path, short).unwrap();
            assert!(NodeTrust::load(None, Some(&path)).is_err(), "{short}");
        }
    }
}
