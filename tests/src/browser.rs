//! A browser without a window, told what to do by its DevTools protocol.

use std::{
    collections::VecDeque,
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::IntoClientRequest as _};

use crate::{folder::Folder, interpreters::roots};

/// The version of axe-core that pages are looked at with.
const AXE: &str = "axe-core@4.14.1";
/// How long an answer of the browser may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names that the browser goes by, and the variable that names another one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const VARIABLE: &str = "BLEEDTRACE_CHROMIUM";

/// A browser with one page.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    number: u64,
    events: VecDeque<Value>,
    _profile: Folder,
}

/// What a page did besides being shown.
#[derive(Debug, Default)]
pub struct Heard {
    /// What it said on the console, what was thrown, and what its policy refused.
    pub complaints: Vec<String>,
    /// What it asked for.
    pub requests: Vec<String>,
}

/// Where the browser is, if there is one.
pub fn chromium() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE)
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = || env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    named.or_else(|| found().find(|file| file.is_file()))
}

/// The script of axe-core: from the file that `BLEEDTRACE_AXE` names, or fetched once with npm.
pub fn axe() -> Option<String> {
    if let Some(file) = env::var_os("BLEEDTRACE_AXE") {
        return fs::read_to_string(file).ok();
    }
    let folder = roots().parent()?.join("browser");
    let script = folder.join("package/axe.min.js");
    if !script.is_file() {
        fs::create_dir_all(&folder).ok()?;
        let packed = Command::new("timeout")
            .args(["30", "npm", "pack", "--silent", AXE])
            .current_dir(&folder)
            .output()
            .ok()?;
        let name = String::from_utf8(packed.stdout).ok()?;
        let unpacked = Command::new("tar")
            .args(["xzf", name.trim(), "package/axe.min.js"])
            .current_dir(&folder)
            .status()
            .ok()?;
        if !unpacked.success() {
            return None;
        }
    }
    fs::read_to_string(script).ok()
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(chromium: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let profile = Folder::new(&format!("browser-{number}"));
        let mut child = Command::new(chromium)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-extensions",
            ])
            .args([
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", chromium.display()));
        let port = profile.path().join("DevToolsActivePort");
        let start = Instant::now();
        let address = loop {
            let text = fs::read_to_string(&port).unwrap_or_default();
            let mut lines = text.lines();
            if let (Some(port), Some(path)) = (lines.next(), lines.next()) {
                break format!("127.0.0.1:{port}{path}");
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("the browser does not say where it listens");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let host = address.split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(host).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("ws://{address}")
            .into_client_request()
            .expect("a request");
        let (socket, _) = tungstenite::client(request, stream).expect("the browser speaks WebSocket");
        let mut browser = Self {
            child,
            socket,
            session: String::new(),
            number: 0,
            events: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target, "flatten": true }),
        );
        let session = session["sessionId"].as_str().expect("a session");
        session.clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks for something.
    ///
    /// # Panics
    /// When the browser refuses, or does not answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: impl Into<Value>) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({ "id": number, "method": method, "params": parameters.into() });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket
            .send(Message::text(message.to_string()))
            .expect("the browser listens");
        loop {
            let answer = self.next();
            if answer["id"] == number {
                assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        loop {
            let message = self.socket.read().expect("the browser answers in time");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    #[track_caller]
    fn wait_for(&mut self, event: &str) {
        while !self.events.iter().any(|known| known["method"] == event) {
            let next = self.next();
            self.events.push_back(next);
        }
    }

    /// Opens a page. Returns how long that took, until all of it was laid out and painted.
    #[track_caller]
    pub fn open(&mut self, url: &str) -> Duration {
        self.events.clear();
        let start = Instant::now();
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.wait_for("Page.loadEventFired");
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(document.body.offsetHeight))))");
        start.elapsed()
    }

    /// What a script comes to.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn evaluate(&mut self, script: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({ "expression": script, "awaitPromise": true, "returnByValue": true }),
        );
        assert!(
            result.get("exceptionDetails").is_none(),
            "{}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// How the page is shown: the medium (`print`, or nothing for a screen), and the colours.
    #[track_caller]
    pub fn show(&mut self, medium: &str, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "media": medium, "features": features }),
        );
    }

    /// How wide the page is.
    #[track_caller]
    pub fn width(&mut self, width: u32) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What axe-core finds to be wrong with the page, one line for each serious or critical issue.
    #[track_caller]
    pub fn issues(&mut self, axe: &str) -> Vec<String> {
        // The page's own policy lets no script run; what the browser is told to evaluate is none of the page's.
        self.evaluate(&format!("{axe}; 0"));
        let found = self.evaluate("axe.run({ resultTypes: ['violations'] }).then(found => found.violations)");
        let found = found.as_array().expect("a list").iter();
        found
            .filter(|issue| matches!(issue["impact"].as_str(), Some("serious" | "critical")))
            .map(|issue| {
                format!(
                    "{}: {} at {}",
                    issue["id"], issue["help"], issue["nodes"][0]["html"]
                )
            })
            .collect()
    }

    /// What was heard since the page was opened.
    #[track_caller]
    pub fn heard(&mut self) -> Heard {
        // Whatever was on its way has come when this is answered.
        self.evaluate("new Promise(done => setTimeout(done, 100))");
        let mut heard = Heard::default();
        for event in self.events.drain(..) {
            let parameters = &event["params"];
            match event["method"].as_str() {
                Some(
                    "Runtime.consoleAPICalled"
                    | "Runtime.exceptionThrown"
                    | "Log.entryAdded"
                    | "Audits.issueAdded",
                ) => {
                    heard.complaints.push(parameters.to_string());
                }
                Some("Network.requestWillBeSent") => {
                    heard.requests.push(
                        parameters["request"]["url"]
                            .as_str()
                            .unwrap_or_default()
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        heard
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
