//! The mirror that this machine's apt takes Debian from, and the key that signs it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

/// Where Debian's packages come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    uri: String,
    /// A file of keys, or the key itself; without one, apt's own keys hold.
    signed_by: Option<String>,
}

impl Mirror {
    /// The one that carries the suite of this machine.
    pub fn of_this_machine() -> Result<Self> {
        let output = Command::new("apt-get")
            .args([
                "indextargets",
                "--format",
                "$(SITE) $(ORIGIN) $(RELEASE)",
                "Created-By: Packages",
            ])
            .output()
            .context("cannot run apt-get")?;
        let targets = String::from_utf8_lossy(&output.stdout);
        let uri = main_site(&targets)
            .context("apt knows no mirror of Debian")?
            .to_owned();
        let signed_by = sources().iter().find_map(|text| key_of(text, &uri));
        Ok(Self { uri, signed_by })
    }

    /// Where a file of its pool is.
    pub fn pool(&self, file: &str) -> String {
        format!("{}/pool/main/{file}", self.uri.trim_end_matches('/'))
    }

    /// A source list for another suite of it, of packages (`deb`) or of their sources (`deb-src`).
    pub fn source(&self, suite: &str, types: &str) -> String {
        let mut text = format!(
            "Types: {types}\nURIs: {}\nSuites: {suite}\nComponents: main\n",
            self.uri
        );
        if let Some(key) = &self.signed_by {
            let _ = writeln!(text, "Signed-By: {key}");
        }
        text
    }
}

/// Updates and security have suites of their own: the main archive's has no dash in its name.
fn main_site(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        matches!(words[..], [_, "Debian", release] if !release.contains('-')).then(|| words[0])
    })
}

/// apt's source lists, as they are.
fn sources() -> Vec<String> {
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let files = parts.filter_map(|part| Some(part.ok()?.path()));
    files
        .chain([Path::new("/etc/apt/sources.list").to_owned()])
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

/// The key of a mirror, in either form of source list.
fn key_of(text: &str, uri: &str) -> Option<String> {
    let is_it = |word: &str| word.trim_end_matches('/') == uri.trim_end_matches('/');
    for stanza in text.split("\n\n") {
        let of = |name: &str| field(stanza, name);
        if of("URIs").is_some_and(|uris| uris.split_whitespace().any(is_it)) {
            return of("Signed-By");
        }
    }
    text.lines()
        .filter(|line| line.starts_with("deb ") && line.split_whitespace().any(is_it))
        .find_map(|line| {
            let key = line.split("signed-by=").nth(1)?;
            key.split([' ', ']']).next().map(str::to_owned)
        })
}

/// A field of a stanza, with the lines that continue it.
fn field(stanza: &str, name: &str) -> Option<String> {
    let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
    let first = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let more = lines.take_while(|line| line.starts_with([' ', '\t']));
    let value = std::iter::once(first.trim())
        .chain(more)
        .collect::<Vec<_>>()
        .join("\n");
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "Types: deb\n# a note\nURIs: http://a.example/debian\nSuites: stable stable-updates\nSigned-By: /keys/a.gpg\n\n\
        Types: deb\nURIs: http://b.example/debian/\nSigned-By:\n -----BEGIN\n .\n -----END\nSuites: other\n";

    #[test]
    fn the_main_archive_is_chosen() {
        let targets = "http://c.example Else stable\nhttp://s.example Debian stable-security\nhttp://a.example/debian Debian stable\n";
        assert_eq!(main_site(targets), Some("http://a.example/debian"));
        assert_eq!(main_site("http://c.example Ubuntu noble\n"), None);
    }

    #[test]
    fn keys_are_found_in_both_forms() {
        assert_eq!(
            key_of(STANZAS, "http://a.example/debian/").as_deref(),
            Some("/keys/a.gpg")
        );
        assert_eq!(
            key_of(STANZAS, "http://b.example/debian").as_deref(),
            Some("\n -----BEGIN\n .\n -----END")
        );
        assert_eq!(key_of(STANZAS, "http://c.example/debian"), None);
        let line = "deb [arch=amd64 signed-by=/keys/d.gpg] http://d.example/debian stable main\ndeb http://e.example/debian stable main\n";
        assert_eq!(
            key_of(line, "http://d.example/debian").as_deref(),
            Some("/keys/d.gpg")
        );
        assert_eq!(key_of(line, "http://e.example/debian"), None);
    }

    #[test]
    fn another_suite_is_asked_of_the_same_mirror() {
        let mirror = Mirror {
            uri: "http://a.example/debian".into(),
            signed_by: Some("/keys/a.gpg".into()),
        };
        assert_eq!(
            mirror.source("sid", "deb"),
            "Types: deb\nURIs: http://a.example/debian\nSuites: sid\nComponents: main\nSigned-By: /keys/a.gpg\n"
        );
    }
}
