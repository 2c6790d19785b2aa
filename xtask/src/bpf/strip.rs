//! The object as it is committed: without what the loader has no use for, in one order where LLVM writes in any.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

use super::forward;

/// The object without its `.debug_*` sections, their relocations and the symbols that point into them.
/// BTF, maps, read-only data, programs and all other symbols stay.
pub fn debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the linker's output is no ELF file")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if name == b".BTF"
            && let SectionData::Data(data) = &mut section.data
        {
            forward::sort(data.to_mut())?;
        }
        let relocates = matches!(section.data, SectionData::Relocation(_));
        section.delete = name.starts_with(b".debug_") || relocates && name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    add_section_names(&mut builder);
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("the stripped object cannot be written")?;
    Ok(stripped)
}

/// LLVM keeps the names of sections and of symbols in one table; the writer wants one for each.
fn add_section_names(builder: &mut Builder<'_>) {
    if builder
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString))
    {
        return;
    }
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
}
