//! Who may see what.
//!
//! - How the run is (`/healthz`, `/readyz`) anybody may know: it names nothing and nobody.
//! - Metrics are for whoever reaches the address, or, where there is a token, for whoever has it.
//! - Findings and targets are for whoever has the token; without one, for root and for the user who runs the agent or called sudo, on this
//!   machine: any program of any user can connect to a loopback address.

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Listen, peer::Connection, problem::Problem};

/// Characters that a token must have, at least and at most.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=4096;
/// The user that those stand for who have no number here: many different ones.
const NOBODY: u32 = 65_534;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read.
    #[error("cannot read the token file {}: {source}\nhint: give a readable file with --listen-token-file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is no token.
    #[error(
        "the token file {} holds no token of {} to {} visible characters\nhint: make one: openssl rand -hex 32 > FILE",
        path.display(), TOKEN.start(), TOKEN.end()
    )]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// Who may see what.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Digest of the token, so that comparing takes the same time for every length.
    token: Option<[u8; 32]>,
    viewers: Arc<[u32]>,
}

impl Access {
    pub(super) fn new(listen: &Listen) -> Result<Self, TokenError> {
        let token = listen.token_file.as_deref().map(read_token).transpose()?;
        Ok(Self {
            token: token.map(|token| digest(&token)),
            viewers: listen.viewers.clone().into(),
        })
    }

    /// Whether a request has the token, if there is one.
    fn has_token(&self, headers: &HeaderMap) -> Option<bool> {
        let wanted = self.token?;
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| token(value.as_bytes()));
        Some(given.is_some_and(|given| digest(&given).ct_eq(&wanted).into()))
    }

    /// Metrics: with the token, if there is one.
    fn metrics(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self.has_token(headers) {
            None | Some(true) => Ok(()),
            Some(false) => Err(Problem::unauthorized()),
        }
    }

    /// What names somebody's programs.
    async fn details(&self, headers: &HeaderMap, connection: Connection) -> Result<(), Problem> {
        match self.has_token(headers) {
            Some(true) => return Ok(()),
            Some(false) => return Err(Problem::unauthorized()),
            None => {}
        }
        if !connection.is_local() || !names_this_machine(headers) {
            return Err(Problem::forbidden());
        }
        let owner = tokio::task::spawn_blocking(move || connection.owner()).await;
        match owner.ok().flatten() {
            Some(uid) if uid != NOBODY && self.viewers.contains(&uid) => Ok(()),
            _ => Err(Problem::forbidden()),
        }
    }
}

/// Lets a request for metrics through, or not.
pub(super) async fn metrics(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.metrics(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets a request for findings or targets through, or not.
pub(super) async fn details(
    State(access): State<Access>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    match access.details(request.headers(), connection).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether the request is for an address of this machine by its number or as `localhost`: a page from elsewhere, whose name was made to
/// lead here, is not.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The token of a request: `Bearer TOKEN`, or as the password of `Basic`, which browsers ask for.
fn token(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(authorization.iter().position(|b| *b == b' ')?)?;
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn read_token(path: &Path) -> Result<Vec<u8>, TokenError> {
    let unreadable = |source| TokenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // A line break and more may follow the token.
    let most = 2 * *TOKEN.end() as u64;
    file.take(most).read_to_end(&mut text).map_err(unreadable)?;
    let token = text.trim_ascii();
    if TOKEN.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
        Ok(token.to_vec())
    } else {
        Err(TokenError::NoToken {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn host(name: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, name.parse().unwrap())])
    }

    #[test]
    fn names_of_this_machine() {
        for name in [
            "localhost",
            "LocalHost:9464",
            "127.0.0.1:9464",
            "127.8.9.1",
            "[::1]:9464",
            "[::1]",
        ] {
            assert!(names_this_machine(&host(name)), "{name}");
        }
        for name in [
            "evil.example:9464",
            "10.0.0.1",
            "[::2]:9464",
            "",
            "localhost.evil.example",
            "[::1",
        ] {
            let is = names_this_machine(&host(name));
            assert_eq!(is, name == "[::1", "{name}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn tokens_of_requests() {
        let token = |header: &str| token(header.as_bytes()).map(|token| String::from_utf8(token).unwrap());
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(token("Basic dTphOmI=").as_deref(), Some("a:b"));
        for header in ["", "Bearer", "abc", "Digest abc", "Basic dQ==", "Basic !"] {
            assert_eq!(token(header), None, "{header}");
        }
    }

    #[test]
    fn tokens_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            read_token(&path)
        };
        assert_eq!(read(" 0123456789abcdef\n").unwrap(), b"0123456789abcdef");
        for none in [
            "",
            "too short",
            "0123456789 abcdef",
            "0123456789\u{e9}abcdef",
            &"x".repeat(4097),
        ] {
            let error = read(none).unwrap_err().to_string();
            assert!(error.contains("holds no token of 16 to 4096"), "{error}");
        }
        let error = read_token(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the token file "), "{error}");
    }
}
