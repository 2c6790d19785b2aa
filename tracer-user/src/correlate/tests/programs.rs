//! Programs and their verdicts, as far as the engine decides.

use crate::correlate::{
    event::{Brings, Primitive, QueueKey, Work},
    fact::{Attribution, Carried, FactKind, ReadResult},
    finding::{Kind, Source},
    testing::{Expected, LOOP, TENANT, World, at, minting, none, object, text},
};

fn pool() -> World {
    let mut w = World::new();
    w.worker(2);
    w
}

/// One request's item that binds and leaves it.
fn polluted() -> World {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.idle(2);
    w.leave(LOOP);
    w
}

fn squat() -> Expected {
    Expected::a(Kind::Squat)
        .found("acme")
        .bound_at("worker_binds")
        .confirmed()
}

#[test]
fn tasks_and_awaits_read_their_own() {
    let mut w = World::new();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.request();
    w.read(LOOP, "child");
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 1);
    assert!(!w.facts().iter().any(|f| matches!(f, FactKind::Handoff(..))));
}

#[test]
fn a_worker_does_not_inherit() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    for _ in 0..3 {
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker_reads");
        w.read(2, "worker_reads");
        w.idle(2);
    }
    let hole = Expected::a(Kind::BlackHoleRead)
        .expected("acme")
        .found_nothing()
        .by(Primitive::RunInExecutor);
    w.expect(&[hole.clone(), hole.clone(), hole]);
    assert_eq!(
        w.says(&FactKind::Handoff(Primitive::RunInExecutor, Carried::None)),
        3
    );
}

#[test]
fn a_workers_bind_does_not_come_back() {
    for loop_first in [true, false] {
        let mut w = pool();
        for _ in 0..20 {
            w.request();
            let item = w.submit(LOOP);
            w.take(2, item);
            w.bind(2, TENANT, text("acme"), "worker_binds");
            if loop_first {
                w.read(LOOP, "handler");
            }
            w.idle(2);
            if !loop_first {
                w.read(LOOP, "handler");
            }
            w.read(LOOP, "handler");
            w.leave(LOOP);
        }
        let back = Expected::a(Kind::BlackHoleReturn)
            .expected("acme")
            .bound_at("worker_binds");
        let all: Vec<_> = (0..20).flat_map(|_| [back.clone(), squat()]).collect();
        w.expect(&all);
    }
}

#[test]
fn the_next_request_reads_the_one_before() {
    let mut w = polluted();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.read(2, "worker_reads");
    w.idle(2);
    let bleed = Expected::a(Kind::Bleed)
        .found("acme")
        .expected("globex")
        .confirmed();
    w.expect(&[squat(), bleed.source(Source::Residue).bound_at("worker_binds")]);
    assert_eq!(
        w.says(&FactKind::Handoff(Primitive::RunInExecutor, Carried::Foreign)),
        1
    );
}

#[test]
fn without_an_identity_of_its_own_it_is_suspected() {
    let mut w = polluted();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[
        squat(),
        Expected::a(Kind::Bleed)
            .found("acme")
            .expected_nothing()
            .suspected(),
    ]);
}

#[test]
fn binding_first_heals_the_read() {
    let mut w = polluted();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("globex2"), "worker_binds");
    w.read(2, "worker_reads");
    w.reset(2, TENANT, former);
    w.idle(2);
    w.expect(&[squat()]);
}

#[test]
fn after_a_reset_to_residue_a_read_is_foreign_again() {
    let mut w = polluted();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("globex"), "worker_binds");
    w.reset(2, TENANT, former);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[squat(), Expected::a(Kind::Bleed).found("acme").confirmed()]);
}

#[test]
fn resetting_leaves_nothing() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("acme"), "worker_binds");
    w.read(LOOP, "handler");
    w.reset(2, TENANT, former);
    w.idle(2);
    w.read(LOOP, "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn to_thread_is_clean_on_a_polluted_thread() {
    let mut w = polluted();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let (item, scope) = w.hand_to_thread(LOOP);
    w.take(2, item);
    w.enter(2, scope);
    w.read(2, "worker_reads");
    w.bind(2, TENANT, text("other"), "worker_binds");
    w.read(2, "worker_reads");
    w.leave(2);
    w.idle(2);
    w.read(LOOP, "handler");
    w.expect(&[squat()]);
    assert_eq!(
        w.says(&FactKind::Handoff(Primitive::ToThread, Carried::Copied)),
        1
    );
}

#[test]
fn a_bind_in_a_copied_context_does_not_come_back_either() {
    let mut w = pool();
    w.request();
    let (item, scope) = w.hand_to_thread(LOOP);
    w.take(2, item);
    w.enter(2, scope);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.leave(2);
    w.idle(2);
    w.read(LOOP, "handler");
    w.expect(&[Expected::a(Kind::BlackHoleReturn)
        .expected("acme")
        .by(Primitive::ToThread)]);
}

#[test]
fn copying_on_the_wrong_side_copies_the_workers() {
    let run = |mut w: World| {
        w.request();
        w.bind(LOOP, TENANT, text("globex"), "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        let copy = w.copy_context(2);
        w.enter(2, copy);
        w.read(2, "worker_reads");
        w.leave(2);
        w.idle(2);
        w
    };
    run(pool()).expect(&[Expected::a(Kind::BlackHoleRead).expected("globex")]);
    run(polluted()).expect(&[
        squat(),
        Expected::a(Kind::Bleed)
            .found("acme")
            .expected("globex")
            .confirmed(),
    ]);
}

#[test]
fn a_bare_thread_does_not_inherit() {
    let mut w = World::new();
    w.bind(LOOP, TENANT, text("acme"), "main");
    w.start(LOOP, 5, false);
    w.read(5, "run");
    w.bind(5, TENANT, text("globex"), "run");
    w.read(5, "run");
    w.emit(5, crate::correlate::event::What::End);
    w.expect(&[Expected::a(Kind::BlackHoleRead)
        .expected("acme")
        .by(Primitive::Thread)]);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Thread, Carried::None)), 1);
}

