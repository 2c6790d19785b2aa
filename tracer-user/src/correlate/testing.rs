//! A small Python process for tests: it keeps real contexts, and emits what the probes would see of them.

mod expected;

use std::{collections::BTreeMap, sync::Arc};

pub(super) use self::expected::Expected;
use super::{
    Engine, Settings,
    announcement::Announcement,
    event::{
        Brings, Carrier, Conveys, Doing, Event, Frame, FutureKey, ItemKey, Named, Names, Primitive, QueueKey,
        Role, Scope, Site, Slot, Stack, TargetId, TaskKey, What, Work,
    },
    fact::{Fact, FactKind},
    finding::Finding,
    tests::{agreed, recorded},
    value::{Content, Found, Held, Prefix, Value},
};

pub(super) const TENANT: Slot = Slot(0);
pub(super) const REQUEST: Slot = Slot(1);
/// A digest, in a world that has one ([`World::with_digest`]).
pub(super) const DIGEST: Slot = Slot(2);
pub(super) const LOOP: u32 = 1;
pub(super) const POOL: QueueKey = QueueKey(0x9000);
const STEP: u64 = 1000;

pub(super) fn text(text: &str) -> Value {
    let shown: Arc<str> = Arc::from(text);
    let len = text.chars().count() as u64;
    let object = text
        .bytes()
        .fold(7, |h: u64, b| h.wrapping_mul(131).wrapping_add(b.into()));
    Value {
        root: object,
        items: None,
        object,
        type_object: 1,
        type_name: None,
        content: Content::Str(Prefix {
            shown,
            len,
            whole: true,
        }),
    }
}

pub(super) fn object(address: u64) -> Value {
    Value {
        root: address,
        items: None,
        object: address,
        type_object: 2,
        type_name: None,
        content: Content::Opaque,
    }
}

pub(super) fn none() -> Value {
    Value {
        root: 3,
        items: None,
        object: 3,
        type_object: 3,
        type_name: None,
        content: Content::None,
    }
}

pub(super) fn said(value: &Value) -> String {
    match &value.content {
        Content::Str(s) => s.shown.to_string(),
        Content::Opaque => format!("object {}", value.object),
        other => format!("{other:?}"),
    }
}

fn frame(function: &str, named: Names, activation: u64, offset: u64) -> Frame {
    let site = Site {
        function: Arc::from(function),
        file: Arc::from("app.py"),
        line: 1,
    };
    Frame {
        site,
        named,
        activation,
        offset,
        machinery: false,
    }
}

pub(super) fn at(function: &str) -> Arc<Stack> {
    Arc::new(Stack {
        frames: vec![frame(function, Names::default(), 1, 0)],
    })
}

/// A stack under an activation of a minting function.
pub(super) fn minting(activation: u64, offset: u64) -> Arc<Stack> {
    Arc::new(Stack {
        frames: vec![
            frame("inner", Names::default(), 99, offset),
            frame(
                "TaskStore.create",
                Names::default().and(Named::Mint),
                activation,
                offset,
            ),
        ],
    })
}

/// A stack under a function that checks a policy.
pub(super) fn checking() -> Arc<Stack> {
    Arc::new(Stack {
        frames: vec![
            frame("principal", Names::default(), 99, 4),
            frame("Policy.check", Names::default().and(Named::Policy), 24, 8),
        ],
    })
}

#[derive(Default)]
struct Thread {
    base: u64,
    entered: Vec<u64>,
}

pub(super) struct World {
    pub(super) events: Vec<Event>,
    pub(super) settings: Settings,
    pub(super) time: u64,
    threads: BTreeMap<u32, Thread>,
    scopes: BTreeMap<u64, Vec<Option<Value>>>,
    fresh: u64,
}

impl World {
    /// A process seen from its start, with a loop that has a context.
    pub(super) fn new() -> Self {
        Self::attached(true)
    }

    pub(super) fn attached(from_start: bool) -> Self {
        let mut world = Self {
            events: Vec::new(),
            settings: Settings::default(),
            time: STEP,
            threads: BTreeMap::new(),
            scopes: BTreeMap::new(),
            fresh: 0x1000,
        };
        world.emit(LOOP, What::Attach { from_start });
        let names = [
            (TENANT, "tenant", Role::Identity),
            (REQUEST, "request_id", Role::Request),
        ];
        for (slot, name, role) in names {
            let default = (slot == TENANT).then(|| text("<unset>"));
            world.emit(
                LOOP,
                What::Variable {
                    slot,
                    name: Arc::from(name),
                    role,
                    default,
                    empty: Arc::default(),
                },
            );
        }
        let base = world.new_scope(Vec::new());
        world.thread(LOOP).base = base;
        world
    }

