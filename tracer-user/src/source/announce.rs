//! Payloads of the reserved variables: `task|owner` and the like, or an object of JSON.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tracer_common::{
    MAX_TEXT,
    record::{RawValue, VALUE_FOUND, VALUE_REST, found, marker, repr},
};

use crate::{
    correlate::{
        announcement::{Announcement, Said},
        value::{Content, Found, Prefix, Value},
    },
    runtime::cpython::memory::characters,
};

/// What f-strings make of `None`.
const NONE: &str = "None";

/// What the payload of a marker says. `payload` is the object that was set, `values` are all that travelled.
pub fn announcement(marker: u8, payload: &Found, values: &[RawValue]) -> Announcement {
    let payload = match payload {
        Found::Value(value) => value,
        Found::Unset | Found::Unreadable | Found::Unresolved => return Announcement::Malformed,
    };
    let fields = match &payload.content {
        Content::None => Some(Fields::none(marker)),
        Content::Str(_) => whole_text(values).and_then(|text| Fields::of(marker, &text)),
        // A task may go by a number.
        Content::Int { .. } | Content::Bytes(_) => Some(Fields::default()),
        Content::Opaque | Content::Sealed(_) => None,
    };
    let told = fields.and_then(|fields| fields.announce(marker, payload));
    told.unwrap_or(Announcement::Malformed)
}

/// The text of a payload, if all of it travelled.
fn whole_text(values: &[RawValue]) -> Option<String> {
    let first = values.get(VALUE_FOUND)?;
    let width = match first.repr {
        repr::STR1 => 1,
        repr::STR2 => 2,
        repr::STR4 => 4,
        _ => return None,
    };
    let rest = values.get(VALUE_REST..).unwrap_or(&[]);
    let rest = rest.iter().take_while(|value| value.state == found::OBJECT);
    let mut bytes = Vec::new();
    for part in [first].into_iter().chain(rest) {
        bytes.extend_from_slice(part.text.get(..usize::from(part.text_len))?);
        if usize::from(part.text_len) < MAX_TEXT {
            break;
        }
    }
    let text: String = characters(&bytes, width)
        .map(char::from_u32)
        .collect::<Option<_>>()?;
    (text.chars().count() as u64 == first.len).then_some(text)
}

/// The parts of a payload: none if nothing is said of one.
#[derive(Debug, Default)]
struct Fields {
    task: Option<String>,
    /// The owner, principal or digest.
    subject: Option<String>,
}

/// What the second part of a payload is called.
const fn subject(marker: u8) -> &'static str {
    match marker {
        marker::TASK_MINTED => "owner",
        marker::DIGEST_PINNED | marker::DIGEST_VERIFIED => "digest",
        _ => "principal",
    }
}

impl Fields {
    /// Of `None`: there is nobody, or nothing. No task goes by it.
    fn none(marker: u8) -> Self {
        let subject = !matches!(marker, marker::TASK_MINTED | marker::TASK_SERVED);
        Self {
            task: None,
            subject: subject.then(String::new),
        }
    }

    fn of(marker: u8, text: &str) -> Option<Self> {
        if text.trim_start().starts_with('{') {
            let Ok(Json::Object(object)) = serde_json::from_str(text) else {
                return None;
            };
            return Some(Self {
                task: Self::field(&object, "task")?.filter(|task| !task.is_empty()),
                subject: Self::field(&object, subject(marker))?,
            });
        }
        let both = text.split_once('|');
        Some(match marker {
            marker::POLICY_CHECK => Self {
                task: None,
                subject: Some(text.to_owned()),
            },
            marker::DIGEST_PINNED | marker::DIGEST_VERIFIED => Self {
                task: both
                    .map(|(task, _)| task.to_owned())
                    .filter(|task| !task.is_empty()),
                subject: Some(both.map_or(text, |(_, digest)| digest).to_owned()),
            },
            _ => Self {
                task: Some(both.map_or(text, |(task, _)| task).to_owned()).filter(|task| !task.is_empty()),
                subject: both.map(|(_, whose)| whose.to_owned()),
            },
        })
    }

