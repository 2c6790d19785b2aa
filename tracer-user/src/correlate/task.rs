//! `unattributed_task` and `misattributed_task`: for whom a task was minted (rule 12).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    called::{Call, Calls},
    event::{Carrier, Frame, Named, Scope, Site, Slot, Stack},
    fact::{Attribution, FactKind, ReadResult},
    finding::{Confidence, Evidence, Finding, Kind, Mint},
    life::Life,
    reporter::{Now, Out, Scene},
    request::{IdentityRead, Keys},
    value::{Sameness, Value},
};

/// Activations of minting functions that are waited for; beyond, the first one is judged early.
const PENDING: usize = 1024;
/// Random ids that one activation may draw before the oldest is judged early.
const DRAWS: usize = 64;
/// Nanoseconds after which an activation is judged by what was seen.
pub(super) const PATIENCE: u64 = 1_000_000_000;

/// An activation of a minting function.
#[derive(Debug)]
struct Minting {
    scope: Scope,
    /// The request that it is part of, if that is known.
    request: Option<Keys>,
    function: Arc<str>,
    offset: u64,
    inner: Vec<(u64, u64)>,
    opened: u64,
    /// What was seen of it first, as a mint.
    first_seen: Option<Draw>,
    /// The last identity read under it.
    under: Option<Arc<IdentityRead>>,
    draws: Vec<Draw>,
    /// The last draw was of a piece of an id.
    in_pieces: bool,
}

/// The making of one handle.
#[derive(Debug)]
pub(super) struct Draw {
    pub(super) now: Now,
    pub(super) site: Option<Site>,
    pub(super) before: Before,
}

/// What a request had read before a mint.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// Its last identity read.
    pub(super) read: Option<Arc<IdentityRead>>,
    /// A later one on a thread that may yet turn out to be no part of the request.
    pub(super) undecided: Option<(Carrier, Arc<IdentityRead>)>,
    /// The request, if it is known.
    pub(super) request: Option<Keys>,
}

/// A mint, and what decides whose it is.
#[derive(Debug)]
pub(super) struct MintEvent {
    pub(super) now: Now,
    pub(super) site: Option<Site>,
    pub(super) announced: Option<Value>,
    /// Whose the program says that it is.
    pub(super) owner: Option<Owner>,
    pub(super) evidence: Evidence,
    pub(super) before: Before,
}

/// Whose a task is, as the program says.
#[derive(Debug)]
pub(super) enum Owner {
    Nobody,
    Somebody {
        value: Box<Value>,
        /// Variables whose values this is one of: only there another one is somebody else.
        goes_by: Vec<Slot>,
        /// Whom the request is for, as far as that is known.
        asks: Option<Box<(Slot, Value)>>,
    },
}

/// Who has seen a mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// The wire.
    Wire,
    /// A function that is configured, or the program itself.
    Program,
}

/// Mints that are not judged yet.
#[derive(Debug)]
pub(super) struct Mintings {
    /// Activations of minting functions, by carrier and address.
    active: BTreeMap<(Carrier, u64), Minting>,
    /// Calls of `async` minting functions that were not seen at work yet.
    called: Calls,
    /// Mints that depend on what a thread turns out to be.
    waiting: Vec<MintEvent>,
    /// Where the wire is read, too: mints that one of the two witnesses has told and the other has not, the oldest first.
    told_once: Option<VecDeque<(Keys, Teller)>>,
}

/// The outermost minting frame of a stack, with what runs inside of it.
fn minting_frame(stack: &Stack) -> Option<(&Frame, Vec<(u64, u64)>)> {
    let frame = stack.outermost(Named::Mint)?;
    let inner = stack
        .frames
        .iter()
        .take_while(|f| !std::ptr::eq(*f, frame))
        .map(|f| (f.activation, f.offset));
    Some((frame, inner.collect()))
}

/// Whether a draw under a minting frame is one of many that make an id: a number below a bound, which is drawn again while it is not, and
/// a fraction, as `secrets.choice` and `SystemRandom.choices` take for each character (Lib/random.py, 3.8 to 3.15).
fn draws_a_piece(stack: &Stack, minting: &Frame) -> bool {
    stack
        .frames
        .iter()
        .take_while(|frame| !std::ptr::eq(*frame, minting))
        .any(|frame| {
            let name = frame.site.function.rsplit('.').next();
            name == Some("_randbelow_with_getrandbits")
                || (name == Some("random") && frame.site.file.ends_with("random.py"))
        })
}

impl Mintings {
    /// `wire` says that the wire is read, too.
    pub(super) fn new(wire: bool) -> Self {
        Self {
            active: BTreeMap::new(),
            called: Calls::default(),
            waiting: Vec::new(),
            told_once: wire.then(VecDeque::new),
        }
    }

