//! What processes have started so far, and what that has.

use std::{collections::BTreeSet, fs};

use super::stat::parse_stat;

/// Every descendant of these processes that lives; parents come before their children.
///
/// All at once: it takes a look at every process of the machine.
pub(super) fn descendants(pids: &[u32]) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = numbers
        .filter_map(|pid| {
            // It may have ended meanwhile.
            let stat = parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
            Some((pid, stat.parent))
        })
        .collect();
    below(pids, &parents)
}

fn below(pids: &[u32], parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = pids.to_vec();
    let mut seen: BTreeSet<u32> = pids.iter().copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = parents.iter().filter(|(_, of)| *of == parent);
        found.extend(
            children
                .map(|(child, _)| *child)
                .filter(|child| seen.insert(*child)),
        );
    }
    found.split_off(pids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_wrap_and_lie() {
        assert_eq!(below(&[10], &[(3, 10), (12, 3), (4, 1), (10, 12)]), [3, 12]);
        assert!(below(&[10], &[(3, 4)]).is_empty());
    }

    #[test]
    fn what_is_named_is_no_descendant() {
        assert_eq!(below(&[10, 3], &[(3, 10), (12, 3), (5, 10)]), [5, 12]);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = descendants(&[std::process::id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
    }
}
