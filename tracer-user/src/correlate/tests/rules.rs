//! The rules of judgement one by one, each in both directions.

use std::sync::Arc;

use crate::correlate::{
    event::{Brings, Doing, Primitive, QueueKey, What, Work},
    fact::{Attribution, Carried, FactKind, ReadResult, Table},
    finding::{Kind, Source},
    testing::{Expected, LOOP, REQUEST, TENANT, World, at, minting, none, object, text},
    value::Found,
};

fn pool() -> World {
    let mut w = World::new();
    w.worker(2);
    w
}

fn a(kind: Kind) -> Expected {
    Expected::a(kind)
}

/// An item on worker 2 that binds in the base scope and leaves it.
fn pollute(w: &mut World, value: &str) {
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text(value), "worker_binds");
    w.idle(2);
    w.leave(LOOP);
}

/// A request of this identity whose item on worker 2 reads.
fn read_as(w: &mut World, identity: &str) {
    w.request();
    w.bind(LOOP, TENANT, text(identity), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.leave(LOOP);
}

#[test]
fn a_second_dequeue_attempt_says_nothing_new() {
    let mut w = pool();
    pollute(&mut w, "acme");
    w.idle(2);
    w.idle(2);
    w.expect(&[a(Kind::Squat)]);
}

#[test]
fn an_item_may_use_a_queue_for_data() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.idle_at(2, QueueKey(5));
    let data = w.hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
    w.take_at(2, data, QueueKey(5));
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
}

#[test]
fn an_address_is_reused_after_its_take() {
    let mut w = pool();
    w.worker(3);
    let mut own = Vec::new();
    for (worker, identity) in [(2, "acme"), (3, "globex")] {
        w.request();
        w.bind(LOOP, TENANT, text(identity), "handler");
        let key = crate::correlate::event::ItemKey(0xaa);
        w.hand_at(LOOP, key, Work::Item, Primitive::Submit, Brings::Nothing);
        w.take(worker, key);
        w.read(worker, "worker_reads");
        own.push(a(Kind::BlackHoleRead).expected(identity));
    }
    w.expect(&own);
}

#[test]
fn a_bare_thread_leaves_no_squat_and_is_decided_by_what_it_does() {
    // By a second of time, by handing over work, by its end, and by the end of the run.
    for decided in 0..4 {
        let mut w = World::new();
        w.bind(LOOP, TENANT, text("acme"), "main");
        w.start(LOOP, 5, false);
        w.read(5, "run");
        w.bind(5, TENANT, text("globex"), "run");
        match decided {
            0 => w.time += 2_000_000_000,
            1 => drop(w.submit(5)),
            2 => drop(w.emit(5, What::End)),
            _ => {}
        }
        w.read(LOOP, "main");
        if decided < 2 {
            w.idle_at(5, QueueKey(3));
        }
        w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
    }
}

#[test]
fn a_bare_threads_bind_does_not_come_back() {
    let mut w = World::new();
    w.start(LOOP, 5, false);
    w.bind(5, TENANT, text("globex"), "run");
    w.emit(5, What::End);
    w.read(LOOP, "main");
    w.expect(&[a(Kind::BlackHoleReturn).expected("globex").by(Primitive::Thread)]);
}

#[test]
fn residue_is_never_a_hop_value() {
    let mut w = pool();
    w.worker(3);
    pollute(&mut w, "acme");
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let outer = w.submit(LOOP);
    w.take(2, outer);
    let inner = w.submit(2);
    w.take(3, inner);
    w.read(3, "inner");
    w.expect(&[a(Kind::Squat), a(Kind::BlackHoleRead).expected("globex")]);
}

#[test]
fn a_polluted_worker_copies_its_residue() {
    let mut w = pool();
    w.worker(3);
    pollute(&mut w, "acme");
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let outer = w.submit(LOOP);
    w.take(2, outer);
    let (inner, scope) = w.hand_to_thread(2);
    w.take(3, inner);
    w.enter(3, scope);
    w.read(3, "inner");
    let bleed = a(Kind::Bleed)
        .found("acme")
        .expected("globex")
        .source(Source::Residue);
    w.expect(&[a(Kind::Squat), bleed.bound_at("worker_binds")]);
}

#[test]
fn ancestors_are_asked_up_to_eight() {
    for (depth, finds) in [(8, true), (9, false)] {
        let mut w = World::new();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        let mut item = w.submit(LOOP);
        for n in 0..depth {
            w.worker(10 + n);
            w.take(10 + n, item);
            item = w.submit(10 + n);
        }
        w.worker(50);
        w.take(50, item);
        w.read(50, "last");
        if finds {
            w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
        } else {
            w.expect_nothing();
        }
    }
}

