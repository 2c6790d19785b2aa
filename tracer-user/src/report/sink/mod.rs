//! Where findings go besides the output: each place has a bounded queue and a thread of its own. Nothing that happens there, and nothing
//! that does not, holds up the pipeline; what is lost is counted.

pub mod file;
pub mod otlp;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{finding::ExportedFinding, metrics::Metrics, summary::Summary};
use crate::{correlate::finding::names, privilege};

/// What waits for one sink at most; what comes on top is dropped and counted.
const QUEUE: usize = 2_048;
/// What is handed over at once.
const BATCH: usize = 256;
/// The first pause before something is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Kinds of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// A file with one object a line.
    File,
    /// Findings as logs of OpenTelemetry.
    OtlpLogs,
    /// Metrics of OpenTelemetry.
    OtlpMetrics,
}

names!(SinkKind {
    File => "file",
    OtlpLogs => "otlp_logs",
    OtlpMetrics => "otlp_metrics",
});

/// What a sink gets.
#[derive(Clone, Debug)]
pub enum Item {
    /// A finding.
    Finding(Box<ExportedFinding>),
    /// The summary, last of all.
    Summary(Box<Summary>),
}

/// Somewhere that findings go.
pub trait Sink: Send + 'static {
    /// Takes these in, in order. After an error those that were not taken in are given again.
    fn write(&mut self, items: &[Arc<Item>]) -> Result<Taken, Later>;

    /// There is nothing more to come.
    fn close(&mut self) -> Result<(), String>;
}

/// An error that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// How many of the items were taken in before it.
    pub taken: usize,
    /// What it is.
    pub error: String,
}

impl From<String> for Later {
    /// Nothing was taken in.
    fn from(error: String) -> Self {
        Self { taken: 0, error }
    }
}

/// What became of items that will not be given again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many of them were refused for good.
    pub refused: u64,
    /// Why.
    pub why: Option<String>,
}

/// A sink at work.
#[derive(Debug)]
pub struct Outlet {
    kind: SinkKind,
    items: SyncSender<Arc<Item>>,
    /// Closed to say that it is over.
    open: SyncSender<()>,
    done: Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kind: SinkKind,
    metrics: Arc<Metrics>,
    /// Sent, and neither taken in nor dropped yet.
    pending: AtomicU64,
    dropped: AtomicU64,
    error: Mutex<Option<String>>,
}

/// What did not get where it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// How many findings and summaries.
    pub items: u64,
    /// Why, as far as the sink has said.
    pub error: Option<String>,
}

/// A sink that is sent nothing more.
#[derive(Debug)]
pub struct Closing {
    kind: SinkKind,
    done: Receiver<()>,
    shared: Arc<Shared>,
}

impl Outlet {
    /// Starts the sink's thread.
    pub fn start(kind: SinkKind, sink: impl Sink, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (items, waiting) = mpsc::sync_channel(QUEUE);
        let (open, over) = mpsc::sync_channel(0);
        let (tell, done) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            kind,
            metrics,
            pending: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            error: Mutex::default(),
        });
        let worker = Worker {
            sink,
            waiting,
            over,
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name(format!("bleedtrace-{}", kind.name()))
            .spawn(move || {
                match kind {
                    SinkKind::File => privilege::drop_all_but_files(),
                    SinkKind::OtlpLogs | SinkKind::OtlpMetrics => privilege::drop_all(),
                }
                worker.run();
                // Whoever waits may have given up.
                let _ = tell.send(());
            })?;
        Ok(Self {
            kind,
            items,
            open,
            done,
            shared,
        })
    }

    /// Hands something to the sink, if it has room for it. Never waits.
    pub fn send(&self, item: Arc<Item>) {
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        if self.items.try_send(item).is_err() {
            self.shared.drop_pending(1);
        }
    }

    /// Nothing more will be sent.
    pub fn close(self) -> Closing {
        drop(self.items);
        drop(self.open);
        Closing {
            kind: self.kind,
            done: self.done,
            shared: self.shared,
        }
    }
}

impl Closing {
    /// Waits for what was sent, but no longer than this. What is not there by then is dropped.
    pub fn wait(self, patience: Duration) -> Result<(), Undelivered> {
        if self.done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::debug!(sink = self.kind.name(), "the sink does not come to its end");
        }
        self.shared
            .drop_pending(self.shared.pending.load(Ordering::Relaxed));
        let items = self.shared.dropped.load(Ordering::Relaxed);
        let error = self.shared.error().clone();
        if items == 0 && error.is_none() {
            Ok(())
        } else {
            Err(Undelivered { items, error })
        }
    }
}

