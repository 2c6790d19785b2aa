//! What a frame holds since version 2, one line behind the other.
//!
//! Most events stand on few stacks: each is told once in a frame, and events refer to it. So every frame can be read without those
//! before it, as the flight recorder needs it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::correlate::event::{Event, Stack};

/// Frames of a stack that is read: more than travel.
const DEEPEST: usize = 64;

/// A line, as it is read.
#[derive(Debug, Deserialize)]
pub(super) enum Line {
    /// An entry that is no event.
    Entry(Entry),
    /// The stack with the next number, from 0 in each frame.
    Stack(Stack),
    /// An event whose own stack is empty, and the number of the one that it stands on.
    Event(Option<u32>, Box<Event>),
}

/// The same, as it is written.
#[derive(Serialize)]
pub(super) enum Told<'a> {
    Entry(&'a Entry),
    Stack(&'a Stack),
    Event(Option<u32>, &'a Event),
}

/// The numbers of the stacks that a frame has told.
#[derive(Debug, Default)]
pub(super) struct Numbers(foldhash::HashMap<Arc<Stack>, u32>);

impl Numbers {
    /// The number of a stack, and whether it has to be told first.
    pub(super) fn of(&mut self, stack: &Arc<Stack>) -> (u32, bool) {
        if let Some(number) = self.0.get(stack) {
            return (*number, false);
        }
        let number = self.0.len() as u32;
        self.0.insert(Arc::clone(stack), number);
        (number, true)
    }
}

/// The stacks that a frame has told, by number.
#[derive(Debug, Default)]
pub(super) struct Stacks(Vec<Arc<Stack>>);

impl Stacks {
    /// Another frame begins.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A stack is told; false if nobody writes such a one.
    pub(super) fn add(&mut self, stack: Stack) -> bool {
        let fits = stack.frames.len() <= DEEPEST;
        if fits {
            self.0.push(Arc::new(stack));
        }
        fits
    }

    /// Puts an event on its stack; false if there is none of this number, or the event stands on none.
    pub(super) fn put(&self, number: u32, event: &mut Event) -> bool {
        match (event.what.stack_mut(), self.0.get(number as usize)) {
            (Some(place), Some(stack)) => {
                *place = Arc::clone(stack);
                true
            }
            _ => false,
        }
    }
}
