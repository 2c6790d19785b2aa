//! Links, and how they are undone.

use std::{os::fd::OwnedFd, thread};

/// Threads that undo links.
const THREADS: usize = 16;

/// Links of programs to probe points. They are undone when this is dropped.
///
/// The kernel waits for whoever may still be inside a program each time that a link is undone, some 100 ms (`uprobe_unregister_sync`,
/// `kernel/events/uprobes.c`, Linux 6.12): side by side, those that wait share it.
#[derive(Debug, Default)]
pub struct Links(Vec<OwnedFd>);

impl Links {
    /// Keeps a link until the end.
    pub fn push(&mut self, link: OwnedFd) {
        self.0.push(link);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let links = std::mem::take(&mut self.0);
        let mut shares: Vec<Vec<OwnedFd>> = Vec::new();
        for (number, link) in links.into_iter().enumerate() {
            match shares.get_mut(number % THREADS) {
                Some(share) => share.push(link),
                None => shares.push(vec![link]),
            }
        }
        thread::scope(|scope| {
            for share in shares {
                // Where there is no thread to be had, they are undone here, one after the other.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(share));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _, os::fd::OwnedFd};

    use super::{Links, THREADS};

    #[test]
    fn all_are_undone() {
        let mut links = Links::default();
        let mut ends = Vec::new();
        for _ in 0..THREADS * 2 + 3 {
            let (end, link) = std::io::pipe().expect("a pipe");
            links.push(OwnedFd::from(link));
            ends.push(File::from(OwnedFd::from(end)));
        }
        drop(links);
        for mut end in ends {
            // A pipe that nobody writes to any more ends.
            assert_eq!(end.read(&mut [0]).expect("readable"), 0);
        }
    }
}
