//! What `--listen` serves while a real program is traced, to those who may see it, and to those who would do harm.

use std::{
    env, fs,
    process::{Command, Output},
    time::Duration,
};

use bleedtrace_tests::{
    Certificate, Program, Running, Setup, Trace, Truth, get, once, sample, skip, wait_until,
};
use serde_json::Value;

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn json(address: &str, path: &str) -> Value {
    let text = get(address, path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// A traced program with residue, and another one that outlives it.
fn traced(setup: &Setup, flags: &[&str]) -> (Program, Program, Running) {
    let mut target = Program::fixture(setup, "attached.py", &[]);
    target.wait_for("ready");
    let mut other = Program::fixture(setup, "attached.py", &[]);
    other.wait_for("ready");
    let trace = Trace::new(setup, "tenant")
        .flags(["--pid", &other.pid().to_string()])
        .flags(flags)
        .attach(target.pid());
    (target, other, trace)
}

fn finish(mut other: Program, trace: Running) {
    other.say("go on");
    other.end();
    trace.end();
}

#[test]
fn a_trace_can_be_asked() {
    once("a_trace_can_be_asked", |setup| {
        let (mut target, other, trace) = traced(setup, &[]);
        let address = trace.address.clone();
        assert_eq!(json(&address, "/healthz")["status"], "ok");
        assert_eq!(json(&address, "/readyz")["status"], "ok");
        assert_eq!(json(&address, "/findings")["findings"], serde_json::json!([]));
        let pid = target.pid();
        let state = |address: &str| {
            let targets = json(address, "/targets");
            let mut lines = targets["targets"].as_array().expect("a list").iter();
            let line = lines
                .find(|line| line["pid"] == pid)
                .expect("the target is listed");
            assert_eq!(line["runtime"], "cpython");
            assert!(
                line["version"]
                    .as_str()
                    .is_some_and(|v| setup.interpreter.version.starts_with(v)),
                "{line}"
            );
            line["state"].as_str().expect("text").to_owned()
        };
        assert_eq!(state(&address), "attached");
        target.say("go on");
        target.end();
        let found = wait_until("the finding can be asked for", PATIENCE, || {
            let found = json(&address, "/findings?kind=bleed");
            (found["findings"][0]["count"] == 1).then_some(found)
        });
        let finding = &found["findings"][0]["finding"];
        assert_eq!(
            (&finding["kind"], &finding["pid"]),
            (&"bleed".into(), &pid.into())
        );
        assert_eq!(finding["source"], "before_attach");
        let service = finding["service"].as_str().expect("text");
        let later = format!("/findings?service={service}&since=4000000000");
        assert_eq!(json(&address, &later)["findings"], serde_json::json!([]));
        let page = get(&address, "/").expect("the page");
        for words in ["ready", "bleed", "attached.py"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        wait_until("the end is told", PATIENCE, || {
            (state(&address) == "exited").then_some(())
        });
        finish(other, trace);
    });
}

/// What curl says of a request, as another user if that is wanted.
fn curl(user: Option<u32>, arguments: &[&str]) -> Output {
    let mut command = match user {
        Some(uid) => {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={uid}"),
                &format!("--regid={uid}"),
                "--clear-groups",
                "curl",
            ]);
            command
        }
        None => Command::new("curl"),
    };
    command
        .args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"])
        .args(arguments);
    command.output().expect("curl runs")
}

#[track_caller]
fn code(output: &Output) -> u16 {
    let text = String::from_utf8_lossy(&output.stdout);
    let code = text.lines().last().and_then(|line| line.parse().ok());
    code.unwrap_or_else(|| panic!("{output:?}"))
}

fn no_curl(test: &str) -> bool {
    let missing = !Command::new("curl")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    if missing {
        skip(test, "no curl");
    }
    missing
}

/// The self-test's call goes through the kernel and the ring, and is nobody's event.
#[test]
fn the_agent_sees_its_own_calls() {
    once("the_agent_sees_its_own_calls", |setup| {
        let (mut target, other, trace) = traced(setup, &[]);
        let metrics = wait_until("a call of its own arrives", PATIENCE, || {
            let metrics = get(&trace.address, "/metrics").ok()?;
            let hits = sample(&metrics, "bleedtrace_probe_hits_total", &[("probe", "selftest")]);
            let arrived = sample(&metrics, "bleedtrace_selftest_success", &[]);
            (hits >= Some(1.0) && arrived == Some(1.0)).then_some(metrics)
        });
        let ago = sample(&metrics, "bleedtrace_drained_ago_seconds", &[]);
        assert!(ago.is_some_and(|ago| ago < 5.0), "{ago:?}");
        let shift = sample(&metrics, "bleedtrace_clock_shift_seconds", &[]);
        assert!(shift.is_some_and(|shift| shift.abs() < 1.0), "{shift:?}");
        target.say("go on");
        target.end();
        finish(other, trace);
    });
}

#[test]
fn other_users_see_no_findings() {
    const TEST: &str = "other_users_see_no_findings";
    if no_curl(TEST) {
        return;
    }
    once(TEST, |setup| {
        let (mut target, other, trace) = traced(setup, &[]);
        let url = |path: &str| format!("http://{}{path}", trace.address);
        for path in ["/findings", "/targets", "/"] {
            for stranger in [1234, 65_534] {
                assert_eq!(code(&curl(Some(stranger), &[&url(path)])), 403, "{path}");
            }
            assert_eq!(code(&curl(None, &[&url(path)])), 200, "{path}");
            assert_eq!(
                code(&curl(None, &["-H", "Host: rebound.example", &url(path)])),
                403,
                "{path}"
            );
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(code(&curl(Some(1234), &[&url(path)])), 200, "{path}");
        }
        target.say("go on");
        target.end();
        finish(other, trace);
    });
}

#[test]
fn a_token_and_tls_guard_an_open_address() {
    const TEST: &str = "a_token_and_tls_guard_an_open_address";
    if no_curl(TEST) {
        return;
    }
    once(TEST, |setup| {
        let certificate = Certificate::new(TEST);
        let token = env::temp_dir().join(format!("bleedtrace-token-{}", std::process::id()));
        fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("the folder is for everybody");
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let port = bleedtrace_tests::free_port();
        let pid = target.pid().to_string();
        let mut trace = Program::start(
            Command::new(&setup.bleedtrace)
                .args(["trace", "--identity", "tenant", "--pid", &pid])
                .args(["--listen", &format!("0.0.0.0:{port}"), "--listen-anywhere"])
                .arg("--listen-token-file")
                .arg(&token)
                .args([
                    "--listen-cert",
                    certificate.path(),
                    "--listen-key",
                    certificate.path(),
                ]),
        );
        let said = trace.line();
        assert_eq!(
            said,
            format!("metrics at https://0.0.0.0:{port}/metrics, status at https://0.0.0.0:{port}/")
        );
        let url = |path: &str| format!("https://localhost:{port}{path}");
        let trusting = ["--cacert", certificate.path()];
        let ask = |more: &[&str], path: &str| {
            let url = url(path);
            let arguments: Vec<&str> = trusting.iter().chain(more).copied().chain([&*url]).collect();
            code(&curl(None, &arguments))
        };
        let bearer = ["-H", "Authorization: Bearer 0123456789abcdef0123456789abcdef"];
        wait_until("it is ready", PATIENCE, || {
            (ask(&[], "/readyz") == 200).then_some(())
        });
        for path in ["/metrics", "/findings", "/targets", "/"] {
            assert_eq!(ask(&[], path), 401, "{path}");
            assert_eq!(
                ask(&["-H", "Authorization: Bearer 0123456789abcdef"], path),
                401,
                "{path}"
            );
            assert_eq!(ask(&bearer, path), 200, "{path}");
        }
        assert_eq!(ask(&["-u", "any:0123456789abcdef0123456789abcdef"], "/"), 200);
        let plain = curl(None, &[&format!("http://localhost:{port}/metrics")]);
        assert!(
            !String::from_utf8_lossy(&plain.stdout).contains("bleedtrace_"),
            "{plain:?}"
        );
        target.say("go on");
        target.end();
        trace.end();
        fs::remove_file(token).expect("the file is ours");
    });
}

#[test]
fn what_cannot_be_listened_with_is_named() {
    once("what_cannot_be_listened_with_is_named", |setup| {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&setup.bleedtrace);
            Program::start(command.arg("trace").args(arguments).args(["--", "true"])).end()
        };
        for (arguments, words) in [
            (&["--listen", "0.0.0.0:9464"][..], "--listen-anywhere"),
            (
                &["--listen", "127.0.0.1:0", "--listen-token-file", "/no/such/token"],
                "/no/such/token",
            ),
            (
                &["--listen", "127.0.0.1:0", "--listen-cert", "/no/such/cert"],
                "--listen-key",
            ),
            (
                &["--listen-token-file", "token"],
                "nothing is served without --listen",
            ),
            (
                &[
                    "--listen",
                    "127.0.0.1:0",
                    "--listen-cert",
                    "/no/such/cert",
                    "--listen-key",
                    "/no/such/key",
                ],
                "/no/such/cert",
            ),
        ] {
            let ended = run(arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("hint: "), "{arguments:?}: {}", ended.stderr);
        }
    });
}

