//! Whether uprobes can really be made: a program that does nothing is linked to a function of this very program, and let go.

use std::os::fd::AsFd as _;

use aya_obj::generated::bpf_insn;

use super::Check;
use crate::{
    attach::{
        selftest,
        sys::{Multi, Program, UprobeBackend},
    },
    runtime::cpython::probe_point::When,
};

/// `BPF_ALU64 | BPF_MOV | BPF_K`: register 0, the program's result, becomes a constant.
const MOVE: u8 = 0xb7;
/// `BPF_JMP | BPF_EXIT`.
const EXIT: u8 = 0x95;

/// The check.
pub(super) fn check() -> Check {
    let outcome = link();
    Check::required(
        "uprobe_multi",
        outcome.is_ok(),
        outcome.map_or_else(|why| why, |()| "a link was made and undone".to_owned()),
        "no probe can be attached: nothing can be traced",
    )
}

fn link() -> Result<(), String> {
    let (file, point) = selftest::point().map_err(|e| e.to_string())?;
    let program = Multi
        .load(Program {
            name: "doctor",
            instructions: &[instruction(MOVE), instruction(EXIT)],
            license: "GPL",
            types: None,
        })
        .map_err(|e| e.to_string())?;
    Multi
        .link(program.as_fd(), file.as_fd(), &[point], When::Entry)
        .map(drop)
        .map_err(|e| format!("the kernel refused the link: {e}"))
}

fn instruction(code: u8) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    }
}
