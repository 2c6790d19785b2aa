//! Whether the CPython in a process is one that can be traced, and at what cost.
//!
//! The file decides, not its name: a server that embeds CPython is as good as `python3`.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::{Check, tasks, wire};
use crate::{
    elf::{Cost, read_loaded},
    runtime::cpython::{
        core::{Core, CoreError},
        coroutine, find,
        layout::Layout,
        probe_point::{ProbePoint, When},
        queue::{QueueError, QueueModule},
    },
    target::{maps::Mapping, process::Process},
};

const INTERPRETER: &str = "CPython interpreter";
const FUNCTIONS: &str = "functions (--mint, --policy)";
const COROUTINES: &str = "calls of async functions (--mint)";
const UNSEEN: &str = "one that neither reads a watched variable nor draws an id is out of sight";
const QUEUE: &str = "_queue module";
const UNSUPPORTED: &str = "it is not traced; CPython 3.8 to 3.15 is";
const NO_PROBE: &str = "no probe can be attached to it";
const NO_QUEUE: &str = "handoffs are not seen, and no verdict can be clean";
const STEPPED: &str = "the kernel single-steps the instruction, and emulates none that every call passes once with its arguments in place: \
                       a hit costs several times as much";
const STEPPED_RETURN: &str = "a return is caught from the first instruction, which the kernel single-steps: a hit costs several times as much";

/// The checks: the interpreter, its `_queue` module, and a row for every function that is probed.
pub(super) fn checks(process: &Process, maps: &[Mapping]) -> Vec<Check> {
    let (mapping, bytes, core) = match find_core(process, maps) {
        Ok(found) => found,
        Err(check) => return vec![check],
    };
    let name = mapping.file_name().escape_ascii();
    let mut rows = vec![Check::required(
        INTERPRETER,
        true,
        format!("{} in {name}", core.version),
        UNSUPPORTED,
    )];
    let mut points = core.points;
    match find_queue(process, maps, mapping, &bytes, core.layout) {
        Ok((place, queue)) => {
            rows.push(Check::wanted(QUEUE, true, place, NO_QUEUE));
            points.extend(queue.points);
        }
        Err(why) => rows.push(Check::wanted(QUEUE, false, why, NO_QUEUE)),
    }
    rows.extend(points.iter().map(cost));
    rows.push(functions(core.layout));
    rows.push(coroutines(process, maps, mapping, &bytes, core.layout));
    rows.extend(wire::checks(process, maps, mapping, &bytes, core.layout));
    rows.push(tasks::check(process, maps, mapping, &bytes, core.layout));
    rows
}

/// How functions are known that mint or check. They are seen in the stacks of reads and of random ids, coroutines as well; by being
/// called only if they are `async`.
fn functions(layout: &Layout) -> Check {
    let (how, qualified) = if layout.code_qualname.is_some() {
        ("qualified name", true)
    } else {
        ("name and the type of self", false)
    };
    let found = format!("by {how}, where they read a watched variable or draw an id");
    Check::wanted(
        FUNCTIONS,
        qualified,
        found,
        "a function without self is known by its name alone",
    )
}

/// Whether calls of `async` functions that mint are seen.
fn coroutines(process: &Process, maps: &[Mapping], core: &Mapping, bytes: &[u8], layout: &Layout) -> Check {
    let file = process.open_image(core, maps).map_err(|error| error.to_string());
    let point =
        file.and_then(|file| coroutine::point(&file, bytes, layout).map_err(|error| error.to_string()));
    match point {
        Ok(point) => Check {
            check: COROUTINES,
            ..cost(&point)
        },
        Err(why) => Check::wanted(COROUTINES, false, why, UNSEEN),
    }
}

fn cost(point: &ProbePoint) -> Check {
    let found = format!("{} ({})", point.function, point.cost.name());
    let why = match point.when {
        When::Entry => STEPPED,
        When::Return => STEPPED_RETURN,
    };
    Check::wanted(point.probe.name(), point.cost == Cost::Emulated, found, why)
}

