//! The layouts against CPython's own headers, and threads without a GIL in a stand-in that those headers lay out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tracer_common::config::Image;
use tracer_user::runtime::cpython::{
    core::{Addresses, Core, Version},
    layout::{CodeCopies, KeysForm, Layout},
    memory::ProcessMemory,
    threads::Interpreter,
};

use crate::pythons::skipped;

/// Versions of which there are free-threaded builds.
const MINORS: std::ops::RangeInclusive<u32> = 13..=15;

/// A program of this folder, compiled against the headers of a version; says visibly why it is not.
fn compiled(test: &str, source: &str, minor: u32, free_threaded: bool, place: &Path) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let headers = here.join("../target/interpreters/headers/usr/include");
    let python = format!("python3.{minor}");
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    if !headers.join(&python).join("Python.h").is_file() {
        skipped(test, &format!("no headers of CPython 3.{minor}"));
        return None;
    }
    if Command::new("cc").arg("--version").output().is_err() {
        skipped(test, "no C compiler");
        return None;
    }
    let program = place.join(format!("{source}-{minor}-{free_threaded}"));
    let output = Command::new("cc")
        .args(["-w", "-rdynamic", "-pthread"])
        .args(free_threaded.then_some("-DPy_GIL_DISABLED=1"))
        .arg("-I")
        .arg(headers.join(triple).join(&python))
        .arg("-I")
        .arg(headers.join(&python))
        // Debian's pyconfig.h includes that of the processor by its own path.
        .arg("-I")
        .arg(&headers)
        .arg("-o")
        .arg(&program)
        .arg(here.join("tests/cpython").join(source))
        .output()
        .expect("the compiler runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(program)
}

/// What a layout says, by the names of `offsets.c`.
fn said(layout: &Layout) -> BTreeMap<String, u64> {
    let KeysForm::Log2 { index_bytes, kind } = layout.keys_form else {
        panic!("3.{}: keys of before 3.11", layout.minor)
    };
    let mut said: BTreeMap<_, _> = [
        ("interpreters_head", layout.interpreters_head),
        ("interpreters_main", layout.interpreters_main),
        ("interp_next", layout.interp_next),
        ("interp_id", layout.interp_id),
        ("interp_threads_head", layout.interp_threads_head),
        ("interp_gil", layout.interp_gil),
        ("interp_modules", layout.interp_modules),
        ("gil_last_holder", layout.gil_last_holder),
        ("tstate_next", layout.tstate_next),
        ("tstate_interp", layout.tstate_interp),
        ("tstate_thread_id", layout.tstate_thread_id),
        (
            "tstate_native_thread_id",
            layout.tstate_native_thread_id.expect("since 3.11"),
        ),
        ("tstate_context", layout.tstate_context),
        ("tstate_frame", layout.tstate_frame),
        ("frame_code", layout.frame_code),
        ("frame_previous", layout.frame_previous),
        ("frame_instr", layout.frame_instr),
        ("frame_owner", layout.frame_owner),
        ("code_first_line", layout.code_first_line),
        ("code_filename", layout.code_filename),
        ("code_name", layout.code_name),
        ("code_qualname", layout.code_qualname.expect("since 3.11")),
        ("code_names", layout.code_names),
        ("code_line_table", layout.code_line_table),
        ("code_adaptive", layout.code_adaptive),
        ("object_type", layout.object_type),
        ("var_size", layout.var_size),
        ("type_name", layout.type_name),
        ("type_basic_size", layout.type_basic_size),
        ("type_dealloc", layout.type_dealloc),
        ("type_flags", layout.type_flags),
        ("type_members", layout.type_members),
        ("type_mapping", layout.type_mapping),
        ("unicode_length", layout.unicode_length),
        ("unicode_state", layout.unicode_state),
        ("unicode_kind", u64::from(layout.unicode_kind)),
        ("unicode_compact", u64::from(layout.unicode_kind) + 3),
        ("unicode_ascii", u64::from(layout.unicode_kind) + 4),
        ("ascii_data", layout.ascii_data),
        ("compact_data", layout.compact_data),
        ("bytes_data", layout.bytes_data),
        ("long_tag", layout.long_tag.expect("since 3.12")),
        ("long_digits", layout.long_digits),
        ("tuple_items", layout.tuple_items),
        ("context_vars", layout.context_vars),
        ("context_entered", layout.context_entered),
        ("context_size", layout.context_size),
        ("contextvar_name", layout.contextvar_name),
        ("contextvar_default", layout.contextvar_default),
        ("contextvar_hash", layout.contextvar_hash),
        ("contextvar_size", layout.contextvar_size),
        ("hamt_root", layout.hamt_root),
        ("hamt_count", layout.hamt_count),
        ("hamt_bitmap", layout.hamt_bitmap),
        ("hamt_bitmap_array", layout.hamt_bitmap_array),
        ("module_dict", layout.module_dict),
        ("dict_keys", layout.dict_keys),
        ("dict_values", layout.dict_values),
        ("keys_index_bytes", index_bytes),
        ("keys_kind", kind),
        ("keys_entries_used", layout.keys_entries_used),
        ("keys_indices", layout.keys_indices),
        ("dict_values_data", layout.dict_values_data),
        ("debug.free_threaded", 16),
        ("managed_dict", layout.managed_dict),
        // What is not in a layout, because it is only further on where objects are longer.
        ("type_dict", layout.member(264)),
        ("type_descr_get", layout.member(272)),
        ("type_descr_set", layout.member(280)),
        ("type_dict_offset", layout.member(288)),
        ("type_mro", layout.member(344)),
        ("type_version_tag", layout.member(384)),
        (
            "heap_type_cached_keys",
            layout.member(if layout.minor < 15 { 880 } else { 888 }),
        ),
        ("descriptor_member", layout.member(40)),
        ("unicode_hash", layout.member(24)),
        ("token_context", layout.member(16)),
        ("token_used", layout.member(40)),
        ("context_previous", layout.member(16)),
        ("method_definition", layout.member(16)),
    ]
    .map(|(name, number)| (name.to_owned(), number))
    .into();
    said.extend(layout.tstate_state.map(|at| ("tstate_state".to_owned(), at)));
    if let Some(CodeCopies { code, entries, frame }) = layout.code_copies {
        said.extend([
            ("code_copies".to_owned(), code),
            ("code_copies_first".to_owned(), entries),
            ("frame_copy".to_owned(), frame),
        ]);
    }
    said
}

