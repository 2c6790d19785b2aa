//! Whether a file still has its symbols. They lie behind everything that is loaded: only the section headers are read.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use object::{
    LittleEndian as Le, elf, pod,
    read::elf::{FileHeader as _, SectionHeader as _},
};

/// Sections that are looked at; real files have a few dozen.
const MAX_SECTIONS: usize = 4096;

/// Whether the file has no symbol table beside that of the dynamic linker.
pub fn is_stripped(file: &File) -> io::Result<bool> {
    let mut head = [0; size_of::<elf::FileHeader64<Le>>()];
    file.read_exact_at(&mut head, 0)?;
    let header = elf::FileHeader64::<Le>::parse(&head[..])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let count = usize::from(header.e_shnum(Le)).min(MAX_SECTIONS);
    let mut table = vec![0; count * size_of::<elf::SectionHeader64<Le>>()];
    file.read_exact_at(&mut table, header.e_shoff(Le))?;
    let (sections, _) = pod::slice_from_bytes::<elf::SectionHeader64<Le>>(&table, count)
        .map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(!sections
        .iter()
        .any(|section| section.sh_type(Le) == elf::SHT_SYMTAB))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command};

    use super::*;

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
    fn what_is_no_elf_file_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0x7f; 200]).expect("written");
        assert!(is_stripped(&file).is_err());
    }
}
