//! A finding of every kind, for the tests of this module.

use std::sync::Arc;

use super::{
    clock::Clock,
    finding::{Container, ExportedFinding, Runtime, TargetInfo},
    privacy::Privacy,
};
use crate::correlate::{
    event::{self, Carrier, Frame, Names, Primitive, Slot, Stack, TargetId},
    fact::{Attribution, ReadResult},
    finding::{Bind, Confidence, Evidence, Finding, Hop, Kind, Mint, Poll, Read, Source},
    ledger::Party,
    life::{LastRead, Life},
    value::{Content, Prefix, Value},
};
use crate::wire::secret::{Credential, Hasher, Tag};

/// The wall clock of the tests: their monotonic time starts at 2026-01-02 03:04:05.
pub const CLOCK: Clock = Clock {
    offset: 1_767_323_045_000_000_000,
};

pub fn target() -> TargetInfo {
    TargetInfo {
        container: Container::default(),
        tier: crate::config::Tier::Full,
        service: "proxy".into(),
        pid: 4242,
        runtime: Runtime::Cpython,
        version: "3.12".into(),
    }
}

pub fn text(shown: &str) -> Value {
    let prefix = Prefix {
        shown: shown.into(),
        len: shown.chars().count() as u64,
        whole: true,
    };
    Value {
        root: 0x10,
        items: None,
        object: 0x10,
        type_object: 0x20,
        type_name: Some("str".into()),
        content: Content::Str(prefix),
    }
}

pub fn site(function: &str, line: u32) -> event::Site {
    event::Site {
        function: function.into(),
        file: "/srv/proxy.py".into(),
        line,
    }
}

/// A finding of this kind, with everything that the engine would know.
pub fn finding(kind: Kind) -> Finding {
    let read_site = site("authorize", 22);
    let frame = |site| Frame {
        site,
        named: Names::default(),
        activation: 0,
        offset: 0,
        machinery: false,
    };
    let stack = Stack {
        frames: vec![frame(read_site.clone()), frame(site("work", 14))],
    };
    let read = Some(Read {
        site: Some(read_site),
        stack: Arc::new(stack),
    });
    let bind = Some(Bind {
        site: Some(site("work", 12)),
        carrier: Carrier(4250),
        item: Some(3),
        age: 1_234_000_000,
    });
    let mint = Some(Mint {
        site: Some(site("TaskStore.create", 51)),
        announced: Some(text("t-17")),
        handle: None,
    });
    let mut finding = Finding {
        number: 7,
        kind,
        confidence: Confidence::Confirmed,
        evidence: Evidence::Observed,
        time: 123_456_000,
        target: TargetId(1),
        carrier: Carrier(4250),
        slot: Some(Slot(0)),
        slot_name: "tenant".into(),
        item: Some(4),
        expected: Some(text("globex")),
        found: Some(text("acme")),
        source: None,
        hop: Some(Hop {
            primitive: Primitive::RunInExecutor,
            site: Some(site("Proxy.handle", 40)),
            submitter: Carrier(4242),
            wait: Some(120_000),
        }),
        spawn: None,
        bind: None,
        read: None,
        mint: None,
        policy: None,
        poll: None,
        window_complete: true,
    };
    match kind {
        Kind::Bleed => (finding.source, finding.bind, finding.read) = (Some(Source::Residue), bind, read),
        Kind::Squat => (finding.expected, finding.bind) = (None, bind),
        Kind::BlackHoleRead => (finding.found, finding.read) = (None, read),
        Kind::BlackHoleReturn => {
            (finding.expected, finding.found, finding.bind, finding.read) =
                (Some(text("acme")), None, bind, read);
        }
        Kind::UnattributedTask => {
            (finding.expected, finding.found, finding.read, finding.mint) = (None, None, read, mint);
        }
        Kind::MisattributedTask => {
            (finding.source, finding.bind) = (Some(Source::Residue), bind);
            (finding.read, finding.mint) = (read, mint);
        }
        Kind::DriftBlindness => {
            finding.slot_name = "tool_digest".into();
            (finding.expected, finding.found) = (Some(text("sha256:1f0c")), None);
            (finding.bind, finding.read, finding.mint) = (bind, read, mint);
        }
        Kind::EmptyCheck => {
            (finding.found, finding.read) = (None, read);
            finding.policy = Some(site("PolicyEngine.check", 31));
        }
        Kind::ForeignPoll | Kind::OwnerRefused => {
            (finding.slot, finding.slot_name, finding.hop) = (None, "".into(), None);
            (finding.expected, finding.found, finding.item) = (None, None, None);
            finding.poll = Some(Box::new(poll(kind)));
        }
    }
    finding
}

/// A poll of a task that was minted three seconds before, by its owner or somebody else.
fn poll(kind: Kind) -> Poll {
    let hasher = Hasher::new(&[1; 32]);
    let party = |token: &str, time| Party {
        time,
        target: TargetId(1),
        carrier: Carrier(4250),
        request: Some(1),
        credential: Credential::of(&hasher, &[(b"authorization", token.as_bytes())]),
        identities: vec![(Slot(0), text(token))],
    };
    let poller = if kind == Kind::ForeignPoll {
        "globex"
    } else {
        "acme"
    };
    Poll {
        handle: hasher.hash(Tag::Task, &[b"t-17"]),
        owner: party("acme", 100_000_000),
        poller: party(poller, 123_456_000),
        life: Some(Arc::new(Life {
            hop: Some((Primitive::RunInExecutor, Some(site("Proxy.handle", 40)))),
            read: Some(LastRead {
                variable: "tenant".into(),
                result: ReadResult::Empty,
                site: Some(site("authorize", 22)),
            }),
            mint: None,
            attribution: Attribution::Unattributed,
        })),
    }
}

pub fn export(finding: &Finding, reveal: bool) -> ExportedFinding {
    ExportedFinding::new(finding, &target(), CLOCK, &Privacy::new(reveal, [1; 32]))
}
