//! Calls of `async` functions that mint, under which nothing may happen that can be seen.

use crate::correlate::{
    event::{Stack, What},
    fact::{Attribution, FactKind},
    finding::Kind,
    testing::{LOOP, REQUEST, TENANT, World, minting, text},
};

/// A coroutine of `TaskStore.create` is made, in the frame of the function itself.
fn called(w: &mut World) {
    let whole = minting(7, 0);
    let own = Stack {
        frames: whole.frames[1..].to_vec(),
    };
    made(w, own);
}

/// A coroutine of another minting function is made under that one, which is at work.
fn called_within(w: &mut World) {
    let whole = minting(24, 6);
    let mut inner = whole.frames[1].clone();
    inner.activation = 8;
    made(
        w,
        Stack {
            frames: vec![inner, whole.frames[1].clone()],
        },
    );
}

fn made(w: &mut World, stack: Stack) {
    let scope = w.scope(LOOP);
    let request = w.holds(LOOP, REQUEST);
    w.emit(
        LOOP,
        What::Coroutine {
            scope,
            request,
            stack: stack.into(),
        },
    );
}

fn minted(w: &World) -> Vec<(Attribution, usize)> {
    let counts = Attribution::ALL
        .iter()
        .map(|attribution| (*attribution, w.says(&FactKind::Mint(*attribution))));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// A request of a tenant, or of nobody, that has asked who that is.
fn asked(name: Option<&str>) -> World {
    let mut w = World::new();
    w.request();
    if let Some(name) = name {
        w.bind(LOOP, TENANT, text(name), "middleware");
    }
    w.read(LOOP, "middleware");
    w
}

#[test]
fn what_its_request_has_read_before_decides() {
    for (name, attribution, findings) in [
        (Some("acme"), Attribution::Attributed, 0),
        (None, Attribution::Unattributed, 1),
    ] {
        let mut w = asked(name);
        called(&mut w);
        w.leave(LOOP);
        assert_eq!(minted(&w), [(attribution, 1)]);
        let found = w.findings();
        assert_eq!(found.len(), findings, "{found:?}");
        assert!(found.iter().all(|finding| finding.kind == Kind::UnattributedTask));
    }
}

#[test]
fn nothing_read_before_says_nothing() {
    let mut w = World::new();
    w.request();
    called(&mut w);
    w.leave(LOOP);
    assert_eq!(minted(&w), [(Attribution::Unknown, 1)]);
}

#[test]
fn what_is_read_meanwhile_may_have_come_before_the_handle() {
    let mut w = asked(None);
    called(&mut w);
    w.bind(LOOP, TENANT, text("acme"), "elsewhere");
    w.read(LOOP, "elsewhere");
    w.leave(LOOP);
    assert_eq!(minted(&w), [(Attribution::Unknown, 1)]);
    assert!(w.findings().is_empty());
}

#[test]
fn another_request_reads_what_it_likes() {
    let mut w = asked(Some("acme"));
    called(&mut w);
    let mine = w.scope(LOOP);
    w.leave(LOOP);
    w.request();
    w.read(LOOP, "other");
    w.leave(LOOP);
    w.enter(LOOP, mine);
    w.leave(LOOP);
    assert_eq!(minted(&w), [(Attribution::Attributed, 1)]);
}

#[test]
fn what_happens_under_it_decides_first() {
    for draws in [false, true] {
        let mut w = asked(Some("acme"));
        called(&mut w);
        if draws {
            w.random(LOOP, minting(40, 3));
            w.random(LOOP, minting(40, 5));
        } else {
            w.read_under(LOOP, TENANT, minting(40, 3));
        }
        w.leave(LOOP);
        let handles = if draws { 2 } else { 1 };
        assert_eq!(minted(&w), [(Attribution::Attributed, handles)], "draws: {draws}");
    }
}

#[test]
fn a_function_that_mints_through_another_mints_once() {
    let mut w = asked(Some("acme"));
    called(&mut w);
    called_within(&mut w);
    w.leave(LOOP);
    let all: usize = minted(&w).iter().map(|(_, count)| count).sum();
    assert_eq!(all, 1, "{:?}", minted(&w));
}

#[test]
fn more_calls_than_are_kept_are_judged_early() {
    let mut w = asked(Some("acme"));
    for _ in 0..3000 {
        called(&mut w);
    }
    w.leave(LOOP);
    assert_eq!(minted(&w), [(Attribution::Attributed, 3000)]);
}

#[test]
fn a_gap_leaves_nothing_to_judge_by() {
    let mut w = asked(None);
    called(&mut w);
    w.emit(LOOP, What::Gap { lost: 1 });
    w.leave(LOOP);
    assert_eq!(minted(&w), [(Attribution::Unknown, 1)]);
    assert!(w.findings().is_empty());
}
