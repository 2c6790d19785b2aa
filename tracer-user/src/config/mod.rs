//! The configuration: a file, the environment and the flags, resolved into one [`Config`].
#![deny(unsafe_code)]

pub mod allow;
pub mod duration;
pub mod error;
pub mod file;
pub mod keys;
pub mod nearest;
pub mod schema;
pub mod selector;
pub mod show;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use tracer_common::MAX_SLOTS;
use wildmatch::WildMatch;

use crate::correlate::finding::Finding;

pub use self::{
    allow::AllowRule,
    error::ConfigError,
    file::FileConfig,
    selector::{Empty, VarSelector},
};

/// Names that are watched for their value when nothing is configured: who a request is for.
pub const DEFAULT_IDENTITY: [&str; 9] = [
    "tenant",
    "tenant_id",
    "principal",
    "user",
    "user_id",
    "identity_context",
    "auth_context",
    "user_identity",
    "user_context",
];

/// Names that are watched when nothing is configured: which request it is.
pub const DEFAULT_REQUEST: [&str; 3] = ["request_id", "correlation_id", "request_ctx"];

/// How much of a process is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Handoffs, binds and reads.
    #[default]
    Full,
    /// Handoffs and binds: no probe on reads, which cost most where identities are read most.
    Handoffs,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 2] = [Self::Full, Self::Handoffs];

    /// As it is written in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Handoffs => "handoffs",
        }
    }
}

/// What is watched in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Variables that say who a request is for.
    pub identity: Vec<VarSelector>,
    /// Variables that say which request it is.
    pub request: Vec<VarSelector>,
    /// Variables that hold a pinned digest.
    pub digest: Vec<VarSelector>,
    /// Values that count as empty.
    pub empties: Vec<Empty>,
    /// Globs over the qualified names of functions that mint task handles.
    pub mint: Vec<String>,
    /// Globs over the qualified names of functions that decide what somebody may do.
    pub policy: Vec<String>,
    /// Read what the process receives and sends.
    pub wire: Option<bool>,
    /// Follow their asyncio tasks, if that is said; else where the wire is read.
    pub tasks: Option<bool>,
    /// How much is watched, if that is said.
    pub tier: Option<Tier>,
    /// Nothing was configured: the well-known names are watched.
    pub defaults: bool,
}

impl Watch {
    /// The well-known names.
    fn well_known() -> Self {
        let named = |names: &[&str]| names.iter().map(|n| VarSelector::named(n)).collect();
        Self {
            identity: named(&DEFAULT_IDENTITY),
            request: named(&DEFAULT_REQUEST),
            defaults: true,
            ..Self::default()
        }
    }

