//! From a probe hit to the interpreter's state: which target, which image, which thread state, which context.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext};
use tracer_common::{
    config::{Image, NO_IMAGE, Point, Target},
    stats::Probe,
};

use crate::{
    emit, ids,
    maps::{IMAGES, POINTS, SCRATCH, Scratch, TARGETS},
    own,
    read::{self, Unreadable},
    stack,
    zero::zero,
};

/// The minor version from which on `threading` runs every thread in a context of its own, the outermost that it enters
/// (Lib/threading.py, `Thread._bootstrap_inner`).
const FIRST_WITH_OWN_CONTEXTS: u32 = 14;

/// A hit in a traced process whose interpreter image is known.
pub struct Hit {
    pub tgid: u32,
    pub tid: u32,
    pub probe: Probe,
    pub target: *mut Target,
    pub image: &'static Image,
    pub point: &'static Point,
}

/// The interpreter's state on the current thread.
#[derive(Clone, Copy)]
pub struct State {
    pub tstate: u64,
    /// The current context object; 0 when the thread has none.
    pub context: u64,
    /// The context that was current when this one was entered; 0 when it is the thread's first.
    pub previous: u64,
    /// Its variables; 0 when there is no context.
    pub vars: u64,
    /// Whether it is another than the thread's own.
    pub entered: bool,
}

/// Why the interpreter's state is not known.
pub enum NoState {
    /// It cannot be read.
    Unreadable,
    /// The thread runs in another interpreter than the main one.
    Elsewhere,
}

impl From<Unreadable> for NoState {
    #[inline(always)]
    fn from(Unreadable: Unreadable) -> Self {
        Self::Unreadable
    }
}

impl Hit {
    /// Filters by process, first of all.
    #[inline(always)]
    pub fn new(ctx: &ProbeContext, probe: Probe) -> Option<Self> {
        emit::count_hit(probe);
        let (tgid, tid) = ids::current();
        let Some(target) = TARGETS.get_ptr_mut(tgid) else {
            emit::count_filtered(probe);
            return None;
        };
        // SAFETY: the context is the one that this program was called with.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
        let point = POINTS.get(cookie)?;
        // SAFETY: the registers are those of this hit.
        if !is_new(target, point, unsafe { (*ctx.regs).rip }) {
            emit::count_filtered(probe);
            return None;
        }
        // SAFETY: `target` comes from the map and lives as long as this program runs.
        let Some(image) = IMAGES.get(unsafe { (*target).image }) else {
            lose_for_want_of_image(probe, target);
            return None;
        };
        Some(Self {
            tgid,
            tid,
            probe,
            target,
            image,
            point,
        })
    }

