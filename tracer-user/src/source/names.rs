//! What is watched: names as the kernel side compares them, and functions as the engine knows them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tracer_common::{
    MAX_NAME, MAX_STEPS,
    config::{Name, NameKey, name_flag},
    record::marker,
};
use wildmatch::WildMatch;

use crate::{
    config::{Tier, Watch, selector::VarSelector},
    correlate::{
        event::{Named, Names, Role, Site},
        settings::EmptyValue,
    },
};

/// Variables by which a program announces facts, and those that tell what anyio and asgiref do.
pub const RESERVED: [(&str, u8); 9] = [
    ("bleedtrace.task_minted", marker::TASK_MINTED),
    ("bleedtrace.task_served", marker::TASK_SERVED),
    ("bleedtrace.policy_check", marker::POLICY_CHECK),
    ("bleedtrace.digest_pinned", marker::DIGEST_PINNED),
    ("bleedtrace.digest_verified", marker::DIGEST_VERIFIED),
    ("current_async_library_cvar", marker::CONTEXT_HANDED),
    ("thread_sensitive_context", marker::CONTEXT_CARRIED),
    ("deadlock_context", marker::CONTEXT_CARRIED),
    ("async_single_thread_context", marker::CONTEXT_CARRIED),
];

/// One watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedName {
    /// What is watched, as it was written: the name of a variable, or a path that begins with one.
    pub name: Arc<str>,
    /// The variable's name.
    pub variable: Arc<str>,
    /// The attributes and keys that lead from its value to what says who a request is for.
    pub path: Vec<Arc<str>>,
    /// Other paths of the same variable, which cannot be followed as well.
    pub others: Vec<Arc<str>>,
    /// The module that must hold it; any of these, or whichever it is when there is none.
    pub modules: Vec<String>,
    /// What it is for.
    pub role: Role,
    /// What else than the usual counts as nothing in it.
    pub empty: Arc<[EmptyValue]>,
}

impl WatchedName {
    /// What the kernel side needs to know of it: bits of [`name_flag`].
    pub fn flags(&self) -> u32 {
        let role = match self.role {
            Role::Request => name_flag::REQUEST,
            Role::Identity => name_flag::IDENTITY,
            Role::Digest => 0,
        };
        if self.path.is_empty() && self.empty.is_empty() {
            role | name_flag::PLAIN
        } else {
            role
        }
    }
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
    /// Whether what these processes receive and send is read.
    pub wire: bool,
    /// Their asyncio tasks are followed.
    pub tasks: bool,
    /// How much of them is watched.
    pub tier: Tier,
    functions: Vec<Functions>,
    /// Whether some process is watched by it.
    used: AtomicBool,
}

/// Functions that are configured by a pattern.
#[derive(Debug)]
struct Functions {
    named: Named,
    pattern: String,
    whole: WildMatch,
    tail: WildMatch,
    /// Whether something was seen to happen under one of them.
    seen: AtomicBool,
}

