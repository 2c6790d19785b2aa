//! What the wire says, joined with what contexts held.

use std::sync::Arc;

use crate::{
    correlate::{
        announcement::{Announcement, Said},
        engine::Engine,
        event::{Bytes, Handle, TargetId, What, Work},
        fact::{Attribution, Fact, FactKind},
        finding::{Confidence, Finding, Kind},
        ledger::PollOutcome,
        settings::Settings,
        testing::{DIGEST, LOOP, REQUEST, TENANT, World, at, checking, minting, none, text},
        tests::recorded,
    },
    wire::{
        chunk::{Context, Direction, Transport},
        reason::Reason,
        rules::Rules,
    },
};

const WORKER: u32 = 7;

impl World {
    fn wire(&mut self, carrier: u32, connection: u64, direction: Direction, bytes: &str) {
        let context = (direction == Direction::Out).then(|| {
            Arc::new(Context {
                scope: self.scope(carrier),
                held: self.held(carrier),
            })
        });
        let bytes = Bytes {
            stream: Handle {
                transport: Transport::Socket,
                number: connection,
                generation: 0,
            },
            direction,
            offset: 0,
            total: bytes.len() as u64,
            last: true,
            lost_before: false,
            bytes: bytes.as_bytes().into(),
            context,
        };
        self.emit(carrier, What::Wire(Box::new(bytes)));
    }

    /// A request comes in.
    fn asked(&mut self, connection: u64, who: &str, method: &str, params: &str) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nx-api-key: {who}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.wire(LOOP, connection, Direction::In, &(head + &body));
    }

    /// It is answered, from where the carrier is.
    fn answered(&mut self, carrier: u32, connection: u64, result: &str) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,{result}}}"#);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.wire(carrier, connection, Direction::Out, &(head + &body));
    }

    fn called(&mut self, connection: u64, who: &str) {
        self.asked(connection, who, "tools/call", r#"{"name":"work","arguments":{}}"#);
    }

    fn minted(&mut self, carrier: u32, connection: u64, task: &str) {
        let result = format!(r#""result":{{"resultType":"task","taskId":"{task}","status":"working"}}"#);
        self.answered(carrier, connection, &result);
    }

    fn polled(&mut self, connection: u64, who: &str, task: &str, found: bool) {
        self.asked(connection, who, "tasks/get", &format!(r#"{{"taskId":"{task}"}}"#));
        if found {
            let state =
                format!(r#""result":{{"resultType":"complete","taskId":"{task}","status":"working"}}"#);
            self.answered(LOOP, connection, &state);
        } else {
            self.answered(
                LOOP,
                connection,
                r#""error":{"code":-32602,"message":"Task not found"}"#,
            );
        }
    }

    fn witnessed(&self) -> Vec<Fact> {
        let mut engine = Engine::new(Settings {
            wire: Some(Rules::new(&[3; 32], &[""; 0])),
            ..self.settings.clone()
        });
        engine.serves(TargetId(1), "service");
        let mut facts = Vec::new();
        for event in &self.events {
            engine.apply(event, &mut facts);
        }
        engine.finish(&mut facts);
        let settings = Settings {
            wire: Some(Rules::new(&[3; 32], &[""; 0])),
            ..self.settings.clone()
        };
        recorded::is_judged_alike(&self.events, &settings, &facts, true);
        facts
    }

    fn mints(&self) -> Vec<Attribution> {
        let mint = |fact: Fact| match fact.what {
            FactKind::Mint(attribution) => Some(attribution),
            _ => None,
        };
        self.witnessed().into_iter().filter_map(mint).collect()
    }

    fn polls(&self) -> Vec<PollOutcome> {
        let poll = |fact: Fact| match fact.what {
            FactKind::Poll(outcome) => Some(outcome),
            _ => None,
        };
        self.witnessed().into_iter().filter_map(poll).collect()
    }

    fn found(&self) -> Vec<Finding> {
        let finding = |fact: Fact| match fact.what {
            FactKind::Finding(finding) => Some(*finding),
            _ => None,
        };
        self.witnessed().into_iter().filter_map(finding).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.found().iter().map(|finding| finding.kind).collect()
    }
}

#[test]
fn a_mint_is_whose_its_request_has_read_last() {
    let mut w = World::new();
    for (connection, reads) in [(1, true), (2, false)] {
        w.called(connection, "a");
        w.request();
        w.bind(LOOP, TENANT, text("a"), "middleware");
        if reads {
            w.read(LOOP, "handler");
        }
        w.minted(LOOP, connection, &format!("t{connection}"));
        w.leave(LOOP);
    }
    w.called(3, "a");
    w.request();
    w.read(LOOP, "handler");
    w.minted(LOOP, 3, "t3");
    assert_eq!(
        w.mints(),
        [
            Attribution::Attributed,
            Attribution::Unknown,
            Attribution::Unattributed
        ]
    );
    let found = w.found();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].slot, found[0].confidence),
        (Kind::UnattributedTask, Some(TENANT), Confidence::Confirmed)
    );
    let mint = found[0].mint.as_ref().unwrap();
    assert!(mint.handle.is_some() && mint.site.is_none());
    assert_eq!(
        found[0]
            .read
            .as_ref()
            .unwrap()
            .site
            .as_ref()
            .unwrap()
            .function
            .as_ref(),
        "handler"
    );
}

#[test]
fn a_worker_that_read_somebody_else_decides() {
    let mut w = World::new();
    w.worker(WORKER);
    w.called(1, "a");
    w.request();
    w.bind(LOOP, TENANT, text("a"), "middleware");
    for bind in [true, false] {
        let item = w.submit(LOOP);
        w.take(WORKER, item);
        if bind {
            w.bind(WORKER, TENANT, text("b"), "work");
        } else {
            w.read(WORKER, "check");
        }
        w.idle(WORKER);
    }
    w.minted(LOOP, 1, "t");
    assert_eq!(w.mints(), [Attribution::Misattributed]);
    assert_eq!(w.kinds(), [Kind::Squat, Kind::Bleed, Kind::MisattributedTask]);
}

#[test]
fn handler_and_response_may_have_copies_of_one_context() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.bind(LOOP, TENANT, text("a"), "middleware");
    let (handler, writer) = (w.copy_context(LOOP), w.copy_context(LOOP));
    w.leave(LOOP);
    w.enter(LOOP, handler);
    w.read(LOOP, "handler");
    w.leave(LOOP);
    w.enter(LOOP, writer);
    w.minted(LOOP, 1, "t");
    assert_eq!(w.mints(), [Attribution::Attributed]);
}

