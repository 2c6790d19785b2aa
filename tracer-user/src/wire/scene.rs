//! Where facts about a stream come from and go to.

use super::{
    body::Prefix,
    book::Book,
    chunk::{Direction, StreamKey},
    fact::{Fact, Side},
    reason::Reason,
    rpc::{self, Message},
};

/// Where facts come from and go to.
pub(super) struct Scene<'a> {
    pub(super) stream: StreamKey,
    pub(super) direction: Direction,
    pub(super) book: &'a mut Book,
    pub(super) facts: &'a mut Vec<Fact>,
}

impl Scene<'_> {
    pub(super) fn unparsed(&mut self, reason: Reason) {
        self.facts.push(Fact::Unparsed(self.stream.process, reason));
    }

    /// Reads a document.
    pub(super) fn read(&mut self, document: &Prefix) -> Vec<Message> {
        let said = rpc::read(&document.bytes, document.cut, &self.book.rules.hasher);
        if let Some(reason) = said.unparsed {
            self.unparsed(reason);
        }
        said.messages
    }

    /// Which end the process is, if requests go this way.
    pub(super) const fn asking(&self) -> Side {
        match self.direction {
            Direction::In => Side::Server,
            Direction::Out => Side::Client,
        }
    }

    /// Which end the process is, if responses go this way.
    pub(super) const fn answering(&self) -> Side {
        match self.direction {
            Direction::In => Side::Client,
            Direction::Out => Side::Server,
        }
    }
}
