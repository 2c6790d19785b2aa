//! From frames to places in the program's source: told by the kernel side, or read from the target, and kept.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_common::record::{CodeHead, RawFrame};

use super::names::NameSet;
use crate::{
    correlate::event::{ByHand, Frame, Names, Site, Stack},
    runtime::cpython::{
        code::{Code, CodeIdentity},
        core::Core,
        memory::ProcessMemory,
        queue_user::QueueUse,
    },
};

/// Code objects that are kept for one target.
const MAX_CODES: usize = 20_000;
/// Code objects can be freed and their addresses reused: what is kept is compared with the target again after this long.
const TRUSTED: Duration = Duration::from_secs(1);

/// The standard library's own executors, loops and threads: part of the hop, not of the program.
const MACHINERY: [&str; 9] = [
    "asyncio/",
    "concurrent/futures/",
    "threading.py",
    "contextvars.py",
    "uuid.py",
    "secrets.py",
    "functools.py",
    "multiprocessing/pool.py",
    "multiprocessing/dummy/",
];

/// Packages whose business it is to hand work over, likewise.
const PACKAGES: [&str; 6] = [
    "anyio/",
    "asgiref/current_thread_executor.py",
    "asgiref/sync.py",
    "sniffio/",
    "starlette/concurrency.py",
    "trio/_threads.py",
];

/// What is known of the code objects of one target.
#[derive(Debug, Default)]
pub struct Sites {
    codes: HashMap<u64, Known>,
    learned: u64,
}

/// Where code is read that is not known, and what it is to be held against.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The target's memory; none when it is gone.
    pub memory: Option<&'a ProcessMemory>,
    /// Its interpreter.
    pub core: &'a Core,
    /// What is configured for it.
    pub names: &'a NameSet,
}

#[derive(Debug)]
struct Known {
    /// None for code that is no function of the program.
    place: Option<Place>,
    identity: CodeIdentity,
    checked: Instant,
}

#[derive(Debug)]
struct Place {
    code: Code,
    function: Arc<str>,
    file: Arc<str>,
    named: Names,
    machinery: bool,
    /// None if it could not be read.
    queue: Option<QueueUse>,
    /// Lines by the instruction's distance from the code object: decoding the line table takes a while.
    lines: HashMap<u32, u32>,
}

impl Sites {
    /// Resolves a stack. Frames whose code cannot be read any more keep their place, with a function named `?`.
    pub fn resolve(&mut self, frames: &[RawFrame], source: Source<'_>) -> Stack {
        let now = Instant::now();
        let resolved = frames.iter().filter_map(|raw| {
            self.refresh(raw.code, now, source);
            match self.codes.get_mut(&raw.code) {
                Some(known) => known.place.as_mut().map(|place| place.frame(raw)),
                None => Some(unknown(raw)),
            }
        });
        Stack {
            frames: resolved.collect(),
        }
    }

    /// How surely a function of the program among these frames, which were resolved before, takes work from a queue by hand: nobody
    /// knows what a caller does whose code could not be read.
    pub fn takes_work(&self, frames: &[RawFrame]) -> Option<ByHand> {
        let place = |raw: &RawFrame| self.codes.get(&raw.code).map(|known| known.place.as_ref());
        let machinery = |raw: &RawFrame| matches!(place(raw), Some(Some(place)) if place.machinery);
        let takes = frames.iter().enumerate().filter_map(|(depth, raw)| {
            let calls = depth > 0;
            let queue = match place(raw) {
                Some(None) => return None,
                Some(Some(place)) if place.machinery => return None,
                Some(Some(place)) => place.queue,
                None => None,
            };
            let takes = queue.map_or(calls.then_some(ByHand::Caller), |queue| queue.takes(calls))?;
            let outermost = frames.get(depth + 1).is_some_and(machinery);
            Some(if outermost && calls {
                takes.max(ByHand::Outermost)
            } else {
                takes
            })
        });
        takes.max()
    }

    /// Takes in a code object that the kernel side tells. It was alive then; that it may not be any more does not matter.
    pub fn tell(&mut self, head: &CodeHead, table: &[u8], source: Source<'_>) {
        let Source { memory, core, names } = source;
        // What is too large to travel is read from outside, if it is still the same.
        let whole = Code::is_told_whole(head);
        let told = Code::told(core.layout, head, table);
        let read = || {
            let code = Code::read(memory?, core.layout, head.code).ok()?;
            (code.identity == CodeIdentity::told(head)).then_some(code)
        };
        let code = match told {
            Some(code) if whole => Some(code),
            told => read().or(told),
        };
        if let Some(code) = code {
            let read = || QueueUse::read(memory?, core.layout, head.code).ok();
            let queue = QueueUse::told(head).or_else(read);
            self.keep(head.code, Instant::now(), code, queue, names);
        }
    }