    /// The wire shows a mint of this request. Whether it was told already.
    pub(super) fn seen_on_wire(&mut self, scene: Scene<'_>, out: &mut Out<'_>, before: &Before) -> bool {
        let Some(request) = &before.request else {
            return false;
        };
        // The handle is there: whatever minted it is over.
        let mut over: Vec<_> = self
            .active
            .iter()
            .filter(|(_, minting)| minting.request.as_ref().is_some_and(|of| of.agree(request)))
            .map(|(key, _)| *key)
            .collect();
        over.truncate(1);
        if over.is_empty()
            && let Some(call) = self.called.of_request(request)
        {
            self.judge(scene, out, call.event());
        }
        self.close(scene, out, over);
        self.told_by(Some(request), Teller::Wire)
    }

    /// One of the witnesses sees a mint of a request. Whether the other one has told it.
    fn told_by(&mut self, request: Option<&Keys>, teller: Teller) -> bool {
        let (Some(told), Some(request)) = (&mut self.told_once, request) else {
            return false;
        };
        let by_other = |(keys, by): &(Keys, Teller)| *by != teller && keys.agree(request);
        if let Some(place) = told.iter().position(by_other) {
            told.remove(place);
            return true;
        }
        told.push_back((request.clone(), teller));
        if told.len() > PENDING {
            told.pop_front();
        }
        false
    }

    /// Judges the activations that are over, now that the carrier shows this stack in this scope.
    pub(super) fn look(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
    ) {
        if self.active.is_empty() || stack.frames.is_empty() {
            return;
        }
        let mine = self.active.range((now.carrier, 0)..=(now.carrier, u64::MAX));
        let over: Vec<_> = mine
            .filter(|((_, activation), m)| {
                m.scope == scope && !stack.frames.iter().any(|f| f.activation == *activation)
            })
            .map(|(key, _)| *key)
            .collect();
        self.close(scene, out, over);
    }

    fn close(&mut self, scene: Scene<'_>, out: &mut Out<'_>, over: Vec<(Carrier, u64)>) {
        for key in over {
            if let Some(minting) = self.active.remove(&key) {
                for event in minting.mints() {
                    self.judge(scene, out, event);
                }
            }
        }
    }

    /// Judges what this condition holds for.
    pub(super) fn close_if(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        over: impl Fn(Carrier, Scope, u64) -> bool,
    ) {
        let calls = self.called.over(&over);
        let over = self
            .active
            .iter()
            .filter(|((c, _), m)| over(*c, m.scope, m.opened))
            .map(|(key, _)| *key)
            .collect();
        self.close(scene, out, over);
        for call in calls {
            self.judge(scene, out, call.event());
        }
    }

    /// The activation that a stack shows, if one of a minting function.
    fn activation(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        (scope, request): (Scope, Option<Keys>),
        stack: &Stack,
    ) -> Option<(&mut Minting, Option<Site>)> {
        let (frame, inner) = minting_frame(stack)?;
        let key = (now.carrier, frame.activation);
        let goes_on = self.active.get(&key).is_some_and(|m| {
            m.function == frame.site.function
                && (frame.offset > m.offset || (frame.offset == m.offset && inner != m.inner))
        });
        if !goes_on {
            let mut over = vec![key];
            if self.active.len() >= PENDING {
                over.extend(self.active.keys().next());
            }
            self.close(scene, out, over);
            self.called
                .works(now.carrier, (scope, request.as_ref()), &frame.site.function);
        }
        let minting = self.active.entry(key).or_insert_with(|| Minting {
            scope,
            request,
            function: Arc::clone(&frame.site.function),
            offset: frame.offset,
            inner: Vec::new(),
            opened: now.time,
            first_seen: None,
            under: None,
            draws: Vec::new(),
            in_pieces: false,
        });
        minting.offset = frame.offset;
        minting.inner = inner;
        Some((minting, Some(frame.site.clone())))
    }

    /// An identity was read.
    pub(super) fn read(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        (scope, request): (Scope, Option<Keys>),
        read: &Arc<IdentityRead>,
    ) {
        let stack = Arc::clone(&read.read.stack);
        let asked_by = request.clone();
        if let Some((minting, site)) = self.activation(scene, out, now, (scope, request), &stack) {
            minting.first_seen.get_or_insert(Draw {
                now,
                site,
                before: Before::default(),
            });
            minting.under = Some(Arc::clone(read));
        } else {
            self.called.read((scope, asked_by.as_ref()), read.result);
        }
    }

