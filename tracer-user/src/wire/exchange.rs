//! What is asked and answered on a connection of HTTP.

use std::{collections::VecDeque, sync::Arc};

use super::{
    book::{Asked, Book, Conversation},
    chunk::Moment,
    fact::{Fact, Outcome, Request, Response},
    rpc::{Id, Message},
    scene::Scene,
};

/// Bytes that an exchange is counted as, without its requests.
const EXCHANGE: usize = 512;

/// What is asked and answered on a connection.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Requests of HTTP that were not answered to the end, in their order.
    pub(super) waiting: VecDeque<Exchange>,
    /// Something was lost. From here on a response is a request's only if their ids agree, for who pipelines requests may still
    /// be owed responses to what was lost.
    pub(super) doubt: bool,
}

/// A request of HTTP, up to the end of its response.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) number: u64,
    pub(super) asked: Asked,
    /// It asks for a head only.
    pub(super) head: bool,
    /// Its requests of JSON-RPC that were not answered, by id.
    pub(super) open: Vec<Option<Id>>,
    pub(super) status: Option<u16>,
    pub(super) moment: Moment,
}

impl Exchange {
    /// About how many bytes it keeps.
    pub(super) fn weight(&self) -> usize {
        EXCHANGE + self.open.len() * size_of::<Option<Id>>()
    }

    pub(super) fn conversation(&self) -> Conversation {
        Conversation::Exchange(self.number)
    }

    /// Does something with each request that was not answered.
    pub(super) fn close(self, book: &mut Book, mut then: impl FnMut(&mut Book, Arc<Request>)) {
        for id in &self.open {
            if let Some(request) = book.close(self.conversation(), *id) {
                then(book, request);
            }
        }
    }
}

/// Nobody knows any more which response is whose.
pub(super) fn drop_exchanges(exchanges: &mut Exchanges, book: &mut Book, facts: &mut Vec<Fact>) {
    exchanges.doubt = true;
    for exchange in exchanges.waiting.drain(..) {
        exchange.close(book, |book, request| book.put_off(request, facts));
    }
}

/// Finds the request to each response.
pub(super) fn respond(
    messages: Vec<Message>,
    mut exchange: Option<&mut Exchange>,
    doubt: bool,
    moment: &Moment,
    scene: &mut Scene<'_>,
) {
    for message in messages {
        // A notification, or a request that the server makes.
        if message.method.is_some() {
            continue;
        }
        let mut request = None;
        if let Some(exchange) = &mut exchange {
            let at = exchange
                .open
                .iter()
                .position(|id| *id == message.id && id.is_some());
            // Of a single request that is known in part, and of a single response, the id may be what is missing.
            let only = match exchange.open[..] {
                [id] if !doubt && (id.is_none() || (message.cut && message.id.is_none())) => Some(0),
                _ => None,
            };
            if let Some(at) = at.or(only) {
                let id = exchange.open.remove(at);
                request = scene.book.close(exchange.conversation(), id);
            }
            if request.is_none()
                && let (Some(session), Some(id)) = (exchange.asked.session, message.id)
            {
                let session = Conversation::Session(scene.stream.process, session);
                request = scene.book.close(session, Some(id));
            }
        }
        let side = scene.answering();
        // An error without an id answers a request that could not be read; the end of the response says so.
        if request.is_none() && message.error.is_some() {
            continue;
        }
        Book::answer(scene.stream, side, request, &message, moment.clone(), scene.facts);
    }
}

/// A response of HTTP is complete: what it did not answer failed with it, or is answered elsewhere.
pub(super) fn end_response(
    number: Option<u64>,
    exchanges: &mut Exchanges,
    moment: &Moment,
    scene: &mut Scene<'_>,
) {
    let front = exchanges.waiting.front().map(|exchange| exchange.number);
    if front.is_none() || front != number {
        return;
    }
    let Some(exchange) = exchanges.waiting.pop_front() else {
        return;
    };
    let failed = exchange
        .status
        .filter(|status| *status >= 400 && !exchanges.doubt);
    let (stream, side) = (scene.stream, scene.answering());
    let facts = &mut *scene.facts;
    exchange.close(scene.book, |book, request| match failed {
        Some(status) => facts.push(Fact::Response(Box::new(Response {
            stream,
            side,
            moment: moment.clone(),
            request: Some(request),
            outcome: Outcome::Failed(status),
        }))),
        None => book.put_off(request, facts),
    });
}