    /// Reads a code object, unless what is known of it is still good.
    fn refresh(&mut self, address: u64, now: Instant, source: Source<'_>) {
        let Source { memory, core, names } = source;
        if let Some(known) = self.codes.get_mut(&address) {
            if now.duration_since(known.checked) < TRUSTED {
                return;
            }
            // An unreadable target has ended; what is known of it stays the best answer.
            let identity = memory.and_then(|m| CodeIdentity::read(m, core.layout, address).ok());
            if identity.is_none_or(|identity| identity == known.identity) {
                known.checked = now;
                return;
            }
        }
        let Some(code) = memory.and_then(|memory| Code::read(memory, core.layout, address).ok()) else {
            return;
        };
        let queue = memory.and_then(|memory| QueueUse::read(memory, core.layout, address).ok());
        self.keep(address, now, code, queue, names);
    }

    fn keep(&mut self, address: u64, now: Instant, code: Code, queue: Option<QueueUse>, names: &NameSet) {
        if self.codes.len() >= MAX_CODES {
            self.codes.clear();
        }
        let known = Known {
            identity: code.identity,
            checked: now,
            place: place(code, queue, names),
        };
        self.codes.insert(address, known);
        self.learned += 1;
    }

    /// How often code has become known: what was resolved before may have changed since.
    pub const fn learned(&self) -> u64 {
        self.learned
    }
}

impl Place {
    fn frame(&mut self, raw: &RawFrame) -> Frame {
        let instr = raw.code.saturating_add(u64::from(raw.instr));
        let code = &self.code;
        let line = *self
            .lines
            .entry(raw.instr)
            .or_insert_with(|| code.line(instr).unwrap_or(0));
        Frame {
            site: Site {
                function: Arc::clone(&self.function),
                file: Arc::clone(&self.file),
                line,
            },
            named: self.named,
            activation: u64::from(raw.frame),
            offset: instr.saturating_sub(self.code.start),
            machinery: self.machinery,
        }
    }
}

/// The name of a function whose code could not be read.
pub const UNKNOWN: &str = "?";

/// A frame whose code could not be read.
fn unknown(raw: &RawFrame) -> Frame {
    let name: Arc<str> = Arc::from(UNKNOWN);
    Frame {
        site: Site {
            function: Arc::clone(&name),
            file: name,
            line: 0,
        },
        named: Names::default(),
        activation: u64::from(raw.frame),
        offset: u64::from(raw.instr),
        machinery: false,
    }
}

fn place(code: Code, queue: Option<QueueUse>, names: &NameSet) -> Option<Place> {
    if code.is_trampoline() {
        return None;
    }
    Some(Place {
        function: Arc::from(code.qualname.as_str()),
        file: Arc::from(code.filename.as_str()),
        named: names.named(&code.filename, &code.qualname),
        machinery: is_machinery(&code.filename),
        queue,
        lines: HashMap::new(),
        code,
    })
}

/// Whether a file belongs to the machinery of a hop: `.../python3.N/asyncio/...` and the like.
pub fn is_machinery(file: &str) -> bool {
    let of = |path: Option<&str>, machinery: &[&str]| {
        path.is_some_and(|rest| machinery.iter().any(|m| rest.starts_with(m)))
    };
    of(library_path(file), &MACHINERY) || of(package_path(file), &PACKAGES)
}

/// The part of a path below a directory of installed packages.
pub fn package_path(file: &str) -> Option<&str> {
    let below = |directory| file.rsplit_once(directory).map(|(_, rest)| rest);
    below("/site-packages/").or_else(|| below("/dist-packages/"))
}

/// The part of a path below a standard library's directory.
pub fn library_path(file: &str) -> Option<&str> {
    let (_, rest) = file.split_once("/python3.")?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix('t').unwrap_or(rest);
    rest.strip_prefix('/')
        .filter(|rest| !rest.starts_with("site-packages/") && !rest.starts_with("dist-packages/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machinery_is_the_standard_library_only() {
        assert!(is_machinery("/usr/lib/python3.12/asyncio/threads.py"));
        assert!(is_machinery("/opt/x/lib/python3.13/concurrent/futures/thread.py"));
        assert!(is_machinery("/usr/lib/python3.12/uuid.py"));
        assert!(!is_machinery("/usr/lib/python3.12/site-packages/asyncio/x.py"));
        assert!(!is_machinery("/usr/lib/python3.12/http/server.py"));
        assert!(!is_machinery("/srv/asyncio/threads.py"));
        assert!(is_machinery(
            "/usr/lib/python3.12/multiprocessing/dummy/__init__.py"
        ));
        assert!(is_machinery("/v/lib/python3.12/site-packages/anyio/to_thread.py"));
        assert!(is_machinery("/usr/lib/python3/dist-packages/asgiref/sync.py"));
        assert!(!is_machinery("/v/lib/python3.12/site-packages/asgiref/local.py"));
        assert!(!is_machinery(
            "/v/lib/python3.12/site-packages/fastapi/routing.py"
        ));
        assert!(!is_machinery("/srv/anyio/to_thread.py"));
    }
}
