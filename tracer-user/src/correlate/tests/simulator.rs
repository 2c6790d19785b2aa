//! A simulated proxy that knows for each read whose value it finds: the ground truth.

use std::collections::VecDeque;

use crate::correlate::{
    event::{Brings, ItemKey, Primitive, QueueKey, Scope, What, Work},
    finding::Kind,
    testing::{LOOP, TENANT, World, minting, said, text},
    value::Value,
};

const REQUESTS: usize = 3;
const WORKERS: usize = 3;
const MOST_BINDS: usize = 10;

/// One step: what, who, and a choice.
pub(super) type Step = (u8, u8, u8);

/// Something that must be found, at any of these times; of several the first, if nothing is lost.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) kind: Kind,
    pub(super) times: Vec<u64>,
    item: Option<usize>,
    /// The value that tells returns of one read apart.
    pub(super) expected: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LastRead {
    Own,
    Foreign,
    Empty,
}

#[derive(Default)]
struct Request {
    scope: Option<Scope>,
    identity: Option<String>,
    last: Option<usize>,
}

struct Item {
    id: usize,
    root: usize,
    hop: Option<String>,
    brought: Option<Scope>,
    entered: Vec<Scope>,
    tokens: Vec<(usize, String, Option<Value>)>,
    binds: usize,
}

/// A submitted item whose binds may be missed.
struct Return {
    id: usize,
    home: Option<(Scope, u32)>,
    open: Vec<String>,
    missed: Vec<u64>,
}

pub(super) struct Simulator {
    pub(super) world: World,
    pub(super) truths: Vec<Truth>,
    requests: Vec<Request>,
    /// The last read of every request that ever was.
    last_reads: Vec<Option<LastRead>>,
    workers: Vec<Option<Item>>,
    queue: VecDeque<(ItemKey, Item)>,
    free: Vec<ItemKey>,
    returns: Vec<Return>,
    count: usize,
}

const fn tid(worker: usize) -> u32 {
    10 + worker as u32
}

impl Simulator {
    pub(super) fn run(steps: &[Step]) -> Self {
        let mut world = World::new();
        for worker in 0..WORKERS {
            world.worker(tid(worker));
        }
        let mut sim = Self {
            world,
            truths: Vec::new(),
            requests: (0..REQUESTS).map(|_| Request::default()).collect(),
            last_reads: Vec::new(),
            workers: (0..WORKERS).map(|_| None).collect(),
            queue: VecDeque::new(),
            free: Vec::new(),
            returns: Vec::new(),
            count: 0,
        };
        for request in 0..REQUESTS {
            sim.begin_request(request, request as u8);
        }
        for &(what, who, choice) in steps {
            sim.step(what, usize::from(who), choice);
        }
        for pending in std::mem::take(&mut sim.returns) {
            sim.returned(pending);
        }
        sim
    }

    fn step(&mut self, what: u8, who: usize, choice: u8) {
        let request = who % REQUESTS;
        let worker = who % WORKERS;
        match what % 16 {
            0 => self.begin_request(request, choice),
            1 | 2 => self.in_request(request, |sim| {
                sim.submit(LOOP, None, choice.is_multiple_of(3), request);
            }),
            3 => self.read_request(request),
            4 => self.mint(request),
            5 | 6 => self.take(worker),
            7 | 8 => self.read_worker(worker),
            9 | 10 => self.bind_worker(worker),
            11 => self.reset_worker(worker),
            12 => self.end(worker),
            13 => self.enter(worker, choice),
            14 => {
                if let Some(item) = self.workers[worker].take() {
                    let request = item.root;
                    self.submit(tid(worker), Some(&item), choice.is_multiple_of(3), request);
                    self.workers[worker] = Some(item);
                }
            }
            _ => self.data(worker),
        }
    }

    fn begin_request(&mut self, at: usize, choice: u8) {
        if let Some(former) = self.requests[at].scope {
            self.world.emit(LOOP, What::ScopeEnd { scope: former });
            self.forget_home((former, 0));
        }
        let scope = self.world.request();
        self.count += 1;
        let identity = (!choice.is_multiple_of(4)).then(|| format!("r{}", self.count));
        if let Some(identity) = &identity {
            self.world.bind(LOOP, TENANT, text(identity), "handler");
        }
        self.world.leave(LOOP);
        self.last_reads.push(None);
        self.requests[at] = Request {
            scope: Some(scope),
            identity,
            last: Some(self.last_reads.len() - 1),
        };
    }

