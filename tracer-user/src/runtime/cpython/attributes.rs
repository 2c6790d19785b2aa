//! Attributes and keys: how one step of a path is taken from an object, as CPython itself would without running any code.
//!
//! What an attribute means is the type's business, and types live long: they are read from outside and boiled down to a
//! [`Recipe`], by which the kernel side takes the step at the event. Where an attribute is computed (a property, `__getattr__`) there
//! is nothing to read, and the recipe says so.

use std::sync::Arc;

use tracer_common::config::{NO_INDEX, Recipe, recipe, recipe_flag};

use super::{
    hash::{STR_HASH, str_hash},
    memory::{Memory, MemoryError, text},
    modules::{dict_entries, keys_entries},
    threads::Interpreter,
    value::type_name,
};

/// Where a minor version keeps the attributes of objects.
struct Row {
    minor: u32,
    /// `PyHeapTypeObject.ht_cached_keys` (`Include/cpython/object.h`).
    cached_keys: u64,
    objects: Objects,
}

/// What a class whose objects have attributes gives them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    /// Up to 3.10: a dictionary at `tp_dictoffset`.
    Dict,
    /// 3.11: a pointer to values 32 bytes before the object, and one to a dictionary 24 bytes before (`internal/pycore_object.h`).
    Values,
    /// 3.12: a tagged pointer to either, before the object (`internal/pycore_object.h`).
    Tagged,
    /// From 3.13 on: values behind the object, and a pointer to a dictionary before it (`internal/pycore_object.h`).
    Inline,
}

/// Measured with `offsetof` against the headers of 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2.
const ROWS: [Row; 8] = [
    Row {
        minor: 8,
        cached_keys: 872,
        objects: Objects::Dict,
    },
    Row {
        minor: 9,
        cached_keys: 864,
        objects: Objects::Dict,
    },
    Row {
        minor: 10,
        cached_keys: 872,
        objects: Objects::Dict,
    },
    Row {
        minor: 11,
        cached_keys: 872,
        objects: Objects::Values,
    },
    Row {
        minor: 12,
        cached_keys: 880,
        objects: Objects::Tagged,
    },
    Row {
        minor: 13,
        cached_keys: 880,
        objects: Objects::Inline,
    },
    Row {
        minor: 14,
        cached_keys: 880,
        objects: Objects::Inline,
    },
    Row {
        minor: 15,
        cached_keys: 888,
        objects: Objects::Inline,
    },
];

// `PyTypeObject` (`Include/cpython/object.h`), the same from 3.8 to 3.15 with a GIL.
const TYPE_DICT: u64 = 264;
const TYPE_DESCR_GET: u64 = 272;
const TYPE_DESCR_SET: u64 = 280;
const TYPE_DICT_OFFSET: u64 = 288;
const TYPE_MRO: u64 = 344;
const TYPE_VERSION_TAG: u64 = 384;

// `Py_TPFLAGS_*` (`Include/object.h`).
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
const HEAP_TYPE: u64 = 1 << 9;
const READY: u64 = 1 << 12;
const TUPLE_SUBCLASS: u64 = 1 << 26;
const DICT_SUBCLASS: u64 = 1 << 29;
const TYPE_SUBCLASS: u64 = 1 << 31;

/// `PyMemberDescrObject.d_member` (`Include/cpython/descrobject.h`); `PyMemberDef.type` and `.offset` (`Include/structmember.h`).
const MEMBER: u64 = 40;
const MEMBER_TYPE: u64 = 8;
const MEMBER_OFFSET: u64 = 16;
/// `T_OBJECT` and `T_OBJECT_EX` (`Include/structmember.h`).
const OBJECT_MEMBERS: [u32; 2] = [6, 16];
/// `_tuplegetterobject.index` (`Modules/_collectionsmodule.c`).
const TUPLE_GETTER_INDEX: u64 = 16;

/// Classes of a method resolution order, shared keys of a class, and characters of a name that are looked at.
const MAX_MRO: u64 = 64;
const MAX_SHARED_KEYS: u64 = 256;

