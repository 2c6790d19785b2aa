//! The memory map of a process, as `/proc/PID/maps` prints it.
//!
//! The path is what the target chose: it may hold spaces, line breaks (printed as `\012`), or end in ` (deleted)` without
//! being deleted. So a mapping keeps the raw bytes, and [`Mapping::candidates`] lists what they can mean; which of them is
//! true, if any, is decided by device and inode alone.

use std::ops::Range;

/// Mappings that are looked at of one process; the kernel's own default limit is 65,530.
pub const MAX_MAPPINGS: usize = 1 << 18;

const DELETED: &[u8] = b" (deleted)";
const LINE_BREAK: &[u8] = b"\\012";

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Inode.
    pub inode: u64,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range<u64>,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// Offset in the file.
    pub offset: u64,
    /// The file; inode 0 when there is none.
    pub file: FileId,
    /// What stands behind the inode, undecoded.
    pub raw_path: Vec<u8>,
}

impl Mapping {
    /// Whether a file with a path is mapped.
    pub fn is_file(&self) -> bool {
        self.file.inode != 0 && self.raw_path.starts_with(b"/")
    }

    /// Whether the path says that the file was deleted. The file's real name may say so, too.
    pub fn says_deleted(&self) -> bool {
        self.raw_path.ends_with(DELETED)
    }

    /// Every path that the printed one can stand for.
    pub fn candidates(&self) -> Vec<Vec<u8>> {
        if !self.is_file() {
            return Vec::new();
        }
        let mut all = vec![self.raw_path.clone()];
        let decoded = decode(&self.raw_path);
        if decoded != self.raw_path {
            all.push(decoded);
        }
        all
    }

    /// The last part of the path, for people and for recognising libraries; never to be opened.
    pub fn file_name(&self) -> &[u8] {
        let path = self.raw_path.strip_suffix(DELETED).unwrap_or(&self.raw_path);
        path.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }
}

fn decode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(LINE_BREAK) {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// Parses a whole map; the error is the first line that makes no sense.
pub fn parse(text: &[u8]) -> Result<Vec<Mapping>, String> {
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .take(MAX_MAPPINGS)
        .map(|line| mapping(line).ok_or_else(|| line.escape_ascii().to_string()))
        .collect()
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |b| *b == b' ');
    let mut field = || fields.next().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?.as_bytes();
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let path = fields.next().unwrap_or_default();
    let padding = path.iter().take_while(|b| **b == b' ').count();
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        range: number(start)?..number(end)?,
        readable: *permissions.first()? == b'r',
        writable: *permissions.get(1)? == b'w',
        executable: *permissions.get(2)? == b'x',
        offset: number(offset)?,
        file: FileId {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode,
        },
        raw_path: path[padding..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Mapping {
        parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn an_ordinary_line() {
        let m = one(
            "7f1c2a000000-7f1c2a1d0000 r-xp 00028000 103:02 1837465                    /usr/lib/libpython3.12.so.1.0\n",
        );
        assert_eq!(m.range, 0x7f1c_2a00_0000..0x7f1c_2a1d_0000);
        assert!(m.readable && !m.writable && m.executable && m.is_file());
        assert_eq!(
            (m.offset, m.file),
            (
                0x28000,
                FileId {
                    major: 0x103,
                    minor: 2,
                    inode: 1_837_465
                }
            )
        );
        assert_eq!(m.file_name(), b"libpython3.12.so.1.0");
    }

    #[test]
    fn anonymous_and_special_lines_are_no_files() {
        for line in [
            "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 ",
            "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]",
            "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [anon:/usr/lib/x]",
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
        ] {
            assert!(
                !one(line).is_file() && one(line).candidates().is_empty(),
                "{line}"
            );
        }
    }

    #[test]
    fn misleading_names_stay_ambiguous() {
        let head = "1000-2000 r-xp 00000000 08:01 5 ";
        let spaces = one(&format!("{head}   /opt/my app/a  b.so"));
        assert_eq!(spaces.candidates(), [b"/opt/my app/a  b.so"]);

        let broken = one(&format!("{head}/tmp/a\\0121000-2000 r-xp 0 08:01 7 /b"));
        assert_eq!(broken.candidates().len(), 2);
        assert_eq!(broken.candidates()[1], b"/tmp/a\n1000-2000 r-xp 0 08:01 7 /b");
        assert_eq!(broken.file.inode, 5);

        let deleted = one(&format!("{head}/tmp/x (deleted)"));
        assert!(deleted.says_deleted());
        assert_eq!(deleted.candidates(), [b"/tmp/x (deleted)"]);
        assert_eq!(deleted.file_name(), b"x");

        assert_eq!(one(&format!("{head}/SYSV")).file_name(), b"SYSV");
        let mut bytes = format!("{head}/tmp/").into_bytes();
        bytes.extend([0xff, 0xfe]);
        assert_eq!(parse(&bytes).unwrap()[0].file_name(), [0xff, 0xfe]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "x",
            "1-2",
            "1-2 r",
            "1-2 rwxp 0 8:1 z /a",
            "g-2 rwxp 0 8:1 1 /a",
            "1-2 rw 0 8:1 1 /a",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_the_kernel_prints_comes_back(
            start: u32, len in 1u32.., offset: u64, inode in 1u64.., name in "[^\u{0}]{1,60}",
        ) {
            let (start, end) = (u64::from(start), u64::from(start) + u64::from(len));
            let printed = format!("/{name}").replace('\n', "\\012");
            let line = format!("{start:08x}-{end:08x} r--s {offset:08x} fe:0a {inode}         {printed}\n");
            let found = one(&line);
            prop_assert_eq!(found.range.clone(), start..end);
            prop_assert_eq!((found.offset, found.file.inode, found.file.minor), (offset, inode, 10));
            let path = format!("/{name}").into_bytes();
            prop_assert!(found.candidates().contains(&path));
        }
    }
}
