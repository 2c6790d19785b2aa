//! Programs that are no Python and load one while they run, as servers do with a plugin: no exec tells of it, and the library may not be
//! armed. They are looked for now and then, a few processes at a time.

use std::collections::BTreeSet;

use super::{Follower, Notice, discover::numbers};
use crate::{correlate::event::Event, target::process::Process};

/// Nanoseconds from one look at all processes to the next.
const BETWEEN_ROUNDS: u64 = 30_000_000_000;
/// Processes that are looked at in one turn.
const PER_TURN: usize = 32;

/// Who is still to be looked at in this round.
#[derive(Debug, Default)]
pub(super) struct Around {
    waiting: BTreeSet<u32>,
    began: u64,
}

impl Follower {
    /// Looks at a few more processes, and attaches to those that have come to map a libpython.
    pub fn look_around(
        &mut self,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        if !self.everyone {
            return;
        }
        if self.around.waiting.is_empty() {
            let time = clock();
            if time.saturating_sub(self.around.began) < BETWEEN_ROUNDS {
                return;
            }
            self.around = Around {
                waiting: numbers().into_iter().collect(),
                began: time,
            };
        }
        for _ in 0..PER_TURN {
            let Some(pid) = self.around.waiting.pop_first() else {
                return;
            };
            if !self.follows(pid) && !self.was_refused(pid) && maps_libpython(pid) {
                self.look_at(pid, &clock, events, notices);
            }
        }
    }
}

fn maps_libpython(pid: u32) -> bool {
    let maps = Process::open(pid).and_then(|process| process.maps());
    maps.is_ok_and(|maps| {
        maps.iter()
            .any(|mapping| mapping.is_file() && mapping.file_name().starts_with(b"libpython"))
    })
}