/// Steps that were taken from outside.
#[derive(Debug, Default)]
pub struct Walk {
    /// How to take them: the type, the step's place in the path, the recipe.
    pub recipes: Vec<(u64, u32, Recipe)>,
    /// Why the last of them cannot be taken, if that is so: the type's name.
    pub impossible: Option<String>,
    /// Where the walk ended.
    pub end: End,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// At this object.
    Leaf(u64),
    /// The path leads to nothing.
    Missing,
    /// Not all of it could be walked.
    #[default]
    Unknown,
}

/// Walks `path` from the object at `object`, its first `from` steps taken already. The process goes on meanwhile: where the walk ends
/// may be wrong as soon as it is known, but what it tells of types stays.
pub fn walk<M: Memory>(interpreter: Interpreter<'_, M>, object: u64, path: &[Arc<str>], from: usize) -> Walk {
    let mut walk = Walk::default();
    let none = interpreter.bias.wrapping_add(interpreter.core.image.none);
    let mut at = object;
    for (number, name) in path.iter().enumerate().skip(from) {
        if at == none {
            walk.end = End::Missing;
            return walk;
        }
        let Ok(type_object) = interpreter.memory.u64(at, interpreter.core.layout.object_type) else {
            return walk;
        };
        let Ok(recipe) = recipe_of(interpreter, type_object, name) else {
            return walk;
        };
        walk.recipes.push((type_object, number as u32, recipe));
        if recipe.kind == recipe::IMPOSSIBLE {
            walk.impossible = type_name(interpreter.memory, interpreter.core, type_object).ok();
            return walk;
        }
        match take(interpreter, &recipe, at, name) {
            Ok(Some(next)) => at = next,
            Ok(None) if recipe.flags & recipe_flag::COMPUTED != 0 => return walk,
            Ok(None) if recipe.fallback != 0 => at = recipe.fallback,
            Ok(None) => {
                walk.end = End::Missing;
                return walk;
            }
            Err(_) => return walk,
        }
    }
    walk.end = End::Leaf(at);
    walk
}

/// How the attribute or key `name` is taken from an object of the type at `type_object`.
fn recipe_of<M: Memory>(
    interpreter: Interpreter<'_, M>,
    type_object: u64,
    name: &str,
) -> Result<Recipe, MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    let flags_of = |at: u64| memory.u64(at, layout.type_flags);
    let flags = flags_of(type_object)?;
    let meta = memory.u64(type_object, layout.object_type)?;
    if flags & READY == 0 || flags_of(meta)? & TYPE_SUBCLASS == 0 {
        return Err(MemoryError::invalid("type", type_object));
    }
    let row = ROWS
        .iter()
        .find(|row| row.minor == layout.minor)
        .ok_or(MemoryError::invalid("version", u64::from(layout.minor)))?;
    let mut made = Recipe {
        tp_name: memory.u64(type_object, layout.type_name)?,
        basic_size: memory.u64(type_object, layout.type_basic_size)?,
        hash: str_hash(interpreter, name)?,
        index: NO_INDEX,
        len: name.len() as u32,
        ..Recipe::default()
    };
    if row.objects == Objects::Dict {
        made.flags |= recipe_flag::OLD_KEYS;
    }
    if row.objects == Objects::Inline {
        made.flags |= recipe_flag::VALUES_HEADER;
    }
    if flags & DICT_SUBCLASS != 0 {
        made.kind = recipe::MAPPING;
        return Ok(made);
    }
    if flags & TUPLE_SUBCLASS != 0
        && let Ok(index) = name.parse()
    {
        (made.kind, made.index) = (recipe::ITEM, index);
        return Ok(made);
    }
    let class = Class::read(interpreter, type_object, name)?;
    if class.own_access || class.attribute.is_some_and(|a| a.role == Role::Computed) {
        return Ok(made);
    }
    match class.attribute.map(|a| a.role) {
        Some(Role::Field(offset)) => {
            (made.kind, made.offset) = (recipe::FIELD, offset);
            return Ok(made);
        }
        Some(Role::Item(index)) => {
            (made.kind, made.index) = (recipe::ITEM, index);
            return Ok(made);
        }
        _ => {}
    }
    match class.attribute {
        Some(Attribute {
            role: Role::Plain,
            object,
        }) => {
            made.version = u64::from(memory.u32(type_object, layout.member(TYPE_VERSION_TAG))?);
            // Without a tag nobody could tell that the class has changed.
            if made.version == 0 {
                made.flags |= recipe_flag::COMPUTED;
            } else {
                made.fallback = object;
            }
        }
        Some(_) => made.flags |= recipe_flag::COMPUTED,
        None if class.computes => made.flags |= recipe_flag::COMPUTED,
        None => {}
    }
    instance(interpreter, type_object, flags, row, name, &mut made)?;
    Ok(made)
}

