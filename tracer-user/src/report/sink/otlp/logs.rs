//! A finding, or the summary, as a log record.

use jiff::Timestamp;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde::Serialize;
use serde_json::Value as Json;

use super::message::{any, attribute};
use crate::{correlate::finding::Severity, report::sink::Item};

/// The record. What it says for people is its body; all that is known are its attributes, named as in JSON behind `bleedtrace.`.
pub(super) fn record(item: &Item, now: u64) -> LogRecord {
    match item {
        Item::Finding(finding) => {
            let severity = match finding.kind.severity() {
                Severity::Critical => SeverityNumber::Error,
                Severity::Warning => SeverityNumber::Warn,
            };
            LogRecord {
                time_unix_nano: nanos(&finding.time).unwrap_or(now),
                observed_time_unix_nano: now,
                severity_number: severity.into(),
                severity_text: finding.severity.to_owned(),
                body: Some(any(&Json::from(finding.explain.as_str()))),
                attributes: attributes(finding),
                event_name: "bleedtrace.finding".to_owned(),
                ..LogRecord::default()
            }
        }
        Item::Summary(summary) => LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number: SeverityNumber::Info.into(),
            severity_text: "info".to_owned(),
            body: Some(any(&Json::from(format!("verdict: {}", summary.verdict.name())))),
            attributes: attributes(summary),
            event_name: "bleedtrace.summary".to_owned(),
            ..LogRecord::default()
        },
    }
}

fn attributes(of: &impl Serialize) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    match serde_json::to_value(of) {
        Ok(Json::Object(members)) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| attribute(&format!("bleedtrace.{key}"), value))
            .collect(),
        _ => Vec::new(),
    }
}

fn nanos(time: &str) -> Option<u64> {
    let time: Timestamp = time.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}
