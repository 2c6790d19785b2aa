//! Stacks that records stand on: most on few, which are resolved once.

use std::sync::Arc;

use tracer_common::{MAX_FRAMES, record::RawFrame};

use super::{
    primitive::restores_context,
    sites::{Sites, Source, UNKNOWN},
};
use crate::correlate::event::{ByHand, Stack};

/// Stacks that are kept for one target.
const MAX_STACKS: usize = 1_024;
/// Nanoseconds after which a stack is resolved anew: code objects can be freed and their addresses reused.
const TRUSTED: u64 = 1_000_000_000;

/// A stack, and what is asked of it again and again.
#[derive(Clone, Debug)]
pub struct Known {
    /// The stack.
    pub stack: Arc<Stack>,
    /// How surely a function among its frames takes work from a queue by hand.
    pub takes_work: Option<ByHand>,
    /// It carries a context over: what it reads decides nothing.
    pub restores_context: bool,
}

/// What is known of the stacks of one target.
#[derive(Debug, Default)]
pub struct Stacks {
    /// With the time at which they were resolved.
    known: foldhash::HashMap<Box<[RawFrame]>, (u64, Known)>,
    /// How often code had become known when they were.
    learned: u64,
}

impl Stacks {
    /// What is known of the stack that a record of this time stands on.
    ///
    /// Where no activation is told from another, stacks that differ in nothing else are one.
    pub fn of(
        &mut self,
        frames: &[RawFrame],
        activations: bool,
        time: u64,
        sites: &mut Sites,
        source: Source<'_>,
    ) -> Known {
        let mut copy = [RawFrame::default(); MAX_FRAMES];
        let frames = match copy.get_mut(..frames.len()) {
            Some(copy) if !activations => {
                for (copy, frame) in copy.iter_mut().zip(frames) {
                    *copy = RawFrame { frame: 0, ..*frame };
                }
                copy
            }
            _ => frames,
        };
        if let Some((since, known)) = self.known.get(frames)
            && self.learned == sites.learned()
            && time.saturating_sub(*since) < TRUSTED
        {
            return known.clone();
        }
        let stack = sites.resolve(frames, source);
        let known = Known {
            takes_work: sites.takes_work(frames),
            restores_context: restores_context(&stack),
            stack: Arc::new(stack),
        };
        if self.learned != sites.learned() || self.known.len() >= MAX_STACKS {
            self.known.clear();
            self.learned = sites.learned();
        }
        let is_whole = known.stack.frames.iter().all(|f| &*f.site.function != UNKNOWN);
        if is_whole {
            self.known.insert(frames.into(), (time, known.clone()));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::record::CodeHead;

    use super::*;
    use crate::{config::Watch, runtime::cpython::core::Core, source::names::NameSet};

    const HANDLER: u64 = 0x1000;
    const SERVER: u64 = 0x2000;

    fn tell(sites: &mut Sites, code: u64, name: &str, source: Source<'_>) {
        let mut head: CodeHead = bytemuck::Zeroable::zeroed();
        head.code = code;
        for (text, bytes, says) in [
            (&mut head.name, &mut head.name_text[..], name),
            (&mut head.file, &mut head.file_text[..], "/srv/app.py"),
        ] {
            bytes[..says.len()].copy_from_slice(says.as_bytes());
            (text.len, text.width, text.bytes) = (says.len() as u64, 1, says.len() as u32);
        }
        sites.tell(&head, &[], source);
    }

    fn frames(activation: u32) -> [RawFrame; 2] {
        [HANDLER, SERVER].map(|code| RawFrame {
            code,
            instr: 8,
            frame: activation,
        })
    }

    #[test]
    fn a_stack_is_resolved_once_until_code_becomes_known() {
        let (core, names) = (Core::bare(), NameSet::new(0, &Watch::default()));
        let source = Source {
            memory: None,
            core: &core,
            names: &names,
        };
        let (mut sites, mut stacks) = (Sites::default(), Stacks::default());
        let mut of = |activation, activations, time, sites: &mut Sites| {
            stacks
                .of(&frames(activation), activations, time, sites, source)
                .stack
        };
        tell(&mut sites, HANDLER, "handler", source);
        let function = |stack: &Stack, depth: usize| stack.frames[depth].site.function.to_string();

        let unknown = of(1, false, 0, &mut sites);
        assert_eq!(
            (function(&unknown, 0), function(&unknown, 1)),
            ("handler".to_owned(), "?".to_owned())
        );
        assert!(
            !Arc::ptr_eq(&unknown, &of(1, false, 1, &mut sites)),
            "it may be known by now"
        );

        tell(&mut sites, SERVER, "server", source);
        let first = of(1, false, 2, &mut sites);
        assert_eq!(function(&first, 1), "server");
        assert!(
            Arc::ptr_eq(&first, &of(2, false, 3, &mut sites)),
            "another activation of the same"
        );
        assert!(
            !Arc::ptr_eq(&first, &of(1, false, 2 + TRUSTED, &mut sites)),
            "too old"
        );

        let (one, other) = (of(1, true, 4, &mut sites), of(2, true, 5, &mut sites));
        assert_eq!((one.frames[0].activation, other.frames[0].activation), (1, 2));

        tell(&mut sites, HANDLER, "another", source);
        assert_eq!(
            function(&of(1, false, 6, &mut sites), 0),
            "another",
            "its memory is another's"
        );
    }
}
