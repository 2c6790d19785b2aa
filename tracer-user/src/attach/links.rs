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
        drop_side_by_side(std::mem::take(&mut self.0));
    }
}

fn drop_side_by_side<T: Send>(all: Vec<T>) {
    let mut shares: Vec<Vec<T>> = Vec::new();
    for (number, one) in all.into_iter().enumerate() {
        match shares.get_mut(number % THREADS) {
            Some(share) => share.push(one),
            None => shares.push(vec![one]),
        }
    }
    thread::scope(|scope| {
        for share in shares {
            // Where there is no thread to be had, they are dropped here, one after the other.
            let _ = thread::Builder::new().spawn_scoped(scope, move || drop(share));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread::sleep,
        time::{Duration, Instant},
    };

    use super::{THREADS, drop_side_by_side};

    /// Takes its time to be dropped, until as many are as can be at once.
    struct Slow<'a> {
        now: &'a AtomicUsize,
        most: &'a AtomicUsize,
    }

    impl Drop for Slow<'_> {
        fn drop(&mut self) {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let begin = Instant::now();
            while self.most.load(Ordering::SeqCst) < THREADS && begin.elapsed() < Duration::from_secs(5) {
                sleep(Duration::from_millis(1));
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn all_are_dropped_as_many_at_once_as_there_are_threads() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let slow = || Slow {
            now: &now,
            most: &most,
        };
        drop_side_by_side((0..THREADS + 3).map(|_| slow()).collect());
        assert_eq!((now.into_inner(), most.into_inner()), (0, THREADS));
    }
}
