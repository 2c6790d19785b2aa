//! What real servers and clients said to each other, however it was split into calls.

use proptest::{collection::vec, prelude::*};

use crate::{
    correlate::{
        event::Carrier,
        finding::Kind,
        ledger::{PollOutcome, Realm, TaskFact, TaskLedger, Told},
    },
    wire::{
        chunk::{Chunk, Direction},
        fact::{Fact, Outcome, Side},
        rpc::Method,
        testing::{RECORDINGS, Recorded, facts, recording, said},
    },
};

fn of(name: &str) -> Vec<Recorded> {
    let (_, text) = RECORDINGS.iter().find(|(n, _)| *n == name).expect("a recording");
    recording(text)
}

fn whole(calls: &[Recorded]) -> Vec<Fact> {
    facts(&calls.iter().map(Recorded::chunk).collect::<Vec<_>>())
}

fn tell(name: &str) -> String {
    said(&whole(&of(name))).join("\n")
}

#[test]
fn handles_below_the_result() {
    insta::assert_snapshot!(tell("mcp 1.30.0, JSON"));
    insta::assert_snapshot!(tell("mcp 1.30.0, stdio"));
}

#[test]
fn handles_in_the_result() {
    insta::assert_snapshot!(tell("fastmcp 4.1.1, HTTP"));
    insta::assert_snapshot!(tell("fastmcp 4.1.1, stdio"));
}

#[test]
fn responses_as_events_say_the_same() {
    let outcomes = |name| {
        let facts = whole(&of(name));
        let kinds = facts.iter().filter_map(|fact| match fact {
            Fact::Response(response) => Some((
                response.request.as_ref().and_then(|request| request.method),
                std::mem::discriminant(&response.outcome),
            )),
            _ => None,
        });
        kinds.collect::<Vec<_>>()
    };
    assert!(outcomes("mcp 1.30.0, events").len() > 10);
    assert_eq!(outcomes("mcp 1.30.0, events"), outcomes("mcp 1.30.0, JSON"));
    assert_eq!(
        outcomes("mcp 1.30.0, events on another connection"),
        outcomes("mcp 1.30.0, JSON")
    );
    assert_eq!(
        outcomes("mcp 1.26.0, events by httptools"),
        outcomes("mcp 1.30.0, JSON")
    );
}

