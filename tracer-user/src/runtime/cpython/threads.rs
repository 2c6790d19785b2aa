//! The threads of a live interpreter, as read once from outside when a process is attached to in mid-flight.

use std::collections::HashSet;

use tracer_common::record::{RawFrame, RawValue};

use super::{
    core::Core,
    hamt,
    layout::CodeCopies,
    memory::{Memory, MemoryError, text},
    value::read_raw,
};

/// Threads that are walked.
const MAX_THREADS: usize = 1 << 16;
/// How often a stack is walked that changed meanwhile.
const WALKS: usize = 8;
/// Frames of one thread that are walked.
const MAX_FRAMES: usize = 256;
/// `FRAME_OWNED_BY_CSTACK` (3.12, 3.13, `internal/pycore_frame.h`), `FRAME_OWNED_BY_INTERPRETER` (from 3.14 on, where another
/// `_CSTACK` may follow, `internal/pycore_interpframe_structs.h`): the frame under a call from C, no function of the program.
const OWNED_BY_INTERPRETER: u8 = 3;
/// Low bits of a `_PyStackRef` (`internal/pycore_stackref.h`, from 3.14 on); in a pointer they are 0.
const STACKREF_TAG: u64 = 3;

/// A live process's main interpreter.
#[derive(Debug)]
pub struct Interpreter<'a, M> {
    /// The process's memory.
    pub memory: &'a M,
    /// Its core.
    pub core: &'a Core,
    /// What is added to the core's link-time addresses.
    pub bias: u64,
}

impl<M> Clone for Interpreter<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Interpreter<'_, M> {}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// Address of its `PyThreadState`.
    pub address: u64,
    /// What `pthread_self` returns in it: the thread pointer.
    pub thread_id: u64,
    /// Its thread id, as the process itself sees it in its own PID namespace; before 3.11 a thread state does not say it.
    pub native_thread_id: Option<u64>,
    /// Its current context; 0 when it has none yet.
    pub context: u64,
    /// Its Python frames, innermost first.
    pub frames: Vec<RawFrame>,
    /// Whether `frames` is the whole stack.
    pub whole_stack: bool,
}

/// A context variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its address.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// Its `var_hash`.
    pub hash: u64,
    /// Its default.
    pub default: RawValue,
}

/// What a context holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its address.
    pub address: u64,
    /// Whether it is inside `Context.run`.
    pub entered: bool,
    /// `(variable, value)` as addresses.
    pub bindings: Vec<(u64, u64)>,
}

