//! The members of a message that matter, written down as soon as each is complete.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Error, Id, Message, Method, Outcome, Params, Said, Task};
use crate::wire::{
    reason::Reason,
    secret::{Fingerprint, Hasher, Tag},
};

/// Messages of one batch.
const BATCH: usize = 100;
/// Tasks of one list.
const LIST: usize = 1_000;
/// Bytes of a tool's name.
const NAME: usize = 128;
/// Bytes of an error's message that are looked at.
const MESSAGE: usize = 256;

/// Members that matter, of all objects.
enum Key {
    Code,
    Content,
    Error,
    Id,
    Jsonrpc,
    Message,
    Method,
    Name,
    Params,
    Result,
    ResultType,
    Status,
    Task,
    TaskId,
    Tasks,
    Ttl,
    Other,
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(match name {
                    "code" => Key::Code,
                    "content" | "structuredContent" => Key::Content,
                    "error" => Key::Error,
                    "id" => Key::Id,
                    "jsonrpc" => Key::Jsonrpc,
                    "message" => Key::Message,
                    "method" => Key::Method,
                    "name" => Key::Name,
                    "params" => Key::Params,
                    "result" => Key::Result,
                    "resultType" => Key::ResultType,
                    "status" => Key::Status,
                    "task" => Key::Task,
                    "taskId" => Key::TaskId,
                    "tasks" => Key::Tasks,
                    "ttl" | "ttlMs" => Key::Ttl,
                    _ => Key::Other,
                })
            }
        }
        json.deserialize_str(Names)
    }
}

/// Takes what a value is, and says it where it matters.
trait Take: Sized {
    fn object(&mut self) {}
    fn member<'de, A: MapAccess<'de>>(&mut self, _key: &Key, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }
    /// Takes the elements of a list.
    fn list<'de, A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn text(&mut self, _text: &str) {}
    fn integer(&mut self, _number: i64) {}
    fn number(&mut self, _number: f64) {}
}

/// Any value, taken by `T`.
struct Any<T>(T);

impl<'de, T: Take> DeserializeSeed<'de> for Any<T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Take> Visitor<'de> for Any<T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.0.object();
        while let Some(key) = map.next_key::<Key>()? {
            self.0.member(&key, &mut map)?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.0.list(&mut list)
    }
    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }
    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.0.integer(number);
        Ok(())
    }
    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.0.integer(number),
            Err(_) => self.0.number(number as f64),
        }
        Ok(())
    }
    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        self.0.number(number);
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// One message, or a list of them.
pub(super) struct Messages<'a> {
    pub(super) hasher: &'a Hasher,
    pub(super) said: &'a mut Said,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        Any(self).deserialize(json)
    }
}

impl Take for Messages<'_> {
    fn object(&mut self) {
        self.said.messages.push(Message::default());
    }
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        let Some(message) = self.said.messages.last_mut() else {
            return map.next_value::<IgnoredAny>().map(drop);
        };
        let hasher = self.hasher;
        match key {
            Key::Jsonrpc => {
                let versioned = &mut message.versioned;
                map.next_value_seed(Any(OfText(|text: &str| *versioned = text == "2.0")))
            }
            Key::Id => {
                message.id = None;
                let id = &mut message.id;
                map.next_value_seed(Any(TakeId { hasher, id }))
            }
            Key::Method => {
                let method = &mut message.method;
                map.next_value_seed(Any(OfText(|name: &str| {
                    *method = Some(Method::of(name.as_bytes()));
                })))
            }
            Key::Params => {
                message.params = Params::default();
                let params = &mut message.params;
                map.next_value_seed(Any(TakeParams { hasher, params }))
            }
            Key::Result => {
                let outcome = message.result.insert(Outcome::default());
                map.next_value_seed(Any(TakeOutcome { hasher, outcome }))
            }
            Key::Error => {
                let error = message.error.insert(Error::default());
                map.next_value_seed(Any(TakeError(error)))
            }
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
    fn list<'de, A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<(), A::Error> {
        while self.said.messages.len() < BATCH {
            let seed = Element(Messages {
                hasher: self.hasher,
                said: &mut *self.said,
            });
            if list.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            self.said.unparsed = Some(Reason::TooMany);
        }
        Ok(())
    }
}

/// A message of a batch: a list in a list is none.
struct Element<'a>(Messages<'a>);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        Any(self).deserialize(json)
    }
}

impl Take for Element<'_> {
    fn object(&mut self) {
        self.0.object();
    }
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        self.0.member(key, map)
    }
}

/// A text.
struct OfText<F>(F);

impl<F: FnMut(&str)> Take for OfText<F> {
    fn text(&mut self, text: &str) {
        (self.0)(text);
    }
}

