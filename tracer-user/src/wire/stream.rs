//! A stream: both directions, with the exchanges between them.

use super::{
    body::{Events, Lines, Prefix},
    book::{Asked, Book, Conversation},
    calls::{Calls, Piece},
    chunk::{Chunk, Direction, Moment, StreamKey, Transport},
    exchange::{Exchange, Exchanges, drop_exchanges, end_response, respond},
    fact::Fact,
    head::{Content, Framing, Head, HeadKind, session_of},
    http::{Part, Reader},
    reason::Reason,
    rpc::Message,
    scene::Scene,
};

/// Requests that may wait on one connection.
const PIPELINE: usize = 64;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    input: Half,
    output: Half,
    exchanges: Exchanges,
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
    /// Nobody said what it is.
    Perhaps(Prefix),
    Events(Events),
    Ignored,
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
        self.input.weight()
            + self.output.weight()
            + self.exchanges.waiting.iter().map(Exchange::weight).sum::<usize>()
    }
}

impl Half {
    fn weight(&self) -> usize {
        let body = match self.message.as_ref().map(|message| &message.body) {
            Some(Body::Json(document) | Body::Perhaps(document)) => document.bytes.len(),
            Some(Body::Events(events)) => events.weight(),
            _ => 0,
        };
        self.calls.weight() + self.reader.weight() + self.lines.weight() + body
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
                Body::Json(document) | Body::Perhaps(document) => document.add(bytes, moment),
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
                Body::Json(document) | Body::Perhaps(document) => document.cut = true,
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
            let document = match &mut current.body {
                Body::Json(document) => Some(std::mem::take(document)),
                Body::Perhaps(document) if document.looks_like_json() => Some(std::mem::take(document)),
                _ => None,
            };
            if let Some(document) = document.filter(|document| !document.bytes.is_empty() || document.cut) {
                say(&[document], &current, exchanges, moment, scene);
            }
            if !current.request && !current.interim {
                end_response(current.exchange, exchanges, moment, scene);
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
    if head.framing == Framing::Upgrade {
        scene.unparsed(Reason::Upgraded);
    }
    Current {
        exchange,
        request,
        interim,
        body: match head.content {
            Content::Json => Body::Json(Prefix::default()),
            Content::Unsaid => Body::Perhaps(Prefix::default()),
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
        // Events of the transport of 2024-11-05 begin with where to send requests, which names their session.
        if matches!(current.body, Body::Events(_)) && document.bytes.starts_with(b"/") {
            if let Some(exchange) = exchange {
                let target = document.bytes.trim_ascii();
                exchange.asked.session = session_of(target, &scene.book.rules).or(exchange.asked.session);
            }
            continue;
        }
        let messages = scene.read(document);
        if current.request {
            let Some(exchange) = exchange else { continue };
            for message in messages {
                // What is no request answers one that the server made.
                if message.method.is_none() && (message.result.is_some() || message.error.is_some()) {
                    continue;
                }
                let asked = scene
                    .book
                    .ask(&exchange.asked, message, moment.clone(), scene.facts);
                exchange.open.extend(asked.map(|request| request.id));
            }
        } else {
            respond(messages, exchange, doubt, moment, scene);
        }
    }
}
