//! One ELF file: its segments, its dynamic section, and reads by link-time address.

use std::collections::HashMap;

use object::{
    LittleEndian as Le, Pod, elf,
    read::elf::{
        Dyn as _, FileHeader as _, GnuHashTable, HashTable, ProgramHeader as _, Rela as _, Sym as _,
    },
};

use super::slots::{Pointer, Slots};

type Header = elf::FileHeader64<Le>;

/// Loadable segments that a file may have; real ones have 4 to 8.
const MAX_SEGMENTS: usize = 64;
/// Exported symbols that are kept; an interpreter has a few thousand.
const MAX_SYMBOLS: u64 = 1 << 18;
/// Length of a symbol's name or another string of the dynamic section.
const MAX_STRING: usize = 4096;
const MAX_SYMBOL_NAME: usize = 256;
/// Segments of notes that are searched for the build id.
const MAX_NOTES: usize = 8;
/// Libraries that a file may need.
const MAX_NEEDED: usize = 256;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file of the supported kind.
    #[error("not a little-endian 64-bit elf file: {0}")]
    Header(#[from] object::read::Error),
    /// It was made for another processor.
    #[error("elf file for machine {0}, not for x86-64")]
    Machine(u16),
    /// It is neither an executable nor a shared library.
    #[error("elf file of type {0}, neither an executable nor a shared library")]
    Kind(u16),
    /// It has more loadable segments than any real file.
    #[error("elf file with {0} loadable segments")]
    Segments(usize),
    /// Its relocations make more pointers than any real file.
    #[error("elf file with more than {0} relocated pointers")]
    Relocations(usize),
}

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub vaddr: u64,
    /// Where its bytes are in the file.
    pub file_offset: u64,
    /// How many of them are in the file.
    pub file_size: u64,
    /// How many it has in memory.
    pub memory_size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

impl Segment {
    fn offset_of(&self, vaddr: u64) -> Option<u64> {
        vaddr
            .checked_sub(self.vaddr)
            .filter(|offset| *offset < self.memory_size)
    }
}

/// What the dynamic linker is told about a file's libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linkage<'data> {
    /// `DT_NEEDED`.
    pub needed: Vec<&'data [u8]>,
    /// `DT_RPATH`.
    pub rpath: Option<&'data [u8]>,
    /// `DT_RUNPATH`.
    pub runpath: Option<&'data [u8]>,
}

/// A parsed ELF file. Addresses are link-time virtual addresses.
#[derive(Debug)]
pub struct Elf<'data> {
    data: &'data [u8],
    segments: Vec<Segment>,
    build_id: Option<&'data [u8]>,
    frame_table: Option<u64>,
    linkage: Linkage<'data>,
    exports: HashMap<&'data [u8], u64>,
    slots: Slots,
    dynamic: Dynamic,
}

/// The entries of the dynamic section that are used.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    strings: u64,
    strings_size: u64,
    symbols: u64,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
    pub(super) rela: (u64, u64),
    pub(super) plt_rela: (u64, u64),
    pub(super) relr: (u64, u64),
}

impl<'data> Elf<'data> {
    /// Reads a file's headers, exports and relocations.
    pub fn parse(data: &'data [u8]) -> Result<Self, ElfError> {
        let header = Header::parse(data)?;
        let endian = header.endian()?;
        let machine = header.e_machine(endian);
        if machine != elf::EM_X86_64 {
            return Err(ElfError::Machine(machine.0));
        }
        let kind = header.e_type(endian);
        if kind != elf::ET_EXEC && kind != elf::ET_DYN {
            return Err(ElfError::Kind(kind.0));
        }

        let program_headers = header.program_headers(endian, data)?;
        let mut segments = Vec::new();
        let mut build_id = None;
        let mut notes_left = MAX_NOTES;
        for program_header in program_headers {
            if program_header.p_type(endian) == elf::PT_LOAD {
                if segments.len() == MAX_SEGMENTS {
                    return Err(ElfError::Segments(program_headers.len()));
                }
                segments.extend(segment(program_header, endian));
            } else if build_id.is_none()
                && program_header.p_type(endian) == elf::PT_NOTE
                && notes_left > 0
                && let Ok(Some(mut notes)) = program_header.notes(endian, data)
            {
                notes_left -= 1;
                while let Ok(Some(note)) = notes.next() {
                    if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                        build_id = Some(note.desc());
                        break;
                    }
                }
            }
        }

