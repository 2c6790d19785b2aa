//! Identities as values: what a slot holds, when two of them are the same, and when one is empty.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::sealed::{Kind, Sealed};

/// A value of a watched variable, as read from the target's memory.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Value {
    /// Address of the object.
    pub object: u64,
    /// Address of its type.
    pub type_object: u64,
    /// Name of its type, when it could be read.
    pub type_name: Option<Arc<str>>,
    /// Address of the object that the variable holds: another one where a path leads on from it.
    pub root: u64,
    /// Items of a container.
    pub items: Option<u64>,
    /// What it says.
    pub content: Content,
}

/// The content of a value, as far as it can be compared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// `None`.
    None,
    /// A `str`: the characters that travelled.
    Str(Prefix<str>),
    /// A `bytes`.
    Bytes(Prefix<[u8]>),
    /// An `int`: its little-endian 30-bit digits that travelled.
    Int {
        /// Whether it is below zero.
        negative: bool,
        /// The magnitude.
        digits: Prefix<[u32]>,
    },
    /// Any other type: known by its address only.
    Opaque,
    /// What a recording keeps of any of these.
    Sealed(Arc<Sealed>),
}

/// The part of a long value that travelled.
#[derive(PartialEq, Eq, Hash)]
pub struct Prefix<T: ?Sized> {
    /// What travelled.
    pub shown: Arc<T>,
    /// Units (characters, bytes, digits) of the whole.
    pub len: u64,
    /// Whether `shown` is all of it.
    pub whole: bool,
}

impl<T: ?Sized> Clone for Prefix<T> {
    fn clone(&self) -> Self {
        Self {
            shown: Arc::clone(&self.shown),
            len: self.len,
            whole: self.whole,
        }
    }
}

/// The outcome of comparing two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// They are one identity.
    Same,
    /// They are different identities.
    Different,
    /// Different objects, but their content cannot be compared: two of them may be equal.
    Unknown,
}

impl Value {
    /// Compares two values by the rule of equality: the same object, or, for `str`, `bytes` and `int`, the same content.
    ///
    /// Beyond what travelled of a long value only the same object is the same. Every other type compares by its address. Where
    /// contents can be compared they decide: an object's address may have been another's.
    pub fn compare(&self, other: &Self) -> Sameness {
        match self.compare_content(other) {
            Sameness::Unknown if self.object == other.object && self.type_object == other.type_object => {
                Sameness::Same
            }
            sameness => sameness,
        }
    }

    fn compare_content(&self, other: &Self) -> Sameness {
        match (&self.content, &other.content) {
            (Content::None, Content::None) => Sameness::Same,
            (Content::Str(a), Content::Str(b)) => a.compare(b),
            (Content::Bytes(a), Content::Bytes(b)) => a.compare(b),
            (
                Content::Int {
                    negative: m,
                    digits: a,
                },
                Content::Int {
                    negative: n,
                    digits: b,
                },
            ) => {
                if m == n {
                    a.compare(b)
                } else {
                    Sameness::Different
                }
            }
            (Content::Sealed(a), Content::Sealed(b)) => a.compare(b),
            (Content::Opaque | Content::Sealed(_), _) | (_, Content::Opaque | Content::Sealed(_)) => {
                Sameness::Unknown
            }
            _ => Sameness::Different,
        }
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        match &self.content {
            Content::None => true,
            Content::Sealed(sealed) => sealed.kind == Kind::None,
            _ => false,
        }
    }

    /// Whether nothing but its address tells it from others.
    pub fn is_opaque(&self) -> bool {
        match &self.content {
            Content::Opaque => true,
            Content::Sealed(sealed) => sealed.kind == Kind::Opaque,
            _ => false,
        }
    }

    /// Whether [`Self::compare`] finds the two to be one identity.
    pub fn same(&self, other: &Self) -> bool {
        self.compare(other) == Sameness::Same
    }
}

impl<T: ?Sized + PartialEq> Prefix<T> {
    fn compare(&self, other: &Self) -> Sameness {
        if self.len != other.len || self.shown != other.shown {
            Sameness::Different
        } else if self.whole {
            Sameness::Same
        } else {
            Sameness::Unknown
        }
    }
}

// Identities must not reach a log by accident: Debug shows the shape, never the content.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?} @{:#x})", self.content, self.object)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Str(p) => write!(f, "str[{}]", p.len),
            Self::Bytes(p) => write!(f, "bytes[{}]", p.len),
            Self::Int { digits, .. } => write!(f, "int[{}]", digits.len),
            Self::Opaque => f.write_str("object"),
            Self::Sealed(sealed) => write!(f, "sealed {:?}[{}]", sealed.kind, sealed.len),
        }
    }
}

/// What a slot holds in some scope.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Found {
    /// The memory could not be read; this says nothing about the slot.
    Unreadable,
    /// A value, but it is not known yet how to follow the path that leads on from it. It cannot be judged.
    Unresolved,
    /// No binding.
    Unset,
    /// A value, which may still count as empty.
    Value(Value),
}

/// What every slot of a target holds in some scope, by slot number. Slots that were not seen yet are missing at the end.
pub type Held = Vec<Found>;

/// More slots than a target can have.
const MANY: usize = 64;

/// Reads what slots hold, as far as there can be slots: a few bytes must not claim much memory.
pub(crate) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
    struct Few;
    impl<'de> de::Visitor<'de> for Few {
        type Value = Held;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "what at most {MANY} variables hold")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut found: A) -> Result<Held, A::Error> {
            let mut held = Held::new();
            while let Some(next) = found.next_element()? {
                if held.len() == MANY {
                    return Err(de::Error::invalid_length(MANY + 1, &self));
                }
                held.push(next);
            }
            Ok(held)
        }
    }
    deserializer.deserialize_seq(Few)
}

// Only what is sealed can be written: a value in the clear ends the recording instead of getting into it.
impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sealed(sealed) => sealed.serialize(serializer),
            _ => Err(ser::Error::custom("a value is not sealed")),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sealed::deserialize(deserializer).map(|sealed| Self::Sealed(Arc::new(sealed)))
    }
}
