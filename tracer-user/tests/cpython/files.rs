//! What is read from the files of real interpreters, stripped and unstripped.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object as _, ObjectSymbol as _};
use proptest::prelude::*;

use tracer_common::{config::arguments, stats::Probe};
use tracer_user::{
    elf::{Cost, Elf, Pointer, calls, find_table, member_table, method_tables, read_loaded, static_type},
    runtime::cpython::{
        core::{Core, CoreError, Unsupported},
        find,
        layout::Layout,
        probe_point::ProbePoint,
        queue::QueueModule,
        wire::{Part, WireModule},
    },
};

use crate::pythons::{Python, SUPPORTED, pythons, skipped};

/// The symbol table that only unstripped builds have; empty otherwise.
fn symtab(bytes: &[u8]) -> HashMap<String, u64> {
    let file = object::File::parse(bytes).expect("an object file");
    file.symbols()
        .filter_map(|s| Some((s.name().ok()?.to_owned(), s.address())))
        .collect()
}

fn stripped(path: &Path, directory: &Path) -> PathBuf {
    let target = directory.join(path.file_name().expect("a file name"));
    let status = Command::new("objcopy")
        .arg("--strip-all")
        .arg(path)
        .arg(&target)
        .status();
    assert!(status.expect("objcopy runs").success());
    target
}

fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).expect("a directory for the test");
    directory
}

fn core_of(python: &Python) -> (Vec<u8>, Core) {
    let bytes = fs::read(&python.core).expect("the core's file");
    let core = Core::inspect(&bytes, "python").unwrap_or_else(|e| panic!("{}: {e}", python.core.display()));
    (bytes, core)
}

// The probed address lies in the function, at its entry or within the prologue.
fn assert_at(points: &[ProbePoint], symbols: &HashMap<String, u64>, function: &str, symbol: &str) {
    let Some(entry) = symbols.get(symbol) else { return };
    let probed: Vec<_> = points.iter().filter(|point| point.function == function).collect();
    assert!(!probed.is_empty(), "{function} is not probed");
    for point in probed {
        assert!(
            (*entry..entry + 64).contains(&point.vaddr),
            "{function} at {:#x}, not {entry:#x}",
            point.vaddr
        );
        if point.probe == Probe::QueueGot {
            assert_eq!(point.vaddr, *entry, "a return probe away from the entry");
        }
    }
}

#[test]
fn addresses_from_tables_are_those_of_the_symbol_table() {
    for python in pythons("addresses_from_tables_are_those_of_the_symbol_table") {
        let (bytes, core) = core_of(&python);
        assert_eq!(core.version.minor, python.minor);
        let symbols = symtab(&bytes);
        for (function, symbol) in [
            ("PyContextVar_Get", "PyContextVar_Get"),
            ("PyContextVar_Set", "PyContextVar_Set"),
            ("PyContextVar_Reset", "PyContextVar_Reset"),
            ("PyContext_Type.tp_dealloc", "context_tp_dealloc"),
            ("_thread.start_new_thread", "thread_PyThread_start_new_thread"),
            (
                "_thread.start_joinable_thread",
                "thread_PyThread_start_joinable_thread",
            ),
            ("posix.urandom", "os_urandom"),
            ("Py_InitializeFromConfig", "Py_InitializeFromConfig"),
        ] {
            if function != "_thread.start_joinable_thread" || python.minor >= 13 {
                assert_at(&core.points, &symbols, function, symbol);
            }
        }
        for (address, symbol) in [
            (core.image.none, "_Py_NoneStruct"),
            (core.image.str_type, "PyUnicode_Type"),
            (core.image.hamt_bitmap_type, "_PyHamt_BitmapNode_Type"),
            (core.image.hamt_array_type, "_PyHamt_ArrayNode_Type"),
            (core.image.hamt_collision_type, "_PyHamt_CollisionNode_Type"),
        ] {
            assert!(
                symbols.get(symbol).is_none_or(|expected| *expected == address),
                "{symbol}"
            );
        }

        let bytes = fs::read(&python.queue).expect("the file of _queue");
        let queue = QueueModule::inspect(&bytes).expect("SimpleQueue");
        let symbols = symtab(&bytes);
        for (function, symbol) in [
            ("SimpleQueue.put", "_queue_SimpleQueue_put"),
            ("SimpleQueue.put_nowait", "_queue_SimpleQueue_put_nowait"),
            ("SimpleQueue.get", "_queue_SimpleQueue_get"),
            ("SimpleQueue.get_nowait", "_queue_SimpleQueue_get_nowait"),
        ] {
            assert_at(&queue.points, &symbols, function, symbol);
        }
        let count = |probe| queue.points.iter().filter(|point| point.probe == probe).count();
        assert_eq!(
            [
                count(Probe::QueuePut),
                count(Probe::QueueGet),
                count(Probe::QueueGot)
            ],
            [2, 2, 2]
        );
        for point in &queue.points {
            // SimpleQueue.get takes its class from 3.10 on; before, get_nowait takes nothing.
            let expected = match (point.probe, point.function) {
                (Probe::QueuePut, _) => arguments::FAST,
                _ if python.minor >= 10 => arguments::METHOD_FAST,
                (_, "SimpleQueue.get") => arguments::FAST,
                _ => arguments::NONE,
            };
            assert_eq!(point.arguments, expected, "{}", point.function);
        }
    }
}

