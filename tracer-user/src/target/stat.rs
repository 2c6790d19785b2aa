//! What `/proc/PID/stat` and `/proc/PID/status` say.

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// It has ended, and only waits to be asked how.
    pub is_dead: bool,
    /// It has memory of its own: threads of the kernel have none, and who is about to end has given it up.
    pub has_memory: bool,
    /// Its parent.
    pub parent: u32,
    /// Clock ticks from boot to its start: with the number it names one process for ever.
    pub start_time: u64,
    /// First byte of the environment that it was started with, in its memory; 0 when it may not be seen.
    pub environment_start: u64,
    /// The byte behind it.
    pub environment_end: u64,
}

/// What `/proc/PID/status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The process that the number belongs to.
    pub tgid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// Its number in every PID namespace that it is in, ours first.
    pub namespace_pids: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
}

impl Status {
    /// Whether a file of this owner, group and mode is one that the process may read by itself.
    pub fn may_read(&self, uid: u32, gid: u32, mode: u32) -> bool {
        let of = |who: u32| mode & (0o4 << (3 * who)) != 0;
        if self.uid == 0 {
            true
        } else if self.uid == uid {
            of(2)
        } else if self.gid == gid || self.groups.contains(&gid) {
            of(1)
        } else {
            of(0)
        }
    }
}

pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The second field is a name in brackets that may itself hold brackets and spaces: the last one closes it.
    let close = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&text[close + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) numbers from 1, and the third field is the first here.
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Stat {
        is_dead: matches!(*fields.first()?, "Z" | "X"),
        has_memory: field(23)? != 0,
        parent: fields.get(1)?.parse().ok()?,
        start_time: field(22)?,
        environment_start: field(50)?,
        environment_end: field(51)?,
    })
}

pub(super) fn parse_status(text: &str) -> Option<Status> {
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let mut numbers = value.split_ascii_whitespace().map(str::parse::<u32>);
        match key {
            "Tgid" => status.tgid = numbers.next()?.ok()?,
            "Uid" => status.uid = numbers.nth(1)?.ok()?,
            "Gid" => status.gid = numbers.nth(1)?.ok()?,
            "Groups" => status.groups = numbers.collect::<Result<_, _>>().ok()?,
            "NSpid" => status.namespace_pids = numbers.collect::<Result<_, _>>().ok()?,
            "CapEff" => status.capabilities = u64::from_str_radix(value.trim(), 16).ok()?,
            _ => {}
        }
    }
    (status.tgid != 0).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_files_are_read() {
        let status = parse_status("Tgid:\t7\nUid:\t5 5 5 5\nGid:\t6 6 6 6\nGroups:\t8 9 \n").unwrap();
        assert_eq!(status.groups, [8, 9]);
        for (uid, gid, mode, may) in [
            (0, 0, 0o755, true),
            (0, 0, 0o640, false),
            (0, 9, 0o640, true),
            (0, 6, 0o604, false),
            (5, 0, 0o400, true),
            (5, 6, 0o077, false),
        ] {
            assert_eq!(status.may_read(uid, gid, mode), may, "{uid} {gid} {mode:o}");
        }
        assert!(Status::default().may_read(1, 1, 0), "root reads everything");
    }

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let text = format!("12 (a) S 1 (b)) R {}", fields.join(" "));
        let stat = parse_stat(text.as_bytes()).unwrap();
        assert_eq!(
            (stat.start_time, stat.environment_start, stat.environment_end),
            (22, 50, 51)
        );
        assert_eq!((stat.is_dead, stat.has_memory, stat.parent), (false, true, 4));
        let ending = text.replace(" 23 ", " 0 ");
        assert!(!parse_stat(ending.as_bytes()).unwrap().has_memory);
        assert!(
            parse_stat(format!("12 (R) Z {}", fields.join(" ")).as_bytes())
                .unwrap()
                .is_dead
        );
        assert_eq!(parse_stat(b"1 (x"), None);
        assert_eq!(parse_stat(b"1 (x) R 1 2"), None);
        assert_eq!(parse_status("Name:\tx\n"), None);
    }
}
