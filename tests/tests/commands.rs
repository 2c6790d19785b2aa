//! What `vars`, `hops` and `discover` list is what there is.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bleedtrace_tests::{
    EMPTY_CONTEXTS, Ended, Program, Setup, fixture, line_of, on_main_interpreters, once, skip, wait_until,
};
use serde_json::{Value, json};

/// A file for what a command writes.
fn output() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("bleedtrace-commands-{}-{number}", std::process::id()))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// Runs a command of the tracer that needs no target of its own.
fn run(setup: &Setup, arguments: &[&str]) -> Ended {
    Program::start(Command::new(&setup.bleedtrace).args(arguments)).end()
}

/// The inventory of a fixture, and what else was said.
fn hops(setup: &Setup, name: &str, arguments: &[&str]) -> (Vec<Value>, Value) {
    let file = output();
    let ended = Program::start(
        Command::new(&setup.bleedtrace)
            .env(EMPTY_CONTEXTS.0, EMPTY_CONTEXTS.1)
            .args(["hops", "--identity", "tenant", "--format", "json", "--output"])
            .arg(&file)
            .arg("--")
            .arg(&setup.interpreter.python)
            .arg(fixture(name))
            .args(arguments),
    )
    .end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = lines(&fs::read_to_string(&file).expect("it was written"));
    fs::remove_file(&file).expect("it is ours");
    let sites = of_type(&lines, "hop").into_iter().cloned().collect();
    let summary = of_type(&lines, "summary")[0].clone();
    assert_eq!(summary["lost"], 0);
    assert_eq!(summary["watched"], json!(["tenant"]));
    (sites, summary)
}

/// The site at a marked line of a fixture.
#[track_caller]
fn at<'a>(sites: &'a [Value], name: &str, mark: &str) -> &'a Value {
    let line = line_of(name, mark);
    let found = sites.iter().find(|site| {
        site["site"]["line"] == line
            && site["site"]["file"]
                .as_str()
                .is_some_and(|file| file.ends_with(name))
    });
    found.unwrap_or_else(|| panic!("no site at {name}:{line} in {sites:#?}"))
}

#[track_caller]
fn says(site: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&site[key], value, "{key} of {site:#}");
    }
}

