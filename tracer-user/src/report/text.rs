//! Text for people: a block for each new finding, a line when it repeats, and the summary.

use std::fmt::{Display, Write as _};

use anstyle::{AnsiColor, Style};

use super::{
    finding::{ExportedFinding, Party, Site, Spawn},
    groups::{Group, Groups},
    life,
    summary::{Events, Summary, Verdict},
    wrap::{COLUMNS, wrap_to},
};
use crate::correlate::finding::{Kind, Severity};

/// Width of the labels on the left.
const LABEL: usize = 10;
/// Groups that the summary shows.
const SHOWN_GROUPS: usize = 20;
/// Types of values that are compared by content.
const COMPARED: [&str; 3] = ["str", "bytes", "int"];
/// Targets that the summary shows.
const SHOWN_TARGETS: usize = 20;

/// Writes text, with or without colour, and remembers what it has shown.
#[derive(Debug, Default)]
pub struct Text {
    colour: bool,
    columns: Option<usize>,
    groups: Groups,
}

impl Text {
    /// Colour is the caller's decision: it knows where the text goes.
    pub fn new(colour: bool) -> Self {
        Self {
            colour,
            ..Self::default()
        }
    }

    /// The same in lines of so many columns, where words are short enough.
    #[must_use]
    pub fn in_columns(self, columns: usize) -> Self {
        Self {
            columns: Some(columns),
            ..self
        }
    }

    /// What to print for a finding as it happens: all of it the first time, a line at its 10th, 100th, 1000th repetition.
    pub fn finding(&mut self, finding: &ExportedFinding) -> Option<String> {
        let group = self.groups.add(finding)?;
        let (count, first) = (group.count, group.first.id.clone());
        if count == 1 {
            return Some(self.block(finding) + "\n");
        }
        let round = count >= 10 && 10_u64.pow(count.ilog10()) == count;
        round.then(|| {
            let kind = self.paint(kind_style(finding.kind), finding.kind.name());
            format!(
                "{kind} of {} again, as {first}: {count} times so far\n",
                subject(finding)
            )
        })
    }

    /// A finding, whole.
    pub fn block(&self, finding: &ExportedFinding) -> String {
        let (style, weight) = match finding.allowed {
            Some(_) => (Style::new().dimmed(), "ALLOWED".to_owned()),
            None => (kind_style(finding.kind), finding.severity.to_uppercase()),
        };
        let mut out = format!(
            "{} {}\n",
            self.paint(style, format_args!("{weight} {}", finding.kind.name())),
            self.paint(
                Style::new().dimmed(),
                format_args!("{} {}", finding.id, finding.time)
            ),
        );
        out += &self.wrap(&finding.explain, "  ", "  ");
        let mut row = |label: &str, text: String| out += &self.row(label, &text);
        row("whose", whose(finding));
        if let Some(container) = container(finding) {
            row("container", container);
        }
        let value = |value: Option<&_>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        if finding.kind == Kind::Squat {
            row("left", value(finding.found.as_ref()));
        } else if finding.expected.is_some() || finding.found.is_some() {
            let source = finding
                .source
                .map_or_else(String::new, |source| format!(" ({source})"));
            row("expected", value(finding.expected.as_ref()));
            row("found", value(finding.found.as_ref()) + &source);
        }
        if let Some(hop) = &finding.hop {
            let wait = hop
                .wait_ns
                .map_or_else(String::new, |wait| format!(", waited {}", duration(wait)));
            row(
                "hop",
                format!(
                    "{} by {} from thread {}{wait}",
                    place(hop.site.as_ref()),
                    hop.primitive,
                    hop.submit_tid
                ),
            );
        }
        if let Some(spawn) = &finding.spawn {
            row("task of", created(spawn));
            let theirs = place(spawn.works_for.as_ref());
            row("works for", format!("the request that bound its own at {theirs}"));
        }
        if let Some(bind) = &finding.bind {
            let item = bind
                .item
                .map_or_else(String::new, |item| format!(" by item {item}"));
            row(
                "bind",
                format!(
                    "{}{item} on thread {}, {} before",
                    place(bind.site.as_ref()),
                    bind.tid,
                    duration(bind.age_ns)
                ),
            );
        }
        if let Some(read) = &finding.read {
            row("read", place(read.site.as_ref()));
        }
        if let Some(policy) = &finding.policy {
            row("policy", place(Some(policy)));
        }
        if let Some(task) = &finding.task {
            let announced = task
                .announced
                .as_ref()
                .map_or_else(String::new, |task| format!(", announced as {task}"));
            let handle = task
                .handle
                .as_ref()
                .map_or_else(String::new, |handle| format!(", handle #{handle}"));
            let site = match (&task.site, &task.handle) {
                (None, Some(_)) => "seen on the wire".to_owned(),
                (site, _) => place(site.as_ref()),
            };
            row("task", site + &announced + &handle);
            for (label, party) in [("owner", &task.owner), ("asked", &task.poller)] {
                if let Some(party) = party {
                    row(label, who(party));
                }
            }
        }
        for (number, step) in life::drawn(finding).into_iter().enumerate() {
            row(if number == 0 { "life" } else { "" }, step);
        }
        row("sure", sure(finding));
        if let Some(reason) = &finding.allowed {
            row("allowed", reason.clone());
        }
        row("fix", finding.fix.clone());
        out
    }

