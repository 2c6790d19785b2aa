//! Whose a task's handle is: who got it, who asked for it later, and what each of them was told (rules 12 and 15).

use std::sync::Arc;

use super::{
    event::{Carrier, Slot, TargetId},
    fact::{Attribution, ReadResult},
    finding::{Confidence, Kind, names},
    life::Life,
    table::Table,
    value::{Sameness, Value},
};
use crate::wire::{
    fact::{Outcome, Response, Side},
    rpc::Method,
    rules::Bounds,
    secret::{Credential, Fingerprint, SamePrincipal},
};

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;

/// Processes that know the same tasks: those of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(pub u32);

/// What the context said when a response was written.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How the request's last identity read before it was judged; none if it read none.
    pub last_read: Option<(ReadResult, Confidence)>,
    /// How the task that the response mints came about.
    pub life: Option<Box<Life>>,
    /// The identities that the context held, by variable, the first one by name first. Without those that may be another request's: they
    /// would make two principals look like one.
    pub identities: Vec<(Slot, Value)>,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PollOutcome {
    /// It was answered.
    Served,
    /// It was not.
    Refused,
    /// It was answered, and should not have been.
    ForeignServed,
    /// It was not answered, and should have been.
    OwnerRefused,
}

names!(PollOutcome {
    Served => "served",
    Refused => "refused",
    ForeignServed => "foreign_served",
    OwnerRefused => "owner_refused",
});

/// Somebody to whom a task's handle was given, or who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Nanoseconds of the monotonic clock: of the response.
    pub time: u64,
    /// The process that answered.
    pub target: TargetId,
    /// The thread that wrote the response.
    pub carrier: Carrier,
    /// Number of the request, if it was seen.
    pub request: Option<u64>,
    /// Who asked, as the wire says.
    pub credential: Option<Credential>,
    /// Who asked, as the context says: by variable, the first one by name first.
    pub identities: Vec<(Slot, Value)>,
}

/// A finding about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFinding {
    /// What.
    pub kind: Kind,
    /// How sure.
    pub confidence: Confidence,
    /// The task.
    pub task: Fingerprint,
    /// Who got its handle.
    pub owner: Party,
    /// Who asked for it.
    pub poller: Option<Party>,
    /// How it came about, if that was seen.
    pub life: Option<Arc<Life>>,
}

/// What follows from a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskFact {
    /// A task was minted.
    Minted(Attribution),
    /// A task was polled; `judged` says that both principals are known.
    Polled {
        /// How it ended.
        outcome: PollOutcome,
        /// Whether it could be told if that is right.
        judged: bool,
        /// How the task came about, if that was seen.
        life: Option<Arc<Life>>,
    },
    /// A finding.
    Finding(Box<TaskFinding>),
    /// Tasks that were forgotten to stay within the bound.
    Evicted(u64),
}

#[derive(Debug)]
struct Task {
    owner: Party,
    life: Option<Arc<Life>>,
    /// Milliseconds that it is kept, if that was said.
    ttl: Option<u64>,
    /// Its handle was given to somebody else, too: nobody can say whose it is.
    contested: bool,
    /// It was cancelled, and may be forgotten.
    cancelled: bool,
}

/// Whose a poll is, compared with whose the task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Owner(Confidence),
    Foreign(Confidence),
    Unknown,
}

/// Remembers who got which handle.
#[derive(Debug)]
pub struct TaskLedger {
    tasks: Table<(Realm, Fingerprint), Task>,
}

impl Default for TaskLedger {
    fn default() -> Self {
        Self::new(Bounds::default().tasks)
    }
}

impl TaskLedger {
    /// A ledger of so many tasks.
    pub fn new(bound: usize) -> Self {
        Self {
            tasks: Table::new(bound),
        }
    }

    /// How many tasks are remembered.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether a task is remembered.
    pub fn knows(&self, realm: Realm, task: Fingerprint) -> bool {
        self.tasks.contains(&(realm, task))
    }

