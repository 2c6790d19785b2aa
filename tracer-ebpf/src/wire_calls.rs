//! Methods of the interpreter that receive and send: `_socket.socket`, `_ssl._SSLSocket`, `_io.FileIO`, `posix`.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_get_attach_cookie,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    config::{WireKey, arguments, tap},
    stats::Probe,
};

use crate::{
    emit, ids,
    maps::{IMAGES, POINTS, RECEIVING, Receiving, TARGETS},
    read::{self, Unreadable},
    state::{Hit, lose_for_want_of_image},
    wire::{self, Bytes, Way},
};

/// `close` (`asm/unistd_64.h`).
const SYS_CLOSE: u64 = 3;
/// The minor version from which on an `int` has a tag.
const FIRST_WITH_LONG_TAG: u32 = 12;

/// `send`, `sendall`, `write`, and what sends or receives in ways that are not looked into.
#[uprobe]
pub fn wire_send(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = hit(&ctx, Probe::WireSend) else {
        return 0;
    };
    // What cannot be read is no stream that was told of, or its next call does not fit.
    if send(&ctx, &hit).unwrap_or(false) {
        wire::tell_context(&ctx, &mut hit, false);
    }
    0
}

#[inline(always)]
fn send(ctx: &ProbeContext, hit: &Hit) -> Result<bool, Unreadable> {
    let stream = stream(ctx, hit)?;
    let data = match hit.point.tap {
        tap::OBJECT | tap::TLS => argument(ctx, hit, 0)?,
        tap::DESCRIPTOR => argument(ctx, hit, 1)?,
        tap::UNTOLD_IN | tap::UNTOLD_DESCRIPTOR_IN => {
            wire::untold(hit, stream, Way::In);
            return Ok(false);
        }
        _ => {
            wire::untold(hit, stream, Way::Out);
            return Ok(false);
        }
    };
    let Ok(bytes) = buffer(hit, data) else {
        wire::untold(hit, stream, Way::Out);
        return Ok(false);
    };
    Ok(wire::moved(hit, stream, Way::Out, bytes))
}

/// Entry of `recv`, `recv_into`, `read`, `readinto`.
#[uprobe]
pub fn wire_receive(ctx: ProbeContext) -> u32 {
    let Some(hit) = hit(&ctx, Probe::WireReceive) else {
        return 0;
    };
    let Ok(stream) = stream(&ctx, &hit) else {
        return 0;
    };
    let buffer = if hit.point.tap == tap::C_RECEIVE {
        ctx.arg::<u64>(1).unwrap_or(0)
    } else {
        into(&ctx, &hit).unwrap_or(0)
    };
    let receiving = Receiving { stream, buffer };
    // In place, which takes no memory: most threads that receive do so again.
    if let Some(known) = RECEIVING.get_ptr_mut(hit.tid) {
        // SAFETY: the entry belongs to this thread alone.
        unsafe { *known = receiving };
    } else if RECEIVING.insert(hit.tid, &receiving, 0).is_err() {
        emit::count(hit.probe, |s| &raw mut s.lost_map);
    }
    0
}

