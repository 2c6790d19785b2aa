//! Where in a function a probe costs least.
//!
//! The kernel emulates some instructions under a uprobe and has to single-step all others out of line, which costs several
//! times as much. An emulated instruction soon after the entry serves as well as the entry itself, as long as every call passes
//! it exactly once and the argument registers still hold what the caller put there.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};

use super::{file::Elf, slots::Pointer};

/// Instructions that are looked at for a cheaper place.
const MAX_PROLOGUE: usize = 24;
/// Bytes that are searched for branches back into the prologue, and for calls.
const MAX_BODY: usize = 8192;
/// Bytes of a string that code refers to.
const MAX_STRING: usize = 64;
/// Instructions of a stub of the procedure linkage table.
const MAX_STUB: usize = 3;

/// A register that carries an argument (System V, x86-64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the registers say it all")]
pub enum ArgumentRegister {
    Rdi,
    Rsi,
    Rdx,
    Rcx,
    R8,
}

impl ArgumentRegister {
    const fn full(self) -> Register {
        match self {
            Self::Rdi => Register::RDI,
            Self::Rsi => Register::RSI,
            Self::Rdx => Register::RDX,
            Self::Rcx => Register::RCX,
            Self::R8 => Register::R8,
        }
    }
}

/// What the kernel does with the probed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cost {
    /// It emulates it.
    Emulated,
    /// It single-steps a copy.
    Stepped,
}

impl Cost {
    /// Both of them.
    pub const ALL: &[Self] = &[Self::Emulated, Self::Stepped];

    /// Its name in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Stepped => "stepped",
        }
    }
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Address of the probed instruction.
    pub vaddr: u64,
    /// What it costs.
    pub cost: Cost,
}

/// A function that cannot be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The address is in no code segment of the file.
    #[error("no code at {0:#x}")]
    NoCode(u64),
    /// There is no instruction at the address.
    #[error("no valid instruction at {0:#x}")]
    Invalid(u64),
}

/// The cheapest place for an entry probe that reads `arguments`.
pub fn place(
    file: &Elf<'_>,
    function: u64,
    arguments: &[ArgumentRegister],
) -> Result<Placement, PlacementError> {
    let body = body(file, function)?;
    let entry = place_at_entry(file, function)?;
    if entry.cost == Cost::Emulated {
        return Ok(entry);
    }
    let arguments: Vec<Register> = arguments.iter().map(|argument| argument.full()).collect();
    let cheap = first_emulated(body, function, decoder(body, function).iter(), &arguments);
    Ok(cheap
        .filter(|place| !is_branched_into(body, function, place.vaddr))
        .unwrap_or(entry))
}

/// The first of these instructions that the kernel emulates, if each leads to the next one and none before it changes the registers
/// that are `kept`. They are part of `body`, which begins at `start`.
pub(super) fn first_emulated(
    body: &[u8],
    start: u64,
    instructions: impl IntoIterator<Item = Instruction>,
    kept: &[Register],
) -> Option<Placement> {
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions.into_iter().take(MAX_PROLOGUE) {
        if is_emulated(bytes_of(body, start, &instruction)) {
            return Some(Placement {
                vaddr: instruction.ip(),
                cost: Cost::Emulated,
            });
        }
        let clobbers = info.info(&instruction).used_registers().iter().any(|used| {
            let writes = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            );
            writes && kept.contains(&used.register().full_register())
        });
        if clobbers || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

/// The entry itself: the only place for a return probe, which must find the return address on top of the stack.
pub fn place_at_entry(file: &Elf<'_>, function: u64) -> Result<Placement, PlacementError> {
    let body = body(file, function)?;
    let first = decoder(body, function).decode();
    if first.is_invalid() {
        return Err(PlacementError::Invalid(function));
    }
    let emulated = is_emulated(bytes_of(body, function, &first));
    Ok(Placement {
        vaddr: function,
        cost: if emulated { Cost::Emulated } else { Cost::Stepped },
    })
}

/// Whether `function` calls or jumps to `callee`, directly or through a pointer or a linkage stub of the same file.
pub fn calls(file: &Elf<'_>, function: u64, callee: u64, len: usize) -> bool {
    let Ok(body) = body(file, function) else {
        return false;
    };
    let body = &body[..body.len().min(len)];
    decoder(body, function)
        .iter()
        .any(|instruction| leads_to(file, &instruction, callee, true))
}

/// The C strings whose addresses `function` computes or loads before it first returns, each once.
pub fn strings_used<'data>(file: &Elf<'data>, function: u64, len: usize) -> Vec<&'data [u8]> {
    let Ok(body) = body(file, function) else {
        return Vec::new();
    };
    let body = &body[..body.len().min(len)];
    let mut strings = Vec::new();
    for instruction in &mut decoder(body, function) {
        let address = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else if instruction.op1_kind() == OpKind::Immediate32
            || instruction.op1_kind() == OpKind::Immediate64
        {
            instruction.immediate(1)
        } else {
            continue;
        };
        let string = file
            .c_string(address, MAX_STRING)
            .filter(|s| !s.is_empty() && !strings.contains(s));
        strings.extend(string);
    }
    strings
}

fn leads_to(file: &Elf<'_>, instruction: &Instruction, callee: u64, through_stub: bool) -> bool {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            let target = instruction.near_branch_target();
            target == callee || (through_stub && stub_leads_to(file, target, callee))
        }
        FlowControl::IndirectCall | FlowControl::IndirectBranch => {
            instruction.is_ip_rel_memory_operand()
                && file.pointer(instruction.ip_rel_memory_address()) == Some(Pointer::To(callee))
        }
        _ => false,
    }
}

