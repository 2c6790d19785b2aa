//! What programs announce: tasks, polls, policy checks, digests.

use crate::correlate::{
    announcement::{Announcement, Said},
    fact::{Attribution, FactKind, Heard},
    finding::{Confidence, Evidence, Kind},
    ledger::PollOutcome,
    testing::{LOOP, REQUEST, TENANT, World, at, text},
};

fn pool() -> World {
    let mut w = World::new();
    w.worker(2);
    w
}

fn is(name: &str) -> Said {
    Said::Is(text(name))
}

fn minted(owner: Said) -> Announcement {
    Announcement::TaskMinted {
        task: text("task-1"),
        owner,
    }
}

fn served(principal: Said) -> Announcement {
    Announcement::TaskServed {
        task: text("task-1"),
        principal,
    }
}

const PINNED: fn() -> Announcement = || Announcement::DigestPinned {
    digest: is("sha256:1"),
};
const NOT_VERIFIED: fn(Option<&str>) -> Announcement = |task| Announcement::DigestVerified {
    digest: Said::Empty,
    task: task.map(text),
};

fn kinds(w: &World) -> Vec<Kind> {
    w.findings().iter().map(|finding| finding.kind).collect()
}

/// Somebody who is known by their tenant, before.
fn known(w: &mut World, tenant: &str) {
    w.request();
    w.bind(LOOP, TENANT, text(tenant), "handler");
    w.leave(LOOP);
}

/// The attribution of a task that a request announces, which is bound to a tenant and reads it, or not.
fn attribution(bound: Option<&str>, reads: bool, owner: Said) -> (Attribution, Vec<Kind>) {
    let mut w = pool();
    known(&mut w, "globex");
    w.request();
    if let Some(tenant) = bound {
        w.bind(LOOP, TENANT, text(tenant), "handler");
    }
    if reads {
        w.read(LOOP, "handler");
    }
    w.announce(LOOP, minted(owner));
    let attributions = Attribution::ALL.iter().copied();
    let mut said = attributions.filter(|attribution| w.says(&FactKind::Mint(*attribution)) == 1);
    let found = kinds(&w);
    assert!(
        w.findings()
            .iter()
            .all(|finding| finding.evidence == Evidence::Claimed)
    );
    assert_eq!(w.says(&FactKind::Announced(Heard::Understood)), 1);
    (said.next().expect("it is counted once"), found)
}

#[test]
fn whose_a_task_is_that_is_announced() {
    use Attribution::{Attributed, Misattributed, Unattributed, Unknown};
    for (bound, reads, owner, expected) in [
        // No owner is said: what was read decides.
        (Some("acme"), true, Said::Nothing, Attributed),
        (None, true, Said::Nothing, Unattributed),
        (Some("acme"), false, Said::Nothing, Unknown),
        // The owner decides, wherever it can be compared.
        (Some("acme"), true, Said::Empty, Unattributed),
        (None, false, Said::Empty, Unattributed),
        (Some("acme"), true, is("acme"), Attributed),
        (Some("acme"), false, is("acme"), Attributed),
        (Some("acme"), true, is("globex"), Misattributed),
        (Some("acme"), false, is("globex"), Misattributed),
        (Some("acme"), true, is("alice"), Attributed),
        (Some("acme"), false, is("alice"), Unknown),
        (None, true, is("acme"), Unknown),
    ] {
        let (attribution, found) = attribution(bound, reads, owner.clone());
        assert_eq!(attribution, expected, "{bound:?} {reads} {owner:?}");
        let kind = match expected {
            Unattributed => vec![Kind::UnattributedTask],
            Misattributed => vec![Kind::MisattributedTask],
            Attributed | Unknown => vec![],
        };
        assert_eq!(found, kind, "{bound:?} {reads} {owner:?}");
    }
}

#[test]
fn a_foreign_owner_that_a_worker_read_and_the_program_names() {
    for (owner, expected) in [
        (
            is("acme"),
            vec![Kind::Squat, Kind::Bleed, Kind::MisattributedTask],
        ),
        (is("globex"), vec![Kind::Squat, Kind::Bleed]),
    ] {
        let mut w = pool();
        w.request();
        let item = w.submit(LOOP);
        w.take(2, item);
        w.bind(2, TENANT, text("acme"), "worker_binds");
        w.idle(2);
        w.leave(LOOP);
        w.request();
        w.bind(LOOP, TENANT, text("globex"), "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker_reads");
        w.idle(2);
        w.announce(LOOP, minted(owner));
        assert_eq!(kinds(&w), expected);
    }
}

/// How it counts when a task of `owner`, or of a request of this tenant, is shown to somebody.
fn poll(owner: Said, of: &str, principal: Said, by: &str) -> (PollOutcome, Vec<Kind>) {
    let mut w = pool();
    for (tenant, said) in [(of, minted(owner)), (by, served(principal))] {
        w.request();
        w.bind(LOOP, TENANT, text(tenant), "handler");
        w.read(LOOP, "handler");
        w.announce(LOOP, said);
        w.leave(LOOP);
    }
    let mut outcomes = PollOutcome::ALL.iter().copied();
    let outcome = outcomes
        .find(|outcome| w.says(&FactKind::Poll(*outcome)) == 1)
        .unwrap();
    if let Some(finding) = w.findings().first() {
        assert_eq!(
            (finding.evidence, finding.confidence),
            (Evidence::Claimed, Confidence::Confirmed)
        );
        assert!(finding.expected != finding.found && finding.found.is_some());
    }
    (outcome, kinds(&w))
}

