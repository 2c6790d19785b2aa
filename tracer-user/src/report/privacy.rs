//! Identities leave the agent as keyed hashes, unless the operator wants to see them; and nothing that a target wrote may steer
//! a terminal.

use std::{
    fmt::{self, Write as _},
    io,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::correlate::{
    sealed::Kind,
    value::{Content, Prefix, Value},
};

/// Characters of a name (type, function, service) that are shown.
const NAME_LIMIT: usize = 200;
/// 30-bit digits of an `int` that are shown.
const DIGIT_LIMIT: usize = 64;
/// Bytes that a key file must have at least.
const KEY_MINIMUM: usize = 16;
/// Bytes of a key file that are read at most.
const KEY_MAXIMUM: u64 = 64 * 1024;

/// How values are shown.
#[derive(Clone)]
pub struct Privacy {
    reveal: bool,
    /// What was shown when it was sealed is not shown again.
    conceal: bool,
    key: [u8; 32],
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// The kernel gave no random bytes.
    #[error("no random bytes from the kernel for the hash key: {0}")]
    Random(#[source] io::Error),
    /// The key file could not be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file holds too little to be a secret.
    #[error("the key file {} has {len} bytes, fewer than {KEY_MINIMUM}", path.display())]
    ShortKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
}

impl Privacy {
    /// Shows values by this key.
    pub const fn new(reveal: bool, key: [u8; 32]) -> Self {
        Self {
            reveal,
            conceal: false,
            key,
        }
    }

    /// The same, and what a recording shows is not shown either.
    #[must_use]
    pub const fn concealing(self) -> Self {
        Self {
            conceal: true,
            ..self
        }
    }

    /// Draws a key for this run: its hashes mean nothing to another run.
    pub fn random(reveal: bool) -> Result<Self, PrivacyError> {
        let mut key = [0; 32];
        let mut filled = 0;
        while filled < key.len() {
            filled += getrandom(&mut key[filled..], GetRandomFlags::empty())
                .map_err(|errno| PrivacyError::Random(errno.into()))?;
        }
        Ok(Self::new(reveal, key))
    }

    /// Derives the key from a file, so that hashes agree across restarts and nodes.
    pub fn from_key_file(reveal: bool, path: &Path) -> Result<Self, PrivacyError> {
        use io::Read as _;
        let mut secret = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(KEY_MAXIMUM).read_to_end(&mut secret))
            .map_err(|source| PrivacyError::KeyFile {
                path: path.into(),
                source,
            })?;
        if secret.len() < KEY_MINIMUM {
            return Err(PrivacyError::ShortKey {
                path: path.into(),
                len: secret.len(),
            });
        }
        Ok(Self::new(reveal, Sha256::digest(&secret).into()))
    }

    /// The same key, and values shown or not.
    #[must_use]
    pub const fn with_reveal(&self, reveal: bool) -> Self {
        Self {
            reveal,
            conceal: self.conceal,
            key: self.key,
        }
    }

    /// A key for another purpose, as secret as this one and as lasting.
    pub fn derived_key(&self, purpose: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        mac.update(b"key");
        mac.update(purpose);
        mac.finalize().into_bytes().into()
    }

    /// A value as it may leave the agent.
    pub fn render(&self, value: &Value) -> Rendered {
        let (kind, len, empty) = match &value.content {
            Content::None => ("NoneType", None, true),
            Content::Str(text) => ("str", Some(text.len), text.len == 0),
            Content::Bytes(bytes) => ("bytes", Some(bytes.len), bytes.len == 0),
            Content::Int { .. } => ("int", None, false),
            Content::Opaque => ("object", None, false),
            Content::Sealed(sealed) => match sealed.kind {
                Kind::None => ("NoneType", None, true),
                Kind::Str => ("str", Some(sealed.len), sealed.len == 0),
                Kind::Bytes => ("bytes", Some(sealed.len), sealed.len == 0),
                Kind::Int => ("int", None, false),
                Kind::Opaque => ("object", None, false),
            },
        };
        Rendered {
            type_name: value.type_name.as_deref().map_or_else(|| kind.to_owned(), clean),
            len,
            empty,
            hash: hex(self.hash(value)),
            value: self.shown(value),
        }
    }

    /// The value itself, escaped, if the operator said so; of a sealed one, if it was said then.
    pub(crate) fn shown(&self, value: &Value) -> Option<String> {
        match &value.content {
            Content::Sealed(_) if self.conceal => None,
            Content::Sealed(sealed) => sealed.shown.as_deref().map(printable),
            _ => self.reveal.then(|| reveal(value)),
        }
    }

    /// A keyed hash that is equal for values that compare as the same, and, where content cannot be compared, for the same object.
    pub(crate) fn hash(&self, value: &Value) -> [u8; 8] {
        if let Content::Sealed(sealed) = &value.content {
            return sealed.hash;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        let mut part = |tag: &[u8], bytes: &mut dyn Iterator<Item = u8>, len: u64, whole: bool| {
            mac.update(tag);
            mac.update(&len.to_le_bytes());
            for byte in bytes {
                mac.update(&[byte]);
            }
            if !whole {
                mac.update(b"@");
                mac.update(&value.object.to_le_bytes());
            }
        };
        match &value.content {
            Content::Sealed(_) => {}
            Content::None => part(b"none", &mut [].into_iter(), 0, true),
            Content::Str(text) => part(b"str", &mut text.shown.bytes(), text.len, text.whole),
            Content::Bytes(bytes) => part(b"bytes", &mut bytes.shown.iter().copied(), bytes.len, bytes.whole),
            Content::Int { negative, digits } => part(
                if *negative { b"negative int" } else { b"int" },
                &mut digits.shown.iter().flat_map(|digit| digit.to_le_bytes()),
                digits.len,
                digits.whole,
            ),
            Content::Opaque => {
                part(
                    b"object",
                    &mut value.type_name.as_deref().unwrap_or_default().bytes(),
                    0,
                    false,
                );
            }
        }
        let mut out = [0; 8];
        out.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        out
    }
}

fn hex(bytes: [u8; 8]) -> String {
    bytes.iter().fold(String::with_capacity(16), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What was escaped already stays as it is; what a recording holds need not have been.
fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '"' | '\'' | '\\' => out.push(c),
                _ => push(&mut out, c),
            }
            out
        })
}