    fn in_request(&mut self, at: usize, act: impl FnOnce(&mut Self)) {
        let Some(scope) = self.requests[at].scope else {
            return;
        };
        self.world.enter(LOOP, scope);
        act(self);
        self.world.leave(LOOP);
    }

    fn home(&mut self, carrier: u32) -> (Scope, u32) {
        let scope = self.world.scope(carrier);
        (scope, if scope.0 == 0 { carrier } else { 0 })
    }

    fn submit(&mut self, carrier: u32, by: Option<&Item>, copied: bool, request: usize) {
        self.count += 1;
        let brought = copied.then(|| self.world.copy_context(carrier));
        let home = self.home(carrier);
        let held = self.world.holds(carrier, TENANT).map(|v| said(&v));
        let hop = match by {
            None => held,
            Some(item) => held.filter(|t| item.owns(t)).or_else(|| item.hop.clone()),
        };
        let root = by.map_or_else(|| self.requests[request].last.unwrap_or(0), |item| item.root);
        let item = Item {
            id: self.count,
            root,
            hop,
            brought,
            entered: Vec::new(),
            tokens: Vec::new(),
            binds: 0,
        };
        let key = self
            .free
            .pop()
            .unwrap_or(ItemKey(0x5_0000 + self.count as u64 * 16));
        let brings = brought.map_or(Brings::Nothing, Brings::Scope);
        self.world
            .hand_at(carrier, key, Work::Item, Primitive::Submit, brings);
        self.returns.push(Return {
            id: item.id,
            home: Some(home),
            open: Vec::new(),
            missed: Vec::new(),
        });
        self.queue.push_back((key, item));
    }

    fn take(&mut self, worker: usize) {
        if self.workers[worker].is_some() {
            return;
        }
        let Some((key, mut item)) = self.queue.pop_front() else {
            return;
        };
        self.world.idle(tid(worker));
        self.world.take(tid(worker), key);
        self.free.push(key);
        if let Some(scope) = item.brought {
            self.world.enter(tid(worker), scope);
            item.entered.push(scope);
        }
        self.workers[worker] = Some(item);
    }

    fn read_request(&mut self, at: usize) {
        self.in_request(at, |sim| {
            let time = sim.world.read(LOOP, "handler");
            let empty = sim.requests[at].identity.is_none();
            if empty {
                sim.missed(LOOP, None, time);
            }
            let last = sim.requests[at].last.unwrap_or(0);
            sim.last_reads[last] = Some(if empty { LastRead::Empty } else { LastRead::Own });
        });
    }

    fn mint(&mut self, at: usize) {
        self.in_request(at, |sim| {
            sim.count += 1;
            sim.world.random(LOOP, minting(sim.count as u64 * 8, 4));
            let kind = match sim.requests[at].last.and_then(|n| sim.last_reads[n]) {
                Some(LastRead::Empty) => Kind::UnattributedTask,
                Some(LastRead::Foreign) => Kind::MisattributedTask,
                Some(LastRead::Own) | None => return,
            };
            let times = vec![sim.world.time];
            sim.truths.push(Truth {
                kind,
                times,
                item: None,
                expected: None,
            });
        });
    }

    fn read_worker(&mut self, worker: usize) {
        let Some(item) = self.workers[worker].take() else {
            return;
        };
        let time = self.world.read(tid(worker), "worker");
        let found = self.world.holds(tid(worker), TENANT).map(|v| said(&v));
        let last = match found {
            None => {
                self.missed(tid(worker), Some(item.id), time);
                let brought = item.brought.is_some() && item.entered.last() == item.brought.as_ref();
                if item.hop.is_some() && !brought {
                    self.happened(Kind::BlackHoleRead, &item, time);
                }
                LastRead::Empty
            }
            Some(found) if item.owns(&found) => LastRead::Own,
            Some(_) => {
                self.happened(Kind::Bleed, &item, time);
                LastRead::Foreign
            }
        };
        self.last_reads[item.root] = Some(last);
        self.workers[worker] = Some(item);
    }

