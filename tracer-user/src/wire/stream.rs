//! A stream: both directions, with the exchanges between them.

use std::collections::VecDeque;

use super::{
    body::{Events, Lines, Prefix},
    book::{Asked, Book, Conversation},
    calls::{Calls, Piece},
    chunk::{Chunk, Direction, Moment, StreamKey, Transport},
    fact::{Fact, Outcome, Response, Side},
    head::{Content, Head, HeadKind},
    http::{Part, Reader},
    reason::Reason,
    rpc::{self, Id, Message},
};

/// Requests that may wait on one connection.
const PIPELINE: usize = 64;
/// Bytes that an exchange is counted as.
const EXCHANGE: usize = 512;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    input: Half,
    output: Half,
    exchanges: Exchanges,
}

/// What is asked and answered on a connection.
#[derive(Debug, Default)]
struct Exchanges {
    /// Requests of HTTP that were not answered to the end, in their order.
    waiting: VecDeque<Exchange>,
    /// Something was lost. From here on a response is a request's only if their ids agree, for who pipelines requests may still
    /// be owed responses to what was lost.
    doubt: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    calls: Calls,
    reader: Reader,
    lines: Lines,
    message: Option<Current>,
}

/// The message of HTTP that is being read.
#[derive(Debug)]
struct Current {
    /// The exchange that it belongs to, if that is known.
    exchange: Option<u64>,
    request: bool,
    /// It does not end the exchange.
    interim: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Json(Prefix),
    Events(Events),
    Ignored,
}

/// A request of HTTP, up to the end of its response.
#[derive(Debug)]
struct Exchange {
    number: u64,
    asked: Asked,
    /// It asks for a head only.
    head: bool,
    /// Its requests of JSON-RPC that were not answered, by id.
    open: Vec<Option<Id>>,
    status: Option<u16>,
    moment: Moment,
}

/// Where facts come from and go to.
struct Scene<'a> {
    stream: StreamKey,
    direction: Direction,
    book: &'a mut Book,
    facts: &'a mut Vec<Fact>,
}

impl Scene<'_> {
    fn unparsed(&mut self, reason: Reason) {
        self.facts.push(Fact::Unparsed(self.stream.process, reason));
    }

    /// Reads a document.
    fn read(&mut self, document: &Prefix) -> Vec<Message> {
        let said = rpc::read(&document.bytes, document.cut, &self.book.rules.hasher);
        if let Some(reason) = said.unparsed {
            self.unparsed(reason);
        }
        said.messages
    }

    /// Which end the process is, if requests go this way.
    const fn asking(&self) -> Side {
        match self.direction {
            Direction::In => Side::Server,
            Direction::Out => Side::Client,
        }
    }

    /// Which end the process is, if responses go this way.
    const fn answering(&self) -> Side {
        match self.direction {
            Direction::In => Side::Client,
            Direction::Out => Side::Server,
        }
    }
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            input: Half::default(),
            output: Half::default(),
            exchanges: Exchanges::default(),
        }
    }

    /// Takes bytes.
    pub(super) fn take(&mut self, chunk: &Chunk<'_>, book: &mut Book, facts: &mut Vec<Fact>) {
        let half = match chunk.direction {
            Direction::In => &mut self.input,
            Direction::Out => &mut self.output,
        };
        let mut scene = Scene {
            stream: chunk.stream,
            direction: chunk.direction,
            book,
            facts,
        };
        let Half {
            calls,
            reader,
            lines,
            message,
        } = half;
        let exchanges = &mut self.exchanges;
        calls.take(chunk, &mut |mut piece: Piece<'_>, moment: &Moment| {
            if chunk.stream.transport == Transport::Stdio {
                take_lines(lines, &piece, moment, &mut scene);
                return;
            }
            while let Some(part) = reader.next(&mut piece, &scene.book.rules) {
                take_part(part, reader, message, exchanges, moment, &mut scene);
            }
        });
    }

    /// The stream is closed.
    pub(super) fn close(mut self, stream: StreamKey, book: &mut Book, facts: &mut Vec<Fact>) {
        for (half, direction) in [
            (&mut self.input, Direction::In),
            (&mut self.output, Direction::Out),
        ] {
            let mut scene = Scene {
                stream,
                direction,
                book: &mut *book,
                facts: &mut *facts,
            };
            if let Some(part) = half.reader.close()
                && let Some(moment) = self
                    .exchanges
                    .waiting
                    .front()
                    .map(|exchange| exchange.moment.clone())
            {
                let Half { reader, message, .. } = half;
                take_part(part, reader, message, &mut self.exchanges, &moment, &mut scene);
            }
        }
        drop_exchanges(&mut self.exchanges, book, facts);
    }

    /// The stream is forgotten.
    pub(super) fn forget(mut self, book: &mut Book) {
        for exchange in self.exchanges.waiting.drain(..) {
            exchange.close(book, |_, _| {});
        }
    }

    /// About how many bytes it keeps.
    pub(super) fn weight(&self) -> usize {
        self.input.weight() + self.output.weight() + EXCHANGE * self.exchanges.waiting.len()
    }
}

