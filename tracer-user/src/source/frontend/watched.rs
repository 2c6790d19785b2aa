//! Which variables of a process are watched, and what is to be said of those that are not.

use std::sync::Arc;

use tracer_common::MAX_PATHS;

use super::{Frontend, MAX_TYPES};
use crate::{
    correlate::{
        event::{Slot, What},
        value::Value,
    },
    runtime::cpython::modules,
};

impl Frontend {
    /// Gives a variable its number, unless it belongs to a module that is not meant. `slot` is the kernel side's number.
    pub fn variable(&mut self, slot: u8, name: u32, address: u64, default: Option<Value>) -> Option<What> {
        let index = usize::from(slot);
        if index >= tracer_common::MAX_SLOTS || self.slots.get(index).is_some_and(Option::is_some) {
            return None;
        }
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        let watched = self.names.names.get(name as usize)?.clone();
        match self.is_of(address, &watched.modules) {
            Some(true) => {}
            Some(false) => return None,
            // Whether it is watched cannot be told: what follows is not the whole truth.
            None => {
                self.doubt = true;
                return Some(What::Gap { lost: 1 });
            }
        }
        self.slot_names
            .resize(self.slot_names.len().max(index + 1), u32::MAX);
        self.slot_names[index] = name;
        // Of the variables that a path may begin with, the one with the longest name is meant.
        for other in 0..self.slots.len() {
            let Some(rival) = self.slots[other].and(self.slot_names.get(other)) else {
                continue;
            };
            let Some(rival) = self
                .names
                .names
                .get(*rival as usize)
                .filter(|r| r.name == watched.name)
            else {
                continue;
            };
            if rival.path.len() < watched.path.len() {
                return None;
            }
            if rival.path.len() > watched.path.len() {
                self.slots[other] = None;
            }
        }
        for other in &watched.others {
            if !self.named.contains_key(other) {
                let why = format!("{} is, and one path of a variable can be followed", watched.name);
                self.leave_out(other, &why);
            }
        }
        let has_path = |name: &u32| {
            self.names
                .names
                .get(*name as usize)
                .is_some_and(|n| !n.path.is_empty())
        };
        let others = (0..self.slots.len()).filter(|at| self.slots[*at].is_some());
        let paths = others
            .filter_map(|at| self.slot_names.get(at))
            .filter(|name| has_path(name));
        if !watched.path.is_empty() && paths.count() >= MAX_PATHS {
            let why = format!("{MAX_PATHS} other paths are, and no more can be followed in one process");
            self.leave_out(&watched.name, &why);
            return None;
        }
        let number = Slot(self.seen);
        self.seen += 1;
        self.slots[index] = Some(number);
        let count = self.named.entry(Arc::clone(&watched.name)).or_default();
        *count += 1;
        let name = if *count == 1 {
            watched.name
        } else {
            Arc::from(format!("{}#{count}", watched.name))
        };
        let variable = What::Variable {
            slot: number,
            name,
            role: watched.role,
            default,
            empty: watched.empty,
        };
        self.variables.push(variable.clone());
        Some(variable)
    }

    /// Whether one of these modules, if there are any, holds the variable; none if that cannot be told.
    fn is_of(&self, address: u64, modules: &[String]) -> Option<bool> {
        if modules.is_empty() {
            return Some(true);
        }
        let holders = modules::holders(self.interpreter()?, &[address]).ok()?;
        let found = holders
            .found
            .iter()
            .any(|holder| modules.contains(&holder.module));
        (found || holders.unread == 0).then_some(found)
    }

    /// What a person has to know, each thing once.
    pub fn to_say(&mut self) -> Vec<String> {
        std::mem::take(&mut self.to_say)
    }

    /// Configured paths that turned out not to be followed, each with the reason.
    pub fn not_followed(&mut self) -> Vec<(Arc<str>, String)> {
        std::mem::take(&mut self.not_followed)
    }

    fn leave_out(&mut self, path: &Arc<str>, why: &str) {
        let text = format!("{path} is not watched: {why}");
        if self.said.len() < MAX_TYPES && self.said.insert(text.clone()) {
            self.not_followed.push((Arc::clone(path), text));
        }
    }

    pub(super) fn say(&mut self, text: String) {
        if self.said.len() < MAX_TYPES && self.said.insert(text.clone()) {
            self.to_say.push(text);
        }
    }
}
