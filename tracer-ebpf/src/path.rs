//! Paths into a variable's value: from the object that it holds, by attributes and keys, to what says who a request is for.
//!
//! How to take a step depends on the object's type. The agent finds out and says so in a [`Recipe`]; until it did, a value is
//! marked as not resolved. Objects come and go too fast for reading them from outside: the steps are taken here, at the event.

use tracer_common::{
    MAX_SLOTS, MAX_STEPS,
    config::{NO_INDEX, Recipe, RecipeKey, SlotVar, recipe, recipe_flag, step},
    record::{FullRecord, RawValue, found, repr},
};

use crate::{
    maps::{RECIPES, paths},
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
    value,
};

/// Places of a dictionary's index that are looked at; a longer chain of collisions is not followed to its end.
const MAX_PROBES: u32 = 12;
/// `DKIX_EMPTY` (Objects/dictobject.c). Any other negative index is a deleted entry.
const EMPTY: i64 = -1;

/// Where a walk ended.
const LEAF: u32 = 0;
const MISSING: u32 = 1;
const UNRESOLVED: u32 = 2;
const UNREADABLE: u32 = 3;

/// Describes `object`, which `slot` holds; if a path leads on from it, [`resolve`] does so.
#[inline(always)]
pub fn describe(hit: &Hit, slot: u32, object: u64, into: &mut RawValue) {
    let steps = hit.target().slots.get(slot as usize).map_or(0, |var| var.steps);
    if steps == 0 {
        value::describe(hit, object, into);
        return;
    }
    value::blank(into, found::OBJECT);
    into.object = object;
    into.root = object;
    into.pad[PENDING] = slot as u8 + 1;
}

/// Byte of `pad` that says, until the path was followed, whose it is: the slot's number and 1.
const PENDING: usize = 0;

/// Follows the paths that lead on from the values of a record.
#[inline(always)]
pub fn resolve(hit: &Hit, record: &mut FullRecord) {
    if paths() {
        let mut resolving = Resolving {
            hit,
            values: &mut record.values,
        };
        repeat(MAX_SLOTS as u32, &mut resolving, resolve_next);
    }
}

struct Resolving<'a> {
    hit: &'a Hit,
    values: &'a mut [RawValue; MAX_SLOTS],
}

extern "C" fn resolve_next(number: u32, resolving: &mut Resolving<'_>) -> Next {
    let value = &mut resolving.values[number as usize & (MAX_SLOTS - 1)];
    if value.pad[PENDING] != 0 {
        finish(resolving.hit, value);
    }
    Next::More
}

#[inline(always)]
fn finish(hit: &Hit, into: &mut RawValue) {
    let object = into.root;
    let slot = (into.pad[PENDING] as usize).wrapping_sub(1);
    match follow(hit, slot & (MAX_SLOTS - 1), into) {
        LEAF => {
            let leaf = current(into);
            value::describe(hit, leaf, into);
        }
        // The object is there, but says nothing about who it is for.
        MISSING => {
            value::blank(into, found::OBJECT);
            into.object = object;
            into.repr = repr::NONE;
        }
        UNRESOLVED => {
            let (at, type_object, step) = (into.object, into.type_object, into.len);
            value::blank(into, found::UNRESOLVED);
            (into.object, into.type_object, into.len) = (at, type_object, step);
        }
        _ => value::unreadable(into),
    }
    into.root = object;
}

/// Walks from `at.object` to the leaf, which it leaves there.
#[inline(always)]
fn follow(hit: &Hit, slot: usize, at: &mut RawValue) -> u32 {
    let Some(SlotVar { name, steps, .. }) = hit.target().slots.get(slot).copied() else {
        return UNREADABLE;
    };
    let mut walk = Walk {
        hit,
        name,
        at,
        end: LEAF,
    };
    repeat(steps.min(MAX_STEPS as u32), &mut walk, walk_on);
    walk.end
}

struct Walk<'a> {
    hit: &'a Hit,
    name: u32,
    at: &'a mut RawValue,
    end: u32,
}

extern "C" fn walk_on(number: u32, walk: &mut Walk<'_>) -> Next {
    match one_step(walk, number) {
        Ok(next) => {
            walk.at.object = next;
            Next::More
        }
        Err(end) => {
            walk.end = end;
            Next::Done
        }
    }
}