#[test]
fn hostile_clients_change_no_finding() {
    once("hostile_clients_change_no_finding", |setup| {
        let arguments = ["400", "4", "7", "attached"];
        let mut target = Program::fixture(setup, "accuracy.py", &arguments);
        target.wait_for("ready");
        // Another one, so that the server lives until it has been asked.
        let mut other = Program::fixture(setup, "attached.py", &[]);
        other.wait_for("ready");
        let trace = Trace::new(setup, "tenant")
            .revealing()
            .flags(["--mint", "*create_task", "--pid", &other.pid().to_string()])
            .attach(target.pid());
        let address = trace.address.clone();
        let clients = Program::start(
            setup
                .command()
                .arg(setup.fixture("hostile_clients.py"))
                .args([&*address, "10000", "10"]),
        );
        target.say("go on");
        let truth = Truth::parse(&target.end().stdout);
        let opened: u32 = clients
            .end()
            .stdout
            .trim()
            .parse()
            .expect("how many connections there were");
        assert!(opened >= 1_000, "{opened}");
        let metrics = wait_until("metrics are served again", PATIENCE, || {
            get(&address, "/metrics").ok()
        });
        let shed = sample(&metrics, "bleedtrace_http_connections_shed_total", &[]);
        assert!(shed.is_some_and(|shed| shed > 0.0), "{shed:?}");
        let lost = sample(
            &metrics,
            "bleedtrace_events_lost_total",
            &[("reason", "ring_full")],
        );
        assert_eq!(lost, Some(0.0));
        other.signal("KILL");
        other.end();
        for (kind, judged) in trace.end().matrix(&truth) {
            assert_eq!((judged.wrong, judged.missed), (0, 0), "{kind}: {judged:?}");
        }
    });
}
