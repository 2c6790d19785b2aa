//! What a process has started so far, and what that has.

use std::{collections::BTreeSet, fs};

use super::stat::parse_stat;

/// Every descendant of a process that lives; parents come before their children.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = numbers
        .filter_map(|pid| {
            // It may have ended meanwhile.
            let stat = parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
            Some((pid, stat.parent))
        })
        .collect();
    below(pid, &parents)
}

fn below(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let (mut found, mut seen) = (vec![pid], BTreeSet::from([pid]));
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
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_wrap_and_lie() {
        assert_eq!(below(10, &[(3, 10), (12, 3), (4, 1), (10, 12)]), [3, 12]);
        assert!(below(10, &[(3, 4)]).is_empty());
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = descendants(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
    }
}
