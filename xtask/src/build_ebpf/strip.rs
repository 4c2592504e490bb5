//! Taking DWARF out of the object: the loader reads BTF, and nobody debugs in the kernel. An
//! object whose bytes would depend on where it was built is refused.

use anyhow::{Context, bail};
use object::build::elf::{Builder, SectionData};

/// The object without its debug sections, and without the relocations that belong to them.
pub(super) fn debug_sections(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the linker wrote no ELF")?;
    // Its name has a hash of the package's path in it.
    let mangled = |symbol: &&object::build::elf::Symbol<'_>| {
        symbol.st_type() == object::elf::STT_FUNC && symbol.name.to_string().starts_with("_R")
    };
    if let Some(symbol) = builder.symbols.iter().find(mangled) {
        bail!(
            "{} is not inlined, and its name depends on the path here: mark it #[inline(always)]; \
             if it is a closure, make it a function",
            symbol.name
        );
    }
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug_") || name.starts_with(".rel.debug_");
    }
    // LLVM keeps the names of sections among those of symbols, which the builder cannot.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    builder.delete_unused_versions();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("writing the object")?;
    Ok(stripped)
}
