//! Which request an asyncio task works for: the one that created it, or the one that gave it what it works on.
//!
//! A task runs in a copy of the context of whoever creates it, for as long as it lives. Who gives it something later, through a queue or
//! a stream, is seen by what ends its wait. That convicts only together with the rest: the request whose identity the task still
//! carries is over, and the one that it works for is another.

use std::collections::{BTreeMap, VecDeque};

use super::{
    event::{Carrier, Conveys, FutureKey, Site, Slot, TaskKey},
    finding::Confidence,
    hop::ScopeKey,
    reporter::Now,
    stale::{Stale, Whose},
    table::Table,
    value::{Found, Sameness, Value},
};

/// Futures that were set and for which nobody was woken yet, of one carrier.
const PENDING: usize = 1024;
/// Things that were put into queues and are remembered, of one carrier.
const PUTS: usize = 64;
/// Tasks that owe one an answer and are remembered.
const OWED: usize = 64;
/// Values that one request is remembered to have bound to one slot.
const BINDINGS: usize = 8;
/// How many requests up the line a value is looked for.
const ANCESTORS: usize = 8;

/// Number of a place: a scope's address is used again for another one.
type PlaceId = u64;
/// Number of a request: of a scope that bound something itself.
type Root = u64;
/// Number of a time in which a task works for one request; 0 is its own.
type Epoch = u64;
const OWN: Epoch = 0;

/// A bind of a request.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) value: Value,
    pub(super) site: Option<Site>,
    pub(super) carrier: Carrier,
    pub(super) time: u64,
    pub(super) seq: u64,
    /// It was not reset, nor replaced.
    in_force: bool,
}

impl Binding {
    pub(super) fn new(value: Value, site: Option<Site>, now: Now) -> Self {
        Self {
            value,
            site,
            carrier: now.carrier,
            time: now.time,
            seq: now.seq,
            in_force: true,
        }
    }
}

/// A request, by what it bound, or by the task that a callback created for it.
#[derive(Debug, Default)]
struct Request {
    /// A callback created its task: a server's, for a request or a connection.
    entry: bool,
    /// The one in whose task its own was created.
    parent: Option<Root>,
    /// Number of the event that created its task, if it is that task's only request.
    began: Option<u64>,
    /// By slot, the newest last.
    bindings: BTreeMap<Slot, Vec<Binding>>,
    /// When its scope ended.
    over: Option<u64>,
}

impl Request {
    /// The bind of a slot that is in force.
    fn holds(&self, slot: Slot) -> Option<&Binding> {
        self.bindings.get(&slot)?.iter().find(|binding| binding.in_force)
    }
}

/// What is known of a scope that is a task's, or that a request bound something in.
#[derive(Debug, Default)]
struct Place {
    id: PlaceId,
    /// The request that bound something in this scope.
    own: Option<Root>,
    /// The request of whoever created the task.
    origin: Option<Root>,
    /// Where it was created.
    creator: Option<PlaceId>,
    task: Option<Created>,
    works: Epoch,
    way: Way,
    /// Those that it gave something to: what they give it is their answer.
    owed: VecDeque<PlaceId>,
    /// Number of the last event in it; none before the first.
    last: Option<u64>,
}

/// How a task came by what it works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// From the request itself, or from a task that it created for that, or that created it.
    #[default]
    Direct,
    /// Through a queue: others may be told of something through one, too, who go on with their own work.
    Queued,
    /// From a stranger that works for others: it may be the answer to what nobody saw being asked, since something was kept for that one
    /// until it had time.
    Relayed,
}

/// How a task came to be.
#[derive(Clone, Debug)]
pub(super) struct Created {
    /// Where.
    pub(super) site: Option<Site>,
    /// When.
    pub(super) time: u64,
    seq: u64,
}

/// A task whose context is not known yet.
#[derive(Debug)]
struct Spawn {
    task: TaskKey,
    created: Created,
    by: ScopeKey,
    creator: Option<PlaceId>,
    /// By a callback, or by something else that runs in a context of its own.
    entered: bool,
    origin: Option<Root>,
    works: Epoch,
    way: Way,
}

/// A future that was set: for whom whoever is woken works from then on.
#[derive(Debug)]
struct Set {
    future: FutureKey,
    by: Giver,
    then: Then,
}