    /// The program has a digest, too.
    pub(super) fn with_digest(mut self) -> Self {
        let what = What::Variable {
            slot: DIGEST,
            name: Arc::from("digest"),
            role: Role::Digest,
            default: None,
            empty: Arc::default(),
        };
        self.emit(LOOP, what);
        self
    }

    /// Configures a value of the tenant that counts as nothing.
    pub(super) fn configure_empty(&mut self, text: &str) {
        for event in &mut self.events {
            if let What::Variable {
                slot: TENANT, empty, ..
            } = &mut event.what
            {
                *empty = Arc::from([super::settings::EmptyValue(Arc::from(text))]);
            }
        }
    }

    pub(super) fn emit(&mut self, carrier: u32, what: What) -> u64 {
        self.time += STEP;
        self.events.push(Event {
            time: self.time,
            target: TargetId(1),
            carrier: Carrier(carrier),
            what,
        });
        self.time
    }

    fn thread(&mut self, carrier: u32) -> &mut Thread {
        self.threads.entry(carrier).or_default()
    }

    fn new_scope(&mut self, holds: Vec<Option<Value>>) -> u64 {
        self.fresh += 16;
        self.scopes.insert(self.fresh, holds);
        self.fresh
    }

    fn current(&mut self, carrier: u32) -> (Scope, bool) {
        let thread = self.thread(carrier);
        (
            Scope(*thread.entered.last().unwrap_or(&thread.base)),
            !thread.entered.is_empty(),
        )
    }

    pub(super) fn scope(&mut self, carrier: u32) -> Scope {
        self.current(carrier).0
    }

    pub(super) fn held(&mut self, carrier: u32) -> Held {
        let (scope, _) = self.current(carrier);
        let holds = self.scopes.get(&scope.0).cloned().unwrap_or_default();
        holds
            .into_iter()
            .map(|v| v.map_or(Found::Unset, Found::Value))
            .collect()
    }

    pub(super) fn holds(&mut self, carrier: u32, slot: Slot) -> Option<Value> {
        let (scope, _) = self.current(carrier);
        self.scopes.get(&scope.0)?.get(usize::from(slot.0))?.clone()
    }

    fn set(&mut self, carrier: u32, slot: Slot, value: Option<Value>) {
        let (scope, _) = self.current(carrier);
        let holds = self.scopes.entry(scope.0).or_default();
        holds.resize(holds.len().max(usize::from(slot.0) + 1), None);
        holds[usize::from(slot.0)] = value;
    }

    /// `copy_context()`: creates the thread's own first if there is none yet.
    pub(super) fn copy_context(&mut self, carrier: u32) -> Scope {
        if self.current(carrier).0.0 == 0 {
            let base = self.new_scope(Vec::new());
            self.thread(carrier).base = base;
        }
        let (scope, _) = self.current(carrier);
        let holds = self.scopes[&scope.0].clone();
        Scope(self.new_scope(holds))
    }

    pub(super) fn enter(&mut self, carrier: u32, scope: Scope) {
        self.thread(carrier).entered.push(scope.0);
    }

    /// The thread's own context is freed; its address may be used again for an empty one.
    pub(super) fn free_base(&mut self, carrier: u32) -> Scope {
        let base = Scope(std::mem::take(&mut self.thread(carrier).base));
        self.free(carrier, base);
        base
    }

    /// A context is freed; its address may be used again for an empty one.
    pub(super) fn free(&mut self, carrier: u32, scope: Scope) {
        self.scopes.insert(scope.0, Vec::new());
        self.emit(carrier, What::ScopeEnd { scope });
    }

    pub(super) fn leave(&mut self, carrier: u32) {
        self.thread(carrier).entered.pop();
    }

    /// The loop goes on in a task's context of its own.
    pub(super) fn request(&mut self) -> Scope {
        let scope = self.copy_context(LOOP);
        self.enter(LOOP, scope);
        scope
    }

