//! Streams that carry messages: which of them are told, and telling their bytes.
//!
//! A stream is let through from the first call on that begins like a message; from there on each of its calls is told, up to its end.

use aya_ebpf::programs::ProbeContext;
use tracer_common::{
    MAX_WIRE,
    config::{WireKey, WireState, target_flag, wire_flag},
    record::{FullWire, WireHead, flag, kind, wire},
};

use crate::{
    emit::{self, Frames, Wake},
    maps::{BLANK_WIRE, Fill, Scratch, WIRE_SCRATCH, WIRES},
    read,
    repeat::{Next, repeat},
    scratch,
    state::Hit,
};

/// Bytes that one message carries.
const ROOM: u64 = MAX_WIRE as u64 - 1;
/// Messages that the beginning of a call may take, if it is a request with its head: credentials are long.
const PARTS_OF_REQUEST: u32 = 4;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// Bytes in the target's memory.
#[derive(Clone, Copy)]
pub struct Bytes {
    /// 0 when nobody knows where they are.
    pub at: u64,
    pub len: u64,
}

/// How a call begins, as its first eight bytes tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// A request of HTTP.
    Request,
    /// A response of HTTP.
    Response,
    /// A message of JSON-RPC.
    Line,
    Other,
}

/// Whether what this process receives and sends is wanted.
#[inline(always)]
pub fn wanted(hit: &Hit) -> bool {
    hit.target().flags & target_flag::WIRE != 0
}

/// A call moves these bytes, or is about to. Whether the context is to be told under which it does.
#[inline(always)]
pub fn moved(hit: &Hit, stream: WireKey, way: Way, bytes: Bytes) -> bool {
    if bytes.len == 0 {
        return false;
    }
    let start = start(bytes);
    let Some(state) = let_through(hit, stream, way, start) else {
        emit::count_filtered(hit.probe);
        return false;
    };
    // What a head that stands alone says is nobody's; its body comes with the next call.
    let context = way == Way::Out && !(start == Start::Response && ends_head(bytes));
    let Some(full) = scratch::of(&WIRE_SCRATCH, &BLANK_WIRE, hit.tid) else {
        emit::count(hit.probe, |s| &raw mut s.lost_map);
        lose(state, way);
        return false;
    };
    // SAFETY: the entry lives as long as this program runs.
    let known = unsafe { *state };
    let lost = lost(way);
    full.head = head(hit, stream, known, kind::WIRE);
    full.head.total = bytes.len;
    if way == Way::Out {
        full.head.flags |= wire::OUT;
    }
    if context {
        full.head.flags |= wire::CONTEXT;
    }
    if known.flags & lost != 0 {
        full.head.flags |= wire::LOST;
        // SAFETY: as above.
        unsafe { (*state).flags = known.flags & !lost };
    }
    let parts = if start == Start::Request && way == Way::In {
        PARTS_OF_REQUEST
    } else {
        1
    };
    let mut telling = Telling {
        hit,
        full,
        at: bytes.at,
        parts,
        failed: false,
    };
    repeat(PARTS_OF_REQUEST, &mut telling, tell_next);
    if telling.failed {
        lose(state, way);
    }
    context
}

/// A call on this stream sends or receives what is not looked for: that is told at once, as there may be no other call.
#[inline(always)]
pub fn untold(hit: &Hit, stream: WireKey, way: Way) {
    let Some(state) = WIRES.get_ptr_mut(stream) else {
        return;
    };
    // SAFETY: the entry lives as long as this program runs.
    let known = unsafe { *state };
    if known.flags & wire_flag::CLIENT != 0 {
        return;
    }
    let mut head = head(hit, stream, known, kind::WIRE);
    head.flags |= wire::LOST | wire::LAST;
    if way == Way::Out {
        head.flags |= wire::OUT;
    }
    if !output(hit, &mut head) {
        lose(state, way);
    }
}

/// What went by this handle has ended.
#[inline(always)]
pub fn end(hit: &Hit, stream: WireKey) {
    let Some(state) = WIRES.get_ptr(stream) else {
        emit::count_filtered(hit.probe);
        return;
    };
    // SAFETY: the entry lives as long as this program runs.
    let known = unsafe { *state };
    // Only a concurrent removal could make it fail, and that one tells the end as well.
    let _ = WIRES.remove(stream);
    if known.flags & wire_flag::CLIENT != 0 {
        return;
    }
    let mut head = head(hit, stream, known, kind::WIRE_CLOSED);
    output(hit, &mut head);
}

/// Tells no bytes.
#[inline(always)]
fn output(hit: &Hit, head: &mut WireHead) -> bool {
    emit::output(
        hit.probe,
        None,
        (&raw mut *head).cast(),
        size_of::<WireHead>() as u64,
        Wake::Later,
    )
}

#[inline(always)]
fn head(hit: &Hit, stream: WireKey, known: WireState, kind: u16) -> WireHead {
    let mut flags = 0;
    if stream.tls != 0 {
        flags |= wire::TLS;
    }
    if known.flags & wire_flag::LINES != 0 {
        flags |= wire::LINES;
    }
    WireHead {
        kind,
        flags,
        tgid: hit.tgid,
        tid: hit.tid,
        generation: known.generation,
        handle: stream.handle,
        time: emit::now(),
        offset: 0,
        total: 0,
        bytes: 0,
        pad: 0,
    }
}