#[test]
fn what_was_read_before_the_request_came_is_not_its_own() {
    let mut w = World::new();
    // A connection's requests share a context, and the first one reads nothing.
    w.request();
    w.called(1, "a");
    w.read(LOOP, "handler");
    w.minted(LOOP, 1, "t1");
    w.called(1, "a");
    w.minted(LOOP, 1, "t2");
    assert_eq!(w.mints(), [Attribution::Unattributed, Attribution::Unknown]);
}

#[test]
fn threads_of_a_server_are_no_part_of_one_another() {
    let mut w = World::new();
    w.called(1, "a");
    w.called(2, "b");
    for thread in [21, 22] {
        w.start_for(LOOP, thread, Work::RequestThread);
    }
    w.read(21, "handler");
    w.bind(22, TENANT, text("b"), "middleware");
    w.read(22, "handler");
    w.minted(21, 1, "t1");
    w.minted(22, 2, "t2");
    assert_eq!(w.mints(), [Attribution::Unattributed, Attribution::Attributed]);
}

#[test]
fn connections_that_one_thread_accepts_are_no_part_of_one_another() {
    let mut w = World::new();
    for (worker, connection, who) in [(7, 1, "a"), (8, 2, "b")] {
        w.worker(worker);
        w.called(connection, who);
        let item = w.submit(LOOP);
        w.take(worker, item);
    }
    w.bind(7, TENANT, text("a"), "middleware");
    w.read(7, "handler");
    w.minted(7, 1, "t1");
    w.bind(7, TENANT, none(), "middleware");
    // Nothing is bound here, but what the other one has read says nothing about it.
    w.read(8, "middleware");
    w.called(3, "a");
    let item = w.submit(LOOP);
    w.idle(7);
    w.take(7, item);
    w.minted(7, 3, "t3");
    w.minted(8, 2, "t2");
    assert_eq!(
        w.mints(),
        [
            Attribution::Attributed,
            Attribution::Unknown,
            Attribution::Unattributed
        ]
    );
}

#[test]
fn who_asks_whether_somebody_is_bound_and_then_binds_has_somebody() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.read(LOOP, "middleware");
    w.bind(LOOP, TENANT, text("a"), "middleware");
    w.minted(LOOP, 1, "t");
    assert_eq!(w.mints(), [Attribution::Unknown]);
}

