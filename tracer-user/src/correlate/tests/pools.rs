//! Pools of other makes than the standard library's executors, and what a pool's thread has from whoever started it.

use super::super::{
    event::{Brings, ByHand, Doing, ItemKey, Primitive, QueueKey, What, Work},
    fact::{Carried, FactKind, ReadResult},
    finding::{Kind, Source},
    testing::{Expected, LOOP, POOL, REQUEST, TENANT, World, at, minting, text},
};

const TASKS: QueueKey = QueueKey(0x9100);
/// Hands batches on.
const HANDLER: u32 = 7;
const WORKER: u32 = 8;

fn a(kind: Kind) -> Expected {
    Expected::a(kind)
}

/// A loop whose request acme has started the pool's only thread.
fn inheriting() -> World {
    let mut w = World::new();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.start(LOOP, 2, true);
    w.inherit(LOOP, 2);
    w.idle(2);
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.leave(LOOP);
    w
}

#[test]
fn a_worker_that_inherited_its_starters_identity_bleeds_and_does_not_squat() {
    let mut w = inheriting();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    let bleed = a(Kind::Bleed).found("acme").expected("globex").confirmed();
    w.expect(&[bleed.source(Source::Inherited).bound_unseen()]);
    let handoff = |carried| FactKind::Handoff(Primitive::RunInExecutor, carried);
    assert_eq!(w.says(&handoff(Carried::Own)), 1);
    assert_eq!(w.says(&handoff(Carried::Inherited)), 1);
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 1);
}

#[test]
fn what_an_item_bound_over_an_inherited_identity_is_residue() {
    let mut w = inheriting();
    w.request();
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("initech"), "worker_binds");
    w.idle(2);
    w.leave(LOOP);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[
        a(Kind::Squat).found("initech"),
        a(Kind::Bleed)
            .found("initech")
            .expected("globex")
            .source(Source::Residue)
            .bound_at("worker_binds"),
    ]);
}

#[test]
fn what_a_reset_brings_back_is_inherited_again() {
    let mut w = inheriting();
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    let former = w.bind(2, TENANT, text("globex"), "worker_binds");
    w.reset(2, TENANT, former);
    w.read(2, "worker_reads");
    w.idle(2);
    w.expect(&[a(Kind::Bleed)
        .found("acme")
        .source(Source::Inherited)
        .bound_unseen()]);
}

#[test]
fn a_thread_that_turns_out_to_be_a_worker_inherits_too() {
    let mut w = World::new();
    w.request();
    w.bind(LOOP, TENANT, text("acme"), "handler");
    w.start(LOOP, 2, false);
    w.inherit(LOOP, 2);
    w.idle(2);
    w.leave(LOOP);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.expect(&[a(Kind::Bleed).found("acme").source(Source::Inherited)]);
}

#[test]
fn after_a_gap_nothing_is_known_to_be_inherited() {
    let mut w = inheriting();
    w.emit(LOOP, What::Gap { lost: 1 });
    w.idle(2);
    w.request();
    w.bind(LOOP, TENANT, text("globex"), "handler");
    let item = w.submit(LOOP);
    w.take(2, item);
    w.read(2, "worker_reads");
    w.expect(&[a(Kind::Bleed)
        .found("acme")
        .source(Source::Residue)
        .window_incomplete()]);
}

/// A `multiprocessing.pool.ThreadPool` of one worker.
fn thread_pool() -> World {
    let mut w = World::new();
    for carrier in [HANDLER, WORKER] {
        w.start(LOOP, carrier, false);
    }
    w.idle_at(HANDLER, TASKS);
    w.idle(WORKER);
    w
}

/// A request hands over a batch of two pieces.
fn batch(w: &mut World, tenant: &str) -> [ItemKey; 2] {
    w.request();
    w.bind(LOOP, TENANT, text(tenant), "handler");
    let batch = w.hand(LOOP, Work::Batch, Primitive::Threadpool, Brings::Nothing);
    w.leave(LOOP);
    w.take_at(HANDLER, batch, TASKS);
    let pieces = [0, 1].map(|_| w.hand(HANDLER, Work::Piece, Primitive::Threadpool, Brings::Nothing));
    w.idle_at(HANDLER, TASKS);
    pieces
}

#[test]
fn the_pieces_of_a_batch_are_its_submitters() {
    let mut w = thread_pool();
    let acme = batch(&mut w, "acme");
    let globex = batch(&mut w, "globex");
    for piece in acme {
        w.take(WORKER, piece);
        w.read(WORKER, "worker_reads");
        w.idle(WORKER);
    }
    w.take(WORKER, globex[0]);
    w.bind(WORKER, TENANT, text("globex"), "worker_binds");
    w.idle(WORKER);
    w.take(WORKER, globex[1]);
    w.read(WORKER, "worker_reads");
    w.idle(WORKER);
    let missed = || a(Kind::BlackHoleRead).expected("acme").by(Primitive::Threadpool);
    w.expect(&[missed(), missed(), a(Kind::Squat).found("globex")]);
    let handoff = |carried| FactKind::Handoff(Primitive::Threadpool, carried);
    assert_eq!(w.says(&handoff(Carried::None)), 3);
    assert_eq!(w.says(&handoff(Carried::Own)), 1);
}

