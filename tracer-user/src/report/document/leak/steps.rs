//! The steps of which leaks are made, each as a finding tells of it.

use super::{Drawing, Lasting, Tone};
use crate::{
    correlate::finding::Kind,
    report::{finding::Bind, text::duration},
};

impl Drawing<'_> {
    pub(super) fn bleed(&mut self) {
        match self.finding.source {
            Some("task") => return self.task_bleed(),
            Some("inherited") => {
                self.step(self.worker(), "started by A", Tone::Foreign, None, None, format!(
                    "The worker's thread was started inside another request (A), which held {}: it lives in a copy of that context.",
                    self.found()
                ));
            }
            Some("before_attach") => {
                self.step(
                    self.worker(),
                    "was there",
                    Tone::Foreign,
                    None,
                    None,
                    format!(
                        "{} = {} lay in the thread before bleedtrace attached.",
                        self.slot(),
                        self.found()
                    ),
                );
            }
            _ => self.earlier_bind(),
        }
        let residue = self.leak.steps.len() - 1;
        self.hand_over(&self.holder());
        self.read();
        self.span(residue, Some(self.leak.steps.len() - 1), Lasting::Residue);
    }

    fn task_bleed(&mut self) {
        let task = format!("asyncio task on thread {}", self.finding.tid);
        let other = "request A, which created the task".to_owned();
        if let Some(bind) = self.finding.bind.clone() {
            self.step(
                other.clone(),
                "A binds",
                Tone::Foreign,
                bind.site,
                ago(bind.age_ns),
                format!("Request A binds {} = {}.", self.slot(), self.found()),
            );
        }
        let spawn = self.finding.spawn.clone();
        let (site, age) = spawn
            .as_ref()
            .map_or((None, None), |spawn| (spawn.site.clone(), spawn.age_ns));
        let from = self.leak.steps.len();
        self.step(
            other.clone(),
            "task created",
            Tone::Foreign,
            site,
            age.and_then(ago),
            format!(
                "It creates a task, which gets a copy of its context, with {} in it.",
                self.slot()
            ),
        );
        if let Some(spawn) = &spawn {
            self.step(
                other,
                "A is over",
                Tone::Foreign,
                None,
                ago(spawn.over_ns),
                "The request ends. Its task lives on.".to_owned(),
            );
            let theirs = "request B, which the task works for".to_owned();
            self.step(
                theirs,
                "B has work",
                Tone::Own,
                spawn.works_for.clone(),
                None,
                format!(
                    "Request B, which has {}, has something for the task to do.",
                    self.expected()
                ),
            );
        }
        self.read_on(task);
        self.span(from, Some(self.leak.steps.len() - 1), Lasting::Residue);
    }

    /// The thread that an item ran on.
    fn worker(&self) -> String {
        let of = self
            .finding
            .bind
            .as_ref()
            .map_or(self.finding.tid, |bind| bind.tid);
        let tid = match self.finding.kind {
            Kind::BlackHoleReturn | Kind::DriftBlindness => of,
            _ => self.finding.tid,
        };
        format!("worker thread {tid}")
    }

    pub(super) fn earlier_bind(&mut self) {
        let bind = self.finding.bind.clone();
        let who = match bind.as_ref().and_then(|bind| bind.item) {
            _ if self.finding.source == Some("initializer") => "The pool's initializer".to_owned(),
            Some(item) => format!("Request A's work (item {item})"),
            None => "Request A's work".to_owned(),
        };
        let thread = bind.as_ref().map_or(self.finding.tid, |bind| bind.tid);
        let (site, age) = bind.map_or((None, None), |bind: Bind| (bind.site, ago(bind.age_ns)));
        self.step(
            format!("worker thread {thread}"),
            "A binds",
            Tone::Foreign,
            site,
            age,
            format!(
                "{who} binds {} = {} and never resets it: it stays in the thread.",
                self.slot(),
                self.found()
            ),
        );
        if self.finding.source != Some("initializer") {
            let at = self.leak.steps.len() - 1;
            self.span(at, Some(at), Lasting::Work);
        }
    }

    /// Two requests have to do with it: A's identity is what B gets.
    fn of_two(&self) -> bool {
        matches!(self.finding.kind, Kind::Bleed | Kind::MisattributedTask)
    }

    pub(super) fn holder(&self) -> String {
        let who = if self.of_two() { "Request B" } else { "The request" };
        format!("{who}, which has {},", self.expected())
    }

    pub(super) fn hand_over(&mut self, who: &str) {
        let Some(hop) = self.finding.hop.clone() else {
            return;
        };
        let what = format!("{who} hands work over by {}", hop.primitive);
        let text = match hop.wait_ns {
            Some(wait) => format!("{what}; a worker takes it {} later.", duration(wait)),
            None => format!("{what}."),
        };
        let from = self.leak.steps.len();
        self.step(
            format!("request on thread {}", hop.submit_tid),
            if self.of_two() {
                "B hands over"
            } else {
                "hands over"
            },
            Tone::Own,
            hop.site,
            None,
            text,
        );
        self.span(from, Some(from + 1), Lasting::Handoff);
    }

    pub(super) fn bind(&mut self, how: &str, tone: Tone) {
        let value = match self.finding.kind {
            Kind::Squat => self.found(),
            _ => self.expected(),
        };
        let bind = self.finding.bind.clone();
        let (site, age) = bind.map_or((None, None), |bind: Bind| (bind.site, ago(bind.age_ns)));
        let title = if self.finding.kind == Kind::DriftBlindness {
            "pins"
        } else {
            "binds"
        };
        let text = format!("{how} {} = {value}, in the worker.", self.slot());
        let at = self.leak.steps.len();
        self.step(self.worker(), title, tone, site, age, text);
        self.span(at, Some(at), Lasting::Work);
    }

    pub(super) fn stays(&mut self) {
        let from = self.leak.steps.len() - 1;
        self.step(
            self.worker(),
            "stays",
            Tone::Wrong,
            None,
            None,
            format!(
                "The work ends without resetting it: {} = {} stays for the next request on this thread.",
                self.slot(),
                self.found()
            ),
        );
        self.span(from, None, Lasting::Residue);
    }

    pub(super) fn read(&mut self) {
        let request = self.finding.hop.as_ref().map(|hop| hop.submit_tid);
        let on = match (self.finding.kind, request) {
            (Kind::BlackHoleReturn | Kind::DriftBlindness, _) => {
                format!("request on thread {}", self.finding.tid)
            }
            (_, None) => format!("request on thread {}", self.finding.tid),
            _ => self.worker(),
        };
        self.read_on(on);
    }

    fn read_on(&mut self, carrier: String) {
        let Some(read) = self.finding.read.clone() else {
            return;
        };
        let slot = self.slot();
        let text = match self.finding.kind {
            Kind::Bleed | Kind::MisattributedTask => match &self.finding.expected {
                Some(expected) => format!("It reads {slot} and gets {} instead of {expected}.", self.found()),
                None => format!("It reads {slot} and gets {}, which is not its own.", self.found()),
            },
            Kind::BlackHoleReturn => {
                format!("The request reads {slot} and finds nothing: what the work bound did not come back.")
            }
            Kind::DriftBlindness => format!("{slot} is verified, and there is nothing to compare with."),
            _ => format!("It reads {slot} and finds nothing."),
        };
        let title = if self.of_two() { "B reads" } else { "reads nothing" };
        let at = self.leak.steps.len();
        self.step(carrier, title, Tone::Wrong, read.site, None, text);
        if self.finding.hop.is_some()
            && !matches!(self.finding.kind, Kind::BlackHoleReturn | Kind::DriftBlindness)
        {
            self.span(at, Some(at), Lasting::Work);
        }
    }

    pub(super) fn mint(&mut self) {
        let Some(task) = self.finding.task.clone() else {
            return;
        };
        let text = match self.finding.kind {
            Kind::UnattributedTask => "A durable task is created, for nobody.",
            Kind::MisattributedTask => "A durable task is created, for somebody else.",
            _ => "A durable task is created, which nothing is checked against.",
        };
        let request = self
            .finding
            .hop
            .as_ref()
            .map_or(self.finding.tid, |hop| hop.submit_tid);
        self.step(
            format!("request on thread {request}"),
            "task created",
            Tone::Wrong,
            task.site,
            None,
            text.to_owned(),
        );
    }

    pub(super) fn check(&mut self) {
        let on = match self.finding.hop {
            Some(_) => self.worker(),
            None => format!("request on thread {}", self.finding.tid),
        };
        self.step(
            on,
            "policy",
            Tone::Own,
            self.finding.policy.clone(),
            None,
            "A policy is asked what this request may do.".to_owned(),
        );
    }

    pub(super) fn poll(&mut self) {
        let Some(task) = self.finding.task.clone() else {
            return;
        };
        if let Some(life) = &task.life {
            let on = "the request that created the task".to_owned();
            for (title, site, text) in life.told() {
                self.step(on.clone(), title, Tone::Own, site, None, text);
            }
        }
        let who = |party: &crate::report::finding::Party| crate::report::text::who(party);
        if let Some(owner) = &task.owner {
            let text = format!("The task's handle is given to {}.", who(owner));
            self.step(
                "the owner".to_owned(),
                "handle given",
                Tone::Own,
                None,
                ago(owner.age_ns),
                text,
            );
        }
        let (carrier, text) = if self.finding.kind == Kind::ForeignPoll {
            ("somebody else", "Its state is shown to")
        } else {
            ("the owner", "It is denied to exist to")
        };
        let whom = task.poller.as_ref().map_or_else(|| self.found(), who);
        let title = if self.finding.kind == Kind::ForeignPoll {
            "shown"
        } else {
            "refused"
        };
        self.step(
            carrier.to_owned(),
            title,
            Tone::Wrong,
            task.site,
            None,
            format!("{text} {whom}."),
        );
    }
}

fn ago(nanos: u64) -> Option<String> {
    (nanos > 0).then(|| format!("{} before", duration(nanos)))
}
