//! By what a finding is known again in another run: its kind, its variable, and the functions and files of its places. Lines move
//! and values differ; neither is part of it.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    correlate::finding::Kind,
    report::finding::{ExportedFinding, Site},
};

/// What two findings of different runs have in common if they are the same fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Trait {
    /// The kind.
    pub kind: Kind,
    /// The variable; empty if it takes none to see it.
    pub slot: String,
    /// What happened where: `bind VendorSdk.login (proxy.py)`.
    pub sites: Vec<String>,
}

/// A short name for a [`Trait`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The places of a finding, each with what happened there.
pub fn places(finding: &ExportedFinding) -> impl Iterator<Item = (&'static str, &Site)> {
    let task = finding.task.as_ref();
    let life = task.and_then(|task| task.life.as_ref());
    [
        ("hop", finding.hop.as_ref().and_then(|hop| hop.site.as_ref())),
        (
            "made",
            finding.spawn.as_ref().and_then(|spawn| spawn.site.as_ref()),
        ),
        ("bind", finding.bind.as_ref().and_then(|bind| bind.site.as_ref())),
        ("read", finding.read.as_ref().and_then(|read| read.site.as_ref())),
        (
            "mint",
            task.and_then(|task| task.site.as_ref())
                .or_else(|| life.and_then(|life| life.mint.as_ref())),
        ),
        ("policy", finding.policy.as_ref()),
    ]
    .into_iter()
    .filter_map(|(what, site)| Some((what, site?)))
}

impl Trait {
    /// Of a finding.
    pub fn of(finding: &ExportedFinding) -> Self {
        Self {
            kind: finding.kind,
            slot: finding.slot.clone(),
            sites: places(finding)
                .map(|(what, site)| format!("{what} {} ({})", site.function, site.file))
                .collect(),
        }
    }

    /// Its short name.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in [self.kind.name(), &self.slot]
            .into_iter()
            .chain(self.sites.iter().map(String::as_str))
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut name = String::with_capacity(32);
        for byte in &hash.finalize()[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        Fingerprint(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn lines_and_values_are_no_part_of_it_and_everything_else_is() {
        let of = |change: fn(&mut ExportedFinding)| {
            let mut finding = samples::export(&samples::finding(Kind::Bleed), false);
            change(&mut finding);
            Trait::of(&finding).fingerprint()
        };
        let same = of(|_| {});
        assert_eq!(same.to_string().len(), 32);
        let site = |finding: &mut ExportedFinding| finding.read.as_mut().and_then(|read| read.site.clone());
        assert!(site(&mut samples::export(&samples::finding(Kind::Bleed), false)).is_some());
        for change in [
            (|finding| finding.id = "f-9".to_owned()) as fn(&mut ExportedFinding),
            |finding| finding.found = None,
            |finding| finding.pid += 1,
            |finding| finding.service = "other".to_owned(),
            |finding| {
                let bind = finding.bind.as_mut().and_then(|bind| bind.site.as_mut());
                bind.expect("a bind").line += 1;
            },
        ] {
            assert_eq!(of(change), same);
        }
        for change in [
            (|finding| finding.kind = Kind::Squat) as fn(&mut ExportedFinding),
            |finding| finding.slot = "principal".to_owned(),
            |finding| finding.hop = None,
            |finding| {
                let site = finding.bind.as_mut().and_then(|bind| bind.site.as_mut());
                site.expect("a bind").function.push('2');
            },
            |finding| {
                let site = finding.read.as_mut().and_then(|read| read.site.as_mut());
                site.expect("a read").file.push('2');
            },
        ] {
            assert_ne!(of(change), same);
        }
    }
}