// A key must not reach a log by accident.
impl fmt::Debug for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Privacy")
            .field("reveal", &self.reveal)
            .finish_non_exhaustive()
    }
}

/// A value as it may leave the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Characters of a `str`, bytes of a `bytes`.
    pub len: Option<u64>,
    /// `None`, or of length 0.
    pub empty: bool,
    /// Keyed hash: equal for equal values.
    pub hash: String,
    /// The value itself, escaped, if the operator said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.len) {
            (Some(value), _) => f.write_str(value),
            (None, Some(len)) => write!(f, "{}[{len}] #{}", self.type_name, self.hash),
            (None, None) => write!(f, "{} #{}", self.type_name, self.hash),
        }
    }
}

fn reveal(value: &Value) -> String {
    match &value.content {
        Content::None => "None".to_owned(),
        Content::Str(text) => {
            let mut out = String::from("\"");
            text.shown.chars().for_each(|c| push(&mut out, c));
            close(out, text, "characters")
        }
        Content::Bytes(bytes) => {
            let mut out = String::from("b\"");
            bytes
                .shown
                .iter()
                .for_each(|byte| out.extend(byte.escape_ascii().map(char::from)));
            close(out, bytes, "bytes")
        }
        Content::Int { negative, digits } => {
            let sign = if *negative { "-" } else { "" };
            if digits.whole && digits.shown.len() <= DIGIT_LIMIT {
                format!("{sign}{}", decimal(&digits.shown))
            } else {
                format!("{sign}\u{2026} ({} bits)", digits.len.saturating_mul(30))
            }
        }
        Content::Opaque | Content::Sealed(_) => {
            let name = value
                .type_name
                .as_deref()
                .map_or_else(|| "object".to_owned(), clean);
            format!("<{name} at {:#x}>", value.object)
        }
    }
}

fn close<T: ?Sized>(mut out: String, prefix: &Prefix<T>, unit: &str) -> String {
    out.push('"');
    if !prefix.whole {
        let _ = write!(out, "\u{2026} ({} {unit})", prefix.len);
    }
    out
}

