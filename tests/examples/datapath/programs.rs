//! Programs that only a benchmark needs, assembled here: one that sends, one that drops
//! and one that passes without looking.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::Xdp;
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

/// How the addresses of a set follow from their numbers, which are below 2^21.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Random,
    Consecutive,
    Stride256,
    Stride65536,
}

impl Set {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Consecutive => "consecutive",
            Self::Stride256 => "stride 256",
            Self::Stride65536 => "stride 65,536",
        }
    }

    pub(crate) fn address(self, number: u32) -> u32 {
        match self {
            Self::Random => {
                let mut mixed = number.wrapping_mul(0x5e37_79b1);
                mixed ^= mixed >> 16;
                mixed = mixed.wrapping_mul(0x45eb_ca6b);
                mixed ^ (mixed >> 13)
            }
            Self::Consecutive => number.wrapping_add(0x0b00_0000),
            Self::Stride256 => (number << 8).wrapping_add(0x1000_0000),
            Self::Stride65536 => number.rotate_right(16),
        }
    }

    /// The same on register 0, with register 2 at hand.
    fn instructions(self) -> Vec<u64> {
        match self {
            Self::Random => vec![
                op(0x24, 0, 0, 0, 0x5e37_79b1),
                op(0xbc, 2, 0, 0, 0),
                op(0x74, 2, 0, 0, 16),
                op(0xac, 0, 2, 0, 0),
                op(0x24, 0, 0, 0, 0x45eb_ca6b),
                op(0xbc, 2, 0, 0, 0),
                op(0x74, 2, 0, 0, 13),
                op(0xac, 0, 2, 0, 0),
            ],
            Self::Consecutive => vec![op(0x04, 0, 0, 0, 0x0b00_0000)],
            Self::Stride256 => vec![op(0x64, 0, 0, 0, 8), op(0x04, 0, 0, 0, 0x1000_0000)],
            Self::Stride65536 => vec![
                op(0xbc, 2, 0, 0, 0),
                op(0x74, 2, 0, 0, 16),
                op(0x64, 0, 0, 0, 16),
                op(0x4c, 0, 2, 0, 0),
            ],
        }
    }
}

/// One instruction: operation, destination, source, offset, constant.
fn op(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(constant.cast_unsigned()) << 32
}

/// Whose frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// The first so many addresses of the set (a power of two).
    Banned(u32),
    /// A million addresses of the set that are never banned.
    Clean,
}

/// Where in a frame the source of an IPv4 packet is.
pub(crate) const V4_SOURCE: i16 = 14 + 12;

/// Numbers of a set's addresses from here on are never banned.
pub(crate) const CLEAN: u32 = 1 << 20;

/// Gives each frame a source, whose last four bytes are at an offset, and sends it back to
/// where it is said to come from.
pub(crate) fn sender(set: Set, sources: Sources, offset: i16) -> Result<Ebpf> {
    let (mask, more) = match sources {
        Sources::Banned(count) => (count - 1, 0),
        Sources::Clean => (CLEAN - 1, CLEAN),
    };
    let (mask, more) = (i32::try_from(mask)?, i32::try_from(more)?);
    let address = set.instructions();
    let sum = if offset == V4_SOURCE { 9 } else { 0 };
    let over = i16::try_from(address.len() + 7 + sum)?;
    let mut program = vec![
        op(0x61, 6, 1, 0, 0),                     // r6 = start of the frame
        op(0x61, 7, 1, 4, 0),                     // r7 = its end
        op(0xbf, 2, 6, 0, 0),                     // r2 = r6
        op(0x07, 2, 0, 0, i32::from(offset) + 4), // r2 += end of the address
        op(0x2d, 2, 7, over, 0),                  // if r2 > r7 goto out
        op(0x85, 0, 0, 0, 7),                     // r0 = bpf_get_prandom_u32()
        op(0x54, 0, 0, 0, mask),
        op(0x44, 0, 0, 0, more),
    ];
    program.extend(address);
    program.extend([
        op(0xdc, 0, 0, 0, 32),     // to network order
        op(0x63, 6, 0, offset, 0), // source address = r0
    ]);
    if offset == V4_SOURCE {
        // The identification makes up for the address, so that the checksum stays right.
        program.extend([
            op(0xbc, 2, 0, 0, 0),      // w2 = w0
            op(0x74, 2, 0, 0, 16),     // w2 >>= 16
            op(0x54, 0, 0, 0, 0xffff), // w0 &= 0xffff
            op(0x0c, 0, 2, 0, 0),      // w0 += w2
            op(0xbc, 2, 0, 0, 0),      // w2 = w0
            op(0x74, 2, 0, 0, 16),     // w2 >>= 16
            op(0x0c, 0, 2, 0, 0),      // w0 += w2
            op(0xa4, 0, 0, 0, 0xffff), // w0 ^= 0xffff
            op(0x6b, 6, 0, 14 + 4, 0), // identification = r0
        ]);
    }
    program.extend([
        op(0xb7, 0, 0, 0, 3), // XDP_TX
        op(0x95, 0, 0, 0, 0),
        op(0xb7, 0, 0, 0, 1), // out: XDP_DROP
        op(0x95, 0, 0, 0, 0),
    ]);
    load(&program)
}

/// Returns the same for every frame.
pub(crate) fn constant(action: i32) -> Result<Ebpf> {
    load(&[op(0xb7, 0, 0, 0, action), op(0x95, 0, 0, 0, 0)])
}

/// The program of one of these.
pub(crate) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut("program").context("it is there")?.try_into()?)
}

fn load(instructions: &[u64]) -> Result<Ebpf> {
    let code: Vec<u8> = instructions.iter().flat_map(|it| it.to_le_bytes()).collect();
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(section, &code, 8);
    object.add_symbol(Symbol {
        name: b"program".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let mut ebpf = Ebpf::load(&object.write()?)?;
    program(&mut ebpf)?.load()?;
    Ok(ebpf)
}
