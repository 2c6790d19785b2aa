//! The variables that are in use: what is known of each, and how often it was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use tracer_common::config::{UseKey, Uses};

use super::{
    privacy::clean,
    role::{self, Suggestion},
};
use crate::source::used::Used;

/// How often it is looked for which module holds a variable.
const TRIES: u8 = 4;

/// What is known of the variables of all processes.
#[derive(Debug, Default)]
pub struct Vars {
    known: BTreeMap<UseKey, Known>,
}

#[derive(Debug)]
struct Known {
    service: Arc<str>,
    name: String,
    modules: BTreeSet<String>,
    types: BTreeSet<String>,
    tries: u8,
}

/// One variable of one service, as it leaves the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VarLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The service.
    pub service: String,
    /// The variable's name.
    pub name: String,
    /// The modules that hold it; none when it is in no module, or was not found before its process ended.
    pub modules: Vec<String>,
    /// Processes that used it.
    pub processes: u64,
    /// Calls of `get`.
    pub reads: u64,
    /// Calls of `set`.
    pub binds: u64,
    /// Types of the values that were bound, `None` aside.
    pub value_types: Vec<String>,
    /// What it may be watched as.
    pub suggested_role: Option<&'static str>,
    /// Why.
    pub why: Option<String>,
}

impl Vars {
    /// A variable was used, or holds a value of another type than before.
    pub fn used(&mut self, service: &Arc<str>, used: &Used) {
        let known = self.known.entry(used.key).or_insert_with(|| Known {
            service: Arc::clone(service),
            name: clean(used.name.as_deref().unwrap_or("?")),
            modules: BTreeSet::new(),
            types: BTreeSet::new(),
            tries: 0,
        });
        known.types.extend(used.type_name.as_deref().map(clean));
    }

    /// Variables whose module is not known yet, by process. `again` asks once more for those that were looked for in vain.
    pub fn homeless(&mut self, again: bool) -> BTreeMap<u32, Vec<UseKey>> {
        let mut asked: BTreeMap<u32, Vec<UseKey>> = BTreeMap::new();
        for (key, known) in &mut self.known {
            let due = known.tries == 0 || (again && known.tries < TRIES);
            if known.modules.is_empty() && due {
                known.tries += 1;
                asked.entry(key.tgid).or_default().push(*key);
            }
        }
        asked
    }

    /// A module holds a variable: the one that defines it, or one that imported it.
    pub fn held_by(&mut self, variable: &UseKey, module: &str) {
        if let Some(known) = self.known.get_mut(variable) {
            known.modules.insert(clean(module));
        }
    }

    /// How many variables were used of which nothing else was told.
    pub fn nameless(&self, uses: &BTreeMap<UseKey, Uses>) -> u64 {
        uses.keys().filter(|key| !self.known.contains_key(*key)).count() as u64
    }

    /// One line for each variable of each service: what may be an identity first, then by use.
    pub fn lines(&self, uses: &BTreeMap<UseKey, Uses>) -> Vec<VarLine> {
        let mut sums: BTreeMap<Name<'_>, Sum<'_>> = BTreeMap::new();
        for (key, known) in &self.known {
            let name = Name {
                service: &known.service,
                variable: &known.name,
                modules: self.modules_of(known),
            };
            let sum = sums.entry(name).or_default();
            let counted = uses.get(key).copied().unwrap_or_default();
            sum.processes.insert(key.tgid);
            sum.reads += counted.reads;
            sum.binds += counted.binds;
            sum.types.extend(known.types.iter().map(String::as_str));
        }
        let mut lines: Vec<VarLine> = sums.iter().map(|(name, sum)| line(name, sum)).collect();
        let order = ["identity", "request", "digest"];
        let rank = |line: &VarLine| {
            let role = line.suggested_role;
            order
                .iter()
                .position(|name| Some(*name) == role)
                .unwrap_or(order.len())
        };
        lines.sort_by(|a, b| {
            let used = |line: &VarLine| line.reads + line.binds;
            (rank(a), used(b), &a.name).cmp(&(rank(b), used(a), &b.name))
        });
        lines
    }

