//! uvloop: it has libuv built in, and calls the C library by itself.

use tracer_common::{config::tap, stats::Probe};

use super::{
    probe_point::{PointError, ProbePoint},
    wire::WireError,
};
use crate::elf::{Elf, stubs};

/// How it sends and receives, with what is tapped there.
const CALLS: &[(&str, &str, &[Probe], u32)] = &[
    ("write", "write of uvloop", &[Probe::WireVector], tap::C_SEND),
    ("writev", "writev of uvloop", &[Probe::WireVector], tap::C_VECTOR),
    (
        "sendmsg",
        "sendmsg of uvloop",
        &[Probe::WireVector],
        tap::C_MESSAGE,
    ),
    (
        "read",
        "read of uvloop",
        &[Probe::WireReceive, Probe::WireReceived],
        tap::C_RECEIVE,
    ),
    (
        "accept4",
        "accept4 of uvloop",
        &[Probe::WireReceived],
        tap::C_ACCEPT,
    ),
    (
        "syscall",
        "syscall of uvloop",
        &[Probe::WireClose],
        tap::C_SYSCALL,
    ),
];

/// Where to probe in uvloop's extension module: at the stubs of what it calls, which are its own, so that nobody else is stopped there.
pub fn inspect(file: &[u8]) -> Result<Vec<ProbePoint>, WireError> {
    let file = Elf::parse(file)?;
    let names: Vec<_> = CALLS.iter().map(|(name, ..)| *name).collect();
    let places = stubs(&file, &names);
    let mut points = Vec::new();
    for (name, function, probes, tap) in CALLS {
        let place = places.get(name).ok_or(PointError::Elsewhere(function))?;
        for probe in *probes {
            let point = ProbePoint::stub(&file, *probe, function, *place)?;
            points.push(ProbePoint { tap: *tap, ..point });
        }
    }
    Ok(points)
}