impl Functions {
    fn new(named: Named, pattern: &str) -> Self {
        Self {
            named,
            pattern: pattern.to_owned(),
            whole: WildMatch::new(pattern),
            tail: WildMatch::new(&format!("*.{pattern}")),
            seen: AtomicBool::new(false),
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.whole.matches(name) || self.tail.matches(name)
    }
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
                    variable: Arc::from(name.as_str()),
                    path: Vec::new(),
                    others: Vec::new(),
                    modules: module.iter().cloned().collect(),
                    role,
                    empty: empty(watch, name),
                }),
            }
        }
        // The names of variables may have dots in them: which part of a path is the name is known when such a variable is seen.
        for whole in names.clone() {
            for (variable, path) in paths(&whole.name) {
                match names.iter_mut().find(|known| *known.variable == *variable) {
                    Some(known) => known.others.push(Arc::clone(&whole.name)),
                    None => names.push(WatchedName {
                        variable,
                        path,
                        ..whole.clone()
                    }),
                }
            }
        }
        let mints = watch.mint.iter().map(|pattern| (Named::Mint, pattern));
        let policies = watch.policy.iter().map(|pattern| (Named::Policy, pattern));
        let functions = mints
            .chain(policies)
            .map(|(named, pattern)| Functions::new(named, pattern))
            .collect();
        Self {
            number,
            names,
            defaults: watch.defaults,
            wire: watch.wire.unwrap_or(false),
            tasks: watch.tasks.or(watch.wire).unwrap_or(false),
            tier: watch.tier.unwrap_or_default(),
            functions,
            used: AtomicBool::new(false),
        }
    }

    /// What the kernel side compares a variable's name with.
    pub fn keys(&self) -> impl Iterator<Item = (NameKey, Name)> + '_ {
        let watched = self.names.iter().zip(0..).map(|(watched, number)| {
            (
                &*watched.variable,
                Name {
                    number,
                    flags: watched.flags(),
                    steps: watched.path.len() as u32,
                    marker: 0,
                },
            )
        });
        let reserved = RESERVED.iter().map(|(name, marker)| {
            (
                *name,
                Name {
                    number: 0,
                    flags: 0,
                    steps: 0,
                    marker: u32::from(*marker),
                },
            )
        });
        watched
            .chain(reserved)
            .map(|(name, value)| (key(self.number, name), value))
    }

    /// Whether paths lead on from the values of some variables.
    pub fn has_paths(&self) -> bool {
        self.names.iter().any(|name| !name.path.is_empty())
    }

    /// Whether some functions are configured to be special.
    pub const fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Whether ids that are drawn matter, and coroutines that are made: only then these are probed.
    pub fn names_mints(&self) -> bool {
        self.functions
            .iter()
            .any(|functions| functions.named == Named::Mint)
    }

    /// What a function is configured to be. Patterns are globs over `module.qualname`; the module is known by its file.
    pub fn named(&self, file: &str, qualname: &str) -> Names {
        if self.functions.is_empty() {
            return Names::default();
        }
        let name = format!("{}.{qualname}", dotted(file));
        let hits = self.functions.iter().filter(|functions| functions.matches(&name));
        hits.fold(Names::default(), |names, functions| names.and(functions.named))
    }

    /// A process is watched by it.
    pub fn is_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Something was seen to happen under a function that is configured so.
    pub fn saw(&self, named: Named, function: &Site) {
        let unseen =
            |functions: &&Functions| functions.named == named && !functions.seen.load(Ordering::Relaxed);
        let mut unseen = self.functions.iter().filter(unseen).peekable();
        if unseen.peek().is_none() {
            return;
        }
        let name = format!("{}.{}", dotted(&function.file), function.function);
        for functions in unseen.filter(|functions| functions.matches(&name)) {
            functions.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Patterns of functions under which nothing was seen to happen, though there was a process to see it in.
    pub fn out_of_sight(&self) -> impl Iterator<Item = &str> {
        let used = self.used.load(Ordering::Relaxed);
        let unseen = self
            .functions
            .iter()
            .filter(|functions| !functions.seen.load(Ordering::Relaxed));
        unseen
            .filter(move |_| used)
            .map(|functions| functions.pattern.as_str())
    }
}

/// The ways to read `name` as the name of a variable and a path of attributes or keys, the longest name first.
fn paths(name: &str) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.iter().any(|part| part.is_empty() || !part.is_ascii()) {
        return Vec::new();
    }
    (parts.len().saturating_sub(MAX_STEPS).max(1)..parts.len())
        .rev()
        .map(|at| {
            (
                Arc::from(parts[..at].join(".")),
                parts[at..].iter().copied().map(Arc::from).collect(),
            )
        })
        .collect()
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
                Names::default().and(Named::Mint),
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
                Names::default(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_function_can_mint_and_check() {
        let watch = Watch {
            mint: vec!["*.create*".to_owned()],
            policy: vec!["*.create_task".to_owned(), "*Engine.check".to_owned()],
            ..Watch::default()
        };
        let set = NameSet::new(0, &watch);
        let named = |qualname| set.named("/srv/app.py", qualname);
        let both = Names::default().and(Named::Mint).and(Named::Policy);
        assert_eq!(named("Store.create_task"), both);
        assert_eq!(named("PolicyEngine.check"), Names::default().and(Named::Policy));
        assert_eq!(named("Store.delete"), Names::default());
        assert!(
            set.names_mints()
                && !NameSet::new(
                    0,
                    &Watch {
                        mint: Vec::new(),
                        ..watch
                    }
                )
                .names_mints()
        );
    }

    #[test]
    fn patterns_under_which_nothing_happens_are_out_of_sight() {
        let set = set(&["*.create*", "*.open"]);
        assert_eq!(set.out_of_sight().count(), 0, "there is no process");
        set.is_used();
        assert_eq!(set.out_of_sight().collect::<Vec<_>>(), ["*.create*", "*.open"]);
        let site = Site {
            function: Arc::from("Store.create_task"),
            file: Arc::from("/srv/app.py"),
            line: 1,
        };
        set.saw(Named::Policy, &site);
        assert_eq!(set.out_of_sight().count(), 2, "it is no policy");
        set.saw(Named::Mint, &site);
        assert_eq!(set.out_of_sight().collect::<Vec<_>>(), ["*.open"]);
    }

    #[test]
    fn a_package_is_named_by_its_folder() {
        assert_eq!(dotted("/a/pkg/__init__.py"), "a.pkg");
        assert_eq!(dotted("<frozen importlib>"), "<frozen importlib>");
    }

    fn watching(identity: &[&str]) -> NameSet {
        let watch = Watch {
            identity: identity.iter().map(|name| VarSelector::named(name)).collect(),
            ..Watch::default()
        };
        NameSet::new(0, &watch)
    }

    #[test]
    fn a_path_begins_with_any_name_that_leaves_at_most_four_steps() {
        let set = watching(&["a.b.c.d.e.f"]);
        let found: Vec<_> = set
            .names
            .iter()
            .map(|n| (&*n.variable, n.path.join("/")))
            .collect();
        assert_eq!(
            found,
            [
                ("a.b.c.d.e.f", String::new()),
                ("a.b.c.d.e", "f".to_owned()),
                ("a.b.c.d", "e/f".to_owned()),
                ("a.b.c", "d/e/f".to_owned()),
                ("a.b", "c/d/e/f".to_owned()),
            ]
        );
        assert!(set.names.iter().all(|n| &*n.name == "a.b.c.d.e.f"));
        assert_eq!(watching(&["tenant", "a..b", ".a", "ü.b"]).names.len(), 4);
    }

    #[test]
    fn a_name_that_is_given_itself_is_no_beginning_of_a_path() {
        let set = watching(&["app", "app.tenant"]);
        let app = set.names.iter().find(|n| &*n.variable == "app").unwrap();
        assert_eq!((&*app.name, app.path.len()), ("app", 0));
        assert_eq!(
            &*app.others,
            &[Arc::from("app.tenant")][..],
            "which cannot be a path, then"
        );
    }

    #[test]
    fn a_second_path_of_one_variable_is_remembered() {
        let set = watching(&["ctx.tenant", "ctx.user"]);
        let ctx = set.names.iter().find(|n| &*n.variable == "ctx").unwrap();
        assert_eq!(
            (&*ctx.name, &*ctx.others),
            ("ctx.tenant", &[Arc::from("ctx.user")][..])
        );
    }

    #[test]
    fn long_names_keep_their_length() {
        let long = "x".repeat(80);
        let key = key(3, &long);
        assert_eq!((key.set, key.len, key.bytes), (3, 80, [b'x'; MAX_NAME]));
    }
}
