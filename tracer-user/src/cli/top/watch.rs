//! What the live view makes of a run: the same as `trace`, and a snapshot now and then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cli::{
        error::Error,
        log,
        report::Report,
        session::{self, Observer},
    },
    config::Config,
    correlate::{event::Event, fact::Fact, fact::FactKind},
    report::{
        store::Store,
        top::{books::Books, snapshot::Snapshot},
    },
    target::follow::{Follower, Notice},
};

/// Lines of the log that are shown.
const LOG: usize = 20;

/// Keeps the books.
pub struct Watch<S> {
    /// What `trace` makes of it.
    pub report: Report,
    books: Books,
    config: Config,
    store: Arc<Store>,
    interval: Duration,
    shown: Instant,
    show: S,
}

impl<S: FnMut(Snapshot)> Watch<S> {
    /// Shows a snapshot so often; never, if no interval is given.
    pub fn new(
        report: Report,
        books: Books,
        config: Config,
        store: Arc<Store>,
        interval: Duration,
        show: S,
    ) -> Self {
        Self {
            report,
            books,
            config,
            store,
            interval,
            shown: Instant::now(),
            show,
        }
    }

    /// What is known now.
    pub fn snapshot(&mut self) -> Snapshot {
        let summary = self.report.summary();
        let mut snapshot = self
            .books
            .snapshot(session::now(), summary, &self.store, self.report.totals());
        snapshot.log = log::kept(LOG)
            .iter()
            .map(|line| crate::report::privacy::clean(line))
            .collect();
        snapshot
    }
}

impl<S: FnMut(Snapshot)> Observer for Watch<S> {
    fn notice(&mut self, notice: Notice) {
        match &notice {
            Notice::Attached { id, pid, service, .. } => self.books.attached(*id, service, *pid),
            Notice::Ended { id, .. } => self.books.ended(*id),
            Notice::Failed { .. }
            | Notice::Unsupported { .. }
            | Notice::Missed
            | Notice::Remark { .. }
            | Notice::NotFollowed { .. }
            | Notice::InUse(_)
            | Notice::Used(_) => {}
        }
        self.report.notice(notice);
    }

    fn started(&mut self) -> Result<(), Error> {
        self.report.started()
    }

    fn event(&mut self, event: &Event) {
        self.books.event(event);
        self.report.event(event);
    }

    fn fact(&mut self, fact: &Fact) {
        let allowed = match &fact.what {
            FactKind::Finding(finding) => self.config.allowed(finding).is_some(),
            _ => false,
        };
        self.books.fact(fact, allowed);
        self.report.fact(fact);
    }

    fn malformed(&mut self, records: u64) {
        self.report.malformed(records);
    }

    fn lag(&mut self, nanos: u64) {
        self.books.lag(nanos);
        self.report.lag(nanos);
    }

    fn selftest(&mut self, arrived: bool) {
        self.report.selftest(arrived);
    }

    fn settled(&mut self, follower: &Follower) {
        self.report.settled(follower);
        if self.shown.elapsed() >= self.interval {
            let snapshot = self.snapshot();
            self.shown = Instant::now();
            (self.show)(snapshot);
        }
    }

    fn counters(&mut self, follower: &mut Follower) {
        self.report.counters(follower);
    }
}
