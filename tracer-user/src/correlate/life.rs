//! How a task came about: what its request read last, in which handoff, and whose the task is for that.

use std::sync::Arc;

use super::{
    event::{Primitive, Site},
    fact::{Attribution, FactKind, LifeFact, LifeWhat, ReadResult},
    ledger::PollOutcome,
    reporter::{Out, Scene},
    request::IdentityRead,
};

/// How a task came about, as far as that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The handoff in which the last identity read was made.
    pub hop: Option<(Primitive, Option<Site>)>,
    /// That read; none if there was none.
    pub read: Option<LastRead>,
    /// Where the task was minted; none where only the wire shows it.
    pub mint: Option<Site>,
    /// Whose it is.
    pub attribution: Attribution,
}

/// The read that decided whose a task is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastRead {
    /// The variable.
    pub variable: Arc<str>,
    /// What came of it.
    pub result: ReadResult,
    /// Where.
    pub site: Option<Site>,
}

impl Life {
    /// Of a task that is being minted there.
    pub(super) fn new(
        scene: Scene<'_>,
        read: Option<&IdentityRead>,
        mint: Option<&Site>,
        attribution: Attribution,
    ) -> Self {
        let hop = read.and_then(|read| read.hop.as_ref());
        Self {
            hop: hop.map(|hop| (hop.primitive, hop.site.clone())),
            read: read.map(|read| LastRead {
                variable: scene.slots.name(read.slot),
                result: read.result,
                site: read.read.site.clone(),
            }),
            mint: mint.cloned(),
            attribution,
        }
    }

    /// It was minted.
    pub(super) fn minted(&self, out: &mut Out<'_>) {
        self.tell(out, LifeWhat::Minted);
    }

    /// Somebody asked for it.
    pub(super) fn polled(&self, out: &mut Out<'_>, outcome: PollOutcome) {
        self.tell(out, LifeWhat::Polled(outcome));
    }

    fn tell(&self, out: &mut Out<'_>, what: LifeWhat) {
        if out.inventory {
            let life = self.clone();
            out.say(FactKind::Life(Box::new(LifeFact { life, what })));
        }
    }
}
