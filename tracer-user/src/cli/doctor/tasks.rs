//! What `--tasks` follows of a process.

use super::{Check, wire::module_bytes};
use crate::{
    elf::Cost,
    runtime::cpython::{layout::Layout, task::TaskModule},
    target::{maps::Mapping, process::Process},
};

const TASKS: &str = "asyncio (with --tasks)";
const NOT_FOLLOWED: &str = "whom asyncio tasks work for is not known";
const STEPPED: &str = "the kernel single-steps an instruction: a hit costs several times as much";

/// Which functions are probed. None of it is attached without `--tasks` or `--wire`.
pub(super) fn check(
    process: &Process,
    maps: &[Mapping],
    core: &Mapping,
    core_bytes: &[u8],
    layout: &Layout,
) -> Check {
    let found = TaskModule::inspect(core_bytes).or_else(|_| {
        let bytes = module_bytes(process, maps, core, layout, "_asyncio")?;
        TaskModule::inspect(&bytes).map_err(|error| error.to_string())
    });
    match found {
        Ok(found) => {
            let names: Vec<&str> = found.points.iter().map(|point| point.function).collect();
            let stepped = found.points.iter().any(|point| point.cost == Cost::Stepped);
            Check::wanted(TASKS, !stepped, names.join(", "), STEPPED)
        }
        Err(why) => Check::wanted(TASKS, false, format!("_asyncio: {why}"), NOT_FOLLOWED),
    }
}