#[test]
fn a_chosen_context_is_own_and_a_found_one_is_unjudged() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let service = w.copy_context(LOOP);
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.hand(LOOP, Work::Item, Primitive::CopyContext, Brings::Scope(service));
    w.take(2, item);
    w.enter(2, service);
    w.read(2, "service");
    w.leave(2);
    w.idle(2);
    let item = w.submit(LOOP);
    w.take(2, item);
    w.enter(2, service);
    w.read(2, "service");
    w.leave(2);
    w.idle(2);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 1);
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
}

#[test]
fn an_unread_callable_is_not_guessed() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.hand(LOOP, Work::Item, Primitive::Unknown, Brings::Unknown);
    w.take(2, item);
    let empty = w.copy_context(2);
    w.enter(2, empty);
    w.read(2, "inside");
    w.leave(2);
    w.idle(2);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
}

#[test]
fn configured_values_are_nothing() {
    for (configured, nothing) in [("public", true), ("other", false)] {
        let mut w = pool();
        w.configure_empty(configured);
        read_as(&mut w, "public");
        if nothing {
            w.expect_nothing();
        } else {
            w.expect(&[a(Kind::BlackHoleRead).expected("public")]);
        }
    }
}

#[test]
fn binding_nothing_is_a_reset() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.bind(2, TENANT, none(), "worker_clears");
    w.idle(2);
    w.read(LOOP, "handler");
    w.expect_nothing();
}

#[test]
fn unreadable_is_not_empty() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    let scope = w.scope(2);
    let found = Found::Unreadable;
    let stack = at("worker_reads");
    let request = None;
    w.emit(
        2,
        What::Read {
            slot: TENANT,
            scope,
            entered: false,
            found,
            call_default: None,
            request,
            stack,
        },
    );
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unreadable, 1)), 1);
}

#[test]
fn a_change_without_a_bind_is_a_squat() {
    let mut w = pool();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.plant(2, "acme");
    w.idle(2);
    w.expect(&[a(Kind::Squat).found("acme").bound_unseen()]);
}

#[test]
fn what_was_there_before_the_attach_bleeds() {
    for doing in [Doing::Waiting, Doing::UnseenItem] {
        let mut w = World::attached(false);
        w.plant(2, "acme");
        w.existing(2, doing);
        if doing == Doing::UnseenItem {
            w.read(2, "unseen");
            w.idle(2);
        }
        read_as(&mut w, "globex");
        let bleed = a(Kind::Bleed).found("acme").expected("globex").confirmed();
        w.expect(&[bleed.source(Source::BeforeAttach).bound_unseen()]);
        assert_eq!(w.says(&FactKind::Squatting(1)), 1);
    }
}

/// A thread's base context is freed before the thread is gone, and a request may get its address at once.
#[test]
fn the_end_of_a_thread_spares_the_scope_at_its_old_base() {
    let mut w = pool();
    w.start(LOOP, 5, false);
    w.bind(5, TENANT, text("acme"), "thread_binds");
    w.read(5, "thread_reads");
    let address = w.free_base(5);
    w.enter(LOOP, address);
    let item = w.submit(LOOP);
    w.emit(5, What::End);
    w.take(2, item);
    w.bind(2, TENANT, text("globex"), "worker_binds");
    w.idle(2);
    w.read(LOOP, "handler_reads");
    let returned = a(Kind::BlackHoleReturn).expected("globex").found_nothing();
    w.expect(&[a(Kind::Squat), returned]);
}

/// The end of a thread is told late: by then the context of its request may be another request's.
#[test]
fn a_late_thread_decides_nothing_for_the_next_request() {
    let mut w = World::new();
    let scope = w.request();
    w.start(LOOP, 5, false);
    w.read(5, "thread_reads");
    w.leave(LOOP);
    w.free(LOOP, scope);
    w.enter(LOOP, scope);
    w.emit(5, What::End);
    w.random(LOOP, minting(8, 2));
    w.exit();
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Mint(Attribution::Unknown)), 1);
}

#[test]
fn a_thread_that_ran_before_the_attach_is_not_judged() {
    for (doing, result) in [
        (Doing::Thread, ReadResult::Unjudged),
        (Doing::Loop, ReadResult::Own),
    ] {
        let mut w = World::attached(false);
        w.plant(2, "acme");
        w.existing(2, doing);
        w.read(2, "thread_reads");
        w.expect_nothing();
        assert_eq!(w.says(&FactKind::Read(TENANT, result, 1)), 1);
        assert_eq!(w.says(&FactKind::Squatting(1)), 0);
    }
}