#[test]
fn a_stripped_copy_gives_the_same() {
    for python in pythons("a_stripped_copy_gives_the_same") {
        let directory = directory(&format!("stripped-3.{}", python.minor));
        let (_, whole) = core_of(&python);
        let bytes = fs::read(stripped(&python.core, &directory)).expect("the stripped core");
        assert_eq!(
            object::File::parse(&*bytes)
                .expect("an object file")
                .symbols()
                .count(),
            0
        );
        let core = Core::inspect(&bytes, "python").expect("a stripped core");
        assert_eq!(
            (core.image, core.points, core.addresses),
            (whole.image, whole.points, whole.addresses)
        );
        assert_eq!(core.build_id, whole.build_id);

        let whole =
            QueueModule::inspect(&fs::read(&python.queue).expect("the file of _queue")).expect("SimpleQueue");
        let bytes = fs::read(stripped(&python.queue, &directory)).expect("the stripped _queue");
        assert_eq!(QueueModule::inspect(&bytes).expect("SimpleQueue"), whole);
    }
}

#[test]
fn what_is_loaded_is_enough() {
    for python in pythons("what_is_loaded_is_enough") {
        let (bytes, whole) = core_of(&python);
        let loaded = read_loaded(&fs::File::open(&python.core).expect("the core")).expect("its bytes");
        assert!(loaded.len() <= bytes.len() && bytes.starts_with(&loaded));
        let core = Core::inspect(&loaded, "python").expect("a core");
        assert_eq!((core.image, core.points), (whole.image, whole.points));
        println!("3.{}: {} of {} bytes", python.minor, loaded.len(), bytes.len());
    }
}

#[test]
fn file_offsets_hold_the_probed_instruction() {
    for python in pythons("file_offsets_hold_the_probed_instruction") {
        let started = std::time::Instant::now();
        let (bytes, core) = core_of(&python);
        println!("3.{}: inspected in {:?}", python.minor, started.elapsed());
        let file = Elf::parse(&bytes).expect("an elf file");
        for point in core.points {
            let in_file = &bytes[usize::try_from(point.file_offset).expect("a small offset")..][..4];
            assert_eq!(file.bytes(point.vaddr, 4), Some(in_file), "{}", point.function);
            println!(
                "3.{} {} {:#x} {}",
                python.minor,
                point.function,
                point.vaddr,
                point.cost.name()
            );
        }
    }
}

#[test]
fn hot_probes_are_emulated() {
    for python in pythons("hot_probes_are_emulated") {
        let (_, core) = core_of(&python);
        for point in core.points {
            if matches!(
                point.probe,
                Probe::ContextGet | Probe::ContextSet | Probe::ContextFree
            ) {
                assert_eq!(
                    point.cost,
                    Cost::Emulated,
                    "{} of 3.{}",
                    point.function,
                    python.minor
                );
            }
        }
    }
}

#[test]
fn the_files_of_an_interpreter_are_found_from_one_another() {
    for python in pythons("the_files_of_an_interpreter_are_found_from_one_another") {
        let bytes = fs::read(&python.executable).expect("the executable");
        let file = Elf::parse(&bytes).expect("an elf file");
        if python.core != python.executable {
            assert!(matches!(
                Core::inspect(&bytes, "python"),
                Err(CoreError::NotCPython)
            ));
            let candidates = find::libpythons(&python.executable, file.linkage(), None);
            let first = candidates
                .into_iter()
                .find(|path| path.exists())
                .expect("a libpython");
            assert_eq!(
                fs::canonicalize(first).unwrap(),
                fs::canonicalize(&python.core).unwrap()
            );
        }
        if python.queue != python.core {
            let (_, core) = core_of(&python);
            let candidates = find::queue_modules(&python.core, core.layout);
            let first = candidates
                .into_iter()
                .find(|path| path.exists())
                .expect("a _queue");
            assert_eq!(
                fs::canonicalize(first).unwrap(),
                fs::canonicalize(&python.queue).unwrap()
            );
        }
    }
}