#[test]
fn a_piece_of_a_batch_that_nobody_saw_is_not_judged() {
    let mut w = thread_pool();
    let [first, second] = batch(&mut w, "acme");
    w.take(WORKER, first);
    w.idle(WORKER);
    w.emit(LOOP, What::Gap { lost: 1 });
    w.idle(WORKER);
    let piece = w.hand(HANDLER, Work::Piece, Primitive::Threadpool, Brings::Nothing);
    for piece in [second, piece] {
        w.take(WORKER, piece);
        w.read(WORKER, "worker_reads");
        w.idle(WORKER);
    }
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 2);
}

/// A thread of anyio's pool.
fn context_pool() -> World {
    let mut w = World::new();
    w.start_for(LOOP, WORKER, Work::ContextThread);
    w
}

#[test]
fn a_copied_context_is_tied_to_its_request_by_the_object_that_it_holds() {
    let mut w = context_pool();
    for tenant in ["acme", "globex"] {
        w.request();
        w.bind(LOOP, TENANT, text(tenant), "handler");
        let copy = w.copy_context(LOOP);
        w.leave(LOOP);
        w.enter(WORKER, copy);
        w.read(WORKER, "worker_reads");
        w.bind(WORKER, TENANT, text("rotated"), "worker_binds");
        w.read(WORKER, "worker_reads");
        w.leave(WORKER);
    }
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 4);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Anyio, Carried::Copied)), 2);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Thread, Carried::None)), 0);
}

#[test]
fn what_no_request_bound_is_not_judged_and_proves_nothing() {
    let mut w = context_pool();
    // Left in some worker, not bound by a request.
    w.start(LOOP, 2, true);
    w.idle(2);
    let item = w.submit(LOOP);
    w.take(2, item);
    w.bind(2, TENANT, text("acme"), "worker_binds");
    let copy = w.copy_context(2);
    w.enter(WORKER, copy);
    w.read(WORKER, "worker_reads");
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Anyio, Carried::Copied)), 0);
}

#[test]
fn what_a_context_pool_submits_has_its_requests_identity() {
    let mut w = context_pool();
    w.worker(2);
    for (tenant, site) in [(Some("acme"), "first"), (None, "second")] {
        w.request();
        if let Some(tenant) = tenant {
            w.bind(LOOP, TENANT, text(tenant), "handler");
        }
        let copy = w.copy_context(LOOP);
        w.leave(LOOP);
        w.enter(WORKER, copy);
        let item = w.submit(WORKER);
        w.take(2, item);
        w.read(2, site);
        w.idle(2);
        w.leave(WORKER);
    }
    // Nobody's request misses nothing.
    w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Empty, 1)), 2);
}

#[test]
fn a_handed_context_pairs_both_ends() {
    let mut w = World::new();
    // Nothing but the context tells that this is such a worker.
    w.start(LOOP, WORKER, false);
    w.request();
    for _ in 0..2 {
        let copy = w.copy_context(LOOP);
        w.hand_at(
            LOOP,
            ItemKey(copy.0),
            Work::InContext,
            Primitive::Anyio,
            Brings::Scope(copy),
        );
        w.enter(WORKER, copy);
        w.bind(WORKER, TENANT, text("acme"), "worker_binds");
        w.leave(WORKER);
        w.free(WORKER, copy);
    }
    w.read(LOOP, "handler_reads");
    let lost = || a(Kind::BlackHoleReturn).expected("acme").bound_at("worker_binds");
    w.expect(&[lost().by(Primitive::Anyio), lost().by(Primitive::Anyio)]);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Anyio, Carried::Copied)), 2);
    assert_eq!(w.says(&FactKind::Handoff(Primitive::Thread, Carried::None)), 0);
}

#[test]
fn a_mint_in_a_copied_context_is_its_requests() {
    let mut w = context_pool();
    w.request();
    w.bind(LOOP, REQUEST, text("r1"), "handler");
    w.bind(LOOP, TENANT, text("acme"), "handler");
    let copy = w.copy_context(LOOP);
    w.leave(LOOP);
    w.enter(WORKER, copy);
    w.read_under(WORKER, TENANT, minting(1, 0));
    w.random(WORKER, minting(1, 4));
    w.leave(WORKER);
    w.expect_nothing();
    assert_eq!(
        w.says(&FactKind::Mint(super::super::fact::Attribution::Attributed)),
        1
    );
}