    /// The end of a run: its verdict, what was found, and how far its silence can be trusted.
    pub fn summary(&self, summary: &Summary) -> String {
        let mut out = String::new();
        let groups = self.groups.sorted();
        for group in groups.iter().take(SHOWN_GROUPS) {
            out += &self.group(group);
        }
        let hidden = groups
            .iter()
            .skip(SHOWN_GROUPS)
            .map(|group| group.count)
            .sum::<u64>()
            + self.groups.ungrouped();
        if hidden > 0 {
            let _ = writeln!(
                out,
                "and {hidden} more findings of other places; --format json has them all"
            );
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", self.verdict(summary));
        for reason in &summary.reasons {
            out += &self.wrap(&reason.message, "  - ", "    ");
        }
        let mut row = |label: &str, text: String| out += &self.row(label, &text);
        let zero = if summary.allowed > 0 {
            format!(", allowed {}", summary.allowed)
        } else {
            String::new()
        };
        row("findings", counts(&summary.findings) + &zero);
        row("hops", counts(&summary.hops));
        row("reads", counts(&summary.reads));
        row("binds", counts(&summary.binds));
        row("tasks", counts(&summary.tasks));
        if !summary.out_of_sight.is_empty() {
            let why = "not called, or no watched variable is read and no id is drawn under them: nothing is known of what they do";
            row("unseen", format!("{}: {why}", summary.out_of_sight.join(", ")));
        }
        if summary.announced.values().any(|count| *count > 0) {
            row("announced", counts(&summary.announced));
        }
        if let Some(polls) = &summary.polls {
            row("polls", counts(polls));
        }
        if let Some(unparsed) = &summary.unparsed {
            row("unparsed", counts(unparsed));
        }
        row("events", events(&summary.events));
        let cost = summary
            .overhead
            .bpf_seconds
            .map_or_else(String::new, |seconds| format!(", {seconds:.3} s in the kernel"));
        row(
            "overhead",
            format!("{} probe hits{cost}", summary.overhead.probe_hits),
        );
        for target in summary.targets.iter().take(SHOWN_TARGETS) {
            let runtime = target.runtime.as_deref().unwrap_or("no runtime");
            let why = target
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            let missing = match target.probes_missing.as_slice() {
                [] => String::new(),
                missing => format!(", probes missing: {}", missing.join(" ")),
            };
            row(
                "target",
                format!(
                    "{} (process {}, {runtime}) {}{why}; watched variables {}, handoffs {}, findings {}{missing}",
                    target.service,
                    target.pid,
                    target.state.name(),
                    target.slots,
                    target.handoffs,
                    target.findings
                ),
            );
        }
        if summary.targets.len() > SHOWN_TARGETS {
            row(
                "target",
                format!("and {} more", summary.targets.len() - SHOWN_TARGETS),
            );
        }
        if let Some(code) = summary.command_exit {
            row("command", format!("ended with exit code {code}"));
        }
        out
    }

    fn verdict(&self, summary: &Summary) -> String {
        let total: u64 = summary.findings.values().sum();
        let total = format!("{total} finding{}", if total == 1 { "" } else { "s" });
        let (colour, text) = match summary.verdict {
            Verdict::Clean => (AnsiColor::Green, "verdict: clean".to_owned()),
            Verdict::Findings if summary.reasons.is_empty() => (AnsiColor::Red, format!("verdict: {total}")),
            Verdict::Findings => (
                AnsiColor::Red,
                format!("verdict: {total}, and there may be more:"),
            ),
            Verdict::NoVerdict => (AnsiColor::Yellow, "verdict: no verdict, because".to_owned()),
        };
        self.paint(colour.on_default().bold(), text)
    }

    fn group(&self, group: &Group) -> String {
        let first = &group.first;
        let mut out = format!(
            "{} {} of {} in {}, {} confirmed\n",
            self.paint(Style::new().bold(), format_args!("{:>6} x", group.count)),
            self.paint(kind_style(first.kind), first.kind.name()),
            subject(first),
            first.service,
            group.confirmed,
        );
        if let Some(reason) = &first.allowed {
            let _ = writeln!(out, "           allowed: {reason}");
        }
        let _ = writeln!(out, "           {} {}", first.time, first.id);
        if group.count > 1 {
            let _ = writeln!(out, "           {} the last", group.last_time);
        }
        let sites = [
            ("hop", first.hop.as_ref().map(|hop| hop.site.as_ref())),
            ("made", first.spawn.as_ref().map(|spawn| spawn.site.as_ref())),
            ("bind", first.bind.as_ref().map(|bind| bind.site.as_ref())),
            ("read", first.read.as_ref().map(|read| read.site.as_ref())),
            ("task", first.task.as_ref().map(|task| task.site.as_ref())),
        ];
        for (label, site) in sites {
            if let Some(site) = site {
                let _ = writeln!(out, "           {label}  {}", place(site));
            }
        }
        out
    }

    fn wrap(&self, text: &str, first: &str, rest: &str) -> String {
        wrap_to(self.columns.unwrap_or(COLUMNS), text, first, rest)
    }

    fn row(&self, label: &str, text: &str) -> String {
        let wrapped = self.wrap(text, &" ".repeat(2 + LABEL), &" ".repeat(2 + LABEL));
        let padded = format!("  {label:<LABEL$}");
        format!(
            "{}{}",
            self.paint(Style::new().dimmed(), padded),
            &wrapped[2 + LABEL..]
        )
    }

    fn paint(&self, style: Style, text: impl Display) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}

fn whose(finding: &ExportedFinding) -> String {
    format!(
        "{} in {}, process {}, thread {} ({})",
        subject(finding),
        finding.service,
        finding.pid,
        finding.tid,
        finding.runtime
    )
}

fn container(finding: &ExportedFinding) -> Option<String> {
    let pod = finding
        .pod
        .as_ref()
        .map_or_else(String::new, |pod| format!(" of pod {pod}"));
    Some(format!("{}{pod}", finding.container.as_ref()?))
}

fn kind_style(kind: Kind) -> Style {
    match kind.severity() {
        Severity::Critical => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
    }
}

fn place(site: Option<&Site>) -> String {
    site.map_or_else(|| "(place not known)".to_owned(), ToString::to_string)
}

/// Where and when a task was created.
fn created(spawn: &Spawn) -> String {
    let age = spawn.age_ns.map(|age| format!(", {} before", duration(age)));
    place(spawn.site.as_ref()) + &age.unwrap_or_default()
}

/// What a finding is about.
fn subject(finding: &ExportedFinding) -> &str {
    match finding.kind {
        _ if !finding.slot.is_empty() => &finding.slot,
        Kind::EmptyCheck => "a policy",
        Kind::DriftBlindness => "a digest",
        _ => "a task",
    }
}

pub(super) fn who(party: &Party) -> String {
    let credential = party.credential.as_ref().map_or_else(
        || "no credential".to_owned(),
        |hash| format!("credential #{hash}"),
    );
    let identity = party
        .identity
        .as_ref()
        .map_or_else(String::new, |identity| format!(", identity {identity}"));
    let before = match party.age_ns {
        0 => String::new(),
        age => format!(" {} before", duration(age)),
    };
    format!("{credential}{identity}, answered on thread {}{before}", party.tid)
}

pub(super) fn sure(finding: &ExportedFinding) -> String {
    let evidence = match finding.evidence {
        "observed" if finding.task.as_ref().is_some_and(|task| task.owner.is_some()) => "read on the wire",
        "observed" => "read from the process's memory",
        "claimed" => "announced by the program",
        _ => "concluded",
    };
    let doubt = match (finding.kind, finding.confidence, &finding.expected) {
        (Kind::Bleed, "suspected", None) => "; its request had no identity to compare with",
        (Kind::DriftBlindness, "suspected", _) => "; what the task was created with was not seen",
        (Kind::Bleed, "suspected", Some(expected))
            if finding.spawn.is_some() && COMPARED.contains(&&*expected.type_name) =>
        {
            "; it came by its work through a queue, through which others are only told of something"
        }
        (Kind::UnattributedTask | Kind::MisattributedTask, "suspected", _)
            if finding.evidence == "inferred" =>
        {
            "; the function was called, but nothing was seen to happen in it"
        }
        (Kind::Bleed, "suspected", Some(_)) => "; objects of this type can only be compared by address",
        _ => "",
    };
    let window = if finding.window_complete {
        ""
    } else {
        "; events were lost around it, so it may be incomplete"
    };
    format!("{}, {evidence}{doubt}{window}", finding.confidence)
}

/// What was counted at all; zeros are for machines.
fn counts<'a>(counts: impl IntoIterator<Item = (&'a &'static str, &'a u64)>) -> String {
    let counted = counts.into_iter().filter(|(_, count)| **count > 0);
    let counted: Vec<_> = counted.map(|(name, count)| format!("{name} {count}")).collect();
    if counted.is_empty() {
        "none".to_owned()
    } else {
        counted.join(", ")
    }
}

/// A duration with three digits or so.
pub(super) fn duration(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} \u{b5}s", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        1_000_000_000..120_000_000_000 => format!("{:.1} s", nanos as f64 / 1e9),
        _ => format!("{} min", nanos / 60_000_000_000),
    }
}

/// How many events there were, and how many are missing.
fn events(events: &Events) -> String {
    let agreed = match events.agreed {
        0 => String::new(),
        reads => format!(", {reads} reads that say the same again only counted"),
    };
    format!(
        "received {}{agreed}; lost: {}",
        events.received,
        counts(&events.lost)
    )
}