#[test]
fn all_parts_of_the_wire_are_found_in_every_interpreter() {
    for python in pythons("all_parts_of_the_wire_are_found_in_every_interpreter") {
        let (bytes, core) = core_of(&python);
        let mut found = WireModule::inspect(&bytes).expect("the core's methods").parts;
        for part in Part::ALL {
            let Some(module) = part.module().filter(|_| !found.contains(&part)) else {
                continue;
            };
            let candidates = find::extension_modules(module, &python.core, core.layout);
            let path = candidates.into_iter().find(|path| path.exists());
            let path = path.unwrap_or_else(|| panic!("{}: no {module}", python.version));
            let bytes = fs::read(&path).expect("the module");
            found.extend(WireModule::inspect(&bytes).expect("its methods").parts);
        }
        found.sort_unstable();
        assert_eq!(found, Part::ALL, "{}", python.version);
    }
}

#[test]
fn every_version_has_a_row() {
    let rows: Vec<_> = (0..100)
        .filter(|minor| Layout::of(*minor, false).is_some())
        .collect();
    assert_eq!(rows, SUPPORTED.collect::<Vec<_>>());
}

#[test]
fn a_version_is_told_exactly() {
    for python in pythons("a_version_is_told_exactly") {
        let (bytes, core) = core_of(&python);
        assert_eq!(core.version.to_string(), python.version);
        // Another version of the same length, wherever it stands.
        let other = python.version.replacen("3.", "3.6", 1);
        let mut changed = bytes;
        if python.minor < 11 {
            let (from, to) = (
                python.version.as_bytes(),
                &other.as_bytes()[..python.version.len()],
            );
            let places: Vec<_> = (0..changed.len() - from.len())
                .filter(|at| changed[*at..].starts_with(from))
                .collect();
            for at in places {
                changed[at..at + to.len()].copy_from_slice(to);
            }
        } else {
            let at = Elf::parse(&changed)
                .expect("an elf file")
                .export("Py_Version")
                .expect("an export");
            let at = Elf::parse(&changed)
                .expect("an elf file")
                .file_offset(at)
                .expect("in the file");
            changed[usize::try_from(at).expect("a small offset") + 2] = 99;
        }
        assert!(
            matches!(
                Core::inspect(&changed, "python"),
                Err(CoreError::Unsupported {
                    version: Some(_),
                    reason: Unsupported::Version
                })
            ),
            "3.{}",
            python.minor
        );
    }
}

#[test]
fn a_debug_build_is_unsupported() {
    for python in pythons("a_debug_build_is_unsupported") {
        let (mut bytes, _) = core_of(&python);
        // Names of the same length: one that every build exports becomes one that only a debug build does.
        let (from, to) = (b"\0PyObject_Dir\0", b"\0_Py_RefTotal\0");
        let at = bytes.windows(from.len()).position(|name| name == from);
        let at = at.expect("every build exports it");
        bytes[at..at + to.len()].copy_from_slice(to);
        let refused = Core::inspect(&bytes, "python");
        assert!(
            matches!(
                refused,
                Err(CoreError::Unsupported {
                    reason: Unsupported::Debug,
                    ..
                })
            ),
            "3.{}",
            python.minor
        );
    }
}

#[test]
fn a_build_with_other_structures_is_unsupported() {
    for python in pythons("a_build_with_other_structures_is_unsupported") {
        let (bytes, core) = core_of(&python);
        let file = Elf::parse(&bytes).expect("an elf file");
        let change = |vaddr: u64| {
            let at = file.file_offset(vaddr).expect("in the file");
            let mut changed = bytes.clone();
            changed[usize::try_from(at).expect("a small offset")] ^= 8;
            match Core::inspect(&changed, "python") {
                Err(CoreError::Unsupported {
                    reason: Unsupported::Offset { member, .. },
                    ..
                }) => member,
                other => panic!("3.{}: {other:?}", python.minor),
            }
        };
        for (export, member) in [
            ("PyContext_Type", "size of PyContext"),
            ("PyUnicode_Type", "size of PyUnicodeObject"),
            ("PyTuple_Type", "size of PyTupleObject"),
            ("PyCode_Type", "size of PyCodeObject"),
        ] {
            let at = file.export(export).expect("an export") + core.layout.type_basic_size;
            assert_eq!(change(at), member);
        }
        let Some(Pointer::To(members)) = file.pointer(core.addresses.code_type + core.layout.type_members)
        else {
            panic!("no members")
        };
        let index = member_table(&file, members)
            .iter()
            .position(|(name, _)| *name == b"co_filename")
            .expect("a member");
        assert_eq!(change(members + index as u64 * 40 + 16), "co_filename");
    }
}

