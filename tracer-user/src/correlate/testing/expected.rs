//! What a test expects of a finding.

use super::said;
use crate::correlate::{
    event::Primitive,
    finding::{Confidence, Finding, Kind, Source},
};

/// What a finding says of something; none if it says nothing.
type Told = Option<String>;

/// A finding as far as a test cares.
#[derive(Clone, Debug)]
pub(in crate::correlate) struct Expected {
    kind: Kind,
    confidence: Option<Confidence>,
    found: Option<Told>,
    wanted: Option<Told>,
    source: Option<Source>,
    primitive: Option<Primitive>,
    bound_at: Option<Told>,
    window: bool,
}

impl Expected {
    pub(in crate::correlate) const fn a(kind: Kind) -> Self {
        Self {
            kind,
            confidence: None,
            found: None,
            wanted: None,
            source: None,
            primitive: None,
            bound_at: None,
            window: true,
        }
    }

    pub(in crate::correlate) fn found(mut self, value: &str) -> Self {
        self.found = Some(Some(value.into()));
        self
    }

    pub(in crate::correlate) fn found_nothing(mut self) -> Self {
        self.found = Some(None);
        self
    }

    pub(in crate::correlate) fn expected(mut self, value: &str) -> Self {
        self.wanted = Some(Some(value.into()));
        self
    }

    pub(in crate::correlate) fn expected_nothing(mut self) -> Self {
        self.wanted = Some(None);
        self
    }

    pub(in crate::correlate) const fn confirmed(mut self) -> Self {
        self.confidence = Some(Confidence::Confirmed);
        self
    }

    pub(in crate::correlate) const fn suspected(mut self) -> Self {
        self.confidence = Some(Confidence::Suspected);
        self
    }

    pub(in crate::correlate) const fn source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    pub(in crate::correlate) const fn by(mut self, primitive: Primitive) -> Self {
        self.primitive = Some(primitive);
        self
    }

    pub(in crate::correlate) fn bound_at(mut self, site: &str) -> Self {
        self.bound_at = Some(Some(site.into()));
        self
    }

    pub(in crate::correlate) fn bound_unseen(mut self) -> Self {
        self.bound_at = Some(None);
        self
    }

    pub(in crate::correlate) const fn window_incomplete(mut self) -> Self {
        self.window = false;
        self
    }

    pub(in crate::correlate) fn matches(&self, f: &Finding) -> bool {
        let bound_at = f
            .bind
            .as_ref()
            .and_then(|b| b.site.as_ref())
            .map(|site| site.function.to_string());
        f.kind == self.kind
            && self.confidence.is_none_or(|c| c == f.confidence)
            && self
                .found
                .as_ref()
                .is_none_or(|v| *v == f.found.as_ref().map(said))
            && self
                .wanted
                .as_ref()
                .is_none_or(|v| *v == f.expected.as_ref().map(said))
            && self.source.is_none_or(|s| Some(s) == f.source)
            && self
                .primitive
                .is_none_or(|p| f.hop.as_ref().is_some_and(|h| h.primitive == p))
            && self.bound_at.as_ref().is_none_or(|s| *s == bound_at)
            && self.window == f.window_complete
    }
}
