//! Takes out of events what must not be written: values become keyed hashes, bytes of the wire become what they say.
//!
//! The engine of the run that is recorded sees the sealed events, too. So it sees just what a replay will see.

use std::{collections::HashMap, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    correlate::{
        event::{Event, Said, What},
        sealed::{Kind, Sealed},
        settings::EmptyValue,
        value::{Content, Value},
        witness::{chunk, handle_of, key},
    },
    report::privacy::Privacy,
    wire::{Wire, fact::Fact, rules::Rules, secret::Hasher},
};

/// Sealed values that are remembered, as most are met again.
const REMEMBERED: usize = 8_192;

/// By what a value is known: its content; where that does not say it all, its address; of other types their name.
type Known = (Content, u64, Option<Arc<str>>);

/// Seals the events of a run.
pub struct Sealer {
    privacy: Privacy,
    key: [u8; 32],
    wire: Option<(Wire, Hasher)>,
    known: HashMap<Known, Arc<Sealed>>,
    said: Vec<Fact>,
}

impl Sealer {
    /// Seals by the key of the run. `rules` say how the wire is read, if it is.
    pub fn new(privacy: Privacy, rules: Option<Rules>) -> Self {
        Self {
            key: privacy.derived_key(b"recording"),
            privacy,
            wire: rules.map(|rules| {
                let hasher = rules.hasher.clone();
                (Wire::new(rules), hasher)
            }),
            known: HashMap::new(),
            said: Vec::new(),
        }
    }

    /// Seals an event.
    pub fn seal(&mut self, event: &mut Event) {
        let handle = self.handle(&mut event.what);
        event.what.each_value(&mut |value| self.seal_value(value));
        if let (Some(handle), What::Announced { said, .. }) = (handle, &mut event.what)
            && let Some(Content::Sealed(sealed)) = said.task_mut().map(|task| &mut task.content)
        {
            Arc::make_mut(sealed).handle = Some(handle);
        }
        match &mut event.what {
            What::Variable { empty, .. } => {
                *empty = empty.iter().flat_map(|empty| self.seal_empty(empty)).collect();
            }
            What::Wire(_) | What::WireClosed(_) => self.read(event),
            What::Exit { .. } => {
                if let Some((wire, _)) = &mut self.wire {
                    wire.exit(event.target, &mut self.said);
                    self.said.clear();
                }
            }
            _ => {}
        }
    }

    fn handle(&self, what: &mut What) -> Option<crate::wire::secret::Fingerprint> {
        let (What::Announced { said, .. }, Some((_, hasher))) = (what, &self.wire) else {
            return None;
        };
        handle_of(hasher, said.task_mut()?)
    }

    /// Puts what bytes say in place of the bytes.
    fn read(&mut self, event: &mut Event) {
        let (closed, context) = match (&event.what, &mut self.wire) {
            (What::Wire(bytes), Some((wire, _))) => {
                wire.apply(&chunk(event, bytes), &mut self.said);
                (false, bytes.context.clone())
            }
            (What::WireClosed(handle), Some((wire, _))) => {
                wire.close(key(event.target, *handle), &mut self.said);
                (true, None)
            }
            (What::Wire(bytes), None) => (false, bytes.context.clone()),
            _ => (true, None),
        };
        let facts = self.said.drain(..).filter_map(|fact| match fact {
            // Nothing follows from a request before its response.
            Fact::Request(_) => None,
            Fact::Response(mut response) => {
                if let Some(request) = &mut response.request
                    && request.tool.is_some()
                {
                    Arc::make_mut(request).tool = None;
                }
                Some(Fact::Response(response))
            }
            fact => Some(fact),
        });
        event.what = What::Said(Box::new(Said {
            closed,
            context,
            facts: facts.collect(),
        }));
    }

    fn seal_value(&mut self, value: &mut Value) {
        let whole = match &value.content {
            Content::Sealed(_) => return,
            Content::None => true,
            Content::Str(text) => text.whole,
            Content::Bytes(bytes) => bytes.whole,
            Content::Int { digits, .. } => digits.whole,
            Content::Opaque => false,
        };
        let opaque = matches!(value.content, Content::Opaque);
        // What is shown of a value depends on its address only where its content does not say it all.
        let known = (
            value.content.clone(),
            if whole { 0 } else { value.object },
            value.type_name.clone().filter(|_| opaque),
        );
        if let Some(sealed) = self.known.get(&known) {
            value.content = Content::Sealed(Arc::clone(sealed));
            return;
        }
        let (kind, len, content) = self.content(&value.content);
        let sealed = Arc::new(Sealed {
            kind,
            len,
            whole,
            content,
            hash: self.privacy.hash(value),
            shown: self.privacy.shown(value).map(Arc::from),
            handle: None,
        });
        if self.known.len() == REMEMBERED {
            self.known.clear();
        }
        self.known.insert(known, Arc::clone(&sealed));
        value.content = Content::Sealed(sealed);
    }

    fn content(&self, content: &Content) -> (Kind, u64, [u8; 16]) {
        match content {
            Content::None | Content::Sealed(_) => (Kind::None, 0, [0; 16]),
            Content::Opaque => (Kind::Opaque, 0, [0; 16]),
            Content::Str(text) => (Kind::Str, text.len, self.mac(b"str", text.shown.as_bytes())),
            Content::Bytes(bytes) => (Kind::Bytes, bytes.len, self.mac(b"bytes", &bytes.shown)),
            Content::Int { negative, digits } => {
                (Kind::Int, digits.len, self.number(*negative, &digits.shown))
            }
        }
    }

    /// A number by its digits of 30 bits, the least first.
    fn number(&self, negative: bool, digits: &[u32]) -> [u8; 16] {
        let used = digits
            .iter()
            .rposition(|digit| *digit != 0)
            .map_or(0, |at| at + 1);
        let tag: &[u8] = if negative && used > 0 { b"-" } else { b"+" };
        let bytes: Vec<u8> = digits[..used]
            .iter()
            .flat_map(|digit| digit.to_le_bytes())
            .collect();
        self.mac(tag, &bytes)
    }

    fn mac(&self, tag: &[u8], bytes: &[u8]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        mac.update(&[tag.len() as u8]);
        mac.update(tag);
        mac.update(bytes);
        let mut out = [0; 16];
        out.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        out
    }

    /// What else counts as nothing: as configured where that is no content, and the contents that it spells.
    fn seal_empty(&self, empty: &EmptyValue) -> Vec<EmptyValue> {
        let text = &*empty.0;
        let is_type = text.starts_with('<') && text.ends_with('>');
        let is_form = matches!(text, "" | "\"\"" | "b\"\"" | "{}" | "[]" | "()");
        let mut sealed = Vec::new();
        if is_type || is_form {
            sealed.push(empty.clone());
        }
        let mut spelled = |content| sealed.push(EmptyValue(Sealed::spelled(&content).into()));
        spelled(self.mac(b"str", text.as_bytes()));
        if let Ok(number) = text.parse::<i128>() {
            let mut rest = number.unsigned_abs();
            let mut digits = Vec::new();
            while rest > 0 {
                digits.push((rest & 0x3fff_ffff) as u32);
                rest >>= 30;
            }
            spelled(self.number(number < 0, &digits));
        }
        sealed
    }
}
