//! What passes on when a future gets its result, by who sets it: the innermost frames of the standard library's queues and anyio's
//! streams. Locks, events, timers and answers convey no work.

use super::sites::{library_path, package_path};
use crate::correlate::event::{Conveys, Stack};

/// asyncio's queues: what puts something in wakes whoever waits for something.
const QUEUES: &str = "asyncio/queues.py";
/// anyio's streams.
const STREAMS: &str = "anyio/streams/memory.py";

/// What passes on by setting a future there.
pub(super) fn conveys(stack: &Stack) -> Conveys {
    let mut at_once = false;
    for frame in &stack.frames {
        let file = &frame.site.file;
        let Some(path) = library_path(file).or_else(|| package_path(file)) else {
            break;
        };
        let function = frame.site.function.rsplit('.').next().unwrap_or_default();
        match (path, function) {
            (QUEUES, "put_nowait") => return Conveys::MayGive,
            (STREAMS, "send_nowait") => at_once = true,
            // Whoever gives back to a pool knows that there is room.
            (STREAMS, "send") if at_once => return Conveys::Gives,
            (STREAMS, "receive_nowait") => return Conveys::Takes,
            (QUEUES, "_wakeup_next") | ("asyncio/locks.py" | "anyio/_backends/_asyncio.py", "set") => {}
            _ => break,
        }
    }
    if at_once {
        Conveys::MayGive
    } else {
        Conveys::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::conveys;
    use crate::correlate::event::{Conveys, Frame, Names, Site, Stack};

    const QUEUES: &str = "/usr/lib/python3.12/asyncio/queues.py";
    const LOCKS: &str = "/usr/lib/python3.12/asyncio/locks.py";
    const BACKEND: &str = "/v/lib/python3.12/site-packages/anyio/_backends/_asyncio.py";
    const STREAMS: &str = "/v/lib/python3.12/site-packages/anyio/streams/memory.py";

    fn by(frames: &[(&str, &str)]) -> Conveys {
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
        conveys(&Stack {
            frames: frames.iter().map(frame).collect(),
        })
    }

    #[test]
    fn queues_and_streams_convey_what_is_put_into_them() {
        let wakes = ("Queue._wakeup_next", QUEUES);
        let app = ("handler", "/srv/app/main.py");
        assert_eq!(by(&[wakes, ("Queue.put_nowait", QUEUES), app]), Conveys::MayGive);
        assert_eq!(by(&[wakes, ("Queue.get_nowait", QUEUES), app]), Conveys::Nothing);
        let event = [("Event.set", LOCKS), ("Event.set", BACKEND)];
        let through = |function| by(&[event[0], event[1], (function, STREAMS), app]);
        let at_once = ("MemoryObjectSendStream.send_nowait", STREAMS);
        let send = ("MemoryObjectSendStream.send", STREAMS);
        assert_eq!(by(&[event[0], event[1], at_once, send, app]), Conveys::Gives);
        assert_eq!(through("MemoryObjectSendStream.send_nowait"), Conveys::MayGive);
        assert_eq!(
            through("MemoryObjectReceiveStream.receive_nowait"),
            Conveys::Takes
        );
        assert_eq!(through("MemoryObjectSendStream.close"), Conveys::Nothing);
    }

    #[test]
    fn locks_events_and_answers_convey_nothing() {
        let app = ("handler", "/srv/app/main.py");
        for frames in [
            &[("Lock._wake_up_first", LOCKS), ("Lock.release", LOCKS), app][..],
            &[("Event.set", LOCKS), app],
            &[("Event.set", LOCKS), ("Event.set", BACKEND), app],
            &[app, ("Queue.put_nowait", QUEUES)],
            &[("Queue.put_nowait", "/srv/asyncio/queues.py")],
            &[],
        ] {
            assert_eq!(by(frames), Conveys::Nothing, "{frames:?}");
        }
    }
}
