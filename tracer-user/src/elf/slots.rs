//! The pointers of a file's data, as the dynamic linker will leave them.

use object::{
    LittleEndian as Le, elf,
    read::elf::{Rela as _, RelrIterator},
};

use super::file::{Dynamic, Elf, ElfError};

/// Pointers that are kept; a large interpreter has about 100,000.
const MAX_SLOTS: usize = 1 << 21;
const WORD: usize = 8;

/// Where a pointer in a file's data points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pointer {
    /// To this link-time address of the same file.
    To(u64),
    /// To a symbol that another file defines.
    Undefined,
}

/// All pointers, in order of their address.
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<(u64, Pointer)>,
}

impl Slots {
    pub(super) fn read(file: &Elf<'_>, dynamic: &Dynamic, in_place: bool) -> Result<Self, ElfError> {
        let mut slots = Self::default();
        // Relocations come first: where one names the same address as a pointer in place, it wins below.
        slots.add_rela(file, dynamic, dynamic.rela)?;
        slots.add_rela(file, dynamic, dynamic.plt_rela)?;
        let relr: &[elf::Relr64<Le>] = file.table(dynamic.relr.0, dynamic.relr.1);
        for at in RelrIterator::<elf::FileHeader64<Le>>::new(Le, relr) {
            if let Some(target) = file.word(at) {
                slots.push(at, Pointer::To(target))?;
            }
        }
        if in_place {
            slots.add_in_place(file)?;
        }
        // A stable sort keeps the order of arrival within one address.
        slots.entries.sort_by_key(|(at, _)| *at);
        slots.entries.dedup_by_key(|(at, _)| *at);
        slots.entries.shrink_to_fit();
        Ok(slots)
    }

    pub(super) fn get(&self, at: u64) -> Option<Pointer> {
        let index = self.entries.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.entries[index].1)
    }

    pub(super) fn all(&self) -> &[(u64, Pointer)] {
        &self.entries
    }

    fn push(&mut self, at: u64, pointer: Pointer) -> Result<(), ElfError> {
        if self.entries.len() == MAX_SLOTS {
            return Err(ElfError::Relocations(MAX_SLOTS));
        }
        self.entries.push((at, pointer));
        Ok(())
    }

    fn add_rela(
        &mut self,
        file: &Elf<'_>,
        dynamic: &Dynamic,
        (at, size): (u64, u64),
    ) -> Result<(), ElfError> {
        for rela in file.table::<elf::Rela64<Le>>(at, size) {
            let addend = rela.r_addend(Le);
            let pointer = match rela.r_type(Le, false) {
                elf::R_X86_64_RELATIVE => Some(Pointer::To(addend as u64)),
                elf::R_X86_64_64 | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT => file
                    .symbol(dynamic, rela.r_sym(Le, false))
                    .map(|symbol| match symbol {
                        Pointer::To(target) => Pointer::To(target.wrapping_add_signed(addend)),
                        Pointer::Undefined => Pointer::Undefined,
                    }),
                _ => None,
            };
            if let Some(pointer) = pointer {
                self.push(rela.r_offset(Le), pointer)?;
            }
        }
        Ok(())
    }

    // An executable at a fixed address holds its pointers as they are: every aligned word of data that is a mapped address.
    fn add_in_place(&mut self, file: &Elf<'_>) -> Result<(), ElfError> {
        for segment in file.segments().iter().filter(|segment| !segment.executable) {
            let skip = segment.vaddr.wrapping_neg() % WORD as u64;
            let Some(first) = segment.vaddr.checked_add(skip) else {
                continue;
            };
            let words = file.bytes_from(first).unwrap_or_default().chunks_exact(WORD);
            for (index, word) in words.enumerate() {
                let at = first.wrapping_add((index * WORD) as u64);
                let target = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if target != 0 && file.is_mapped(target) {
                    self.push(at, Pointer::To(target))?;
                }
            }
        }
        Ok(())
    }
}
