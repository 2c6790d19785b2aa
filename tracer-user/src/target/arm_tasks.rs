//! Finding the `_asyncio` modules of a process, and arming them.

use std::path::Path;

use tracer_common::stats::Probe;

use super::{
    arm::{armed, cores},
    maps::Mapping,
    process::Process,
};
use crate::{attach::registry::Registry, runtime::cpython::find};

/// Arms the `_asyncio` that a process which maps this image maps, or will map. False when there is none.
pub(super) fn tasks(registry: &mut Registry, process: &Process, maps: &[Mapping], image: u32) -> bool {
    let own = registry
        .image(image)
        .map(|armed| armed.probes.contains_key(&Probe::TaskSpawn));
    let Some(own) = own else {
        return false;
    };
    if own {
        return true;
    }
    let mapped = maps
        .iter()
        .find(|m| m.is_file() && m.executable && m.file_name().starts_with(b"_asyncio."));
    if let Some(mapping) = mapped {
        let file = process.open_mapped(mapping);
        return file.is_ok_and(|file| registry.arm_tasks(&file, image).unwrap_or(false));
    }
    cores(process, maps).iter().fold(false, |armed, core| {
        beside(registry, process, core, image) | armed
    })
}

/// Arms the `_asyncio` beside the core of a program that has not started yet.
pub(super) fn early(registry: &mut Registry, process: &Process, core: &Path, image: u32) {
    if !armed(registry, image).probes.contains_key(&Probe::TaskSpawn) {
        beside(registry, process, core, image);
    }
}

fn beside(registry: &mut Registry, process: &Process, core: &Path, image: u32) -> bool {
    let layout = armed(registry, image).core.layout;
    let mut armed = false;
    if registry.wants_tasks() {
        for path in find::extension_modules("_asyncio", core, layout) {
            if let Ok(file) = process.open_in_root(&path) {
                armed |= registry.arm_tasks(&file, image).unwrap_or(false);
            }
        }
    }
    armed
}