#[test]
fn to_whom_a_task_is_shown() {
    let foreign = || (PollOutcome::ForeignServed, vec![Kind::ForeignPoll]);
    let own = || (PollOutcome::Served, vec![]);
    assert_eq!(poll(is("acme"), "acme", is("globex"), "globex"), foreign());
    assert_eq!(poll(is("acme"), "acme", is("acme"), "acme"), own());
    assert_eq!(poll(Said::Nothing, "acme", is("globex"), "globex"), foreign());
    assert_eq!(poll(is("acme"), "acme", Said::Nothing, "globex"), foreign());
    assert_eq!(poll(Said::Nothing, "acme", Said::Nothing, "globex"), foreign());
    assert_eq!(poll(Said::Nothing, "acme", Said::Nothing, "acme"), own());
    // Names of another kind cannot be compared with tenants.
    assert_eq!(poll(is("alice"), "acme", Said::Nothing, "acme"), own());
    assert_eq!(poll(Said::Nothing, "acme", is("bob"), "acme"), own());
    assert_eq!(poll(is("acme"), "acme", Said::Empty, "globex"), own());
}

#[test]
fn a_task_that_was_not_announced_is_nobodys_to_compare_with() {
    let mut w = pool();
    w.request();
    w.announce(LOOP, served(is("globex")));
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Poll(PollOutcome::Served)), 1);
}

#[test]
fn a_policy_that_says_that_it_found_nobody() {
    for (principal, id, expected) in [
        (Said::Empty, Some("r1"), vec![Kind::EmptyCheck]),
        (Said::Empty, None, vec![]),
        (is("acme"), Some("r1"), vec![]),
    ] {
        let mut w = pool();
        w.request();
        if let Some(id) = id {
            w.bind(LOOP, REQUEST, text(id), "middleware");
        }
        for _ in 0..2 {
            w.announce(
                LOOP,
                Announcement::PolicyCheck {
                    principal: principal.clone(),
                },
            );
        }
        assert_eq!(kinds(&w), expected, "{principal:?} {id:?}");
    }
}

#[test]
fn a_policy_in_a_worker_that_says_that_it_found_nobody() {
    for bound in [true, false] {
        let mut w = pool();
        w.request();
        if bound {
            w.bind(LOOP, TENANT, text("acme"), "handler");
        }
        let item = w.submit(LOOP);
        w.take(2, item);
        w.announce(
            2,
            Announcement::PolicyCheck {
                principal: Said::Empty,
            },
        );
        w.idle(2);
        assert_eq!(kinds(&w) == [Kind::EmptyCheck], bound);
    }
}

/// A digest that is pinned in a worker, on the loop, or nowhere; a task; and a verification that finds nothing, before the task is
/// announced, after it in the same request, or in another one that names the task.
fn digest(in_worker: Option<bool>, verified: &str) -> Vec<Kind> {
    let mut w = pool();
    w.request();
    match in_worker {
        Some(true) => {
            let item = w.submit(LOOP);
            w.take(2, item);
            w.announce(2, PINNED());
            w.idle(2);
        }
        Some(false) => w.announce(LOOP, PINNED()),
        None => {}
    }
    if verified == "before" {
        w.announce(LOOP, NOT_VERIFIED(None));
    }
    w.announce(LOOP, minted(is("acme")));
    if verified == "after" {
        w.announce(LOOP, NOT_VERIFIED(None));
    }
    w.leave(LOOP);
    w.request();
    match verified {
        "by task" => w.announce(LOOP, NOT_VERIFIED(Some("task-1"))),
        "by another task" => w.announce(LOOP, NOT_VERIFIED(Some("task-2"))),
        "when served" => {
            w.announce(LOOP, NOT_VERIFIED(None));
            w.announce(LOOP, served(is("acme")));
        }
        _ => {}
    }
    assert!(
        w.findings()
            .iter()
            .all(|finding| finding.evidence == Evidence::Claimed)
    );
    kinds(&w)
}

#[test]
fn a_digest_that_is_announced_and_not_found_again() {
    for verified in ["before", "after", "by task", "when served"] {
        assert_eq!(digest(Some(true), verified), [Kind::DriftBlindness], "{verified}");
        assert_eq!(digest(Some(false), verified), [], "{verified}");
        assert_eq!(digest(None, verified), [], "{verified}");
    }
    assert_eq!(digest(Some(true), "by another task"), []);
    assert_eq!(digest(Some(true), "never"), []);
}

#[test]
fn a_digest_that_is_verified_is_known() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.announce(2, PINNED());
    w.idle(2);
    let digest = is("sha256:1");
    w.announce(LOOP, Announcement::DigestVerified { digest, task: None });
    w.announce(LOOP, minted(is("acme")));
    w.announce(LOOP, NOT_VERIFIED(None));
    w.expect_nothing();
}

#[test]
fn what_is_not_understood_is_counted() {
    let mut w = pool();
    w.request();
    w.announce(LOOP, Announcement::Malformed);
    w.read_under(LOOP, TENANT, at("handler"));
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Announced(Heard::Malformed)), 1);
}
