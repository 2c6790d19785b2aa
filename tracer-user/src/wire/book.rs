//! Requests that wait for their responses, and what a response then says.

use std::sync::Arc;

use super::{
    chunk::{Moment, StreamKey},
    fact::{Bounded, Fact, Generation, Outcome, Request, Response, Side},
    reason::Reason,
    rpc::{self, Id, Message, Method},
    rules::Rules,
    secret::{Credential, Fingerprint},
};
use crate::correlate::{event::TargetId, table::Table};

/// Within what a request's id is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Conversation {
    /// One request of HTTP with its response, by number.
    Exchange(u64),
    /// A session of HTTP: a response may come on another connection.
    Session(TargetId, Fingerprint),
    /// The pipes of a process.
    Pipes(TargetId, Side),
}

/// What a request's surroundings say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) stream: StreamKey,
    pub(super) side: Side,
    pub(super) conversation: Conversation,
    pub(super) session: Option<Fingerprint>,
    pub(super) credential: Option<Credential>,
    /// The method that a header names.
    pub(super) method: Option<Method>,
}

/// Matches responses with requests, and says facts.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: Rules,
    open: Table<(Conversation, Option<Id>), Arc<Request>>,
    /// The last number that was given.
    numbers: u64,
}

impl Book {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            open: Table::new(rules.bounds.open),
            rules,
            numbers: 0,
        }
    }

    /// A number that was not given before.
    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A request was seen; it is none if no response is to be expected.
    pub(super) fn ask(
        &mut self,
        asked: &Asked,
        message: Message,
        moment: Moment,
        facts: &mut Vec<Fact>,
    ) -> Option<Arc<Request>> {
        let method = message.method.or(asked.method);
        let whole = !message.cut;
        if method == Some(Method::Notification) || (whole && message.id.is_none()) {
            return None;
        }
        let request = Arc::new(Request {
            number: self.number(),
            stream: asked.stream,
            side: asked.side,
            moment,
            method,
            id: message.id,
            tool: message.params.tool,
            task: message.params.task,
            wants_task: message.params.wants_task,
            session: asked.session,
            credential: asked.credential,
        });
        facts.push(Fact::Request(Arc::clone(&request)));
        self.open(asked.conversation, Arc::clone(&request), facts);
        Some(request)
    }

    fn open(&mut self, conversation: Conversation, request: Arc<Request>, facts: &mut Vec<Fact>) {
        if request.id.is_none() && !matches!(conversation, Conversation::Exchange(_)) {
            return;
        }
        let key = (conversation, request.id);
        // Of two requests by one id nobody can tell which one is answered.
        if self.open.remove(&key).is_some() {
            facts.push(Fact::Unparsed(request.stream.process, Reason::TooMany));
            return;
        }
        self.open.insert(key, request);
        let evicted = self.open.take_evicted();
        if evicted > 0 {
            facts.push(Fact::Evicted(Bounded::Open, evicted));
        }
    }

    /// The request that is answered here.
    pub(super) fn close(&mut self, conversation: Conversation, id: Option<Id>) -> Option<Arc<Request>> {
        self.open.remove(&(conversation, id))
    }

    /// A process ended, or is let go: nobody answers what it was asked, or asked.
    pub(super) fn exit(&mut self, process: TargetId) {
        for key in self.open.keys() {
            let gone = self
                .open
                .get(&key)
                .is_some_and(|request| request.stream.process == process);
            if gone {
                self.open.remove(&key);
            }
        }
    }

    /// The response comes elsewhere, if at all: the session is asked.
    pub(super) fn put_off(&mut self, request: Arc<Request>, facts: &mut Vec<Fact>) {
        if let Some(session) = request.session {
            self.open(
                Conversation::Session(request.stream.process, session),
                request,
                facts,
            );
        }
    }

    /// A response was seen.
    pub(super) fn answer(
        stream: StreamKey,
        side: Side,
        request: Option<Arc<Request>>,
        message: &Message,
        moment: Moment,
        facts: &mut Vec<Fact>,
    ) {
        let outcome = outcome(request.as_deref(), message);
        if request.is_none() && !matches!(outcome, Outcome::Minted { .. }) {
            facts.push(Fact::Unparsed(stream.process, Reason::Unmatched));
            return;
        }
        if outcome == Outcome::Unclear {
            facts.push(Fact::Unparsed(stream.process, Reason::Cut));
        }
        facts.push(Fact::Response(Box::new(Response {
            stream,
            side,
            moment,
            request,
            outcome,
        })));
    }
}

/// What a response says, depending on what was asked.
fn outcome(request: Option<&Request>, message: &Message) -> Outcome {
    let method = request.and_then(|request| request.method);
    let poll = method.is_some_and(Method::is_poll);
    if let Some(error) = &message.error {
        return Outcome::Refused {
            unknown: error.is_unknown(),
        };
    }
    let Some(result) = &message.result else {
        return Outcome::Unclear;
    };
    if !poll && let Some((task, generation)) = minted(result) {
        let Some(id) = task.id else {
            return Outcome::Unclear;
        };
        let ttl = task.ttl.or(message.cut.then_some(0));
        return Outcome::Minted {
            task: id,
            generation,
            ttl,
        };
    }
    let asked = request.and_then(|request| request.task);
    match method {
        Some(Method::ListTasks) => Outcome::Listed(result.tasks.clone()),
        Some(Method::TaskResult) => asked.map_or(Outcome::Unclear, |task| Outcome::State { task }),
        Some(Method::GetTask | Method::UpdateTask | Method::CancelTask) => {
            match result.task.id.or(asked.filter(|_| result.task.status)) {
                Some(task) => Outcome::State { task },
                None if message.cut => Outcome::Unclear,
                None => Outcome::Acknowledged,
            }
        }
        // The members that tell a handle from a result may be among those that are missing.
        _ if message.cut && (result.task.id.is_some() || mints(method) && !result.content) => {
            Outcome::Unclear
        }
        _ => Outcome::Other,
    }
}

/// Whether a task may come of it.
fn mints(method: Option<Method>) -> bool {
    method == Some(Method::CallTool)
}

fn minted(result: &rpc::Outcome) -> Option<(&rpc::Task, Generation)> {
    if result.is_task && result.task.id.is_some() {
        return Some((&result.task, Generation::Flat));
    }
    let nested = result.nested.as_ref()?;
    (nested.id.is_some() && nested.status).then_some((nested, Generation::Nested))
}
