//! OpenTelemetry's protocol (OTLP over HTTP, protobuf): findings as log records, metrics as they are under `/metrics`.
//!
//! The messages are those of `opentelemetry-proto`. The SDK's own processors are not used: what they drop they do not count.

mod logs;
mod message;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    },
    logs::v1::{ResourceLogs, ScopeLogs},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
};
use prost::Message;
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
};

use super::{Item, Later, Sink, SinkKind, Taken};
use crate::{privilege, report::metrics::Metrics};

/// Time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often metrics are sent.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER: u64 = 64 * 1024;

/// Where the collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if !["http", "https"].contains(&scheme) || uri.host().is_none() || uri.query().is_some() {
            return Err("it is no address like http://127.0.0.1:4318".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// What is sent with every message, such as a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl std::str::FromStr for Headers {
    type Err = String;

    /// One `name: value` a line.
    fn from_str(text: &str) -> Result<Self, String> {
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        let headers = lines.map(|(line, number)| {
            // The line itself may be a secret.
            header(line).ok_or_else(|| format!("line {number} is no `name: value`"))
        });
        headers.collect::<Result<_, String>>().map(Self)
    }
}

/// A way to the collector.
#[derive(Clone, Debug)]
struct Collector {
    agent: Agent,
    url: String,
    headers: Headers,
}

/// What the collector says to a message.
enum Answer {
    /// It took it in; this is its answer.
    Taken(Vec<u8>),
    /// It will never take it in.
    Refused(String),
}

impl Collector {
    fn new(endpoint: &Endpoint, path: &str, headers: &Headers) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("bleedtrace/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().new_agent(),
            url: format!("{}{path}", endpoint.0),
            headers: headers.clone(),
        }
    }

    /// Sends a message. An error means that it may be sent again.
    fn send(&self, message: &impl Message) -> Result<Answer, String> {
        let request = self.agent.post(&self.url);
        let request = request.header(header::CONTENT_TYPE, "application/x-protobuf");
        let headers = self.headers.0.iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        let mut response = request
            .send(&message.encode_to_vec()[..])
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        if status.is_success() {
            return Ok(Answer::Taken(body.unwrap_or_default()));
        }
        let text = format!("{} answers {status}", self.url);
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(text),
            _ => Ok(Answer::Refused(text)),
        }
    }
}

/// Findings and the summary as log records.
#[derive(Debug)]
pub struct Logs(Collector);

impl Logs {
    /// To this collector.
    pub fn new(endpoint: &Endpoint, headers: &Headers) -> Self {
        Self(Collector::new(endpoint, "/v1/logs", headers))
    }
}

impl Sink for Logs {
    fn write(&mut self, items: &[Arc<Item>]) -> Result<Taken, Later> {
        let now = now();
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(message::resource()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(message::scope()),
                    log_records: items.iter().map(|item| logs::record(item, now)).collect(),
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        let all = items.len() as u64;
        Ok(match self.0.send(&request)? {
            Answer::Refused(why) => Taken {
                refused: all,
                why: Some(why),
            },
            Answer::Taken(answer) => {
                let answer = ExportLogsServiceResponse::decode(&answer[..]).unwrap_or_default();
                let partial = answer.partial_success.unwrap_or_default();
                let refused = u64::try_from(partial.rejected_log_records).unwrap_or(0);
                let why = (refused > 0).then_some(partial.error_message);
                Taken { refused, why }
            }
        })
    }

    fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Metrics, sent again and again from a thread of their own. A message that is lost takes nothing with it: the next one has all totals.
#[derive(Debug)]
pub struct MetricsPush {
    /// Closed to say that it is over.
    open: SyncSender<()>,
    done: Receiver<()>,
}

impl MetricsPush {
    /// Sends metrics to this collector from now on.
    pub fn start(
        endpoint: &Endpoint,
        headers: &Headers,
        metrics: Arc<Metrics>,
        every: Duration,
    ) -> std::io::Result<Self> {
        let collector = Collector::new(endpoint, "/v1/metrics", headers);
        let started = now();
        let (open, over) = mpsc::sync_channel(0);
        let (tell, done) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("bleedtrace-metrics".to_owned())
            .spawn(move || {
                privilege::drop_all();
                let mut failed = false;
                loop {
                    let last = over.recv_timeout(every) == Err(RecvTimeoutError::Disconnected);
                    push(&collector, &metrics, started, &mut failed);
                    if last {
                        break;
                    }
                }
                // Whoever waits may have given up.
                let _ = tell.send(());
            })?;
        Ok(Self { open, done })
    }

    /// Sends the last totals.
    pub fn close(self) -> LastPush {
        drop(self.open);
        LastPush(self.done)
    }
}

/// The last totals are on their way.
#[derive(Debug)]
pub struct LastPush(Receiver<()>);

impl LastPush {
    /// Whether they were sent, or refused, before this was over.
    pub fn wait(self, patience: Duration) -> bool {
        self.0.recv_timeout(patience).is_ok()
    }
}

fn push(collector: &Collector, metrics: &Metrics, started: u64, failed: &mut bool) {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(message::resource()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(message::scope()),
                metrics: metrics.otlp(started, now()),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let outcome = collector.send(&request).and_then(|answer| match answer {
        Answer::Refused(why) => Err(why),
        Answer::Taken(answer) => {
            let answer = ExportMetricsServiceResponse::decode(&answer[..]).unwrap_or_default();
            match answer.partial_success {
                Some(partial) if partial.rejected_data_points > 0 => Err(partial.error_message),
                _ => Ok(()),
            }
        }
    });
    match outcome {
        Ok(()) => {
            metrics.sink_sent(SinkKind::OtlpMetrics, 1);
            *failed = false;
        }
        Err(error) => {
            metrics.sink_error(SinkKind::OtlpMetrics);
            if !*failed {
                tracing::warn!(error, "metrics cannot be sent");
            }
            *failed = true;
        }
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