    /// The modules of a variable that was not found before its process ended are those of its namesake in the same service, if
    /// there is just one.
    fn modules_of<'a>(&'a self, known: &'a Known) -> &'a BTreeSet<String> {
        if !known.modules.is_empty() {
            return &known.modules;
        }
        let namesakes: BTreeSet<_> = self
            .known
            .values()
            .filter(|other| other.service == known.service && other.name == known.name)
            .map(|other| &other.modules)
            .filter(|modules| !modules.is_empty())
            .collect();
        match namesakes.into_iter().collect::<Vec<_>>().as_slice() {
            [only] => only,
            _ => &known.modules,
        }
    }
}

/// What is one variable to whoever reads the list, in whatever processes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    service: &'a str,
    variable: &'a str,
    modules: &'a BTreeSet<String>,
}

#[derive(Default)]
struct Sum<'a> {
    processes: BTreeSet<u32>,
    reads: u64,
    binds: u64,
    types: BTreeSet<&'a str>,
}

fn line(name: &Name<'_>, sum: &Sum<'_>) -> VarLine {
    let types: Vec<&str> = sum.types.iter().copied().collect();
    let suggestion = role::suggest(name.variable, &types, sum.binds);
    VarLine {
        kind: "variable",
        service: clean(name.service),
        name: name.variable.to_owned(),
        modules: name.modules.iter().cloned().collect(),
        processes: sum.processes.len() as u64,
        reads: sum.reads,
        binds: sum.binds,
        value_types: types.into_iter().map(str::to_owned).collect(),
        suggested_role: suggestion.as_ref().map(|s| s.role.name()),
        why: suggestion.map(|Suggestion { why, .. }| why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32, var: u64) -> UseKey {
        UseKey {
            var,
            hash: var * 3,
            tgid,
            pad: 0,
        }
    }

    fn used(key: UseKey, name: &str, type_name: Option<&str>) -> Used {
        Used {
            key,
            name: Some(name.to_owned()),
            type_name: type_name.map(Arc::from),
        }
    }

    fn uses(reads: u64, binds: u64) -> Uses {
        Uses {
            reads,
            binds,
            ..Uses::default()
        }
    }

    #[test]
    fn processes_of_a_service_are_summed_and_namesakes_of_two_modules_are_not() {
        let mut vars = Vars::default();
        let service = Arc::from("shop");
        let (first, forked, other, ended) = (key(1, 16), key(2, 16), key(1, 32), key(3, 64));
        vars.used(&service, &used(first, "tenant", Some("str")));
        vars.used(&service, &used(first, "tenant", Some("Tenant")));
        vars.used(&service, &used(forked, "tenant", None));
        vars.used(&service, &used(other, "depth", Some("int")));
        assert_eq!(
            vars.homeless(false),
            BTreeMap::from([(1, vec![first, other]), (2, vec![forked])])
        );
        assert!(vars.homeless(false).is_empty());
        vars.held_by(&first, "app.auth");
        vars.used(&service, &used(ended, "tenant", None));
        let counted = BTreeMap::from([
            (first, uses(5, 2)),
            (forked, uses(1, 1)),
            (other, uses(100, 7)),
            (ended, uses(1, 0)),
        ]);
        let lines = vars.lines(&counted);
        assert_eq!(lines.len(), 2);
        let tenant = &lines[0];
        assert_eq!((&*tenant.name, tenant.reads, tenant.binds), ("tenant", 7, 3));
        assert_eq!(
            (tenant.processes, &tenant.modules[..]),
            (3, &["app.auth".to_owned()][..])
        );
        assert_eq!(tenant.value_types, ["Tenant", "str"]);
        assert_eq!(tenant.suggested_role, Some("identity"));
        assert_eq!((&*lines[1].name, lines[1].suggested_role), ("depth", None));
        // With a second module of that name, nobody knows whose the lost one was.
        vars.used(&service, &used(key(4, 8), "tenant", None));
        vars.held_by(&key(4, 8), "app.other");
        let names: Vec<_> = vars
            .lines(&counted)
            .into_iter()
            .filter(|line| line.name == "tenant")
            .map(|line| line.modules)
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn what_is_not_found_is_looked_for_again_a_few_times() {
        let mut vars = Vars::default();
        vars.used(&Arc::from("shop"), &used(key(1, 16), "tenant", None));
        let asked = (0..10).filter(|_| !vars.homeless(true).is_empty()).count();
        assert_eq!(asked, usize::from(TRIES));
    }
}
