//! How variables and empty values are written down.

use std::{fmt, str::FromStr};

use super::ConfigError;

/// A watched variable, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VarSelector {
    /// The module that made it, where two variables share a name.
    pub module: Option<String>,
    /// The name that the ContextVar was made with.
    pub name: String,
}

impl VarSelector {
    /// A variable of any module.
    pub fn named(name: &str) -> Self {
        Self {
            module: None,
            name: name.to_owned(),
        }
    }
}

impl FromStr for VarSelector {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let fits =
            |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_control() || c.is_whitespace());
        match text.split_once(':') {
            Some((module, name)) if fits(module) && fits(name) => Ok(Self {
                module: Some(module.to_owned()),
                name: name.to_owned(),
            }),
            None if fits(text) => Ok(Self::named(text)),
            _ => Err(ConfigError::BadVariable(text.to_owned())),
        }
    }
}

impl fmt::Display for VarSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "{module}:{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A value that counts as empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Empty {
    /// For which variable; none for all.
    pub variable: Option<VarSelector>,
    /// The value, as text.
    pub value: String,
}

impl FromStr for Empty {
    type Err = ConfigError;

    /// `VALUE` or `VAR=VALUE`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once('=') {
            Some((variable, value)) => Ok(Self {
                variable: Some(variable.parse()?),
                value: value.to_owned(),
            }),
            None => Ok(Self {
                variable: None,
                value: text.to_owned(),
            }),
        }
    }
}
