//! The agent's own call, by which it sees that what is probed arrives.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_get_attach_cookie, macros::uprobe, programs::ProbeContext,
};
use tracer_common::{record::kind, stats::Probe};

use crate::{
    emit::{self, Wake},
    ids,
};

/// A function of the agent. Other agents run from the same file: the cookie says which process is meant.
#[uprobe]
pub fn selftest(ctx: ProbeContext) -> u32 {
    emit::count_hit(Probe::Selftest);
    let (tgid, tid) = ids::current();
    // SAFETY: the context is the one that this program was called with.
    let wanted = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let (true, Some(number)) = (u64::from(tgid) == wanted, ctx.arg::<u64>(0)) else {
        emit::count_filtered(Probe::Selftest);
        return 0;
    };
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(&mut head, kind::SELFTEST, tgid, tid);
    head.object = number;
    emit::send_head(Probe::Selftest, None, head, Wake::Now);
    0
}
