//! A unit of work on a worker, and whose a value is that it finds (rules 5, 6 and 8).

use std::collections::BTreeSet;

use super::{
    carrier::CarrierState,
    event::{Brings, ByHand, Primitive, QueueKey, Scope, Slot},
    finding::{Confidence, Kind},
    hop::{HopValue, Residue, Submitted},
    slots::Slots,
    value::{Found, Sameness, Value},
};

/// Values bound by one item that are remembered.
const BOUND_VALUES: usize = 64;

#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Debug)]
pub(super) struct Item {
    pub(super) number: u64,
    /// None if it was not seen.
    pub(super) hop: Option<Submitted>,
    /// Its take was seen, its submit too, and nothing was lost since.
    pub(super) judged: bool,
    /// Of a bare thread: its handoff is counted with its first watched event. Of an item in a context whose submit was not seen:
    /// with the first value that ties it to a request.
    pub(super) uncounted: bool,
    /// It is known by its context alone: what was handed over is learnt from what that holds.
    pub(super) by_context: bool,
    /// None of a bare thread, or if the take was not seen.
    pub(super) queue: Option<QueueKey>,
    /// None if the take was concluded and not seen.
    pub(super) taken: Option<u64>,
    pub(super) base: Scope,
    pub(super) carried: Vec<Found>,
    /// Of slots that were not known at the take.
    pub(super) carried_later: Found,
    bound: Vec<(Slot, Value)>,
    /// Some of its binds are not remembered.
    pub(super) forgot: bool,
    /// Of an executor's work: how sure it is that it takes work of others by hand. Where nobody is said to be behind it, finding
    /// nobody says nothing, then; what it leaves behind at its end is left behind all the same.
    pub(super) by_hand: Option<ByHand>,
    /// Of a bare thread: it was started for one request.
    pub(super) for_request: bool,
    /// Slots whose reads could be judged.
    pub(super) answered: BTreeSet<Slot>,
    /// Slots of which something could not be judged.
    pub(super) unanswered: BTreeSet<Slot>,
    reported: BTreeSet<(Kind, Option<Slot>)>,
}

/// Where in its item an event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Base,
    /// The context that the item brought along.
    Brought,
    Entered,
}

/// Whose a value is.
#[derive(Debug)]
pub(super) enum Verdict {
    Own,
    Foreign {
        expected: Option<Value>,
        confidence: Confidence,
        from: Option<Box<Residue>>,
    },
    /// Nothing; with what the item missed by that.
    Empty {
        missed: Option<Value>,
    },
    Unreadable,
    Unjudged,
}

impl Item {
    pub(super) fn new(number: u64, hop: Option<Submitted>, taken: u64) -> Self {
        Self {
            number,
            judged: hop.is_some(),
            hop,
            uncounted: false,
            by_context: false,
            queue: None,
            taken: Some(taken),
            base: Scope(0),
            carried: Vec::new(),
            carried_later: Found::Unset,
            bound: Vec::new(),
            forgot: false,
            by_hand: None,
            for_request: false,
            answered: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            reported: BTreeSet::new(),
        }
    }

    /// An item whose take was not seen.
    pub(super) fn unseen(number: u64, taken: u64, queue: Option<QueueKey>) -> Self {
        Self {
            queue,
            carried_later: Found::Unreadable,
            ..Self::new(number, None, taken)
        }
    }

    pub(super) fn carried(&self, slot: Slot) -> &Found {
        self.carried
            .get(usize::from(slot.0))
            .unwrap_or(&self.carried_later)
    }

    pub(super) fn brings(&self) -> Brings {
        self.hop.as_ref().map_or(Brings::Unknown, |hop| hop.brings)
    }

    /// Where an event happened; learns the base scope when it was created after the take.
    pub(super) fn place(&mut self, scope: Scope, entered: bool) -> Where {
        if self.base.0 == 0 && scope.0 != 0 && !entered && self.brings() != Brings::Scope(scope) {
            self.base = scope;
        }
        self.place_known(scope)
    }

    /// The same where it is not known whether the scope was entered.
    pub(super) fn place_known(&self, scope: Scope) -> Where {
        if scope == self.base || scope.0 == 0 {
            Where::Base
        } else if self.brings() == Brings::Scope(scope) {
            Where::Brought
        } else {
            Where::Entered
        }
    }

    pub(super) fn remember_bound(&mut self, slot: Slot, value: &Found) {
        match value {
            Found::Unreadable | Found::Unresolved => self.forgot = true,
            Found::Unset => {}
            Found::Value(value) => {
                if self.bound(slot, value) {
                } else if self.bound.len() < BOUND_VALUES {
                    self.bound.push((slot, value.clone()));
                } else {
                    self.forgot = true;
                }
            }
        }
    }

    pub(super) fn bound(&self, slot: Slot, value: &Value) -> bool {
        self.bound.iter().any(|(s, v)| *s == slot && v.same(value))
    }

