//! How a command ends: 0 fine, 1 failed while running, 2 wrong use or settings, 3 data dir locked
//! or of another format.

use std::fmt;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    Failed = 1,
    Usage = 2,
    DataDir = 3,
}

/// A failure that names its own exit code. Errors without one end with 1.
#[derive(Debug)]
pub struct Exit {
    pub kind: ExitKind,
    pub message: String,
}

impl Exit {
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self {
            kind: ExitKind::Usage,
            message: message.into(),
        }
        .into()
    }

    pub fn data_dir(message: impl Into<String>) -> anyhow::Error {
        Self {
            kind: ExitKind::DataDir,
            message: message.into(),
        }
        .into()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// The exit code of `error`, wherever in its chain the [`Exit`] is.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    let kind = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Exit>())
        .map(|exit| exit.kind);
    ExitCode::from(kind.unwrap_or(ExitKind::Failed) as u8)
}