#[test]
fn layouts_are_those_of_the_headers() {
    let place = tempfile::tempdir().expect("a directory");
    for minor in MINORS {
        for free_threaded in [false, true] {
            let test = "layouts_are_those_of_the_headers";
            let Some(program) = compiled(test, "offsets.c", minor, free_threaded, place.path()) else {
                continue;
            };
            let output = Command::new(program).output().expect("it runs");
            let text = String::from_utf8(output.stdout).expect("text");
            let measured: BTreeMap<String, u64> = text.lines().map(word_and_number).collect();
            let layout = Layout::of(minor, free_threaded).expect("a layout");
            let mut said = said(layout);
            said.extend(
                layout
                    .debug_offsets()
                    .map(|offset| (format!("debug.{}", offset.member), offset.at)),
            );
            assert_eq!(said, measured, "3.{minor}, free-threaded: {free_threaded}");
        }
    }
}

fn word_and_number(line: &str) -> (String, u64) {
    let (word, number) = line.split_once(' ').expect("a word and a number");
    (word.to_owned(), number.parse().expect("a number"))
}

/// A stand-in that runs, and what it says.
struct Double {
    child: Child,
    said: BTreeMap<String, u64>,
    /// Of each thread: thread pointer, thread id, state, context, value.
    threads: BTreeSet<[u64; 5]>,
}

impl Double {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (mut said, mut threads) = (BTreeMap::new(), BTreeSet::new());
        for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
            let line = line.expect("a line");
            if line == "ready" {
                break;
            }
            if let Some(numbers) = line.strip_prefix("thread ") {
                let numbers: Vec<u64> = numbers
                    .split(' ')
                    .map(|number| number.parse().expect("a number"))
                    .collect();
                threads.insert(numbers.try_into().expect("five numbers"));
            } else {
                said.extend([word_and_number(&line)]);
            }
        }
        Self { child, said, threads }
    }

    /// What would be read from a file, with addresses of the running process: its load bias counts as 0.
    fn core(&self, layout: &'static Layout) -> Core {
        let runtime = self.said["runtime"];
        let mut image = Image {
            interpreter_main: runtime + layout.interpreters_main,
            context_type: self.said["context_type"],
            hamt_bitmap_type: self.said["bitmap_type"],
            ..Image::default()
        };
        layout.fill(&mut image);
        Core {
            version: Version {
                major: 3,
                minor: layout.minor,
                micro: 0,
            },
            layout,
            image,
            addresses: Addresses {
                runtime,
                code_type: self.said["code_type"],
                contextvar_type: 0,
                dict_type: 0,
                hash_secret: None,
            },
            points: Vec::new(),
            build_id: None,
            segments: Vec::new(),
        }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without a GIL there is no holder of it to ask: a thread's state is the one in the interpreter's list that has its thread pointer.
#[test]
fn every_thread_without_a_gil_has_its_own_state() {
    let place = tempfile::tempdir().expect("a directory");
    for minor in MINORS {
        let test = "every_thread_without_a_gil_has_its_own_state";
        let Some(program) = compiled(test, "double.c", minor, true, place.path()) else {
            continue;
        };
        let double = Double::start(&program);
        let core = double.core(Layout::of(minor, true).expect("a layout"));
        let mem = File::open(format!("/proc/{}/mem", double.child.id())).expect("memory of a child");
        let memory = ProcessMemory::new(mem);
        let interpreter = Interpreter {
            memory: &memory,
            core: &core,
            bias: 0,
        };
        let threads = interpreter.threads().expect("threads");
        let mut found = BTreeSet::new();
        for thread in &threads {
            let context = interpreter.context(thread.context).expect("a context");
            let [(variable, value)] = context.bindings[..] else {
                panic!("{context:?}")
            };
            assert_eq!(variable, double.said["variable"]);
            // Whichever copy of the instructions the thread runs, its instruction is the same.
            assert!(thread.whole_stack);
            let frames: Vec<_> = thread
                .frames
                .iter()
                .map(|frame| (frame.code, u64::from(frame.instr)))
                .collect();
            let instr = core.layout.code_adaptive + double.said["instruction"];
            assert_eq!(frames, [(double.said["code"], instr)], "3.{minor}");
            let native = thread.native_thread_id.expect("since 3.11");
            found.insert([thread.thread_id, native, thread.address, thread.context, value]);
        }
        assert!(threads.len() > 1);
        assert_eq!(found, double.threads, "3.{minor}");
    }
}