/// Return of the same: bytes, how many there are in the buffer, or null with an exception. Also of `_accept`.
#[uretprobe]
pub fn wire_received(ctx: RetProbeContext) -> u32 {
    emit::count_hit(Probe::WireReceived);
    let (tgid, tid) = ids::current();
    let returned: u64 = ctx.ret();
    let Some(target) = TARGETS.get_ptr_mut(tgid) else {
        emit::count_filtered(Probe::WireReceived);
        return 0;
    };
    // SAFETY: the context is the one that this program was called with.
    let Some(point) = POINTS.get(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32) else {
        return 0;
    };
    // SAFETY: `target` comes from the map and lives as long as this program runs.
    let Some(image) = IMAGES.get(unsafe { (*target).image }) else {
        lose_for_want_of_image(Probe::WireReceived, target);
        return 0;
    };
    let hit = Hit {
        tgid,
        tid,
        probe: Probe::WireReceived,
        target,
        image,
        point,
    };
    if point.tap == tap::ACCEPT {
        if returned != 0
            && wire::wanted(&hit)
            && let Ok(object) = read::pointer(returned + u64::from(image.tuple_items))
            && let Ok(descriptor) = integer(&hit, object)
        {
            wire::end(&hit, of_descriptor(&hit, descriptor));
        }
        return 0;
    }
    if point.tap == tap::C_ACCEPT {
        if (returned as i32) >= 0 && wire::wanted(&hit) {
            wire::end(&hit, of_descriptor(&hit, returned & 0xffff_ffff));
        }
        return 0;
    }
    // Not there: its entry went unseen, or this return was told before, through another name of the file.
    // SAFETY: the entry belongs to this thread alone.
    let receiving = RECEIVING
        .get_ptr_mut(tid)
        .map(|receiving| unsafe { &mut *receiving });
    let Some(receiving) = receiving.filter(|receiving| receiving.stream.tgid == tgid) else {
        emit::count_filtered(Probe::WireReceived);
        return 0;
    };
    let Receiving { stream, buffer } = *receiving;
    receiving.stream.tgid = 0;
    let bytes = if point.tap != tap::C_RECEIVE {
        if returned == 0 {
            return 0;
        }
        received(&hit, returned, buffer)
    } else if (returned as i64) > 0 {
        Ok(Bytes {
            at: buffer,
            len: returned,
        })
    } else {
        Err(Unreadable)
    };
    if let Ok(bytes) = bytes {
        wire::moved(&hit, stream, Way::In, bytes);
    }
    0
}

/// `close`, `detach`, `shutdown` of TLS; `connect` and `do_handshake`, with which something else begins under a handle.
#[uprobe]
pub fn wire_close(ctx: ProbeContext) -> u32 {
    let Some(hit) = hit(&ctx, Probe::WireClose) else {
        return 0;
    };
    if hit.point.tap == tap::C_SYSCALL {
        if ctx.arg::<u64>(0) == Some(SYS_CLOSE)
            && let Some(descriptor) = ctx.arg::<u64>(1)
        {
            wire::end(&hit, of_descriptor(&hit, descriptor & 0xffff_ffff));
        }
        return 0;
    }
    if let Ok(stream) = stream(&ctx, &hit) {
        wire::end(&hit, stream);
    }
    0
}

#[inline(always)]
pub fn hit(ctx: &ProbeContext, probe: Probe) -> Option<Hit> {
    let hit = Hit::new(ctx, probe)?;
    if wire::wanted(&hit) {
        return Some(hit);
    }
    emit::count_filtered(probe);
    None
}

/// The stream that a call is about.
#[inline(always)]
pub fn stream(ctx: &ProbeContext, hit: &Hit) -> Result<WireKey, Unreadable> {
    let own = ctx.arg::<u64>(0).ok_or(Unreadable)?;
    match hit.point.tap {
        tap::TLS => Ok(WireKey {
            handle: own,
            tgid: hit.tgid,
            tls: 1,
        }),
        tap::C_RECEIVE => Ok(of_descriptor(hit, own & 0xffff_ffff)),
        tap::DESCRIPTOR | tap::DESCRIPTOR_PARTS | tap::UNTOLD_DESCRIPTOR | tap::UNTOLD_DESCRIPTOR_IN => {
            let descriptor = integer(hit, argument(ctx, hit, 0)?)?;
            Ok(of_descriptor(hit, descriptor))
        }
        // PySocketSockObject.sock_fd (Modules/socketmodule.h) and fileio.fd (Modules/_io/fileio.c) follow the object's head.
        _ => Ok(of_descriptor(
            hit,
            u64::from(read::user::<u32>(hit.member(own, 16))?),
        )),
    }
}

#[inline(always)]
pub fn of_descriptor(hit: &Hit, descriptor: u64) -> WireKey {
    WireKey {
        handle: descriptor,
        tgid: hit.tgid,
        tls: 0,
    }
}

/// Where a call puts what it receives, if it was told where.
#[inline(always)]
fn into(ctx: &ProbeContext, hit: &Hit) -> Result<u64, Unreadable> {
    let object = match hit.point.tap {
        tap::OBJECT => argument(ctx, hit, 0)?,
        tap::TLS => argument(ctx, hit, 1)?,
        _ => return Err(Unreadable),
    };
    Ok(buffer(hit, object)?.at)
}