    pub(super) fn bind(&mut self, carrier: u32, slot: Slot, value: Value, site: &str) -> Option<Value> {
        let (scope, entered) = self.current(carrier);
        let former = self.holds(carrier, slot);
        let request = self.holds(carrier, REQUEST);
        let told = Found::Value(value.clone());
        self.emit(
            carrier,
            What::Bind {
                slot,
                scope,
                entered,
                value: told,
                request,
                stack: at(site),
            },
        );
        if scope.0 == 0 {
            let base = self.new_scope(Vec::new());
            self.thread(carrier).base = base;
        }
        self.set(carrier, slot, Some(value));
        former
    }

    pub(super) fn reset(&mut self, carrier: u32, slot: Slot, former: Option<Value>) {
        self.set(carrier, slot, former.clone());
        let (scope, entered) = self.current(carrier);
        let restored = former.map_or(Found::Unset, Found::Value);
        self.emit(
            carrier,
            What::Unbind {
                slot,
                scope,
                entered,
                restored,
                stack: at("reset"),
            },
        );
    }

    pub(super) fn read(&mut self, carrier: u32, site: &str) -> u64 {
        self.read_under(carrier, TENANT, at(site))
    }

    pub(super) fn read_under(&mut self, carrier: u32, slot: Slot, stack: Arc<Stack>) -> u64 {
        let (scope, entered) = self.current(carrier);
        let found = self.holds(carrier, slot).map_or(Found::Unset, Found::Value);
        let request = self.holds(carrier, REQUEST);
        self.emit(
            carrier,
            What::Read {
                slot,
                scope,
                entered,
                found,
                call_default: None,
                request,
                stack,
            },
        )
    }

    pub(super) fn announce(&mut self, carrier: u32, said: Announcement) {
        let (scope, entered) = self.current(carrier);
        let request = self.holds(carrier, REQUEST);
        let stack = at("announces");
        self.emit(
            carrier,
            What::Announced {
                scope,
                entered,
                request,
                said,
                stack,
            },
        );
    }

    pub(super) fn random(&mut self, carrier: u32, stack: Arc<Stack>) {
        let (scope, _) = self.current(carrier);
        let request = self.holds(carrier, REQUEST);
        self.emit(
            carrier,
            What::Random {
                scope,
                request,
                stack,
            },
        );
    }

    pub(super) fn hand(&mut self, carrier: u32, work: Work, primitive: Primitive, brings: Brings) -> ItemKey {
        self.fresh += 16;
        let item = ItemKey(self.fresh);
        self.hand_at(carrier, item, work, primitive, brings);
        item
    }

    pub(super) fn hand_at(
        &mut self,
        carrier: u32,
        item: ItemKey,
        work: Work,
        primitive: Primitive,
        brings: Brings,
    ) {
        let (scope, _) = self.current(carrier);
        let held = self.held(carrier);
        self.emit(
            carrier,
            What::Submit {
                queue: POOL,
                item,
                work,
                primitive,
                brings,
                scope,
                held,
                stack: at("submit"),
            },
        );
    }

    /// `run_in_executor(pool, f)`.
    pub(super) fn submit(&mut self, carrier: u32) -> ItemKey {
        self.hand(carrier, Work::Item, Primitive::RunInExecutor, Brings::Nothing)
    }

    /// `asyncio.to_thread(f)`.
    pub(super) fn hand_to_thread(&mut self, carrier: u32) -> (ItemKey, Scope) {
        let scope = self.copy_context(carrier);
        (
            self.hand(carrier, Work::Item, Primitive::ToThread, Brings::Scope(scope)),
            scope,
        )
    }

    /// A thread that an executor starts as a worker, up to its first wait.
    pub(super) fn worker(&mut self, carrier: u32) {
        self.start(LOOP, carrier, true);
        self.idle(carrier);
    }

    pub(super) fn start(&mut self, parent: u32, carrier: u32, pool: bool) {
        self.start_for(parent, carrier, Work::Thread { pool });
    }

    pub(super) fn start_for(&mut self, parent: u32, carrier: u32, work: Work) {
        self.hand(parent, work, Primitive::Thread, Brings::Nothing);
        self.threads.insert(carrier, Thread::default());
        self.emit(
            carrier,
            What::Begin {
                parent: Carrier(parent),
            },
        );
    }

    pub(super) fn idle(&mut self, carrier: u32) -> u64 {
        self.idle_at(carrier, POOL)
    }

