//! Credentials, task handles and session ids: secrets that are known by keyed hashes only, with a key of the run.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Bytes of a token that are looked into for who it is for.
const TOKEN_LIMIT: usize = 16 * 1024;

/// A keyed hash of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Fingerprint([u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{self}")
    }
}

/// What a fingerprint is of. The same text has other fingerprints as something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Credentials of a request.
    Credential,
    /// Issuer and subject of a token.
    Subject,
    /// A task handle.
    Task,
    /// A session id.
    Session,
    /// A JSON-RPC id that is no number.
    Id,
}

/// Makes fingerprints.
#[derive(Clone)]
pub struct Hasher {
    keyed: Hmac<Sha256>,
}

impl Hasher {
    /// By this key, which has to be the run's own.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            keyed: Hmac::new_from_slice(key).expect("an HMAC takes a key of any length"),
        }
    }

    /// The fingerprint of the parts in their order.
    pub fn hash(&self, tag: Tag, parts: &[&[u8]]) -> Fingerprint {
        let mut mac = self.keyed.clone();
        mac.update(&[tag as u8]);
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let mut out = [0; 16];
        out.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        Fingerprint(out)
    }
}

// The key must not reach a log.
impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// Who asks, as far as a request's headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Credential {
    /// All credentials of the request.
    pub whole: Fingerprint,
    /// Issuer and subject (or client) of its token, if it is a JWT that names both.
    pub subject: Option<Fingerprint>,
    /// The other credentials of the request, if it has some.
    pub others: Option<Fingerprint>,
}

/// Two requests' credentials, compared (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamePrincipal {
    /// One principal.
    Yes,
    /// Tokens of different subjects.
    No,
    /// Different credentials that say nothing about whose they are.
    Unclear,
}

impl Credential {
    /// The credentials of a request: names of headers, in lower case, with their values.
    pub fn of(hasher: &Hasher, headers: &[(&[u8], &[u8])]) -> Option<Self> {
        if headers.is_empty() {
            return None;
        }
        let mut parts: Vec<(Vec<u8>, Vec<u8>)> = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), normal(value)))
            .collect();
        // Of one that is made for a single request nobody can tell whose it is.
        if parts.iter().any(|(_, value)| is_for_one_request(value)) {
            return None;
        }
        parts.sort();
        let hash = |parts: &[&(Vec<u8>, Vec<u8>)]| {
            let flat: Vec<&[u8]> = parts.iter().flat_map(|(n, v)| [&n[..], &v[..]]).collect();
            hasher.hash(Tag::Credential, &flat)
        };
        let subjects: Vec<_> = parts.iter().map(|(_, value)| subject(hasher, value)).collect();
        let token = subjects.iter().position(Option::is_some);
        let others: Vec<_> = parts
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != token)
            .map(|(_, part)| part)
            .collect();
        Some(Self {
            whole: hash(&parts.iter().collect::<Vec<_>>()),
            subject: token.and_then(|at| subjects[at]),
            others: (token.is_some() && !others.is_empty()).then(|| hash(&others)),
        })
    }

    /// Whether the two are of one principal.
    pub fn same_principal(&self, other: &Self) -> SamePrincipal {
        match (self.subject, other.subject) {
            _ if self.whole == other.whole => SamePrincipal::Yes,
            // A gateway's own token, which comes with what tells its clients apart.
            (Some(a), Some(b)) if a == b && self.others != other.others => SamePrincipal::Unclear,
            (Some(a), Some(b)) if a == b => SamePrincipal::Yes,
            (Some(_), Some(_)) => SamePrincipal::No,
            _ => SamePrincipal::Unclear,
        }
    }
}

/// Schemes of `Authorization` that say something else with each request: signatures, answers to challenges.
const FOR_ONE_REQUEST: [&[u8]; 6] = [
    b"aws4-hmac-sha256",
    b"digest",
    b"hawk",
    b"negotiate",
    b"ntlm",
    b"signature",
];

fn is_for_one_request(value: &[u8]) -> bool {
    let scheme = value.split(|byte| *byte == b' ').next();
    value.contains(&b' ') && scheme.is_some_and(|scheme| FOR_ONE_REQUEST.contains(&scheme))
}

/// The scheme is spelled in either case, and spaces around do not count.
fn normal(value: &[u8]) -> Vec<u8> {
    let mut value = value.trim_ascii().to_vec();
    if let Some(space) = value.iter().position(|byte| *byte == b' ') {
        value[..space].make_ascii_lowercase();
    }
    value
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: std::borrow::Cow<'a, str>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    azp: Option<String>,
}

