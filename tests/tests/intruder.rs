//! Another user of the machine, without privilege: he can neither make the agent open what he may not read, nor hold it up, nor have it
//! say or count what he likes.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bleedtrace_tests::{
    Agent, Folder, MARK, NOBODY, PYTHON, Program, Setup, as_user, bleed, bleeder, fixture, get, once, skip,
    wait_until,
};
use rustix::{
    fd::OwnedFd,
    fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Who is meant is called as he wishes: the rule gives no name.
const CONFIG: &str = "[watch]\nidentity = [\"tenant\"]\nwire = true\n\
                      [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\n";
/// A name that is a sample of its own, and a sequence for the terminal.
const NAME: &str = "evil\"} 1\nbleedtrace_bleeds_total 99\n\u{1b}[2J<script>";

/// A file that only root may read, and whether anybody has opened it since.
struct Secret {
    path: PathBuf,
    watch: OwnedFd,
}

impl Secret {
    #[track_caller]
    fn new(folder: &Folder) -> Self {
        let path = folder.write("secret", "not for you");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let watch = init(CreateFlags::NONBLOCK).expect("files can be watched");
        add_watch(&watch, &path, WatchFlags::OPEN | WatchFlags::ACCESS).expect("it is ours");
        Self { path, watch }
    }

    fn was_opened(&self) -> bool {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
        Reader::new(&self.watch, &mut buffer).next().is_ok()
    }
}

/// A command as somebody without privilege.
fn as_nobody() -> Command {
    let words = as_user(NOBODY, &[]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A folder of his own.
#[track_caller]
fn his(folder: &Folder, name: &str) -> String {
    let path = folder.file(name);
    fs::create_dir(&path).expect("a new folder");
    chown(&path, Some(NOBODY), Some(NOBODY)).expect("it can be given");
    path
}

/// Whether this machine can run the test at all.
fn is_possible(test: &str) -> bool {
    let can = Path::new(PYTHON).exists()
        && as_nobody()
            .args([PYTHON, "-c", ""])
            .status()
            .is_ok_and(|status| status.success());
    if !can {
        skip(test, "no /usr/bin/python3 that setpriv can run as somebody else");
    }
    can
}

/// The agent still finds what it should.
#[track_caller]
fn works(agent: &Agent, setup: &Setup) {
    let mut program = bleeder(agent, setup);
    wait_until("an honest program is attached to", PATIENCE, || {
        agent
            .said()
            .contains(&format!("(pid {},", program.pid()))
            .then_some(())
    });
    assert_eq!(bleed(&mut program), 1);
    wait_until("its bleed is found", PATIENCE, || {
        let found = agent.findings();
        found
            .iter()
            .any(|finding| finding["kind"] == "bleed" && finding["pid"] == program.pid())
            .then_some(())
    });
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn names_of_files_lead_nowhere() {
    const TEST: &str = "names_of_files_lead_nowhere";
    once(TEST, |setup| {
        if !is_possible(TEST) {
            return;
        }
        let folder = Folder::new(TEST);
        fs::copy(fixture("hostile/intruder.py"), folder.file("intruder.py"))
            .expect("a fixture can be copied");
        let secret = Secret::new(&folder);
        let start = |mark: &str, name: &str| {
            let mut command = as_nobody();
            command
                .env(MARK, mark)
                .env("OTEL_SERVICE_NAME", NAME)
                .args([PYTHON, &folder.file("intruder.py"), &his(&folder, name)])
                .arg(&secret.path);
            let mut program = Program::start(&mut command);
            program.wait_for("ready");
            program
        };
        let agent = Agent::start(setup, CONFIG);
        // One that the agent sees start, and one that runs already when another agent comes.
        let one = start(&agent.mark, "one");
        let late = Agent::start(setup, &CONFIG.replace("{mark}", &agent.mark));
        for agent in [&agent, &late] {
            wait_until("he is looked at", PATIENCE, || {
                agent
                    .said()
                    .contains(&format!("(pid {},", one.pid()))
                    .then_some(())
            });
            // His maps are looked at again meanwhile.
            thread::sleep(Duration::from_secs(1));
            assert!(!secret.was_opened(), "{}", agent.said());
            let metrics = get(&agent.address, "/metrics").expect("the agent answers");
            assert!(metrics.contains("evil"), "he is named");
            for line in metrics.lines() {
                assert!(!line.starts_with("bleedtrace_bleeds_total 99"), "{line}");
            }
            let page = get(&agent.address, "/").expect("the agent answers");
            assert!(!page.contains("<script>"), "{page}");
            let shown = agent.said() + &metrics + &page;
            assert!(!shown.contains('\u{1b}'), "{shown}");
            let (_, targets) = agent.ask("/targets");
            assert!(!targets.to_string().contains('\u{1b}'), "{targets}");
        }
        // It is seen when somebody opens it.
        fs::read(&secret.path).expect("it is ours");
        assert!(secret.was_opened());
        works(&agent, setup);
        assert_eq!(one.end().code, Some(0));
        agent.end();
        late.end();
    });
}

/// A program that needs a libpython; none where that cannot be made.
fn needy(folder: &Folder) -> Option<String> {
    let (empty, library, program) = (
        folder.write("empty.c", "int nothing;\n"),
        folder.file("libpython3.99.so.1.0"),
        folder.file("needy"),
    );
    let source = folder.write("main.c", "int main(void) { return 0; }\n");
    let works = |arguments: &[&str]| {
        Command::new("cc")
            .args(arguments)
            .status()
            .is_ok_and(|s| s.success())
    };
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    (works(&[
        "-shared",
        "-Wl,-soname,libpython3.99.so.1.0",
        "-o",
        &library,
        &text(&empty),
    ]) && works(&["-o", &program, &text(&source), "-Wl,--no-as-needed", &library]))
    .then_some(program)
}

#[test]
fn a_library_path_leads_nowhere_and_holds_nobody_up() {
    const TEST: &str = "a_library_path_leads_nowhere_and_holds_nobody_up";
    once(TEST, |setup| {
        if !is_possible(TEST) {
            return;
        }
        let folder = Folder::new(TEST);
        let Some(program) = needy(&folder) else {
            return skip(TEST, "no C compiler");
        };
        let secret = Secret::new(&folder);
        let (link, pipe) = (his(&folder, "link"), his(&folder, "pipe"));
        std::os::unix::fs::symlink(&secret.path, format!("{link}/libpython3.99.so.1.0")).expect("a new link");
        let made = as_nobody()
            .args(["mkfifo", &format!("{pipe}/libpython3.99.so.1.0")])
            .status();
        assert!(made.is_ok_and(|status| status.success()));
        let agent = Agent::start(setup, CONFIG);
        let start = |path: &str| {
            as_nobody()
                .env(MARK, &agent.mark)
                .env("LD_LIBRARY_PATH", path)
                .arg(&program)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("setpriv runs")
        };
        // Its own loader may not open it either.
        for _ in 0..20 {
            assert_eq!(start(&link).wait().expect("it was started").code(), Some(127));
        }
        // This one waits for somebody who writes, for ever.
        let mut waiting = start(&pipe);
        works(&agent, setup);
        assert!(!secret.was_opened(), "{}", agent.said());
        waiting.kill().expect("it waits");
        waiting.wait().expect("it was started");
        agent.end();
    });
}
