//! The steps of paths into values: found out from outside, for the kernel side to take.

use std::sync::Arc;

use tracer_common::{
    config::{Recipe, RecipeKey, SlotVar, step},
    record::{RawValue, found as state, repr},
};

use super::{Frontend, MAX_RECIPES};
use crate::runtime::cpython::attributes::{self, End};

impl Frontend {
    /// What the kernel side would say of the object at `object` in this slot; read from outside.
    pub fn describe(&mut self, slot: &SlotVar, object: u64) -> RawValue {
        // All zero means unreadable.
        let unreadable: RawValue = bytemuck::Zeroable::zeroed();
        let (end, number) = if slot.steps == 0 {
            (End::Leaf(object), 0)
        } else {
            (self.learn(object, step(slot.name, 0)), step(slot.name, 0))
        };
        let Some(interpreter) = self.interpreter() else {
            return unreadable;
        };
        let raw = match end {
            End::Leaf(leaf) => interpreter.value(leaf).unwrap_or(unreadable),
            End::Missing => RawValue {
                object,
                state: state::OBJECT,
                repr: repr::NONE,
                ..unreadable
            },
            End::Unknown => RawValue {
                object,
                state: state::UNRESOLVED,
                len: u64::from(number),
                ..unreadable
            },
        };
        RawValue { root: object, ..raw }
    }

    /// Finds out how to take a step, and those after it, from this object.
    pub(super) fn learn(&mut self, object: u64, number: u32) -> End {
        let (name, at) = (number >> 8, number & 0xff);
        let names = Arc::clone(&self.names);
        let (Some(watched), Some(interpreter)) = (names.names.get(name as usize), self.interpreter()) else {
            return End::Unknown;
        };
        let walk = attributes::walk(interpreter, object, &watched.path, at as usize);
        if self.recipes.len() >= MAX_RECIPES {
            return walk.end;
        }
        if let Some(type_name) = walk.impossible {
            let step = walk
                .recipes
                .last()
                .and_then(|(_, at, _)| watched.path.get(*at as usize));
            self.say(format!(
                "{} cannot be followed: {} of a {type_name} is computed by its code",
                watched.name,
                step.map_or("?", |step| step)
            ));
        }
        for (type_object, at, recipe) in walk.recipes {
            let key = (type_object, step(name, at));
            if self.recipes.insert(key, recipe) != Some(recipe) {
                self.fresh.push(key);
            }
        }
        walk.end
    }

    /// How to take steps, as far as the kernel side has not been told yet.
    pub fn fresh_recipes(&mut self) -> Vec<(RecipeKey, Recipe)> {
        let fresh = std::mem::take(&mut self.fresh);
        let known = |key: &(u64, u32)| {
            self.recipes
                .get(key)
                .map(|recipe| (self.recipe_key(*key), *recipe))
        };
        fresh.iter().filter_map(known).collect()
    }

    /// All steps that the kernel side was told of.
    pub fn recipe_keys(&self) -> impl Iterator<Item = RecipeKey> + '_ {
        self.recipes.keys().map(|key| self.recipe_key(*key))
    }

    const fn recipe_key(&self, (type_object, step): (u64, u32)) -> RecipeKey {
        RecipeKey {
            type_object,
            tgid: self.tgid,
            step,
        }
    }
}
