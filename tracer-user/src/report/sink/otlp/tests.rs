//! Against a server that speaks HTTP and decodes what it is sent.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::ExportMetricsServiceRequest,
    },
    common::v1::{AnyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
};
use prost::Message as _;

use super::{Endpoint, Headers, Logs, MetricsPush};
use crate::{
    correlate::{
        event::TargetId,
        fact::{Fact, FactKind},
        finding::Kind,
    },
    report::{
        clock::Clock,
        finding::Runtime,
        metrics::Metrics,
        samples,
        sink::{Item, Outlet, Sink as _, SinkKind, Taken},
        tally::Tally,
    },
};

/// A request: its path, its token or else its type, its body.
type Request = (String, String, Vec<u8>);

/// A collector that gives these answers, one a connection, and 200 from there on.
fn collector(answers: Vec<(u16, Vec<u8>)>) -> (Endpoint, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let (tell, requests) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
            }
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
            };
            let length: usize = field("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let _ = tell.send((
                path,
                field("authorization").or(field("content-type")).unwrap(),
                body,
            ));
            let (status, answer) = answers.next().unwrap_or((200, Vec::new()));
            let stream = stream.get_mut();
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            )
            .unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    (endpoint, requests)
}

fn finding() -> Arc<Item> {
    let finding = samples::export(&samples::finding(Kind::Bleed), false);
    Arc::new(Item::Finding(Box::new(finding)))
}

fn string(value: Option<&AnyValue>) -> &str {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn findings_become_log_records() {
    let (endpoint, requests) = collector(Vec::new());
    let summary = Arc::new(Item::Summary(Box::new(Tally::default().finish(None))));
    let taken = Logs::new(&endpoint, &Headers::default())
        .write(&[finding(), summary])
        .unwrap();
    assert_eq!(taken, Taken::default());
    let (path, kind, body) = requests.recv().unwrap();
    assert_eq!((&*path, &*kind), ("/v1/logs", "application/x-protobuf"));
    let request = ExportLogsServiceRequest::decode(&body[..]).unwrap();
    let of = &request.resource_logs[0];
    let sender = &of.resource.as_ref().unwrap().attributes;
    let sender: Vec<_> = sender
        .iter()
        .map(|attribute| (&*attribute.key, string(attribute.value.as_ref())))
        .collect();
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        sender,
        [
            ("service.name", "bleedtrace"),
            ("service.version", version),
            ("service.instance.id", machine.trim()),
            ("host.name", machine.trim()),
        ]
    );
    let [finding, summary] = &of.scope_logs[0].log_records[..] else {
        panic!("{of:?}")
    };
    assert_eq!(
        (finding.severity_number, &*finding.severity_text),
        (17, "critical")
    );
    assert_eq!(
        (&*finding.event_name, &*summary.event_name),
        ("bleedtrace.finding", "bleedtrace.summary")
    );
    assert_eq!(finding.time_unix_nano, 1_767_323_045_123_456_000);
    assert!(string(finding.body.as_ref()).starts_with("worker thread 4250 read tenant"));
    assert_eq!(string(summary.body.as_ref()), "verdict: no_verdict");
    let attribute = |key: &str| {
        let mut attributes = finding.attributes.iter();
        attributes
            .find(|attribute| attribute.key == key)
            .unwrap()
            .value
            .as_ref()
    };
    assert_eq!(string(attribute("bleedtrace.kind")), "bleed");
    assert_eq!(string(attribute("bleedtrace.service")), "proxy");
    let pid = attribute("bleedtrace.pid").unwrap().value.as_ref();
    assert_eq!(pid, Some(&Value::IntValue(4242)));
    assert!(!format!("{request:?}").contains("acme"), "identities stay out");
}

