//! Whom asyncio tasks work for: each condition of a `bleed` with the source `task`, in both directions.

use crate::correlate::{
    event::{Conveys, Scope, TaskKey, What},
    fact::{FactKind, ReadResult},
    finding::{Kind, Source},
    testing::{Expected, LOOP, TENANT, World, at, object, text},
    value::Value,
};

fn bleed() -> Expected {
    Expected::a(Kind::Bleed).source(Source::Task)
}

fn world() -> World {
    let mut w = World::new();
    w.settings.tasks = true;
    w
}

/// A request whose task is created by a server that has no identity, and binds one.
fn begin(w: &mut World, identity: Value) -> Scope {
    let scope = w.spawn("server");
    w.enter(LOOP, scope);
    w.bind(LOOP, TENANT, identity, "middleware");
    scope
}

/// The first request leaves a task behind, which has read once and waits.
fn leave_a_task(w: &mut World) -> (Scope, Scope) {
    let first = begin(w, text("acme"));
    let task = w.spawn("handler");
    w.leave(LOOP);
    w.enter(LOOP, task);
    w.read(LOOP, "task_reads");
    w.leave(LOOP);
    (first, task)
}

/// Something ends the wait of a task, which then reads.
fn served(w: &mut World, task: Scope, conveys: Conveys) {
    let future = w.complete(conveys);
    w.leave(LOOP);
    w.wake(future, task);
    w.read(LOOP, "task_reads");
    w.leave(LOOP);
}

/// The whole story: what a second request gives a task of the first, which is over.
fn story(conveys: Conveys) -> World {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    begin(&mut w, text("globex"));
    served(&mut w, task, conveys);
    w
}

#[test]
fn a_task_of_a_finished_request_serves_another() {
    for conveys in [Conveys::Gives, Conveys::MayGive] {
        let w = story(conveys);
        let sure = conveys == Conveys::Gives;
        let bleed = bleed();
        w.expect(&[if sure {
            bleed.confirmed()
        } else {
            bleed.suspected()
        }
        .expected("globex")
        .found("acme")
        .bound_at("middleware")]);
        assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Foreign, 1)), 1);
        let findings = w.findings();
        let spawn = findings[0].spawn.as_deref().expect("a task");
        let site = spawn.site.as_ref().map(|site| &*site.function);
        assert_eq!(site, Some("handler"));
        assert!(spawn.over > 0 && spawn.age > Some(spawn.over));
    }
}

#[test]
fn what_conveys_nothing_proves_nothing() {
    story(Conveys::Nothing).expect_nothing();
}

#[test]
fn it_takes_that_tasks_are_followed() {
    let mut w = story(Conveys::Gives);
    w.settings.tasks = false;
    w.expect_nothing();
}

#[test]
fn a_request_that_goes_on_may_wait_for_others() {
    let mut w = world();
    let (_, task) = leave_a_task(&mut w);
    begin(&mut w, text("globex"));
    served(&mut w, task, Conveys::Gives);
    w.expect_nothing();
}

#[test]
fn requests_of_one_identity_are_not_told_apart() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    begin(&mut w, text("acme"));
    served(&mut w, task, Conveys::Gives);
    w.expect_nothing();
}

#[test]
fn objects_that_cannot_be_compared_are_suspected() {
    let mut w = world();
    let first = begin(&mut w, object(0x50));
    let task = w.spawn("handler");
    w.leave(LOOP);
    w.free(LOOP, first);
    begin(&mut w, object(0x60));
    served(&mut w, task, Conveys::Gives);
    w.expect(&[bleed().suspected().expected("object 96").found("object 80")]);
}

#[test]
fn one_finding_for_each_request_that_is_served() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    for identity in ["globex", "initech"] {
        let request = begin(&mut w, text(identity));
        for _ in 0..3 {
            let future = w.complete(Conveys::Gives);
            w.leave(LOOP);
            w.wake(future, task);
            w.read(LOOP, "task_reads");
            w.leave(LOOP);
            w.enter(LOOP, request);
        }
        w.leave(LOOP);
    }
    w.expect(&[bleed().expected("globex"), bleed().expected("initech")]);
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Foreign, 1)), 6);
}