    /// A coroutine was made of a minting function.
    pub(super) fn called(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
        before: Before,
    ) {
        let Some((frame, inner)) = minting_frame(stack) else {
            return;
        };
        let request = before.request.clone();
        if inner.is_empty() {
            let call = Call {
                scope,
                request,
                function: Arc::clone(&frame.site.function),
                draw: Draw {
                    now,
                    site: Some(frame.site.clone()),
                    before,
                },
                contradicted: false,
            };
            if let Some(early) = self.called.add(call) {
                self.judge(scene, out, early.event());
            }
        } else if let Some((minting, site)) = self.activation(scene, out, now, (scope, request), stack) {
            // It is called by another minting function, which is at work.
            minting.first_seen.get_or_insert(Draw { now, site, before });
        }
    }

    /// Whether what is drawn is one more piece of the id that was drawn from last: in the same place, for the same request.
    pub(super) fn goes_on_drawing(
        &self,
        now: Now,
        (scope, request): (Scope, Option<&Keys>),
        stack: &Stack,
    ) -> bool {
        let Some((frame, _)) = minting_frame(stack) else {
            return false;
        };
        let last = self.active.get(&(now.carrier, frame.activation));
        draws_a_piece(stack, frame)
            && last.is_some_and(|m| {
                let of_one_request = match (&m.request, request) {
                    (Some(one), Some(other)) => one.agree(other),
                    (one, other) => one.is_none() && other.is_none(),
                };
                m.in_pieces
                    && of_one_request
                    && m.scope == scope
                    && m.function == frame.site.function
                    && m.offset == frame.offset
            })
    }

    /// A random id was drawn.
    pub(super) fn drawn(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
        before: Before,
    ) {
        let request = before.request.clone();
        let Some((minting, site)) = self.activation(scene, out, now, (scope, request), stack) else {
            return;
        };
        minting.in_pieces = minting_frame(stack).is_some_and(|(frame, _)| draws_a_piece(stack, frame));
        minting.draws.push(Draw { now, site, before });
        if minting.draws.len() > DRAWS {
            let request = minting.request.clone();
            let event = minting.draws.remove(0).event(minting.under.as_ref(), request);
            self.judge(scene, out, event);
        }
    }

    /// Judges a mint, or keeps it until it is known what the thread that decides is.
    pub(super) fn judge(&mut self, scene: Scene<'_>, out: &mut Out<'_>, event: MintEvent) {
        if event.before.undecided.is_some() && self.waiting.len() < PENDING {
            self.waiting.push(event);
        } else {
            self.conclude(scene, out, &event, event.before.read.as_deref());
        }
    }

    /// A thread turned out to be a pool's worker: what it read before its first item belongs to no request.
    pub(super) fn turned_out_worker(&mut self, scene: Scene<'_>, out: &mut Out<'_>, carrier: Carrier) {
        let draws = self.active.values_mut().flat_map(|minting| &mut minting.draws);
        for before in draws
            .map(|draw| &mut draw.before)
            .chain(self.called.each_before())
        {
            before.undecided.take_if(|(of, _)| *of == carrier);
        }
        for event in self.settled(|c| c == carrier) {
            self.conclude(scene, out, &event, event.before.read.as_deref());
        }
    }

    /// Judges the mints that waited for a thread that is decided by now, as part of its request.
    pub(super) fn decided(&mut self, scene: Scene<'_>, out: &mut Out<'_>, decided: impl Fn(Carrier) -> bool) {
        for event in self.settled(decided) {
            let read = event.before.undecided.as_ref().map(|(_, read)| &**read);
            self.conclude(scene, out, &event, read);
        }
    }

    /// Takes out the mints that waited for threads of which this holds.
    fn settled(&mut self, over: impl Fn(Carrier) -> bool) -> Vec<MintEvent> {
        let settled = |event: &mut MintEvent| {
            let undecided = event.before.undecided.as_ref();
            undecided.is_none_or(|(carrier, _)| over(*carrier))
        };
        self.waiting.extract_if(.., settled).collect()
    }

    /// Judges a mint, unless the wire has told it.
    fn conclude(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        event: &MintEvent,
        read: Option<&IdentityRead>,
    ) {
        if !self.told_by(event.before.request.as_ref(), Teller::Program) {
            judge(scene, out, event, read);
        }
    }

    /// What was lost may have decided: all that is pending is unknown.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        for (_, minting) in std::mem::take(&mut self.active) {
            let mints = minting.draws.len().max(usize::from(minting.first_seen.is_some()));
            for _ in 0..mints {
                out.say(FactKind::Mint(Attribution::Unknown));
            }
        }
        for _ in 0..self.waiting.drain(..).count() + self.called.clear() {
            out.say(FactKind::Mint(Attribution::Unknown));
        }
    }
}

impl Minting {
    fn mints(self) -> Vec<MintEvent> {
        let draws = if self.draws.is_empty() {
            self.first_seen.into_iter().collect()
        } else {
            self.draws
        };
        draws
            .into_iter()
            .map(|draw| draw.event(self.under.as_ref(), self.request.clone()))
            .collect()
    }
}

