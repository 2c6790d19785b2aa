//! One order for what LLVM writes in any: the forward declarations in BTF, of structs that programs only point to, come out of a table
//! that is hashed by address, and so differ from build to build.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// `struct btf_header`, `struct btf_type` and the kinds (`include/uapi/linux/btf.h`).
const MAGIC: u16 = 0xeb9f;
const TYPE: usize = 12;
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Puts the forward declarations and their names in alphabetic order, each in the place of another, and follows what refers to them.
pub fn sort(btf: &mut [u8]) -> Result<()> {
    let types = Types::find(btf)?;
    let forward: Vec<&Type> = types.all.iter().filter(|of| of.kind == FWD).collect();
    let mut sorted = Vec::new();
    for of in &forward {
        sorted.push((types.name(btf, of)?.to_vec(), of.id, word(btf, of.at + 4)?));
    }
    sorted.sort();
    let names = types.sort_names(btf, &forward, sorted.iter().map(|(name, ..)| &**name))?;
    let mut moved = BTreeMap::new();
    for ((place, (_, id, info)), name) in forward.iter().zip(&sorted).zip(names) {
        for (at, word) in [(0, name), (4, *info)] {
            btf[place.at + at..place.at + at + 4].copy_from_slice(&word.to_le_bytes());
        }
        moved.insert(*id, place.id);
    }
    for at in types.all.iter().flat_map(|of| &of.references) {
        let id = word(btf, *at)?;
        if let Some(id) = moved.get(&id) {
            btf[*at..*at + 4].copy_from_slice(&id.to_le_bytes());
        }
    }
    Ok(())
}

/// A type, and where its numbers of other types are.
struct Type {
    id: u32,
    kind: u32,
    at: usize,
    references: Vec<usize>,
}

struct Types {
    all: Vec<Type>,
    strings: usize,
}

impl Types {
    fn find(btf: &[u8]) -> Result<Self> {
        ensure!(word(btf, 0)? & 0xffff == u32::from(MAGIC), "it is no BTF");
        let header = word(btf, 4)? as usize;
        let (start, len) = (header + word(btf, 8)? as usize, word(btf, 12)? as usize);
        let strings = header + word(btf, 16)? as usize;
        let (mut at, mut all) = (start, Vec::new());
        while at < start + len {
            let info = word(btf, at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let after = at + TYPE;
            let each = |size: usize, within: usize| (0..count).map(move |n| after + n * size + within);
            let (size, references): (usize, Vec<usize>) = match kind {
                INT => (4, Vec::new()),
                PTR | TYPEDEF..=FUNC | TYPE_TAG => (0, vec![at + 8]),
                ARRAY => (12, vec![after, after + 4]),
                STRUCT | UNION => (12 * count, each(12, 4).collect()),
                ENUM => (8 * count, Vec::new()),
                FWD | FLOAT => (0, Vec::new()),
                FUNC_PROTO => (8 * count, each(8, 4).chain([at + 8]).collect()),
                VAR | DECL_TAG => (4, vec![at + 8]),
                DATASEC => (12 * count, each(12, 0).collect()),
                ENUM64 => (12 * count, Vec::new()),
                _ => bail!("BTF has a type of unknown kind {kind}"),
            };
            all.push(Type {
                id: all.len() as u32 + 1,
                kind,
                at,
                references,
            });
            at = after + size;
        }
        Ok(Self { all, strings })
    }

    /// Writes the names of the forward declarations anew, in this order; where each of them is then. Nothing else is in their midst:
    /// they are the last to be added.
    fn sort_names<'a>(
        &self,
        btf: &mut [u8],
        forward: &[&Type],
        names: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<u32>> {
        let mut starts = Vec::new();
        for of in forward {
            starts.push((word(btf, of.at)?, self.name(btf, of)?.len() as u32));
        }
        starts.sort_unstable();
        let follow = |pair: &[(u32, u32)]| pair[0].0 + pair[0].1 + 1 == pair[1].0;
        ensure!(
            starts.windows(2).all(follow),
            "BTF has other names between those of its forward declarations"
        );
        let mut next = starts.first().map_or(0, |(start, _)| *start);
        let mut places = Vec::new();
        for name in names {
            places.push(next);
            let at = self.strings + next as usize;
            btf[at..at + name.len()].copy_from_slice(name);
            btf[at + name.len()] = 0;
            next += name.len() as u32 + 1;
        }
        Ok(places)
    }

    fn name<'a>(&self, btf: &'a [u8], of: &Type) -> Result<&'a [u8]> {
        let start = self.strings + word(btf, of.at)? as usize;
        let rest = btf.get(start..).context("a name of BTF is not there")?;
        rest.split(|byte| *byte == 0).next().context("a name has an end")
    }
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..at + 4).context("BTF is cut short")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::sort;

    /// Pointers to two structs that are only declared, in this order.
    fn btf(names: [&str; 2]) -> Vec<u8> {
        let strings = format!("\0int\0{}\0{}\0", names[0], names[1]);
        let offset = |name: &str| strings.find(name).expect("one of them") as u32;
        let place = |name: &str| 3 + names.iter().position(|n| *n == name).expect("one of them") as u32;
        let mut types = Vec::new();
        for (kind, name, refers) in [
            (2_u32, 0, place("Record")),
            (2, 0, place("Scratch")),
            (7, offset(names[0]), 0),
            (7, offset(names[1]), 0),
        ] {
            for word in [name, kind << 24, refers] {
                types.extend(word.to_le_bytes());
            }
        }
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            btf.extend(word.to_le_bytes());
        }
        btf.extend(types);
        btf.extend(strings.into_bytes());
        btf
    }

    #[test]
    fn declarations_come_in_one_order_and_pointers_follow() {
        let (one, mut other) = (btf(["Record", "Scratch"]), btf(["Scratch", "Record"]));
        assert_ne!(one, other);
        sort(&mut other).expect("it is BTF");
        assert_eq!(one, other);
        let mut same = one.clone();
        sort(&mut same).expect("it is BTF");
        assert_eq!(one, same);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let whole = btf(["Record", "Scratch"]);
        for len in [0, 10, 30, 70] {
            assert!(sort(&mut whole[..len].to_vec()).is_err(), "{len}");
        }
    }
}
