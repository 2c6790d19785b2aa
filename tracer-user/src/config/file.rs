//! The configuration file: TOML, in which a key that is not known is an error that names the nearest one.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use toml::{Table, Value};

use super::{
    AllowRule, ConfigError, Empty, Match, ServiceRule, Tier, VarSelector, Watch, duration,
    keys::{self, Key},
    nearest::nearest,
};
use crate::correlate::finding::Kind;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// `[watch]`.
    pub watch: Watch,
    /// `[[service]]`.
    pub services: Vec<ServiceRule>,
    /// `[privacy] reveal`.
    pub reveal: Option<bool>,
    /// `[privacy] key_file`.
    pub key_file: Option<PathBuf>,
    /// `[wire] credentials`.
    pub credentials: Vec<String>,
    /// `[[allow]]`.
    pub allow: Vec<AllowRule>,
    /// `[agent] listen`.
    pub listen: Option<SocketAddr>,
    /// `[agent] only_services`.
    pub only_services: Option<bool>,
    /// `[agent] disarm_after`.
    pub disarm_after: Option<Duration>,
}

impl FileConfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&text)
    }

    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            ConfigError::Syntax(format!("{} in line {line}", error.message()))
        })?;
        let mut top = Keys::new("the file", table, &keys::FILE)?;
        let (mut listen, mut only_services, mut disarm_after) = (None, None, None);
        if let Some(agent) = top.table("agent")? {
            let mut keys = Keys::new("[agent]", agent, &keys::AGENT)?;
            let address = keys.text("listen")?;
            let parsed = address.map(|text| text.parse().map_err(|_| ConfigError::BadAddress(text)));
            listen = parsed.transpose()?;
            only_services = keys.boolean("only_services")?;
            let time = keys.text("disarm_after")?;
            disarm_after = time
                .map(|text| duration::parse(&text))
                .transpose()
                .map_err(ConfigError::BadTime)?;
        }
        let (mut reveal, mut key_file) = (None, None);
        if let Some(privacy) = top.table("privacy")? {
            let mut keys = Keys::new("[privacy]", privacy, &keys::PRIVACY)?;
            reveal = keys.boolean("reveal")?;
            key_file = keys.text("key_file")?.map(PathBuf::from);
        }
        let credentials = match top.table("wire")? {
            Some(wire) => Keys::new("[wire]", wire, &keys::WIRE)?.texts("credentials")?,
            None => Vec::new(),
        };
        if credentials.iter().any(|header| header.trim().is_empty()) {
            return Err(ConfigError::EmptyHeader);
        }
        let watch = match top.table("watch")? {
            Some(table) => watch(&mut Keys::new("[watch]", table, &keys::WATCH)?)?,
            None => Watch::default(),
        };
        let allow = top
            .tables("allow", "a list of tables, written [[allow]]")?
            .into_iter()
            .map(allow);
        let allow = allow.collect::<Result<_, _>>()?;
        let tables = top.tables("service", "a list of tables, written [[service]]")?;
        let services = tables
            .into_iter()
            .enumerate()
            .map(|(at, table)| service(at + 1, table));
        Ok(Self {
            watch,
            services: services.collect::<Result<_, _>>()?,
            reveal,
            key_file,
            credentials,
            allow,
            listen,
            only_services,
            disarm_after,
        })
    }
}

fn service(number: usize, table: Table) -> Result<ServiceRule, ConfigError> {
    let mut keys = Keys::new("[[service]]", table, &keys::SERVICE)?;
    let Some(matching) = keys.table("match")? else {
        return Err(ConfigError::NoMatch(number));
    };
    let mut matching = Keys::new("match of [[service]]", matching, &keys::MATCH)?;
    Ok(ServiceRule {
        matches: Match {
            exe: matching.text("exe")?,
            cmdline: matching.text("cmdline")?,
            user: matching.text("user")?,
            cgroup: matching.text("cgroup")?,
            env: matching.globs("env")?,
        },
        name: keys.text("name")?,
        watch: watch(&mut keys)?,
    })
}

fn allow(table: Table) -> Result<AllowRule, ConfigError> {
    let mut keys = Keys::new("[[allow]]", table, &keys::ALLOW)?;
    let mut need = |key| {
        let text = keys.text(key)?.filter(|text| !text.trim().is_empty());
        text.ok_or(ConfigError::IncompleteAllow(key))
    };
    let (name, site, reason) = (need("kind")?, need("site")?, need("reason")?);
    let kind = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let kind = kind.ok_or_else(|| ConfigError::UnknownKind {
        nearest: nearest(&name, Kind::ALL.iter().map(|kind| kind.name())),
        kind: name,
    })?;
    Ok(AllowRule { kind, site, reason })
}

