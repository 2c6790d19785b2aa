//! Policies that are evaluated for nobody: inside a request, and elsewhere.

use crate::correlate::{
    event::{Primitive, What, Work},
    finding::Kind,
    testing::{Expected, LOOP, REQUEST, TENANT, World, checking, none, text},
};

fn a(kind: Kind) -> Expected {
    Expected::a(kind)
}

fn pool() -> World {
    let mut w = World::new();
    w.worker(2);
    w
}

fn checks(w: &mut World, carrier: u32) {
    w.read_under(carrier, TENANT, checking());
}

#[test]
fn a_check_at_start_is_none() {
    let mut w = pool();
    checks(&mut w, LOOP);
    // Neither is one in a task of its own, nor in work that nobody stands behind.
    w.request();
    checks(&mut w, LOOP);
    let item = w.submit(LOOP);
    w.take(2, item);
    checks(&mut w, 2);
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn a_request_slot_makes_it_a_request() {
    let mut w = pool();
    for id in ["r1", "r2"] {
        w.request();
        w.bind(LOOP, REQUEST, text(id), "middleware");
        checks(&mut w, LOOP);
        checks(&mut w, LOOP);
        w.leave(LOOP);
    }
    w.expect(&[
        a(Kind::EmptyCheck).confirmed(),
        a(Kind::EmptyCheck).found_nothing(),
    ]);
    let policy = w.findings()[0].policy.clone().unwrap();
    assert_eq!(&*policy.function, "Policy.check");
}

#[test]
fn a_check_that_finds_somebody_is_one() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, REQUEST, text("r1"), "middleware");
    w.bind(LOOP, TENANT, text("acme"), "middleware");
    checks(&mut w, LOOP);
    let (item, scope) = w.hand_to_thread(LOOP);
    w.take(2, item);
    w.enter(2, scope);
    checks(&mut w, 2);
    w.leave(2);
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn a_read_outside_the_policy_is_no_check() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, REQUEST, text("r1"), "middleware");
    w.read(LOOP, "handler");
    w.expect_nothing();
}

#[test]
fn a_worker_that_misses_its_requests_identity_checks_for_nobody() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    checks(&mut w, 2);
    checks(&mut w, 2);
    w.idle(2);
    let check = a(Kind::EmptyCheck).expected("acme").by(Primitive::RunInExecutor);
    w.expect(&[a(Kind::BlackHoleRead), check]);
}

#[test]
fn work_that_says_itself_that_there_is_nobody_checks_for_nobody_on_purpose() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, none(), "worker_clears");
    checks(&mut w, 2);
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn a_request_id_that_others_left_in_a_worker_says_nothing() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, REQUEST, text("r1"), "worker_binds");
    w.idle(2);
    w.leave(LOOP);
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    checks(&mut w, 2);
    w.idle(2);
    w.expect(&[a(Kind::Squat)]);
}

#[test]
fn a_worker_whose_request_has_an_id_checks_inside_it() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, REQUEST, text("r1"), "middleware");
    let item = w.submit(LOOP);
    w.take(2, item);
    checks(&mut w, 2);
    w.idle(2);
    w.expect(&[a(Kind::EmptyCheck).expected_nothing()]);
}

#[test]
fn what_a_worker_bound_and_did_not_bring_back_is_missed_by_a_check() {
    for (ended_first, read_first) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut w = pool();
        w.request();
        let item = w.submit(LOOP);
        w.take(2, item);
        w.bind(2, TENANT, text("acme"), "worker_binds");
        if ended_first {
            w.idle(2);
        }
        if read_first {
            w.read(LOOP, "handler");
        }
        checks(&mut w, LOOP);
        checks(&mut w, LOOP);
        if !ended_first {
            w.idle(2);
        }
        let check = a(Kind::EmptyCheck).expected("acme").bound_at("worker_binds");
        w.expect(&[a(Kind::Squat), a(Kind::BlackHoleReturn), check]);
    }
}

#[test]
fn work_that_is_open_at_the_end_may_have_reset_it_later() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    checks(&mut w, LOOP);
    let incomplete = |kind| a(kind).window_incomplete();
    w.expect(&[incomplete(Kind::BlackHoleReturn), incomplete(Kind::EmptyCheck)]);
}

#[test]
fn what_a_worker_bound_for_a_while_is_not_missed() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("warm-up"), "worker_binds");
    checks(&mut w, LOOP);
    w.reset(2, TENANT, former);
    w.idle(2);
    checks(&mut w, LOOP);
    w.expect_nothing();
}

#[test]
fn after_its_request_has_bound_and_reset_a_scope_is_in_no_request() {
    let mut w = pool();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.idle(2);
    w.read(LOOP, "handler");
    let former = w.bind(LOOP, TENANT, text("acme"), "handler");
    w.reset(LOOP, TENANT, former);
    checks(&mut w, LOOP);
    w.expect(&[a(Kind::Squat), a(Kind::BlackHoleReturn)]);
}

#[test]
fn after_a_gap_a_worker_is_not_judged() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.emit(LOOP, What::Gap { lost: 1 });
    checks(&mut w, 2);
    w.expect_nothing();
}

#[test]
fn what_a_thread_checks_waits_until_it_is_no_pools_worker() {
    for pool in [false, true] {
        let mut w = World::new();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        w.start_for(LOOP, 5, Work::Thread { pool: false });
        checks(&mut w, 5);
        if pool {
            w.idle(5);
            w.expect_nothing();
        } else {
            w.emit(5, What::End);
            w.expect(&[a(Kind::BlackHoleRead), a(Kind::EmptyCheck)]);
        }
    }
}