#[test]
fn a_stripped_optimised_executable_at_fixed_addresses_has_its_tables() {
    let path = "/usr/bin/python3.11";
    let Ok(bytes) = fs::read(path) else {
        skipped(
            "a_stripped_optimised_executable_at_fixed_addresses_has_its_tables",
            "no /usr/bin/python3.11",
        );
        return;
    };
    let file = Elf::parse(&bytes).expect("an elf file");
    let tables = method_tables(&file);
    let methods = find_table(&tables, &["get", "set", "reset"]).expect("ContextVar");
    for (method, function) in [
        ("get", "PyContextVar_Get"),
        ("set", "PyContextVar_Set"),
        ("reset", "PyContextVar_Reset"),
    ] {
        let Pointer::To(method) = methods.method(method).expect("a method").function else {
            panic!("{method}")
        };
        let function_at = file.export(function).expect("an export");
        assert!(calls(&file, method, function_at, 512), "{function}");
    }
    find_table(&tables, &["start_new_thread", "get_ident", "allocate_lock"]).expect("_thread");
    find_table(&tables, &["urandom", "fork"]).expect("posix");
    for name in ["hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"] {
        let address = static_type(&file, 24, name).expect("a type");
        assert!(file.is_mapped(address) && !file.is_code(address));
    }
    // Its context deallocator is found through the type, as in supported versions.
    let context = file.export("PyContext_Type").expect("an export");
    assert!(matches!(file.pointer(context + 48), Some(Pointer::To(at)) if file.is_code(at)));
}

#[test]
fn changed_debug_offsets_are_unsupported() {
    for python in pythons("changed_debug_offsets_are_unsupported")
        .iter()
        .filter(|python| python.minor >= 13)
    {
        let (bytes, core) = core_of(python);
        let at = |position: u64| {
            let vaddr = core.addresses.runtime + position;
            usize::try_from(Elf::parse(&bytes).unwrap().file_offset(vaddr).unwrap()).unwrap()
        };
        let reason = |position: u64| {
            let mut changed = bytes.clone();
            changed[at(position)] ^= 1;
            match Core::inspect(&changed, "python") {
                Err(CoreError::Unsupported { reason, .. }) => reason,
                other => panic!("{other:?}"),
            }
        };
        // The other kind of build is laid out otherwise.
        assert!(matches!(reason(16), Unsupported::Offset { .. }));
        assert!(matches!(reason(8), Unsupported::OtherVersion(_)));
        for offset in core.layout.debug_offsets() {
            assert!(
                matches!(reason(offset.at), Unsupported::Offset { member, .. } if member == offset.member)
            );
        }
    }
}

/// A small real file to damage: the `_queue` module, else this test itself.
fn victim() -> Vec<u8> {
    let python = pythons("damaged_files_never_panic")
        .into_iter()
        .find(|python| python.queue != python.core);
    let path = python.map_or_else(
        || std::env::current_exe().expect("this test"),
        |python| python.queue,
    );
    fs::read(path).expect("a real elf file")
}

#[test]
fn damaged_files_never_panic() {
    let whole = victim();
    let mutation = (any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let strategy = (
        prop::collection::vec(mutation, 0..40),
        any::<Option<prop::sample::Index>>(),
    );
    proptest!(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }, |((mutations, cut) in strategy)| {
        let mut bytes = whole.clone();
        for (index, byte, in_headers) in mutations {
            // Headers and the dynamic section are where damage hurts.
            let range = if in_headers { bytes.len().min(1024) } else { bytes.len() };
            bytes[index.index(range)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = QueueModule::inspect(&bytes);
        let _ = Core::inspect(&bytes, "damaged");
    });
}

#[test]
fn a_damaged_core_never_panics() {
    for python in pythons("a_damaged_core_never_panics") {
        let (whole, _) = core_of(&python);
        let directory = Elf::parse(&whole).expect("an elf file").segments()[0];
        let hot = usize::try_from(directory.file_size)
            .expect("a small segment")
            .min(whole.len());
        let mutation = (any::<prop::sample::Index>(), any::<u8>());
        proptest!(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() }, |(mutations in prop::collection::vec(mutation, 1..200))| {
            let mut bytes = whole.clone();
            for (index, byte) in mutations {
                bytes[index.index(hot)] = byte;
            }
            let _ = Core::inspect(&bytes, "damaged");
        });
    }
}