/// The object that a step leads to, or where the walk ends.
#[inline(always)]
fn one_step(walk: &mut Walk<'_>, number: u32) -> Result<u64, u32> {
    let hit = walk.hit;
    let object = walk.at.object;
    if object == hit.address(hit.image.none) {
        return Err(MISSING);
    }
    let type_object = read::pointer(hit.member(object, 8)).map_err(|Unreadable| UNREADABLE)?;
    let step = step(walk.name, number);
    walk.at.type_object = type_object;
    walk.at.len = u64::from(step);
    let key = RecipeKey {
        type_object,
        tgid: hit.tgid,
        step,
    };
    // SAFETY: a recipe that is replaced meanwhile is either the old or the new one, or fails the comparison below.
    let recipe = unsafe { RECIPES.get(key) }.ok_or(UNRESOLVED)?;
    // PyTypeObject: tp_name 24, tp_basicsize 32.
    let [tp_name, size] =
        read::user::<[u64; 2]>(hit.member(type_object, 24)).map_err(|Unreadable| UNREADABLE)?;
    if tp_name != recipe.tp_name || size != recipe.basic_size {
        return Err(UNRESOLVED);
    }
    match take(hit, recipe, object, walk.at) {
        Ok(Step::To(next)) => Ok(next),
        Ok(Step::Missing) if recipe.flags & recipe_flag::COMPUTED != 0 => Err(UNREADABLE),
        Ok(Step::Missing) if recipe.fallback == 0 => Err(MISSING),
        Ok(Step::Missing) => match read::user::<u32>(hit.member(type_object, VERSION_TAG)) {
            // tp_version_tag: another one means that the class has changed.
            Ok(tag) if u64::from(tag) == recipe.version => Ok(recipe.fallback),
            Ok(_) => Err(UNRESOLVED),
            Err(Unreadable) => Err(UNREADABLE),
        },
        Ok(Step::Unknown) => Err(UNRESOLVED),
        Err(Unreadable) => Err(UNREADABLE),
    }
}

/// `PyTypeObject.tp_version_tag` with a GIL (Include/cpython/object.h, 3.8 to 3.15).
const VERSION_TAG: u64 = 384;

enum Step {
    To(u64),
    Missing,
    /// The recipe does not say: it has to be made anew.
    Unknown,
}

/// The object where the walk is. Read back from memory, so that the verifier knows nothing about it.
#[inline(always)]
fn current(at: &RawValue) -> u64 {
    // SAFETY: it is valid for reading.
    unsafe { (&raw const at.object).read_volatile() }
}

#[inline(always)]
fn step_to(object: u64) -> Step {
    if object == 0 {
        Step::Missing
    } else {
        Step::To(object)
    }
}

#[inline(always)]
fn take(hit: &Hit, recipe: &Recipe, object: u64, at: &mut RawValue) -> Result<Step, Unreadable> {
    let place = object.wrapping_add(recipe.offset as u64);
    // Either an array of values or a dictionary.
    note(at, DICT, 0);
    note(at, VALUES, 0);
    match recipe.kind {
        recipe::FIELD => return Ok(step_to(read::pointer(place)?)),
        recipe::ITEM => {
            // PyTupleObject.ob_size is at 16.
            if u64::from(recipe.index) >= read::pointer(hit.member(object, 16))? {
                return Ok(Step::Missing);
            }
            return Ok(step_to(read::pointer(
                object + u64::from(hit.image.tuple_items) + 8 * u64::from(recipe.index),
            )?));
        }
        recipe::CLASS => return Ok(Step::Missing),
        recipe::MAPPING => note(at, DICT, object),
        recipe::DICT => note(at, DICT, read::pointer(place)?),
        recipe::VALUES => {
            let [values, dict] = read::user::<[u64; 2]>(place)?;
            note(at, VALUES, values);
            note(at, DICT, dict);
        }
        recipe::TAGGED => {
            let tagged = read::pointer(place)?;
            if tagged & 1 == 1 {
                note(at, VALUES, tagged + 1);
            } else {
                note(at, DICT, tagged);
            }
        }
        recipe::INLINE => {
            // PyDictValues: capacity 0, size 1, embedded 2, valid 3, values 8 (Include/internal/pycore_dict.h, from 3.13 on).
            let head = read::user::<[u8; 4]>(place)?;
            if head[3] != 0 {
                note(at, VALUES, place + 8);
            } else {
                note(
                    at,
                    DICT,
                    read::pointer(object - u64::from(hit.image.managed_dict))?,
                );
            }
        }
        _ => return Err(Unreadable),
    }
    let values = noted(at, VALUES);
    if values != 0 {
        if recipe.index != NO_INDEX {
            return Ok(step_to(read::pointer(values + 8 * u64::from(recipe.index))?));
        }
        // PyDictKeysObject.dk_nentries is at 24: a new key may be the one.
        return Ok(if read::pointer(recipe.keys + 24)? == recipe.entries {
            Step::Missing
        } else {
            Step::Unknown
        });
    }
    let dict = noted(at, DICT);
    if dict == 0 {
        return Ok(Step::Missing);
    }
    look_up(hit, recipe, dict, at)
}

// Numbers that a step needs, as words of the value's text, which is empty until the leaf is described. The verifier forgets what it
// knows of a number that was in memory, and so walks what follows once and not for every way there.
const DICT: usize = 0;
const VALUES: usize = 1;
const INDICES: usize = 2;
const LOG2_WIDTH: usize = 3;
const ENTRIES: usize = 4;
const STRIDE: usize = 5;
const MASK: usize = 6;

#[inline(always)]
fn note(at: &mut RawValue, word: usize, number: u64) {
    // SAFETY: `text` has room for 8 words; RawValue keeps it aligned to 8.
    unsafe {
        at.text
            .as_mut_ptr()
            .cast::<u64>()
            .add(word & 7)
            .write_volatile(number)
    };
}

