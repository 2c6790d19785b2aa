//! What threads have told of what they read: a read that says the same again is only counted, in the kernel.

use crate::MAX_SLOTS;

/// What a thread has told of what it found in one context, since anything else was told of its process. The key is the thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Told {
    /// [`crate::config::Target::turn`] when it was told.
    pub turn: u64,
    /// Since when the agent knows all that it needs to know of the process, as it numbers that.
    pub epoch: u64,
    /// Address of the thread state.
    pub tstate: u64,
    /// Address of the context.
    pub scope: u64,
    /// Address of its variables, which is another when one of them is bound.
    pub vars: u64,
    /// The process.
    pub tgid: u32,
    /// 1 when the context was entered.
    pub entered: u32,
    /// What was found, by slot.
    pub reads: [ToldRead; MAX_SLOTS],
}

/// A read that was told.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToldRead {
    /// [`crate::record::Record::time`] of its record. It stands before the count, and is written after it, so that a count is never
    /// taken for another read's.
    pub time: u64,
    /// How often the same was found since.
    pub again: u64,
    /// Address of the call's default; 0 when it had none.
    pub default: u64,
    /// Until when another read may be held against it, in ticks of the kernel's clock; 0 when none may.
    pub until: u64,
}

const _: () = assert!(size_of::<Told>() == 48 + 32 * MAX_SLOTS);