impl Shared {
    fn drop_pending(&self, items: u64) {
        self.pending.fetch_sub(items, Ordering::Relaxed);
        self.dropped.fetch_add(items, Ordering::Relaxed);
        self.metrics.sink_dropped(self.kind, items);
    }

    fn error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a sink has answered. Said once, until it is well again.
    fn note(&self, outcome: Result<(), String>) {
        let mut last = self.error();
        match outcome {
            Ok(()) => {
                if last.take().is_some() {
                    tracing::warn!(sink = self.kind.name(), "findings are written again");
                }
            }
            Err(error) => {
                self.metrics.sink_error(self.kind);
                if last.is_none() {
                    tracing::warn!(
                        sink = self.kind.name(),
                        error,
                        "findings cannot be written: they wait"
                    );
                }
                *last = Some(error);
            }
        }
    }
}

struct Worker<S> {
    sink: S,
    waiting: Receiver<Arc<Item>>,
    over: Receiver<()>,
    shared: Arc<Shared>,
}

impl<S: Sink> Worker<S> {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = self.waiting.recv() {
            batch.push(first);
            batch.extend(self.waiting.try_iter().take(BATCH - 1));
            self.deliver(&batch);
            batch.clear();
        }
        let outcome = self.sink.close();
        if outcome.is_err() {
            self.shared.note(outcome);
        }
    }

    fn taken(&self, items: u64, Taken { refused, why }: Taken) {
        let shared = &self.shared;
        let refused = refused.min(items);
        self.sent(items - refused);
        shared.drop_pending(refused);
        shared.note(why.map_or(Ok(()), Err));
    }

    fn sent(&self, items: u64) {
        self.shared.pending.fetch_sub(items, Ordering::Relaxed);
        self.shared.metrics.sink_sent(self.shared.kind, items);
    }

    /// Tries until it works. At the end whoever closes decides how long that may take, and does not wait for us.
    fn deliver(&mut self, mut batch: &[Arc<Item>]) {
        let mut pause = PAUSES.0;
        loop {
            match self.sink.write(batch) {
                Ok(taken) => return self.taken(batch.len() as u64, taken),
                Err(Later { taken, error }) => {
                    let (_, rest) = batch.split_at(taken.min(batch.len()));
                    self.sent((batch.len() - rest.len()) as u64);
                    self.shared.note(Err(error));
                    if rest.is_empty() {
                        return;
                    }
                    batch = rest;
                }
            }
            let until = Instant::now() + pause;
            if self.over.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                // It is over: no long pauses any more.
                thread::sleep(PAUSES.0.min(until.saturating_duration_since(Instant::now())));
                pause = PAUSES.0;
            } else {
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        correlate::finding::Kind,
        report::{clock::Clock, samples, tally::Tally},
    };

    /// Takes in what it gets whenever the test lets it.
    struct Gate {
        answers: Receiver<Result<Taken, Later>>,
        begun: mpsc::Sender<usize>,
        taken: mpsc::Sender<usize>,
    }

    impl Sink for Gate {
        fn write(&mut self, items: &[Arc<Item>]) -> Result<Taken, Later> {
            // Who listens may be gone.
            let _ = self.begun.send(items.len());
            let taken = self.answers.recv().unwrap_or_else(|_| Ok(Taken::default()))?;
            let _ = self.taken.send(items.len());
            Ok(taken)
        }

        fn close(&mut self) -> Result<(), String> {
            Ok(())
        }
    }

    type Answer = mpsc::Sender<Result<Taken, Later>>;

    fn start() -> (Outlet, Answer, Receiver<usize>, Arc<Metrics>) {
        let (outlet, answer, _, told, metrics) = start_watched();
        (outlet, answer, told, metrics)
    }

    /// The same, with what is told when a batch is begun.
    fn start_watched() -> (Outlet, Answer, Receiver<usize>, Receiver<usize>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(Clock::default()));
        let (answer, answers) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let (taken, told) = mpsc::channel();
        let gate = Gate {
            answers,
            begun,
            taken,
        };
        let outlet = Outlet::start(SinkKind::File, gate, Arc::clone(&metrics)).unwrap();
        (outlet, answer, begins, told, metrics)
    }

    fn item() -> Arc<Item> {
        let finding = samples::export(&samples::finding(Kind::Bleed), false);
        Arc::new(Item::Finding(Box::new(finding)))
    }

    #[track_caller]
    fn assert_counted(metrics: &Metrics, family: &str, count: u64) {
        let text = metrics.render();
        let line = format!("bleedtrace_sink_{family}_total{{sink=\"file\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }

    #[test]
    fn what_was_sent_is_there_at_the_end() {
        let (outlet, answer, told, metrics) = start();
        for _ in 0..300 {
            outlet.send(item());
        }
        outlet.send(Arc::new(Item::Summary(Box::new(Tally::default().finish(None)))));
        drop(answer);
        assert_eq!(outlet.close().wait(Duration::from_secs(10)), Ok(()));
        assert_eq!(told.iter().sum::<usize>(), 301);
        assert_counted(&metrics, "sent", 301);
        assert_counted(&metrics, "dropped", 0);
        assert_counted(&metrics, "errors", 0);
    }

    #[test]
    fn a_sink_that_fails_is_tried_again_and_nothing_is_lost() {
        let (outlet, answer, told, metrics) = start();
        outlet.send(item());
        for _ in 0..2 {
            answer.send(Err("not now".to_owned().into())).unwrap();
        }
        drop(answer);
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(1));
        assert_eq!(outlet.close().wait(Duration::from_secs(10)), Ok(()));
        assert_counted(&metrics, "errors", 2);
        assert_counted(&metrics, "sent", 1);
    }

    #[test]
    fn what_is_refused_for_good_is_counted_and_not_tried_again() {
        let (outlet, answer, told, metrics) = start();
        let why = Some("bad request".to_owned());
        answer.send(Ok(Taken { refused: 1, why })).unwrap();
        drop(answer);
        outlet.send(item());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(1));
        let undelivered = outlet.close().wait(Duration::from_secs(10)).unwrap_err();
        assert_eq!(
            (undelivered.items, undelivered.error.as_deref()),
            (1, Some("bad request"))
        );
        assert_counted(&metrics, "sent", 0);
        assert_counted(&metrics, "dropped", 1);
        assert_counted(&metrics, "errors", 1);
    }

    #[test]
    fn a_sink_that_blocks_holds_nobody_up_and_what_it_does_not_take_is_counted() {
        let (outlet, answer, _told, metrics) = start();
        let before = Instant::now();
        let sent = QUEUE as u64 + 1_000;
        for _ in 0..sent {
            outlet.send(item());
        }
        let undelivered = outlet.close().wait(Duration::from_millis(50)).unwrap_err();
        assert!(
            before.elapsed() < Duration::from_secs(5),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(undelivered.items, sent);
        assert_counted(&metrics, "dropped", sent);
        drop(answer);
    }

    #[test]
    fn what_was_taken_before_an_error_is_not_given_again() {
        let (outlet, answer, begins, told, metrics) = start_watched();
        outlet.send(item());
        assert_eq!(begins.recv_timeout(Duration::from_secs(10)), Ok(1));
        // The first is under way when these come, which then go together.
        for _ in 0..4 {
            outlet.send(item());
        }
        answer.send(Ok(Taken::default())).unwrap();
        for taken in [2, 0] {
            let error = "no space".to_owned();
            answer.send(Err(Later { taken, error })).unwrap();
        }
        drop(answer);
        assert!(outlet.close().wait(Duration::from_secs(10)).is_ok());
        assert_eq!(begins.iter().collect::<Vec<_>>(), [4, 2, 2]);
        assert_eq!(told.iter().collect::<Vec<_>>(), [1, 2]);
        assert_counted(&metrics, "sent", 5);
        assert_counted(&metrics, "dropped", 0);
    }

    #[test]
    fn why_a_sink_did_not_take_it_is_told() {
        let (outlet, answer, _told, metrics) = start();
        outlet.send(item());
        for _ in 0..1_000 {
            answer.send(Err("no space".to_owned().into())).unwrap();
        }
        let undelivered = outlet.close().wait(Duration::from_millis(400)).unwrap_err();
        assert_eq!(undelivered.error.as_deref(), Some("no space"));
        assert_eq!(undelivered.items, 1);
        assert_counted(&metrics, "dropped", 1);
    }
}