/// anyio's worker threads are bare threads that run each piece of work in a context of its own.
#[test]
fn a_thread_that_enters_contexts_is_not_judged_in_them() {
    let mut w = World::new();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.start(LOOP, 5, false);
    w.leave(LOOP);
    let other = w.copy_context(LOOP);
    w.enter(5, other);
    w.read(5, "worker_reads");
    w.leave(5);
    w.emit(5, What::End);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Thread, Carried::None)), 0);
}

#[test]
fn a_context_that_a_thread_entered_hands_its_identity_on() {
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.start(LOOP, 5, false);
    w.leave(LOOP);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let other = w.copy_context(LOOP);
    w.leave(LOOP);
    w.enter(5, other);
    let item = w.submit(5);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[a(Kind::BlackHoleRead).expected("globex")]);
}

/// The return from a wait that began before the attach is seen by no probe.
#[test]
fn the_only_item_that_nobody_took_is_what_a_waiting_worker_took() {
    let mut w = World::attached(false);
    w.plant(2, "acme");
    w.existing(2, Doing::Waiting);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    w.submit(LOOP);
    w.read(2, "worker_reads");
    w.idle(2);
    let bleed = a(Kind::Bleed).found("acme").expected("globex").confirmed();
    w.expect(&[bleed.source(Source::BeforeAttach).bound_unseen()]);
    assert_eq!(
        w.says(&FactKind::Handoff(Primitive::RunInExecutor, Carried::Foreign)),
        1
    );
}

#[test]
fn of_two_items_that_nobody_took_none_is_chosen() {
    let mut w = World::attached(false);
    w.plant(2, "acme");
    w.existing(2, Doing::Waiting);
    w.existing(3, Doing::Waiting);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    w.submit(LOOP);
    w.submit(LOOP);
    w.read(2, "worker_reads");
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
}

#[test]
fn a_thread_read_decides_a_mint_once_it_is_known_to_be_no_worker() {
    for pool in [false, true] {
        let mut w = World::new();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        w.start(LOOP, 5, false);
        w.read(5, "thread_reads");
        w.random(LOOP, minting(8, 2));
        w.leave(LOOP);
        if pool {
            w.idle(5);
        } else {
            w.emit(5, What::End);
        }
        w.exit();
        let mints = |attribution| w.says(&FactKind::Mint(attribution));
        let unattributed = usize::from(!pool);
        assert_eq!(mints(Attribution::Unattributed), unattributed);
        assert_eq!(mints(Attribution::Unknown), 1 - unattributed);
    }
}

#[test]
fn after_a_gap_nothing_is_judged_until_the_next_take() {
    let mut w = pool();
    pollute(&mut w, "acme");
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.emit(LOOP, What::Gap { lost: 3 });
    w.read(2, "worker_reads");
    w.idle(2);
    w.leave(LOOP);
    w.expect(&[a(Kind::Squat)]);
    read_as(&mut w, "globex");
    let bleed = a(Kind::Bleed)
        .found("acme")
        .source(Source::Residue)
        .bound_unseen()
        .window_incomplete();
    w.expect(&[a(Kind::Squat), bleed]);
}

#[test]
fn an_open_item_is_told_at_exit_without_a_squat() {
    let mut w = pool();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.read(LOOP, "handler");
    w.expect(&[a(Kind::BlackHoleReturn).window_incomplete()]);
    w.exit();
    w.expect(&[a(Kind::BlackHoleReturn).window_incomplete()]);
}

#[test]
fn a_scopes_successor_at_its_address_is_another() {
    let mut w = pool();
    let scope = w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.emit(LOOP, What::ScopeEnd { scope });
    w.bind(2, TENANT, text("acme"), "worker_binds");
    w.idle(2);
    w.read(LOOP, "somebody_else");
    w.expect(&[a(Kind::Squat)]);
}

#[test]
fn a_read_under_the_minting_function_wins() {
    let mut w = pool();
    w.request();
    w.read(LOOP, "before");
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.random(LOOP, minting(8, 2));
    w.read_under(LOOP, TENANT, minting(8, 6));
    w.read(LOOP, "after");
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Mint(Attribution::Attributed)), 1);
}

#[test]
fn mints_are_told_apart() {
    // Two ids of one activation are two; a read alone is one for its activation; a lower offset is a new activation.
    let mut w = pool();
    w.request();
    w.random(LOOP, minting(8, 2));
    w.random(LOOP, minting(8, 6));
    w.read_under(LOOP, TENANT, minting(16, 2));
    w.read_under(LOOP, TENANT, minting(16, 4));
    w.read_under(LOOP, TENANT, minting(16, 2));
    assert_eq!(w.says(&FactKind::Mint(Attribution::Unknown)), 2);
    assert_eq!(w.says(&FactKind::Mint(Attribution::Unattributed)), 2);
}

