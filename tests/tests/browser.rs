//! What people look at in a browser: the report, and the agent's status page. Both are opened in a real one, and looked at with axe-core.

use std::{path::Path, process::Command, time::Duration};

use bleedtrace_tests::{
    Agent, Browser, Folder, MARKED, Program, Setup, axe, bleed, bleeder, chromium, get, once, skip,
    wait_until,
};
use serde_json::json;

/// Findings of a report that must still open at once.
const MANY: u64 = 10_000;
/// How long that may take.
const SOON: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test with a browser and axe-core, or says why it cannot.
#[track_caller]
fn with_browser(test: &str, check: impl FnOnce(&Setup, &mut Browser, &str)) {
    once(test, |setup| match (chromium(), axe()) {
        (None, _) => skip(test, "no chromium; BLEEDTRACE_CHROMIUM can name one"),
        (_, None) => skip(
            test,
            "no axe-core: npm cannot fetch it; BLEEDTRACE_AXE can name the script",
        ),
        (Some(chromium), Some(axe)) => check(setup, &mut Browser::start(&chromium), &axe),
    });
}

/// Opens a page in each way in which it is looked at, and holds it against everything that is asked of it.
#[track_caller]
fn assert_holds(browser: &mut Browser, axe: &str, url: &str) {
    let origin = url.rfind('/').map_or(url, |at| &url[..at]);
    for (medium, scheme, width) in [
        ("", "light", 1200),
        ("", "dark", 1200),
        ("print", "light", 800),
        ("", "light", 360),
    ] {
        browser.show(medium, scheme);
        browser.width(width);
        browser.open(url);
        let heard = browser.heard();
        assert_eq!(
            heard.complaints,
            Vec::<String>::new(),
            "{scheme} {medium} {width}"
        );
        for request in &heard.requests {
            assert!(
                request.starts_with(origin) || request == "data:,",
                "it asked for {request}"
            );
        }
        assert!(
            heard.requests.iter().any(|request| request == url),
            "{:?}",
            heard.requests
        );
        assert_eq!(
            browser.issues(axe),
            Vec::<String>::new(),
            "{scheme} {medium} {width}"
        );
        let wider =
            browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wider, json!(0), "at {width} it scrolls sideways");
    }
    let levels = browser.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(title => Number(title.tagName[1]))",
    );
    let levels: Vec<u64> = serde_json::from_value(levels).expect("numbers");
    assert_eq!(levels.first(), Some(&1));
    assert!(
        levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "a heading skips a level: {levels:?}"
    );
    let landmarks = browser
        .evaluate("['header', 'main', 'footer'].every(name => document.querySelector('body > ' + name))");
    assert_eq!(landmarks, json!(true));
}

/// Traces a fixture with hostile names, and has a report of it.
fn report(setup: &Setup, folder: &Folder, sites: u64) -> String {
    let file = folder.file("report.html");
    let ended = Program::start(
        Command::new(&setup.bleedtrace)
            // Room for all of it: how fast it is taken in is another test's concern.
            .env("BLEEDTRACE_RING_BYTES", (1 << 28).to_string())
            .env(
                "OTEL_SERVICE_NAME",
                "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>",
            )
            .args(["report", "--identity", "tenant", "--reveal", "-o", &file, "--"])
            .arg(&setup.interpreter.python)
            .arg(setup.fixture("many_sites.py"))
            .arg(sites.to_string()),
    )
    .end();
    assert_eq!(ended.code, Some(1), "there are findings: {}", ended.stderr);
    assert!(Path::new(&file).is_file());
    format!("file://{file}")
}

#[test]
fn a_report_holds_in_a_browser() {
    with_browser("a_report_holds_in_a_browser", |setup, browser, axe| {
        let folder = Folder::new("report-page");
        let url = report(setup, &folder, 20);
        assert_holds(browser, axe, &url);
        let alerted = browser.evaluate("document.querySelectorAll('script, img, [onerror]').length");
        assert_eq!(alerted, json!(0));
        let shown = browser.evaluate("document.body.innerText.includes('<script>alert(1)</script>')");
        assert_eq!(shown, json!(true), "what is hostile is shown as text");
        assert_ne!(
            browser.evaluate("document.querySelectorAll('svg.timeline').length"),
            json!(0)
        );
        // The first stop of the keyboard leads to the findings.
        browser.show("", "light");
        browser.open(&url);
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
            browser.call("Input.dispatchKeyEvent", key);
        }
        assert_eq!(
            browser.evaluate("document.activeElement.getAttribute('href')"),
            json!("#findings")
        );
        assert_eq!(
            browser.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none' && document.activeElement.getBoundingClientRect().left >= 0"),
            json!(true),
            "where the focus is can be seen"
        );
    });
}

#[test]
fn ten_thousand_findings_open_at_once() {
    with_browser("ten_thousand_findings_open_at_once", |setup, browser, _| {
        let folder = Folder::new("report-large");
        let url = report(setup, &folder, MANY);
        browser.open(&url);
        let told = browser.evaluate("document.querySelector('#verdict h2').innerText");
        // One more is what was left for half of them to read.
        assert_eq!(told, json!(format!("{} findings", MANY + 1)));
        // The machine may be busy: once is enough.
        let took = (0..5).map(|_| browser.open(&url)).min().expect("five times");
        assert!(took < SOON, "it took {took:?}");
        eprintln!("{MANY} findings: {took:?}");
        let start = std::time::Instant::now();
        browser.evaluate("document.getElementById('cause-100').scrollIntoView(); document.body.offsetHeight");
        assert!(
            start.elapsed() < SOON,
            "going to a cause took {:?}",
            start.elapsed()
        );
    });
}

#[test]
fn the_status_page_holds_in_a_browser() {
    with_browser("the_status_page_holds_in_a_browser", |setup, browser, axe| {
        let agent = Agent::start(setup, MARKED);
        let mut program = bleeder(&agent, setup);
        bleed(&mut program);
        wait_until("the page shows a finding", PATIENCE, || {
            get(&agent.address, "/")
                .is_ok_and(|page| page.contains("bleed"))
                .then_some(())
        });
        assert_holds(browser, axe, &format!("http://{}/", agent.address));
        program.end();
        agent.end();
    });
}
