//! Why a command could not be carried out, what to do about it, and the exit code.

use std::fmt;

use crate::{
    config::ConfigError,
    target::{process::ProcessError, spawn::SpawnError, user::UserError},
};

/// Exit codes, of which the first that applies counts.
pub mod exit {
    /// Clean, or done.
    pub const CLEAN: u8 = 0;
    /// There are findings.
    pub const FINDINGS: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 2;
    /// The machine or the target cannot be traced.
    pub const CANNOT_TRACE: u8 = 3;
    /// No verdict.
    pub const NO_VERDICT: u8 = 4;
}

/// A sentence fragment that says what is wrong, and the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    hint: String,
    code: u8,
}

impl Error {
    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            code: exit::USAGE,
        }
    }

    /// The machine or the target cannot be traced.
    pub fn cannot_trace(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            code: exit::CANNOT_TRACE,
        }
    }

    /// What is wrong, without the next step.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code that stands for it.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\nhint: {}", self.message, self.hint)
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string(), error.hint())
    }
}

impl From<ProcessError> for Error {
    fn from(error: ProcessError) -> Self {
        Self::cannot_trace(error.to_string(), error.hint())
    }
}

impl From<SpawnError> for Error {
    fn from(error: SpawnError) -> Self {
        let make = if error.is_usage() {
            Self::usage
        } else {
            Self::cannot_trace
        };
        make(error.to_string(), error.hint())
    }
}

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        Self::usage(error.to_string(), error.hint())
    }
}
