//! Work that touches what a target controls, done where it may take for ever.
//!
//! A target can make its own memory and files wait without end (userfaultfd, FUSE), and a read that waits for them cannot be
//! interrupted. So it is a thread's whole life that is at stake: one that does not answer is left behind, and another takes its place.
//! It ends by itself when its read does, with the target at the latest.

use std::{
    cell::RefCell,
    hint,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long work may take once it has begun. Pages that have to come from a disk take some milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a busy machine may take to begin.
const PATIENCE_TO_BEGIN: Duration = Duration::from_secs(10);
/// How long both sides look for one another without sleep. Most work takes a microsecond, and comes in hundreds of pieces one after the
/// other: to wake a processor for each would take twenty times as long.
const BRIEFLY: Duration = Duration::from_micros(50);
/// Stack of a worker, which only makes system calls and copies.
const STACK: usize = 128 << 10;

/// The work was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer in time")]
pub struct Stalled;

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static WORKER: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
}

/// Does some work on a thread of its own and waits for the answer, but not for ever.
pub fn attempt<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stalled> {
    attempt_within(PATIENCE, work)
}

/// The same, with another bound once it has begun.
pub fn attempt_within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stalled> {
    let begun = Arc::new(AtomicBool::new(false));
    let (answer, answers) = channel();
    let started = Arc::clone(&begun);
    let job: Job = Box::new(move || {
        started.store(true, Ordering::Relaxed);
        // Nobody may be waiting any more.
        let _ = answer.send(work());
    });
    WORKER.with_borrow_mut(|worker| {
        let answer = hand_over(worker, job).and_then(|()| wait(patience, &answers, &begun));
        if answer.is_err() {
            *worker = None;
        }
        answer
    })
}

/// Lets this thread's worker go. The next one has the privileges that this thread has then.
pub fn dismiss() {
    WORKER.with_borrow_mut(|worker| *worker = None);
}

fn hand_over(worker: &mut Option<Sender<Job>>, job: Job) -> Result<(), Stalled> {
    if worker.is_none() {
        *worker = Some(hire()?);
    }
    let sent = worker.as_ref().map(|worker| worker.send(job));
    sent.and_then(Result::ok).ok_or(Stalled)
}

fn hire() -> Result<Sender<Job>, Stalled> {
    let (jobs, queue) = channel::<Job>();
    thread::Builder::new()
        .name("patience".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            while let Some(job) = briefly(&queue).or_else(|| queue.recv().ok()) {
                job();
            }
        })
        .map_err(|_| Stalled)?;
    Ok(jobs)
}

/// What comes at once, if anything does. One processor alone cannot look and work.
fn briefly<T>(from: &Receiver<T>) -> Option<T> {
    static SEVERAL: LazyLock<bool> =
        LazyLock::new(|| thread::available_parallelism().is_ok_and(|processors| processors.get() > 1));
    let begin = Instant::now();
    while *SEVERAL && begin.elapsed() < BRIEFLY {
        match from.try_recv() {
            Ok(it) => return Some(it),
            Err(TryRecvError::Empty) => hint::spin_loop(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    None
}

fn wait<T>(patience: Duration, answers: &Receiver<T>, begun: &AtomicBool) -> Result<T, Stalled> {
    let asked = Instant::now();
    if let Some(answer) = briefly(answers) {
        return Ok(answer);
    }
    loop {
        let had_begun = begun.load(Ordering::Relaxed);
        match answers.recv_timeout(patience) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) if !had_begun && asked.elapsed() < PATIENCE_TO_BEGIN => {}
            Err(_) => return Err(Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back() {
        assert_eq!(attempt(|| 6 * 7), Ok(42));
        assert_eq!(attempt(|| "again"), Ok("again"));
    }

    #[test]
    fn who_does_not_answer_is_left_behind() {
        let (_kept, never) = channel::<()>();
        let began = Instant::now();
        assert_eq!(attempt(move || never.recv().is_ok()), Err(Stalled));
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!(attempt(|| 1), Ok(1));
    }

    #[test]
    fn work_that_panics_is_no_answer() {
        assert_eq!(
            attempt(|| assert!(hint::black_box(false), "on purpose")),
            Err(Stalled)
        );
        assert_eq!(attempt(|| 1), Ok(1));
    }
}
