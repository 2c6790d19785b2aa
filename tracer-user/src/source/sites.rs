//! From frames to places in the program's source, read lazily from the target and kept.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_common::record::RawFrame;

use super::names::NameSet;
use crate::{
    correlate::event::{Frame, Named, Site, Stack},
    runtime::cpython::{
        code::{Code, CodeIdentity},
        core::Core,
        memory::ProcessMemory,
    },
};

/// Code objects that are kept for one target.
const MAX_CODES: usize = 20_000;
/// Code objects can be freed and their addresses reused: what is kept is compared with the target again after this long.
const TRUSTED: Duration = Duration::from_secs(1);

/// The standard library's own executors, loops and threads: part of the hop, not of the program.
const MACHINERY: [&str; 7] = [
    "asyncio/",
    "concurrent/futures/",
    "threading.py",
    "contextvars.py",
    "uuid.py",
    "secrets.py",
    "functools.py",
];

/// What is known of the code objects of one target.
#[derive(Debug, Default)]
pub struct Sites {
    codes: HashMap<u64, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// None for code that is no function of the program.
    code: Option<Arc<Place>>,
    identity: Option<CodeIdentity>,
    checked: Instant,
}

#[derive(Debug)]
struct Place {
    code: Code,
    function: Arc<str>,
    file: Arc<str>,
    named: Option<Named>,
    machinery: bool,
}

impl Sites {
    /// Resolves a stack. Frames whose code cannot be read any more keep their place, with a function named `?`.
    pub fn resolve(
        &mut self,
        frames: &[RawFrame],
        memory: Option<&ProcessMemory>,
        core: &Core,
        names: &NameSet,
    ) -> Stack {
        let unknown: Arc<str> = Arc::from("?");
        let frames = frames.iter().filter_map(|raw| {
            let known = self.look_up(raw.code, memory, core, names);
            let (site, named, machinery, start) = match known {
                Some(Known { code: None, .. }) => return None,
                Some(Known {
                    code: Some(place), ..
                }) => {
                    let site = Site {
                        function: Arc::clone(&place.function),
                        file: Arc::clone(&place.file),
                        line: place.code.line(raw.instr).unwrap_or(0),
                    };
                    (site, place.named, place.machinery, place.code.start)
                }
                None => {
                    let site = Site {
                        function: Arc::clone(&unknown),
                        file: Arc::clone(&unknown),
                        line: 0,
                    };
                    (site, None, false, 0)
                }
            };
            let offset = raw.instr.saturating_sub(start);
            Some(Frame {
                site,
                named,
                activation: raw.frame,
                offset,
                machinery,
            })
        });
        Stack {
            frames: frames.collect(),
        }
    }

    fn look_up(
        &mut self,
        address: u64,
        memory: Option<&ProcessMemory>,
        core: &Core,
        names: &NameSet,
    ) -> Option<Known> {
        let now = Instant::now();
        if let Some(known) = self.codes.get_mut(&address) {
            if now.duration_since(known.checked) < TRUSTED {
                return Some(known.clone());
            }
            // An unreadable target has ended; what is known of it stays the best answer.
            let identity = memory.and_then(|m| CodeIdentity::read(m, core.layout, address).ok());
            if identity.is_none() || identity == known.identity {
                known.checked = now;
                return Some(known.clone());
            }
        }
        let code = Code::read(memory?, core.layout, address).ok()?;
        if self.codes.len() >= MAX_CODES {
            self.codes.clear();
        }
        let known = Known {
            identity: Some(code.identity),
            checked: now,
            code: place(code, names),
        };
        self.codes.insert(address, known.clone());
        Some(known)
    }
}

fn place(code: Code, names: &NameSet) -> Option<Arc<Place>> {
    if code.is_trampoline() {
        return None;
    }
    Some(Arc::new(Place {
        function: Arc::from(code.qualname.as_str()),
        file: Arc::from(code.filename.as_str()),
        named: names.named(&code.filename, &code.qualname),
        machinery: is_machinery(&code.filename),
        code,
    }))
}

/// Whether a file belongs to the standard library's machinery: `.../python3.N/asyncio/...` and the like.
pub fn is_machinery(file: &str) -> bool {
    library_path(file).is_some_and(|rest| MACHINERY.iter().any(|m| rest.starts_with(m)))
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
    }
}
