//! The wire as a second witness: bytes that a process received and sent, into requests and responses of MCP.
//!
//! Pure: chunks in, facts out. Everything here is hostile: whatever is kept has a bound, what cannot be read is counted, and credentials,
//! session ids and task handles are known by keyed hashes only.
//!
//! A stream's chunks come in the order of its bytes: a call that sends is told before it is made, one that receives after it
//! returned, so that whatever a process does because of bytes comes later than these. From the first chunk of a stream on, all of
//! its calls have to be told, each with the number of bytes that it moved; where that cannot be, the next chunk says so.

#![forbid(unsafe_code)]

mod body;
mod book;
mod calls;
pub mod chunk;
mod exchange;
pub mod fact;
mod head;
mod http;
pub mod reason;
pub mod rpc;
pub mod rules;
mod scene;
pub mod secret;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use book::Book;
use chunk::{Chunk, StreamKey};
use fact::{Bounded, Fact};
use rules::Rules;
use stream::Stream;

use crate::correlate::{event::TargetId, table::Table};

/// Reads the wire of any number of processes.
#[derive(Debug)]
pub struct Wire {
    book: Book,
    streams: Table<StreamKey, Stream>,
    /// Bytes that all streams keep.
    kept: usize,
}

impl Wire {
    /// A wire on which nothing was said yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            streams: Table::new(rules.bounds.streams),
            book: Book::new(rules),
            kept: 0,
        }
    }

    /// Takes bytes, and adds what they say.
    pub fn apply(&mut self, chunk: &Chunk<'_>, facts: &mut Vec<Fact>) {
        let mut stream = match self.streams.remove(&chunk.stream) {
            Some(stream) => {
                self.kept = self.kept.saturating_sub(stream.weight());
                stream
            }
            None => Stream::new(),
        };
        stream.take(chunk, &mut self.book, facts);
        self.kept += stream.weight();
        if let Some((_, dropped)) = self.streams.insert(chunk.stream, stream) {
            self.drop_stream(dropped);
        }
        let mut evicted = self.streams.take_evicted();
        while self.kept > self.book.rules.bounds.bytes {
            let Some((_, dropped)) = self.streams.pop_oldest() else {
                break;
            };
            self.drop_stream(dropped);
            evicted += 1;
        }
        if evicted > 0 {
            facts.push(Fact::Evicted(Bounded::Streams, evicted));
        }
    }

    fn drop_stream(&mut self, stream: Stream) {
        self.kept = self.kept.saturating_sub(stream.weight());
        stream.forget(&mut self.book);
    }

    /// A stream is closed.
    pub fn close(&mut self, key: StreamKey, facts: &mut Vec<Fact>) {
        if let Some(stream) = self.streams.remove(&key) {
            self.kept = self.kept.saturating_sub(stream.weight());
            stream.close(key, &mut self.book, facts);
        }
    }

    /// A process ended, or is let go.
    pub fn exit(&mut self, process: TargetId, facts: &mut Vec<Fact>) {
        for key in self.streams.keys() {
            if key.process == process {
                self.close(key, facts);
            }
        }
        self.book.exit(process);
    }

    /// About how many bytes are kept of unfinished messages.
    pub const fn kept(&self) -> usize {
        self.kept
    }
}
