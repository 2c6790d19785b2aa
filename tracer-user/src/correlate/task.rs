//! `unattributed_task` and `misattributed_task`: for whom a task was minted (rule 12).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    event::{Carrier, Frame, Named, Scope, Site, Stack},
    fact::{Attribution, FactKind, ReadResult},
    finding::{Evidence, Kind, Mint},
    reporter::{Now, Out, Scene},
    request::IdentityRead,
    value::Value,
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
    function: Arc<str>,
    offset: u64,
    inner: Vec<(u64, u64)>,
    opened: u64,
    /// The first read under it, as a mint.
    first_read: Option<Draw>,
    /// The last identity read under it.
    under: Option<IdentityRead>,
    draws: Vec<Draw>,
}

/// The making of one handle.
#[derive(Debug)]
struct Draw {
    now: Now,
    site: Option<Site>,
    /// The last identity read of the request before.
    before: Option<IdentityRead>,
}

/// Activations of minting functions, by carrier and address.
#[derive(Debug, Default)]
pub(super) struct Mintings(BTreeMap<(Carrier, u64), Minting>);

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

impl Mintings {
    /// Judges the activations that are over, now that the carrier shows this stack in this scope.
    pub(super) fn look(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
    ) {
        if self.0.is_empty() || stack.frames.is_empty() {
            return;
        }
        let mine = self.0.range((now.carrier, 0)..=(now.carrier, u64::MAX));
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
            if let Some(minting) = self.0.remove(&key) {
                minting.judge(scene, out);
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
        let over = self
            .0
            .iter()
            .filter(|((c, _), m)| over(*c, m.scope, m.opened))
            .map(|(key, _)| *key)
            .collect();
        self.close(scene, out, over);
    }

    /// The activation that a stack shows, if one of a minting function.
    fn activation(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
    ) -> Option<(&mut Minting, Option<Site>)> {
        let (frame, inner) = minting_frame(stack)?;
        let key = (now.carrier, frame.activation);
        let goes_on = self.0.get(&key).is_some_and(|m| {
            m.function == frame.site.function
                && (frame.offset > m.offset || (frame.offset == m.offset && inner != m.inner))
        });
        if !goes_on {
            let mut over = vec![key];
            if self.0.len() >= PENDING {
                over.extend(self.0.keys().next());
            }
            self.close(scene, out, over);
        }
        let minting = self.0.entry(key).or_insert_with(|| Minting {
            scope,
            function: Arc::clone(&frame.site.function),
            offset: frame.offset,
            inner: Vec::new(),
            opened: now.time,
            first_read: None,
            under: None,
            draws: Vec::new(),
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
        scope: Scope,
        read: &IdentityRead,
    ) {
        let stack = Arc::clone(&read.read.stack);
        if let Some((minting, site)) = self.activation(scene, out, now, scope, &stack) {
            minting.first_read.get_or_insert(Draw {
                now,
                site,
                before: None,
            });
            minting.under = Some(read.clone());
        }
    }

    /// A random id was drawn.
    pub(super) fn drawn(
        &mut self,
        scene: Scene<'_>,
        out: &mut Out<'_>,
        now: Now,
        scope: Scope,
        stack: &Stack,
        before: Option<IdentityRead>,
    ) {
        let Some((minting, site)) = self.activation(scene, out, now, scope, stack) else {
            return;
        };
        minting.draws.push(Draw { now, site, before });
        if minting.draws.len() > DRAWS {
            let draw = minting.draws.remove(0);
            let read = minting.under.clone().or(draw.before);
            judge(
                scene,
                out,
                draw.now,
                draw.site,
                None,
                Evidence::Observed,
                read.as_ref(),
            );
        }
    }

    /// What was lost may have decided: all that is pending is unknown.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        for (_, minting) in std::mem::take(&mut self.0) {
            let mints = minting.draws.len().max(usize::from(minting.first_read.is_some()));
            for _ in 0..mints {
                out.say(FactKind::Mint(Attribution::Unknown));
            }
        }
    }
}

impl Minting {
    fn judge(self, scene: Scene<'_>, out: &mut Out<'_>) {
        let mints = if self.draws.is_empty() {
            self.first_read.into_iter().collect()
        } else {
            self.draws
        };
        for draw in mints {
            let read = self.under.clone().or(draw.before);
            judge(
                scene,
                out,
                draw.now,
                draw.site,
                None,
                Evidence::Observed,
                read.as_ref(),
            );
        }
    }
}

/// Judges one mint by the read that decides.
pub(super) fn judge(
    scene: Scene<'_>,
    out: &mut Out<'_>,
    now: Now,
    site: Option<Site>,
    announced: Option<Value>,
    evidence: Evidence,
    read: Option<&IdentityRead>,
) {
    let attribution = match read.map(|r| r.result) {
        Some(ReadResult::Own) => Attribution::Attributed,
        Some(ReadResult::Empty) => Attribution::Unattributed,
        Some(ReadResult::Foreign) => Attribution::Misattributed,
        Some(ReadResult::Unreadable | ReadResult::Unjudged) | None => Attribution::Unknown,
    };
    out.say(FactKind::Mint(attribution));
    let kind = match attribution {
        Attribution::Unattributed => Kind::UnattributedTask,
        Attribution::Misattributed => Kind::MisattributedTask,
        Attribution::Attributed | Attribution::Unknown => return,
    };
    let Some(read) = read else { return };
    let mut finding = scene.finding(kind, now, read.slot, read.seq);
    finding.confidence = read.confidence;
    finding.evidence = evidence;
    finding.item = read.item;
    finding.expected.clone_from(&read.expected);
    finding.found.clone_from(&read.found);
    finding.hop.clone_from(&read.hop);
    finding.bind.clone_from(&read.bind);
    finding.read = Some(read.read.clone());
    finding.mint = Some(Mint { site, announced });
    out.say(FactKind::Finding(Box::new(finding)));
}
