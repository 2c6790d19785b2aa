//! uvloop: it has libuv built in, and calls the C library by itself.

use tracer_common::{config::tap, stats::Probe};

use super::{
    probe_point::{PointError, ProbePoint, When},
    wire::WireError,
};
use crate::elf::{CallSite, Elf, Placement, call_sites, stubs};

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

/// Where to probe in uvloop's extension module: at its own calls of the C library, so that nobody else is stopped there; at the stubs that
/// they go through where it is not sure where all of them are.
pub fn inspect(file: &[u8]) -> Result<Vec<ProbePoint>, WireError> {
    let file = Elf::parse(file)?;
    let names: Vec<_> = CALLS.iter().map(|(name, ..)| *name).collect();
    let (stubs, sites) = (stubs(&file, &names), call_sites(&file, &names));
    let mut points = Vec::new();
    for (name, function, probes, tap) in CALLS {
        let stubs = stubs.get(name).ok_or(PointError::Elsewhere(function))?;
        let sites = sites.as_ref().and_then(|sites| sites.get(name));
        let places = sites.and_then(|sites| at_sites(sites, probes));
        for (probe, when, place) in places.unwrap_or_else(|| at_stubs(stubs, probes)) {
            let point = ProbePoint::placed(&file, probe, function, place)?;
            points.push(ProbePoint {
                tap: *tap,
                when,
                ..point
            });
        }
    }
    Ok(points)
}

type Places = Vec<(Probe, When, Placement)>;

/// None if the result of some call is not to be had behind it.
fn at_sites(sites: &[CallSite], probes: &[Probe]) -> Option<Places> {
    let mut places = Vec::new();
    for site in sites {
        for probe in probes {
            let place = if *probe == Probe::WireReceived {
                site.returned?
            } else {
                site.call
            };
            places.push((*probe, When::Entry, place));
        }
    }
    Some(places)
}

fn at_stubs(stubs: &[Placement], probes: &[Probe]) -> Places {
    let when = |probe: Probe| {
        if probe == Probe::WireReceived {
            When::Return
        } else {
            When::Entry
        }
    };
    let probes = probes
        .iter()
        .flat_map(|probe| stubs.iter().map(|stub| (*probe, *stub)));
    probes.map(|(probe, stub)| (probe, when(probe), stub)).collect()
}