#[test]
fn what_is_given_back_to_a_pool_was_waited_for_by_one_who_knew_its_holder() {
    let mut w = world();
    let first = begin(&mut w, text("acme"));
    let task = w.spawn("handler");
    w.leave(LOOP);
    w.free(LOOP, first);
    // The other request exists, and may hold a connection, when the task begins to wait for one.
    let second = begin(&mut w, text("globex"));
    w.leave(LOOP);
    w.enter(LOOP, task);
    w.read(LOOP, "task_reads");
    w.leave(LOOP);
    w.enter(LOOP, second);
    served(&mut w, task, Conveys::MayGive);
    w.expect_nothing();
}

#[test]
fn what_is_on_its_way_to_one_who_waits_may_be_taken_by_another() {
    for taken in [true, false] {
        let mut w = world();
        let (first, task) = leave_a_task(&mut w);
        w.free(LOOP, first);
        // Somebody gives a connection back, for which yet another waits, before the task does.
        let holder = begin(&mut w, text("initech"));
        w.leave(LOOP);
        let other = w.spawn("server");
        w.enter(LOOP, holder);
        let given_back = w.complete(Conveys::MayGive);
        w.leave(LOOP);
        if !taken {
            w.wake(given_back, other);
            w.leave(LOOP);
        }
        // A request comes, finds it lying there, and gives it back.
        let second = begin(&mut w, text("globex"));
        w.leave(LOOP);
        if taken {
            w.wake(given_back, other);
            w.leave(LOOP);
        }
        w.enter(LOOP, second);
        served(&mut w, task, Conveys::MayGive);
        if taken {
            w.expect_nothing();
        } else {
            w.expect(&[bleed().expected("globex").found("acme")]);
        }
    }
}

#[test]
fn a_task_that_binds_what_comes_with_its_work_is_right() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    begin(&mut w, text("globex"));
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(future, task);
    let former = w.bind(LOOP, TENANT, text("globex"), "task_binds");
    w.read(LOOP, "task_reads");
    w.reset(LOOP, TENANT, former);
    w.expect_nothing();
    // After its reset it carries the first request's again.
    w.read(LOOP, "task_reads_again");
    w.expect(&[bleed().expected("globex").found("acme")]);
}

#[test]
fn what_a_woken_task_creates_and_wakes_works_for_the_same_request() {
    let mut w = world();
    let (first, reader) = leave_a_task(&mut w);
    w.enter(LOOP, reader);
    let dispatcher = w.spawn("session");
    w.leave(LOOP);
    w.free(LOOP, first);
    begin(&mut w, text("globex"));
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(future, reader);
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(future, dispatcher);
    let handler = w.spawn("dispatch");
    w.leave(LOOP);
    w.enter(LOOP, handler);
    w.read(LOOP, "tool_reads");
    w.expect(&[bleed().expected("globex").found("acme")]);
}

#[test]
fn who_is_relieved_of_what_it_wanted_to_give_is_served() {
    let mut w = world();
    let (first, reader) = leave_a_task(&mut w);
    w.free(LOOP, first);
    let second = begin(&mut w, text("globex"));
    w.leave(LOOP);
    // The reader was busy, takes what the request waits to give, and creates a task for it before that one is woken.
    w.enter(LOOP, reader);
    let future = w.complete(Conveys::Takes);
    let handler = w.spawn("dispatch");
    w.leave(LOOP);
    w.wake(future, second);
    w.leave(LOOP);
    w.enter(LOOP, handler);
    w.read(LOOP, "tool_reads");
    w.expect(&[bleed().expected("globex").found("acme")]);
}

#[test]
fn a_context_that_is_brought_along_is_its_owners() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    begin(&mut w, text("globex"));
    let brought = w.copy_context(LOOP);
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(future, task);
    // create_task(handler(), context=brought)
    let (key, stack) = (TaskKey(0x77), at("dispatch"));
    w.emit(
        LOOP,
        What::Spawn {
            task: key,
            scope: task,
            entered: true,
            stack,
        },
    );
    w.emit(
        LOOP,
        What::TaskScope {
            task: key,
            scope: brought,
        },
    );
    w.leave(LOOP);
    w.enter(LOOP, brought);
    w.read(LOOP, "tool_reads");
    w.expect_nothing();
}

#[test]
fn a_callback_of_a_finished_request_is_nobodys_cause() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    // A connection that another request opened: its reader is called in a copy of that one's context, which is no task's.
    begin(&mut w, text("globex"));
    let callback = w.copy_context(LOOP);
    w.leave(LOOP);
    w.enter(LOOP, callback);
    served(&mut w, task, Conveys::Gives);
    w.expect_nothing();
}

