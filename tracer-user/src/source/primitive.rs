//! How work is handed over, by the frames between the program and the queue or the thread.

use super::sites::{library_path, package_path};
use crate::correlate::event::{Brings, Primitive, Stack, Work};

/// What anyio hands work to its threads with.
const ANYIO: &str = "anyio/_backends/_asyncio.py";
const ANYIO_SUBMITS: &str = "run_sync_in_worker_thread";
/// What trio hands work to its threads with.
const TRIO: &str = "trio/_threads.py";
const TRIO_SUBMITS: &str = "to_thread_run_sync";

/// Who copied a context for a thread of its own, and has just prepared it.
pub(super) fn hands_context(stack: &Stack) -> Option<Primitive> {
    if calls(stack, ANYIO, ANYIO_SUBMITS) {
        Some(Primitive::Anyio)
    } else if calls(stack, TRIO, TRIO_SUBMITS) {
        Some(Primitive::CopyContext)
    } else {
        None
    }
}

/// What a thread is started for.
pub(super) fn started(stack: &Stack) -> Work {
    if calls(stack, ANYIO, ANYIO_SUBMITS) {
        Work::ContextThread
    } else if for_request(stack) {
        Work::RequestThread
    } else {
        Work::Thread {
            pool: calls(stack, "concurrent/futures/thread.py", "_adjust_thread_count"),
        }
    }
}

/// Whether a server of the standard library starts it (`socketserver.ThreadingMixIn`): `http.server`, werkzeug, Django's `runserver`.
fn for_request(stack: &Stack) -> bool {
    let starter = stack.frames.iter().find(|frame| !frame.machinery);
    starter.is_some_and(|frame| {
        library_path(&frame.site.file) == Some("socketserver.py")
            && frame.site.function.ends_with("process_request")
    })
}

/// What a tuple is that was put into a queue, by who put it: a `multiprocessing.pool.ThreadPool` hands batches to a thread of its
/// own, which hands them on to its workers (`Lib/multiprocessing/pool.py`).
pub(super) fn pool_work(stack: &Stack) -> Work {
    let Some(frame) = stack.frames.first() else {
        return Work::Data;
    };
    if library_path(&frame.site.file) != Some("multiprocessing/pool.py") {
        return Work::Data;
    }
    match frame.site.function.rsplit('.').next() {
        Some("_handle_tasks") => Work::Piece,
        Some("apply_async" | "_map_async" | "imap" | "imap_unordered") => Work::Batch,
        _ => Work::Data,
    }
}

/// How an item was handed over, by the frames between the program and the queue.
pub(super) fn primitive(stack: &Stack, brings: Brings) -> Primitive {
    if calls(stack, "asgiref/sync.py", "__call__") {
        Primitive::Asgiref
    } else if calls(stack, "asyncio/threads.py", "to_thread") {
        Primitive::ToThread
    } else if matches!(brings, Brings::Scope(_)) {
        Primitive::CopyContext
    } else if calls(stack, "asyncio/base_events.py", "run_in_executor") {
        Primitive::RunInExecutor
    } else if calls(stack, "concurrent/futures/thread.py", "submit") {
        Primitive::Submit
    } else {
        Primitive::Unknown
    }
}

/// Whether the machinery that leads to the probe, up to the program's own frame, includes this function.
pub(super) fn calls(stack: &Stack, file: &str, function: &str) -> bool {
    stack.frames.iter().take_while(|f| f.machinery).any(|f| {
        library_path(&f.site.file)
            .or_else(|| package_path(&f.site.file))
            .is_some_and(|path| path == file)
            && f.site
                .function
                .rsplit('.')
                .next()
                .is_some_and(|name| name == function)
    })
}

/// Whether this is asgiref carrying a context over: it compares each variable with what it brings, and binds that where they differ.
pub(super) fn restores_context(stack: &Stack) -> bool {
    stack.frames.first().is_some_and(|frame| {
        &*frame.site.function == "_restore_context" && frame.site.file.ends_with("/asgiref/sync.py")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::correlate::event::{Frame, Names, Site};

    fn stack(frames: &[(&str, &str)]) -> Stack {
        let frame = |(function, file): &(&str, &str)| Frame {
            site: Site {
                function: Arc::from(*function),
                file: Arc::from(*file),
                line: 1,
            },
            named: Names::default(),
            activation: 0,
            offset: 0,
            machinery: false,
        };
        Stack {
            frames: frames.iter().map(frame).collect(),
        }
    }

    #[test]
    fn only_asgiref_itself_carries_a_context_over() {
        let restore = (
            "_restore_context",
            "/v/lib/python3.12/site-packages/asgiref/sync.py",
        );
        let view = ("view", "/srv/app/views.py");
        assert!(restores_context(&stack(&[restore, view])));
        assert!(!restores_context(&stack(&[view, restore])));
        assert!(!restores_context(&stack(&[(
            "_restore_context",
            "/srv/app/views.py"
        )])));
        assert!(!restores_context(&stack(&[("__call__", restore.1)])));
        assert!(!restores_context(&stack(&[])));
    }

    #[test]
    fn only_the_standard_librarys_servers_start_threads_for_requests() {
        let server = (
            "ThreadingMixIn.process_request",
            "/usr/lib/python3.12/socketserver.py",
        );
        let program = ("main", "/srv/app/main.py");
        assert_eq!(started(&stack(&[server, program])), Work::RequestThread);
        for other in [
            ("ThreadingMixIn.process_request", "/srv/app/socketserver.py"),
            ("BaseServer.serve_forever", server.1),
            program,
        ] {
            let work = started(&stack(&[other, server]));
            assert_eq!(work, Work::Thread { pool: false }, "{other:?}");
        }
    }
}