    fn happened(&mut self, kind: Kind, item: &Item, time: u64) {
        match self
            .truths
            .iter_mut()
            .find(|t| t.kind == kind && t.item == Some(item.id))
        {
            Some(truth) => truth.times.push(time),
            None => {
                self.truths.push(Truth {
                    kind,
                    times: vec![time],
                    item: Some(item.id),
                    expected: None,
                });
            }
        }
    }

    fn bind_worker(&mut self, worker: usize) {
        let Some(mut item) = self.workers[worker].take() else {
            return;
        };
        if item.binds < MOST_BINDS {
            item.binds += 1;
            let value = format!("i{}.{}", item.id, item.binds);
            let former = self.world.bind(tid(worker), TENANT, text(&value), "worker");
            item.tokens.push((item.entered.len(), value.clone(), former));
            if let Some(pending) = self.returns.iter_mut().find(|r| r.id == item.id)
                && (pending.home.is_some() || !pending.open.is_empty())
            {
                pending.open.push(value);
            }
        }
        self.workers[worker] = Some(item);
    }

    fn reset_worker(&mut self, worker: usize) {
        let Some(mut item) = self.workers[worker].take() else {
            return;
        };
        if let Some((_, value, former)) = item.tokens.pop_if(|(depth, ..)| *depth == item.entered.len()) {
            self.world.reset(tid(worker), TENANT, former);
            if let Some(pending) = self.returns.iter_mut().find(|r| r.id == item.id) {
                pending.open.retain(|v| *v != value);
                if pending.open.is_empty() {
                    pending.missed.clear();
                }
            }
        }
        self.workers[worker] = Some(item);
    }

    fn enter(&mut self, worker: usize, choice: u8) {
        let Some(mut item) = self.workers[worker].take() else {
            return;
        };
        if choice.is_multiple_of(2) && item.entered.len() < 3 {
            let scope = self.world.copy_context(tid(worker));
            self.world.enter(tid(worker), scope);
            item.entered.push(scope);
        } else if !item.entered.is_empty() {
            self.leave(worker, &mut item);
        }
        self.workers[worker] = Some(item);
    }

    fn leave(&mut self, worker: usize, item: &mut Item) {
        self.world.leave(tid(worker));
        item.entered.pop();
        item.tokens.retain(|(depth, ..)| *depth <= item.entered.len());
    }

    fn end(&mut self, worker: usize) {
        let Some(mut item) = self.workers[worker].take() else {
            return;
        };
        while !item.entered.is_empty() {
            self.leave(worker, &mut item);
        }
        let time = self.world.idle(tid(worker));
        let left = self.world.holds(tid(worker), TENANT).map(|v| said(&v));
        if left.is_some_and(|t| item.bound(&t)) {
            self.happened(Kind::Squat, &item, time);
        }
        // The next item on this thread is no part of the request that submitted from here.
        let base = self.home(tid(worker));
        self.forget_home(base);
        self.forget_home((Scope(0), tid(worker)));
    }

    fn data(&mut self, worker: usize) {
        let queue = QueueKey(0x77);
        let data = self
            .world
            .hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
        if self.workers[worker].is_some() {
            self.world.idle_at(tid(worker), queue);
            self.world.take_at(tid(worker), data, queue);
        }
    }

    /// A read found nothing.
    fn missed(&mut self, carrier: u32, reader: Option<usize>, time: u64) {
        let here = self.home(carrier);
        for pending in &mut self.returns {
            if pending.home == Some(here) && !pending.open.is_empty() && reader != Some(pending.id) {
                pending.missed.push(time);
            }
        }
    }

    /// Nobody reads in this scope any more.
    fn forget_home(&mut self, home: (Scope, u32)) {
        for pending in &mut self.returns {
            if pending.home == Some(home) {
                pending.home = None;
                if pending.missed.is_empty() {
                    pending.open.clear();
                }
            }
        }
    }

    fn returned(&mut self, pending: Return) {
        if !pending.missed.is_empty() && !pending.open.is_empty() {
            self.truths.push(Truth {
                kind: Kind::BlackHoleReturn,
                times: pending.missed,
                item: Some(pending.id),
                expected: Some(format!("i{}.", pending.id)),
            });
        }
    }
}

impl Item {
    fn bound(&self, value: &str) -> bool {
        value.starts_with(&format!("i{}.", self.id))
    }

    fn owns(&self, value: &str) -> bool {
        self.bound(value) || self.hop.as_deref() == Some(value)
    }
}
