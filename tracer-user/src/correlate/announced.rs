//! What a program announces, judged: it says what it does, the rest is known from what was read and bound.

use std::sync::Arc;

use super::{
    access::Here,
    announcement::{Announcement, Said},
    carrier::{BindRecord, CarrierState},
    drift::{Missed, TaskName},
    event::{Named, Role, Slot},
    fact::{FactKind, Heard},
    finding::{Evidence, Kind, Mint, Read},
    hop::HopValue,
    ledger::PollOutcome,
    reporter::{Now, Out},
    request::RequestKey,
    table::Table,
    target::{Target, say, scene},
    task::{MintEvent, Owner},
    value::{Content, Sameness, Value},
};

/// What the program has announced, and whom it serves.
#[derive(Debug)]
pub(super) struct Announced {
    tasks: Table<String, Minted>,
    /// Identities that some request or work has bound: what an announced name can be compared with.
    identities: Table<(Slot, RequestKey), ()>,
}

/// A task that was announced.
#[derive(Clone, Debug)]
struct Minted {
    owner: Party,
    time: u64,
}

/// Somebody who got a task, or asks for it.
#[derive(Clone, Debug, Default)]
struct Party {
    /// As the program says.
    said: Option<Value>,
    /// As its request is known.
    known: Option<(Slot, Value)>,
}

impl Announced {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            tasks: Table::new(bound),
            identities: Table::new(bound),
        }
    }

    /// An identity was bound.
    pub(super) fn bound(&mut self, slot: Slot, value: &Value) {
        if let key @ RequestKey::Content(_) = RequestKey::of(value) {
            self.identities.insert((slot, key), ());
        }
    }

    /// Whether somebody goes by this value of a variable.
    fn knows(&self, slot: Slot, value: &Value) -> bool {
        self.identities.contains(&(slot, RequestKey::of(value)))
    }
}

fn told_at(here: Here<'_>) -> Read {
    Read {
        site: here.stack.site().cloned(),
        stack: Arc::clone(here.stack),
    }
}

/// A task as the program calls it.
fn name_of(task: &Value) -> String {
    match &task.content {
        Content::Str(text) => text.shown.to_string(),
        _ => format!("{:?}", RequestKey::of(task)),
    }
}

impl Target {
    /// The program said something.
    pub(super) fn announced(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        here: Here<'_>,
        said: &Announcement,
        out: &mut Out<'_>,
    ) {
        out.say(FactKind::Announced(match said {
            Announcement::Malformed => Heard::Malformed,
            _ => Heard::Understood,
        }));
        match said {
            Announcement::TaskMinted { task, owner } => self.task_minted(me, now, here, (task, owner), out),
            Announcement::TaskServed { task, principal } => {
                self.task_served(me, now, here, (task, principal), out);
            }
            Announcement::PolicyCheck {
                principal: Said::Empty,
            } => self.policy_found_nobody(me, now, here, out),
            Announcement::DigestPinned { digest } => self.digest_pinned(me, now, here, digest),
            Announcement::DigestVerified { digest, task } => {
                self.digest_verified(me, now, here, (digest, task.as_ref()), out);
            }
            Announcement::PolicyCheck { .. } | Announcement::Malformed => {}
        }
    }

    /// Variables whose values a name that the program says is one of.
    fn goes_by(&self, value: &Value) -> Vec<Slot> {
        let slots = self
            .slots
            .all()
            .filter(|slot| self.slots.role(*slot) == Some(Role::Identity));
        slots.filter(|slot| self.announced.knows(*slot, value)).collect()
    }

    fn task_minted(
        &mut self,
        me: &CarrierState,
        now: Now,
        here: Here<'_>,
        (task, owner): (&Value, &Said),
        out: &mut Out<'_>,
    ) {
        let before = self.last_read(me, here.key(now.carrier), here.request);
        let site = here
            .stack
            .outermost(Named::Mint)
            .map(|f| &f.site)
            .or_else(|| here.stack.site())
            .cloned();
        if let Some(id) = self.request(me, here.key(now.carrier), here.request, None) {
            let mint = Mint {
                site: site.clone(),
                announced: Some(task.clone()),
                handle: None,
            };
            let name = TaskName::Said(name_of(task));
            self.task_was_minted(me, &id, (now, &mint, Some(name)), out);
        }
        let party = self.party(me, now, here, owner);
        let minted = Minted {
            owner: party.clone(),
            time: now.time,
        };
        self.announced.tasks.insert(name_of(task), minted);
        let owner = match owner {
            Said::Nothing => None,
            Said::Empty => Some(Owner::Nobody),
            Said::Is(value) => Some(Owner::Somebody {
                value: Box::new(value.clone()),
                goes_by: self.goes_by(value),
                asks: party.known.map(Box::new),
            }),
        };
        let event = MintEvent {
            now,
            site,
            announced: Some(task.clone()),
            owner,
            evidence: Evidence::Claimed,
            before,
        };
        self.mintings.judge(scene!(self, out), out, event);
    }