/// Who a signed token is for. Whether the signature is right is the server's affair: a token that it refused gets no answer.
fn subject(hasher: &Hasher, value: &[u8]) -> Option<Fingerprint> {
    let token = value.trim_ascii().rsplit(|byte| *byte == b' ').next()?;
    if token.len() > TOKEN_LIMIT {
        return None;
    }
    let mut segments = token.split(|byte| *byte == b'.');
    let (_, payload, _) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims<'_> = serde_json::from_slice(&payload).ok()?;
    let iss = claims.iss.as_bytes();
    match (claims.sub, claims.client_id.or(claims.azp)) {
        (Some(sub), _) => Some(hasher.hash(Tag::Subject, &[iss, b"sub", sub.as_bytes()])),
        (None, Some(client)) => Some(hasher.hash(Tag::Subject, &[iss, b"client", client.as_bytes()])),
        (None, None) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn hasher() -> Hasher {
        Hasher::new(&[7; 32])
    }

    /// A signed token with these claims.
    pub(in crate::wire) fn token(claims: &str, signature: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{signature}", encode(r#"{"alg":"RS256"}"#), encode(claims))
    }

    fn bearer(token: &str) -> Credential {
        let value = format!("Bearer {token}");
        Credential::of(&hasher(), &[(b"authorization", value.as_bytes())]).unwrap()
    }

    #[test]
    fn a_refreshed_token_is_of_the_same_principal() {
        let before = bearer(&token(r#"{"iss":"https://id","sub":"acme","exp":1}"#, "a"));
        let after = bearer(&token(r#"{"iss":"https://id","sub":"acme","exp":2}"#, "b"));
        let other = bearer(&token(r#"{"iss":"https://id","sub":"globex","exp":2}"#, "b"));
        let elsewhere = bearer(&token(r#"{"iss":"https://other","sub":"acme","exp":2}"#, "b"));
        assert_ne!(before, after);
        assert_eq!(before.same_principal(&after), SamePrincipal::Yes);
        assert_eq!(before.same_principal(&other), SamePrincipal::No);
        assert_eq!(before.same_principal(&elsewhere), SamePrincipal::No);
        let client = bearer(&token(r#"{"iss":"https://id","client_id":"acme"}"#, "c"));
        let client_again = bearer(&token(r#"{"iss":"https://id","client_id":"acme","n":1}"#, "c"));
        assert_eq!(client.same_principal(&client_again), SamePrincipal::Yes);
        assert_eq!(
            client.same_principal(&before),
            SamePrincipal::No,
            "a client is no user of that name"
        );
    }

    #[test]
    fn opaque_credentials_are_compared_whole() {
        assert_eq!(bearer("a").same_principal(&bearer("a")), SamePrincipal::Yes);
        assert_eq!(bearer("a").same_principal(&bearer("b")), SamePrincipal::Unclear);
        for opaque in ["a.b", "a.b.c", "a.b.c.d", "..", "a.e30.c", "a.eyJpc3MiOiJ4In0.c"] {
            assert_eq!(bearer(opaque).subject, None, "{opaque}");
        }
        let lower = Credential::of(&hasher(), &[(b"Authorization", b"bearer a ")]).unwrap();
        assert_eq!(lower, bearer("a"), "scheme and header name in any case");
        let ordered = Credential::of(&hasher(), &[(b"x-api-key", b"1"), (b"authorization", b"2")]);
        let otherwise = Credential::of(&hasher(), &[(b"authorization", b"2"), (b"x-api-key", b"1")]);
        assert_eq!(ordered, otherwise);
        assert_eq!(Credential::of(&hasher(), &[]), None);
    }

    #[test]
    fn a_gateways_token_says_nothing_of_its_clients() {
        let with = |key: &str, n: u32| {
            let token = token(&format!(r#"{{"iss":"https://id","sub":"gateway","n":{n}}}"#), "a");
            let bearer = format!("Bearer {token}");
            let headers = [
                (&b"authorization"[..], bearer.as_bytes()),
                (b"x-api-key", key.as_bytes()),
            ];
            Credential::of(&hasher(), &headers).unwrap()
        };
        assert_eq!(
            with("acme", 1).same_principal(&with("acme", 2)),
            SamePrincipal::Yes
        );
        assert_eq!(
            with("acme", 1).same_principal(&with("globex", 1)),
            SamePrincipal::Unclear
        );
    }

    #[test]
    fn what_is_made_for_one_request_says_nothing() {
        for value in [
            "Digest username=\"a\", nonce=\"1\"",
            "AWS4-HMAC-SHA256 Credential=a",
            "Negotiate YII=",
        ] {
            let headers = [(&b"authorization"[..], value.as_bytes())];
            assert_eq!(Credential::of(&hasher(), &headers), None, "{value}");
        }
        let key = [(&b"x-api-key"[..], &b"digest"[..])];
        assert!(Credential::of(&hasher(), &key).is_some(), "a key of that name");
    }

    #[test]
    fn fingerprints_depend_on_key_tag_and_parts() {
        let hash = |tag, parts: &[&[u8]]| hasher().hash(tag, parts);
        assert_eq!(hash(Tag::Task, &[b"a"]), hash(Tag::Task, &[b"a"]));
        assert_ne!(hash(Tag::Task, &[b"a"]), hash(Tag::Session, &[b"a"]));
        assert_ne!(hash(Tag::Task, &[b"ab", b"c"]), hash(Tag::Task, &[b"a", b"bc"]));
        assert_ne!(
            hash(Tag::Task, &[b"a"]),
            Hasher::new(&[8; 32]).hash(Tag::Task, &[b"a"])
        );
    }

    #[test]
    fn neither_key_nor_secret_is_shown() {
        let all = format!("{:?} {:?}", hasher(), bearer("sesame"));
        assert!(!all.contains("sesame") && !all.contains("7, 7"), "{all}");
    }
}