// A stub is at most `endbr64` and a jump through a pointer.
fn stub_leads_to(file: &Elf<'_>, stub: u64, callee: u64) -> bool {
    let Ok(body) = body(file, stub) else { return false };
    let mut instructions = decoder(body, stub);
    let flow = instructions
        .iter()
        .take(MAX_STUB)
        .find(|i| i.flow_control() != FlowControl::Next);
    flow.is_some_and(|i| i.flow_control() == FlowControl::IndirectBranch && leads_to(file, &i, callee, false))
}

fn body<'data>(file: &Elf<'data>, function: u64) -> Result<&'data [u8], PlacementError> {
    if !file.is_code(function) {
        return Err(PlacementError::NoCode(function));
    }
    let bytes = file
        .bytes_from(function)
        .ok_or(PlacementError::NoCode(function))?;
    Ok(&bytes[..bytes.len().min(MAX_BODY)])
}

pub(super) fn decoder(body: &[u8], at: u64) -> Decoder<'_> {
    Decoder::with_ip(64, body, at, DecoderOptions::NONE)
}

fn bytes_of<'body>(body: &'body [u8], start: u64, instruction: &Instruction) -> &'body [u8] {
    let offset = usize::try_from(instruction.ip().wrapping_sub(start)).unwrap_or(usize::MAX);
    body.get(offset..)
        .and_then(|rest| rest.get(..instruction.len()))
        .unwrap_or_default()
}

// Whether a branch in what follows the entry leads to `place` or to what comes between the entry and it. A jump to the entry is
// a tail call: it passes both. Where the function ends is not known, so code behind it is searched as well; that can only make
// the answer more careful.
fn is_branched_into(body: &[u8], function: u64, place: u64) -> bool {
    decoder(body, function).iter().any(|instruction| {
        matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        ) && instruction.flow_control() != FlowControl::Call
            && (function + 1..=place).contains(&instruction.near_branch_target())
    })
}

// Mirrors what `branch_setup_xol_ops` and `push_setup_xol_ops` of the kernel's arch/x86/kernel/uprobes.c accept.
fn is_emulated(instruction: &[u8]) -> bool {
    matches!(
        instruction,
        [0x50..=0x57 | 0x90]
            | [0x41, 0x50..=0x57]
            | [0x0f, 0x1f, ..]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0xeb | 0x70..=0x7f, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::test_file;

    const BASE: u64 = 0x40_1000;

    fn placed(code: &[u8], arguments: &[ArgumentRegister]) -> (u64, Cost) {
        let bytes = test_file::with_code(BASE, code);
        let file = Elf::parse(&bytes).expect("an elf file");
        let placement = place(&file, BASE, arguments).expect("a place");
        (placement.vaddr - BASE, placement.cost)
    }

    #[test]
    fn an_emulated_entry_is_the_place() {
        for entry in [
            &[0x55][..],
            &[0x41, 0x55],
            &[0x90],
            &[0xe9, 0, 0, 0, 0],
            &[0x0f, 0x1f, 0x40, 0],
        ] {
            assert_eq!(
                placed(entry, &[ArgumentRegister::Rdi]),
                (0, Cost::Emulated),
                "{entry:x?}"
            );
        }
    }

    #[test]
    fn the_first_emulated_instruction_of_the_prologue_is_taken() {
        // endbr64; push rbp; ret
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3];
        assert_eq!(placed(&code, &[ArgumentRegister::Rdi]), (4, Cost::Emulated));
        // sub rsp, 8; test rdi, rdi; je +0; ret
        let code = [0x48, 0x83, 0xec, 0x08, 0x48, 0x85, 0xff, 0x74, 0x00, 0xc3];
        assert_eq!(placed(&code, &[ArgumentRegister::Rdi]), (7, Cost::Emulated));
    }

    #[test]
    fn a_clobbered_argument_keeps_the_probe_at_the_entry() {
        // endbr64; mov rsi, rdi; push rbp
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x89, 0xfe, 0x55, 0xc3];
        assert_eq!(
            placed(&code, &[ArgumentRegister::Rdi, ArgumentRegister::Rsi]),
            (0, Cost::Stepped)
        );
        assert_eq!(placed(&code, &[ArgumentRegister::Rdi]), (7, Cost::Emulated));
        // endbr64; xor esi, esi; push rbp: half of a register is the register
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x31, 0xf6, 0x55, 0xc3];
        assert_eq!(placed(&code, &[ArgumentRegister::Rsi]), (0, Cost::Stepped));
    }

    #[test]
    fn a_place_that_a_loop_comes_back_to_is_not_taken() {
        // endbr64; push rbp; dec ecx; jne back to the push; ret
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xff, 0xc9, 0x75, 0xfb, 0xc3];
        assert_eq!(placed(&code, &[ArgumentRegister::Rdi]), (0, Cost::Stepped));
    }

    #[test]
    fn a_tail_call_of_the_entry_does_no_harm() {
        // endbr64; push rbp; ret; jmp to the entry
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3, 0xeb, 0xf8];
        assert_eq!(placed(&code, &[ArgumentRegister::Rdi]), (4, Cost::Emulated));
    }

    #[test]
    fn the_search_ends_where_the_flow_does() {
        // sub rsp, 8; ret; push rbp
        let code = [0x48, 0x83, 0xec, 0x08, 0xc3, 0x55];
        assert_eq!(placed(&code, &[]), (0, Cost::Stepped));
    }

    #[test]
    fn a_call_is_seen() {
        // call +3; ret; nop; nop; ret
        let code = [0xe8, 3, 0, 0, 0, 0xc3, 0x90, 0x90, 0xc3];
        let bytes = test_file::with_code(BASE, &code);
        let file = Elf::parse(&bytes).expect("an elf file");
        assert!(calls(&file, BASE, BASE + 8, 6));
        assert!(!calls(&file, BASE, BASE + 7, 6));
    }
}
