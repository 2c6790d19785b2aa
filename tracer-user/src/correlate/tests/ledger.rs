//! Whose a task is, by what the wire says and the contexts held.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use crate::{
    correlate::{
        event::{Carrier, Slot, TargetId},
        fact::{Attribution, ReadResult},
        finding::Confidence,
        finding::Kind,
        ledger::{PollOutcome, Realm, TaskFact, TaskLedger, Told},
        testing::{DIGEST, TENANT, text},
    },
    wire::{
        chunk::{Moment, StreamKey, Transport},
        fact::{Generation, Outcome, Request, Response, Side},
        rpc::Method,
        secret::{Credential, Fingerprint, Hasher, Tag},
    },
};

const SERVICE: Realm = Realm(1);
const SECOND: u64 = 1_000_000_000;

fn task(name: &str) -> Fingerprint {
    Hasher::new(&[1; 32]).hash(Tag::Task, &[name.as_bytes()])
}

fn bearer(token: &str) -> Option<Credential> {
    Credential::of(&Hasher::new(&[1; 32]), &[(b"authorization", token.as_bytes())])
}

/// An unsigned token of this issuer and subject; `n` tells one of them from the next.
fn jwt(subject: &str, n: u32) -> Option<Credential> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = format!(r#"{{"iss":"https://id","sub":"{subject}","n":{n}}}"#);
    bearer(&format!("Bearer h.{}.s", URL_SAFE_NO_PAD.encode(claims)))
}

fn told(identity: &str) -> Told {
    Told {
        last_read: Some((ReadResult::Own, Confidence::Confirmed)),
        identities: vec![(TENANT, text(identity))],
        life: None,
    }
}

/// A ledger, with what it said so far.
#[derive(Default)]
struct World {
    ledger: TaskLedger,
    time: u64,
    facts: Vec<TaskFact>,
}

impl World {
    fn answer(
        &mut self,
        method: Method,
        asks: &str,
        by: Option<Credential>,
        outcome: Outcome,
        told: Told,
    ) -> &mut Self {
        self.time += SECOND;
        let stream = StreamKey {
            process: TargetId(1),
            transport: Transport::Socket,
            handle: 7,
            generation: 0,
        };
        let moment = Moment {
            time: self.time,
            thread: Carrier(1),
            context: None,
        };
        let request = Request {
            number: self.time,
            stream,
            side: Side::Server,
            moment: moment.clone(),
            method: Some(method),
            id: None,
            tool: None,
            task: method.is_poll().then(|| task(asks)),
            wants_task: false,
            session: None,
            credential: by,
        };
        let response = Response {
            stream,
            side: Side::Server,
            moment,
            request: Some(Arc::new(request)),
            outcome,
        };
        self.ledger.apply(SERVICE, &response, told, &mut self.facts);
        self
    }

    fn mint(&mut self, name: &str, by: Option<Credential>, told: Told) -> &mut Self {
        let outcome = Outcome::Minted {
            task: task(name),
            generation: Generation::Flat,
            ttl: Some(60_000),
        };
        self.answer(Method::CallTool, "", by, outcome, told)
    }

    fn get(&mut self, name: &str, by: Option<Credential>, told: Told) -> &mut Self {
        let outcome = Outcome::State { task: task(name) };
        self.answer(Method::GetTask, name, by, outcome, told)
    }

    fn refuse(&mut self, method: Method, name: &str, by: Option<Credential>) -> &mut Self {
        self.answer(
            method,
            name,
            by,
            Outcome::Refused { unknown: true },
            Told::default(),
        )
    }

