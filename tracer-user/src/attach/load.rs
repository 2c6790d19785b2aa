//! From the object to maps and programs in the kernel.
//!
//! aya's own loader first reads and parses all types of the kernel, of which this object needs none, and verifies one program after the
//! other. Its parser of objects and its maps are used as they are.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Display,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
};

use aya::maps::{Map, MapData};
use aya_obj::{EbpfSectionKind, Object};

use super::{
    programs::AttachError,
    sys::{Kind, Program, fill_section, load_program, load_types},
};

/// The map that records arrive in.
pub const RING: &str = "EVENTS";

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The maps by name.
    pub maps: HashMap<String, MapData>,
    /// The programs by name.
    pub programs: BTreeMap<&'static str, OwnedFd>,
}

impl Loaded {
    /// Takes a map out, as what it is.
    pub fn take<M: TryFrom<Map>>(&mut self, name: &'static str) -> Result<M, AttachError> {
        let map = Map::from_map_data(self.take_data(name)?).map_err(AttachError::Maps)?;
        map.try_into()
            .map_err(|_| misfit(&format!("map {name} has another type")))
    }

    /// Takes a map out that nothing but the programs looks into.
    pub fn take_data(&mut self, name: &'static str) -> Result<MapData, AttachError> {
        self.maps
            .remove(name)
            .ok_or_else(|| misfit(&format!("map {name} is missing")))
    }

    /// A program.
    pub fn program(&self, name: &str) -> Result<&OwnedFd, AttachError> {
        self.programs
            .get(name)
            .ok_or_else(|| misfit(&format!("program {name} was not loaded")))
    }
}

/// Loads the maps and the programs of these names. `globals` are the constants that the object leaves open.
pub fn load(
    mut object: Object,
    globals: &[(&str, Vec<u8>)],
    ring_bytes: u32,
    programs: &[(&'static str, Kind)],
) -> Result<Loaded, AttachError> {
    let globals = globals
        .iter()
        .map(|(name, bytes)| (*name, (bytes.as_slice(), true)))
        .collect();
    object.patch_map_data(globals).map_err(|error| misfit(&error))?;
    let types = types(&mut object)?;
    let mut maps = HashMap::new();
    let described = object.maps.clone();
    for (name, map) in &described {
        let mut map = map.clone();
        if *name == RING {
            map.set_max_entries(ring_bytes);
        }
        let section = map.section_kind();
        let content = map.data().to_vec();
        let data = MapData::create(map, name, Some(types.as_fd())).map_err(AttachError::Maps)?;
        if !content.is_empty() {
            let constant = section == EbpfSectionKind::Rodata;
            fill_section(data.fd().as_fd(), &content, constant).map_err(AttachError::Constants)?;
        }
        maps.insert(name.clone(), data);
    }
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let located = described
        .iter()
        .map(|(name, map)| (name.as_str(), maps[name].fd().as_fd().as_raw_fd(), map));
    object
        .relocate_maps(located, &text)
        .map_err(|error| misfit(&error))?;
    object.relocate_calls(&text).map_err(|error| misfit(&error))?;
    object.sanitize_functions(aya::features());
    let programs = verify(&object, &types, programs)?;
    Ok(Loaded { maps, programs })
}

/// Has every program verified on a thread of its own, as that takes its time.
fn verify(
    object: &Object,
    types: &OwnedFd,
    programs: &[(&'static str, Kind)],
) -> Result<BTreeMap<&'static str, OwnedFd>, AttachError> {
    let license = object.license.to_string_lossy();
    let license: &str = &license;
    let load = |name: &'static str, kind: Kind| {
        let program = object
            .programs
            .get(name)
            .ok_or_else(|| misfit(&format!("program {name} is missing")))?;
        let function = &object.functions[&program.function_key()];
        let program = Program {
            name,
            instructions: &function.instructions,
            license,
            types: Some((types.as_fd(), &function.func_info.func_info)),
        };
        Ok((name, load_program(program, kind)?))
    };
    thread::scope(|scope| {
        let loading: Vec<_> = programs
            .iter()
            .map(|(name, kind)| scope.spawn(|| load(name, *kind)))
            .collect();
        loading
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// The types of the programs' functions, as the kernel knows them.
fn types(object: &mut Object) -> Result<OwnedFd, AttachError> {
    let features = aya::features()
        .btf()
        .ok_or_else(|| misfit(&"the kernel takes no types"))?;
    let types = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| misfit(&error))?
        .ok_or_else(|| misfit(&"it has no types"))?;
    load_types(&types.to_bytes()).map_err(AttachError::Types)
}

fn misfit(what: &dyn Display) -> AttachError {
    AttachError::Misfit(what.to_string())
}
