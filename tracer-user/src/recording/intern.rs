//! Names of functions, files and types come again and again: one copy of each is enough.

use std::sync::Arc;

use crate::correlate::event::{Event, Stack};

/// Names that are remembered.
const REMEMBERED: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Names(foldhash::HashSet<Arc<str>>);

impl Names {
    /// Makes an event share its names with those before it.
    pub(super) fn share(&mut self, event: &mut Event) {
        if let Some(stack) = event.what.stack_mut().and_then(Arc::get_mut) {
            self.share_of_stack(stack);
        }
        event.what.each_value(&mut |value| {
            if let Some(name) = &mut value.type_name {
                self.one(name);
            }
        });
    }

    /// The same of a stack.
    pub(super) fn share_of_stack(&mut self, stack: &mut Stack) {
        for frame in &mut stack.frames {
            self.one(&mut frame.site.function);
            self.one(&mut frame.site.file);
        }
    }

    fn one(&mut self, name: &mut Arc<str>) {
        if let Some(known) = self.0.get(name) {
            *name = Arc::clone(known);
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.clear();
        }
        self.0.insert(Arc::clone(name));
    }
}