/// Where objects of the type have attributes of their own.
fn instance<M: Memory>(
    interpreter: Interpreter<'_, M>,
    type_object: u64,
    flags: u64,
    row: &Row,
    name: &str,
    made: &mut Recipe,
) -> Result<(), MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    let managed = row.objects != Objects::Dict && flags & MANAGED_DICT != 0;
    if !managed {
        let offset = memory
            .u64(type_object, layout.member(TYPE_DICT_OFFSET))?
            .cast_signed();
        (made.kind, made.offset) = match offset {
            0 => (recipe::CLASS, 0),
            offset if offset > 0 => (recipe::DICT, offset),
            // From the end of an object of variable size.
            _ => (recipe::IMPOSSIBLE, 0),
        };
        return Ok(());
    }
    (made.kind, made.offset) = match row.objects {
        Objects::Values => (recipe::VALUES, -32),
        Objects::Tagged => (recipe::TAGGED, -layout.managed_dict.cast_signed()),
        Objects::Inline if flags & INLINE_VALUES != 0 => (recipe::INLINE, made.basic_size.cast_signed()),
        Objects::Inline | Objects::Dict => (recipe::DICT, -layout.managed_dict.cast_signed()),
    };
    if flags & HEAP_TYPE == 0 {
        return Ok(());
    }
    made.keys = memory.u64(type_object, layout.member(row.cached_keys))?;
    if made.keys != 0 {
        (made.index, made.entries) = shared_index(interpreter, made.keys, name)?;
    }
    Ok(())
}

/// The place of `name` among keys that the objects of a type share, and how many those are.
fn shared_index<M: Memory>(
    interpreter: Interpreter<'_, M>,
    keys: u64,
    name: &str,
) -> Result<(u32, u64), MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    let entries = keys_entries(memory, layout, keys)?;
    let count = entries.len() as u64;
    if count > MAX_SHARED_KEYS {
        return Err(MemoryError::invalid("shared keys", keys));
    }
    for (index, (key, _)) in (0..).zip(entries) {
        if key != 0 && text(memory, layout, key)? == name {
            return Ok((index, count));
        }
    }
    Ok((NO_INDEX, count))
}

/// What a class says about an attribute.
#[derive(Default)]
struct Class {
    attribute: Option<Attribute>,
    /// It answers for attributes that there are not (`__getattr__`).
    computes: bool,
    /// It answers for all (`__getattribute__`).
    own_access: bool,
}

#[derive(Clone, Copy)]
struct Attribute {
    object: u64,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `__slots__`: a pointer at this offset.
    Field(i64),
    /// A field of a named tuple.
    Item(u32),
    /// A value that stands in where the object has none of its own.
    Plain,
    /// A method or the like: the object's own attribute comes first, else code makes one.
    Made,
    /// Code answers in any case.
    Computed,
}

