//! The places at which a file calls functions of other files, through their stubs. The kernel emulates a call, but steps through a stub's
//! jump, which takes several times as long, and dozens of times in a virtual machine.

use std::collections::BTreeMap;

use iced_x86::{FlowControl, Instruction, Register};

use super::{
    file::Elf,
    functions::function_starts,
    placement::{Cost, Placement, decoder, first_emulated},
    stub::stubs,
};

/// Bytes of `call` and `jmp` with a 32-bit distance.
const LEN: usize = 5;
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;
/// Calls of one file that are looked at, and bytes of one function; libuv has some forty calls, in functions of a few KiB.
const MAX_SITES: usize = 256;
const MAX_FUNCTION: u64 = 256 * 1024;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The call itself: the arguments are where the function will find them.
    pub call: Placement,
    /// Where the result is, soon after it; none where the function returns to somebody else.
    pub returned: Option<Placement>,
}

/// Every place at which these functions are called, as far as they have stubs. None if some place could not be made sure of: then only
/// the stubs are passed by all calls.
pub fn call_sites<'names>(
    file: &Elf<'_>,
    names: &[&'names str],
) -> Option<BTreeMap<&'names str, Vec<CallSite>>> {
    let starts = function_starts(file)?;
    let stubs: BTreeMap<u64, &str> = stubs(file, names)
        .into_iter()
        .flat_map(|(name, places)| places.into_iter().map(move |place| (place.vaddr, name)))
        .collect();
    let mut found: BTreeMap<&str, Vec<CallSite>> = BTreeMap::new();
    let mut left = MAX_SITES;
    for segment in file.segments().iter().filter(|segment| segment.executable) {
        let code = file.bytes_from(segment.vaddr).unwrap_or_default();
        for (offset, bytes) in code.windows(LEN).enumerate() {
            let vaddr = segment.vaddr + offset as u64;
            if let Some(name) = leads_to(bytes, vaddr).and_then(|target| stubs.get(&target)) {
                left = left.checked_sub(1)?;
                found.entry(name).or_default().push(site(file, &starts, vaddr)?);
            }
        }
    }
    Some(found)
}

/// Where the bytes at `vaddr` would lead, if they are a call or a jump.
fn leads_to(bytes: &[u8], vaddr: u64) -> Option<u64> {
    let distance = match bytes {
        [CALL | JUMP, distance @ ..] => i32::from_le_bytes(distance.try_into().ok()?),
        _ => return None,
    };
    Some(
        vaddr
            .wrapping_add(LEN as u64)
            .wrapping_add_signed(i64::from(distance)),
    )
}

/// The call at `vaddr`, if the function that it stands in has an instruction there: what looks like a call may be part of another.
fn site(file: &Elf<'_>, starts: &[u64], vaddr: u64) -> Option<CallSite> {
    let next = starts.partition_point(|start| *start <= vaddr);
    let start = *starts.get(next.checked_sub(1)?)?;
    let rest = file.bytes_from(start)?;
    let end = starts.get(next).map_or(rest.len() as u64, |end| end - start);
    if vaddr - start > MAX_FUNCTION {
        return None;
    }
    let end = end.min(MAX_FUNCTION * 2);
    let body = rest.get(..rest.len().min(end as usize))?;
    let instructions: Vec<Instruction> = decoder(body, start).iter().collect();
    let at = instructions
        .iter()
        .position(|instruction| instruction.ip() == vaddr)?;
    let returned = (instructions[at].flow_control() == FlowControl::Call)
        .then(|| returned(body, start, &instructions[at + 1..], &instructions))
        .flatten();
    Some(CallSite {
        call: Placement {
            vaddr,
            cost: Cost::Emulated,
        },
        returned,
    })
}

/// The cheapest place behind a call at which its result is still in its register, and to which nobody comes who has not called.
fn returned(body: &[u8], start: u64, behind: &[Instruction], all: &[Instruction]) -> Option<Placement> {
    let first = behind.first()?.ip();
    let leads_into = |last: u64| {
        all.iter().any(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            ) && (first..=last).contains(&instruction.near_branch_target())
        })
    };
    let emulated = first_emulated(body, start, behind.iter().copied(), &[Register::RAX]);
    let stepped = Placement {
        vaddr: first,
        cost: Cost::Stepped,
    };
    let places = emulated.into_iter().chain([stepped]);
    places.into_iter().find(|place| !leads_into(place.vaddr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::test_file;

    const BASE: u64 = 0x40_1000;

    fn sites(code: &[u8]) -> Option<CallSite> {
        let bytes = test_file::with_code(BASE, code);
        let file = Elf::parse(&bytes).expect("an elf file");
        let call = code.windows(2).position(|bytes| bytes == [CALL, 0x11])?;
        site(&file, &[BASE, BASE + 0x100], BASE + call as u64)
    }

    fn returned_at(code: &[u8]) -> Option<(u64, Cost)> {
        let returned = sites(code).expect("a call").returned?;
        Some((returned.vaddr - BASE, returned.cost))
    }

    #[test]
    fn the_result_is_looked_at_where_the_kernel_emulates() {
        // call; test rax, rax; js; ret
        let code = [0xe8, 0x11, 0, 0, 0, 0x48, 0x85, 0xc0, 0x78, 0x10, 0xc3];
        assert_eq!(returned_at(&code), Some((8, Cost::Emulated)));
        // call; mov ebx, eax; mov eax, [rsp]; js: the result is gone by then
        let code = [
            0xe8, 0x11, 0, 0, 0, 0x89, 0xc3, 0x8b, 0x04, 0x24, 0x78, 0x10, 0xc3,
        ];
        assert_eq!(returned_at(&code), Some((5, Cost::Stepped)));
    }

    #[test]
    fn where_others_come_to_is_no_place() {
        // jmp to the js; call; test rax, rax; js; ret
        let code = [
            0xeb, 0x08, 0xe8, 0x11, 0, 0, 0, 0x48, 0x85, 0xc0, 0x78, 0x10, 0xc3,
        ];
        assert_eq!(returned_at(&code), Some((7, Cost::Stepped)));
        // jmp to what comes behind the call
        let code = [
            0xeb, 0x05, 0xe8, 0x11, 0, 0, 0, 0x48, 0x85, 0xc0, 0x78, 0x10, 0xc3,
        ];
        assert_eq!(returned_at(&code), None);
    }

    #[test]
    fn a_jump_does_not_come_back() {
        let code = [0x90, 0xe9, 0x11, 0, 0, 0, 0xc3];
        let bytes = test_file::with_code(BASE, &code);
        let file = Elf::parse(&bytes).expect("an elf file");
        let site = site(&file, &[BASE], BASE + 1).expect("a jump");
        assert_eq!((site.call.vaddr, site.returned), (BASE + 1, None));
    }

    #[test]
    fn what_is_part_of_another_instruction_is_no_call() {
        // mov eax, 0x11e8
        let code = [0xb8, 0xe8, 0x11, 0, 0, 0xc3];
        assert_eq!(sites(&code), None);
    }
}
