//! Work on files that a target chose, with an end: a file system may belong to the target, and never answer.

use std::{
    io,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// How long a file system has to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that may wait for an answer that never comes.
const MAX_WAITING: usize = 16;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Does the work on a thread of its own, which is left behind when it does not end in time.
pub fn bounded<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    within(PATIENCE, work)
}

fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let silent = |text| io::Error::new(io::ErrorKind::TimedOut, text);
    if WAITING.load(Ordering::Relaxed) >= MAX_WAITING {
        return Err(silent("too many file systems do not answer"));
    }
    let (send, receive) = mpsc::sync_channel(1);
    WAITING.fetch_add(1, Ordering::Relaxed);
    let started = thread::Builder::new().name("file".to_owned()).spawn(move || {
        let outcome = work();
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Nobody waits any more when it took too long.
        let _ = send.send(outcome);
    });
    if let Err(error) = started {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return Err(error);
    }
    receive
        .recv_timeout(patience)
        .unwrap_or_else(|_| Err(silent("its file system does not answer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_left_behind() {
        let (_hold, wait) = mpsc::channel::<()>();
        let outcome = within(Duration::from_millis(20), move || {
            let _ = wait.recv();
            Ok(())
        });
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(bounded(|| Ok(7)).unwrap(), 7);
    }
}
