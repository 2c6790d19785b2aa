//! Diagnostics of rare moments, for the agent's debug log.
//!
//! The level is a constant at load: unless the agent runs with `-v` the verifier removes all of this.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_log_ebpf::debug;

/// A process is now known to run this image.
#[inline(never)]
pub fn image_adopted(image: u32, bias: u64) {
    debug!((), "process {}: runs image {} at {:x}", tgid(), image, bias);
}

/// A variable got a slot.
#[inline(never)]
pub fn slot_given(slot: u32, name: u32, var: u64) {
    debug!(
        (),
        "process {}: slot {} is watched name {} at {:x}",
        tgid(),
        slot,
        name,
        var
    );
}

/// A record is missing.
#[inline(never)]
pub fn lost(before: u64) {
    debug!((), "process {}: a record is lost, {} before it", tgid(), before);
}

#[inline(always)]
fn tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