    /// A field of an object; none if it is nothing that can be compared.
    #[expect(
        clippy::option_option,
        reason = "a field that is not there is not one that makes no sense"
    )]
    fn field(object: &Map<String, Json>, name: &str) -> Option<Option<String>> {
        match object.get(name) {
            None => Some(None),
            Some(Json::Null) => Some(Some(String::new())),
            Some(Json::String(text)) => Some(Some(text.clone())),
            Some(Json::Number(number)) => Some(Some(number.to_string())),
            Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => None,
        }
    }

    fn announce(self, marker: u8, payload: &Value) -> Option<Announcement> {
        let whole = !matches!(payload.content, Content::Str(_) | Content::None);
        let task = match self.task {
            Some(text) => Some(value(payload, text)),
            None if whole => Some(payload.clone()),
            None => None,
        };
        let subject = match self.subject {
            None => Said::Nothing,
            Some(text) if text.is_empty() || text == NONE => Said::Empty,
            Some(text) => Said::Is(value(payload, text)),
        };
        Some(match marker {
            marker::TASK_MINTED => Announcement::TaskMinted {
                task: task?,
                owner: subject,
            },
            marker::TASK_SERVED => Announcement::TaskServed {
                task: task?,
                principal: subject,
            },
            _ if subject == Said::Nothing => return None,
            marker::POLICY_CHECK => Announcement::PolicyCheck { principal: subject },
            marker::DIGEST_PINNED => Announcement::DigestPinned { digest: subject },
            marker::DIGEST_VERIFIED => Announcement::DigestVerified {
                digest: subject,
                task,
            },
            _ => return None,
        })
    }
}