    /// Every variable, each with the name of its role.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &VarSelector)> {
        let lists = [
            ("identity", &self.identity),
            ("request", &self.request),
            ("digest", &self.digest),
        ];
        lists
            .into_iter()
            .flat_map(|(role, list)| list.iter().map(move |variable| (role, variable)))
    }

    fn names_variables(&self) -> bool {
        self.variables().next().is_some()
    }

    /// The key of something that is judged by what is read.
    fn needs_reads(&self) -> Option<&'static str> {
        let keys = [
            ("wire", self.wire == Some(true)),
            ("tasks", self.tasks == Some(true)),
            ("policy", !self.policy.is_empty()),
            ("mint", !self.mint.is_empty()),
        ];
        keys.into_iter().find_map(|(key, wanted)| wanted.then_some(key))
    }

    /// The same but for what is judged by what is read.
    fn without_reads(self) -> Self {
        Self {
            mint: Vec::new(),
            policy: Vec::new(),
            wire: None,
            tasks: None,
            ..self
        }
    }

    /// Lists that `over` sets replace these.
    fn overridden(mut self, over: &Self) -> Self {
        let replace = |mine: &mut Vec<VarSelector>, theirs: &Vec<VarSelector>| {
            if !theirs.is_empty() {
                mine.clone_from(theirs);
            }
        };
        replace(&mut self.identity, &over.identity);
        replace(&mut self.request, &over.request);
        replace(&mut self.digest, &over.digest);
        if !over.empties.is_empty() {
            self.empties.clone_from(&over.empties);
        }
        if !over.mint.is_empty() {
            self.mint.clone_from(&over.mint);
        }
        if !over.policy.is_empty() {
            self.policy.clone_from(&over.policy);
        }
        self.wire = over.wire.or(self.wire);
        self.tasks = over.tasks.or(self.tasks);
        self.tier = over.tier.or(self.tier);
        self
    }

    /// Falls back to the well-known names, and refuses what cannot be watched.
    fn checked(mut self) -> Result<Self, ConfigError> {
        if !self.names_variables() {
            self = Self {
                empties: self.empties,
                mint: self.mint,
                policy: self.policy,
                wire: self.wire,
                tasks: self.tasks,
                tier: self.tier,
                ..Self::well_known()
            };
        }
        if self.tier == Some(Tier::Handoffs)
            && let Some(key) = self.needs_reads()
        {
            return Err(ConfigError::NeedsReads(key));
        }
        for (patterns, purpose) in [(&self.mint, "mints"), (&self.policy, "checks a policy")] {
            if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
                return Err(ConfigError::EmptyPattern(purpose));
            }
        }
        let all: Vec<_> = self.variables().collect();
        for (at, (role, variable)) in all.iter().enumerate() {
            if let Some((earlier, _)) = all[..at].iter().find(|(_, other)| other == variable) {
                return Err(ConfigError::WatchedTwice {
                    variable: variable.to_string(),
                    first: earlier,
                    second: role,
                });
            }
        }
        if !self.defaults && all.len() > MAX_SLOTS {
            return Err(ConfigError::TooManyVariables { count: all.len() });
        }
        Ok(self)
    }
}

/// Which processes a rule is for. What is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Glob over the path of the executable.
    pub exe: Option<String>,
    /// Glob over the arguments, joined by spaces.
    pub cmdline: Option<String>,
    /// Name or number of the user.
    pub user: Option<String>,
    /// Glob over the control group.
    pub cgroup: Option<String>,
    /// Globs over variables of the environment.
    pub env: BTreeMap<String, String>,
}

/// What a [`Match`] looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Path of the executable.
    pub exe: String,
    /// The arguments, joined by spaces.
    pub cmdline: String,
    /// Number of the user.
    pub uid: u32,
    /// Name of the user, when it has one.
    pub user: Option<String>,
    /// The control group.
    pub cgroup: String,
    /// The environment that it was started with, each variable as `NAME=value`; none when it cannot be read.
    pub environment: Vec<String>,
}

impl Match {
    /// Whether the process is one of these.
    pub fn matches(&self, subject: &Subject) -> bool {
        let glob = |pattern: &Option<String>, text: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| WildMatch::new(pattern).matches(text))
        };
        let user = self.user.as_ref().is_none_or(|wanted| {
            subject.user.as_ref() == Some(wanted) || wanted.parse::<u32>() == Ok(subject.uid)
        });
        user && glob(&self.exe, &subject.exe)
            && glob(&self.cmdline, &subject.cmdline)
            && glob(&self.cgroup, &subject.cgroup)
            && self.env.iter().all(|(name, glob)| {
                // Of a name that is there twice the first counts, as for the process itself.
                let mut variables = subject
                    .environment
                    .iter()
                    .filter_map(|entry| entry.split_once('='));
                let value = variables
                    .find(|(variable, _)| variable == name)
                    .map(|(_, value)| value);
                value.is_some_and(|value| WildMatch::new(glob).matches(value))
            })
    }
}

/// What is different for some processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRule {
    /// Which processes.
    pub matches: Match,
    /// Their name in the output.
    pub name: Option<String>,
    /// What is watched in them.
    pub watch: Watch,
}

