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
"#;

/// Each kind, what runs its example, and all that must be reported.
const EXAMPLES: [(&str, &str, &[&str]); 6] = [
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
            let program = format!("{BEFORE}\n{}\n{run}\npool.shutdown()\n", example(&document, kind));
            let path = std::env::temp_dir().join(format!("bleedtrace-{kind}-{}.py", std::process::id()));
            fs::write(&path, program).expect("a program");
            let name = path.to_str().expect("a path in UTF-8");
            let outcome = Trace::new(setup, "tenant")
                .flags(["--mint", "Store.create*"])
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