fn watch(keys: &mut Keys) -> Result<Watch, ConfigError> {
    let mut variables = |key| -> Result<Vec<VarSelector>, ConfigError> {
        keys.texts(key)?.iter().map(|text| text.parse()).collect()
    };
    Ok(Watch {
        identity: variables("identity")?,
        request: variables("request")?,
        digest: variables("digest")?,
        empties: empties(keys)?,
        mint: keys.texts("mint")?,
        policy: keys.texts("policy")?,
        wire: keys.boolean("wire")?,
        tasks: keys.boolean("tasks")?,
        tier: keys.text("tier")?.map(|name| tier(&name)).transpose()?,
        defaults: false,
    })
}

fn tier(name: &str) -> Result<Tier, ConfigError> {
    let named = Tier::ALL.into_iter().find(|tier| tier.name() == name);
    named.ok_or_else(|| ConfigError::BadTier(name.to_owned()))
}

/// `["a", "b"]` for every variable, or `{ variable = ["a"], "*" = ["b"] }`.
fn empties(keys: &mut Keys) -> Result<Vec<Empty>, ConfigError> {
    if !matches!(keys.table.get("empty"), Some(Value::Table(_))) {
        let values = keys.texts("empty")?.into_iter();
        return Ok(values
            .map(|value| Empty {
                variable: None,
                value,
            })
            .collect());
    }
    let mut all = Vec::new();
    for (name, value) in keys.table("empty")?.unwrap_or_default() {
        let variable: Option<VarSelector> = match name.as_str() {
            "*" => None,
            name => Some(name.parse()?),
        };
        let values = texts(value).map_err(|found| keys.wrong(&name, found, TEXTS))?;
        all.extend(values.into_iter().map(|value| Empty {
            variable: variable.clone(),
            value,
        }));
    }
    Ok(all)
}

const TEXTS: &str = "a list of texts";

/// The texts of a list, or the type of what is none.
fn texts(value: Value) -> Result<Vec<String>, &'static str> {
    let Value::Array(list) = value else {
        return Err(type_of(&value));
    };
    list.into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(text),
            _ => Err("a list with something else in it"),
        })
        .collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A table whose keys are all known.
struct Keys {
    place: &'static str,
    table: Table,
}

impl Keys {
    fn new(place: &'static str, table: Table, known: &'static [Key]) -> Result<Self, ConfigError> {
        let names = || known.iter().map(|known| known.name);
        for key in table.keys() {
            if !names().any(|name| name == key) {
                return Err(ConfigError::UnknownKey {
                    key: key.clone(),
                    table: place.to_owned(),
                    nearest: nearest(key, names()),
                    known: names().collect(),
                });
            }
        }
        Ok(Self { place, table })
    }

    fn wrong(&self, key: &str, found: &'static str, wanted: &'static str) -> ConfigError {
        ConfigError::WrongType {
            key: key.to_owned(),
            table: self.place.to_owned(),
            found,
            wanted,
        }
    }

    fn table(&mut self, key: &str) -> Result<Option<Table>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(table)),
            Some(other) => Err(self.wrong(key, type_of(&other), "a table")),
        }
    }

    fn tables(&mut self, key: &str, wanted: &'static str) -> Result<Vec<Table>, ConfigError> {
        let list = match self.table.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.wrong(key, type_of(&other), wanted)),
        };
        list.into_iter()
            .map(|item| match item {
                Value::Table(table) => Ok(table),
                other => Err(self.wrong(key, type_of(&other), wanted)),
            })
            .collect()
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        let value = self.table.remove(key).unwrap_or(Value::Array(Vec::new()));
        texts(value).map_err(|found| self.wrong(key, found, TEXTS))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, type_of(&other), "a text")),
        }
    }

    /// A table of texts.
    fn globs(&mut self, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let entries = self.table(key)?.unwrap_or_default().into_iter();
        entries
            .map(|(name, value)| match value {
                Value::String(glob) => Ok((name, glob)),
                other => Err(self.wrong(&name, type_of(&other), "a text")),
            })
            .collect()
    }

    fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(key, type_of(&other), "true or false")),
        }
    }
}
