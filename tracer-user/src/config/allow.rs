//! Findings that the operator accepts.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::correlate::finding::{Finding, Kind};

/// An accepted finding: it is listed, with the reason, and does not count.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AllowRule {
    /// Of which kind.
    pub kind: Kind,
    /// Glob over the places that it names.
    pub site: String,
    /// Why it is accepted.
    pub reason: String,
}

impl AllowRule {
    /// Whether a finding is one of these: it is of the kind, and a place that it names is meant.
    pub fn accepts(&self, finding: &Finding) -> bool {
        if self.kind != finding.kind {
            return false;
        }
        let glob = WildMatch::new(&self.site);
        // What names no place is meant by a rule for all places only.
        self.site == "*"
            || finding.sites().any(|site| {
                let place = format!("{}:{}", site.file, site.line);
                glob.matches(&place) || glob.matches(&format!("{} ({place})", site.function))
            })
    }
}