impl Half {
    fn weight(&self) -> usize {
        let body = match self.message.as_ref().map(|message| &message.body) {
            Some(Body::Json(document)) => document.bytes.len(),
            Some(Body::Events(events)) => events.weight(),
            _ => 0,
        };
        self.calls.weight() + self.reader.weight() + self.lines.weight() + body
    }
}

impl Exchange {
    fn conversation(&self) -> Conversation {
        Conversation::Exchange(self.number)
    }

    /// Does something with each request that was not answered.
    fn close(self, book: &mut Book, mut then: impl FnMut(&mut Book, std::sync::Arc<super::fact::Request>)) {
        for id in &self.open {
            if let Some(request) = book.close(self.conversation(), *id) {
                then(book, request);
            }
        }
    }
}

/// Nobody knows any more which response is whose.
fn drop_exchanges(exchanges: &mut Exchanges, book: &mut Book, facts: &mut Vec<Fact>) {
    exchanges.doubt = true;
    for exchange in exchanges.waiting.drain(..) {
        exchange.close(book, |book, request| book.put_off(request, facts));
    }
}

fn take_lines(lines: &mut Lines, piece: &Piece<'_>, moment: &Moment, scene: &mut Scene<'_>) {
    let mut documents = Vec::new();
    let mut keep = |document: Prefix| documents.push(document);
    if piece.after_loss {
        lines.miss(&mut keep);
    }
    lines.add(piece.bytes, piece.starts_call, moment, &mut keep);
    if piece.missing > 0 {
        lines.miss(&mut keep);
    }
    if piece.after_loss {
        scene.unparsed(Reason::Lost);
    }
    for document in documents {
        let moment = document.moment.clone().unwrap_or_else(|| moment.clone());
        for message in scene.read(&document) {
            line_message(message, moment.clone(), scene);
        }
    }
}

fn line_message(message: Message, moment: Moment, scene: &mut Scene<'_>) {
    let process = scene.stream.process;
    if message.method.is_some() {
        let asked = Asked {
            stream: scene.stream,
            side: scene.asking(),
            conversation: Conversation::Pipes(process, scene.asking()),
            session: None,
            credential: None,
            method: None,
        };
        scene.book.ask(&asked, message, moment, scene.facts);
        return;
    }
    let side = scene.answering();
    let request = message
        .id
        .and_then(|id| scene.book.close(Conversation::Pipes(process, side), Some(id)));
    Book::answer(scene.stream, side, request, &message, moment, scene.facts);
}