impl Class {
    fn read<M: Memory>(
        interpreter: Interpreter<'_, M>,
        type_object: u64,
        name: &str,
    ) -> Result<Self, MemoryError> {
        let (memory, layout) = (interpreter.memory, interpreter.core.layout);
        let mro = memory.u64(type_object, layout.member(TYPE_MRO))?;
        let count = memory.u64(mro, layout.var_size)?;
        if count > MAX_MRO {
            return Err(MemoryError::invalid("mro", mro));
        }
        let mut class = Self::default();
        for base in memory.words(mro, layout.tuple_items, count as usize)? {
            // The attributes of built-in types are none of an identity (and their dictionaries are kept elsewhere from 3.12 on).
            if memory.u64(base, layout.type_flags)? & HEAP_TYPE == 0 {
                continue;
            }
            let dict = memory.u64(base, layout.member(TYPE_DICT))?;
            for (key, object) in dict_entries(interpreter, dict)? {
                match &*text(memory, layout, key)? {
                    key if key == name && class.attribute.is_none() => {
                        let role = Role::of(interpreter, object)?;
                        class.attribute = Some(Attribute { object, role });
                    }
                    "__getattr__" => class.computes = true,
                    "__getattribute__" => class.own_access = true,
                    _ => {}
                }
            }
        }
        Ok(class)
    }
}

impl Role {
    fn of<M: Memory>(interpreter: Interpreter<'_, M>, object: u64) -> Result<Self, MemoryError> {
        let (memory, layout) = (interpreter.memory, interpreter.core.layout);
        let type_object = memory.u64(object, layout.object_type)?;
        match &*type_name(memory, interpreter.core, type_object)? {
            "member_descriptor" => {
                let member = memory.u64(object, layout.member(MEMBER))?;
                return Ok(if OBJECT_MEMBERS.contains(&memory.u32(member, MEMBER_TYPE)?) {
                    Self::Field(memory.u64(member, MEMBER_OFFSET)?.cast_signed())
                } else {
                    Self::Computed
                });
            }
            "collections._tuplegetter" | "_collections._tuplegetter" => {
                return Ok(Self::Item(
                    memory.u64(object, layout.member(TUPLE_GETTER_INDEX))? as u32
                ));
            }
            _ => {}
        }
        Ok(if memory.u64(type_object, layout.member(TYPE_DESCR_SET))? != 0 {
            Self::Computed
        } else if memory.u64(type_object, layout.member(TYPE_DESCR_GET))? != 0 {
            Self::Made
        } else {
            Self::Plain
        })
    }
}

/// Takes a step, as the kernel side does. None where there is no such attribute or key in the object itself.
fn take<M: Memory>(
    interpreter: Interpreter<'_, M>,
    made: &Recipe,
    object: u64,
    name: &str,
) -> Result<Option<u64>, MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    let place = object.wrapping_add_signed(made.offset);
    let some = |address: u64| (address != 0).then_some(address);
    let (mut values, mut dict) = (0, 0);
    match made.kind {
        recipe::FIELD => return Ok(some(memory.u64(place, 0)?)),
        recipe::ITEM if u64::from(made.index) < memory.u64(object, layout.var_size)? => {
            return Ok(some(
                memory.u64(object, layout.tuple_items + 8 * u64::from(made.index))?,
            ));
        }
        recipe::ITEM | recipe::CLASS => return Ok(None),
        recipe::MAPPING => dict = object,
        recipe::DICT => dict = memory.u64(place, 0)?,
        recipe::VALUES => (values, dict) = (memory.u64(place, 0)?, memory.u64(place, 8)?),
        recipe::TAGGED => match memory.u64(place, 0)? {
            tagged if tagged & 1 == 1 => values = tagged.wrapping_add(1),
            found => dict = found,
        },
        recipe::INLINE if memory.u8(place, 3)? != 0 => values = place.wrapping_add(8),
        recipe::INLINE => dict = memory.u64(object.wrapping_sub(layout.managed_dict), 0)?,
        _ => return Err(MemoryError::invalid("attribute", object)),
    }
    if values != 0 {
        return Ok(match made.index {
            NO_INDEX => None,
            index => some(memory.u64(values, 8 * u64::from(index))?),
        });
    }
    if dict == 0 {
        return Ok(None);
    }
    for (key, value) in dict_entries(interpreter, dict)? {
        // Dictionaries can be large: most keys are passed over after one read.
        if memory
            .u64(key, layout.member(STR_HASH))
            .is_ok_and(|hash| hash != made.hash)
        {
            continue;
        }
        // A key need not be a `str`.
        if interpreter.has_type(key, interpreter.core.image.str_type)? && text(memory, layout, key)? == name {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