    /// Whether no task is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a response that a process of this realm wrote, and says what follows.
    pub fn apply(&mut self, realm: Realm, response: &Response, told: Told, out: &mut Vec<TaskFact>) {
        // What a proxy is answered by its own upstream is the upstream's to judge.
        if response.side == Side::Client {
            return;
        }
        let request = response.request.as_deref();
        let party = Party {
            time: response.moment.time,
            target: response.stream.process,
            carrier: response.moment.thread,
            request: request.map(|request| request.number),
            credential: request.and_then(|request| request.credential),
            identities: told.identities,
        };
        let life = told.life;
        let method = request.and_then(|request| request.method);
        match &response.outcome {
            Outcome::Minted { task, ttl, .. } => {
                self.mint(realm, *task, *ttl, party, (told.last_read, life), out);
            }
            Outcome::State { task } => {
                self.served(realm, &[*task], party, method, Confidence::Confirmed, out);
            }
            Outcome::Listed(tasks) => {
                self.served(realm, tasks, party, method, Confidence::Confirmed, out);
            }
            Outcome::Acknowledged => {
                // It shows nothing of the task; a server may acknowledge what it ignores.
                let task = request.and_then(|request| request.task);
                self.served(realm, task.as_slice(), party, method, Confidence::Suspected, out);
            }
            Outcome::Refused { unknown } => {
                // Elsewhere the same error says that the task is over, or what the task's own work said.
                let unknown = *unknown && method == Some(Method::GetTask);
                let task = request.and_then(|request| request.task).filter(|_| unknown);
                self.refused(realm, task, party, method, out);
            }
            Outcome::Failed(_) => self.refused(realm, None, party, method, out),
            Outcome::Other | Outcome::Unclear => {}
        }
    }

    fn mint(
        &mut self,
        realm: Realm,
        id: Fingerprint,
        ttl: Option<u64>,
        owner: Party,
        (last_read, life): (Option<(ReadResult, Confidence)>, Option<Box<Life>>),
        out: &mut Vec<TaskFact>,
    ) {
        // A response that answers nothing tells again what was told before: a call that could not send all of it is made again.
        if owner.request.is_none() && self.tasks.contains(&(realm, id)) {
            return;
        }
        let (attribution, kind) = match last_read.map(|(result, _)| result) {
            Some(ReadResult::Own) => (Attribution::Attributed, None),
            Some(ReadResult::Empty) => (Attribution::Unattributed, Some(Kind::UnattributedTask)),
            Some(ReadResult::Foreign) => (Attribution::Misattributed, Some(Kind::MisattributedTask)),
            Some(ReadResult::Unreadable | ReadResult::Unjudged) | None => (Attribution::Unknown, None),
        };
        out.push(TaskFact::Minted(attribution));
        let life = life.map(|life| Arc::new(Life { attribution, ..*life }));
        if let (Some(kind), Some((_, confidence))) = (kind, last_read) {
            out.push(TaskFact::Finding(Box::new(TaskFinding {
                kind,
                confidence,
                task: id,
                owner: owner.clone(),
                poller: None,
                life: life.clone(),
            })));
        }
        let former = self.tasks.remove(&(realm, id));
        let task = match former {
            Some(former) if !matches!(former.whose(&owner), Whose::Owner(_)) => Task {
                contested: true,
                ..former
            },
            _ => Task {
                owner,
                life,
                ttl,
                contested: false,
                cancelled: false,
            },
        };
        self.tasks.insert((realm, id), task);
        let evicted = self.tasks.take_evicted();
        if evicted > 0 {
            out.push(TaskFact::Evicted(evicted));
        }
    }

    /// Tasks were shown to somebody.
    fn served(
        &mut self,
        realm: Realm,
        ids: &[Fingerprint],
        poller: Party,
        method: Option<Method>,
        evidence: Confidence,
        out: &mut Vec<TaskFact>,
    ) {
        let mut judged = false;
        let mut foreign = None;
        let mut life = None;
        for id in ids {
            let Some(task) = self.tasks.get_mut(&(realm, *id)) else {
                continue;
            };
            let whose = task.whose(&poller);
            judged |= whose != Whose::Unknown;
            life = life.or_else(|| task.life.clone());
            task.cancelled |= method == Some(Method::CancelTask);
            if let Whose::Foreign(confidence) = whose
                && foreign.is_none()
            {
                life.clone_from(&task.life);
                foreign = Some((*id, confidence.min_of(evidence), task.owner.clone()));
            }
        }
        let polled = |outcome, life| TaskFact::Polled {
            outcome,
            judged,
            life,
        };
        let Some((task, confidence, owner)) = foreign else {
            out.push(polled(PollOutcome::Served, life));
            return;
        };
        out.push(polled(PollOutcome::ForeignServed, life.clone()));
        out.push(TaskFact::Finding(Box::new(TaskFinding {
            kind: Kind::ForeignPoll,
            confidence,
            task,
            owner,
            poller: Some(poller),
            life,
        })));
    }