/// What a call returned: the bytes themselves, or how many it put into the buffer.
#[inline(always)]
fn received(hit: &Hit, returned: u64, buffer: u64) -> Result<Bytes, Unreadable> {
    // PyObject.ob_type is at 8.
    let kind = read::pointer(hit.member(returned, 8))?;
    if kind == hit.address(hit.image.bytes_type) {
        bytes_of(hit, returned)
    } else if kind == hit.address(hit.image.int_type) {
        Ok(Bytes {
            at: buffer,
            len: integer(hit, returned)?,
        })
    } else {
        Err(Unreadable)
    }
}

/// The bytes of an object that holds some.
#[inline(always)]
pub fn buffer(hit: &Hit, object: u64) -> Result<Bytes, Unreadable> {
    // PyObject.ob_type is at 8.
    let kind = read::pointer(hit.member(object, 8))?;
    if kind == hit.address(hit.image.bytes_type) {
        bytes_of(hit, object)
    } else if kind == hit.address(hit.image.bytearray_type) {
        // PyByteArrayObject: ob_size 16, ob_start 40 (Include/cpython/bytearrayobject.h, 3.8 to 3.15).
        Ok(Bytes {
            at: read::pointer(hit.member(object, 40))?,
            len: read::pointer(hit.member(object, 16))?,
        })
    } else if kind == hit.address(hit.image.memoryview_type) {
        // PyMemoryViewObject.view is at 56; Py_buffer: buf 0, obj 8, len 16 (Include/cpython/memoryobject.h, 3.8 to 3.15).
        let [at, _, len] = read::user::<[u64; 3]>(hit.member(object, 56))?;
        Ok(Bytes { at, len })
    } else {
        Err(Unreadable)
    }
}

#[inline(always)]
fn bytes_of(hit: &Hit, object: u64) -> Result<Bytes, Unreadable> {
    // PyBytesObject: ob_size 16, ob_sval 32.
    Ok(Bytes {
        at: hit.member(object, 32),
        len: read::pointer(hit.member(object, 16))?,
    })
}

/// A non-negative `int` of at most two digits.
#[inline(always)]
fn integer(hit: &Hit, object: u64) -> Result<u64, Unreadable> {
    // PyLongObject: at 16 ob_size up to 3.11, then lv_tag (digits << 3 | sign); ob_digit 24.
    let [size, digits] = read::user::<[u64; 2]>(hit.member(object, 16))?;
    let count = if hit.image.minor < FIRST_WITH_LONG_TAG {
        size
    } else if size & 3 == 2 {
        return Err(Unreadable);
    } else {
        size >> 3
    };
    match count {
        0 => Ok(0),
        1 => Ok(digits & 0x3fff_ffff),
        2 => Ok((digits & 0x3fff_ffff) | (digits >> 32 & 0x3fff_ffff) << 30),
        _ => Err(Unreadable),
    }
}

/// The n-th argument of a method, by its calling convention.
#[inline(always)]
pub fn argument(ctx: &ProbeContext, hit: &Hit, number: u64) -> Result<u64, Unreadable> {
    let (at, count) = match hit.point.arguments {
        arguments::OBJECT if number == 0 => return ctx.arg(1).ok_or(Unreadable),
        arguments::FAST => (ctx.arg::<u64>(1), ctx.arg::<u64>(2)),
        arguments::METHOD_FAST => (ctx.arg::<u64>(2), ctx.arg::<u64>(3)),
        arguments::TUPLE => {
            let tuple = ctx.arg::<u64>(1).ok_or(Unreadable)?;
            // PyVarObject.ob_size is at 16.
            let count = read::pointer(hit.member(tuple, 16))?;
            (Some(tuple + u64::from(hit.image.tuple_items)), Some(count))
        }
        _ => return Err(Unreadable),
    };
    let (at, count) = (at.ok_or(Unreadable)?, count.ok_or(Unreadable)?);
    // The count of a vector call is a size with a flag in the highest bit.
    if number >= count & (u64::MAX >> 1) {
        return Err(Unreadable);
    }
    read::pointer(at + 8 * number)
}