impl Draw {
    /// The mint, decided by a read under the minting function first.
    pub(super) fn event(self, under: Option<&Arc<IdentityRead>>, request: Option<Keys>) -> MintEvent {
        let before = match under {
            Some(read) => Before {
                read: Some(Arc::clone(read)),
                undecided: None,
                request,
            },
            None => Before {
                request,
                ..self.before
            },
        };
        MintEvent {
            now: self.now,
            site: self.site,
            announced: None,
            owner: None,
            evidence: Evidence::Observed,
            before,
        }
    }
}

/// Judges one mint by the read that decides.
fn judge(scene: Scene<'_>, out: &mut Out<'_>, event: &MintEvent, read: Option<&IdentityRead>) {
    let attribution = match &event.owner {
        Some(Owner::Nobody) => Attribution::Unattributed,
        Some(Owner::Somebody { value, goes_by, asks }) => claimed(value, goes_by, asks.as_deref(), read),
        None => match read.map(|r| r.result) {
            Some(ReadResult::Own) => Attribution::Attributed,
            Some(ReadResult::Empty) => Attribution::Unattributed,
            Some(ReadResult::Foreign) => Attribution::Misattributed,
            Some(ReadResult::Unreadable | ReadResult::Unjudged) | None => Attribution::Unknown,
        },
    };
    out.say(FactKind::Mint(attribution));
    Life::new(scene, read, event.site.as_ref(), attribution).minted(out);
    let kind = match attribution {
        Attribution::Unattributed => Kind::UnattributedTask,
        Attribution::Misattributed => Kind::MisattributedTask,
        Attribution::Attributed | Attribution::Unknown => return,
    };
    let mint = Mint {
        site: event.site.clone(),
        announced: event.announced.clone(),
        handle: None,
    };
    let foreign = read.filter(|read| read.result == ReadResult::Foreign);
    let mut finding = match (&event.owner, read) {
        (None, Some(read)) => finding_of(scene, kind, event.now, read, mint),
        (None, None) => return,
        (Some(owner), _) => said_by_program(scene, kind, event.now, owner, foreign, mint),
    };
    finding.evidence = event.evidence;
    if event.evidence == Evidence::Inferred {
        finding.confidence = Confidence::Suspected;
    }
    out.say(FactKind::Finding(Box::new(finding)));
}

/// The finding that an owner is whom the program names.
fn said_by_program(
    scene: Scene<'_>,
    kind: Kind,
    now: Now,
    owner: &Owner,
    foreign: Option<&IdentityRead>,
    mint: Mint,
) -> Finding {
    let none = scene.finding_of_none(kind, now, now.seq);
    let mut finding = match owner {
        Owner::Nobody => none,
        Owner::Somebody { value, asks, .. } => {
            let took = foreign.filter(|read| read.found.as_ref().is_some_and(|found| found.same(value)));
            let found = match (took, asks) {
                (Some(read), _) => finding_of(scene, kind, now, read, mint.clone()),
                (None, Some(known)) => scene.finding(kind, now, known.0, now.seq),
                (None, None) => none,
            };
            Finding {
                confidence: Confidence::Confirmed,
                expected: asks.as_ref().map(|known| known.1.clone()),
                found: Some((**value).clone()),
                ..found
            }
        }
    };
    finding.mint = Some(mint);
    finding
}

/// What an owner that the program names says, compared with whom the request is for and what it has read.
fn claimed(
    owner: &Value,
    goes_by: &[Slot],
    asks: Option<&(Slot, Value)>,
    read: Option<&IdentityRead>,
) -> Attribution {
    let own = asks.map(|(slot, own)| (slot, own.compare(owner)));
    let foreign = read.filter(|read| read.result == ReadResult::Foreign);
    let took = foreign.and_then(|read| read.found.as_ref());
    match own {
        Some((_, Sameness::Same)) => Attribution::Attributed,
        _ if took.is_some_and(|found| found.same(owner)) => Attribution::Misattributed,
        Some((slot, Sameness::Different)) if goes_by.contains(slot) => Attribution::Misattributed,
        // It goes by another name than what the variables hold.
        _ if read.is_some_and(|read| read.result == ReadResult::Own) => Attribution::Attributed,
        _ => Attribution::Unknown,
    }
}

/// The finding that a mint is, by the read that decides.
pub(super) fn finding_of(scene: Scene<'_>, kind: Kind, now: Now, read: &IdentityRead, mint: Mint) -> Finding {
    let mut finding = scene.finding(kind, now, read.slot, read.seq);
    finding.confidence = read.confidence;
    finding.item = read.item;
    finding.expected.clone_from(&read.expected);
    finding.found.clone_from(&read.found);
    finding.hop.clone_from(&read.hop);
    finding.source = read.source;
    finding.bind.clone_from(&read.bind);
    finding.read = Some(read.read.clone());
    finding.mint = Some(mint);
    finding
}
