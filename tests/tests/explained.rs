//! The examples of `bleedtrace explain` do what it says they do: each one is run, and its kind of finding is what comes out.

use std::{fs, path::Path};

use bleedtrace_tests::{Trace, on_main_interpreters};

/// What the examples take for granted.
const BEFORE: &str = r#"
import asyncio, types, uuid
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

class Store:
    def create_task(self, owner):
        return uuid.uuid4()

pool = ThreadPoolExecutor(max_workers=1)
tenant = ContextVar("tenant")
store = Store()
request = types.SimpleNamespace(tenant="acme")

def answer(request):
    return "done"

def allowed(who, tool):
    return True
"#;

/// A server of tasks around an example's functions, on a pair of sockets, and its clients.
const SERVER: &str = r#"
import contextvars, json, socket

class UnknownTask(Exception):
    pass

class Task:
    def __init__(self, owner):
        self.owner = owner

def respond(ours, name, request):
    tenant.set(name)
    reply = {"jsonrpc": "2.0", "id": 1}
    try:
        if request["method"] == "tools/call":
            create("t1")
            reply["result"] = {"resultType": "task", "taskId": "t1", "status": "working"}
        else:
            get_task("t1")
            reply["result"] = {"resultType": "complete", "taskId": "t1", "status": "working"}
    except UnknownTask:
        reply["error"] = {"code": -32602, "message": "Task not found"}
    body = json.dumps(reply).encode()
    ours.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

def call(name, method):
    theirs, ours = socket.socketpair()
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "t1"}}).encode()
    head = f"POST /mcp HTTP/1.1\r\nhost: a\r\nx-api-key: {name}\r\ncontent-type: application/json\r\n"
    theirs.send(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    request = json.loads(ours.recv(65536).split(b"\r\n\r\n", 1)[1])
    contextvars.Context().run(respond, ours, name, request)
    theirs.recv(65536)
    theirs.close()
    ours.close()

store = {}
"#;

/// Each kind, what runs its example, and all that must be reported.
const EXAMPLES: [(&str, &str, &[&str]); 10] = [
    ("bleed", "", &["bleed", "squat"]),
    ("squat", "", &["squat"]),
    ("black_hole_read", "asyncio.run(handle())", &["black_hole_read"]),
    (
        "black_hole_return",
        "asyncio.run(handle())",
        &["black_hole_return"],
    ),
    (
        "unattributed_task",
        "asyncio.run(create())",
        &["black_hole_return", "squat", "unattributed_task"],
    ),
    (
        "misattributed_task",
        "",
        &["bleed", "misattributed_task", "squat"],
    ),
    (
        "foreign_poll",
        "create = lambda task: store.update({task: Task(None)})\ncall('acme', 'tools/call')\ncall('globex', 'tasks/get')",
        &["foreign_poll"],
    ),
    (
        "owner_refused",
        "create = lambda task: pool.submit(create_task, task).result()\ncall('acme', 'tools/call')\ncall('acme', 'tasks/get')",
        &["black_hole_read", "owner_refused", "unattributed_task"],
    ),
    (
        "drift_blindness",
        "asyncio.run(run('search'))",
        &["black_hole_return", "drift_blindness", "squat"],
    ),
    (
        "empty_check",
        "asyncio.run(handle())",
        &["black_hole_read", "empty_check"],
    ),
];

/// The Python of a kind's article.
fn example(document: &str, kind: &str) -> String {
    let article = document
        .split("\n## ")
        .find(|a| a.starts_with(&format!("{kind}\n")));
    let article = article.unwrap_or_else(|| panic!("no article about {kind}"));
    let code = article
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    code.expect("an example").to_owned()
}

#[test]
fn the_examples_show_what_they_explain() {
    let findings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md");
    let document = fs::read_to_string(findings).expect("docs/findings.md");
    on_main_interpreters("the_examples_show_what_they_explain", |setup| {
        for (kind, run, expected) in EXAMPLES {
            let server = if run.contains("call(") { SERVER } else { "" };
            let example = example(&document, kind);
            let program = format!("{BEFORE}\n{server}\n{example}\n{run}\npool.shutdown()\n");
            let path = std::env::temp_dir().join(format!("bleedtrace-{kind}-{}.py", std::process::id()));
            fs::write(&path, program).expect("a program");
            let name = path.to_str().expect("a path in UTF-8");
            let outcome = Trace::new(setup, "tenant")
                .flags([
                    "--mint",
                    "Store.create*",
                    "--wire",
                    "--policy",
                    "may_call",
                    "--digest",
                    "tool_digest",
                ])
                .start(setup, name, &[])
                .end();
            fs::remove_file(&path).expect("it is ours");
            assert_eq!(outcome.ended.code, Some(1), "{kind}: {}", outcome.ended.stderr);
            let mut kinds: Vec<_> = outcome
                .findings
                .iter()
                .map(|f| f["kind"].as_str().expect("text"))
                .collect();
            kinds.sort_unstable();
            assert_eq!(kinds, expected, "{kind}: {:#?}", outcome.findings);
        }
    });
}
