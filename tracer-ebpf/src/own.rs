//! A thread's own state, where there is no lock of the interpreter whose holder could be asked: builds without a GIL.
//!
//! A thread finds its state in its thread-local storage, at a place that stripped files do not tell. Here it is looked for once in the
//! main interpreter's list, by the thread pointer that every state names.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::{
    maps::{TSTATES, kernel},
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::{Hit, NoState},
};

/// Threads that are looked through. With more, some are not readable.
const MAX_THREADS: u32 = 4096;
/// `_Py_THREAD_ATTACHED` (Include/internal/pycore_pystate.h, 3.13 to 3.15).
const ATTACHED: u32 = 1;

/// The thread pointer, which the interpreter takes as the number of a thread.
#[inline(always)]
pub fn thread_pointer() -> Result<u64, Unreadable> {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    read::kernel::<u64>(task + kernel::fsbase())
}

/// The state of the current thread in the main interpreter, if that is the one in which it runs.
#[inline(always)]
pub fn tstate(hit: &Hit) -> Result<u64, NoState> {
    let mut search = Search {
        hit,
        thread: thread_pointer()?,
        tstate: 0,
        end: RUNNING_OUT,
    };
    // SAFETY: the entry belongs to this thread alone.
    if let Some(known) = unsafe { TSTATES.get(hit.tid) } {
        search.tstate = *known;
        if search.is_own() == Ok(true) {
            return Ok(search.tstate);
        }
    }
    let interpreter = read::pointer(hit.address(hit.image.interpreter_main))?;
    search.tstate = read::pointer(interpreter + u64::from(hit.image.interp_threads))?;
    repeat(MAX_THREADS, &mut search, look_at);
    match search.end {
        FOUND => {
            // A failed insert only means that it is looked for again.
            let _ = TSTATES.insert(hit.tid, search.tstate, 0);
            Ok(search.tstate)
        }
        NOT_THERE => Err(NoState::Elsewhere),
        _ => Err(NoState::Unreadable),
    }
}

// How a search ended.
const RUNNING_OUT: u32 = 0;
const FOUND: u32 = 1;
const NOT_THERE: u32 = 2;

struct Search<'a> {
    hit: &'a Hit,
    thread: u64,
    /// The one that is looked at next.
    tstate: u64,
    end: u32,
}

impl Search<'_> {
    /// Whether the state is that of this thread, and in force. One that is not may belong to another interpreter, or to a thread
    /// that has ended.
    #[inline(always)]
    fn is_own(&self) -> Result<bool, Unreadable> {
        let image = self.hit.image;
        if read::pointer(self.tstate + u64::from(image.tstate_thread_id))? != self.thread {
            return Ok(false);
        }
        Ok(read::user::<u32>(self.tstate + u64::from(image.tstate_state))? == ATTACHED)
    }
}

extern "C" fn look_at(_: u32, search: &mut Search<'_>) -> Next {
    if search.tstate == 0 {
        search.end = NOT_THERE;
        return Next::Done;
    }
    match search.is_own() {
        Ok(true) => search.end = FOUND,
        Ok(false) => {
            if let Ok(next) = read::pointer(search.tstate + u64::from(search.hit.image.tstate_next)) {
                search.tstate = next;
                return Next::More;
            }
        }
        Err(Unreadable) => {}
    }
    Next::Done
}
