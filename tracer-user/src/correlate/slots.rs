//! The watched variables of a target, and when one of them holds nothing.

use std::sync::Arc;

use super::{
    event::{Role, Slot},
    settings::EmptyValue,
    value::{Found, Value},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Vec<Variable>);

#[derive(Clone, Debug)]
struct Variable {
    name: Arc<str>,
    role: Role,
    default: Option<Value>,
    empty: Arc<[EmptyValue]>,
}

impl Variable {
    fn unnamed() -> Self {
        Self {
            name: Arc::from("?"),
            role: Role::Identity,
            default: None,
            empty: Arc::default(),
        }
    }
}

impl Slots {
    pub(super) fn add(
        &mut self,
        slot: Slot,
        name: &Arc<str>,
        role: Role,
        default: Option<&Value>,
        empty: &Arc<[EmptyValue]>,
    ) {
        let at = usize::from(slot.0);
        while self.0.len() <= at {
            self.0.push(Variable::unnamed());
        }
        self.0[at] = Variable {
            name: Arc::clone(name),
            role,
            default: default.cloned(),
            empty: Arc::clone(empty),
        };
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.0.len()).map(|n| Slot(n as u8))
    }

    pub(super) fn name(&self, slot: Slot) -> Arc<str> {
        self.0
            .get(usize::from(slot.0))
            .map_or_else(|| Arc::from("?"), |v| Arc::clone(&v.name))
    }

    pub(super) fn role(&self, slot: Slot) -> Option<Role> {
        self.0.get(usize::from(slot.0)).map(|v| v.role)
    }

    /// Whether a value counts as nothing (rule 8).
    pub(super) fn is_nothing(&self, slot: Slot, value: &Value, call_default: Option<&Value>) -> bool {
        if value.is_none() || call_default.is_some_and(|d| d.same(value)) {
            return true;
        }
        self.0.get(usize::from(slot.0)).is_some_and(|v| {
            v.default.as_ref().is_some_and(|d| d.same(value)) || v.empty.iter().any(|e| e.matches(value))
        })
    }

    /// The value that is bound in the sense of rule 8.
    pub(super) fn bound<'a>(&self, slot: Slot, found: &'a Found) -> Option<&'a Value> {
        match found {
            Found::Value(value) if !self.is_nothing(slot, value, None) => Some(value),
            _ => None,
        }
    }

    /// Whether any slot is bound.
    pub(super) fn any_bound(&self, holds: &[Found]) -> bool {
        self.all()
            .any(|slot| self.bound(slot, held(holds, slot)).is_some())
    }
}

/// What `held` says about a slot; missing means unset.
pub(super) fn held(held: &[Found], slot: Slot) -> &Found {
    held.get(usize::from(slot.0)).unwrap_or(&Found::Unset)
}