#[test]
fn a_worker_started_lazily_is_no_hop() {
    for known in [true, false] {
        let mut w = World::new();
        w.bind(LOOP, TENANT, text("acme"), "main");
        w.start(LOOP, 5, known);
        w.read(5, "initializer");
        w.idle(5);
        w.expect_nothing();
        assert_eq!(w.says(&FactKind::Handoff(Primitive::Thread, Carried::None)), 0);
    }
}

#[test]
fn an_initializer_bleeds_into_every_item() {
    for known in [true, false] {
        let mut w = World::new();
        w.start(LOOP, 5, known);
        w.bind(5, TENANT, text("boot"), "initializer");
        w.idle(5);
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        let item = w.submit(LOOP);
        w.take(5, item);
        w.read(5, "worker_reads");
        w.idle(5);
        let bleed = Expected::a(Kind::Bleed)
            .found("boot")
            .expected("acme")
            .confirmed();
        w.expect(&[bleed.source(Source::Initializer).bound_at("initializer")]);
    }
}

#[test]
fn data_in_a_queue_is_no_handoff() {
    let queue = QueueKey(0x77);
    let mut w = World::new();
    w.start(LOOP, 5, false);
    w.bind(5, TENANT, text("globex"), "consumer");
    w.idle_at(5, queue);
    w.bind(LOOP, TENANT, text("acme"), "producer");
    let data = w.hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
    w.take_at(5, data, queue);
    w.read(5, "consumer");
    w.idle_at(5, queue);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Data), 1);
}

#[test]
fn a_loop_inside_a_worker_adds_nothing() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("acme"), "worker");
    let task = w.copy_context(2);
    w.enter(2, task);
    w.read(2, "inner_task");
    w.bind(2, TENANT, text("inner"), "inner_task");
    w.read(2, "inner_task");
    w.leave(2);
    w.reset(2, TENANT, former);
    w.idle(2);
    w.expect_nothing();
}

#[test]
fn defaults_and_none_are_nothing() {
    for nothing in [text("<unset>"), none()] {
        let mut w = pool();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        let before = w.submit(LOOP);
        w.bind(LOOP, TENANT, nothing.clone(), "handler");
        let after = w.submit(LOOP);
        for item in [before, after] {
            w.take(2, item);
            w.read(2, "worker_reads");
            w.idle(2);
        }
        w.expect(&[Expected::a(Kind::BlackHoleRead).expected("acme")]);
    }
}

#[test]
fn equal_text_is_one_identity_and_objects_are_suspected() {
    let run = |left: crate::correlate::value::Value, own: crate::correlate::value::Value| {
        let mut w = pool();
        w.request();
        let item = w.submit(LOOP);
        w.take(2, item);
        w.bind(2, TENANT, left, "worker_binds");
        w.idle(2);
        w.leave(LOOP);
        w.request();
        w.bind(LOOP, TENANT, own, "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker_reads");
        w.idle(2);
        w
    };
    let mut moved = text("acme");
    moved.object = 1;
    run(text("acme"), moved).expect(&[squat()]);
    run(text("büro"), text("bürö")).expect(&[
        Expected::a(Kind::Squat),
        Expected::a(Kind::Bleed).found("büro").confirmed(),
    ]);
    run(object(64), object(64)).expect(&[Expected::a(Kind::Squat)]);
    run(object(64), object(80)).expect(&[Expected::a(Kind::Squat), Expected::a(Kind::Bleed).suspected()]);
}

fn mints(w: &World, attribution: Attribution) {
    let all: Vec<_> = w
        .facts()
        .into_iter()
        .filter(|f| matches!(f, FactKind::Mint(_)))
        .collect();
    assert_eq!(all, [FactKind::Mint(attribution)]);
}

#[test]
fn a_task_for_nobody() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.idle(2);
    w.read(LOOP, "handler");
    w.random(LOOP, minting(7, 10));
    let back = Expected::a(Kind::BlackHoleReturn);
    w.expect(&[squat(), back, Expected::a(Kind::UnattributedTask).found_nothing()]);
    mints(&w, Attribution::Unattributed);
}

#[test]
fn a_task_for_somebody_else() {
    let mut w = polluted();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.random(LOOP, minting(7, 10));
    let task = Expected::a(Kind::MisattributedTask)
        .found("acme")
        .expected("globex")
        .confirmed();
    w.expect(&[squat(), Expected::a(Kind::Bleed), task]);
    mints(&w, Attribution::Misattributed);
}

#[test]
fn a_task_for_its_own() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    w.read(LOOP, "handler");
    w.random(LOOP, minting(7, 10));
    w.expect_nothing();
    mints(&w, Attribution::Attributed);

    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let (item, scope) = w.hand_to_thread(LOOP);
    w.take(2, item);
    w.enter(2, scope);
    w.read(2, "worker_reads");
    w.random(2, minting(7, 10));
    w.leave(2);
    w.idle(2);
    w.expect_nothing();
    mints(&w, Attribution::Attributed);
}

#[test]
fn a_task_without_any_read_is_unknown() {
    let mut w = pool();
    w.request();
    w.random(LOOP, minting(7, 10));
    w.read_under(LOOP, TENANT, at("later"));
    w.expect_nothing();
    mints(&w, Attribution::Unknown);
}
