//! CPython's member tables (`PyMemberDef[]`, `Include/structmember.h`, from 3.12 on `Include/descrobject.h`): what a type tells Python
//! code about the members of its C structure, offsets included.

use super::{file::Elf, slots::Pointer};

const ENTRY: u64 = 40;
const OFFSET: u64 = 16;
const MAX_MEMBERS: u64 = 64;
const MAX_NAME: usize = 64;

/// Name and offset of every member of the table at `vaddr`.
pub fn member_table<'data>(file: &Elf<'data>, vaddr: u64) -> Vec<(&'data [u8], u64)> {
    let mut members = Vec::new();
    for index in 0..MAX_MEMBERS {
        let member = vaddr.checked_add(index * ENTRY).and_then(|at| {
            let Pointer::To(name) = file.pointer(at)? else {
                return None;
            };
            Some((
                file.c_string(name, MAX_NAME)?,
                file.word(at.checked_add(OFFSET)?)?,
            ))
        });
        // The table ends with a null name.
        let Some(member) = member else { break };
        members.push(member);
    }
    members
}