#[test]
fn every_variable_is_counted() {
    on_main_interpreters("every_variable_is_counted", |setup| {
        let file = output();
        let mut program = Program::start(
            Command::new(&setup.bleedtrace)
                .args(["vars", "--format", "json", "--output"])
                .arg(&file)
                .arg("--")
                .arg(&setup.interpreter.python)
                .arg(fixture("variables.py")),
        );
        let truth: Vec<Value> = serde_json::from_str(&program.line()).expect("the truth");
        // Modules are looked up again twice a second.
        std::thread::sleep(Duration::from_secs(2));
        program.say("end");
        let ended = program.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let lines = lines(&fs::read_to_string(&file).expect("it was written"));
        fs::remove_file(&file).expect("it is ours");
        let found: Vec<Value> = of_type(&lines, "variable")
            .into_iter()
            .map(|line| {
                json!([
                    line["service"],
                    line["name"],
                    line["modules"],
                    line["processes"],
                    line["reads"],
                    line["binds"],
                    line["value_types"],
                    line["suggested_role"]
                ])
            })
            .collect();
        let expected: Vec<Value> = truth
            .into_iter()
            .map(|variable| {
                let [name, module, reads, binds, types, role] =
                    variable.as_array().expect("a list").as_slice()
                else {
                    panic!("no variable: {variable}");
                };
                let modules: Vec<&str> = module.as_str().into_iter().collect();
                json!(["variables", name, modules, 1, reads, binds, types, role])
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(
            of_type(&lines, "summary"),
            [&json!({"type": "summary", "variables": 8, "targets": 1, "lost": 0})]
        );
    });
}

#[test]
fn variables_of_a_running_process() {
    on_main_interpreters("variables_of_a_running_process", |setup| {
        let mut target = Program::fixture(setup, "variables.py", &["held"]);
        target.wait_for("ready");
        let file = output();
        let tracer = Program::start(
            Command::new(&setup.bleedtrace)
                .args(["vars", "--pid", &target.pid().to_string(), "--output"])
                .arg(&file),
        );
        let attached = format!("attached to variables (pid {}, cpython 3.", target.pid());
        wait_until("it is attached", Duration::from_secs(30), || {
            fs::read_to_string(&file)
                .is_ok_and(|text| text.starts_with(&attached))
                .then_some(())
        });
        target.say("go");
        std::thread::sleep(Duration::from_secs(2));
        target.say("end");
        target.end();
        let ended = tracer.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let text = fs::read_to_string(&file).expect("it was written");
        fs::remove_file(&file).expect("it is ours");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[..5],
            [
                "SERVICE VARIABLE MODULE READS BINDS VALUES MAY BE BECAUSE",
                "variables tenant __main__ 30 20 str identity a well-known name",
                "variables identity_context __main__ 0 10 Identity identity a well-known name",
                "variables request_id __main__ 1 10 int request a well-known name",
                "variables current_tool_pin __main__ 0 10 bytes digest its name says pin",
            ]
            .map(|row| row.split_whitespace().collect::<Vec<_>>())
        );
        assert!(
            text.contains(
                "to watch them: bleedtrace trace --identity tenant --identity identity_context --request request_id \
                 --digest current_tool_pin ..."
            ),
            "{text}"
        );
    });
}

#[test]
fn binds_that_stay_and_do_not_come_back() {
    on_main_interpreters("binds_that_stay_and_do_not_come_back", |setup| {
        let (sites, summary) = hops(setup, "black_hole_return.py", &["20"]);
        assert_eq!(sites.len(), 1, "{sites:#?}");
        assert_eq!((&summary["sites"], &summary["handoffs"]), (&json!(1), &json!(20)));
        let site = &sites[0];
        says(
            site,
            &json!({
                "service": "black_hole_return",
                "primitive": "run_in_executor",
                "danger": "squats",
                "count": 20,
                "data": 0,
                "reads": {},
                "binds": {"tenant": {"worker_base": 20}},
                "findings": {"black_hole_return": 20, "squat": 20},
                "binds_reach": ["next_request", "nobody"],
            }),
        );
        assert_eq!(site["site"]["function"], "main");
        // Each worker is clean once, and carries what it was left with from then on.
        let carried = |name: &str| site["carried"][name].as_u64().expect("a number");
        assert_eq!(carried("none") + carried("foreign"), 20, "{site:#}");
        assert!(
            carried("foreign") > 0 && site["carried"].get("copied").is_none(),
            "{site:#}"
        );
    });
}

#[test]
fn a_bleed_comes_before_what_carries() {
    on_main_interpreters("a_bleed_comes_before_what_carries", |setup| {
        let (sites, _) = hops(setup, "bleed.py", &["confirmed"]);
        says(
            &sites[0],
            &json!({
                "danger": "bleeds",
                "primitive": "run_in_executor",
                "carried": {"foreign": 1},
                "reads": {"tenant": {"foreign": 1}},
                "gets": ["foreign"],
            }),
        );
        let (sites, _) = hops(setup, "to_thread.py", &[]);
        let dangers: Vec<&str> = sites
            .iter()
            .map(|site| site["danger"].as_str().expect("text"))
            .collect();
        assert_eq!(
            (dangers.first(), dangers.last()),
            (Some(&"squats"), Some(&"carries")),
            "{sites:#?}"
        );
        says(
            sites.last().expect("a site"),
            &json!({
                "primitive": "to_thread",
                "count": 1,
                "carried": {"copied": 1},
                "reads": {"tenant": {"own": 1}},
                "binds": {"tenant": {"worker_entered": 1}},
                "gets": ["own"],
                "binds_reach": ["nobody"],
                "findings": {},
            }),
        );
    });
}

#[test]
fn libraries_that_copy_the_context_carry() {
    let test = "libraries_that_copy_the_context_carry";
    on_main_interpreters(test, |setup| {
        let Some(setup) = &setup.with_requirements("pools") else {
            return skip(test, "no packages of requirements/pools.txt");
        };
        let (sites, _) = hops(setup, "anyio_pool.py", &["own", "paired"]);
        let dangers: Vec<_> = sites
            .iter()
            .map(|site| (site["danger"].as_str(), site["primitive"].as_str()))
            .collect();
        assert_eq!(dangers, [(Some("carries"), Some("anyio")); 3]);
        says(
            &sites[1],
            &json!({
                "count": 40,
                "carried": {"copied": 40},
                "reads": {"tenant": {"own": 80}},
                "binds": {"tenant": {"worker_entered": 40}},
                "binds_reach": ["nobody"],
            }),
        );
        let (sites, _) = hops(setup, "asgiref_calls.py", &["insensitive"]);
        let site = sites.iter().find(|site| site["site"]["function"] == "request");
        says(
            site.expect("where requests hand over"),
            &json!({
                "danger": "carries",
                "primitive": "asgiref",
                "count": 20,
                "carried": {"copied": 20},
                "reads": {"tenant": {"own": 40}},
                "binds_reach": ["submitter"],
            }),
        );
    });
}

#[test]
fn who_misses_an_identity_and_who_puts_data() {
    on_main_interpreters("who_misses_an_identity_and_who_puts_data", |setup| {
        let (sites, _) = hops(setup, "black_hole_read.py", &[]);
        says(
            &sites[0],
            &json!({"danger": "loses", "count": 20, "reads": {"tenant": {"empty": 40}}, "gets": ["nobody"]}),
        );
        let (sites, summary) = hops(setup, "data_queue.py", &[]);
        assert_eq!(summary["data"], 100);
        let put = at(&sites, "data_queue.py", "put");
        says(
            put,
            &json!({"danger": "unknown", "primitive": "unknown", "count": 0, "data": 100, "gets": ["unknown"]}),
        );
        assert_eq!(put["site"]["function"], "produce");
    });
}

#[test]
fn processes_are_listed_with_what_they_run() {
    on_main_interpreters("processes_are_listed_with_what_they_run", |setup| {
        let mut target = Program::start(
            Command::new(&setup.interpreter.python)
                .env("OTEL_SERVICE_NAME", "found me")
                .args(["-c", "print('ready', flush=True); input()"]),
        );
        target.wait_for("ready");
        let sleeper = Program::start(Command::new("sleep").arg("60"));
        let found = |arguments: &[&str], pid: u32| {
            let ended = run(setup, arguments);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let lines = lines(&ended.stdout);
            of_type(&lines, "process")
                .into_iter()
                .find(|line| line["pid"] == pid)
                .cloned()
        };
        let line = found(&["discover", "--format", "json"], target.pid()).expect("it is listed");
        let version = Command::new(&setup.interpreter.python)
            .args(["-c", "import platform; print(platform.python_version(), end='')"])
            .output()
            .expect("it runs");
        says(
            &line,
            &json!({
                "service": "found me",
                "version": String::from_utf8(version.stdout).expect("text"),
                "attachable": true,
                "obstacle": null,
                "reason": null,
            }),
        );
        assert_eq!(line["build"]["free_threaded"], setup.interpreter.free_threaded);
        assert_eq!(line["build"]["debug"], false);
        assert!(found(&["discover", "--format", "json"], sleeper.pid()).is_none());
        let line = found(&["discover", "--all", "--format", "json"], sleeper.pid()).expect("it is listed");
        says(
            &line,
            &json!({"version": null, "attachable": false, "obstacle": "not_cpython"}),
        );
        let text = run(setup, &["discover"]).stdout;
        let row = text
            .lines()
            .find(|row| row.starts_with(&format!("{} ", target.pid())))
            .unwrap_or_else(|| panic!("no row: {text}"));
        assert!(row.contains("found me") && row.contains("  yes"), "{row}");
        sleeper.signal("TERM");
        sleeper.end();
        target.say("");
        target.end();
    });
}

#[test]
fn who_lacks_privileges_is_told_for_every_process() {
    once("who_lacks_privileges_is_told_for_every_process", |setup| {
        let target = Program::start(Command::new(&setup.interpreter.python).args(["-c", "input()"]));
        let test = "who_lacks_privileges_is_told_for_every_process";
        let Some(ended) = setup.unprivileged(test, &["discover", "--format", "json"]) else {
            return;
        };
        let lines = lines(&ended.stdout);
        let line = of_type(&lines, "process")
            .into_iter()
            .find(|line| line["pid"] == target.pid())
            .expect("it is listed");
        says(
            line,
            &json!({"attachable": false, "obstacle": "permission", "version": null}),
        );
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    });
}

#[test]
fn what_runs_no_python_cannot_be_listed() {
    once("what_runs_no_python_cannot_be_listed", |setup| {
        for command in ["vars", "hops"] {
            let ended = run(setup, &[command, "--", "/bin/true"]);
            assert_eq!(ended.code, Some(3), "{command}: {}", ended.stderr);
            assert!(
                ended.stderr.contains("error: no cpython was seen\nhint: "),
                "{}",
                ended.stderr
            );
        }
    });
}

/// How many files were read and parsed to attach to some processes.
fn parsed(setup: &Setup, targets: &[Program]) -> u64 {
    let mut command = Command::new(&setup.bleedtrace);
    command.args(["-v", "trace", "--identity", "tenant", "--duration", "10ms"]);
    for target in targets {
        command.args(["--pid", &target.pid().to_string()]);
    }
    let ended = Program::start(&mut command).end();
    assert_eq!(
        ended.stdout.matches("attached to ").count(),
        targets.len(),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let line = ended.stderr.lines().find(|line| line.contains(" parsed files="));
    let line = line.unwrap_or_else(|| panic!("it does not say: {}", ended.stderr));
    let number = line.rsplit('=').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_hundred_processes_cost_what_one_does() {
    once("a_hundred_processes_cost_what_one_does", |setup| {
        let start =
            |_| Program::start(Command::new(&setup.interpreter.python).args(["-S", "-E", "-c", "input()"]));
        let mut targets: Vec<Program> = (0..100).map(start).collect();
        std::thread::sleep(Duration::from_secs(3));
        let one = parsed(setup, &targets[..1]);
        // The interpreter, and `_queue` where that is a file of its own, as one or two installations have it.
        assert!((1..=3).contains(&one), "{one} files");
        assert_eq!(parsed(setup, &targets), one);
        for mut target in targets.drain(..) {
            target.say("");
            target.end();
        }
    });
}

/// A line as every run prints it, as far as it does: numbers differ, and which of the counts are zero.
fn shape(line: &str) -> String {
    let counts = ["  carried", "  reads", "  runs as", "  findings", "  its binds"];
    if let Some(label) = counts.into_iter().find(|label| line.starts_with(label)) {
        return label.to_owned();
    }
    let mut shape = String::new();
    for part in line.split(|c: char| c.is_ascii_digit()) {
        if !part.is_empty() {
            shape.push_str(part);
            shape.push('#');
        }
    }
    shape.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_examples_of_the_documentation_are_what_it_prints() {
    once("the_examples_of_the_documentation_are_what_it_prints", |setup| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = fs::read_to_string(root.join("docs/commands.md")).expect("the document");
        let demo = root.join("demo/proxy.py").canonicalize().expect("the demo");
        let demo = demo.to_str().expect("a name");
        let mut listed = Program::start(Command::new(&setup.interpreter.python).args(["-c", "input()"]));
        let mut examples = 0;
        for example in document.split("```\n$ sudo bleedtrace ").skip(1) {
            let (example, _) = example.split_once("```").expect("it ends");
            let (line, shown) = example.split_once('\n').expect("output");
            let Some((arguments, "python3 /srv/demo/proxy.py")) = line.split_once(" -- ") else {
                assert_eq!(line, "discover");
                let printed = run(setup, &["discover"]).stdout;
                let head = |text: &str| text.lines().next().map(shape);
                assert_eq!(head(shown), head(&printed));
                continue;
            };
            examples += 1;
            let file = output();
            let ended = Program::start(
                Command::new(&setup.bleedtrace)
                    .args(arguments.split(' '))
                    .arg("--output")
                    .arg(&file)
                    .arg("--")
                    .arg(&setup.interpreter.python)
                    .arg(demo),
            )
            .end();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let printed = fs::read_to_string(&file).expect("it was written");
            fs::remove_file(&file).expect("it is ours");
            let printed = printed.replace(demo, "/srv/demo/proxy.py");
            let printed: Vec<String> = printed.lines().map(shape).collect();
            for line in shown.lines().map(shape) {
                assert!(printed.contains(&line), "{line} is not in {printed:#?}");
            }
        }
        assert_eq!(examples, 2);
        listed.say("");
        listed.end();
    });
}