/// What is known of the stream, if it is told.
#[inline(always)]
fn let_through(hit: &Hit, stream: WireKey, way: Way, start: Start) -> Option<*mut WireState> {
    if let Some(state) = WIRES.get_ptr_mut(stream) {
        // SAFETY: the entry lives as long as this program runs.
        let flags = unsafe { (*state).flags };
        return (flags & wire_flag::CLIENT == 0).then_some(state);
    }
    let flags = match (start, way) {
        (Start::Request, Way::In) | (Start::Response, Way::Out) => 0,
        (Start::Request, Way::Out) | (Start::Response, Way::In) => wire_flag::CLIENT,
        (Start::Line, _) if stream.tls == 0 => wire_flag::LINES,
        _ => return None,
    };
    let state = WireState {
        // Nanoseconds do not come twice; their low half does not within the time that a handle needs to be used again.
        generation: emit::now() as u32,
        flags,
    };
    if WIRES.insert(stream, &state, 0).is_err() {
        emit::count(hit.probe, |s| &raw mut s.lost_map);
        return None;
    }
    WIRES
        .get_ptr_mut(stream)
        .filter(|_| flags & wire_flag::CLIENT == 0)
}

#[inline(always)]
const fn lost(way: Way) -> u32 {
    match way {
        Way::In => wire_flag::LOST_IN,
        Way::Out => wire_flag::LOST_OUT,
    }
}

#[inline(always)]
fn lose(state: *mut WireState, way: Way) {
    let lost = lost(way);
    // SAFETY: the entry lives as long as this program runs. That another thread's note is overwritten can only be where two threads
    // send on one stream at once; the losses are counted all the same.
    unsafe { (*state).flags |= lost };
}

/// Tells under which context something is sent; by a function of the C library, that is by a loop or by a callback of its, or by a method
/// of the interpreter. Nothing comes after it.
#[inline(always)]
pub fn tell_context(ctx: &ProbeContext, hit: &mut Hit, by_library: bool) {
    let Some((Scratch { record, ask, .. }, state)) = emit::begin(hit, kind::SENDING, Frames::Without) else {
        return;
    };
    // A loop sends from outside of every callback what it could not send before.
    if by_library && state.is_some_and(|state| !state.entered) {
        record.head.flags |= flag::UNREADABLE;
    }
    ask.fill = Fill::All;
    emit::tell(ctx, hit);
}

struct Telling<'a> {
    hit: &'a Hit,
    full: &'a mut FullWire,
    at: u64,
    parts: u32,
    failed: bool,
}

extern "C" fn tell_next(number: u32, telling: &mut Telling<'_>) -> Next {
    let full = &mut *telling.full;
    let offset = u64::from(number) * ROOM;
    let left = full.head.total - offset;
    let last = left <= ROOM || number + 1 >= telling.parts;
    full.head.offset = offset;
    full.head.bytes = if left > ROOM { ROOM as u32 } else { left as u32 };
    if last {
        full.head.flags |= wire::LAST;
    }
    let mut bytes = emit::read_back(&full.head.bytes) & ROOM as u32;
    if telling.at == 0 || read::user_into(full.bytes.as_mut_ptr(), bytes, telling.at + offset).is_err() {
        // They were moved, only which they are is not known.
        full.head.bytes = 0;
        bytes = 0;
    }
    // What was lost of a stream is its own affair: no event of the interpreter's is missing.
    let sent = emit::output(
        telling.hit.probe,
        None,
        (&raw mut *full).cast(),
        size_of::<WireHead>() as u64 + u64::from(bytes),
        Wake::Later,
    );
    telling.failed |= !sent;
    full.head.flags &= !wire::LOST;
    if last { Next::Done } else { Next::More }
}

/// Whether the bytes end with the empty line that ends a head.
#[inline(always)]
fn ends_head(bytes: Bytes) -> bool {
    read::user::<[u8; 4]>(bytes.at + bytes.len - 4).is_ok_and(|end| end == *b"\r\n\r\n")
}

#[inline(always)]
fn start(bytes: Bytes) -> Start {
    if bytes.at == 0 || bytes.len < 8 {
        return Start::Other;
    }
    let Ok(word) = read::user::<u64>(bytes.at) else {
        return Start::Other;
    };
    let begins = |with: &[u8]| {
        let mut text = [0; 8];
        let mut mask = [0; 8];
        let mut at = 0;
        while at < with.len() {
            text[at] = with[at];
            mask[at] = 0xff;
            at += 1;
        }
        word & u64::from_le_bytes(mask) == u64::from_le_bytes(text)
    };
    if begins(b"POST /")
        || begins(b"GET /")
        || begins(b"PUT /")
        || begins(b"DELETE /")
        || begins(b"HEAD /")
        || begins(b"PATCH /")
        || begins(b"OPTIONS ")
    {
        Start::Request
    } else if begins(b"HTTP/1.") {
        Start::Response
    } else if begins(b"{\"jsonrp")
        || begins(b"[{\"jsonr")
        || begins(b"{\"method")
        || begins(b"{\"result")
        || begins(b"{\"error\"")
        || begins(b"{\"id\":")
    {
        Start::Line
    } else {
        Start::Other
    }
}
