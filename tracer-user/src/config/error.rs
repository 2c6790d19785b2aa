//! What can be wrong with a configuration.

use std::{io, path::PathBuf};

use tracer_common::MAX_SLOTS;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is no TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A key that nobody knows.
    #[error("unknown key `{key}` in {table}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        table: String,
        /// The known key that is most like it.
        nearest: Option<&'static str>,
        /// Every key that may stand there.
        known: Vec<&'static str>,
    },
    /// A value of the wrong type.
    #[error("`{key}` in {table} is {found}, not {wanted}")]
    WrongType {
        /// The key.
        key: String,
        /// Where it stands.
        table: String,
        /// The type that it has.
        found: &'static str,
        /// The type that it should have.
        wanted: &'static str,
    },
    /// A variable cannot have this name.
    #[error("`{0}` names no variable")]
    BadVariable(String),
    /// A pattern that no function can match.
    #[error("an empty pattern names no function that {0}")]
    EmptyPattern(&'static str),
    /// A tier that is none.
    #[error("`{0}` is no tier")]
    BadTier(String),
    /// Something is judged by what is read, where reads are not watched.
    #[error("`{0}` is judged by what is read, and tier \"handoffs\" watches no reads")]
    NeedsReads(&'static str),
    /// A header without a name.
    #[error("an empty name is no header of HTTP")]
    EmptyHeader,
    /// An address that is none.
    #[error("`{0}` is no address to listen on")]
    BadAddress(String),
    /// A time that is none.
    #[error("disarm_after: {0}")]
    BadTime(String),
    /// Services are what is wanted only, and there are none.
    #[error("only_services is true, and there is no [[service]]")]
    NoServices,
    /// An accepted finding of which something is not said.
    #[error("an [[allow]] has no `{0}`")]
    IncompleteAllow(&'static str),
    /// An accepted finding of a kind that there is not.
    #[error("`{kind}` in [[allow]] is no kind of finding")]
    UnknownKind {
        /// What was given.
        kind: String,
        /// The kind that is most like it.
        nearest: Option<&'static str>,
    },
    /// A service rule that says nothing about which processes it is for.
    #[error("[[service]] number {0} has no `match`")]
    NoMatch(usize),
    /// More variables than a process has slots for.
    #[error("{count} variables are to be watched, but a process has {MAX_SLOTS} slots")]
    TooManyVariables {
        /// How many.
        count: usize,
    },
    /// One variable in two roles, or twice in one.
    #[error("variable `{variable}` is watched as {first} and again as {second}")]
    WatchedTwice {
        /// Which.
        variable: String,
        /// Its role.
        first: &'static str,
        /// Its other role.
        second: &'static str,
    },
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check the path given with --config or BLEEDTRACE_CONFIG".into(),
            Self::Syntax(_) => "values stand behind `=`, texts in double quotes, lists in brackets".into(),
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            }
            | Self::UnknownKind {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { known, .. } => format!("known here: {}", known.join(", ")),
            Self::WrongType { key, wanted, .. } => format!("give `{key}` {wanted}"),
            Self::BadVariable(_) => "write NAME, or module:NAME where two variables share a name".into(),
            Self::EmptyHeader => "give the name of a header, like X-Tenant-Key".into(),
            Self::EmptyPattern(_) => "give a glob like TaskStore.create*".into(),
            Self::BadAddress(_) => "write ADDRESS:PORT, like 127.0.0.1:9464".into(),
            Self::BadTier(_) => "write \"full\" or \"handoffs\"".into(),
            Self::NeedsReads(key) => format!("leave `{key}` away, or give tier = \"full\""),
            Self::BadTime(_) => "leave it away for a minute".into(),
            Self::NoServices => {
                "add a [[service]], or leave only_services away to trace every cpython".into()
            }
            Self::IncompleteAllow(_) => {
                "add kind, site (a glob over file:line) and reason: what is accepted is accepted for a reason"
                    .into()
            }
            Self::UnknownKind { .. } => "`bleedtrace explain` lists the kinds".into(),
            Self::NoMatch(_) => "add match = { exe = \"*/python3*\" }, or move its keys to [watch]".into(),
            Self::TooManyVariables { .. } => {
                format!("keep the {MAX_SLOTS} that decide whose a request is; watch others in a second run")
            }
            Self::WatchedTwice { variable, .. } => format!("give `{variable}` one role"),
        }
    }
}