    /// The same hit, where a program goes on with what another has begun in this thread's scratch.
    #[inline(always)]
    pub fn again(ctx: &ProbeContext) -> Option<(Self, &'static mut Scratch)> {
        let (tgid, tid) = ids::current();
        let target = TARGETS.get_ptr_mut(tgid)?;
        // SAFETY: the entry belongs to this thread alone and is removed when the thread ends.
        let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(tid)? };
        // SAFETY: the context is the one that this program was called with.
        let point = POINTS.get(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32)?;
        // SAFETY: `target` comes from the map and lives as long as this program runs.
        let image = IMAGES.get(unsafe { (*target).image })?;
        let hit = Self {
            tgid,
            tid,
            probe: scratch.ask.probe,
            target,
            image,
            point,
        };
        Some((hit, scratch))
    }

    #[inline(always)]
    pub fn target(&self) -> &Target {
        // SAFETY: the entry lives as long as this program runs. Where there is no lock of the interpreter to keep other writers away,
        // what they write is single words that are read back.
        unsafe { &*self.target }
    }

    #[inline(always)]
    pub fn target_mut(&mut self) -> &mut Target {
        // SAFETY: as above.
        unsafe { &mut *self.target }
    }

    /// A link-time address of the image, as it is in this process.
    #[inline(always)]
    pub fn address(&self, link_time: u64) -> u64 {
        link_time + self.target().bias
    }

    /// Where a member of an object is that builds with a GIL have at `at`: a `PyObject` without one is longer.
    #[inline(always)]
    pub fn member(&self, object: u64, at: u64) -> u64 {
        object + at + u64::from(self.image.longer)
    }

    /// Reads the thread state and the current context. Where there is a lock of the interpreter, right only on the thread that holds it,
    /// which is checked.
    #[inline(always)]
    pub fn state(&mut self) -> Result<State, NoState> {
        let tstate = if self.image.tstate_state == 0 {
            self.lock_holder()?
        } else {
            own::tstate(self)?
        };
        let context = read::pointer(tstate + u64::from(self.image.tstate_context))?;
        if context == 0 {
            return Ok(State {
                tstate,
                context,
                previous: 0,
                vars: 0,
                entered: false,
            });
        }
        // PyContext: ctx_prev 16, ctx_vars 24, ctx_weakreflist 32, ctx_entered 40 (Include/internal/pycore_context.h, 3.8 to 3.15).
        let [previous, vars, _, entered] = read::user::<[u64; 4]>(self.member(context, 16))?;
        let own = previous == 0 && self.image.minor >= FIRST_WITH_OWN_CONTEXTS;
        Ok(State {
            tstate,
            context,
            previous,
            vars,
            entered: entered as u32 != 0 && !own,
        })
    }

    /// The innermost frame of the current thread, as far as it can be read.
    #[inline(always)]
    pub fn top_frame(&self) -> Result<u64, Unreadable> {
        stack::top(self, read::pointer(self.target().tstate_slot)?)
    }

    /// The current thread state, as the main interpreter's lock knows it.
    #[inline(always)]
    fn lock_holder(&mut self) -> Result<u64, NoState> {
        let slot = self.tstate_slot()?;
        let tstate = if self.image.tstate_current == 0 {
            // _gil_runtime_state: last_holder, then locked (Include/internal/pycore_gil.h, 3.12 to 3.15). Whoever runs Python code
            // while this lock is free holds another interpreter's.
            let [tstate, locked] = read::user::<[u64; 2]>(slot)?;
            if locked as u32 == 0 {
                return Err(NoState::Elsewhere);
            }
            tstate
        } else {
            read::pointer(slot)?
        };
        let thread_id = read::pointer(tstate + u64::from(self.image.tstate_thread_id))?;
        if thread_id != own::thread_pointer()? {
            return Err(NoState::Elsewhere);
        }
        Ok(tstate)
    }

    /// Where the pointer to the current thread state is. Found once per process.
    #[inline(always)]
    fn tstate_slot(&mut self) -> Result<u64, Unreadable> {
        let known = self.target().tstate_slot;
        if known != 0 {
            return Ok(known);
        }
        let slot = if self.image.tstate_current == 0 {
            let interpreter = read::pointer(self.address(self.image.interpreter_main))?;
            let gil = read::pointer(interpreter + u64::from(self.image.interp_gil))?;
            if gil == 0 {
                return Err(Unreadable);
            }
            gil + u64::from(self.image.gil_last_holder)
        } else {
            self.address(self.image.tstate_current)
        };
        self.target_mut().tstate_slot = slot;
        Ok(slot)
    }
}

/// A hit in a process whose interpreter is not known yet.
#[inline(always)]
pub fn lose_for_want_of_image(probe: Probe, target: *mut Target) {
    emit::count(probe, |s| &raw mut s.lost_image);
    emit::mark_lost(target);
}

/// Whether this hit counts. A file that two file systems show (overlays with a common lower layer) may have been armed
/// through both: then every hit is told once for each, and counts for the one that the process was first seen in.
///
/// A process that has not told its image yet is known by the first hit in an image: the load bias follows from where it was hit.
#[inline(always)]
pub fn is_new(target: *mut Target, point: &Point, ip: u64) -> bool {
    // SAFETY: `target` comes from the map and lives as long as this program runs.
    let target = unsafe { &mut *target };
    let bias = ip.wrapping_sub(point.vaddr);
    if point.image == NO_IMAGE {
        if !is_told_twice(target, point, bias) {
            // In one go: threads may hit two modules at the same moment.
            target.module = bias << MODULE_BIAS | u64::from(point.file & MODULE_FILE);
            return true;
        }
        return false;
    }
    if target.image == point.image && target.bias == bias {
        return true;
    }
    if target.image != NO_IMAGE && target.bias == bias {
        return false;
    }
    target.image = point.image;
    target.bias = bias;
    forget(target);
    true
}

// The parts of `Target::module`.
const MODULE_BIAS: u32 = 16;
const MODULE_FILE: u32 = (1 << MODULE_BIAS) - 1;

/// Whether the module with this load bias is known by another file's points, whose hits count.
#[inline(always)]
pub fn is_told_twice(target: &Target, point: &Point, bias: u64) -> bool {
    let module = emit::read_back(&target.module);
    // What is linked to a fixed address has no bias.
    module != 0 && module >> MODULE_BIAS == bias && module as u32 & MODULE_FILE != point.file & MODULE_FILE
}

/// Forgets what belonged to an earlier image or an earlier life of the interpreter.
#[inline(always)]
pub fn forget(target: &mut Target) {
    target.tstate_slot = 0;
    target.module = 0;
    target.request_slot = u32::MAX;
    zero(&raw mut target.slots);
}
