//! What `--wire` reads of a process, and what it does not.

use std::{collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::Check;
use crate::{
    elf::{Cost, read_loaded},
    runtime::cpython::{
        find,
        layout::Layout,
        probe_point::ProbePoint,
        uvloop,
        wire::{Part, WireModule},
    },
    target::{
        arm_wire::{FOREIGN, foreign_server, is_uvloop},
        maps::Mapping,
        process::Process,
    },
};

const WIRE: &str = "wire (with --wire)";
const NOT_READ: &str = "what passes through it is not read";
const STEPPED: &str = "the kernel single-steps an instruction: a hit costs several times as much";

/// A row for each part of the wire: which methods are tapped. Nothing of it is attached without `--wire`.
pub(super) fn checks(
    process: &Process,
    maps: &[Mapping],
    core: &Mapping,
    core_bytes: &[u8],
    layout: &Layout,
) -> Vec<Check> {
    let in_core = WireModule::inspect(core_bytes);
    let row = |part: Part| {
        let built_in = in_core.as_ref().is_ok_and(|found| found.parts.contains(&part));
        let found = match (&in_core, part.module()) {
            (Ok(found), _) if built_in => Ok(found.clone()),
            (Err(error), None) => Err(error.to_string()),
            (_, Some(module)) => extension(process, maps, core, layout, module),
            (Ok(_), None) => Err("not found".to_owned()),
        };
        match found {
            Ok(found) => of(part, &found),
            Err(why) => Check::wanted(WIRE, false, format!("{}: {why}", part.name()), NOT_READ),
        }
    };
    let mapping = maps.iter().find(|m| m.is_file() && m.executable && is_uvloop(m));
    let uvloop = mapping.map(|mapping| through_uvloop(process, mapping));
    let server =
        foreign_server(maps).map(|name| Check::wanted(WIRE, false, format!("{name}: {FOREIGN}"), NOT_READ));
    Part::ALL
        .into_iter()
        .map(row)
        .chain(uvloop)
        .chain(server)
        .collect()
}

fn through_uvloop(process: &Process, mapping: &Mapping) -> Check {
    let file = process.open_mapped(mapping).map_err(|error| error.to_string());
    let bytes = file.and_then(|file| read_loaded(&file).map_err(|error| error.to_string()));
    let points = bytes.and_then(|bytes| uvloop::inspect(&bytes).map_err(|error| error.to_string()));
    match points {
        Ok(points) => read_at(points.iter()),
        Err(error) => Check::wanted(WIRE, false, format!("uvloop: {error}"), NOT_READ),
    }
}

fn of(part: Part, found: &WireModule) -> Check {
    let points = found.points.iter();
    read_at(points.filter(|point| point.function.starts_with(part.class())))
}

/// What is tapped, and what of it at a high cost.
fn read_at<'a>(points: impl Iterator<Item = &'a ProbePoint>) -> Check {
    let mut stepped: BTreeMap<&str, bool> = BTreeMap::new();
    for point in points {
        *stepped.entry(point.function).or_default() |= point.cost == Cost::Stepped;
    }
    let names = stepped.iter().map(|(name, stepped)| {
        let cost = if *stepped { " (stepped)" } else { "" };
        format!("{name}{cost}")
    });
    let found = names.collect::<Vec<_>>().join(", ");
    Check::wanted(WIRE, !stepped.values().any(|stepped| *stepped), found, STEPPED)
}

fn extension(
    process: &Process,
    maps: &[Mapping],
    core: &Mapping,
    layout: &Layout,
    module: &str,
) -> Result<WireModule, String> {
    let bytes = module_bytes(process, maps, core, layout, module)?;
    WireModule::inspect(&bytes).map_err(|error| error.to_string())
}

/// The extension module that a process maps, or would map.
pub(super) fn module_bytes(
    process: &Process,
    maps: &[Mapping],
    core: &Mapping,
    layout: &Layout,
    module: &str,
) -> Result<Vec<u8>, String> {
    let start = format!("{module}.");
    let mapped = maps
        .iter()
        .find(|m| m.is_file() && m.executable && m.file_name().starts_with(start.as_bytes()));
    let file = if let Some(mapping) = mapped {
        process.open_mapped(mapping).map_err(|error| error.to_string())?
    } else {
        let core = process.seen_from_inside(Path::new(OsStr::from_bytes(&core.raw_path)));
        let files = find::extension_modules(module, &core, layout);
        let file = files.iter().find_map(|path| process.open_in_root(path).ok());
        file.ok_or_else(|| "not found".to_owned())?
    };
    read_loaded(&file).map_err(|error| format!("failed to read it: {error}"))
}