fn take_part(
    part: Part<'_>,
    reader: &mut Reader,
    message: &mut Option<Current>,
    exchanges: &mut Exchanges,
    moment: &Moment,
    scene: &mut Scene<'_>,
) {
    match part {
        Part::Head(head) => *message = Some(take_head(&head, reader, exchanges, moment, scene)),
        Part::Body(bytes) => {
            let Some(current) = message else { return };
            match &mut current.body {
                Body::Json(document) => document.add(bytes, moment),
                Body::Events(events) => {
                    let mut documents = Vec::new();
                    events.add(bytes, moment, &mut |document| documents.push(document));
                    say(&documents, current, exchanges, moment, scene);
                }
                Body::Ignored => {}
            }
        }
        Part::Missing => {
            let Some(current) = message else { return };
            match &mut current.body {
                Body::Json(document) => document.cut = true,
                Body::Events(events) => {
                    let mut documents = Vec::new();
                    events.miss(moment, &mut |document| documents.push(document));
                    say(&documents, current, exchanges, moment, scene);
                }
                Body::Ignored => {}
            }
        }
        Part::End => {
            let Some(mut current) = message.take() else { return };
            if let Body::Json(document) = &mut current.body {
                let document = std::mem::take(document);
                if !document.bytes.is_empty() || document.cut {
                    say(&[document], &current, exchanges, moment, scene);
                }
            }
            if !current.request && !current.interim {
                end_response(&current, exchanges, moment, scene);
            }
        }
        Part::Lost(reason) => {
            scene.unparsed(reason);
            *message = None;
            drop_exchanges(exchanges, scene.book, scene.facts);
        }
    }
}

fn take_head(
    head: &Head,
    reader: &mut Reader,
    exchanges: &mut Exchanges,
    moment: &Moment,
    scene: &mut Scene<'_>,
) -> Current {
    let (exchange, request, interim) = match head.kind {
        HeadKind::Request { head: only } => {
            if exchanges.waiting.len() >= PIPELINE {
                scene.unparsed(Reason::TooMany);
                drop_exchanges(exchanges, scene.book, scene.facts);
            }
            let number = scene.book.number();
            exchanges.waiting.push_back(Exchange {
                number,
                asked: Asked {
                    stream: scene.stream,
                    side: scene.asking(),
                    conversation: Conversation::Exchange(number),
                    session: head.session,
                    credential: head.credential,
                    method: head.method,
                },
                head: only,
                open: Vec::new(),
                status: None,
                moment: moment.clone(),
            });
            (Some(number), true, false)
        }
        HeadKind::Response { status } => {
            let exchange = exchanges
                .waiting
                .front_mut()
                .filter(|exchange| exchange.asked.side == scene.answering());
            let number = exchange.map(|exchange| {
                exchange.status = Some(status);
                if exchange.head {
                    reader.no_body();
                }
                exchange.number
            });
            (number, false, (100..200).contains(&status))
        }
    };
    if head.framing == super::head::Framing::Upgrade {
        scene.unparsed(Reason::Upgraded);
    }
    Current {
        exchange,
        request,
        interim,
        body: match head.content {
            Content::Json => Body::Json(Prefix::default()),
            Content::Events => Body::Events(Events::default()),
            Content::Encoded => {
                scene.unparsed(Reason::Encoded);
                Body::Ignored
            }
            Content::Other => Body::Ignored,
        },
    }
}

/// Says what documents of a message of HTTP say.
fn say(
    documents: &[Prefix],
    current: &Current,
    exchanges: &mut Exchanges,
    moment: &Moment,
    scene: &mut Scene<'_>,
) {
    for document in documents {
        let moment = document.moment.as_ref().unwrap_or(moment);
        let doubt = exchanges.doubt;
        let exchange = exchanges
            .waiting
            .iter_mut()
            .find(|exchange| Some(exchange.number) == current.exchange);
        let messages = scene.read(document);
        if current.request {
            let Some(exchange) = exchange else { continue };
            for message in messages {
                // What is no request answers one that the server made.
                if message.method.is_none() && message.result.is_some() || message.error.is_some() {
                    continue;
                }
                let asked = scene
                    .book
                    .ask(&exchange.asked, message, moment.clone(), scene.facts);
                exchange.open.extend(asked);
            }
        } else {
            respond(messages, exchange, doubt, moment, scene);
        }
    }
}

/// Finds the request to each response.
fn respond(
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
fn end_response(current: &Current, exchanges: &mut Exchanges, moment: &Moment, scene: &mut Scene<'_>) {
    let answered = exchanges
        .waiting
        .front()
        .is_some_and(|exchange| Some(exchange.number) == current.exchange);
    let Some(exchange) = exchanges.waiting.pop_front_if(|_| answered) else {
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