/// Little-endian 30-bit digits as a decimal number.
fn decimal(digits: &[u32]) -> String {
    const BASE: u64 = 1_000_000_000;
    let mut groups: Vec<u64> = vec![0];
    for digit in digits.iter().rev() {
        let mut carry = u64::from(*digit);
        for group in &mut groups {
            let sum = (*group << 30) + carry;
            *group = sum % BASE;
            carry = sum / BASE;
        }
        while carry > 0 {
            groups.push(carry % BASE);
            carry /= BASE;
        }
    }
    let mut out = groups.pop().unwrap_or_default().to_string();
    for group in groups.iter().rev() {
        let _ = write!(out, "{group:09}");
    }
    out
}

/// Adds a character, escaped where it is not printable, or turns the text around it about.
fn push(out: &mut String, c: char) {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if turns {
        out.extend(c.escape_unicode());
    } else {
        out.extend(c.escape_debug());
    }
}

/// A name that a target chose, made fit for a terminal and a log: what is not printable is escaped, and what is long ends early.
pub fn clean(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(NAME_LIMIT));
    for (at, c) in name.chars().enumerate() {
        if at == NAME_LIMIT {
            let _ = write!(out, "\u{2026} ({} bytes)", name.len());
            break;
        }
        match c {
            '"' | '\'' => out.push(c),
            _ => push(&mut out, c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn value(content: Content, object: u64) -> Value {
        Value {
            root: object,
            items: None,
            object,
            type_object: 1,
            type_name: None,
            content,
        }
    }

    fn text(shown: &str, len: u64, object: u64) -> Value {
        let whole = len == shown.chars().count() as u64;
        value(
            Content::Str(Prefix {
                shown: shown.into(),
                len,
                whole,
            }),
            object,
        )
    }

    fn int(negative: bool, digits: &[u32]) -> Value {
        let digits = Prefix {
            shown: digits.into(),
            len: digits.len() as u64,
            whole: true,
        };
        value(Content::Int { negative, digits }, 7)
    }

    fn hidden() -> Privacy {
        Privacy::new(false, [7; 32])
    }

    fn shown(value: &Value) -> String {
        Privacy::new(true, [7; 32]).render(value).to_string()
    }

    #[test]
    fn equal_values_have_equal_hashes_and_nothing_else_has() {
        let hash = |value: &Value| hidden().render(value).hash;
        assert_eq!(hash(&text("acme", 4, 1)), hash(&text("acme", 4, 2)));
        assert_ne!(hash(&text("acme", 4, 1)), hash(&text("globex", 6, 1)));
        let bytes = value(
            Content::Bytes(Prefix {
                shown: (*b"acme").into(),
                len: 4,
                whole: true,
            }),
            1,
        );
        assert_ne!(hash(&text("acme", 4, 1)), hash(&bytes));
        assert_ne!(hash(&int(false, &[5])), hash(&int(true, &[5])));
        assert_eq!(hash(&text("long", 900, 1)), hash(&text("long", 900, 1)));
        assert_ne!(
            hash(&text("long", 900, 1)),
            hash(&text("long", 900, 2)),
            "the rest may differ"
        );
        assert_eq!(hash(&value(Content::Opaque, 3)), hash(&value(Content::Opaque, 3)));
        assert_ne!(hash(&value(Content::Opaque, 3)), hash(&value(Content::Opaque, 4)));
    }

    #[test]
    fn another_key_gives_other_hashes() {
        let acme = text("acme", 4, 1);
        assert_ne!(
            hidden().render(&acme).hash,
            Privacy::new(false, [8; 32]).render(&acme).hash
        );
        let (a, b) = (Privacy::random(false).unwrap(), Privacy::random(false).unwrap());
        assert_ne!(a.render(&acme).hash, b.render(&acme).hash);
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_by_key() {
        let wire = hidden().derived_key(b"wire");
        assert_eq!(wire, Privacy::new(true, [7; 32]).derived_key(b"wire"));
        assert_ne!(wire, hidden().derived_key(b"other"));
        assert_ne!(wire, Privacy::new(false, [8; 32]).derived_key(b"wire"));
    }

    #[test]
    fn hidden_values_show_type_length_and_emptiness_only() {
        let rendered = hidden().render(&text("acme", 4, 1));
        assert_eq!(
            (rendered.len, rendered.empty, rendered.value.as_ref()),
            (Some(4), false, None)
        );
        assert_eq!(rendered.to_string(), format!("str[4] #{}", rendered.hash));
        assert!(hidden().render(&text("", 0, 1)).empty);
        assert!(hidden().render(&value(Content::None, 1)).empty);
        assert!(!hidden().render(&int(false, &[])).empty, "0 is a value");
        assert!(
            !format!("{:?}", hidden()).contains('7'),
            "the key stays out of logs"
        );
    }

    #[test]
    fn hostile_text_is_escaped() {
        let hostile = text("\u{1b}[2Jacme\n\u{9b}31m\u{202e}\u{7f}\"\u{e9}", 18, 1);
        assert_eq!(
            shown(&hostile),
            r#""\u{1b}[2Jacme\n\u{9b}31m\u{202e}\u{7f}\"é""#.to_owned() + "\u{2026} (18 characters)"
        );
        assert_eq!(clean("a\r\n\u{1b}]0;x\u{7}'b'"), r"a\r\n\u{1b}]0;x\u{7}'b'");
        assert!(clean(&"x".repeat(5_000)).len() < NAME_LIMIT + 30);
        let mut named = value(Content::Opaque, 0x10);
        named.type_name = Some(Arc::from("\u{1b}[31mTenant"));
        assert_eq!(shown(&named), r"<\u{1b}[31mTenant at 0x10>");
        assert_eq!(hidden().render(&named).type_name, r"\u{1b}[31mTenant");
    }

    #[test]
    fn revealed_numbers_and_bytes() {
        assert_eq!(shown(&int(false, &[])), "0");
        assert_eq!(shown(&int(true, &[42])), "-42");
        assert_eq!(shown(&int(false, &[0, 0, 0, 256])), (1_u128 << 98).to_string());
        let huge = Prefix {
            shown: [1_u32; 16].into(),
            len: 4_000,
            whole: false,
        };
        assert_eq!(
            shown(&value(
                Content::Int {
                    negative: false,
                    digits: huge
                },
                1
            )),
            "\u{2026} (120000 bits)"
        );
        let bytes = value(
            Content::Bytes(Prefix {
                shown: (*b"\x1b\"a").into(),
                len: 70,
                whole: false,
            }),
            1,
        );
        assert_eq!(shown(&bytes), "b\"\\x1b\\\"a\"\u{2026} (70 bytes)");
    }

    #[test]
    fn key_files() {
        let path = std::env::temp_dir().join(format!("bleedtrace-key-{}", std::process::id()));
        std::fs::write(&path, "short").unwrap();
        let error = Privacy::from_key_file(false, &path).unwrap_err().to_string();
        assert!(error.ends_with("has 5 bytes, fewer than 16"), "{error}");
        std::fs::write(&path, "a secret of some length").unwrap();
        let acme = text("acme", 4, 1);
        let (a, b) = (
            Privacy::from_key_file(false, &path).unwrap(),
            Privacy::from_key_file(true, &path).unwrap(),
        );
        assert_eq!(a.render(&acme).hash, b.render(&acme).hash);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            Privacy::from_key_file(false, &path),
            Err(PrivacyError::KeyFile { .. })
        ));
    }

    #[test]
    fn what_a_recording_shows_is_shown_again_unless_it_is_to_be_concealed() {
        use crate::correlate::sealed::Sealed;
        let sealed = Sealed {
            kind: Kind::Str,
            len: 4,
            whole: true,
            content: [7; 16],
            hash: [7; 8],
            shown: Some("\"acme\"".into()),
            handle: None,
        };
        let value = Value {
            content: Content::Sealed(sealed.into()),
            ..crate::report::samples::text("acme")
        };
        let privacy = Privacy::new(false, [0; 32]);
        assert_eq!(privacy.render(&value).value.as_deref(), Some("\"acme\""));
        let rendered = privacy.concealing().with_reveal(true).render(&value);
        assert_eq!(rendered.value, None);
        assert_eq!(rendered.hash, "0707070707070707");
    }
}