#[test]
fn everything_is_understood() {
    for (name, text) in RECORDINGS {
        let facts = whole(&recording(text));
        let (mut asked, mut answered) = (0, 0);
        let mut minted = 0;
        for fact in &facts {
            match fact {
                Fact::Request(request) => {
                    assert_eq!(request.side, Side::Server, "{name}");
                    asked += 1;
                }
                Fact::Response(response) => {
                    assert!(response.request.is_some(), "{name}: {response:?}");
                    assert_eq!(response.side, Side::Server, "{name}");
                    answered += 1;
                    minted += usize::from(matches!(response.outcome, Outcome::Minted { .. }));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(asked, answered, "{name}");
        assert!(minted > 0, "{name}");
    }
}

#[test]
fn the_requests_tell_who_asks() {
    let facts = whole(&of("fastmcp 4.1.1, HTTP"));
    let mut credentials: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Request(request) => request.credential,
            _ => None,
        })
        .collect();
    credentials.sort();
    credentials.dedup();
    assert_eq!(credentials.len(), 3, "acme, globex, and one that is refused");
}

/// Calls that carry on where the one before ended, on the same stream, by the same thread.
fn runs(calls: &[Recorded]) -> Vec<Recorded> {
    let mut runs: Vec<Recorded> = Vec::new();
    for call in calls {
        match runs.last_mut() {
            Some(run) if run.stream == call.stream && run.direction == call.direction => {
                run.bytes.extend_from_slice(&call.bytes);
            }
            _ => runs.push(call.clone()),
        }
    }
    runs
}

/// The same bytes in calls of other lengths.
fn resplit(calls: &[Recorded], lengths: &[usize]) -> Vec<Recorded> {
    let mut lengths = lengths.iter().cycle();
    let mut out = Vec::new();
    for run in runs(calls) {
        let mut rest = &run.bytes[..];
        while !rest.is_empty() {
            let n = lengths.next().map_or(1, |n| (*n).clamp(1, rest.len()));
            let (bytes, more) = rest.split_at(n);
            out.push(Recorded {
                bytes: bytes.to_vec(),
                ..run.clone()
            });
            rest = more;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_split_into_calls_says_the_same(
        at in 0..RECORDINGS.len(),
        lengths in vec(prop_oneof![1_usize..4, 1_usize..60, 1_usize..3000], 1..40),
    ) {
        let calls = recording(RECORDINGS[at].1);
        prop_assert_eq!(said(&whole(&resplit(&calls, &lengths))), said(&whole(&calls)));
    }

    #[test]
    fn any_split_of_calls_into_chunks_says_the_same(
        at in 0..RECORDINGS.len(),
        lengths in vec(1_usize..2000, 1..20),
    ) {
        let calls = recording(RECORDINGS[at].1);
        let mut lengths = lengths.iter().cycle();
        let mut chunks = Vec::new();
        for call in &calls {
            let mut offset = 0;
            while offset < call.bytes.len() {
                let n = lengths.next().map_or(1, |n| (*n).min(call.bytes.len() - offset));
                chunks.push(Chunk {
                    offset: offset as u64,
                    total: call.bytes.len() as u64,
                    last: offset + n == call.bytes.len(),
                    bytes: &call.bytes[offset..offset + n],
                    ..call.chunk()
                });
                offset += n;
            }
        }
        prop_assert_eq!(said(&facts(&chunks)), said(&whole(&calls)));
    }

    #[test]
    fn streams_that_are_mixed_say_the_same(at in 0..RECORDINGS.len(), order in vec(any::<u8>(), 1..60)) {
        // Each stream's calls stay in their order; which stream comes next is drawn. Two clients never meet. Where one connection
        // answers what was asked on another, their order does matter.
        prop_assume!(!RECORDINGS[at].0.ends_with("another connection"));
        let calls = recording(RECORDINGS[at].1);
        let mut streams: Vec<Vec<Recorded>> = Vec::new();
        for call in calls {
            let own = streams.iter_mut().find(|calls| calls[0].stream.transport == call.stream.transport
                && (calls[0].stream.handle == call.stream.handle
                    || call.stream.transport == crate::wire::chunk::Transport::Stdio));
            match own {
                Some(own) => own.push(call),
                None => streams.push(vec![call]),
            }
        }
        let all: Vec<Recorded> = streams.concat();
        let mut mixed = Vec::new();
        let mut order = order.iter().cycle();
        while !streams.is_empty() {
            let at = order.next().map_or(0, |n| usize::from(*n) % streams.len());
            mixed.push(streams[at].remove(0));
            streams.retain(|calls| !calls.is_empty());
        }
        let sorted = |calls: &[Recorded]| {
            let mut lines = said(&whole(calls));
            lines.sort();
            lines
        };
        prop_assert_eq!(sorted(&mixed), sorted(&all));
    }

    #[test]
    fn what_is_lost_says_nothing_false(
        at in 0..RECORDINGS.len(),
        losses in vec((any::<prop::sample::Index>(), 0_usize..2), 1..6),
        limit in prop_oneof![Just(usize::MAX), 16_usize..2048],
    ) {
        let calls = recording(RECORDINGS[at].1);
        let mut lost = vec![false; calls.len()];
        for (at, more) in losses {
            let at = at.index(calls.len());
            lost[at..(at + 1 + more).min(calls.len())].fill(true);
        }
        let mut missed = std::collections::BTreeSet::new();
        let mut chunks = Vec::new();
        for (call, lost) in calls.iter().zip(lost) {
            let way = (call.stream, call.direction == Direction::In);
            if lost {
                missed.insert(way);
                continue;
            }
            let chunk = Chunk { lost_before: missed.remove(&way), ..call.chunk() };
            chunks.push(crate::wire::testing::cut(chunk, limit));
        }
        let (truth, known) = (answers(&whole(&calls)), facts(&chunks));
        for answer in answers(&known) {
            prop_assert!(truth.contains(&answer), "{answer} is not so");
        }
        if !RECORDINGS[at].0.starts_with("mcp 1.26") {
            for fact in judged(&known) {
                prop_assert!(!matches!(fact, TaskFact::Finding(_)), "{fact:?}");
            }
        }
    }
}

/// What was answered to whom: of answers whose request is known, and whose sense is.
fn answers(facts: &[Fact]) -> Vec<String> {
    facts
        .iter()
        .filter_map(|fact| {
            let Fact::Response(response) = fact else {
                return None;
            };
            let request = response.request.as_ref()?;
            let (what, task) = match &response.outcome {
                Outcome::Minted { task, .. } => ("minted", task),
                Outcome::State { task } => ("state of", task),
                _ => return None,
            };
            Some(format!(
                "{:?} {:?} {what} {task}",
                request.method, request.credential
            ))
        })
        .collect()
}

#[test]
fn on_pipes_the_threads_do_not_matter() {
    let calls = of("fastmcp 4.1.1, stdio");
    let threads: std::collections::BTreeSet<Carrier> = calls.iter().map(|call| call.thread).collect();
    assert!(threads.len() > 1, "one reads, another writes");
    let polls = whole(&calls)
        .iter()
        .filter(|fact| {
            matches!(fact, Fact::Response(response)
                if response.request.as_ref().and_then(|r| r.method) == Some(Method::GetTask)
                    && matches!(response.outcome, Outcome::State { .. }))
        })
        .count();
    assert_eq!(polls, 2);
}

/// What the ledger says of facts.
fn judged(facts: &[Fact]) -> Vec<TaskFact> {
    let mut ledger = TaskLedger::default();
    let mut out = Vec::new();
    for fact in facts {
        if let Fact::Response(response) = fact {
            ledger.apply(Realm(1), response, Told::default(), &mut out);
        }
    }
    out
}

#[test]
fn correct_servers_give_no_finding() {
    for (name, text) in RECORDINGS {
        if name.starts_with("mcp 1.26") {
            continue;
        }
        let judged = judged(&whole(&recording(text)));
        for fact in &judged {
            assert!(!matches!(fact, TaskFact::Finding(_)), "{name}: {fact:?}");
        }
        let polls = judged.iter().filter(|fact| {
            matches!(
                fact,
                TaskFact::Polled {
                    outcome: PollOutcome::Served,
                    judged: true,
                    ..
                }
            )
        });
        let expected = if name.ends_with("stdio") { 0 } else { 4 };
        assert!(polls.count() >= expected, "{name}");
    }
}

#[test]
fn a_server_that_lists_everybodys_tasks() {
    // mcp 1.26.0 keeps tasks without their sessions: `tasks/list` shows the second client the first one's, too. 1.30.0 does not.
    let facts = whole(&of("mcp 1.26.0, events by httptools"));
    let judged = judged(&facts);
    let found: Vec<_> = judged
        .iter()
        .filter_map(|fact| match fact {
            TaskFact::Finding(finding) => Some(finding),
            _ => None,
        })
        .collect();
    let [finding] = found[..] else { panic!("{found:?}") };
    assert_eq!(finding.kind, Kind::ForeignPoll);
    let asked = facts.iter().find_map(|fact| match fact {
        Fact::Request(request) => finding
            .poller
            .as_ref()
            .is_some_and(|poller| poller.request == Some(request.number))
            .then_some(request.method)
            .flatten(),
        _ => None,
    });
    assert_eq!(asked, Some(Method::ListTasks));
}

#[test]
fn the_same_exchange_with_another_credential_is_a_foreign_poll() {
    // The requests of the first client, of which one is made by the second.
    let mut calls = of("mcp 1.30.0, JSON");
    let at = calls
        .iter()
        .position(|call| {
            call.bytes.starts_with(b"POST") && call.bytes.windows(13).any(|w| w == b"\"tasks/result")
        })
        .expect("it asks for the result in one call");
    let text = String::from_utf8(calls[at].bytes.clone()).expect("text");
    calls[at].bytes = text.replace("acme", "evil").into_bytes();
    let found: Vec<_> = judged(&whole(&calls))
        .into_iter()
        .filter_map(|fact| match fact {
            TaskFact::Finding(finding) => Some((finding.kind, finding.poller.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(Kind::ForeignPoll, true)]);
}