#[test]
fn a_mint_that_a_pattern_shows_as_well_is_one_mint() {
    for draws in [false, true] {
        let mut w = World::new();
        w.called(1, "a");
        w.request();
        w.read(LOOP, "middleware");
        if draws {
            w.random(LOOP, minting(5, 0));
        } else {
            w.read_under(LOOP, TENANT, minting(5, 0));
        }
        w.minted(LOOP, 1, "t");
        w.read(LOOP, "later");
        w.leave(LOOP);
        assert_eq!(w.mints(), [Attribution::Unattributed], "draws: {draws}");
        let found = w.found();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].mint.as_ref().unwrap().site.is_some(),
            "the pattern knows where"
        );
    }
}

#[test]
fn the_wire_may_be_the_first_to_know() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.read(LOOP, "middleware");
    w.minted(LOOP, 1, "t");
    let said = Announcement::TaskMinted {
        task: text("t"),
        owner: Said::Nothing,
    };
    w.announce(LOOP, said);
    assert_eq!(w.mints(), [Attribution::Unattributed]);
    assert_eq!(w.kinds(), [Kind::UnattributedTask]);
}

#[test]
fn polls_are_judged_by_credentials_and_by_what_contexts_held() {
    let poll = |who: &str, held: &str, found: bool| {
        let mut w = World::new();
        w.called(1, "a");
        w.request();
        w.bind(LOOP, TENANT, text("a"), "middleware");
        w.read(LOOP, "handler");
        w.minted(LOOP, 1, "t");
        w.leave(LOOP);
        w.request();
        w.bind(LOOP, TENANT, text(held), "middleware");
        w.polled(2, who, "t", found);
        w
    };
    assert_eq!(poll("a", "a", true).polls(), [PollOutcome::Served]);
    let foreign = poll("b", "b", true);
    assert_eq!(foreign.polls(), [PollOutcome::ForeignServed]);
    let found = foreign.found();
    assert_eq!((found[0].kind, found[0].slot), (Kind::ForeignPoll, None));
    assert_eq!(found[0].confidence, Confidence::Confirmed);
    assert!(found[0].expected.as_ref().unwrap().same(&text("a")));
    assert!(found[0].found.as_ref().unwrap().same(&text("b")));
    // Another key of the same tenant.
    assert_eq!(poll("b", "a", true).polls(), [PollOutcome::Served]);
    assert_eq!(poll("a", "a", false).kinds(), [Kind::OwnerRefused]);
    assert_eq!(poll("b", "b", false).polls(), [PollOutcome::Refused]);
}

#[test]
fn what_a_worker_may_have_from_others_is_no_identity() {
    let mut w = World::new();
    w.worker(WORKER);
    let item = w.submit(LOOP);
    w.take(WORKER, item);
    w.bind(WORKER, TENANT, text("b"), "work");
    w.idle(WORKER);
    w.called(1, "a");
    w.request();
    w.bind(LOOP, TENANT, text("a"), "middleware");
    w.minted(LOOP, 1, "t");
    // The poll is answered by a worker that holds what another request left: it says nothing of who asks.
    w.asked(2, "b", "tasks/get", r#"{"taskId":"t"}"#);
    let item = w.submit(LOOP);
    w.take(WORKER, item);
    w.answered(
        WORKER,
        2,
        r#""result":{"resultType":"complete","taskId":"t","status":"working"}"#,
    );
    let found = w.found();
    let poll = found
        .iter()
        .find(|finding| finding.kind == Kind::ForeignPoll)
        .unwrap();
    assert_eq!(poll.confidence, Confidence::Suspected);
    assert_eq!(poll.poll.as_ref().unwrap().poller.identity(), None);
}

#[test]
fn a_request_slot_ties_what_shares_no_context() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.bind(LOOP, REQUEST, text("r1"), "middleware");
    let handler = w.copy_context(LOOP);
    w.leave(LOOP);
    w.enter(LOOP, handler);
    w.read(LOOP, "handler");
    w.leave(LOOP);
    let writer = w.request();
    w.bind(LOOP, REQUEST, text("r1"), "writer");
    assert_ne!(handler, writer);
    w.minted(LOOP, 1, "t");
    assert_eq!(w.mints(), [Attribution::Unattributed]);
}