#[test]
fn an_id_that_is_drawn_in_pieces_is_one() {
    let drawn_by = |function: &str, activation, offset| {
        let mut stack = minting(activation, offset);
        Arc::make_mut(&mut stack).frames[0].site.function = function.into();
        stack
    };
    let piece = |offset| drawn_by("Random._randbelow_with_getrandbits", 8, offset);
    let mut w = pool();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.read(LOOP, "handler");
    // Sixteen letters in one place, one after it, a whole id after that, and one more letter.
    for _ in 0..16 {
        w.random(LOOP, piece(2));
    }
    w.random(LOOP, piece(6));
    w.random(LOOP, drawn_by("uuid4", 8, 6));
    w.random(LOOP, piece(6));
    w.leave(LOOP);
    // Another request draws in the same place.
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    w.read(LOOP, "handler");
    w.random(LOOP, piece(6));
    w.leave(LOOP);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Mint(Attribution::Attributed)), 5);
}

#[test]
fn a_gap_makes_pending_mints_unknown() {
    let mut w = pool();
    w.request();
    w.read(LOOP, "handler");
    w.random(LOOP, minting(8, 2));
    w.emit(LOOP, What::Gap { lost: 1 });
    w.random(LOOP, minting(16, 2));
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Mint(Attribution::Unknown)), 2);
}

#[test]
fn a_request_is_named_by_its_slot_or_its_identity_object() {
    // The child task has a context of its own; what they share is the id, or the identity object.
    for named_by in [Some(REQUEST), None] {
        let mut w = pool();
        pollute(&mut w, "acme");
        w.request();
        match named_by {
            Some(slot) => drop(w.bind(LOOP, slot, text("req-1"), "middleware")),
            None => drop(w.bind(LOOP, TENANT, object(64), "middleware")),
        }
        w.request();
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker_reads");
        w.idle(2);
        w.leave(LOOP);
        w.random(LOOP, minting(8, 2));
        w.expect(&[
            a(Kind::Squat),
            a(Kind::Bleed).suspected(),
            a(Kind::MisattributedTask).suspected(),
        ]);
    }
}

#[test]
fn squatting_and_tables_are_gauges() {
    let mut w = pool();
    w.settings.bounds.submits = 1;
    pollute(&mut w, "acme");
    w.submit(LOOP);
    w.submit(LOOP);
    w.exit();
    let gauge: Vec<_> = w
        .facts()
        .into_iter()
        .filter(|f| matches!(f, FactKind::Squatting(_)))
        .collect();
    assert_eq!(gauge, [FactKind::Squatting(1), FactKind::Squatting(0)]);
    assert_eq!(w.says(&FactKind::Evicted(Table::Submits, 1)), 1);
}

#[test]
fn waiting_and_working_are_timed() {
    let mut w = pool();
    pollute(&mut w, "acme");
    read_as(&mut w, "globex");
    assert_eq!(w.says(&FactKind::Wait(1000)), 2);
    assert_eq!(w.says(&FactKind::Busy(2000)), 2);
    // From the bind: the dequeue, a bind on the loop, submit, take, read.
    assert_eq!(w.says(&FactKind::BleedAge(5000)), 1);
}

#[test]
fn a_reset_bind_is_undone_even_over_an_equal_value() {
    let mut w = pool();
    pollute(&mut w, "acme");
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("acme"), "worker_binds");
    w.reset(2, TENANT, former);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[
        a(Kind::Squat),
        a(Kind::Bleed).found("acme").expected("globex").confirmed(),
    ]);
}

/// Work that takes a value which it is not known how to look into.
fn opaque_work(w: &mut World, then_read: bool) {
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    let (scope, stack) = (w.scope(2), at("worker_reads"));
    w.emit(
        2,
        What::Read {
            slot: TENANT,
            scope,
            entered: false,
            found: Found::Unresolved,
            call_default: None,
            request: None,
            stack,
        },
    );
    if then_read {
        w.read(2, "worker_reads");
    }
    w.idle(2);
    w.leave(LOOP);
}

#[test]
fn only_work_that_was_judged_is_proof() {
    let mut w = pool();
    opaque_work(&mut w, false);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Judged(TENANT)), 0, "its only read said nothing");
    assert_eq!(
        w.says(&FactKind::Judged(REQUEST)),
        1,
        "that nothing was carried says enough"
    );
    opaque_work(&mut w, true);
    opaque_work(&mut w, true);
    assert_eq!(w.says(&FactKind::Judged(TENANT)), 1, "once is enough");
}

#[test]
fn work_of_which_nobody_knows_what_was_handed_over_is_no_proof() {
    let mut w = World::attached(false);
    w.existing(2, Doing::UnseenItem);
    w.read(2, "worker_reads");
    w.idle(2);
    assert_eq!(w.says(&FactKind::Judged(TENANT)), 0);
}
