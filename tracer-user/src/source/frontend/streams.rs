//! Bytes of streams, as the kernel side tells them.

use tracer_common::record::{WireHead, kind, wire};

use super::Frontend;
use crate::{
    correlate::event::{Bytes, Event, Handle, What},
    wire::chunk::{Direction, Transport},
};

impl Frontend {
    /// Translates bytes of a stream, or its end.
    pub fn wire(&mut self, head: &WireHead, bytes: &[u8], out: &mut Vec<Event>) {
        let is = |flag| head.flags & flag != 0;
        let stream = Handle {
            transport: if is(wire::LINES) {
                Transport::Stdio
            } else if is(wire::TLS) {
                Transport::Tls
            } else {
                Transport::Socket
            },
            number: head.handle,
            generation: head.generation,
        };
        if head.kind == kind::WIRE_CLOSED {
            out.push(self.event(head.time, head.tid, What::WireClosed(stream)));
            return;
        }
        let direction = if is(wire::OUT) {
            Direction::Out
        } else {
            Direction::In
        };
        let context = if direction == Direction::Out {
            self.sending.remove(&head.tid)
        } else {
            None
        };
        let what = What::Wire(Box::new(Bytes {
            stream,
            direction,
            offset: head.offset,
            total: head.total,
            last: is(wire::LAST),
            lost_before: is(wire::LOST),
            bytes: bytes.into(),
            context,
        }));
        out.push(self.event(head.time, head.tid, what));
    }
}