/// The mapping that carries the interpreter, the bytes of its file, and what they say.
fn find_core<'a>(process: &Process, maps: &'a [Mapping]) -> Result<(&'a Mapping, Vec<u8>, Core), Check> {
    let refused = |found: String, costs| Err(Check::required(INTERPRETER, false, found, costs));
    let exe = process.exe().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for mapping in candidates(maps, &exe).filter(|m| seen.insert(m.file)) {
        let name = mapping.file_name().escape_ascii().to_string();
        let bytes = match process.open_image(mapping, maps) {
            Ok(file) => read_loaded(&file),
            Err(error) if mapping.says_deleted() => {
                return refused(
                    error.to_string(),
                    "a replaced file takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, or a restart of the process",
                );
            }
            Err(error) => return refused(error.to_string(), NO_PROBE),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return refused(format!("failed to read {name}: {error}"), NO_PROBE),
        };
        match Core::inspect(&bytes, &name) {
            Ok(core) => return Ok((mapping, bytes, core)),
            Err(CoreError::NotCPython | CoreError::Elf(_)) => {}
            Err(error) => return refused(error.to_string(), UNSUPPORTED),
        }
    }
    refused(
        format!("none in {}", exe.escape_ascii()),
        "only CPython can be traced",
    )
}

/// What can carry an interpreter: the program itself, and libraries that are called like one, as `trace` looks for it.
fn candidates<'a>(maps: &'a [Mapping], exe: &[u8]) -> impl Iterator<Item = &'a Mapping> {
    maps.iter().filter(move |m| {
        m.is_file()
            && m.executable
            && (m.candidates().iter().any(|path| path == exe) || m.file_name().starts_with(b"libpython"))
    })
}

/// Where `_queue` is, in words, and what is probed there: in the interpreter, mapped, or where it will be imported from.
fn find_queue(
    process: &Process,
    maps: &[Mapping],
    core: &Mapping,
    core_bytes: &[u8],
    layout: &Layout,
) -> Result<(String, QueueModule), String> {
    if let Ok(queue) = QueueModule::inspect(core_bytes) {
        return Ok(("built into the interpreter".to_owned(), queue));
    }
    let mapped = maps
        .iter()
        .find(|m| m.is_file() && m.executable && m.file_name().starts_with(b"_queue."));
    if let Some(mapping) = mapped {
        let file = process.open_mapped(mapping).map_err(|e| e.to_string())?;
        return inspect_queue(&file).map(|queue| ("imported".to_owned(), queue));
    }
    let core = process.seen_from_inside(Path::new(OsStr::from_bytes(&core.raw_path)));
    find::queue_modules(&core, layout)
        .iter()
        .filter_map(|path| process.open_in_root(path).ok())
        .find_map(|file| inspect_queue(&file).ok())
        .map(|queue| ("found, not imported yet".to_owned(), queue))
        .ok_or_else(|| "not found".to_owned())
}

fn inspect_queue(file: &std::fs::File) -> Result<QueueModule, String> {
    let bytes = read_loaded(file).map_err(|e| format!("failed to read it: {e}"))?;
    QueueModule::inspect(&bytes).map_err(|e: QueueError| e.to_string())
}

#[cfg(test)]
mod tests {
    use tracer_common::{config::arguments, stats::Probe};

    use super::*;
    use crate::target::maps::parse;

    #[test]
    fn what_is_single_stepped_says_why() {
        let row = |when, cost| {
            super::cost(&ProbePoint {
                probe: Probe::QueueGot,
                function: "SimpleQueue.get",
                vaddr: 0x1000,
                file_offset: 0x1000,
                arguments: arguments::NONE,
                tap: 0,
                when,
                cost,
            })
        };
        assert_eq!(row(When::Return, Cost::Emulated).costs, None);
        for (when, why) in [(When::Entry, STEPPED), (When::Return, STEPPED_RETURN)] {
            let row = row(when, Cost::Stepped);
            assert_eq!(
                (row.found.as_str(), row.costs),
                ("SimpleQueue.get (stepped)", Some(why))
            );
        }
    }

    #[test]
    fn the_program_is_a_candidate_whatever_its_name_is() {
        let names = [
            "/usr/bin/uwsgi",
            "/usr/lib/libc.so.6",
            "/x/libpython3.12.so.1.0",
            "/tmp/python3",
        ];
        let lines = names
            .map(|name| format!("1000-2000 r-xp 0 08:01 5 {name}\n"))
            .concat();
        let maps = parse(lines.as_bytes()).unwrap();
        let found: Vec<&[u8]> = candidates(&maps, b"/usr/bin/uwsgi")
            .map(Mapping::file_name)
            .collect();
        assert_eq!(found, [&b"uwsgi"[..], b"libpython3.12.so.1.0"]);
    }
}
