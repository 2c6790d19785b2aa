//! Findings that a team knows of and has accepted: a file beside the program, so that only new ones fail a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::fingerprint::{Fingerprint, Trait};
use crate::{correlate::finding::Kind, report::privacy::clean};

/// The version of the file's format.
const VERSION: u32 = 1;
/// Bytes of a file that are read at most.
const MOST: u64 = 16 << 20;
/// Why a finding is accepted if nobody has said.
const REASON: &str = "accepted by the baseline";

/// The file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    bleedtrace_baseline: u32,
    accepted: Vec<Entry>,
}

/// One accepted fault.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    fingerprint: Fingerprint,
    kind: Kind,
    slot: String,
    sites: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is longer than one can be.
    #[error("it has more than {MOST} bytes")]
    TooLong,
    /// It is no baseline.
    #[error("it is no baseline: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version has written it.
    #[error("it has format version {0}, and this bleedtrace reads version {VERSION}")]
    Version(u32),
    /// An entry was changed.
    #[error("entry {number} ({kind} of {slot}): its fingerprint is not that of its kind, slot and sites")]
    Changed {
        /// Which, from 1.
        number: usize,
        /// Its kind.
        kind: &'static str,
        /// Its variable.
        slot: String,
    },
}

impl BaselineError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) => "give a file that can be read; --write-baseline FILE makes one",
            Self::Version(_) => "write it again with --write-baseline FILE",
            Self::Changed { .. } => {
                "only reasons are for people to change: write it again with --write-baseline FILE"
            }
            Self::TooLong | Self::Malformed(_) => "give a file that --write-baseline FILE has written",
        }
    }
}

/// What is accepted.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    accepted: BTreeMap<Fingerprint, (Trait, Option<String>)>,
    met: BTreeSet<Fingerprint>,
}

impl Baseline {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let mut text = Vec::new();
        File::open(path)?.take(MOST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MOST {
            return Err(BaselineError::TooLong);
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Result<Self, BaselineError> {
        #[derive(Deserialize)]
        struct Versioned {
            bleedtrace_baseline: u32,
        }
        let version = serde_json::from_slice::<Versioned>(text)?.bleedtrace_baseline;
        if version != VERSION {
            return Err(BaselineError::Version(version));
        }
        let document: Document = serde_json::from_slice(text)?;
        let mut accepted = BTreeMap::new();
        for (at, entry) in document.accepted.into_iter().enumerate() {
            let known = Trait {
                kind: entry.kind,
                slot: entry.slot,
                sites: entry.sites,
            };
            if known.fingerprint() != entry.fingerprint {
                return Err(BaselineError::Changed {
                    number: at + 1,
                    kind: entry.kind.name(),
                    slot: clean(&known.slot),
                });
            }
            accepted.insert(entry.fingerprint, (known, entry.reason));
        }
        Ok(Self {
            accepted,
            met: BTreeSet::new(),
        })
    }

    /// Why a fault is accepted, if it is.
    pub fn accepts(&mut self, fingerprint: &Fingerprint) -> Option<&str> {
        let (_, reason) = self.accepted.get(fingerprint)?;
        self.met.insert(fingerprint.clone());
        Some(reason.as_deref().unwrap_or(REASON))
    }

    /// How many faults are accepted.
    pub fn len(&self) -> usize {
        self.accepted.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    /// Those that did not happen this time.
    pub fn unmet(&self) -> impl Iterator<Item = &Trait> {
        let unmet = self
            .accepted
            .iter()
            .filter(|(print, _)| !self.met.contains(*print));
        unmet.map(|(_, (known, _))| known)
    }

    /// A file in which these faults are accepted; reasons that were given already are kept.
    pub fn written<'a>(&self, faults: impl IntoIterator<Item = &'a Trait>) -> io::Result<String> {
        let entries: BTreeMap<_, _> = faults
            .into_iter()
            .map(|fault| (fault.fingerprint(), fault))
            .collect();
        let mut accepted: Vec<_> = entries
            .into_iter()
            .map(|(fingerprint, fault)| Entry {
                reason: self
                    .accepted
                    .get(&fingerprint)
                    .and_then(|(_, reason)| reason.clone()),
                fingerprint,
                kind: fault.kind,
                slot: fault.slot.clone(),
                sites: fault.sites.clone(),
            })
            .collect();
        accepted.sort_by(|a, b| (a.kind, &a.slot, &a.sites).cmp(&(b.kind, &b.slot, &b.sites)));
        let document = Document {
            bleedtrace_baseline: VERSION,
            accepted,
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn fault(kind: Kind) -> Trait {
        Trait::of(&samples::export(&samples::finding(kind), false))
    }

    #[test]
    fn what_is_written_is_accepted_and_nothing_else() {
        let written = Baseline::default().written([&fault(Kind::Bleed), &fault(Kind::Bleed)]);
        let mut read = Baseline::parse(written.expect("json").as_bytes()).expect("a baseline");
        assert_eq!(read.len(), 1);
        assert_eq!(read.unmet().count(), 1);
        assert_eq!(read.accepts(&fault(Kind::Squat).fingerprint()), None);
        assert_eq!(read.accepts(&fault(Kind::Bleed).fingerprint()), Some(REASON));
        assert_eq!(read.unmet().count(), 0);
    }

    #[test]
    fn reasons_are_kept() {
        let text = Baseline::default().written([&fault(Kind::Squat)]).expect("json");
        let text = text.replace(
            "\"fingerprint\"",
            "\"reason\": \"a cache of connections\", \"fingerprint\"",
        );
        let mut read = Baseline::parse(text.as_bytes()).expect("a baseline");
        let again = read
            .written([&fault(Kind::Squat), &fault(Kind::Bleed)])
            .expect("json");
        assert_eq!(again.matches("a cache of connections").count(), 1, "{again}");
        assert_eq!(
            read.accepts(&fault(Kind::Squat).fingerprint()),
            Some("a cache of connections")
        );
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        let written = Baseline::default().written([&fault(Kind::Bleed)]).expect("json");
        for (text, expected) in [
            (String::new(), "it is no baseline: EOF"),
            ("{}".to_owned(), "missing field `bleedtrace_baseline`"),
            (written[..written.len() / 2].to_owned(), "it is no baseline: EOF"),
            (
                written.replace("\"bleedtrace_baseline\": 1", "\"bleedtrace_baseline\": 2"),
                "format version 2",
            ),
            (
                written.replace("\"kind\": \"bleed\"", "\"kind\": \"bled\""),
                "it is no baseline",
            ),
            (
                written.replace("\"kind\": \"bleed\"", "\"kind\": \"squat\""),
                "entry 1 (squat of tenant)",
            ),
            (written.replace("\"slot\"", "\"slots\""), "unknown field `slots`"),
        ] {
            let error = Baseline::parse(text.as_bytes()).expect_err("no baseline");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