    /// A poll was refused; `id` is the task of which it was said that it does not exist.
    fn refused(
        &mut self,
        realm: Realm,
        id: Option<Fingerprint>,
        poller: Party,
        method: Option<Method>,
        out: &mut Vec<TaskFact>,
    ) {
        if !method.is_some_and(Method::is_poll) {
            return;
        }
        let known = id.and_then(|id| Some((id, self.tasks.get(&(realm, id))?)));
        let whose = known.map_or(Whose::Unknown, |(_, task)| task.whose(&poller));
        let judged = whose != Whose::Unknown;
        let life = known.and_then(|(_, task)| task.life.clone());
        let polled = |outcome, life| TaskFact::Polled {
            outcome,
            judged,
            life,
        };
        match (known, whose) {
            (Some((id, task)), Whose::Owner(confidence)) if !task.may_be_gone(poller.time) => {
                out.push(polled(PollOutcome::OwnerRefused, life.clone()));
                out.push(TaskFact::Finding(Box::new(TaskFinding {
                    kind: Kind::OwnerRefused,
                    confidence,
                    task: id,
                    owner: task.owner.clone(),
                    poller: Some(poller),
                    life,
                })));
            }
            _ => out.push(polled(PollOutcome::Refused, life)),
        }
    }
}

impl Task {
    /// Whether the server may have forgotten it.
    fn may_be_gone(&self, now: u64) -> bool {
        let age = now.saturating_sub(self.owner.time);
        self.cancelled || self.ttl.is_some_and(|ttl| age >= ttl.saturating_mul(MS))
    }

    /// Whose a request is, by its credentials; where these differ and say nothing about whose they are, by what the contexts held.
    fn whose(&self, party: &Party) -> Whose {
        let (Some(owner), Some(asks)) = (self.owner.credential, party.credential) else {
            return Whose::Unknown;
        };
        if self.contested {
            return Whose::Unknown;
        }
        match owner.same_principal(&asks) {
            SamePrincipal::Yes => Whose::Owner(Confidence::Confirmed),
            SamePrincipal::No => Whose::Foreign(Confidence::Confirmed),
            SamePrincipal::Unclear => match self.owner.same_identities(party) {
                (true, false) => Whose::Owner(Confidence::Suspected),
                (false, true) => Whose::Foreign(Confidence::Confirmed),
                // One tenant's users may share their tasks; who has nothing that can be compared may be anybody.
                (true, true) | (false, false) => Whose::Foreign(Confidence::Suspected),
            },
        }
    }
}

impl Party {
    /// What is shown of who it is.
    pub fn identity(&self) -> Option<&Value> {
        self.identities.first().map(|(_, value)| value)
    }

    /// Whether some variable held the same for both, and whether some held something else. One that only one of them has says nothing.
    fn same_identities(&self, other: &Self) -> (bool, bool) {
        let compared = self.identities.iter().filter_map(|(slot, own)| {
            let theirs = other.identities.iter().find(|(of, _)| of == slot)?;
            Some(own.compare(&theirs.1))
        });
        compared.fold((false, false), |(same, different), sameness| match sameness {
            Sameness::Same => (true, different),
            Sameness::Different => (same, true),
            Sameness::Unknown => (same, different),
        })
    }
}

impl Confidence {
    /// The less sure of two.
    const fn min_of(self, other: Self) -> Self {
        match (self, other) {
            (Self::Confirmed, Self::Confirmed) => Self::Confirmed,
            _ => Self::Suspected,
        }
    }
}
