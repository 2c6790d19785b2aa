//! Which variables are used at all: what the kernel side tells of each, once and at every new type of value.

use std::sync::Arc;

use tracer_common::{
    config::UseKey,
    record::{RawValue, Record},
};

use super::frontend::Frontend;
use crate::correlate::value::{Content, Found};

/// A variable that was used for the first time, or that a value of another type than before was bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which one, as its uses are counted.
    pub key: UseKey,
    /// Its name; none when it could not be read.
    pub name: Option<String>,
    /// The type of what is bound, unless that is `None`.
    pub type_name: Option<Arc<str>>,
}

impl Used {
    /// What a record says.
    pub fn new(frontend: &mut Frontend, record: &Record, values: &[RawValue]) -> Self {
        let key = UseKey {
            var: record.object,
            hash: record.queue,
            tgid: record.tgid,
            pad: 0,
        };
        let bound = values.get(1).map(|bound| frontend.found(bound));
        Self {
            key,
            name: name(frontend, record.object, values),
            type_name: match bound {
                Some(Found::Value(value)) if value.content != Content::None => value.type_name,
                _ => None,
            },
        }
    }
}

fn name(frontend: &mut Frontend, variable: u64, values: &[RawValue]) -> Option<String> {
    // A long name does not travel whole.
    let whole = |frontend: &Frontend| Some(frontend.interpreter()?.variable(variable).ok()?.name);
    match frontend.found(values.first()?) {
        Found::Value(value) => match value.content {
            Content::Str(text) if !text.whole => {
                whole(frontend).or_else(|| Some(format!("{}...", text.shown)))
            }
            Content::Str(text) => Some(text.shown.to_string()),
            _ => None,
        },
        Found::Unset | Found::Unreadable | Found::Unresolved => None,
    }
}