#[test]
fn a_collector_that_is_busy_is_asked_again() {
    let (endpoint, requests) = collector(vec![(503, Vec::new()), (429, Vec::new())]);
    let metrics = Arc::new(Metrics::new(Clock::default()));
    let outlet = Outlet::start(
        SinkKind::OtlpLogs,
        Logs::new(&endpoint, &Headers::default()),
        Arc::clone(&metrics),
    )
    .unwrap();
    outlet.send(finding());
    assert_eq!(outlet.close().wait(Duration::from_secs(10)), Ok(()));
    assert_eq!(requests.try_iter().count(), 3);
    let text = metrics.render();
    for line in [
        "sink_errors_total{sink=\"otlp_logs\"} 2",
        "sink_sent_total{sink=\"otlp_logs\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn what_a_collector_refuses_is_told() {
    let partial = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "too old".to_owned(),
        }),
    };
    let (endpoint, _requests) = collector(vec![(400, Vec::new()), (200, partial.encode_to_vec())]);
    let mut logs = Logs::new(&endpoint, &Headers::default());
    let taken = logs.write(&[finding(), finding()]).unwrap();
    assert_eq!(taken.refused, 2);
    assert!(taken.why.unwrap().contains("/v1/logs answers 400"));
    let taken = logs.write(&[finding(), finding()]).unwrap();
    assert_eq!((taken.refused, taken.why.as_deref()), (1, Some("too old")));
}

#[test]
fn a_collector_that_is_not_there_is_an_error_that_may_pass() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
    assert!(
        Logs::new(&endpoint, &Headers::default())
            .write(&[finding()])
            .is_err()
    );
}

#[test]
fn metrics_are_sent_as_totals() {
    let (endpoint, requests) = collector(Vec::new());
    let metrics = Arc::new(Metrics::new(Clock::default()));
    metrics.attach_service("proxy", Runtime::Cpython);
    for nanos in [5_000, 2_000_000, 2_000_000, 400_000_000_000] {
        let fact = Fact {
            target: TargetId(1),
            what: FactKind::Wait(nanos),
        };
        metrics.fold(&fact, "proxy", "");
    }
    let push = MetricsPush::start(
        &endpoint,
        &Headers::default(),
        Arc::clone(&metrics),
        Duration::from_secs(3600),
    )
    .unwrap();
    assert!(push.close().wait(Duration::from_secs(10)));
    let (path, _, body) = requests.recv().unwrap();
    assert_eq!(path, "/v1/metrics");
    let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
    let sent = &request.resource_metrics[0].scope_metrics[0].metrics;
    let metric = |name: &str| -> &Metric { sent.iter().find(|metric| metric.name == name).unwrap() };
    let Some(Data::Histogram(wait)) = &metric("bleedtrace_handoff_wait_seconds").data else {
        panic!("no histogram")
    };
    let point = &wait.data_points[0];
    assert_eq!(
        (point.count, point.bucket_counts.len()),
        (4, point.explicit_bounds.len() + 1)
    );
    assert_eq!(point.bucket_counts, [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(string(point.attributes[0].value.as_ref()), "proxy");
    let Some(Data::Sum(findings)) = &metric("bleedtrace_findings_total").data else {
        panic!("no sum")
    };
    assert!(findings.is_monotonic && findings.data_points.len() == Kind::ALL.len());
    assert!(matches!(
        metric("bleedtrace_build_info").data,
        Some(Data::Gauge(_))
    ));
    assert_eq!(metric("bleedtrace_ring_lag_seconds").unit, "s");
    assert_eq!(metric("bleedtrace_findings_total").unit, "{findings}");
    assert!(
        metrics
            .render()
            .contains("sink_sent_total{sink=\"otlp_metrics\"} 1")
    );
}

#[test]
fn addresses_of_collectors() {
    for good in ["http://127.0.0.1:4318", "https://collector.example/otlp/"] {
        assert!(good.parse::<Endpoint>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "127.0.0.1:4318",
        "grpc://a:1",
        "http://",
        "http://a/?b=c",
        "http://a b",
    ] {
        assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
    }
}

#[test]
fn headers_are_sent_along() {
    let (endpoint, requests) = collector(Vec::new());
    let headers: Headers = "\nAuthorization: Bearer a:b\nx-scope: 1\n".parse().unwrap();
    Logs::new(&endpoint, &headers).write(&[finding()]).unwrap();
    assert_eq!(requests.recv().unwrap().1, "Bearer a:b");
    assert!(!format!("{headers:?}").contains("a:b"), "it is a secret");
    for bad in ["secret", "a b: c", "a: \u{7f}"] {
        let error = format!("x: y\n{bad}").parse::<Headers>().unwrap_err();
        assert_eq!(error, "line 2 is no `name: value`");
    }
}
