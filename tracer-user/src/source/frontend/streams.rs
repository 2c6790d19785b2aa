//! Bytes of streams, as the kernel side tells them.

use std::sync::Arc;

use tracer_common::record::{WireHead, kind, wire};

use super::Frontend;
use crate::{
    correlate::event::{Bytes, Event, Handle, What},
    wire::chunk::{Context, Direction, Transport},
};

/// Parts of one call that wait for its context.
const MAX_SENDING: usize = 64;

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
        let what = What::Wire(Box::new(Bytes {
            stream,
            direction,
            offset: head.offset,
            total: head.total,
            last: is(wire::LAST),
            lost_before: is(wire::LOST),
            bytes: bytes.into(),
            context: None,
        }));
        let event = self.event(head.time, head.tid, what);
        if !is(wire::CONTEXT) {
            self.sent(head.tid, None, out);
            out.push(event);
            return;
        }
        let sending = self.sending.entry(head.tid).or_default();
        sending.push(event);
        if sending.len() >= MAX_SENDING {
            self.sent(head.tid, None, out);
        }
    }

    /// Under which context a thread sends what was told of it, if that is known.
    pub(super) fn sent(&mut self, tid: u32, context: Option<&Arc<Context>>, out: &mut Vec<Event>) {
        for mut event in self.sending.remove(&tid).into_iter().flatten() {
            if let What::Wire(bytes) = &mut event.what {
                bytes.context = context.cloned();
            }
            out.push(event);
        }
    }
}
