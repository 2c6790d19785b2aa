//! Finding the files of a process's interpreter, and arming them.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use tracer_common::stats::Probe;

use super::{arm_tasks, arm_wire, follow::FollowError, maps::Mapping, process::Process};
use crate::{
    attach::{
        registry::{ArmError, Armed, Registry},
        starts::Start,
    },
    elf::{Elf, read_loaded},
    runtime::cpython::find,
};

pub(super) fn armed(registry: &Registry, index: u32) -> &Armed {
    registry.image(index).expect("an image that was just armed")
}

/// Finds and arms the interpreter that a running process maps; its index and its load bias.
pub(super) fn mapped_core(
    registry: &mut Registry,
    process: &Process,
    maps: &[Mapping],
) -> Result<Option<(u32, u64)>, FollowError> {
    let pid = process.pid();
    let exe = process.exe()?;
    let mut refused = None;
    for mapping in candidates(maps, &exe) {
        let file = match process.open_image(mapping, maps) {
            Ok(file) => file,
            // It need not be the one that carries the interpreter.
            Err(error) => {
                refused.get_or_insert(error);
                continue;
            }
        };
        let name = String::from_utf8_lossy(mapping.file_name()).into_owned();
        let index = registry
            .arm_core(&file, &name)
            .map_err(|error| FollowError::Arm { pid, error })?;
        if let Some(index) = index {
            let vaddr = armed(registry, index)
                .core
                .vaddr_of_offset(mapping.offset)
                .unwrap_or(mapping.offset);
            return Ok(Some((index, mapping.range.start.wrapping_sub(vaddr))));
        }
    }
    refused.map_or(Ok(None), |error| Err(error.into()))
}

/// What of a process can carry an interpreter: the executable itself, or a library that is called like one. Looking at all would
/// read every file.
pub fn candidates<'a>(maps: &'a [Mapping], exe: &[u8]) -> impl Iterator<Item = &'a Mapping> {
    let is_candidate = move |m: &&Mapping| {
        m.is_file()
            && m.executable
            && (m.candidates().iter().any(|path| path == exe) || m.file_name().starts_with(b"libpython"))
    };
    let mut seen = BTreeSet::new();
    maps.iter()
        .filter(is_candidate)
        .filter(move |m| seen.insert(m.file))
}

/// Arms the `_queue` module that a process maps or will map. True when there is one, built in or not.
pub(super) fn mapped_queue(registry: &mut Registry, process: &Process, maps: &[Mapping], image: u32) -> bool {
    if registry
        .image(image)
        .is_some_and(|armed| armed.probes.contains_key(&Probe::QueuePut))
    {
        return true;
    }
    let mapped = maps
        .iter()
        .find(|m| m.is_file() && m.executable && m.file_name().starts_with(b"_queue."));
    if let Some(mapping) = mapped {
        let file = process.open_mapped(mapping);
        return file.is_ok_and(|file| registry.arm_queue(&file, "_queue", image).unwrap_or(false));
    }
    if registry.image(image).is_none() {
        return false;
    }
    // The program and its library may have a standard library each.
    cores(process, maps).iter().fold(false, |armed, core| {
        queue_beside(registry, process, core, image) | armed
    })
}

/// Where a process has its cores, as it sees them.
pub(super) fn cores(process: &Process, maps: &[Mapping]) -> BTreeSet<PathBuf> {
    let places = maps
        .iter()
        .filter(|m| m.is_file() && m.executable)
        .filter(|m| m.file_name().starts_with(b"libpython") || m.file_name().starts_with(b"python"));
    places
        .flat_map(Mapping::candidates)
        .map(|path| process.seen_from_inside(Path::new(OsStr::from_bytes(&path))))
        .collect()
}

/// Arms a `_queue` module that a process has mapped from where none was expected. True when it was not armed before: what it did
/// until now went unseen.
pub(super) fn late_queue(registry: &mut Registry, process: &Process, maps: &[Mapping], image: u32) -> bool {
    let before = registry.ever_armed();
    let modules = maps
        .iter()
        .filter(|m| m.is_file() && m.executable && m.file_name().starts_with(b"_queue."));
    for mapping in modules {
        if let Ok(file) = process.open_mapped(mapping) {
            // What cannot be armed was said when the process was attached to.
            let _ = registry.arm_queue(&file, "_queue", image);
        }
    }
    registry.ever_armed() != before
}

fn queue_beside(registry: &mut Registry, process: &Process, core: &Path, image: u32) -> bool {
    let layout = armed(registry, image).core.layout;
    let mut armed = false;
    for path in find::queue_modules(core, layout) {
        if let Ok(file) = process.open_in_root(&path) {
            armed |= registry.arm_queue(&file, "_queue", image).unwrap_or(false);
        }
    }
    armed
}

/// Arms what a process that has just exec'd is going to run, if that is a CPython: nothing is mapped yet but the executable.
/// The image that it will run from when it is.
pub(super) fn program(registry: &mut Registry, process: &Process) -> Result<Option<u32>, ArmError> {
    let exe = PathBuf::from(OsString::from_vec(process.exe().unwrap_or_default()));
    let exe = process.seen_from_inside(&exe);
    let file = match process.open_exe() {
        Ok(file) => file,
        // It may be any program; one that is called like an interpreter is worth a word.
        Err(error)
            if exe
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"python")) =>
        {
            return Err(ArmError::Refused(error.to_string()));
        }
        Err(_) => return Ok(None),
    };
    if registry.starts.runs_no_python(&file) {
        return Ok(None);
    }
    // Where one of them starts, more do: what led to the same files a moment ago still does.
    let start = Start {
        exe: exe.clone(),
        root: process.root(),
        library_path: library_path(process),
    };
    if let Some(index) = registry.starts.armed_lately(&file, &start) {
        return Ok(Some(index));
    }
    if let Some(index) = registry.arm_core(&file, &exe.to_string_lossy())? {
        queue_beside(registry, process, &exe, index);
        arm_wire::early(registry, process, &exe, index);
        arm_tasks::early(registry, process, &exe, index);
        registry.starts.just_armed(&file, start, index);
        return Ok(Some(index));
    }
    let libraries = libpythons(&file, &exe, start.library_path.as_deref());
    if libraries.as_ref().is_some_and(Vec::is_empty) {
        registry.learn_plain(&file);
    }
    for path in libraries.unwrap_or_default() {
        let Ok(library) = process.open_in_root(&path) else {
            continue;
        };
        if let Some(index) = registry.arm_core(&library, &path.to_string_lossy())? {
            queue_beside(registry, process, &path, index);
            arm_wire::early(registry, process, &path, index);
            arm_tasks::early(registry, process, &path, index);
            registry.starts.just_armed(&file, start, index);
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// What the process's `LD_LIBRARY_PATH` is.
fn library_path(process: &Process) -> Option<Vec<u8>> {
    let environment = process.environment().unwrap_or_default();
    let value = environment
        .iter()
        .find_map(|v| v.strip_prefix(b"LD_LIBRARY_PATH=".as_slice()));
    value.map(<[u8]>::to_vec)
}

/// Where the libpython may be that a program needs; none if the program cannot be read.
fn libpythons(file: &File, exe: &Path, library_path: Option<&[u8]>) -> Option<Vec<PathBuf>> {
    let bytes = read_loaded(file).ok()?;
    let Ok(elf) = Elf::parse(&bytes) else {
        return Some(Vec::new());
    };
    Some(find::libpythons(
        exe,
        elf.linkage(),
        library_path.map(OsStr::from_bytes),
    ))
}
