//! What is remembered about a carrier.

use std::sync::Arc;

use super::{
    event::{Carrier, QueueKey, Scope, Site, Slot, Work},
    fact::{FactKind, ReadResult},
    finding::{Bind, Source},
    hop::{HopValue, Submitted},
    item::Item,
    request::{IdentityRead, RequestId},
    value::{Found, Held, Value},
};

/// Binds of one slot that are remembered; a program that nests deeper loses the outer ones.
const NESTED_BINDS: usize = 16;

/// A bind in a carrier's base scope.
#[derive(Clone, Debug)]
pub(super) struct BindRecord {
    /// None if it could not be read.
    pub(super) value: Option<Value>,
    pub(super) site: Option<Site>,
    pub(super) carrier: Carrier,
    /// None before the first take, and outside items.
    pub(super) item: Option<u64>,
    pub(super) time: u64,
    pub(super) seq: u64,
}

impl BindRecord {
    pub(super) fn told(&self, now: u64) -> Bind {
        Bind {
            site: self.site.clone(),
            carrier: self.carrier,
            item: self.item,
            age: now.saturating_sub(self.time),
        }
    }

    pub(super) fn is(&self, value: &Value) -> bool {
        self.value.as_ref().is_some_and(|v| v.same(value))
    }
}

/// The binds in a carrier's base scope, per slot, the one in force last.
#[derive(Debug, Default)]
pub(super) struct BaseBinds(Vec<Vec<BindRecord>>);

impl BaseBinds {
    /// Remembers a bind; false if an older one had to go.
    pub(super) fn push(&mut self, slot: Slot, record: BindRecord) -> bool {
        let at = usize::from(slot.0);
        while self.0.len() <= at {
            self.0.push(Vec::new());
        }
        let binds = &mut self.0[at];
        let room = binds.len() < NESTED_BINDS;
        if !room {
            binds.remove(0);
        }
        binds.push(record);
        room
    }

    /// A reset: at least one bind is undone, and all down to the value that is there now.
    pub(super) fn undo(&mut self, slot: Slot, restored: &Found) {
        let Some(binds) = self.0.get_mut(usize::from(slot.0)) else {
            return;
        };
        binds.pop();
        match restored {
            Found::Unreadable | Found::Unresolved => {}
            Found::Unset => binds.clear(),
            Found::Value(value) => {
                while binds.last().is_some_and(|b| !b.is(value)) {
                    binds.pop();
                }
            }
        }
    }

    pub(super) fn in_force(&self, slot: Slot) -> Option<&BindRecord> {
        self.0.get(usize::from(slot.0))?.last()
    }

    /// The last bind of this value by anybody but `item`.
    pub(super) fn left_by_others(&self, slot: Slot, value: &Value, item: u64) -> Option<&BindRecord> {
        self.0
            .get(usize::from(slot.0))?
            .iter()
            .rev()
            .find(|b| b.item != Some(item) && b.is(value))
    }

    /// Between items only what the base scope holds now can matter again.
    pub(super) fn settle(&mut self, held: &[Found]) {
        for (at, binds) in self.0.iter_mut().enumerate() {
            match held.get(at).unwrap_or(&Found::Unset) {
                Found::Unreadable | Found::Unresolved => {}
                Found::Unset => binds.clear(),
                Found::Value(value) => {
                    let last = binds.pop().filter(|b| b.is(value));
                    binds.clear();
                    binds.extend(last);
                }
            }
        }
    }

    /// What was bound turns out to be an initialiser's.
    pub(super) fn disown(&mut self) {
        for bind in self.0.iter_mut().flatten() {
            bind.item = None;
        }
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A thread that may still turn out to be a pool's worker (rule 2).
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) since: u64,
    /// What to say once it is not.
    pub(super) held_back: Vec<FactKind>,
    /// The last identity that it read.
    pub(super) last_read: Option<(RequestId, Arc<IdentityRead>)>,
}

/// A pool's worker that was inside its dequeue when the agent attached.
#[derive(Debug)]
pub(super) struct Waiting {
    /// When it was seen there.
    pub(super) since: u64,
    pub(super) base: Scope,
    pub(super) held: Held,
}

