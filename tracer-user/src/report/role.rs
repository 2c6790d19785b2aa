//! What a variable may be for, by its name and by what is bound to it. A suggestion, no more: the operator decides.

use crate::{
    config::{DEFAULT_IDENTITY, DEFAULT_REQUEST},
    correlate::event::Role,
};

/// Words of a name that say whom a request is for.
const IDENTITY: [&str; 18] = [
    "account",
    "actor",
    "auth",
    "caller",
    "client",
    "customer",
    "identity",
    "org",
    "organisation",
    "organization",
    "owner",
    "principal",
    "subject",
    "tenant",
    "user",
    "userid",
    "username",
    "workspace",
];
/// Words that say which request it is, beside a word for its id.
const REQUEST: [&str; 5] = ["correlation", "req", "request", "trace", "transaction"];
const ID: [&str; 5] = ["context", "ctx", "id", "uid", "uuid"];
/// Words that say a pinned digest.
const DIGEST: [&str; 8] = [
    "checksum",
    "digest",
    "etag",
    "fingerprint",
    "pin",
    "pinned",
    "sha1",
    "sha256",
];
/// Types that hold none of these.
const NEITHER: [&str; 5] = [
    "bool",
    "float",
    "function",
    "method",
    "builtin_function_or_method",
];

/// What a variable may be watched as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// As what.
    pub role: Role,
    /// Why.
    pub why: String,
}

/// The role that fits best, if one does. `types` are those of the values that were bound.
pub fn suggest(name: &str, types: &[&str], binds: u64) -> Option<Suggestion> {
    if !types.is_empty() && types.iter().all(|name| NEITHER.contains(name)) {
        return None;
    }
    let words = words(name);
    let has = |list: &[&str]| words.iter().find(|word| list.contains(&word.as_str()));
    let (role, mut why) = if DEFAULT_IDENTITY.contains(&name) {
        (Role::Identity, "a well-known name".to_owned())
    } else if DEFAULT_REQUEST.contains(&name) {
        (Role::Request, "a well-known name".to_owned())
    } else if let Some(word) = has(&DIGEST) {
        (Role::Digest, format!("its name says {word}"))
    } else if let (Some(word), Some(_)) = (has(&REQUEST), has(&ID)) {
        (Role::Request, format!("its name says {word}"))
    } else if let Some(word) = has(&IDENTITY) {
        (Role::Identity, format!("its name says {word}"))
    } else {
        return None;
    };
    if binds == 0 {
        why.push_str("; it was never bound here");
    }
    Some(Suggestion { role, why })
}

/// `current_toolPin.v2` as `current`, `tool`, `pin`, `v2`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        let starts = !c.is_alphanumeric() || (lower && c.is_uppercase());
        if starts {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_decide() {
        let role = |name: &str, types: &[&str]| suggest(name, types, 1).map(|s| s.role.name());
        for (name, expected) in [
            ("tenant", Some("identity")),
            ("identity_context", Some("identity")),
            ("currentUser", Some("identity")),
            ("request_id", Some("request")),
            ("x-correlation-id", Some("request")),
            ("TRACE_ID", Some("request")),
            ("current_tool_pin", Some("digest")),
            ("request_digest", Some("digest")),
            ("request", None),
            ("depth", None),
            ("opinion", None),
            ("reuser", None),
            ("", None),
        ] {
            assert_eq!(role(name, &["str"]), expected, "{name}");
        }
        assert_eq!(role("auth_enabled", &["bool"]), None);
        assert_eq!(role("user", &["bool", "User"]), Some("identity"));
        assert_eq!(role("user", &[]), Some("identity"));
    }

    #[test]
    fn it_says_when_nothing_was_bound() {
        let why = |binds| suggest("tenant", &[], binds).map(|s| s.why);
        assert_eq!(why(1).as_deref(), Some("a well-known name"));
        assert_eq!(
            why(0).as_deref(),
            Some("a well-known name; it was never bound here")
        );
    }
}