struct TakeId<'a> {
    hasher: &'a Hasher,
    id: &'a mut Option<Id>,
}

impl Take for TakeId<'_> {
    fn text(&mut self, text: &str) {
        *self.id = Some(Id::Text(self.hasher.hash(Tag::Id, &[b"text", text.as_bytes()])));
    }
    fn integer(&mut self, number: i64) {
        *self.id = Some(Id::Number(number));
    }
    fn number(&mut self, number: f64) {
        let hash = self.hasher.hash(Tag::Id, &[b"number", &number.to_le_bytes()]);
        *self.id = Some(Id::Text(hash));
    }
}

fn task_id(hasher: &Hasher, text: &str) -> Fingerprint {
    hasher.hash(Tag::Task, &[text.as_bytes()])
}

struct TakeParams<'a> {
    hasher: &'a Hasher,
    params: &'a mut Params,
}

impl Take for TakeParams<'_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        let (hasher, params) = (self.hasher, &mut *self.params);
        match key {
            Key::Name => {
                let tool = &mut params.tool;
                map.next_value_seed(Any(OfText(|name: &str| {
                    *tool = (name.len() <= NAME).then(|| name.into());
                })))
            }
            Key::TaskId => {
                let task = &mut params.task;
                map.next_value_seed(Any(OfText(|id: &str| *task = Some(task_id(hasher, id)))))
            }
            Key::Task => map.next_value_seed(Any(OfObject(&mut params.wants_task))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// Whether a value is an object.
struct OfObject<'a>(&'a mut bool);

impl Take for OfObject<'_> {
    fn object(&mut self) {
        *self.0 = true;
    }
}

struct TakeOutcome<'a> {
    hasher: &'a Hasher,
    outcome: &'a mut Outcome,
}

impl Take for TakeOutcome<'_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        let (hasher, outcome) = (self.hasher, &mut *self.outcome);
        match key {
            Key::ResultType => {
                let is_task = &mut outcome.is_task;
                map.next_value_seed(Any(OfText(|kind: &str| *is_task = kind == "task")))
            }
            Key::Content => {
                outcome.content = true;
                map.next_value::<IgnoredAny>().map(drop)
            }
            Key::Task => {
                let task = outcome.nested.insert(Task::default());
                map.next_value_seed(Any(TakeTask { hasher, task }))
            }
            Key::Tasks => {
                outcome.tasks.clear();
                let tasks = &mut outcome.tasks;
                map.next_value_seed(Any(TakeTasks { hasher, tasks }))
            }
            key => {
                let task = &mut outcome.task;
                TakeTask { hasher, task }.member(key, map)
            }
        }
    }
}

struct TakeTask<'a> {
    hasher: &'a Hasher,
    task: &'a mut Task,
}

impl Take for TakeTask<'_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        let (hasher, task) = (self.hasher, &mut *self.task);
        match key {
            Key::TaskId => {
                let id = &mut task.id;
                map.next_value_seed(Any(OfText(|text: &str| *id = Some(task_id(hasher, text)))))
            }
            Key::Status => {
                let status = &mut task.status;
                map.next_value_seed(Any(OfText(|_: &str| *status = true)))
            }
            Key::Ttl => {
                let ttl = &mut task.ttl;
                map.next_value_seed(Any(OfNumber(|number| *ttl = u64::try_from(number).ok())))
            }
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// A whole number.
struct OfNumber<F>(F);

impl<F: FnMut(i64)> Take for OfNumber<F> {
    fn integer(&mut self, number: i64) {
        (self.0)(number);
    }
}

struct TakeTasks<'a> {
    hasher: &'a Hasher,
    tasks: &'a mut Vec<Fingerprint>,
}

impl Take for TakeTasks<'_> {
    fn list<'de, A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<(), A::Error> {
        loop {
            let mut task = Task::default();
            let seed = Any(TakeTask {
                hasher: self.hasher,
                task: &mut task,
            });
            let more = list.next_element_seed(seed)?;
            if let Some(id) = task.id
                && self.tasks.len() < LIST
            {
                self.tasks.push(id);
            }
            if more.is_none() {
                return Ok(());
            }
        }
    }
}

struct TakeError<'a>(&'a mut Error);

impl Take for TakeError<'_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &Key, map: &mut A) -> Result<(), A::Error> {
        let error = &mut *self.0;
        match key {
            Key::Code => map.next_value_seed(Any(OfNumber(|code| error.code = Some(code)))),
            Key::Message => map.next_value_seed(Any(OfText(|text: &str| {
                let shown = text.get(..MESSAGE).unwrap_or(text).to_ascii_lowercase();
                let unknown = ["not found", "unknown", "no such"];
                error.says_not_found =
                    shown.contains("task") && unknown.iter().any(|words| shown.contains(words));
            }))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}
