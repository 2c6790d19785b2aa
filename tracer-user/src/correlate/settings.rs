//! What the operator decides about the engine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    sealed::{Kind, Sealed},
    value::{Content, Value},
};
use crate::wire::rules::Rules;

/// What the operator decides about the engine.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How much is remembered.
    pub bounds: Bounds,
    /// Whether it is told what happens at each site that hands work over.
    pub inventory: bool,
    /// How what targets receive and send is read; none if it is not.
    pub wire: Option<Rules>,
    /// Whether asyncio tasks are followed.
    pub tasks: bool,
}

/// A value that counts as nothing: the content of a `str`, an `int` as Python prints it, `""` or `b""`, `{}`, `[]` or `()` for a
/// container without items, or `<Type>` for every object of a type of that name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EmptyValue(pub Arc<str>);

/// How many entries each table of a target may have; the oldest go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Carriers.
    pub carriers: usize,
    /// Items that were submitted and not taken.
    pub submits: usize,
    /// Binds that may be missed by the scope that submitted their item.
    pub returns: usize,
    /// Requests.
    pub requests: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            carriers: 4096,
            submits: 16_384,
            returns: 16_384,
            requests: 16_384,
        }
    }
}

impl EmptyValue {
    /// Whether the value says just this.
    pub(super) fn matches(&self, value: &Value) -> bool {
        let name = value.type_name.as_deref();
        if let Some(wanted) = self.0.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'))
            && name.is_some_and(|name| name == wanted || name.rsplit('.').next() == Some(wanted))
        {
            return true;
        }
        let container = match &*self.0 {
            "{}" => Some("dict"),
            "[]" => Some("list"),
            "()" => Some("tuple"),
            _ => None,
        };
        if container.is_some() && container == name && value.items == Some(0) {
            return true;
        }
        match &value.content {
            Content::Sealed(s) if s.len == 0 && s.kind == Kind::Str => matches!(&*self.0, "" | "\"\""),
            Content::Sealed(s) if s.len == 0 && s.kind == Kind::Bytes => &*self.0 == "b\"\"",
            Content::Sealed(s) => s.whole && *self.0 == Sealed::spelled(&s.content),
            Content::Str(s) if s.len == 0 => matches!(&*self.0, "" | "\"\""),
            Content::Str(s) => s.whole && s.shown == self.0,
            Content::Bytes(b) => b.len == 0 && &*self.0 == "b\"\"",
            Content::Int { negative, digits } => {
                let Ok(number) = self.0.parse::<i128>() else {
                    return false;
                };
                digits.whole
                    && (*negative == (number < 0) || number == 0)
                    && same_magnitude(&digits.shown, number.unsigned_abs())
            }
            _ => false,
        }
    }
}

/// Compares 30-bit digits, least significant first, with a number.
fn same_magnitude(digits: &[u32], mut number: u128) -> bool {
    for &digit in digits {
        if u128::from(digit) != number & 0x3fff_ffff {
            return false;
        }
        number >>= 30;
    }
    number == 0
}