#[test]
fn what_comes_back_is_not_lost() {
    for comes_back in [true, false] {
        let mut w = World::new();
        w.worker(2);
        w.request();
        let (item, copy) = w.hand_to_thread(LOOP);
        w.take(2, item);
        w.enter(2, copy);
        w.bind(2, TENANT, text("acme"), "worker_binds");
        w.leave(2);
        w.idle(2);
        let value = if comes_back { "acme" } else { "globex" };
        let former = w.bind(LOOP, TENANT, text(value), "handler");
        w.reset(LOOP, TENANT, former);
        w.read_under(LOOP, TENANT, at("handler_reads"));
        if comes_back {
            w.expect_nothing();
        } else {
            w.expect(&[a(Kind::BlackHoleReturn).expected("acme")]);
        }
    }
}

#[test]
fn the_queue_of_a_pool_is_one_of_three() {
    let mut w = thread_pool();
    let [piece, _] = batch(&mut w, "acme");
    w.take_at(WORKER, piece, POOL);
    // The result goes through a third one, which is no work.
    let result = w.hand(WORKER, Work::Data, Primitive::Unknown, Brings::Nothing);
    w.take_at(LOOP, result, QueueKey(0x9200));
    w.read(WORKER, "worker_reads");
    w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
}

#[test]
fn a_thread_that_takes_work_by_hand_is_not_judged() {
    for by_hand in [true, false] {
        let mut w = World::new();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "handler");
        w.start(LOOP, 5, false);
        if by_hand {
            w.existing(5, Doing::ByHand(ByHand::Caller));
        }
        w.read(5, "worker_reads");
        w.bind(5, TENANT, text("globex"), "worker_binds");
        w.read(5, "worker_reads");
        w.emit(5, What::End);
        if by_hand {
            w.expect_nothing();
        } else {
            w.expect(&[a(Kind::BlackHoleRead).expected("acme")]);
        }
        assert_eq!(
            w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)),
            2 * usize::from(by_hand)
        );
        let handoff = FactKind::Handoff(Primitive::Thread, Carried::None);
        assert_eq!(w.says(&handoff), usize::from(!by_hand));
    }
}

#[test]
fn a_pools_worker_that_takes_work_by_hand_is_not_judged_but_by_what_it_leaves() {
    for doing in [ByHand::Named, ByHand::Outermost, ByHand::Caller] {
        let mut w = World::new();
        w.worker(2);
        w.request();
        w.bind(LOOP, TENANT, text("globex"), "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        w.existing(2, Doing::ByHand(doing));
        w.read(2, "worker_reads");
        w.bind(2, TENANT, text("acme"), "worker_binds");
        w.read(2, "worker_reads");
        w.idle(2);
        let unjudged = w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1));
        if doing == ByHand::Named {
            w.expect(&[a(Kind::Squat).found("acme")]);
            assert_eq!(unjudged, 2);
        } else {
            w.expect(&[
                a(Kind::BlackHoleRead).expected("globex"),
                a(Kind::Squat).found("acme"),
            ]);
            assert_eq!(unjudged, 0);
        }
    }
}

#[test]
fn finding_nobody_says_nothing_where_nobody_handed_it_over_and_work_may_be_taken_by_hand() {
    for (doing, unjudged) in [(None, 0), (Some(ByHand::Caller), 0), (Some(ByHand::Outermost), 1)] {
        let mut w = World::new();
        w.worker(2);
        let item = w.submit(LOOP);
        w.take(2, item);
        if let Some(doing) = doing {
            w.existing(2, Doing::ByHand(doing));
        }
        w.read(2, "worker_reads");
        w.idle(2);
        w.expect_nothing();
        assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), unjudged);
    }
}

#[test]
fn whose_value_a_worker_around_a_queue_of_data_holds_is_known_until_it_takes_more() {
    let mut w = World::new();
    w.start(LOOP, 5, false);
    w.idle(5);
    let first = w.hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
    w.take(5, first);
    w.read(5, "worker_reads");
    w.bind(5, TENANT, text("acme"), "worker_binds");
    w.read(5, "worker_reads");
    w.idle(5);
    let second = w.hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
    w.take(5, second);
    w.read(5, "worker_reads");
    w.expect_nothing();
    let told = |result| FactKind::Read(TENANT, result, 1);
    assert_eq!(w.says(&told(ReadResult::Unjudged)), 2, "the first and the last");
    assert_eq!(w.says(&told(ReadResult::Own)), 1);
}

#[test]
fn a_thread_for_one_request_asks_many_things_for_get() {
    for (how, findings) in [(ByHand::Caller, 1), (ByHand::Named, 0)] {
        let mut w = World::new();
        w.request();
        w.bind(LOOP, TENANT, text("acme"), "server");
        w.start_for(LOOP, 5, Work::RequestThread);
        w.existing(5, Doing::ByHand(how));
        w.read(5, "worker_reads");
        w.emit(5, What::End);
        let expected = [a(Kind::BlackHoleRead).expected("acme")];
        w.expect(&expected[..findings]);
    }
}