/// Whoever set a future, as it was then: it may have ended when somebody is woken.
#[derive(Clone, Copy, Debug)]
struct Giver {
    scope: ScopeKey,
    place: PlaceId,
    creator: Option<PlaceId>,
    natural: Option<Root>,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// It gets something from the one that works for this.
    Gets(Epoch),
    /// The same through a queue, which may be a pool that things are given back to. `taken` says that the giver may have taken it
    /// from there.
    MayGet { works: Epoch, taken: bool },
    /// It was relieved of what it had to give: this works for it.
    Gave(Epoch),
}

/// Something that was put into a queue while somebody waited.
#[derive(Debug)]
struct Put {
    by: ScopeKey,
    future: FutureKey,
    /// Number of the event with which whoever waited went on.
    woken: Option<u64>,
}

/// Tasks and requests of one target.
#[derive(Debug)]
pub(super) struct Lineage {
    places: Table<ScopeKey, Place>,
    requests: Table<Root, Request>,
    /// For whom tasks work.
    works: Table<Epoch, Option<Root>>,
    spawning: BTreeMap<Carrier, Spawn>,
    set: BTreeMap<Carrier, VecDeque<Set>>,
    /// What was put into queues last.
    puts: BTreeMap<Carrier, VecDeque<Put>>,
    /// Requests of which a read was told, by slot.
    told: Table<(Root, Slot), ()>,
    last: u64,
}