/// A worker around a queue of data: which of what it takes is work, and until when, nobody knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fed {
    /// When it first took something.
    pub(super) first: u64,
    /// When it last did.
    pub(super) last: u64,
}

/// How a carrier's last read of each slot was judged.
#[derive(Debug, Default)]
pub(super) struct Results(Vec<ReadResult>);

impl Results {
    pub(super) fn keep(&mut self, slot: Slot, result: ReadResult) {
        let at = usize::from(slot.0);
        if self.0.len() <= at {
            self.0.resize(at + 1, ReadResult::Unjudged);
        }
        self.0[at] = result;
    }

    pub(super) fn of(&self, slot: Slot) -> ReadResult {
        self.0
            .get(usize::from(slot.0))
            .copied()
            .unwrap_or(ReadResult::Unjudged)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Debug)]
pub(super) struct CarrierState {
    /// It ran before the agent attached, as far as is known.
    pub(super) at_attach: bool,
    /// Binds on it may have been missed.
    pub(super) binds_lost: bool,
    /// A pool's worker, whose queue may not be known yet.
    pub(super) pool: bool,
    pub(super) pool_queue: Option<QueueKey>,
    pub(super) squatting: bool,
    pub(super) base: BaseBinds,
    pub(super) item: Option<Item>,
    pub(super) undecided: Option<Undecided>,
    /// At attach it waited for work: the return of that wait is not seen.
    pub(super) waiting: Option<Waiting>,
    /// The thread that it starts: what for, and what it starts it with.
    pub(super) starting: Option<(Work, Submitted)>,
    /// Of a pool's worker: what it was started with, which its base scope can be a copy of.
    pub(super) started: Option<Box<Submitted>>,
    /// It runs each piece of work in a context that was copied for it.
    pub(super) runs_contexts: bool,
    /// The batch that it hands on.
    pub(super) batch: Option<Box<Submitted>>,
    /// Of a started thread, once it took data from a queue.
    pub(super) fed: Option<Fed>,
    pub(super) results: Results,
}

impl CarrierState {
    pub(super) fn new(at_attach: bool, binds_lost: bool) -> Self {
        Self {
            at_attach,
            binds_lost,
            pool: false,
            pool_queue: None,
            squatting: false,
            base: BaseBinds::default(),
            item: None,
            undecided: None,
            waiting: None,
            starting: None,
            started: None,
            runs_contexts: false,
            batch: None,
            fed: None,
            results: Results::default(),
        }
    }

    /// Whether it is known, outside items, for whom it bound what it holds: on a worker around a queue of data, what it had before
    /// and what it bound since it last took something.
    pub(super) fn knows(&self, slot: Slot, value: &Value) -> bool {
        let Some(fed) = self.fed else { return true };
        let bind = self.base.in_force(slot).filter(|bind| bind.is(value));
        bind.is_some_and(|bind| bind.seq < fed.first || bind.seq > fed.last)
    }

    /// Whether what it takes from this queue is work for it.
    pub(super) fn works_for(&self, queue: QueueKey) -> bool {
        self.pool && self.pool_queue.is_none_or(|q| q == queue)
    }

    /// Where a value in the base scope that is not the item's own comes from.
    pub(super) fn origin(&self, slot: Slot, value: &Value, item: u64) -> (Source, Option<BindRecord>) {
        match self.base.left_by_others(slot, value, item) {
            Some(bind) if bind.item.is_none() => (Source::Initializer, Some(bind.clone())),
            Some(bind) => (Source::Residue, Some(bind.clone())),
            None if self.inherited(slot, value) => (Source::Inherited, None),
            None if self.at_attach => (Source::BeforeAttach, None),
            None => (Source::Residue, None),
        }
    }

    /// Whether nobody bound the value here, and whoever started the worker held it.
    fn inherited(&self, slot: Slot, value: &Value) -> bool {
        let Some(started) = self.started.as_ref().filter(|_| !self.binds_lost) else {
            return false;
        };
        matches!(started.value(slot), HopValue::Bound(v) if v.same(value))
            || started.residue(slot).is_some_and(|r| r.value.same(value))
    }
}