        let mut file = Self {
            data,
            segments,
            build_id,
            frame_table: program_headers
                .iter()
                .find(|header| header.p_type(endian) == elf::PT_GNU_EH_FRAME)
                .map(|header| header.p_vaddr(endian)),
            linkage: Linkage::default(),
            exports: HashMap::new(),
            slots: Slots::default(),
            dynamic: Dynamic::default(),
        };
        let entries = program_headers
            .iter()
            .find_map(|h| h.dynamic(endian, data).ok().flatten());
        let dynamic = file.read_dynamic(entries.unwrap_or_default());
        file.exports = file.read_exports(&dynamic);
        file.slots = Slots::read(&file, &dynamic, kind == elf::ET_EXEC)?;
        file.dynamic = dynamic;
        Ok(file)
    }

    /// The loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The GNU build id.
    pub fn build_id(&self) -> Option<&'data [u8]> {
        self.build_id
    }

    /// Address of `.eh_frame_hdr`.
    pub fn frame_table(&self) -> Option<u64> {
        self.frame_table
    }

    /// What the dynamic linker is told about the file's libraries.
    pub fn linkage(&self) -> &Linkage<'data> {
        &self.linkage
    }

    /// Address of a symbol that the file itself defines and exports.
    pub fn export(&self, name: &str) -> Option<u64> {
        self.exports.get(name.as_bytes()).copied()
    }

    /// Where the addresses of functions that another file defines are kept, each with the function's name.
    pub fn imports(&self) -> impl Iterator<Item = (&'data [u8], u64)> + '_ {
        let size = size_of::<elf::Sym64<Le>>() as u64;
        let (plt, other) = (self.dynamic.plt_rela, self.dynamic.rela);
        let all = self.table::<elf::Rela64<Le>>(plt.0, plt.1).iter();
        let all = all.chain(self.table::<elf::Rela64<Le>>(other.0, other.1));
        let calls = all.filter(|rela| {
            matches!(
                rela.r_type(Le, false),
                elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT
            )
        });
        calls.filter_map(move |rela| {
            let index = u64::from(rela.r_sym(Le, false));
            let at = self.dynamic.symbols.checked_add(index.checked_mul(size)?)?;
            let symbol = self.table::<elf::Sym64<Le>>(at, size).first()?;
            let name = self.dynamic_string(&self.dynamic, u64::from(symbol.st_name(Le)), MAX_SYMBOL_NAME)?;
            symbol.is_undefined(Le).then_some((name, rela.r_offset(Le)))
        })
    }

    /// What the pointer at `slot` points to once the file is loaded.
    pub fn pointer(&self, slot: u64) -> Option<Pointer> {
        self.slots.get(slot)
    }

    /// Every address that holds a pointer, in order of address.
    pub fn pointers(&self) -> &[(u64, Pointer)] {
        self.slots.all()
    }

    /// Where the byte at `vaddr` is in the file; what a uprobe is attached to.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let (segment, offset) = self.locate(vaddr)?;
        if offset < segment.file_size {
            segment.file_offset.checked_add(offset)
        } else {
            None
        }
    }

    /// Whether `vaddr` is in a segment of code.
    pub fn is_code(&self, vaddr: u64) -> bool {
        self.locate(vaddr).is_some_and(|(segment, _)| segment.executable)
    }

    /// Whether `vaddr` is in any segment.
    pub fn is_mapped(&self, vaddr: u64) -> bool {
        self.locate(vaddr).is_some()
    }

    /// The bytes of the file from `vaddr` to the end of its segment.
    pub fn bytes_from(&self, vaddr: u64) -> Option<&'data [u8]> {
        let (segment, offset) = self.locate(vaddr)?;
        let start = usize::try_from(segment.file_offset.checked_add(offset)?).ok()?;
        let end = usize::try_from(segment.file_offset.checked_add(segment.file_size)?).ok()?;
        self.data.get(start..end.min(self.data.len()))
    }

    /// `len` bytes at `vaddr`.
    pub fn bytes(&self, vaddr: u64, len: usize) -> Option<&'data [u8]> {
        self.bytes_from(vaddr)?.get(..len)
    }

    /// The 64-bit word at `vaddr`, as it is in the file.
    pub fn word(&self, vaddr: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(vaddr, 8)?.try_into().ok()?))
    }

    /// The 32-bit word at `vaddr`, as it is in the file.
    pub fn half_word(&self, vaddr: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(vaddr, 4)?.try_into().ok()?))
    }

    /// The C string at `vaddr`, if it ends within `limit` bytes.
    pub fn c_string(&self, vaddr: u64, limit: usize) -> Option<&'data [u8]> {
        let bytes = self.bytes_from(vaddr)?;
        let bytes = &bytes[..bytes.len().min(limit)];
        Some(&bytes[..bytes.iter().position(|byte| *byte == 0)?])
    }

    fn locate(&self, vaddr: u64) -> Option<(&Segment, u64)> {
        self.segments
            .iter()
            .find_map(|segment| Some((segment, segment.offset_of(vaddr)?)))
    }

    /// A table of `size` bytes at `vaddr`, as whole entries.
    pub(super) fn table<T: Pod>(&self, vaddr: u64, size: u64) -> &'data [T] {
        let Some(bytes) = self.bytes_from(vaddr) else {
            return &[];
        };
        let len = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
        object::pod::slice_from_bytes(bytes, len / size_of::<T>()).map_or(&[], |(entries, _)| entries)
    }

    /// What the symbol at `index` of the dynamic symbol table is: its own address, or one that another file defines.
    pub(super) fn symbol(&self, dynamic: &Dynamic, index: u32) -> Option<Pointer> {
        let size = size_of::<elf::Sym64<Le>>() as u64;
        let at = dynamic.symbols.checked_add(u64::from(index).checked_mul(size)?)?;
        let symbol = self.table::<elf::Sym64<Le>>(at, size).first()?;
        Some(if symbol.is_undefined(Le) {
            Pointer::Undefined
        } else {
            Pointer::To(symbol.st_value(Le))
        })
    }

    fn read_dynamic(&mut self, entries: &'data [elf::Dyn64<Le>]) -> Dynamic {
        let mut dynamic = Dynamic::default();
        let (mut needed, mut rpath, mut runpath) = (Vec::new(), None, None);
        for entry in entries {
            let value = entry.d_val(Le);
            match entry.d_tag(Le) {
                elf::DT_NULL => break,
                elf::DT_NEEDED if needed.len() < MAX_NEEDED => needed.push(value),
                elf::DT_RPATH => rpath = Some(value),
                elf::DT_RUNPATH => runpath = Some(value),
                elf::DT_STRTAB => dynamic.strings = value,
                elf::DT_STRSZ => dynamic.strings_size = value,
                elf::DT_SYMTAB => dynamic.symbols = value,
                elf::DT_HASH => dynamic.hash = Some(value),
                elf::DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                elf::DT_RELA => dynamic.rela.0 = value,
                elf::DT_RELASZ => dynamic.rela.1 = value,
                elf::DT_JMPREL => dynamic.plt_rela.0 = value,
                elf::DT_PLTRELSZ => dynamic.plt_rela.1 = value,
                elf::DT_RELR => dynamic.relr.0 = value,
                elf::DT_RELRSZ => dynamic.relr.1 = value,
                _ => {}
            }
        }
        self.linkage = Linkage {
            needed: needed
                .into_iter()
                .filter_map(|at| self.dynamic_string(&dynamic, at, MAX_STRING))
                .collect(),
            rpath: rpath.and_then(|at| self.dynamic_string(&dynamic, at, MAX_STRING)),
            runpath: runpath.and_then(|at| self.dynamic_string(&dynamic, at, MAX_STRING)),
        };
        dynamic
    }

    fn dynamic_string(&self, dynamic: &Dynamic, at: u64, limit: usize) -> Option<&'data [u8]> {
        if at >= dynamic.strings_size {
            return None;
        }
        self.c_string(dynamic.strings.checked_add(at)?, limit)
    }

    fn read_exports(&self, dynamic: &Dynamic) -> HashMap<&'data [u8], u64> {
        let size = size_of::<elf::Sym64<Le>>() as u64;
        let count = self.symbol_count(dynamic).min(MAX_SYMBOLS);
        self.table::<elf::Sym64<Le>>(dynamic.symbols, count * size)
            .iter()
            .filter(|symbol| !symbol.is_undefined(Le) && !symbol.is_local())
            .filter_map(|symbol| {
                let name = self.dynamic_string(dynamic, u64::from(symbol.st_name(Le)), MAX_SYMBOL_NAME)?;
                Some((name, symbol.st_value(Le)))
            })
            .collect()
    }

    // A dynamic symbol table does not say how long it is; the hash table over it does.
    fn symbol_count(&self, dynamic: &Dynamic) -> u64 {
        let gnu = dynamic.gnu_hash.and_then(|at| {
            GnuHashTable::<Header>::parse(Le, self.bytes_from(at)?)
                .ok()?
                .symbol_table_length(Le)
        });
        let count = gnu.or_else(|| {
            let table = HashTable::<Header>::parse(Le, self.bytes_from(dynamic.hash?)?).ok()?;
            Some(table.symbol_table_length())
        });
        u64::from(count.unwrap_or(0))
    }
}

fn segment(header: &elf::ProgramHeader64<Le>, endian: Le) -> Option<Segment> {
    let segment = Segment {
        vaddr: header.p_vaddr(endian),
        file_offset: header.p_offset(endian),
        file_size: header.p_filesz(endian),
        memory_size: header.p_memsz(endian),
        executable: header.p_flags(endian).contains(elf::PF_X),
    };
    // A segment that wraps around the address space is no segment.
    segment.vaddr.checked_add(segment.memory_size)?;
    (segment.file_size <= segment.memory_size).then_some(segment)
}
