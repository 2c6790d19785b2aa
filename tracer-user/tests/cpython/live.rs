//! What is read from the memory of real interpreters, against what they say themselves.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use proptest::prelude::*;
use serde_json::Value as Json;
use tracer_user::{
    correlate::value::{Content, Found},
    elf::Elf,
    runtime::cpython::{
        code::{Code, CodeIdentity, is_code},
        core::Core,
        memory::{Memory, MemoryError, ProcessMemory},
        modules::holders,
        threads::{Interpreter, ThreadState},
        value,
    },
};

use crate::pythons::{Python, pythons};

/// A running interpreter with what it printed about itself.
struct Live {
    child: Child,
    truth: Json,
    core: Core,
    bias: u64,
    memory: ProcessMemory,
}

impl Live {
    fn start(python: &Python) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cpython/live.py");
        let mut child = Command::new(&python.executable)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line of truth");
        let truth = serde_json::from_str(&line).expect("json");

        let bytes = fs::read(&python.core).expect("the core's file");
        let core = Core::inspect(&bytes, "python").expect("a core");
        assert_eq!(core.version.minor, python.minor);
        assert_eq!(core.layout.free_threaded, python.free_threaded);
        let bias = bias(
            child.id(),
            &python.core,
            &Elf::parse(&bytes).expect("an elf file"),
        );
        let mem = File::open(format!("/proc/{}/mem", child.id())).expect("memory of a child");
        Self {
            child,
            truth,
            core,
            bias,
            memory: ProcessMemory::new(mem),
        }
    }

    fn interpreter(&self) -> Interpreter<'_, ProcessMemory> {
        Interpreter {
            memory: &self.memory,
            core: &self.core,
            bias: self.bias,
        }
    }

    /// The threads that the script started, with what it says about each.
    fn workers(&self) -> Vec<(&Json, ThreadState)> {
        let threads = self.interpreter().threads().expect("threads");
        let of = |truth: &Json| threads.iter().find(|t| t.thread_id == number(&truth["ident"]));
        array(&self.truth["threads"])
            .iter()
            .map(|truth| (truth, of(truth).expect("the thread").clone()))
            .collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bias(pid: u32, core: &Path, elf: &Elf<'_>) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let core = fs::canonicalize(core).expect("the core");
    let first = maps
        .lines()
        .find(|line| line.ends_with(core.to_str().expect("utf-8")))
        .expect("a mapping");
    let start = first
        .split('-')
        .next()
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .expect("an address");
    let segment = elf.segments()[0];
    start - (segment.vaddr - segment.file_offset)
}

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("no number: {json}"))
}

fn array(json: &Json) -> &[Json] {
    json.as_array().unwrap_or_else(|| panic!("no array: {json}"))
}

fn lives(test: &str) -> Vec<Live> {
    let all = pythons(test).into_iter();
    all.map(|python| Live::start(&python)).collect()
}

