//! What goes wrong in a command, as the person who typed it is told.

use std::io::Write;

/// Exit code: the operation failed.
pub const FAILED: u8 = 1;
/// Exit code: wrong usage or bad input (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// Exit code: the server cannot be reached (`EX_UNAVAILABLE` of sysexits.h).
pub const UNREACHABLE: u8 = 69;

/// Why a command did not do what it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The arguments or the input are wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The input is wrong, and the text shows each place in it.
    #[error("{0}")]
    Input(String),
    /// A server does not answer.
    #[error("{message}")]
    Unreachable {
        /// Which server, and what happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The operation failed.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The operation failed and everything has been said.
    #[error("the operation failed")]
    Reported {
        /// The exit code.
        code: u8,
    },
    /// Nobody reads the output any more (`heddle get ... | head -1`).
    #[error("the output was closed")]
    BrokenPipe,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// A failed operation.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    /// A server that does not answer; `flag` is the option that says where it is.
    #[must_use]
    pub fn unreachable(what: &str, url: &str, flag: &str, cause: &str) -> Self {
        Self::Unreachable {
            message: format!("cannot reach {what} at {url}: {cause}"),
            hint: Some(format!(
                "start it with `heddle up`, or say where it is with {flag} URL"
            )),
        }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Usage { hint, .. }
            | Self::Unreachable { hint, .. }
            | Self::Failed { hint, .. } => *hint = Some(text.into()),
            Self::Input(_) | Self::Reported { .. } | Self::BrokenPipe => {}
        }
        self
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Input(_) => USAGE,
            Self::Unreachable { .. } => UNREACHABLE,
            Self::Failed { .. } => FAILED,
            Self::Reported { code } => *code,
            Self::BrokenPipe => 0,
        }
    }

    /// Tells the user.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub fn report(&self, err: &mut dyn Write, color: bool) -> std::io::Result<()> {
        let (red, bold, reset) = if color {
            ("\x1b[1;31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        match self {
            Self::Usage { message, hint }
            | Self::Unreachable { message, hint }
            | Self::Failed { message, hint } => {
                writeln!(err, "{red}error:{reset} {message}")?;
                if let Some(hint) = hint {
                    writeln!(err, "{bold}hint:{reset} {hint}")?;
                }
                Ok(())
            }
            // Editors and terminals know `file:line:column:` at the start of a line.
            Self::Input(places) => writeln!(err, "{places}"),
            Self::Reported { .. } | Self::BrokenPipe => Ok(()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::failed(format!("cannot write the output: {error}"))
        }
    }
}

impl From<super::manifest::ManifestError> for Failure {
    fn from(error: super::manifest::ManifestError) -> Self {
        match error {
            super::manifest::ManifestError::Invalid(_) => Self::Input(error.to_string()),
            other => Self::usage(other.to_string()),
        }
    }
}