    fn found(&self) -> Vec<(Kind, Confidence)> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                TaskFact::Finding(finding) => Some((finding.kind, finding.confidence)),
                _ => None,
            })
            .collect()
    }

    fn polls(&self) -> Vec<(PollOutcome, bool)> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                TaskFact::Polled { outcome, judged, .. } => Some((*outcome, *judged)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_mint_is_judged_by_the_last_read_before_it() {
    let confirmed = Confidence::Confirmed;
    for (read, attribution, found) in [
        (Some(ReadResult::Own), Attribution::Attributed, None),
        (
            Some(ReadResult::Empty),
            Attribution::Unattributed,
            Some(Kind::UnattributedTask),
        ),
        (
            Some(ReadResult::Foreign),
            Attribution::Misattributed,
            Some(Kind::MisattributedTask),
        ),
        (Some(ReadResult::Unreadable), Attribution::Unknown, None),
        (Some(ReadResult::Unjudged), Attribution::Unknown, None),
        (None, Attribution::Unknown, None),
    ] {
        let mut world = World::default();
        let told = Told {
            last_read: read.map(|read| (read, confirmed)),
            identities: Vec::new(),
            life: None,
        };
        world.mint("t", jwt("acme", 1), told);
        assert_eq!(world.facts[0], TaskFact::Minted(attribution));
        assert_eq!(world.found(), found.map(|kind| (kind, confirmed)).as_slice());
    }
}

#[test]
fn another_subjects_token_is_foreign_and_a_refreshed_one_is_not() {
    let mut world = World::default();
    world
        .mint("t", jwt("acme", 1), Told::default())
        .get("t", jwt("acme", 2), Told::default());
    assert_eq!(world.found(), []);
    world.get("t", jwt("globex", 1), Told::default());
    assert_eq!(world.found(), [(Kind::ForeignPoll, Confidence::Confirmed)]);
    assert_eq!(
        world.polls(),
        [(PollOutcome::Served, true), (PollOutcome::ForeignServed, true)]
    );
    let TaskFact::Finding(finding) = world.facts.last().unwrap() else {
        panic!()
    };
    assert_eq!(finding.owner.credential, jwt("acme", 1));
    assert_eq!(finding.poller.as_ref().unwrap().credential, jwt("globex", 1));
}

/// What is found when one credential asks for what was minted for another one's.
fn poll(owner: Told, asks: Told) -> Vec<(Kind, Confidence)> {
    let mut world = World::default();
    world
        .mint("t", bearer("Bearer a"), owner)
        .get("t", bearer("Bearer b"), asks);
    world.found()
}

#[test]
fn opaque_credentials_need_the_identity_too() {
    let foreign = |confidence| vec![(Kind::ForeignPoll, confidence)];
    assert_eq!(
        poll(Told::default(), Told::default()),
        foreign(Confidence::Suspected)
    );
    assert_eq!(
        poll(told("acme"), Told::default()),
        foreign(Confidence::Suspected)
    );
    assert_eq!(poll(told("acme"), told("globex")), foreign(Confidence::Confirmed));
    assert_eq!(
        poll(told("acme"), told("acme")),
        [],
        "a refreshed token of the same principal"
    );
}

#[test]
fn identities_are_compared_variable_by_variable() {
    let holding = |identities: &[(Slot, &str)]| Told {
        identities: identities
            .iter()
            .map(|(slot, value)| (*slot, text(value)))
            .collect(),
        ..told("")
    };
    let alice = || holding(&[(TENANT, "acme"), (DIGEST, "alice")]);
    assert_eq!(poll(alice(), alice()), []);
    assert_eq!(
        poll(alice(), holding(&[(TENANT, "acme"), (DIGEST, "bob")])),
        [(Kind::ForeignPoll, Confidence::Suspected)],
        "another user of the same tenant"
    );
    assert_eq!(
        poll(alice(), holding(&[(TENANT, "globex"), (DIGEST, "bob")])),
        [(Kind::ForeignPoll, Confidence::Confirmed)]
    );
    assert_eq!(
        poll(
            holding(&[(DIGEST, "alice"), (TENANT, "acme")]),
            holding(&[(TENANT, "acme")])
        ),
        [],
        "a machine of the tenant, which is no user"
    );
}

#[test]
fn without_credentials_no_poll_is_judged() {
    for (owner, asks) in [(None, None), (jwt("acme", 1), None), (None, jwt("acme", 1))] {
        let mut world = World::default();
        world
            .mint("t", owner, told("acme"))
            .get("t", asks, told("globex"));
        world.refuse(Method::GetTask, "t", asks);
        assert_eq!(world.found(), []);
        assert_eq!(
            world.polls(),
            [(PollOutcome::Served, false), (PollOutcome::Refused, false)]
        );
    }
}

#[test]
fn refusals() {
    let mut world = World::default();
    world
        .mint("t", jwt("acme", 1), Told::default())
        .refuse(Method::GetTask, "t", jwt("globex", 1))
        .refuse(Method::GetTask, "never seen", jwt("acme", 1));
    assert_eq!(world.found(), [], "as it should be");
    // The same error says that a task is over already, or what the work itself said.
    world
        .refuse(Method::CancelTask, "t", jwt("acme", 1))
        .refuse(Method::TaskResult, "t", jwt("acme", 1));
    assert_eq!(world.found(), []);
    world.refuse(Method::GetTask, "t", jwt("acme", 2));
    assert_eq!(world.found(), [(Kind::OwnerRefused, Confidence::Confirmed)]);
    let mut other = World::default();
    let no = Outcome::Refused { unknown: false };
    other
        .mint("t", jwt("acme", 1), Told::default())
        .answer(Method::GetTask, "t", jwt("acme", 1), no, Told::default())
        .answer(
            Method::GetTask,
            "t",
            jwt("acme", 1),
            Outcome::Failed(401),
            Told::default(),
        );
    assert_eq!(other.found(), [], "refused for some other reason");
    assert_eq!(other.polls().len(), 2);
}

#[test]
fn what_a_server_may_forget_it_may_refuse() {
    let mut old = World::default();
    old.mint("t", jwt("acme", 1), Told::default());
    old.time += 60 * SECOND;
    old.refuse(Method::GetTask, "t", jwt("acme", 1));
    assert_eq!(old.found(), [], "kept for 60 s");
    let mut cancelled = World::default();
    cancelled
        .mint("t", jwt("acme", 1), Told::default())
        .answer(
            Method::CancelTask,
            "t",
            jwt("acme", 1),
            Outcome::Acknowledged,
            Told::default(),
        )
        .refuse(Method::GetTask, "t", jwt("acme", 1));
    assert_eq!(cancelled.found(), []);
}

#[test]
fn acknowledgements_and_lists() {
    let mut world = World::default();
    world
        .mint("a", jwt("acme", 1), Told::default())
        .mint("b", jwt("globex", 1), Told::default())
        .answer(
            Method::UpdateTask,
            "a",
            jwt("globex", 1),
            Outcome::Acknowledged,
            Told::default(),
        );
    assert_eq!(
        world.found(),
        [(Kind::ForeignPoll, Confidence::Suspected)],
        "it shows no state"
    );
    world.facts.clear();
    let own = Outcome::Listed(vec![task("a"), task("unknown")]);
    world.answer(Method::ListTasks, "", jwt("acme", 1), own, Told::default());
    assert_eq!(world.found(), []);
    let all = Outcome::Listed(vec![task("a"), task("b"), task("b")]);
    world.answer(Method::ListTasks, "", jwt("acme", 1), all, Told::default());
    assert_eq!(
        world.found(),
        [(Kind::ForeignPoll, Confidence::Confirmed)],
        "one a request"
    );
}

#[test]
fn a_handle_that_two_got_is_nobodys() {
    let mut world = World::default();
    world
        .mint("1", jwt("acme", 1), Told::default())
        .mint("1", jwt("globex", 1), Told::default())
        .get("1", jwt("acme", 1), Told::default())
        .get("1", jwt("globex", 1), Told::default())
        .refuse(Method::GetTask, "1", jwt("acme", 1));
    assert_eq!(world.found(), []);
    let mut again = World::default();
    again
        .mint("1", jwt("acme", 1), Told::default())
        .mint("1", jwt("acme", 2), Told::default())
        .get("1", jwt("globex", 1), Told::default());
    assert_eq!(again.found().len(), 1, "given twice to the same principal");
}

#[test]
fn realms_and_sides_are_kept_apart() {
    let mut world = World::default();
    world.mint("t", jwt("acme", 1), Told::default());
    world.get("t", jwt("globex", 1), Told::default());
    assert_eq!(world.found().len(), 1);
    // The same handle at a proxy's upstream, where the proxy itself is the principal.
    let mut proxy = World::default();
    proxy.mint("t", jwt("acme", 1), Told::default());
    let seen = Response {
        stream: StreamKey {
            process: TargetId(2),
            transport: Transport::Socket,
            handle: 1,
            generation: 0,
        },
        side: Side::Server,
        moment: Moment {
            time: 1,
            thread: Carrier(2),
            context: None,
        },
        request: None,
        outcome: Outcome::State { task: task("t") },
    };
    let client = Response {
        side: Side::Client,
        ..seen.clone()
    };
    proxy.facts.clear();
    proxy
        .ledger
        .apply(SERVICE, &client, Told::default(), &mut proxy.facts);
    assert_eq!(proxy.facts, []);
    proxy
        .ledger
        .apply(Realm(2), &seen, Told::default(), &mut proxy.facts);
    assert_eq!(proxy.polls(), [(PollOutcome::Served, false)]);
}

#[test]
fn what_is_sent_again_is_no_second_mint() {
    let mut world = World::default();
    world.mint("t", jwt("acme", 1), Told::default());
    let again = Response {
        stream: StreamKey {
            process: TargetId(1),
            transport: Transport::Socket,
            handle: 7,
            generation: 0,
        },
        side: Side::Server,
        moment: Moment {
            time: 1,
            thread: Carrier(1),
            context: None,
        },
        request: None,
        outcome: Outcome::Minted {
            task: task("t"),
            generation: Generation::Flat,
            ttl: None,
        },
    };
    world
        .ledger
        .apply(SERVICE, &again, Told::default(), &mut world.facts);
    assert_eq!(world.facts, [TaskFact::Minted(Attribution::Unknown)]);
    world.get("t", jwt("globex", 1), Told::default());
    assert_eq!(world.found().len(), 1, "it is known whose it is");
}

#[test]
fn a_hundred_thousand_tasks_and_no_more_than_the_bound() {
    let mut world = World {
        ledger: TaskLedger::new(1_000),
        ..World::default()
    };
    for n in 0..100_000 {
        world.mint(&n.to_string(), jwt("acme", 1), Told::default());
    }
    assert_eq!(world.ledger.len(), 1_000);
    let evicted: u64 = world
        .facts
        .iter()
        .map(|fact| if let TaskFact::Evicted(n) = fact { *n } else { 0 })
        .sum();
    assert_eq!(evicted, 99_000);
    world.facts.clear();
    world
        .refuse(Method::GetTask, "1", jwt("acme", 1))
        .refuse(Method::GetTask, "99999", jwt("acme", 1));
    assert_eq!(
        world.polls(),
        [(PollOutcome::Refused, false), (PollOutcome::OwnerRefused, true)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Some principals, whose tokens are refreshed all the time, mint and poll; the server errs where it is told to.
    #[test]
    fn every_error_of_the_server_is_found_and_nothing_else(
        steps in vec((0..6_u8, 0..4_u8, 0..8_usize, any::<bool>()), 0..200),
    ) {
        let mut world = World::default();
        let mut owners: Vec<u8> = Vec::new();
        let mut expected = Vec::new();
        for (n, (what, who, task, errs)) in steps.into_iter().enumerate() {
            let by = jwt(&who.to_string(), n as u32);
            let Some(owner) = owners.get(task).copied().filter(|_| what > 0) else {
                world.mint(&owners.len().to_string(), by, Told::default());
                // What is kept for a minute only is not what this is about.
                world.time -= SECOND;
                owners.push(who);
                continue;
            };
            let name = task.to_string();
            let serves = (owner == who) != errs;
            if serves {
                world.get(&name, by, Told::default());
            } else {
                world.refuse(Method::GetTask, &name, by);
            }
            world.time -= SECOND;
            match (serves, errs) {
                (true, true) => expected.push((Kind::ForeignPoll, Confidence::Confirmed)),
                (false, true) => expected.push((Kind::OwnerRefused, Confidence::Confirmed)),
                _ => {}
            }
        }
        prop_assert_eq!(world.found(), expected);
    }
}
