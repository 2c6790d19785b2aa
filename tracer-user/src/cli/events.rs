//! The flags that say where findings go besides the output.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;

use super::error::Error;
use crate::report::{
    metrics::Metrics,
    privacy::clean,
    sink::{
        Item, Outlet, SinkKind,
        file::{EventFile, LEAST_BYTES, Rotation},
        otlp::{Endpoint, Headers, INTERVAL, Logs, MetricsPush},
    },
};

/// How long the end waits for what is still on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where findings go.
#[derive(Debug, Default, Args)]
pub struct EventsArgs {
    /// Append findings and the summary to this file, one JSON object a line.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_EVENTS")]
    pub events: Option<PathBuf>,
    /// Bytes beyond which the file of --events is put aside as FILE.1, and that one as FILE.2.
    #[arg(long, value_name = "BYTES", default_value_t = 100 << 20, value_parser = clap::value_parser!(u64).range(LEAST_BYTES..), env = "BLEEDTRACE_EVENTS_MAX_BYTES")]
    pub events_max_bytes: u64,
    /// How many files are kept aside.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=1000), env = "BLEEDTRACE_EVENTS_KEEP")]
    pub events_keep: u32,
    /// Send findings as logs, and metrics, to the OpenTelemetry collector at this address, like http://127.0.0.1:4318.
    #[arg(long, value_name = "URL", env = "BLEEDTRACE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Endpoint>,
    /// File with headers to send to the collector, one `name: value` a line.
    #[arg(
        long,
        value_name = "FILE",
        requires = "otlp_endpoint",
        env = "BLEEDTRACE_OTLP_HEADERS_FILE"
    )]
    pub otlp_headers_file: Option<PathBuf>,
}

/// The sinks of a run.
#[derive(Debug, Default)]
pub struct Sinks {
    outlets: Vec<(String, Outlet)>,
    metrics: Option<MetricsPush>,
}

impl EventsArgs {
    /// Starts the sinks that are asked for.
    pub fn start(&self, metrics: &Arc<Metrics>) -> Result<Sinks, Error> {
        let mut sinks = Sinks::default();
        if let Some(path) = &self.events {
            let name = clean(&path.to_string_lossy());
            let rotation = Rotation {
                path: path.clone(),
                most_bytes: self.events_max_bytes,
                keep: self.events_keep,
            };
            let outlet = EventFile::open(rotation)
                .and_then(|file| Outlet::start(SinkKind::File, file, Arc::clone(metrics)))
                .map_err(|error| {
                    Error::usage(
                        format!("failed to write events to {name}: {error}"),
                        "give a path that can be written with --events",
                    )
                })?;
            sinks.outlets.push((name, outlet));
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            let headers = self.headers()?;
            let thread = |error: std::io::Error| {
                Error::cannot_trace(
                    format!("cannot start a thread for --otlp-endpoint: {error}"),
                    "check the limits on processes",
                )
            };
            let logs = Outlet::start(
                SinkKind::OtlpLogs,
                Logs::new(endpoint, &headers),
                Arc::clone(metrics),
            );
            sinks.outlets.push((endpoint.to_string(), logs.map_err(thread)?));
            let push = MetricsPush::start(endpoint, &headers, Arc::clone(metrics), INTERVAL);
            sinks.metrics = Some(push.map_err(thread)?);
        }
        Ok(sinks)
    }

    fn headers(&self) -> Result<Headers, Error> {
        let Some(path) = &self.otlp_headers_file else {
            return Ok(Headers::default());
        };
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| text.parse()).map_err(|error| {
            Error::usage(
                format!(
                    "cannot take headers from {}: {error}",
                    clean(&path.to_string_lossy())
                ),
                "give a file with one `name: value` a line as --otlp-headers-file",
            )
        })
    }
}

impl Sinks {
    /// Sends something to all of them.
    pub fn send(&self, item: impl FnOnce() -> Item) {
        if self.outlets.is_empty() {
            return;
        }
        let item = Arc::new(item());
        for (_, outlet) in &self.outlets {
            outlet.send(Arc::clone(&item));
        }
    }

    /// Waits for what is on its way. Says what did not arrive.
    pub fn close(self) -> Vec<String> {
        // All of them come to their end at the same time.
        let metrics = self.metrics.map(MetricsPush::close);
        let outlets = self.outlets.into_iter();
        let closing: Vec<_> = outlets.map(|(name, outlet)| (name, outlet.close())).collect();
        let end = Instant::now() + PATIENCE;
        let left = || end.saturating_duration_since(Instant::now());
        let told = closing.into_iter().filter_map(|(name, outlet)| {
            let undelivered = outlet.wait(left()).err()?;
            let why = undelivered
                .error
                .map_or_else(String::new, |error| format!(": {error}"));
            let items = undelivered.items;
            Some(match items {
                0 => format!("{name} may be incomplete{why}"),
                1 => format!("1 event did not get to {name}{why}"),
                _ => format!("{items} events did not get to {name}{why}"),
            })
        });
        let mut told: Vec<_> = told.collect();
        if metrics.is_some_and(|push| !push.wait(left())) {
            told.push("the last metrics were not sent in time".to_owned());
        }
        told
    }
}