    /// Whom somebody speaks for, as they say and as it is known.
    fn party(&mut self, me: &CarrierState, now: Now, here: Here<'_>, said: &Said) -> Party {
        let known = self.identity_of(me, here.key(now.carrier), here.request);
        let said = match said {
            Said::Is(value) => Some(value.clone()),
            Said::Nothing | Said::Empty => None,
        };
        Party { said, known }
    }

    fn compare(&self, owner: &Party, asks: &Party) -> Sameness {
        let named = |name: &Value, (slot, value): &(Slot, Value)| match name.compare(value) {
            Sameness::Different if !self.announced.knows(*slot, name) => Sameness::Unknown,
            sameness => sameness,
        };
        match (owner, asks) {
            (Party { said: Some(a), .. }, Party { said: Some(b), .. }) => a.compare(b),
            (Party { said: Some(a), .. }, Party { known: Some(b), .. })
            | (Party { known: Some(b), .. }, Party { said: Some(a), .. }) => named(a, b),
            (
                Party {
                    known: Some((s, a)), ..
                },
                Party {
                    known: Some((t, b)), ..
                },
            ) if s == t => a.compare(b),
            _ => Sameness::Unknown,
        }
    }

    fn task_served(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        here: Here<'_>,
        (task, principal): (&Value, &Said),
        out: &mut Out<'_>,
    ) {
        let asks = self.party(me, now, here, principal);
        let minted = self.announced.tasks.get(&name_of(task)).cloned();
        // To nobody is not to somebody else.
        let foreign = *principal != Said::Empty
            && minted
                .as_ref()
                .is_some_and(|minted| self.compare(&minted.owner, &asks) == Sameness::Different);
        // What the wire shows is told by the wire.
        if !self.seen_on_wire {
            out.say(FactKind::Poll(if foreign {
                PollOutcome::ForeignServed
            } else {
                PollOutcome::Served
            }));
        }
        let Some(minted) = minted else { return };
        if let Some(id) = self.request(me, here.key(now.carrier), here.request, None) {
            let name = TaskName::Said(name_of(task));
            self.task_was_shown(me, &id, (&name, minted.time), out);
        }
        if !foreign || self.seen_on_wire {
            return;
        }
        let value = |party: Party| party.said.or_else(|| party.known.map(|(_, value)| value));
        let mut finding = scene!(self, out).finding_of_none(Kind::ForeignPoll, now, now.seq);
        finding.evidence = Evidence::Claimed;
        finding.expected = value(minted.owner);
        finding.found = value(asks);
        finding.mint = Some(Mint {
            site: here.stack.site().cloned(),
            announced: Some(task.clone()),
            handle: None,
        });
        say(me, out, FactKind::Finding(Box::new(finding)));
    }

    fn policy_found_nobody(&mut self, me: &mut CarrierState, now: Now, here: Here<'_>, out: &mut Out<'_>) {
        let identities = self
            .slots
            .all()
            .filter(|slot| self.slots.role(*slot) == Some(Role::Identity));
        let handed = |slot: Slot| {
            let item = me.item.as_ref().filter(|item| item.is_told());
            let hop = item.and_then(|item| item.hop.as_ref());
            hop.is_some_and(|hop| matches!(hop.value(slot), HopValue::Bound(_)))
        };
        let scope = here.key(now.carrier);
        let inside = identities
            .into_iter()
            .any(|slot| handed(slot) || self.checks.has_lost(scope, slot));
        let mut finding = scene!(self, out).finding_of_none(Kind::EmptyCheck, now, now.seq);
        finding.evidence = Evidence::Claimed;
        finding.item = me.item.as_ref().map(|item| item.number);
        let named = here.stack.outermost(Named::Policy).map(|frame| &frame.site);
        finding.policy = named.or_else(|| here.stack.site()).cloned();
        finding.read = Some(told_at(here));
        self.check_for_nobody(me, here, (None, inside), finding, out);
    }

    fn digest_pinned(&mut self, me: &CarrierState, now: Now, here: Here<'_>, digest: &Said) {
        let Said::Is(digest) = digest else {
            self.unpinned(me, None);
            return;
        };
        let id = self.request(me, here.key(now.carrier), here.request, None);
        let record = BindRecord {
            value: Some(digest.clone()),
            site: here.stack.site().cloned(),
            carrier: now.carrier,
            item: me.item.as_ref().map(|item| item.number),
            time: now.time,
            seq: now.seq,
        };
        self.pinned(me, (None, id), record, Evidence::Claimed);
    }

    fn digest_verified(
        &mut self,
        me: &CarrierState,
        now: Now,
        here: Here<'_>,
        (digest, task): (&Said, Option<&Value>),
        out: &mut Out<'_>,
    ) {
        let id = self.request(me, here.key(now.carrier), here.request, None);
        if *digest != Said::Empty {
            self.verified(me, None, id);
            return;
        }
        let missed = Missed {
            now,
            found: None,
            read: told_at(here),
            evidence: Evidence::Claimed,
        };
        if let Some(task) = task {
            self.task_not_verified(&TaskName::Said(name_of(task)), &missed, out);
        }
        self.not_verified(me, (None, id), &missed, out);
    }
}