    /// Whether it is known whose anything in it is.
    pub(super) fn is_told(&self) -> bool {
        self.judged && self.by_hand != Some(ByHand::Named)
    }

    /// Whether a finding of this kind about this slot is the item's first.
    pub(super) fn first(&mut self, kind: Kind, slot: Slot) -> bool {
        self.reported.insert((kind, Some(slot)))
    }

    /// Whether a check for nobody, by what is read or by what the program says, is the item's first.
    pub(super) fn first_check(&mut self, slot: Option<Slot>) -> bool {
        self.reported.insert((Kind::EmptyCheck, slot))
    }
}

/// Judges what a scope of the carrier's item holds.
pub(super) fn judge(
    carrier: &CarrierState,
    item: &Item,
    slots: &Slots,
    place: Where,
    slot: Slot,
    found: &Found,
    call_default: Option<&Value>,
) -> Verdict {
    let nothing = match found {
        Found::Unreadable => return Verdict::Unreadable,
        Found::Unresolved => return Verdict::Unjudged,
        Found::Unset => true,
        Found::Value(value) => slots.is_nothing(slot, value, call_default),
    };
    let Some(hop) = item.hop.as_ref().filter(|_| item.is_told()) else {
        return Verdict::Unjudged;
    };
    match found {
        Found::Value(value) if !nothing => judge_value(carrier, item, hop, place, slot, value),
        _ => judge_nothing(carrier, item, hop, place, slot, found),
    }
}

fn judge_nothing(
    carrier: &CarrierState,
    item: &Item,
    hop: &Submitted,
    place: Where,
    slot: Slot,
    found: &Found,
) -> Verdict {
    // The context was copied by the submitter, or chosen by the program: the submitter had nothing, or gave nothing.
    if place == Where::Brought {
        return Verdict::Empty { missed: None };
    }
    let missed = match hop.value(slot) {
        HopValue::Unknown => return Verdict::Unjudged,
        HopValue::Bound(value) => Some(value.clone()),
        HopValue::None => None,
    };
    match place {
        Where::Entered if hop.brings == Brings::Unknown => Verdict::Unjudged,
        Where::Entered | Where::Base if missed.is_none() && item.by_hand.is_some() => Verdict::Unjudged,
        // A thread may belong to a pool that is not known and enters the context of each piece of work in turn; asgiref enters
        // the copy that it took, or a context that the program chose.
        Where::Entered
            if matches!(hop.primitive, Primitive::Thread | Primitive::Asgiref) && missed.is_some() =>
        {
            Verdict::Unjudged
        }
        // The item itself said that there is nothing: it misses nothing.
        Where::Base if matches!(found, Found::Value(v) if own_bind(carrier, item, slot, v)) => {
            Verdict::Empty { missed: None }
        }
        Where::Base | Where::Brought | Where::Entered => Verdict::Empty { missed },
    }
}

fn judge_value(
    carrier: &CarrierState,
    item: &Item,
    hop: &Submitted,
    place: Where,
    slot: Slot,
    value: &Value,
) -> Verdict {
    let handed = hop.value(slot);
    let mine = match place {
        Where::Base => own_bind(carrier, item, slot, value),
        Where::Brought | Where::Entered => item.bound(slot, value),
    };
    if mine || matches!(handed, HopValue::Bound(v) if v.same(value)) {
        return Verdict::Own;
    }
    let (expected, confidence) = match handed {
        HopValue::Unknown => return Verdict::Unjudged,
        HopValue::None => (None, Confidence::Suspected),
        HopValue::Bound(v) if v.compare(value) == Sameness::Different => {
            (Some(v.clone()), Confidence::Confirmed)
        }
        HopValue::Bound(v) => (Some(v.clone()), Confidence::Suspected),
    };
    let from = hop.residue(slot).filter(|r| r.value.same(value));
    let residue = matches!(item.carried(slot), Found::Value(v) if v.same(value));
    match place {
        // The program chose this identity, unless its submitter was polluted.
        Where::Brought if from.is_none() => return Verdict::Own,
        Where::Brought => {}
        Where::Entered if hop.brings == Brings::Unknown => return Verdict::Unjudged,
        Where::Entered if from.is_some() || residue => {}
        Where::Base if residue => {}
        Where::Entered | Where::Base => return Verdict::Unjudged,
    }
    if item.forgot {
        return Verdict::Unjudged;
    }
    Verdict::Foreign {
        expected,
        confidence,
        from: from.filter(|_| !residue).cloned().map(Box::new),
    }
}

/// Whether the value is a bind of this item that is still in force in the base scope.
fn own_bind(carrier: &CarrierState, item: &Item, slot: Slot, value: &Value) -> bool {
    carrier
        .base
        .in_force(slot)
        .is_some_and(|b| b.item == Some(item.number) && b.is(value))
}