/// What flags and `BLEEDTRACE_` variables set.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Lists that are not empty replace those of the file, in every rule.
    pub watch: Watch,
    /// Show values instead of hashes.
    pub reveal: Option<bool>,
    /// File with the key of the hashes.
    pub key_file: Option<PathBuf>,
    /// Where the agent serves HTTP.
    pub listen: Option<SocketAddr>,
    /// The agent attaches to processes that a rule selects only.
    pub only_services: Option<bool>,
    /// The agent lets files go that nobody has run from for so long.
    pub disarm_after: Option<Duration>,
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What is watched in processes without a rule of their own.
    pub watch: Watch,
    /// Rules, of which the first that matches counts.
    pub services: Vec<ServiceRule>,
    /// Show values instead of hashes.
    pub reveal: bool,
    /// File with the key of the hashes; without one each run makes its own.
    pub key_file: Option<PathBuf>,
    /// Headers of HTTP that say who asks, besides the usual ones.
    pub credentials: Vec<String>,
    /// Findings that are accepted.
    pub allow: Vec<AllowRule>,
    /// Where the agent serves HTTP.
    pub listen: Option<SocketAddr>,
    /// The agent attaches to processes that a rule selects only.
    pub only_services: bool,
    /// The agent lets files go that nobody has run from for so long.
    pub disarm_after: Option<Duration>,
}

impl Config {
    /// Flags and environment over the file, over the built-in names.
    pub fn resolve(file: FileConfig, overrides: &Overrides) -> Result<Self, ConfigError> {
        let over = &overrides.watch;
        let mut services = Vec::with_capacity(file.services.len());
        for rule in file.services {
            // A rule without variables of its own only adds to what is watched everywhere.
            let base = if rule.watch.names_variables() {
                rule.watch
            } else {
                let Watch {
                    identity,
                    request,
                    digest,
                    ..
                } = file.watch.clone();
                Watch {
                    identity,
                    request,
                    digest,
                    ..rule.watch
                }
            };
            // What a rule says itself has to go together; what it would inherit and cannot have, it does without.
            let reads = base.tier.or(file.watch.tier) != Some(Tier::Handoffs);
            let inherited = if reads {
                file.watch.clone()
            } else {
                file.watch.clone().without_reads()
            };
            let base = Watch {
                empties: if base.empties.is_empty() {
                    file.watch.empties.clone()
                } else {
                    base.empties
                },
                mint: if base.mint.is_empty() {
                    inherited.mint
                } else {
                    base.mint
                },
                policy: if base.policy.is_empty() {
                    inherited.policy
                } else {
                    base.policy
                },
                wire: base.wire.or(inherited.wire),
                tasks: base.tasks.or(inherited.tasks),
                tier: base.tier.or(inherited.tier),
                ..base
            };
            services.push(ServiceRule {
                watch: base.overridden(over).checked()?,
                ..rule
            });
        }
        // Whoever names services means these.
        let only_services = overrides.only_services.or(file.only_services);
        if only_services == Some(true) && services.is_empty() {
            return Err(ConfigError::NoServices);
        }
        Ok(Self {
            watch: file.watch.overridden(over).checked()?,
            allow: file.allow,
            listen: overrides.listen.or(file.listen),
            only_services: only_services.unwrap_or(!services.is_empty()),
            disarm_after: overrides.disarm_after.or(file.disarm_after),
            services,
            reveal: overrides.reveal.or(file.reveal).unwrap_or(false),
            key_file: overrides.key_file.clone().or(file.key_file),
            credentials: file.credentials,
        })
    }

    /// What is watched in a process, and the name that is configured for it.
    pub fn for_process(&self, subject: &Subject) -> (&Watch, Option<&str>) {
        match self.services.iter().find(|rule| rule.matches.matches(subject)) {
            Some(rule) => (&rule.watch, rule.name.as_deref()),
            None => (&self.watch, None),
        }
    }

    /// Whether the agent attaches to a process by itself.
    pub fn selects(&self, subject: &Subject) -> bool {
        !self.only_services || self.services.iter().any(|rule| rule.matches.matches(subject))
    }

    /// Whether rules ask for the environment of processes.
    pub fn reads_environment(&self) -> bool {
        self.services.iter().any(|rule| !rule.matches.env.is_empty())
    }

    /// Why a finding is accepted, if it is.
    pub fn allowed(&self, finding: &Finding) -> Option<&str> {
        let rule = self.allow.iter().find(|rule| rule.accepts(finding));
        rule.map(|rule| rule.reason.as_str())
    }
}

#[cfg(test)]
mod tests;