/// A part of a payload as a value of its own, to be compared by what it says.
fn value(payload: &Value, text: String) -> Value {
    let content = Content::Str(Prefix {
        len: text.chars().count() as u64,
        shown: Arc::from(text),
        whole: true,
    });
    Value {
        content,
        ..payload.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a record that tells of this text, as the kernel side fills them.
    fn told(text: &str) -> Vec<RawValue> {
        let blank: RawValue = bytemuck::Zeroable::zeroed();
        let mut values = vec![blank; 8];
        let wide = !text.is_ascii();
        let bytes: Vec<u8> = if wide {
            text.encode_utf16().flat_map(u16::to_le_bytes).collect()
        } else {
            text.bytes().collect()
        };
        let places = [VALUE_FOUND].into_iter().chain(VALUE_REST..8);
        for (place, part) in places.zip(bytes.chunks(MAX_TEXT)) {
            values[place].state = found::OBJECT;
            values[place].text[..part.len()].copy_from_slice(part);
            values[place].text_len = part.len() as u8;
        }
        values[VALUE_FOUND].state = found::OBJECT;
        values[VALUE_FOUND].repr = if wide { repr::STR2 } else { repr::STR1 };
        values[VALUE_FOUND].len = text.chars().count() as u64;
        values
    }

    fn says(marker: u8, text: &str) -> Announcement {
        let values = told(text);
        let payload = crate::runtime::cpython::value::found(&values[VALUE_FOUND], |_| None);
        announcement(marker, &payload, &values)
    }

    fn said(text: &Value) -> &str {
        match &text.content {
            Content::Str(text) => &text.shown,
            _ => panic!("{text:?} is no text"),
        }
    }

    /// `task -> owner`, with `-` for what is not said and `nobody` for what is empty.
    fn minted(text: &str) -> String {
        match says(marker::TASK_MINTED, text) {
            Announcement::TaskMinted { task, owner } => {
                let owner = match &owner {
                    Said::Nothing => "-",
                    Said::Empty => "nobody",
                    Said::Is(owner) => said(owner),
                };
                format!("{} -> {owner}", said(&task))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_task_and_its_owner_in_both_forms() {
        for (text, expected) in [
            ("t-1|acme", "t-1 -> acme"),
            ("t-1|auth0|17", "t-1 -> auth0|17"),
            ("t-1|", "t-1 -> nobody"),
            ("t-1|None", "t-1 -> nobody"),
            ("t-1", "t-1 -> -"),
            ("t-1|ümläut", "t-1 -> ümläut"),
            ("t-1|\u{65e5}\u{672c}", "t-1 -> \u{65e5}\u{672c}"),
            (r#"{"task": "t-1", "owner": "acme"}"#, "t-1 -> acme"),
            (r#"{"task": "t-1", "owner": null}"#, "t-1 -> nobody"),
            (r#" {"owner": "", "task": 7, "more": [1]}"#, "7 -> nobody"),
            (r#"{"task": "t-1"}"#, "t-1 -> -"),
            ("", "Malformed"),
            ("|acme", "Malformed"),
            ("{", "Malformed"),
            (r#"{"owner": "acme"}"#, "Malformed"),
            (r#"{"task": "", "owner": "acme"}"#, "Malformed"),
            (r#"{"task": ["t-1"]}"#, "Malformed"),
            (r#"{"task": "t-1", "owner": {}}"#, "Malformed"),
        ] {
            assert_eq!(minted(text), expected, "{text}");
        }
    }

    #[test]
    fn a_payload_is_understood_up_to_what_can_travel() {
        let room = MAX_TEXT * 6;
        let text = |len: usize| format!("t|{}", "x".repeat(len - 2));
        for len in [MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, 2 * MAX_TEXT, room - 1, room] {
            assert_eq!(minted(&text(len)).len(), len + 3, "{len}");
        }
        assert_eq!(
            says(marker::TASK_MINTED, &text(room + 1)),
            Announcement::Malformed
        );
    }

    #[test]
    fn what_was_set_besides_texts() {
        let blank: RawValue = bytemuck::Zeroable::zeroed();
        let mut raw = RawValue {
            state: found::OBJECT,
            repr: repr::INT,
            len: 1,
            text_len: 4,
            ..blank
        };
        let of = |marker, raw: &RawValue| {
            let payload = crate::runtime::cpython::value::found(raw, |_| None);
            announcement(marker, &payload, &[*raw])
        };
        assert!(matches!(
            of(marker::TASK_MINTED, &raw),
            Announcement::TaskMinted {
                owner: Said::Nothing,
                ..
            }
        ));
        assert_eq!(of(marker::POLICY_CHECK, &raw), Announcement::Malformed);
        (raw.repr, raw.text_len) = (repr::NONE, 0);
        assert_eq!(
            of(marker::POLICY_CHECK, &raw),
            Announcement::PolicyCheck {
                principal: Said::Empty
            }
        );
        assert!(matches!(
            of(marker::DIGEST_VERIFIED, &raw),
            Announcement::DigestVerified {
                digest: Said::Empty,
                task: None
            }
        ));
        assert_eq!(of(marker::TASK_MINTED, &raw), Announcement::Malformed);
        raw.state = found::UNREADABLE;
        assert_eq!(of(marker::POLICY_CHECK, &raw), Announcement::Malformed);
    }

    #[test]
    fn a_digest_may_name_its_task() {
        let digest = |text| match says(marker::DIGEST_VERIFIED, text) {
            Announcement::DigestVerified { digest, task } => (
                task.map(|task| said(&task).to_owned()),
                match digest {
                    Said::Is(digest) => said(&digest).to_owned(),
                    other => format!("{other:?}"),
                },
            ),
            other => panic!("{other:?}"),
        };
        let task = || Some("t-1".to_owned());
        assert_eq!(digest("sha256:1"), (None, "sha256:1".to_owned()));
        assert_eq!(digest(""), (None, "Empty".to_owned()));
        assert_eq!(digest("t-1|sha256:1"), (task(), "sha256:1".to_owned()));
        assert_eq!(digest("t-1|"), (task(), "Empty".to_owned()));
        assert_eq!(
            digest(r#"{"task": "t-1", "digest": null}"#),
            (task(), "Empty".to_owned())
        );
    }
}
