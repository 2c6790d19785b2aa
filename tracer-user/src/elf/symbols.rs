//! Whether a file still has its symbols, and where they say that something is. They lie behind everything that is loaded: only the
//! section headers and, of what they list, the symbols are read.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use object::{
    LittleEndian as Le, elf, pod,
    read::elf::{FileHeader as _, SectionHeader as _, Sym as _},
};

/// Sections that are looked at; real files have a few dozen.
const MAX_SECTIONS: usize = 4096;

/// Bytes that are read of a table of symbols, or of their names, at most; a debug build of an interpreter has 2 MiB.
const MAX_TABLE: u64 = 64 * 1024 * 1024;

/// Whether the file has no symbol table beside that of the dynamic linker.
pub fn is_stripped(file: &File) -> io::Result<bool> {
    Ok(!sections(file)?.iter().any(is_symbols))
}

/// The link-time address of something that the file defines, exported or not. None where there is no symbol of that name.
pub fn symbol(file: &File, name: &str) -> io::Result<Option<u64>> {
    let sections = sections(file)?;
    let Some(table) = sections.iter().find(|section| is_symbols(section)) else {
        return Ok(None);
    };
    let Some(names) = sections.get(table.sh_link(Le) as usize) else {
        return Ok(None);
    };
    let (table, names) = (read(file, table)?, read(file, names)?);
    let count = table.len() / size_of::<elf::Sym64<Le>>();
    let (symbols, _) = pod::slice_from_bytes::<elf::Sym64<Le>>(&table, count)
        .map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
    let is_called = |symbol: &&elf::Sym64<Le>| {
        let rest = names.get(symbol.st_name(Le) as usize..);
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut defined = symbols
        .iter()
        .filter(|symbol| symbol.st_shndx(Le) != elf::SHN_UNDEF);
    Ok(defined.find(is_called).map(|symbol| symbol.st_value(Le)))
}

fn read(file: &File, section: &elf::SectionHeader64<Le>) -> io::Result<Vec<u8>> {
    let len = section.sh_size(Le);
    if len > MAX_TABLE.min(file.metadata()?.len()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, section.sh_offset(Le))?;
    Ok(bytes)
}

fn is_symbols(section: &elf::SectionHeader64<Le>) -> bool {
    section.sh_type(Le) == elf::SHT_SYMTAB
}

fn sections(file: &File) -> io::Result<Vec<elf::SectionHeader64<Le>>> {
    let mut head = [0; size_of::<elf::FileHeader64<Le>>()];
    file.read_exact_at(&mut head, 0)?;
    let header = elf::FileHeader64::<Le>::parse(&head[..])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let count = usize::from(header.e_shnum(Le)).min(MAX_SECTIONS);
    let mut table = vec![0; count * size_of::<elf::SectionHeader64<Le>>()];
    file.read_exact_at(&mut table, header.e_shoff(Le))?;
    let (sections, _) = pod::slice_from_bytes::<elf::SectionHeader64<Le>>(&table, count)
        .map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(sections.to_vec())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command};

    use super::*;

    #[unsafe(no_mangle)]
    extern "C" fn bleedtrace_test_symbol() -> u32 {
        17
    }

    unsafe extern "C" {
        fn main();
    }

    #[test]
    fn it_sees_what_strip_does() {
        let own = std::env::current_exe().expect("this program");
        assert!(!is_stripped(&File::open(&own).expect("opened")).expect("read"));
        let directory = tempfile::tempdir().expect("a directory");
        let stripped = directory.path().join("stripped");
        let done = Command::new("strip").arg("-o").arg(&stripped).arg(&own).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("SKIP it_sees_what_strip_does: no strip");
            return;
        }
        assert!(is_stripped(&File::open(&stripped).expect("opened")).expect("read"));
    }

    #[test]
    fn a_symbol_is_where_the_linker_put_it() {
        let own = File::open(std::env::current_exe().expect("this program")).expect("opened");
        let found = symbol(&own, "bleedtrace_test_symbol")
            .expect("read")
            .expect("there");
        // Loaded as a whole: two of its functions are as far apart as their symbols.
        let other = symbol(&own, "main").expect("read").expect("there");
        let distance = (bleedtrace_test_symbol as *const () as u64).wrapping_sub(main as *const () as u64);
        assert_eq!(found.wrapping_sub(other), distance);
        assert_eq!(
            symbol(&own, "bleedtrace_test_symbo").expect("read"),
            None,
            "a part of a name"
        );
        assert_eq!(bleedtrace_test_symbol(), 17);
    }

    #[test]
    fn what_is_no_elf_file_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0x7f; 200]).expect("written");
        assert!(is_stripped(&file).is_err());
        assert!(symbol(&file, "main").is_err());
    }
}
