//! Stubs through which a file calls functions of other files: every call passes there, with its arguments where the function has them.

use std::collections::BTreeMap;

use super::{
    file::Elf,
    placement::{Cost, Placement},
};

/// Stubs begin at multiples of this (`.plt.got`; those of `.plt` and `.plt.sec` have 16 bytes).
const ALIGNMENT: usize = 8;
/// `jmp *offset(%rip)`, plain, and as compilers write it where indirect branches are checked.
const JUMPS: [&[u8]; 4] = [
    &[0xff, 0x25],
    &[0xf2, 0xff, 0x25],
    &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25],
    &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25],
];

/// The stubs of these functions, as far as the file has some. The kernel steps through their jump.
pub fn stubs<'names>(file: &Elf<'_>, names: &[&'names str]) -> BTreeMap<&'names str, Vec<Placement>> {
    let slots: BTreeMap<u64, &str> = file
        .imports()
        .filter_map(|(import, slot)| {
            let name = names.iter().find(|name| name.as_bytes() == import)?;
            Some((slot, *name))
        })
        .collect();
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for segment in file.segments().iter().filter(|segment| segment.executable) {
        let code = file.bytes_from(segment.vaddr).unwrap_or_default();
        for (number, _) in code.chunks(ALIGNMENT).enumerate() {
            let offset = number * ALIGNMENT;
            let vaddr = segment.vaddr + offset as u64;
            if let Some(name) = leads_to(&code[offset..], vaddr).and_then(|slot| slots.get(&slot)) {
                found.entry(*name).or_default().push(Placement {
                    vaddr,
                    cost: Cost::Stepped,
                });
            }
        }
    }
    found
}

/// The slot through which the stub at `vaddr` jumps, if it is one.
fn leads_to(code: &[u8], vaddr: u64) -> Option<u64> {
    let jump = JUMPS.iter().find(|jump| code.starts_with(jump))?;
    let offset = code.get(jump.len()..jump.len() + 4)?;
    let next = vaddr.wrapping_add(jump.len() as u64 + 4);
    Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(offset.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_lead_through_their_slot() {
        let jump = |before: &[u8]| [before, &0x100_i32.to_le_bytes(), &[0x66, 0x90]].concat();
        assert_eq!(leads_to(&jump(&[0xff, 0x25]), 0x1000), Some(0x1106));
        assert_eq!(
            leads_to(&jump(&[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25]), 0x1000),
            Some(0x110a)
        );
        assert_eq!(leads_to(&[0xff, 0x25, 0x00], 0x1000), None, "cut short");
        assert_eq!(leads_to(&jump(&[0xff, 0x15]), 0x1000), None, "a call");
    }
}