#[test]
fn threads_have_their_ids_and_contexts() {
    for live in lives("threads_have_their_ids_and_contexts") {
        let threads = live.interpreter().threads().expect("threads");
        assert_eq!(threads.len(), 4);
        let minor = live.core.version.minor;
        // A thread state says the kernel's id from 3.11 on.
        let native = |truth: &Json| (minor >= 11).then(|| number(&truth["native_id"]));
        // From 3.14 on, every thread lives inside a context of its own.
        let own = minor >= 14;
        let main = &live.truth["main"];
        assert!(
            threads
                .iter()
                .any(|t| t.thread_id == number(&main["ident"]) && t.native_thread_id == native(main))
        );
        for (truth, thread) in live.workers() {
            assert_eq!(thread.native_thread_id, native(truth));
            let bindings = array(&truth["bindings"]);
            let expected: BTreeSet<_> = bindings.iter().map(|b| (number(&b[0]), number(&b[1]))).collect();
            if bindings.is_empty() && !own {
                assert_eq!(thread.context, 0);
                continue;
            }
            if let Some(context) = truth["context"].as_u64() {
                assert_eq!(thread.context, context);
            }
            let context = live.interpreter().context(thread.context).expect("a context");
            assert_eq!(context.entered, own || !truth["context"].is_null());
            assert_eq!(context.bindings.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}

#[test]
fn values_are_what_the_script_bound() {
    for live in lives("values_are_what_the_script_bound") {
        let interpreter = live.interpreter();
        for (name, truth) in live.truth["values"].as_object().expect("an object") {
            let variable = interpreter
                .variable(number(&truth["variable"]))
                .expect("a variable");
            assert_eq!(&variable.name, name);
            let raw = interpreter.value(number(&truth["object"])).expect("a value");
            let type_name = |at| value::type_name(&live.memory, &live.core, at).ok().map(Arc::from);
            let Found::Value(found) = value::found(&raw, type_name) else {
                panic!("{name}: no value")
            };
            assert_eq!(found.type_name.as_deref(), truth["type"].as_str(), "{name}");
            let text = |expected: &str, len: u64, whole: bool| match &found.content {
                Content::Str(p) => assert_eq!((&*p.shown, p.len, p.whole), (expected, len, whole), "{name}"),
                other => panic!("{name}: {other:?}"),
            };
            let int = |below_zero: bool, expected: &[u32]| match &found.content {
                Content::Int { negative, digits } => {
                    assert_eq!(
                        (*negative, &*digits.shown, digits.whole),
                        (below_zero, expected, true),
                        "{name}"
                    );
                }
                other => panic!("{name}: {other:?}"),
            };
            match name.as_str() {
                "ascii" => text("acme", 4, true),
                "latin" => text("ténant", 6, true),
                "wide" => text("あい", 2, true),
                "emoji" => text("😀!", 2, true),
                "empty" => text("", 0, true),
                "long" => text(&"x".repeat(64), 100, false),
                "bytes" => {
                    let Content::Bytes(p) = &found.content else {
                        panic!("{name}")
                    };
                    assert_eq!((&*p.shown, p.whole), (&b"\0key"[..], true));
                }
                "zero" => int(false, &[]),
                "int" => int(false, &[7, 5]),
                "negative" => int(true, &[0, 0, 18]),
                "none" => assert_eq!(found.content, Content::None),
                _ => assert_eq!(found.content, Content::Opaque),
            }
        }
        let tenant = interpreter
            .variable(number(&live.truth["tenant"]))
            .expect("a variable");
        assert_eq!(tenant.default.object, number(&live.truth["tenant_default"]));
    }
}

#[test]
fn stacks_name_function_file_and_line() {
    for live in lives("stacks_name_function_file_and_line") {
        let layout = live.core.layout;
        for (truth, thread) in live.workers() {
            assert!(thread.whole_stack);
            let stack: Vec<_> = thread
                .frames
                .iter()
                .map(|frame| {
                    let code = Code::read(&live.memory, layout, frame.code).expect("code");
                    assert!(!code.is_trampoline());
                    (
                        frame.code,
                        code.qualname.clone(),
                        code.filename.clone(),
                        code.line(frame.code + u64::from(frame.instr)),
                    )
                })
                .collect();
            let expected: Vec<_> = array(&truth["stack"])
                .iter()
                .map(|frame| {
                    let text = |at: usize| frame[at].as_str().expect("text").to_owned();
                    (
                        number(&frame[0]),
                        text(1),
                        text(2),
                        u32::try_from(number(&frame[3])).ok(),
                    )
                })
                .collect();
            assert_eq!(stack, expected);
        }
    }
}

#[test]
fn lines_are_those_of_the_interpreter() {
    for live in lives("lines_are_those_of_the_interpreter") {
        let layout = live.core.layout;
        let code_type = live.bias + live.core.addresses.code_type;
        let mut compared = 0;
        let mut identities = BTreeSet::new();
        for truth in array(&live.truth["codes"]) {
            let address = number(&truth["id"]);
            assert_eq!(is_code(&live.memory, layout, code_type, address), Ok(true));
            let code = Code::read(&live.memory, layout, address).expect("code");
            assert_eq!(Some(code.qualname.as_str()), truth["qualname"].as_str());
            assert_eq!(Some(code.filename.as_str()), truth["filename"].as_str());
            assert_eq!(u64::from(code.first_line), number(&truth["first"]));
            assert_eq!(
                CodeIdentity::read(&live.memory, layout, address),
                Ok(code.identity)
            );
            for range in array(&truth["lines"]) {
                let expected = range[2].as_u64();
                for offset in (number(&range[0])..number(&range[1])).step_by(2) {
                    let line = code.line(code.start + offset).map(u64::from);
                    assert_eq!(line, expected, "{} at {offset}", code.qualname);
                    compared += 1;
                }
            }
            assert_eq!(code.line(code.start - 2), Some(code.first_line));
            identities.insert(format!("{:?}", code.identity));
        }
        assert!(compared > 10_000, "only {compared} instructions");
        assert!(identities.len() > 100);
        let none = live.bias + live.core.image.none;
        assert_eq!(is_code(&live.memory, layout, code_type, none), Ok(false));
    }
}

#[test]
fn a_variable_is_found_in_the_modules_that_hold_it() {
    for live in lives("a_variable_is_found_in_the_modules_that_hold_it") {
        let tenant = number(&live.truth["tenant"]);
        let nobody = number(&live.truth["values"]["ascii"]["variable"]);
        let holders = holders(live.interpreter(), &[tenant, nobody]).expect("modules");
        let mut modules: Vec<_> = holders
            .found
            .iter()
            .map(|holder| (holder.variable, holder.module.as_str()))
            .collect();
        modules.sort_unstable();
        assert_eq!(modules, [(tenant, "__main__"), (tenant, "other")]);
        assert_eq!(holders.unread, 0);
    }
}

#[test]
fn what_is_not_there_is_an_error() {
    for live in lives("what_is_not_there_is_an_error") {
        let interpreter = live.interpreter();
        let tenant = number(&live.truth["tenant"]);
        assert!(matches!(
            interpreter.context(tenant),
            Err(MemoryError::Invalid { .. })
        ));
        for address in [0, 16, u64::MAX - 7, 1 << 63] {
            assert!(matches!(
                interpreter.context(address),
                Err(MemoryError::Unreadable { .. })
            ));
            assert!(matches!(
                interpreter.variable(address),
                Err(MemoryError::Unreadable { .. })
            ));
            assert!(Code::read(&live.memory, live.core.layout, address).is_err());
            assert!(live.memory.u64(address, 0).is_err());
        }
    }
}

/// A process's memory of which some bytes are wrong, always the same ones.
struct Damaged<'a> {
    memory: &'a ProcessMemory,
    seed: u64,
}

impl Memory for Damaged<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, buf)?;
        for (at, byte) in (address..).zip(buf) {
            let noise = (at ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if noise >> 56 == 0 {
                *byte ^= (noise >> 16) as u8;
            }
        }
        Ok(())
    }
}

#[test]
fn damaged_memory_never_panics_or_hangs() {
    for live in lives("damaged_memory_never_panics_or_hangs") {
        let config = ProptestConfig {
            cases: 100,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(seed: u64)| {
            let memory = Damaged { memory: &live.memory, seed };
            let interpreter = Interpreter { memory: &memory, core: &live.core, bias: live.bias };
            let _ = interpreter.threads();
            for thread in array(&live.truth["threads"]) {
                if let Some(context) = thread["context"].as_u64() {
                    let _ = interpreter.context(context);
                }
            }
            for value in live.truth["values"].as_object().expect("an object").values() {
                let _ = interpreter.variable(number(&value["variable"]));
                let _ = interpreter.value(number(&value["object"])).map(|raw| {
                    value::found(&raw, |at| value::type_name(&memory, &live.core, at).ok().map(Arc::from))
                });
            }
            for code in array(&live.truth["codes"]).iter().take(20) {
                if let Ok(code) = Code::read(&memory, live.core.layout, number(&code["id"])) {
                    let _ = code.line(code.start + 40);
                }
            }
            let _ = holders(interpreter, &[number(&live.truth["tenant"])]);
        });
    }
}
