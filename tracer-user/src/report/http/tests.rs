//! The server as clients meet it, well-behaved and not.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Listen, ListenError, Served, accept, serve};
use crate::{
    correlate::{event::TargetId, finding::Kind},
    report::{
        finding::ExportedFinding,
        metrics::Metrics,
        samples,
        store::{Need, Store},
        summary::TargetState,
    },
};

const SECOND: u64 = 1_000_000_000;

/// A minute after the store began.
fn now() -> u64 {
    60 * SECOND
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn listen() -> Listen {
    Listen {
        address: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        token_file: None,
        tls: None,
        viewers: vec![own()],
    }
}

fn served() -> Served {
    let store = Store::new(samples::CLOCK, Need::Target, 0);
    store.drained(now());
    Served {
        metrics: Arc::new(Metrics::new(samples::CLOCK)),
        store: Arc::new(store),
        clock: samples::CLOCK,
        now,
    }
}

fn start() -> (SocketAddr, Served) {
    let served = served();
    (serve(&listen(), served.clone()).unwrap(), served)
}

/// What is answered to a request with these lines behind the first.
fn ask(addr: SocketAddr, request: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nconnection: close\r\n{lines}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(addr: SocketAddr, path: &str) -> String {
    ask(addr, &format!("GET {path}"), "host: localhost\r\n")
}

#[track_caller]
fn status(answer: &str, wanted: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
}

#[track_caller]
fn json(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn add(store: &Store, kind: Kind, service: &str, second: u64) {
    let mut finding: ExportedFinding = samples::export(&samples::finding(kind), false);
    finding.service = service.to_owned();
    finding.time = samples::CLOCK.rfc3339(second * SECOND);
    store.finding(second * SECOND, &finding);
}

#[test]
fn metrics_are_served() {
    let (addr, _) = start();
    let answer = get(addr, "/metrics");
    status(&answer, 200);
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(answer.contains("\nbleedtrace_build_info{"), "{answer}");
    status(&get(addr, "/nothing"), 404);
    status(&ask(addr, "POST /metrics", "host: localhost\r\n"), 405);
    let head = ask(addr, "HEAD /metrics", "host: localhost\r\n");
    status(&head, 200);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn health_follows_the_pipeline() {
    let (addr, served) = start();
    let answer = get(addr, "/healthz");
    status(&answer, 200);
    assert_eq!(json(&answer)["status"], "ok");
    served.store.drained(now() - 6 * SECOND);
    for path in ["/healthz", "/readyz"] {
        let answer = get(addr, path);
        status(&answer, 503);
        assert_eq!(json(&answer)["reasons"][0]["code"], "stalled", "{answer}");
    }
}

#[test]
fn readiness_names_its_reasons_and_nobody() {
    let (addr, served) = start();
    let answer = get(addr, "/readyz");
    status(&answer, 503);
    assert_eq!(json(&answer)["reasons"][0]["code"], "no_target");
    served.store.attached(TargetId(1), &samples::target(), &[], now());
    status(&get(addr, "/readyz"), 200);
    served
        .store
        .refused(7, "secret-service", TargetState::Failed, "because", now());
    let answer = get(addr, "/readyz");
    status(&answer, 503);
    assert_eq!(json(&answer)["reasons"][0]["code"], "target_failed");
    assert!(!answer.contains("secret-service"), "{answer}");
    served.store.refused_ended(7, now());
    status(&get(addr, "/readyz"), 200);
}

#[test]
fn findings_are_filtered() {
    let (addr, served) = start();
    add(&served.store, Kind::Bleed, "proxy", 10);
    add(&served.store, Kind::Bleed, "proxy", 20);
    add(&served.store, Kind::Squat, "billing", 30);
    let all = json(&get(addr, "/findings"));
    assert_eq!(all["dropped"], 0);
    assert_eq!(all["findings"][0]["finding"]["kind"], "squat");
    assert_eq!(all["findings"][1]["count"], 2);
    assert_eq!(
        all["findings"][1]["first_time"],
        samples::CLOCK.rfc3339(10 * SECOND)
    );
    assert_eq!(
        all["findings"][1]["last_time"],
        samples::CLOCK.rfc3339(20 * SECOND)
    );
    let count = |query: &str| {
        json(&get(addr, &format!("/findings?{query}")))["findings"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count("kind=bleed"), count("kind=bleed,squat")), (1, 2));
    assert_eq!((count("service=billing"), count("service=nobody")), (1, 0));
    assert_eq!(
        count(&format!("since={}", samples::CLOCK.rfc3339(25 * SECOND))),
        1
    );
    let answer = get(addr, "/findings?kind=blead");
    status(&answer, 400);
    assert!(
        json(&answer)["error"]
            .as_str()
            .unwrap()
            .contains("is bleed meant?")
    );
}

#[test]
fn targets_are_listed() {
    let (addr, served) = start();
    served.store.attached(TargetId(1), &samples::target(), &[], now());
    served
        .store
        .refused(7, "other", TargetState::Failed, "because", now());
    let targets = json(&get(addr, "/targets"));
    let since = samples::CLOCK.rfc3339(now());
    assert_eq!(
        targets,
        serde_json::json!({"dropped": 0, "targets": [
            {"pid": 4242, "service": "proxy", "runtime": "cpython", "version": "3.12", "tier": "full", "state": "attached", "reason": null, "since": since},
            {"pid": 7, "service": "other", "runtime": null, "version": null, "tier": null, "state": "failed", "reason": "because", "since": since},
        ]})
    );
}

#[test]
fn the_page_shows_what_there_is_and_escapes_it() {
    let (addr, served) = start();
    let hostile = "<script>alert('1')</script>\"&";
    let mut info = samples::target();
    info.service = hostile.into();
    served.store.attached(TargetId(1), &info, &[], now());
    add(&served.store, Kind::Bleed, hostile, 10);
    served
        .store
        .refused(7, hostile, TargetState::Failed, hostile, now());
    let answer = get(addr, "/");
    status(&answer, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(answer.contains(header), "{answer}");
    }
    assert!(!answer.contains("<script"), "{answer}");
    let escaped = "&lt;script&gt;alert('1')&lt;/script&gt;&quot;&amp;";
    assert_eq!(answer.matches(escaped).count(), 4, "{answer}");
    for words in ["not ready", "authorize (/srv/proxy.py:22)", "1 traced now"] {
        assert!(answer.contains(words), "{words}: {answer}");
    }
    assert!(get(addr, "/style.css").contains("color-scheme: light dark"));
}

#[test]
fn strangers_see_metrics_and_health_only() {
    let mut listen = listen();
    listen.viewers = vec![own() + 1];
    let addr = serve(&listen, served()).unwrap();
    for (path, wanted) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/findings", 403),
        ("/targets", 403),
        ("/", 403),
    ] {
        status(&get(addr, path), wanted);
    }
}

#[test]
fn pages_from_elsewhere_see_no_findings() {
    let (addr, _) = start();
    status(&ask(addr, "GET /findings", "host: 127.0.0.1:9464\r\n"), 200);
    status(&ask(addr, "GET /findings", "host: rebound.example\r\n"), 403);
}

#[test]
fn a_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let mut listen = listen();
    listen.token_file = Some(file.clone());
    let addr = serve(&listen, served()).unwrap();
    let with = |path: &str, header: &str| {
        ask(
            addr,
            &format!("GET {path}"),
            &format!("host: elsewhere\r\n{header}"),
        )
    };
    for path in ["/metrics", "/findings", "/targets", "/"] {
        for none in [
            "",
            "authorization: Bearer 0123456789abcdeX\r\n",
            "authorization: Bearer\r\n",
        ] {
            let answer = with(path, none);
            status(&answer, 401);
            assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
        }
        status(&with(path, "authorization: Bearer 0123456789abcdef\r\n"), 200);
    }
    status(
        &with("/findings", "authorization: Basic OjAxMjM0NTY3ODlhYmNkZWY=\r\n"),
        200,
    );
    status(&with("/healthz", ""), 200);
    std::fs::write(&file, "short").unwrap();
    let error = serve(&listen, served()).unwrap_err();
    assert!(matches!(error, ListenError::Token(_)), "{error}");
}

#[test]
fn only_loopback_and_only_free_addresses() {
    let mut everywhere = listen();
    everywhere.address = "0.0.0.0:0".parse().unwrap();
    let error = serve(&everywhere, served()).unwrap_err().to_string();
    assert!(
        error.starts_with("0.0.0.0:0 is not a loopback address\nhint: add --listen-anywhere"),
        "{error}"
    );
    everywhere.anywhere = true;
    serve(&everywhere, served()).unwrap();
    let (taken, _) = start();
    let mut again = listen();
    again.address = taken;
    let error = serve(&again, served()).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {taken}: ")),
        "{error}"
    );
}

#[test]
fn certificates_are_looked_at_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
    let error = |listen: &Listen| serve(listen, served()).unwrap_err().to_string();
    let mut listen = listen();
    listen.tls = Some((cert.clone(), key.clone()));
    assert!(error(&listen).starts_with("cannot read certificates from "));
    std::fs::write(&cert, "nothing of the kind").unwrap();
    assert!(error(&listen).contains("there is none in it"));
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let (addr, _) = start();
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(4 * accept::HEAD_BYTES)
    );
    // The server may close before it has read everything.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    status(&get(addr, "/metrics"), 200);
}

#[test]
fn garbage_is_answered_or_cut_off() {
    let (addr, _) = start();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(garbage).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            !String::from_utf8_lossy(&answer).contains("200 OK"),
            "{garbage:?}"
        );
    }
    status(&get(addr, "/metrics"), 200);
}

#[test]
fn silent_connections_keep_nobody_out() {
    let (addr, served) = start();
    let silent: Vec<_> = (0..accept::CONNECTIONS + 20)
        .map(|number| {
            let mut stream = TcpStream::connect(addr).unwrap();
            // Some never begin, some begin and go on for ever.
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: ").unwrap();
            }
            stream
        })
        .collect();
    let before = Instant::now();
    status(&get(addr, "/metrics"), 200);
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    assert!(
        served
            .metrics
            .render()
            .contains("bleedtrace_http_connections_shed_total 2")
    );
    drop(silent);
}

#[test]
fn whoever_is_silent_is_cut_off() {
    let (addr, _) = start();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    let waited = ended.as_ref().err().map(io::Error::kind);
    assert_ne!(waited, Some(io::ErrorKind::WouldBlock), "it was never closed");
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}
