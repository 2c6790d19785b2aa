//! Calls of `async` functions that mint: known when the coroutine is made. What is read or drawn under it decides; a call under which
//! nothing is seen to happen is a mint, too, judged by what its request had read when it was called.

use std::{collections::VecDeque, sync::Arc};

use super::{
    event::{Carrier, Scope},
    fact::ReadResult,
    finding::Evidence,
    request::Keys,
    task::{Before, Draw, MintEvent},
};

/// Calls that are kept at a time; beyond, the first one is judged early.
const MOST: usize = 1024;

/// A call under which nothing was seen to happen yet.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) scope: Scope,
    pub(super) request: Option<Keys>,
    pub(super) function: Arc<str>,
    pub(super) draw: Draw,
    /// Its request has read something else since: before the handle was there, or after, nobody knows.
    pub(super) contradicted: bool,
}

impl Call {
    /// Whether something in this scope, of this request as far as it is known by then, is done by whoever called. A request may come to
    /// be known by more than its scope.
    fn is_by(&self, scope: Scope, request: Option<&Keys>) -> bool {
        self.scope == scope
            || self
                .request
                .as_ref()
                .zip(request)
                .is_some_and(|(own, other)| own.agree(other))
    }

    /// The mint that it is.
    pub(super) fn event(mut self) -> MintEvent {
        if self.contradicted {
            self.draw.before.read = None;
            self.draw.before.undecided = None;
        }
        MintEvent {
            // It may have been given up before it began.
            evidence: Evidence::Inferred,
            ..self.draw.event(None, self.request)
        }
    }
}

/// All such calls, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Calls(VecDeque<Call>);

impl Calls {
    /// Keeps one. The oldest, when there are too many.
    pub(super) fn add(&mut self, call: Call) -> Option<Call> {
        self.0.push_back(call);
        (self.0.len() > MOST).then(|| self.0.pop_front()).flatten()
    }

    /// A function is seen at work: the oldest call of it by the same request is no longer without effect.
    pub(super) fn works(&mut self, carrier: Carrier, by: (Scope, Option<&Keys>), function: &str) {
        let called = self.0.iter().position(|call| {
            let known = call.request.is_some() && by.1.is_some();
            call.draw.now.carrier == carrier
                && &*call.function == function
                && (!known || call.is_by(by.0, by.1))
        });
        if let Some(place) = called {
            self.0.remove(place);
        }
    }

    /// A request has read an identity.
    pub(super) fn read(&mut self, by: (Scope, Option<&Keys>), result: ReadResult) {
        for call in self.0.iter_mut().filter(|call| call.is_by(by.0, by.1)) {
            let before = call.draw.before.read.as_ref();
            call.contradicted |= before.is_none_or(|before| before.result != result);
        }
    }

    /// The oldest call of this request: it has had its effect elsewhere.
    pub(super) fn of_request(&mut self, request: &Keys) -> Option<Call> {
        let place = self
            .0
            .iter()
            .position(|call| call.request.as_ref().is_some_and(|of| of.agree(request)))?;
        self.0.remove(place)
    }

    /// Those that this holds for: by carrier, scope and time.
    pub(super) fn over(&mut self, over: impl Fn(Carrier, Scope, u64) -> bool) -> VecDeque<Call> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (gone, kept) = all.partition(|call| over(call.draw.now.carrier, call.scope, call.draw.now.time));
        self.0 = kept;
        gone
    }

    /// What they depend on.
    pub(super) fn each_before(&mut self) -> impl Iterator<Item = &mut Before> {
        self.0.iter_mut().map(|call| &mut call.draw.before)
    }

    /// Forgets all of them; how many there were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }
}