#[inline(always)]
fn noted(at: &RawValue, word: usize) -> u64 {
    // SAFETY: as above.
    unsafe { at.text.as_ptr().cast::<u64>().add(word & 7).read_volatile() }
}

/// Looks the name up in a dictionary, as CPython does (Objects/dictobject.c, the same from 3.7 on).
#[inline(always)]
fn look_up(hit: &Hit, recipe: &Recipe, dict: u64, at: &mut RawValue) -> Result<Step, Unreadable> {
    // PyDictObject: ma_keys 32, ma_values 40.
    let [keys, values] = read::user::<[u64; 2]>(hit.member(dict, 32))?;
    let head = read::user::<[u64; 2]>(keys)?;
    // From 3.11 on: dk_log2_size 8, dk_log2_index_bytes 9, dk_kind 10, dk_indices 32; before: dk_size 8, dk_indices 40.
    // Entries are (hash, key, value), or (key, value) where all keys are `str`: then the word before is read in the hash's place.
    if recipe.flags & recipe_flag::OLD_KEYS != 0 {
        let log2_width = log2_width(head[1] > 0xff, head[1] > 0xffff, head[1] > 0xffff_ffff);
        note(at, INDICES, keys + 40);
        note(at, LOG2_WIDTH, log2_width);
        note(at, ENTRIES, keys + 40 + (head[1] << log2_width));
        note(at, STRIDE, GENERAL);
        note(at, MASK, head[1] - 1);
    } else {
        let log2_size = head[1] & 0x3f;
        note(at, INDICES, keys + 32);
        note(
            at,
            LOG2_WIDTH,
            log2_width(log2_size >= 8, log2_size >= 16, log2_size >= 32),
        );
        let entries = keys + 32 + (1 << (head[1] >> 8 & 0x3f));
        if head[1] >> 16 & 0xff == 0 {
            note(at, ENTRIES, entries);
            note(at, STRIDE, GENERAL);
        } else {
            note(at, ENTRIES, entries - 8);
            note(at, STRIDE, 16);
        }
        note(at, MASK, (1u64 << log2_size) - 1);
    }
    note(at, VALUES, values);
    let mut search = Search {
        hit,
        recipe,
        perturb: recipe.hash,
        index: recipe.hash & noted(at, MASK),
        at,
        ended: false,
        object: 0,
    };
    repeat(MAX_PROBES, &mut search, search_on);
    if search.ended {
        Ok(step_to(search.object))
    } else {
        Err(Unreadable)
    }
}

struct Search<'a> {
    hit: &'a Hit,
    recipe: &'a Recipe,
    perturb: u64,
    index: u64,
    at: &'a RawValue,
    /// It is decided: `object` is what the key leads to, or 0.
    ended: bool,
    object: u64,
}

extern "C" fn search_on(_: u32, search: &mut Search<'_>) -> Next {
    match search_at(search) {
        Ok(None) => {
            search.perturb >>= 5;
            search.index = (search.index * 5 + search.perturb + 1) & noted(search.at, MASK);
            Next::More
        }
        Ok(Some(object)) => {
            search.ended = true;
            search.object = object;
            Next::Done
        }
        Err(Unreadable) => Next::Done,
    }
}

/// What the key leads to, or 0 if it is not there; none if the index leads to another key.
#[inline(always)]
fn search_at(search: &Search<'_>) -> Result<Option<u64>, Unreadable> {
    let Search { hit, recipe, at, .. } = search;
    // What follows the index is read along with its end.
    let log2_width = noted(at, LOG2_WIDTH) & 3;
    let word = read::pointer(noted(at, INDICES) + (search.index << log2_width))?;
    let unused = 64 - (8 << log2_width);
    let entry = ((word << unused) as i64) >> unused;
    if entry == EMPTY {
        return Ok(Some(0));
    }
    if entry < 0 {
        return Ok(None);
    }
    let entry = entry as u64;
    let [hash, key, value] = read::user::<[u64; 3]>(noted(at, ENTRIES) + entry * noted(at, STRIDE))?;
    // Of two `str` with the same salted hash of 64 bits and the same length one is the other.
    let [key_type, len, key_hash] = read::user::<[u64; 3]>(hit.member(key, 8))?;
    let is_str = key_type == hit.address(hit.image.str_type);
    if is_str && key_hash == recipe.hash && len == u64::from(recipe.len) {
        let values = noted(at, VALUES);
        if values == 0 {
            return Ok(Some(value));
        }
        let header = u64::from(recipe.flags & recipe_flag::VALUES_HEADER != 0) * 8;
        return Ok(Some(read::pointer(values + header + 8 * entry)?));
    }
    // Only its own code knows whether such a key is the one.
    if !is_str && hash == recipe.hash && noted(at, STRIDE) == GENERAL {
        return Err(Unreadable);
    }
    Ok(None)
}

/// Bytes of an entry with a hash.
const GENERAL: u64 = 24;

#[inline(always)]
fn log2_width(two: bool, four: bool, eight: bool) -> u64 {
    u64::from(two) + u64::from(four) + u64::from(eight)
}