impl<M: Memory> Interpreter<'_, M> {
    /// Address of the main interpreter's state; 0 before it is initialised.
    pub fn main(&self) -> Result<u64, MemoryError> {
        self.memory.u64(self.at(self.core.image.interpreter_main), 0)
    }

    /// All threads of the main interpreter. They go on while they are read: a stack may be torn, which ends it.
    pub fn threads(&self) -> Result<Vec<ThreadState>, MemoryError> {
        let layout = self.core.layout;
        let main = self.main()?;
        if main == 0 {
            return Ok(Vec::new());
        }
        let mut threads = Vec::new();
        let mut seen = HashSet::new();
        let mut next = self.memory.u64(main, layout.interp_threads_head)?;
        while next != 0 {
            let of_this_interpreter = self.memory.u64(next, layout.tstate_interp)? == main;
            if !of_this_interpreter || !seen.insert(next) || seen.len() > MAX_THREADS {
                return Err(MemoryError::invalid("thread state", next));
            }
            threads.push(self.thread(next)?);
            next = self.memory.u64(next, layout.tstate_next)?;
        }
        Ok(threads)
    }

    /// What the context at `address` (not 0) holds.
    pub fn context(&self, address: u64) -> Result<Context, MemoryError> {
        let layout = self.core.layout;
        self.check_type(address, self.core.image.context_type, "context")?;
        let bindings = self.memory.u64(address, layout.context_vars)?;
        Ok(Context {
            address,
            entered: self.memory.u32(address, layout.context_entered)? != 0,
            bindings: hamt::entries(self.memory, self.core, self.bias, bindings)?,
        })
    }

    /// The variable at `address`.
    pub fn variable(&self, address: u64) -> Result<Variable, MemoryError> {
        let layout = self.core.layout;
        self.check_type(address, self.core.addresses.contextvar_type, "context variable")?;
        Ok(Variable {
            address,
            name: text(
                self.memory,
                layout,
                self.memory.u64(address, layout.contextvar_name)?,
            )?,
            hash: self.memory.u64(address, layout.contextvar_hash)?,
            default: self.value(self.memory.u64(address, layout.contextvar_default)?)?,
        })
    }

    /// The object at `address` as a value; unset when it is 0.
    pub fn value(&self, address: u64) -> Result<RawValue, MemoryError> {
        read_raw(self.memory, self.core, self.bias, address)
    }

    /// Whether the object at `address` has the type at link-time address `type_object`.
    pub fn has_type(&self, address: u64, type_object: u64) -> Result<bool, MemoryError> {
        Ok(self.memory.u64(address, self.core.layout.object_type)? == self.at(type_object))
    }

    fn check_type(&self, address: u64, type_object: u64, what: &'static str) -> Result<(), MemoryError> {
        if self.has_type(address, type_object)? {
            Ok(())
        } else {
            Err(MemoryError::invalid(what, address))
        }
    }

    fn at(&self, link_time: u64) -> u64 {
        self.bias.wrapping_add(link_time)
    }

    /// The frames of the thread whose state is at `tstate`, innermost first; none when it has ended, or does not stand still.
    pub fn frames(&self, tstate: u64) -> Option<Vec<RawFrame>> {
        (0..WALKS).find_map(|_| {
            let mut frames = Vec::new();
            matches!(self.walk(tstate, &mut frames), Ok(true)).then_some(frames)
        })
    }

    fn thread(&self, address: u64) -> Result<ThreadState, MemoryError> {
        let layout = self.core.layout;
        let mut frames = Vec::new();
        let whole_stack = matches!(self.walk(address, &mut frames), Ok(true));
        Ok(ThreadState {
            address,
            thread_id: self.memory.u64(address, layout.tstate_thread_id)?,
            native_thread_id: layout
                .tstate_native_thread_id
                .map(|at| self.memory.u64(address, at))
                .transpose()?,
            context: self.memory.u64(address, layout.tstate_context)?,
            frames,
            whole_stack,
        })
    }

    // True when the stack was walked to its end.
    fn walk(&self, tstate: u64, frames: &mut Vec<RawFrame>) -> Result<bool, MemoryError> {
        let layout = self.core.layout;
        let mut frame = self.memory.u64(tstate, layout.tstate_frame)?;
        if let Some(current) = layout.cframe_current
            && frame != 0
        {
            frame = self.memory.u64(frame, current)?;
        }
        for _ in 0..MAX_FRAMES {
            if frame == 0 {
                return Ok(true);
            }
            let code = self.memory.u64(frame, layout.frame_code)? & !STACKREF_TAG;
            if !self.is_shim(frame)? && self.has_type(code, self.core.addresses.code_type)? {
                frames.push(RawFrame {
                    code,
                    instr: self.instr(frame, code)?,
                    frame: frame as u32,
                });
            }
            frame = self.memory.u64(frame, layout.frame_previous)?;
        }
        Ok(frame == 0)
    }

    // Whether a frame is the interpreter's own.
    fn is_shim(&self, frame: u64) -> Result<bool, MemoryError> {
        let layout = self.core.layout;
        let objects = layout.frame_lasti_unit.is_some();
        Ok(!objects && self.memory.u8(frame, layout.frame_owner)? >= OWNED_BY_INTERPRETER)
    }

    // What `RawFrame::instr` says.
    fn instr(&self, frame: u64, code: u64) -> Result<u32, MemoryError> {
        let layout = self.core.layout;
        if let Some(unit) = layout.frame_lasti_unit {
            return Ok(self.memory.u32(frame, layout.frame_instr)?.wrapping_mul(unit));
        }
        let instr = self.memory.u64(frame, layout.frame_instr)?;
        Ok(instr.wrapping_sub(self.instructions(frame, code)?) as u32)
    }

    // What a frame's instruction is counted from, so that it is as far from there as its like in the code object is from the object:
    // without a GIL each thread runs a copy of the instructions (`_PyCode_GetTLBC`, `Objects/codeobject.c`, from 3.14 on).
    fn instructions(&self, frame: u64, code: u64) -> Result<u64, MemoryError> {
        let layout = self.core.layout;
        let Some(CodeCopies {
            code: at,
            entries,
            frame: index,
        }) = layout.code_copies
        else {
            return Ok(code);
        };
        let copies = self.memory.u64(code, at)?;
        let index = u64::from(self.memory.u32(frame, index)?);
        if index >= self.memory.u64(copies, 0)? {
            return Err(MemoryError::invalid("copy of instructions", copies));
        }
        let entry = copies.checked_add(8 * index);
        let entry = entry.ok_or(MemoryError::invalid("copy of instructions", copies))?;
        let copy = self.memory.u64(entry, entries)?;
        Ok(copy.wrapping_sub(layout.code_adaptive))
    }
}
