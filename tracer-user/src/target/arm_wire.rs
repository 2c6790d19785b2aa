//! Finding the files through which a process receives and sends, and arming them.

use std::{collections::BTreeSet, path::Path};

use super::{
    arm::{armed, cores},
    maps::Mapping,
    process::Process,
};
use crate::{
    attach::registry::Registry,
    runtime::cpython::{find, wire::Part},
};

/// Arms the modules with which a process that maps this image receives and sends, where they are mapped or will be mapped from. The
/// parts that cannot be read.
pub(super) fn wire(registry: &mut Registry, process: &Process, maps: &[Mapping], image: u32) -> Vec<Part> {
    let Some(own) = registry.image(image).map(|armed| armed.wire.clone()) else {
        return Part::ALL.to_vec();
    };
    let mut found = own;
    for module in Part::ALL
        .into_iter()
        .filter(|part| !found.contains(part))
        .filter_map(Part::module)
        .collect::<Vec<_>>()
    {
        found.append(&mut mapped_wire(registry, process, maps, module, image));
        for core in &cores(process, maps) {
            found.append(&mut wire_beside(registry, process, core, module, image));
        }
    }
    Part::ALL
        .into_iter()
        .filter(|part| !found.contains(part))
        .collect()
}

/// Arms uvloop, if a process maps it. What of its wire is not read, and why, if that could not be or it maps another server.
pub(super) fn unread(
    registry: &mut Registry,
    process: &Process,
    maps: &[Mapping],
    image: u32,
) -> Option<String> {
    if !registry.wants_wire() {
        return None;
    }
    let uvloop = || mapped_uvloop(registry, process, maps, image).map(|error| format!("uvloop: {error}"));
    let server = foreign_server(maps).map(|name| format!("{name}: {FOREIGN}"));
    server.or_else(uvloop)
}

fn mapped_uvloop(registry: &mut Registry, process: &Process, maps: &[Mapping], image: u32) -> Option<String> {
    let mapping = maps
        .iter()
        .find(|m| m.is_file() && m.executable && is_uvloop(m))?;
    let file = process.open_mapped(mapping).map_err(|error| error.to_string());
    let armed = file.and_then(|file| {
        registry
            .arm_uvloop(&file, image)
            .map_err(|error| error.to_string())
    });
    armed.err()
}

/// Whether it is uvloop's extension module, which has its own ways of receiving and sending.
pub fn is_uvloop(mapping: &Mapping) -> bool {
    mapping.file_name().starts_with(b"loop.") && mapping.raw_path.windows(8).any(|part| part == b"/uvloop/")
}

/// Why nothing is read of a server that is no Python.
pub const FOREIGN: &str = "it receives and sends by itself, not through Python";

/// The server that a process maps which is an extension module: it has sockets of its own.
pub fn foreign_server(maps: &[Mapping]) -> Option<&'static str> {
    const SERVERS: [(&[u8], &str); 2] = [(b"_granian.", "granian"), (b"robyn.", "robyn")];
    let mapped = |start: &[u8]| {
        maps.iter()
            .any(|m| m.is_file() && m.executable && m.file_name().starts_with(start))
    };
    SERVERS
        .into_iter()
        .find(|(start, _)| mapped(start))
        .map(|(_, name)| name)
}

fn mapped_wire(
    registry: &mut Registry,
    process: &Process,
    maps: &[Mapping],
    module: &str,
    image: u32,
) -> BTreeSet<Part> {
    let start = format!("{module}.");
    let mapped = maps
        .iter()
        .find(|m| m.is_file() && m.executable && m.file_name().starts_with(start.as_bytes()));
    let file = mapped.and_then(|mapping| process.open_mapped(mapping).ok());
    file.and_then(|file| registry.arm_wire(&file, module, image).ok())
        .unwrap_or_default()
}

fn wire_beside(
    registry: &mut Registry,
    process: &Process,
    core: &Path,
    module: &str,
    image: u32,
) -> BTreeSet<Part> {
    let layout = armed(registry, image).core.layout;
    let mut armed = BTreeSet::new();
    for path in find::extension_modules(module, core, layout) {
        if let Ok(file) = process.open_in_root(&path) {
            armed.append(&mut registry.arm_wire(&file, module, image).unwrap_or_default());
        }
    }
    armed
}

/// Arms what receives and sends beside the core of a program that has not started yet.
pub(super) fn early(registry: &mut Registry, process: &Process, core: &Path, image: u32) {
    let own = armed(registry, image).wire.clone();
    for module in Part::ALL
        .into_iter()
        .filter(|part| !own.contains(part))
        .filter_map(Part::module)
        .collect::<Vec<_>>()
    {
        wire_beside(registry, process, core, module, image);
    }
}
