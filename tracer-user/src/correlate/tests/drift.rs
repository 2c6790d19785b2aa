//! Digests that workers pin, and that are missing where they are verified.

use crate::correlate::{
    event::Work,
    finding::Kind,
    testing::{DIGEST, Expected, LOOP, REQUEST, TENANT, World, at, minting, object, text},
};

fn a(kind: Kind) -> Expected {
    Expected::a(kind)
}

fn pool() -> World {
    let mut w = World::new().with_digest();
    w.worker(2);
    w
}

/// Work of the loop's request that pins a digest on worker 2, and whose end is waited for.
fn pins_in_worker(w: &mut World) {
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, DIGEST, text("sha256:1"), "worker_pins");
    w.idle(2);
}

fn verifies(w: &mut World, carrier: u32) {
    w.read_under(carrier, DIGEST, at("verify"));
}

const OTHERS: [Kind; 3] = [Kind::Squat, Kind::BlackHoleReturn, Kind::UnattributedTask];

/// The findings are the drift, beside those that such programs have anyway.
fn expect_drift(w: &World, drift: &[Expected]) {
    let mut findings = w.findings();
    findings.retain(|finding| !OTHERS.contains(&finding.kind));
    assert_eq!(findings.len(), drift.len(), "{findings:#?}");
    for (finding, expected) in findings.iter().zip(drift) {
        assert!(expected.matches(finding), "{expected:?}: {finding:#?}");
    }
}

fn drift() -> Expected {
    a(Kind::DriftBlindness)
        .expected("sha256:1")
        .found_nothing()
        .bound_at("worker_pins")
}

#[test]
fn a_digest_pinned_in_a_worker_is_missing_at_the_mint() {
    let mut w = pool();
    w.request();
    pins_in_worker(&mut w);
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(16, 2));
    expect_drift(&w, &[drift().confirmed()]);
    let task = w.findings().into_iter().find_map(|finding| finding.mint).unwrap();
    assert_eq!(&*task.site.unwrap().function, "TaskStore.create");
}

#[test]
fn reading_it_under_the_minting_function_is_before_the_mint() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    pins_in_worker(&mut w);
    w.read_under(LOOP, TENANT, minting(8, 2));
    w.read_under(LOOP, DIGEST, minting(8, 4));
    expect_drift(&w, &[drift().confirmed()]);
}

#[test]
fn verified_after_the_mint_it_is_suspected() {
    let mut w = pool();
    w.request();
    pins_in_worker(&mut w);
    w.random(LOOP, minting(8, 2));
    verifies(&mut w, LOOP);
    expect_drift(&w, &[drift().suspected()]);
}

#[test]
fn a_digest_that_was_read_where_it_was_pinned_may_have_been_carried_into_the_task() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, DIGEST, text("sha256:1"), "worker_pins");
    verifies(&mut w, 2);
    w.idle(2);
    w.random(LOOP, minting(8, 2));
    verifies(&mut w, LOOP);
    expect_drift(&w, &[]);
}

#[test]
fn without_a_task_there_is_no_drift() {
    let mut w = pool();
    w.request();
    pins_in_worker(&mut w);
    verifies(&mut w, LOOP);
    expect_drift(&w, &[]);
}

#[test]
fn a_digest_pinned_on_the_loop_is_there() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, DIGEST, text("sha256:1"), "handler");
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    w.leave(LOOP);
    // A poll is another request: it finds nothing, and that says nothing.
    w.request();
    verifies(&mut w, LOOP);
    w.expect_nothing();
}

#[test]
fn a_digest_that_nobody_pins_is_not_missed() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    verifies(&mut w, 2);
    w.idle(2);
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    verifies(&mut w, LOOP);
    w.expect_nothing();
}

#[test]
fn a_pin_that_its_request_binds_again_came_back() {
    let mut w = pool();
    w.request();
    pins_in_worker(&mut w);
    verifies(&mut w, LOOP);
    let former = w.bind(LOOP, DIGEST, text("sha256:1"), "handler");
    w.random(LOOP, minting(8, 2));
    w.reset(LOOP, DIGEST, former);
    verifies(&mut w, LOOP);
    expect_drift(&w, &[]);
}

#[test]
fn a_pin_that_its_work_resets_is_over() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, DIGEST, text("sha256:1"), "worker_pins");
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    w.reset(2, DIGEST, former);
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn work_that_is_open_at_the_end_may_have_reset_it_later() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, DIGEST, text("sha256:1"), "worker_pins");
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    expect_drift(&w, &[drift().window_incomplete()]);
}

#[test]
fn what_was_missed_before_the_pin_is_not_missed() {
    let mut w = pool();
    w.request();
    verifies(&mut w, LOOP);
    pins_in_worker(&mut w);
    w.random(LOOP, minting(8, 2));
    expect_drift(&w, &[]);
}

#[test]
fn one_requests_pin_is_not_anothers() {
    let mut w = pool();
    w.request();
    pins_in_worker(&mut w);
    w.leave(LOOP);
    w.request();
    verifies(&mut w, LOOP);
    w.random(LOOP, minting(8, 2));
    expect_drift(&w, &[]);
}

#[test]
fn a_request_is_followed_into_what_it_created() {
    // By its id, or by its identity object.
    for (slot, value) in [(REQUEST, text("r1")), (TENANT, object(64))] {
        let mut w = pool();
        w.request();
        w.bind(LOOP, slot, value, "middleware");
        pins_in_worker(&mut w);
        w.request();
        w.read(LOOP, "handler");
        verifies(&mut w, LOOP);
        w.random(LOOP, minting(8, 2));
        expect_drift(&w, &[drift().confirmed()]);
    }
}

#[test]
fn requests_of_one_tenant_are_told_apart() {
    // They share the object that says who they are for, which shows with the second one only.
    let mut w = pool();
    let scopes: Vec<_> = (0..3).map(|_| w.copy_context(LOOP)).collect();
    for scope in &scopes {
        w.enter(LOOP, *scope);
        w.bind(LOOP, TENANT, object(64), "middleware");
        w.read(LOOP, "handler");
        pins_in_worker(&mut w);
        w.leave(LOOP);
    }
    for (scope, offset) in scopes.iter().zip(1..) {
        w.enter(LOOP, *scope);
        verifies(&mut w, LOOP);
        w.random(LOOP, minting(8 * offset, 2));
        w.leave(LOOP);
    }
    let drifts: Vec<_> = (0..3).map(|_| drift().confirmed()).collect();
    expect_drift(&w, &drifts);
}

#[test]
fn requests_that_one_thread_accepts_are_told_apart() {
    // Each is worked on in a thread of its own, and hands over from there.
    for same in [true, false] {
        let mut w = pool();
        for carrier in [5, 6] {
            w.start_for(LOOP, carrier, Work::RequestThread);
        }
        let item = w.submit(5);
        w.take(2, item);
        w.bind(2, DIGEST, text("sha256:1"), "worker_pins");
        w.idle(2);
        let other = if same { 5 } else { 6 };
        verifies(&mut w, other);
        w.random(other, minting(8, 2));
        w.exit();
        let drifts: Vec<_> = same.then(drift).into_iter().collect();
        expect_drift(&w, &drifts);
    }
}
