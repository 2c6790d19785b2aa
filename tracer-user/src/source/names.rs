//! What is watched: names as the kernel side compares them, and functions as the engine knows them.

use std::sync::Arc;

use tracer_common::{
    MAX_NAME,
    config::{Name, NameKey},
    record::marker,
};
use wildmatch::WildMatch;

use crate::{
    config::{Watch, selector::VarSelector},
    correlate::{
        event::{Named, Role},
        settings::EmptyValue,
    },
};

/// Variables by which a program announces facts, and one that tells what anyio does.
pub const RESERVED: [(&str, u8); 2] = [
    ("bleedtrace.task_minted", marker::TASK_MINTED),
    ("current_async_library_cvar", marker::CONTEXT_HANDED),
];

/// One watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedName {
    /// The variable's name.
    pub name: Arc<str>,
    /// The module that must hold it; any of these, or whichever it is when there is none.
    pub modules: Vec<String>,
    /// What it is for.
    pub role: Role,
    /// What else than the usual counts as nothing in it.
    pub empty: Arc<[EmptyValue]>,
}

/// Everything that is watched in one kind of process.
#[derive(Debug)]
pub struct NameSet {
    /// Its number.
    pub number: u32,
    /// The names; a record refers to them by index.
    pub names: Vec<WatchedName>,
    /// Whether the operator chose none, and the well-known ones are watched.
    pub defaults: bool,
    mints: Vec<(WildMatch, WildMatch)>,
}

impl NameSet {
    /// The set of a configuration.
    pub fn new(number: u32, watch: &Watch) -> Self {
        let mut names: Vec<WatchedName> = Vec::new();
        for (role, selector) in watch.variables() {
            let VarSelector { module, name } = selector;
            let role = match role {
                "request" => Role::Request,
                "digest" => Role::Digest,
                _ => Role::Identity,
            };
            match names.iter_mut().find(|known| *known.name == **name) {
                // A name without a module means it in every module.
                Some(known) => match module {
                    Some(module) if !known.modules.is_empty() => known.modules.push(module.clone()),
                    Some(_) => {}
                    None => known.modules.clear(),
                },
                None => names.push(WatchedName {
                    name: Arc::from(name.as_str()),
                    modules: module.iter().cloned().collect(),
                    role,
                    empty: empty(watch, name),
                }),
            }
        }
        let mints = watch
            .mint
            .iter()
            .map(|p| (WildMatch::new(p), WildMatch::new(&format!("*.{p}"))))
            .collect();
        Self {
            number,
            names,
            defaults: watch.defaults,
            mints,
        }
    }

    /// What the kernel side compares a variable's name with.
    pub fn keys(&self) -> impl Iterator<Item = (NameKey, Name)> + '_ {
        let watched = self.names.iter().zip(0..).map(|(watched, number)| {
            (
                &*watched.name,
                Name {
                    number,
                    request: u32::from(watched.role == Role::Request),
                },
            )
        });
        let reserved = RESERVED.iter().map(|(name, marker)| {
            (
                *name,
                Name {
                    number: u32::from(*marker),
                    request: 0,
                },
            )
        });
        watched
            .chain(reserved)
            .map(|(name, value)| (key(self.number, name), value))
    }

    /// Whether ids that are drawn matter: only then `os.urandom` is probed.
    pub fn names_mints(&self) -> bool {
        !self.mints.is_empty()
    }

    /// What a function is configured to be. Patterns are globs over `module.qualname`; the module is known by its file.
    pub fn named(&self, file: &str, qualname: &str) -> Option<Named> {
        if self.mints.is_empty() {
            return None;
        }
        let name = format!("{}.{qualname}", dotted(file));
        let hit = self
            .mints
            .iter()
            .any(|(whole, tail)| whole.matches(&name) || tail.matches(&name));
        hit.then_some(Named::Mint)
    }
}

fn empty(watch: &Watch, name: &str) -> Arc<[EmptyValue]> {
    let meant = watch
        .empties
        .iter()
        .filter(|e| e.variable.as_ref().is_none_or(|v| v.name == name));
    meant.map(|e| EmptyValue(Arc::from(e.value.as_str()))).collect()
}

/// `/srv/app/policy/engine.py` as `srv.app.policy.engine`.
fn dotted(file: &str) -> String {
    let stem = file.strip_suffix(".py").unwrap_or(file);
    let stem = stem.strip_suffix("/__init__").unwrap_or(stem);
    stem.trim_matches('/').replace('/', ".")
}

fn key(set: u32, name: &str) -> NameKey {
    let mut bytes = [0; MAX_NAME];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    NameKey {
        set,
        len: name.len() as u32,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(mint: &[&str]) -> NameSet {
        let watch = Watch {
            mint: mint.iter().map(|m| (*m).to_owned()).collect(),
            ..Watch::default()
        };
        NameSet::new(0, &watch)
    }

    #[test]
    fn patterns_match_a_qualified_name_with_any_part_of_the_module_before_it() {
        let file = "/srv/app/tasks/store.py";
        for pattern in [
            "TaskStore.create*",
            "store.TaskStore.create_task",
            "*.create_task",
            "tasks.store.TaskStore.*",
        ] {
            assert_eq!(
                set(&[pattern]).named(file, "TaskStore.create_task"),
                Some(Named::Mint),
                "{pattern}"
            );
        }
        for pattern in [
            "Store.create*",
            "TaskStore.delete",
            "other.TaskStore.create_task",
            "create_task.x",
        ] {
            assert_eq!(
                set(&[pattern]).named(file, "TaskStore.create_task"),
                None,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_package_is_named_by_its_folder() {
        assert_eq!(dotted("/a/pkg/__init__.py"), "a.pkg");
        assert_eq!(dotted("<frozen importlib>"), "<frozen importlib>");
    }

    #[test]
    fn long_names_keep_their_length() {
        let long = "x".repeat(80);
        let key = key(3, &long);
        assert_eq!((key.set, key.len, key.bytes), (3, 80, [b'x'; MAX_NAME]));
    }
}