    pub(super) fn idle_at(&mut self, carrier: u32, queue: QueueKey) -> u64 {
        let (scope, _) = self.current(carrier);
        let held = self.held(carrier);
        self.emit(carrier, What::Idle { queue, scope, held })
    }

    pub(super) fn take(&mut self, carrier: u32, item: ItemKey) {
        self.take_at(carrier, item, POOL);
    }

    pub(super) fn take_at(&mut self, carrier: u32, item: ItemKey, queue: QueueKey) {
        let (scope, _) = self.current(carrier);
        let held = self.held(carrier);
        self.emit(
            carrier,
            What::Take {
                item,
                queue,
                scope,
                held,
            },
        );
    }

    pub(super) fn existing(&mut self, carrier: u32, doing: Doing) {
        let (scope, _) = self.current(carrier);
        let held = self.held(carrier);
        self.emit(carrier, What::Existing { doing, scope, held });
    }

    /// A thread lives in a copy of its parent's context (3.14 with `thread_inherit_context`).
    pub(super) fn inherit(&mut self, parent: u32, carrier: u32) {
        let copy = self.copy_context(parent);
        self.thread(carrier).base = copy.0;
    }

    /// What a carrier holds from before the attach.
    pub(super) fn plant(&mut self, carrier: u32, value: &str) {
        let base = self.new_scope(vec![Some(text(value))]);
        self.thread(carrier).base = base;
    }

    /// A task is created, in a copy of the loop's current context.
    pub(super) fn spawn(&mut self, site: &str) -> Scope {
        let (scope, entered) = self.current(LOOP);
        let copy = self.copy_context(LOOP);
        let task = TaskKey(copy.0 + 8);
        let spawn = What::Spawn {
            task,
            scope,
            entered,
            stack: at(site),
        };
        self.emit(LOOP, spawn);
        self.emit(LOOP, What::TaskScope { task, scope: copy });
        copy
    }

    /// A future gets its result in the loop's current context.
    pub(super) fn complete(&mut self, conveys: Conveys) -> FutureKey {
        self.fresh += 16;
        let future = FutureKey(self.fresh);
        let (scope, _) = self.current(LOOP);
        self.emit(
            LOOP,
            What::Complete {
                future,
                scope,
                conveys,
            },
        );
        future
    }

    /// The loop goes on with a task that waited for this.
    pub(super) fn wake(&mut self, future: FutureKey, scope: Scope) {
        self.emit(LOOP, What::Wake { future, scope });
        self.enter(LOOP, scope);
    }

    pub(super) fn exit(&mut self) {
        self.emit(LOOP, What::Exit { detached: false });
    }

    pub(super) fn facts(&self) -> Vec<FactKind> {
        judge(&self.events, self.settings.clone())
            .into_iter()
            .map(|f| f.what)
            .collect()
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        findings(&self.events, self.settings.clone())
    }

    /// Says that the findings are exactly these.
    pub(super) fn expect(&self, expected: &[Expected]) {
        let mut findings = self.findings();
        for (n, expected) in expected.iter().enumerate() {
            let Some(at) = findings.iter().position(|f| expected.matches(f)) else {
                panic!("finding {n} is missing: {expected:?}\nthere are: {findings:#?}");
            };
            findings.remove(at);
        }
        assert!(findings.is_empty(), "found besides: {findings:#?}");
    }

    pub(super) fn expect_nothing(&self) {
        self.expect(&[]);
    }

    pub(super) fn says(&self, fact: &FactKind) -> usize {
        self.facts().iter().filter(|f| *f == fact).count()
    }
}

pub(super) fn judge(events: &[Event], settings: Settings) -> Vec<Fact> {
    let again = settings.clone();
    let mut engine = Engine::new(settings);
    let mut facts = Vec::new();
    for event in events {
        engine.apply(event, &mut facts);
    }
    engine.finish(&mut facts);
    recorded::is_judged_alike(events, &again, &facts, false);
    if again.bounds == Settings::default().bounds {
        agreed::changes_nothing(events, &again);
    }
    facts
}

pub(super) fn findings(events: &[Event], settings: Settings) -> Vec<Finding> {
    let facts = judge(events, settings).into_iter();
    facts
        .filter_map(|f| match f.what {
            FactKind::Finding(finding) => Some(*finding),
            _ => None,
        })
        .collect()
}