#[test]
fn a_task_from_before_the_attach_is_not_judged() {
    let mut w = World::attached(false);
    w.settings.tasks = true;
    w.plant(9, "acme");
    let old = w.scope(9);
    begin(&mut w, text("globex"));
    served(&mut w, old, Conveys::Gives);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
}

#[test]
fn after_a_loss_nobody_works_for_anybody() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    begin(&mut w, text("globex"));
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.emit(LOOP, What::Gap { lost: 1 });
    w.wake(future, task);
    w.read(LOOP, "task_reads");
    w.expect_nothing();
}

#[test]
fn a_future_at_a_used_address_is_another() {
    let mut w = world();
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    let second = begin(&mut w, text("globex"));
    // Nobody waited for this one; a later one wakes somebody; then the task is woken by a future at the first one's address that
    // was cancelled.
    let unheard = w.complete(Conveys::Gives);
    let heard = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(heard, second);
    w.leave(LOOP);
    w.wake(unheard, task);
    w.read(LOOP, "task_reads");
    w.expect_nothing();
}

#[test]
fn what_one_connections_task_creates_is_related() {
    for connection in [true, false] {
        let mut w = world();
        // A callback runs in a copy of the server's context.
        let callback = w.copy_context(LOOP);
        if connection {
            w.enter(LOOP, callback);
        }
        let entry = w.spawn("connection_made");
        w.enter(LOOP, entry);
        let (first, task) = leave_a_task(&mut w);
        w.free(LOOP, first);
        begin(&mut w, text("globex"));
        served(&mut w, task, Conveys::Gives);
        if connection {
            w.expect_nothing();
        } else {
            w.expect(&[bleed().expected("globex").found("acme")]);
        }
    }
}

/// A request is over, a task that it left behind asks a service, and another request, too. The service answers the task.
fn asked(asks: bool, times: usize) -> World {
    let mut w = world();
    let service = w.spawn("main");
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    if asks {
        w.enter(LOOP, task);
        let future = w.complete(Conveys::Gives);
        w.leave(LOOP);
        w.wake(future, service);
        w.leave(LOOP);
    }
    begin(&mut w, text("globex"));
    let future = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(future, service);
    w.leave(LOOP);
    for _ in 0..times {
        w.enter(LOOP, service);
        served(&mut w, task, Conveys::Gives);
    }
    w
}

#[test]
fn whoever_is_answered_goes_on_as_itself() {
    let w = asked(true, 1);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 2);
}

#[test]
fn what_was_not_seen_being_asked_may_be_answered() {
    for (asks, times) in [(false, 1), (true, 2)] {
        let w = asked(asks, times);
        w.expect_nothing();
        assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Unjudged, 1)), 1);
    }
}

#[test]
fn what_goes_on_after_its_request_gives_for_nobody() {
    let mut w = world();
    let service = w.spawn("main");
    let (first, task) = leave_a_task(&mut w);
    let (second, other) = leave_a_task(&mut w);
    w.free(LOOP, first);
    w.free(LOOP, second);
    begin(&mut w, text("globex"));
    for giver in [None, Some(task)] {
        if let Some(giver) = giver {
            w.enter(LOOP, giver);
        }
        let future = w.complete(Conveys::Gives);
        w.leave(LOOP);
        w.wake(future, service);
        w.leave(LOOP);
    }
    w.enter(LOOP, service);
    served(&mut w, other, Conveys::Gives);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 3);
}

#[test]
fn who_takes_from_a_pool_meanwhile_is_answered_all_the_same() {
    let mut w = world();
    let service = w.spawn("main");
    let (first, task) = leave_a_task(&mut w);
    w.free(LOOP, first);
    w.enter(LOOP, task);
    let asked = w.complete(Conveys::Gives);
    w.leave(LOOP);
    w.wake(asked, service);
    w.leave(LOOP);
    let second = begin(&mut w, text("globex"));
    w.leave(LOOP);
    w.enter(LOOP, task);
    w.read(LOOP, "task_reads");
    w.leave(LOOP);
    for (conveys, to) in [(Conveys::MayGive, task), (Conveys::Gives, service)] {
        w.enter(LOOP, second);
        let future = w.complete(conveys);
        w.leave(LOOP);
        w.wake(future, to);
        w.leave(LOOP);
    }
    w.enter(LOOP, service);
    served(&mut w, task, Conveys::Gives);
    w.expect_nothing();
    assert_eq!(w.says(&FactKind::Read(TENANT, ReadResult::Own, 1)), 3);
}
