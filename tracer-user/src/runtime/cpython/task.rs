//! The `_asyncio` module: tasks, and the futures that they wait for.

use tracer_common::{config::arguments, stats::Probe};

use super::probe_point::{PointError, ProbePoint, address, method_of};
use crate::elf::{
    ArgumentRegister::{Rdi, Rsi},
    Elf, ElfError, Pointer, find_table, method_tables, static_type,
};

/// Names that the methods of `Future` have, but not those of `Task`; and the other way round.
const FUTURE: &[&str] = &["set_result", "set_exception", "add_done_callback", "get_loop"];
const TASK_ONLY: &str = "get_coro";
const TASK: &[&str] = &["get_coro", "set_name", "get_stack"];
/// What a task is woken with: a function with a method table's entry of its own, from 3.9 on (`Modules/_asynciomodule.c`).
const WAKE: &str = "task_wakeup";
/// The type that does it in 3.8, by being called.
const WAKER: &str = "TaskWakeupMethWrapper";

/// `PyTypeObject`: `tp_name` 24, `tp_call` 128, `tp_init` 296 (`Include/cpython/object.h`, builds with a GIL).
const TYPE_NAME: u64 = 24;
const TYPE_CALL: u64 = 128;
const TYPE_INIT: u64 = 296;
/// `PyType_Slot` is a number and a pointer; `Py_tp_init` and `Py_tp_methods` (`Include/typeslots.h`).
const SLOT: u64 = 16;
const SLOT_INIT: u64 = 60;
const SLOT_METHODS: u64 = 64;
/// Slots that a specification may plausibly have.
const MAX_SLOTS: u64 = 64;

/// A file that carries `_asyncio`: the extension module, or the interpreter where it is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskModule {
    /// Where to probe.
    pub points: Vec<ProbePoint>,
}

/// Why a file does not serve as `_asyncio`.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It does not carry the methods of tasks and futures, or they cannot be probed.
    #[error("tasks cannot be followed: {0}")]
    Unsupported(#[from] PointError),
}

impl TaskModule {
    /// Finds tasks and futures in a file's bytes.
    pub fn inspect(file: &[u8]) -> Result<Self, TaskError> {
        let file = Elf::parse(file)?;
        let mut tables = method_tables(&file);
        let task = find_table(&tables, TASK).map_err(PointError::from)?.vaddr;
        let init = init(&file, task).ok_or(PointError::NoMethod("Task.__init__"))?;
        let wake = match tables.iter().find_map(|table| table.method(WAKE)) {
            Some(method) => ProbePoint::method(&file, Probe::TaskWake, "task_wakeup", method)?,
            None => waker(&file)?,
        };
        tables.retain(|table| table.method(TASK_ONLY).is_none());
        let future = find_table(&tables, FUTURE).map_err(PointError::from)?;
        let set = method_of(future, "set_result")?;
        address("Future.set_result", set)?;
        Ok(Self {
            points: vec![
                ProbePoint::function(&file, Probe::TaskSpawn, "Task.__init__", init, &[Rdi])?,
                ProbePoint::method(&file, Probe::FutureSet, "Future.set_result", set)?,
                wake,
            ],
        })
    }
}

/// The function that creates the instances of the type with this table of methods: from the type, up to 3.11, or from what it is made
/// from.
fn init(file: &Elf<'_>, methods: u64) -> Option<u64> {
    let code = |at: u64| match file.pointer(at) {
        Some(Pointer::To(address)) if file.is_code(address) => Some(address),
        _ => None,
    };
    let uses = |slot: &&(u64, Pointer)| slot.1 == Pointer::To(methods);
    file.pointers().iter().filter(uses).find_map(|(at, _)| {
        let specified = at.checked_sub(8).and_then(|number| file.word(number)) == Some(SLOT_METHODS);
        if specified {
            return slots_init(file, *at - 8, &code);
        }
        // PyTypeObject.tp_methods is at 232.
        code(at.checked_sub(232)? + TYPE_INIT)
    })
}

/// The `Py_tp_init` of the specification that this slot is one of: slots follow each other up to one that is 0.
fn slots_init(file: &Elf<'_>, slot: u64, code: &impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let number = |slot: u64| file.word(slot);
    let plausible = |slot: u64| number(slot).is_some_and(|n| (1..=u64::from(u8::MAX)).contains(&n));
    let mut first = slot;
    for _ in 0..MAX_SLOTS {
        match first.checked_sub(SLOT) {
            Some(before) if plausible(before) && file.pointer(before + 8).is_some() => first = before,
            _ => break,
        }
    }
    (0..MAX_SLOTS)
        .map(|n| first + n * SLOT)
        .take_while(|slot| plausible(*slot))
        .find(|slot| number(*slot) == Some(SLOT_INIT))
        .and_then(|slot| code(slot + 8))
}

/// What wakes tasks in 3.8.
fn waker(file: &Elf<'_>) -> Result<ProbePoint, PointError> {
    let missing = PointError::NoMethod("task_wakeup");
    let kind = static_type(file, TYPE_NAME, WAKER).map_err(|_| missing.clone())?;
    let Some(Pointer::To(call)) = file.pointer(kind + TYPE_CALL) else {
        return Err(missing);
    };
    let point = ProbePoint::function(file, Probe::TaskWake, "task_wakeup", call, &[Rdi, Rsi])?;
    Ok(ProbePoint {
        arguments: arguments::TUPLE,
        ..point
    })
}