#[test]
fn garbage_is_counted_and_says_nothing() {
    let mut w = World::new();
    w.wire(
        LOOP,
        1,
        Direction::In,
        "POST /mcp HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    );
    w.wire(LOOP, 2, Direction::In, "\0\x01garbage");
    let reasons: Vec<_> = w
        .witnessed()
        .into_iter()
        .filter_map(|fact| match fact.what {
            FactKind::Unparsed(reason) => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [Reason::BadLength, Reason::NoStart]);
    let facts = w.witnessed();
    let heard = facts.iter().filter(|fact| fact.what == FactKind::Heard);
    assert_eq!(heard.count(), 1, "once is enough");
    assert!(w.found().is_empty());
}

#[test]
fn a_check_between_a_request_and_its_response_is_inside_it() {
    let mut w = World::new();
    w.request();
    // At the start of whoever serves the connection.
    w.read_under(LOOP, TENANT, checking());
    for connection in [1, 2] {
        w.called(connection, "a");
        if connection == 1 {
            w.read_under(LOOP, TENANT, checking());
            w.read_under(LOOP, TENANT, checking());
        }
        w.answered(LOOP, connection, r#""result":{"content":[]}"#);
    }
    assert_eq!(w.kinds(), [Kind::EmptyCheck]);
}

#[test]
fn a_check_before_a_request_is_not_the_requests() {
    let mut w = World::new();
    w.request();
    w.read_under(LOOP, TENANT, checking());
    w.called(1, "a");
    w.answered(LOOP, 1, r#""result":{"content":[]}"#);
    assert_eq!(w.kinds(), []);
}

#[test]
fn a_check_in_a_task_that_works_for_the_request_is_inside_it() {
    for tasks in [true, false] {
        let mut w = World::new().with_digest();
        w.settings.tasks = tasks;
        w.called(1, "a");
        let request = w.spawn("server");
        w.enter(LOOP, request);
        w.bind(LOOP, DIGEST, text("sha256:1"), "middleware");
        let handler = w.spawn("middleware");
        w.enter(LOOP, handler);
        w.read_under(LOOP, TENANT, checking());
        w.leave(LOOP);
        w.answered(LOOP, 1, r#""result":{"content":[]}"#);
        assert_eq!(w.kinds().len(), usize::from(tasks));
    }
}

#[test]
fn a_check_elsewhere_is_not_the_responses() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.read_under(LOOP, TENANT, checking());
    w.leave(LOOP);
    w.request();
    w.answered(LOOP, 1, r#""result":{"content":[]}"#);
    assert_eq!(w.kinds(), []);
}

/// A task whose digest is pinned in a worker, on the loop, or nowhere, and a poll in which a verification finds nothing.
fn polled_with(pinned: Option<bool>, poll_verifies: bool) -> Vec<Kind> {
    let mut w = World::new().with_digest();
    w.worker(WORKER);
    w.request();
    w.called(1, "a");
    w.bind(LOOP, TENANT, text("acme"), "middleware");
    w.read(LOOP, "handler");
    match pinned {
        Some(true) => {
            let item = w.submit(LOOP);
            w.take(WORKER, item);
            w.bind(WORKER, DIGEST, text("sha256:1"), "worker_pins");
            w.idle(WORKER);
        }
        Some(false) => drop(w.bind(LOOP, DIGEST, text("sha256:1"), "handler")),
        None => {}
    }
    w.minted(LOOP, 1, "task-1");
    w.leave(LOOP);
    w.request();
    // Before the poll: not its own.
    w.read_under(LOOP, DIGEST, at("verify"));
    for _ in 0..2 {
        w.asked(1, "a", "tasks/get", r#"{"taskId":"task-1"}"#);
        if poll_verifies {
            w.read_under(LOOP, DIGEST, at("verify"));
        }
        let state = r#""result":{"resultType":"complete","taskId":"task-1","status":"completed"}"#;
        w.answered(LOOP, 1, state);
    }
    let mut kinds = w.kinds();
    kinds.retain(|kind| *kind != Kind::Squat);
    kinds
}

#[test]
fn a_digest_pinned_in_a_worker_is_missing_when_the_task_is_polled() {
    assert_eq!(polled_with(Some(true), true), [Kind::DriftBlindness]);
    assert_eq!(polled_with(Some(true), false), []);
    assert_eq!(polled_with(Some(false), true), []);
    assert_eq!(polled_with(None, true), []);
}

#[test]
fn a_poll_that_is_announced_and_seen_on_the_wire_is_one() {
    let mut w = World::new();
    w.called(1, "a");
    w.request();
    w.minted(LOOP, 1, "task-1");
    w.leave(LOOP);
    for task in ["task-1", "task-2"] {
        w.asked(2, "a", "tasks/get", &format!(r#"{{"taskId":"{task}"}}"#));
        w.request();
        let said = Announcement::TaskServed {
            task: text(task),
            principal: Said::Nothing,
        };
        w.announce(LOOP, said);
        if task == "task-1" {
            let state =
                format!(r#""result":{{"resultType":"complete","taskId":"{task}","status":"working"}}"#);
            w.answered(LOOP, 2, &state);
        }
        w.leave(LOOP);
    }
    // The second one is of a store that the wire does not show.
    assert_eq!(w.polls(), [PollOutcome::Served, PollOutcome::Served]);
}
