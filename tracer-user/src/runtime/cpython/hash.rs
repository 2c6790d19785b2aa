//! The hash of a `str`, as a process makes it: dictionaries are searched by it.

use super::{
    memory::{Memory, MemoryError, text},
    modules::dict_entries,
    threads::Interpreter,
};

/// First minor version with SipHash-1-3 instead of SipHash-2-4 (`Python/pyhash.c`).
const FIRST_WITH_SIPHASH13: u32 = 11;
/// `PyASCIIObject.hash` with a GIL (`Include/cpython/unicodeobject.h`).
pub(super) const STR_HASH: u64 = 24;

/// The hash of the ASCII text `name` in this process. Builds may choose another function: the name of a module, whose hash is known,
/// has to give it.
pub fn str_hash<M: Memory>(interpreter: Interpreter<'_, M>, name: &str) -> Result<u64, MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    let unknown = MemoryError::invalid("hash function", 0);
    let secret = interpreter.core.addresses.hash_secret.ok_or(unknown)?;
    let secret = interpreter.bias.wrapping_add(secret);
    let key = [memory.u64(secret, 0)?, memory.u64(secret, 8)?];
    let rounds = if layout.minor >= FIRST_WITH_SIPHASH13 {
        1
    } else {
        2
    };
    let modules = memory.u64(interpreter.main()?, layout.interp_modules)?;
    let (known, _) = *dict_entries(interpreter, modules)?.first().ok_or(unknown)?;
    if of(key, rounds, text(memory, layout, known)?.as_bytes())
        != memory.u64(known, layout.member(STR_HASH))?
    {
        return Err(unknown);
    }
    Ok(of(key, rounds, name.as_bytes()))
}

/// `_Py_HashBytes` (`Python/pyhash.c`).
fn of(key: [u64; 2], rounds: u32, bytes: &[u8]) -> u64 {
    match siphash(key, rounds, bytes) {
        _ if bytes.is_empty() => 0,
        u64::MAX => u64::MAX - 1,
        hash => hash,
    }
}

/// SipHash with `rounds` a word and two more at the end.
fn siphash([k0, k1]: [u64; 2], rounds: u32, bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let word = |v: &mut [u64; 4], word: u64| {
        v[3] ^= word;
        (0..rounds).for_each(|_| round(v));
        v[0] ^= word;
    };
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    for bytes in words {
        word(
            &mut v,
            bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)),
        );
    }
    let last = rest.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    word(&mut v, (bytes.len() as u64) << 56 | last);
    v[2] ^= 0xff;
    (0..rounds + 2).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of the authors of SipHash: key 00..0f, and the bytes 00, 01, 02 ...
    #[test]
    fn siphash_gives_the_hashes_of_its_authors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(key, 2, &bytes), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash(key, 2, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn nothing_hashes_to_nothing() {
        assert_eq!(of([1, 2], 1, b""), 0);
    }
}