impl Lineage {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            places: Table::new(bound),
            requests: Table::new(bound),
            works: Table::new(bound),
            spawning: BTreeMap::new(),
            set: BTreeMap::new(),
            puts: BTreeMap::new(),
            told: Table::new(bound),
            last: 0,
        }
    }

    /// Something was bound outside items.
    pub(super) fn bound(&mut self, scope: ScopeKey, slot: Slot, binding: Binding) {
        self.touched(scope, binding.seq);
        let own = self.places.get(&scope).and_then(|place| place.own);
        let root = own.unwrap_or_else(|| {
            let root = self.next();
            let place = self.place(scope);
            place.own = Some(root);
            let request = Request {
                parent: place.origin,
                began: place.task.as_ref().map(|task| task.seq),
                ..Request::default()
            };
            self.requests.insert(root, request);
            root
        });
        if let Some(request) = self.requests.get_mut(&root) {
            let bindings = request.bindings.entry(slot).or_default();
            // A second identity in one scope may be another request's: nobody knows when that one began.
            if bindings.iter().any(|former| !former.value.same(&binding.value)) {
                request.began = None;
            }
            for former in &mut *bindings {
                former.in_force = false;
            }
            if bindings.len() >= BINDINGS {
                bindings.remove(0);
            }
            bindings.push(binding);
        }
    }

    /// What was bound outside items is reset.
    pub(super) fn unbound(&mut self, scope: ScopeKey, slot: Slot, restored: &Found, seq: u64) {
        self.touched(scope, seq);
        let own = self.places.get(&scope).and_then(|place| place.own);
        let request = own.and_then(|root| self.requests.get_mut(&root));
        let Some(bindings) = request.and_then(|request| request.bindings.get_mut(&slot)) else {
            return;
        };
        let again = match restored {
            Found::Value(value) => bindings.iter().rposition(|binding| binding.value.same(value)),
            Found::Unset | Found::Unreadable | Found::Unresolved => None,
        };
        for (at, binding) in bindings.iter_mut().enumerate() {
            binding.in_force = again == Some(at);
        }
    }

    /// A task is being created.
    pub(super) fn spawned(
        &mut self,
        now: Now,
        task: TaskKey,
        (scope, entered): (ScopeKey, bool),
        site: Option<Site>,
    ) {
        self.touched(scope, now.seq);
        let spawn = Spawn {
            task,
            created: Created {
                site,
                time: now.time,
                seq: now.seq,
            },
            by: scope,
            creator: self.places.get(&scope).map(|place| place.id),
            entered,
            origin: self.natural(scope),
            works: self.places.get(&scope).map_or(OWN, |place| place.works),
            way: self.places.get(&scope).map_or(Way::Direct, |place| place.way),
        };
        self.spawning.insert(now.carrier, spawn);
        // A future at this address is gone.
        if let Some(set) = self.set.get_mut(&now.carrier) {
            set.retain(|set| set.future.0 != task.0);
        }
    }

    /// The context of the task that was created last.
    pub(super) fn context(&mut self, now: Now, task: TaskKey, scope: ScopeKey) {
        let Some(spawn) = self
            .spawning
            .remove(&now.carrier)
            .filter(|spawn| spawn.task == task)
        else {
            return;
        };
        let known = self.places.contains(&scope);
        let causes = self.cause(spawn.by);
        let foreign = known && causes != self.natural(scope);
        let works = if !known {
            spawn.works
        } else if foreign {
            self.epoch(causes)
        } else {
            OWN
        };
        let entry = !known && spawn.entered && !self.places.contains(&spawn.by);
        let own = entry.then(|| {
            let request = Request {
                entry,
                began: Some(spawn.created.seq),
                ..Request::default()
            };
            let root = self.next();
            self.requests.insert(root, request);
            root
        });
        let place = self.place(scope);
        if !known {
            (place.origin, place.creator, place.own) = (spawn.origin, spawn.creator, own);
        }
        place.works = works;
        place.way = if known { Way::Direct } else { spawn.way };
        place.task.get_or_insert(spawn.created);
    }

    /// A future got its result.
    pub(super) fn set(&mut self, now: Now, future: FutureKey, scope: ScopeKey, conveys: Conveys) {
        self.touched(scope, now.seq);
        let pending = self.set.entry(now.carrier).or_default();
        pending.retain(|set| set.future != future);
        let then = match conveys {
            Conveys::Nothing => return,
            Conveys::Gives | Conveys::MayGive => {
                let Some(place) = self.places.get(&scope).filter(|place| place.task.is_some()) else {
                    return;
                };
                let works = if place.works == OWN {
                    // What goes on after its request does so for nobody who could be named.
                    let root = self.natural(scope).filter(|root| !self.is_over(*root));
                    self.epoch(root)
                } else {
                    place.works
                };
                if conveys == Conveys::Gives {
                    Then::Gets(works)
                } else {
                    let taken = self.may_have_taken(now.carrier, scope, works);
                    let put = Put {
                        by: scope,
                        future,
                        woken: None,
                    };
                    let puts = self.puts.entry(now.carrier).or_default();
                    if puts.len() >= PUTS {
                        puts.pop_front();
                    }
                    puts.push_back(put);
                    Then::MayGet { works, taken }
                }
            }
            Conveys::Takes => {
                let works = self.epoch(None);
                let place = self.place(scope);
                (place.works, place.way) = (works, Way::Direct);
                Then::Gave(works)
            }
        };
        let natural = self.natural(scope);
        let place = self.place(scope);
        let by = Giver {
            scope,
            place: place.id,
            creator: place.creator,
            natural,
        };
        let pending = self.set.entry(now.carrier).or_default();
        if pending.len() >= PENDING {
            pending.pop_front();
        }
        pending.push_back(Set { future, by, then });
    }

    /// A task is woken by a future that it waited for.
    pub(super) fn woken(&mut self, now: Now, future: FutureKey, scope: ScopeKey) {
        let waited = self.places.get(&scope).and_then(|place| place.last);
        self.touched(scope, now.seq);
        let puts = self.puts.entry(now.carrier).or_default();
        if let Some(at) = puts.iter().rposition(|put| put.future == future) {
            // Who waited for what was put before went on before, or never will.
            for put in puts.iter_mut().take(at + 1) {
                put.woken.get_or_insert(now.seq);
            }
        }
        // Callbacks run in the order in which their futures were set: what was set before and woke nobody never will.
        let pending = self.set.entry(now.carrier).or_default();
        let Some(at) = pending.iter().position(|set| set.future == future) else {
            return;
        };
        let Some(set) = pending.drain(..=at).next_back() else {
            return;
        };
        match set.then {
            Then::Gets(works) => {
                if !self.is_answered(scope, set.by) {
                    self.commission(scope, set.by, works, Way::Direct);
                    self.owes(scope, set.by);
                }
            }
            Then::MayGet { works, taken } => {
                // What it waits for since before that request began was not held by it then.
                let idle =
                    matches!((waited, self.began(works)), (Some(waited), Some(began)) if waited < began);
                if !self.is_answered(scope, set.by) {
                    if idle && !taken {
                        self.commission(scope, set.by, works, Way::Queued);
                    } else {
                        // What it has asked others for it still waits for.
                        let place = self.place(scope);
                        (place.works, place.way) = (OWN, Way::Direct);
                    }
                    self.owes(scope, set.by);
                }
            }
            Then::Gave(works) => {
                let root = self.cause(scope).filter(|root| !self.is_over(*root));
                self.works.insert(works, root);
                self.owed(scope, set.by.place);
            }
        }
    }

    /// A task works from now on for whom another one works.
    fn commission(&mut self, scope: ScopeKey, by: Giver, works: Epoch, way: Way) {
        let way = if self.is_relayed(scope, by, works) {
            Way::Relayed
        } else {
            way
        };
        let place = self.place(scope);
        (place.works, place.way) = (works, way);
        place.owed.clear();
    }

    /// A task got something from another one, which may come back as its answer.
    fn owes(&mut self, scope: ScopeKey, by: Giver) {
        let lives = self.places.get(&by.scope);
        if lives.is_some_and(|place| place.id == by.place) {
            let place = self.place(scope).id;
            self.owed(by.scope, place);
        }
    }

    /// A task may be answered by another one.
    fn owed(&mut self, scope: ScopeKey, from: PlaceId) {
        // Of one that is not known, nothing is remembered.
        if let Some(place) = self.places.get_mut(&scope) {
            if place.owed.len() >= OWED {
                place.owed.pop_front();
            }
            place.owed.push_back(from);
        }
    }

    /// Whether what a task gets comes from a stranger that works for others itself.
    fn is_relayed(&self, scope: ScopeKey, by: Giver, works: Epoch) -> bool {
        let cause = self.works.get(&works).copied().flatten();
        let place = self.places.get(&scope);
        let created = place.is_some_and(|place| place.creator == Some(by.place));
        let creator = by.creator.is_some() && by.creator == place.map(|place| place.id);
        cause.is_some() && cause != by.natural && !created && !creator
    }

    /// Whether what a task gets from another one is an answer: then it goes on with what it asked for. It is one only once.
    fn is_answered(&mut self, scope: ScopeKey, by: Giver) -> bool {
        let Some(place) = self.places.get_mut(&scope) else {
            return false;
        };
        let at = place.owed.iter().position(|owing| *owing == by.place);
        at.is_some_and(|at| place.owed.remove(at).is_some())
    }

    /// A scope ended.
    pub(super) fn ended(&mut self, scope: ScopeKey, time: u64) {
        let own = self.places.remove(&scope).and_then(|place| place.own);
        if let Some(request) = own.and_then(|root| self.requests.get_mut(&root)) {
            request.over = Some(time);
        }
    }

    /// Something happened in a scope.
    pub(super) fn touched(&mut self, scope: ScopeKey, seq: u64) {
        if let Some(place) = self.places.get_mut(&scope) {
            place.last = Some(seq);
        }
    }

    /// Whose identity a task reads.
    pub(super) fn whose(&self, scope: ScopeKey, slot: Slot, found: &Value) -> Whose {
        let Some(place) = self.places.get(&scope) else {
            return Whose::Own;
        };
        let own = place.own.and_then(|root| self.requests.get(&root));
        if own.is_some_and(|own| own.holds(slot).is_some_and(|binding| binding.value.same(found))) {
            return Whose::Own;
        }
        let Some(works_for) = self.works.get(&place.works).copied().flatten() else {
            return Whose::Own;
        };
        let theirs = self.binding(works_for, slot);
        let Some(theirs) = theirs.filter(|theirs| !theirs.value.same(found)) else {
            return Whose::Own;
        };
        let Some(natural) = self.natural(scope) else {
            // It was created before it could be seen.
            return Whose::Unknown;
        };
        if self.is_related(natural, works_for) {
            return Whose::Own;
        }
        let Some((bind, Some(over))) = self.bound_by(natural, slot, found) else {
            return Whose::Own;
        };
        if place.way == Way::Relayed {
            return Whose::Unknown;
        }
        Whose::Stale(Box::new(Stale {
            request: works_for,
            expected: theirs.value.clone(),
            confidence: if theirs.value.compare(found) == Sameness::Different && place.way == Way::Direct {
                Confidence::Confirmed
            } else {
                Confidence::Suspected
            },
            bind: bind.clone(),
            created: place.task.clone(),
            over,
            works_for: theirs.site.clone(),
        }))
    }

    /// The request that what happens in a scope happens for, and those in whose tasks that one's was created, the nearest first.
    pub(super) fn works_for(&self, scope: ScopeKey) -> impl Iterator<Item = u64> {
        let root = self.cause(scope);
        let line = root.into_iter().flat_map(|root| self.line(root));
        line.map(|(root, _)| root)
    }

    /// The request that what happens in a scope happens for, if no other request can be meant: it says whom it is for, or the scope is its
    /// own. What a server creates for a connection may serve several.
    pub(super) fn request(&self, scope: ScopeKey) -> Option<u64> {
        let root = self.cause(scope)?;
        let own = self.places.get(&scope).and_then(|place| place.own) == Some(root);
        let identified = |request: &Request| !request.bindings.is_empty();
        (own || self.requests.get(&root).is_some_and(identified)).then_some(root)
    }

    /// Number of the event with which the request of a scope first bound a slot.
    pub(super) fn identified(&self, scope: ScopeKey, slot: Slot) -> Option<u64> {
        let bindings = self.requests.get(&self.cause(scope)?)?.bindings.get(&slot)?;
        bindings.first().map(|binding| binding.seq)
    }

    /// Whether this is the first read that is told of a request and a slot.
    pub(super) fn first(&mut self, request: u64, slot: Slot) -> bool {
        let first = !self.told.contains(&(request, slot));
        self.told.insert((request, slot), ());
        first
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.requests.clear();
        self.works.clear();
        self.spawning.clear();
        self.set.clear();
        self.puts.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn take_evicted(&mut self) -> u64 {
        // What is lost with a request or a time is that somebody works for another: then a task works for its own.
        self.places.take_evicted()
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn epoch(&mut self, root: Option<Root>) -> Epoch {
        let epoch = self.next();
        self.works.insert(epoch, root);
        epoch
    }

    fn place(&mut self, scope: ScopeKey) -> &mut Place {
        if !self.places.contains(&scope) {
            let place = Place {
                id: self.next(),
                ..Place::default()
            };
            self.places.insert(scope, place);
        }
        self.places.get_mut(&scope).expect("it was inserted just now")
    }

    /// Number of the event with which the request began that works are done for.
    fn began(&self, works: Epoch) -> Option<u64> {
        let root = self.works.get(&works).copied().flatten()?;
        self.requests.get(&root)?.began
    }

    /// Whether the request that these works are done for can have taken something from a queue for which others waited already: only
    /// while what somebody else has put there is on its way to one of them.
    fn may_have_taken(&self, carrier: Carrier, scope: ScopeKey, works: Epoch) -> bool {
        let Some(began) = self.began(works) else {
            return true;
        };
        let Some(puts) = self.puts.get(&carrier) else {
            return false;
        };
        let on_its_way = |put: &Put| put.by != scope && put.woken.is_none_or(|woken| woken > began);
        // Of those that are forgotten nobody knows.
        let forgotten = puts.len() >= PUTS && puts.front().is_none_or(|put| put.woken > Some(began));
        forgotten || puts.iter().any(on_its_way)
    }

    /// The request in whose context a scope's task was created, or that bound something in it.
    fn natural(&self, scope: ScopeKey) -> Option<Root> {
        let place = self.places.get(&scope)?;
        place.own.or(place.origin)
    }

    /// The request that what happens in a scope happens for.
    fn cause(&self, scope: ScopeKey) -> Option<Root> {
        let place = self.places.get(&scope)?;
        let works = self.works.get(&place.works).copied().flatten();
        works.or_else(|| self.natural(scope))
    }

    fn is_over(&self, root: Root) -> bool {
        self.requests
            .get(&root)
            .is_none_or(|request| request.over.is_some())
    }

    /// A request and those in whose tasks its own was created.
    fn line(&self, root: Root) -> impl Iterator<Item = (Root, &Request)> {
        let up = |(_, request): &(Root, &Request)| {
            let parent = request.parent?;
            Some((parent, self.requests.get(&parent)?))
        };
        let first = self.requests.get(&root).map(|request| (root, request));
        std::iter::successors(first, up).take(ANCESTORS)
    }

    /// What a request holds in a slot; if it holds nothing any more, what it held last.
    fn binding(&self, root: Root, slot: Slot) -> Option<&Binding> {
        let held = self.line(root).find_map(|(_, request)| request.holds(slot));
        held.or_else(|| {
            self.line(root)
                .find_map(|(_, request)| request.bindings.get(&slot)?.last())
        })
    }

    /// The bind of this very object by a request, or by one up the line, and when that one ended: a copy of a context holds what the
    /// context held, while an equal value may have come from anywhere.
    fn bound_by(&self, root: Root, slot: Slot, value: &Value) -> Option<(&Binding, Option<u64>)> {
        self.line(root).find_map(|(_, request)| {
            let bindings = request.bindings.get(&slot)?;
            let bind = bindings
                .iter()
                .rfind(|binding| binding.value.object == value.object)?;
            Some((bind, request.over))
        })
    }

    /// Whether two requests are parts of one: one was created in the other's task, or both in that of what a server created.
    fn is_related(&self, one: Root, other: Root) -> bool {
        let others: Vec<_> = self.line(other).map(|(root, _)| root).collect();
        self.line(one)
            .any(|(root, request)| others.contains(&root) && (request.entry || root == one || root == other))
    }
}
