//! Where the parts of an ELF file are loaded: from a place in the file to its own addresses.

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, ReadRef, elf};

/// The loaded segments of a file.
#[derive(Clone, Debug, Default)]
pub struct Loads {
    /// Offset in the file, bytes of it there, address.
    segments: Vec<(u64, u64, u64)>,
}

impl Loads {
    /// Of an ELF file; none if it is another.
    pub fn of<'a>(data: impl ReadRef<'a>) -> Self {
        let Ok(file) = ElfFile64::<Endianness, _>::parse(data) else { return Self::default() };
        let endian = file.endian();
        let _ = file.elf_header().e_machine(endian);
        let loads = file.elf_program_headers().iter().filter(|h| h.p_type(endian) == elf::PT_LOAD);
        let segments =
            loads.map(|h| (h.p_offset(endian), h.p_filesz(endian), h.p_vaddr(endian))).collect();
        Self { segments }
    }

    /// The file's own address of what stands at `offset` in it.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |&&(start, bytes, _): &&(u64, u64, u64)| {
            // A mapping begins on a page, so perhaps before its segment.
            offset.wrapping_add(0xfff) >= start && offset.wrapping_sub(start) as i64 <= bytes as i64
        };
        let (start, _, address) = self.segments.iter().rev().find(holds)?;
        Some(address.wrapping_add(offset.wrapping_sub(*start)))
    }

    /// The lowest address, at the beginning of a page.
    pub fn base(&self) -> u64 {
        self.segments.iter().map(|s| s.2).min().unwrap_or(0) & !0xfff
    }
}

#[cfg(test)]
mod tests {
    use super::Loads;

    #[test]
    fn offsets_become_addresses() {
        let loads = Loads {
            segments: vec![(0, 0x800, 0), (0x1000, 0x5000, 0x1000), (0x6d10, 0x300, 0x7d10)],
        };
        assert_eq!(loads.address_of(0x1000), Some(0x1000));
        assert_eq!(loads.address_of(0x6000), Some(0x7000));
        assert_eq!(loads.base(), 0);
    }
}
