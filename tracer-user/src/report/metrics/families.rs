//! Every metric family, as data: the metrics themselves and their documentation are made from this table.

use std::fmt::Write as _;

/// How a family's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its full name.
    pub name: &'static str,
    /// How its values behave.
    pub shape: Shape,
    /// What its values count or measure.
    pub unit: &'static str,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident = $shape:ident $name:literal [$($label:literal),*] $unit:literal: $help:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub const $id: Family = Family {
                name: $name,
                shape: Shape::$shape,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every family that this program defines itself.
        pub const ALL: &[Family] = &[$($id),+];
    };
}

families! {
    BLEEDS = Counter "bleedtrace_bleeds_total" ["service", "slot", "confidence", "source"] "findings":
        "Reads on a worker that returned somebody else's value, one per item and slot.";
    BLACK_HOLES = Counter "bleedtrace_black_holes_total" ["service", "slot", "direction"] "findings":
        "Values that did not cross a handoff: missing on the worker (read) or never back at the submitter (return).";
    FINDINGS = Counter "bleedtrace_findings_total" ["service", "runtime", "kind"] "findings":
        "Findings of every kind.";
    ALLOWED = Counter "bleedtrace_findings_allowed_total" ["service", "kind"] "findings":
        "Findings that the operator accepts: they are in no other count of findings.";
    SQUATTING = Gauge "bleedtrace_squatting_binds" ["service"] "threads":
        "Pool workers whose base scope holds an identity now, for the next request to read.";
    BLEED_AGE = Histogram "bleedtrace_bleed_age_seconds" [] "seconds":
        "Time from a bind to a foreign read of it.";
    LAST_FINDING = Gauge "bleedtrace_last_finding_timestamp_seconds" ["service", "kind"] "seconds since 1970":
        "Time of the last finding; 0 when there was none.";
    HANDOFFS = Counter "bleedtrace_handoffs_total" ["service", "primitive", "carried"] "handoffs":
        "Handoffs whose two ends were paired, by what the worker carried when it took the item.";
    READS = Counter "bleedtrace_context_reads_total" ["service", "slot", "result"] "reads":
        "Reads of a watched variable, by how they were judged.";
    BINDS = Counter "bleedtrace_context_binds_total" ["service", "slot", "place"] "binds":
        "Binds of a watched variable, by where they were made.";
    TASKS = Counter "bleedtrace_tasks_minted_total" ["service", "attribution"] "tasks":
        "Durable task handles that were created, by whose they are.";
    POLLS = Counter "bleedtrace_task_polls_total" ["service", "outcome"] "polls":
        "Requests for a task, as the wire shows them or the program announces them, by how they were answered.";
    ANNOUNCED = Counter "bleedtrace_announcements_total" ["service", "result"] "announcements":
        "What a program announced through reserved variables, by whether it was understood.";
    UNPARSED = Counter "bleedtrace_wire_unparsed_total" ["service", "reason"] "messages":
        "Messages and parts of streams on the wire that gave no facts.";
    WAIT = Histogram "bleedtrace_handoff_wait_seconds" ["service"] "seconds":
        "Time from a handoff to the moment a worker took it.";
    BUSY = Histogram "bleedtrace_worker_busy_seconds" ["service"] "seconds":
        "Time that a worker spent on one item.";
    BUILD_INFO = Gauge "bleedtrace_build_info" ["version"] "1":
        "Always 1; says which bleedtrace this is.";
    TARGETS = Gauge "bleedtrace_targets" ["state"] "processes":
        "Processes that were looked at, by how they stand.";
    SEEN = Counter "bleedtrace_processes_seen_total" ["outcome"] "processes":
        "Processes of Python that were come across, by what became of that; missed are those that ended before they could be attached to.";
    ARMED_FILES = Gauge "bleedtrace_armed_files" [] "files":
        "Files that probes are armed in: interpreters and their extension modules. What nobody runs from any more is let go after a while.";
    RELOADS = Counter "bleedtrace_config_reloads_total" ["result"] "reloads":
        "Times that the agent was given another configuration, by whether it could use it.";
    PROBE_ATTACHED = Gauge "bleedtrace_probe_attached" ["service", "probe", "cost"] "0 or 1":
        "1 when the probe is attached; cost says how the kernel runs the probed instruction.";
    RECEIVED = Counter "bleedtrace_events_received_total" ["event"] "events":
        "Events that reached the engine.";
    AGREED = Counter "bleedtrace_reads_agreed_total" [] "reads":
        "Reads that found again what their thread had just told, and were only counted, in the kernel. They are among all reads, but no events.";
    LOST = Counter "bleedtrace_events_lost_total" ["probe", "reason"] "events":
        "Events that the kernel side could not send, or, with the reason unreadable, of which it could not read enough to say what they mean.";
    ENTRIES = Gauge "bleedtrace_state_entries" ["table"] "entries":
        "Entries in the engine's bounded tables.";
    EVICTIONS = Counter "bleedtrace_state_evictions_total" ["table"] "entries":
        "Entries that were dropped to keep a table within its bound.";
    RING_LAG = Gauge "bleedtrace_ring_lag_seconds" [] "seconds":
        "Age of the newest event when it was read from the ring.";
    PROBE_HITS = Counter "bleedtrace_probe_hits_total" ["probe"] "runs":
        "Times that a probe's program ran.";
    PROBE_SECONDS = Counter "bleedtrace_probe_seconds_total" ["probe"] "seconds":
        "Time that a probe's program ran: its runs times their mean time, which is measured half a second in every ten.";
    RECORDED = Counter "bleedtrace_recordings_total" ["outcome"] "recordings":
        "Files of the flight recorder: written, skipped because there was one just before or too many, or failed.";
    UNRECORDED = Counter "bleedtrace_recording_lost_total" [] "entries":
        "What happened and is in no recording, because the disk was full or too slow.";
    SELFTEST = Gauge "bleedtrace_selftest_success" [] "0 or 1":
        "1 when the last call of a function of the agent itself, which is probed like a target's, came out of the pipeline; it is made every minute.";
    SELFTEST_TIME = Gauge "bleedtrace_selftest_last_success_timestamp_seconds" [] "seconds since 1970":
        "When such a call last came out of the pipeline; 0 when none has.";
    DRAINED_AGO = Gauge "bleedtrace_drained_ago_seconds" [] "seconds":
        "Time since what the kernel side had sent was taken in, when this was asked for: more than a few seconds means that the agent stalls.";
    CLOCK_SHIFT = Gauge "bleedtrace_clock_shift_seconds" [] "seconds":
        "How far the wall clock was set, or ran, away from where it was when the run started: the times of findings are off by as much.";
    FINDINGS_DROPPED = Counter "bleedtrace_findings_dropped_total" [] "findings":
        "Findings that /findings does not show any more: of too many different ones, the oldest go.";
    CONNECTIONS_SHED = Counter "bleedtrace_http_connections_shed_total" [] "connections":
        "Connections that were closed to make room for others, because too many were open at once.";
    SINK_SENT = Counter "bleedtrace_sink_sent_total" ["sink"] "events":
        "Findings and summaries that a sink took in.";
    SINK_DROPPED = Counter "bleedtrace_sink_dropped_total" ["sink"] "events":
        "Findings and summaries that did not get to a sink: its queue was full, or the run ended before it took them.";
    SINK_ERRORS = Counter "bleedtrace_sink_errors_total" ["sink"] "attempts":
        "Attempts to hand something to a sink that failed, and were made again.";
    OVERFLOW = Counter "bleedtrace_labels_overflow_total" [] "observations":
        "Observations that were counted under the label value other, because too many services or slots exist.";
}

/// `docs/metrics.md`.
pub fn document() -> String {
    let mut out = String::from(
        "# Metrics\n\nWhat `--listen ADDR` serves under `/metrics` ([http.md](http.md)), in Prometheus' text format. Labels are bounded: never a tenant, user, \
         request,\ntask, session, pid or tid. Series with known labels exist at 0 as soon as a service (or a variable of it) is \
         attached.\nThe evidence behind a count is in the JSON output; what each kind of finding means is in \
         [findings.md](findings.md).\nThis file is generated from `tracer-user/src/report/metrics/families.rs`.\n",
    );
    for family in ALL {
        let labels = match family.labels {
            [] => "none".to_owned(),
            labels => labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let shape = format!("{:?}", family.shape).to_lowercase();
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\n- type: {shape}\n- unit: {}\n- labels: {labels}\n",
            family.name, family.help, family.unit
        );
    }
    out += "\n## process_*\n\nWhat the agent itself uses (processor time, memory, file descriptors, threads, start time), as is \
            usual for\nPrometheus clients.\n";
    out
}
