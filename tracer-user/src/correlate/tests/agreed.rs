//! Reads that the kernel side only counts: whatever the engine is told, what follows is the same.
//!
//! The kernel side's rule (`tracer-ebpf/src/agree.rs`) is written down here once more, for events. Every test of the engine goes through
//! here as well, with each of its reads made three times.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::simulator::Simulator;
use crate::correlate::{
    announcement::{Announcement, Said},
    engine::Engine,
    event::{Carrier, Event, Named, Role, Scope, Slot, TargetId, What},
    fact::{Fact, FactKind, ReadResult},
    settings::Settings,
    slots::Slots,
    testing::text,
    value::Found,
};

/// Nanoseconds after which a read is told again.
const AGAIN_AFTER: u64 = 1_000_000_000;

/// What a carrier has told since anything else was told.
struct Told {
    turn: u64,
    scope: Scope,
    reads: BTreeMap<Slot, (What, u64)>,
}

/// What is known of one process.
#[derive(Default)]
struct Process {
    slots: Slots,
    announced: bool,
    turn: u64,
    carriers: BTreeMap<Carrier, Told>,
    again: BTreeMap<(Carrier, Slot), u64>,
}

/// The events that the kernel side tells of these, and how many reads it only counts.
fn told(events: &[Event], settings: &Settings) -> (Vec<Event>, u64) {
    let mut left = Vec::new();
    let mut counted = 0;
    let mut processes: BTreeMap<TargetId, Process> = BTreeMap::new();
    let whole = settings.tasks
        || settings.inventory
        || settings.wire.is_some()
        || events.iter().any(stands_under_a_name);
    for event in events {
        let Process {
            slots,
            announced,
            turn,
            carriers,
            again,
        } = processes.entry(event.target).or_default();
        *announced |= matches!(event.what, What::Announced { .. });
        if let What::Variable {
            slot,
            name,
            role,
            default,
            empty,
        } = &event.what
        {
            slots.add(*slot, name, *role, default.as_ref(), empty);
        }
        if let What::Read {
            slot,
            scope,
            found,
            call_default,
            ..
        } = &event.what
        {
            let finds =
                matches!(found, Found::Value(v) if !slots.is_nothing(*slot, v, call_default.as_ref()));
            let me = carriers.entry(event.carrier).or_insert_with(|| Told {
                turn: *turn,
                scope: *scope,
                reads: BTreeMap::new(),
            });
            if me.turn != *turn || me.scope != *scope || !finds {
                me.reads.clear();
            }
            if !(whole || *announced)
                && let Some((what, time)) = me.reads.get(slot)
                && event.time.saturating_sub(*time) <= AGAIN_AFTER
                && finds_the_same(what, &event.what)
            {
                *again.entry((event.carrier, *slot)).or_default() += 1;
                counted += 1;
                continue;
            }
            let is_identity = |slot: &Slot| slots.role(*slot) == Some(Role::Identity);
            if is_identity(slot) {
                me.reads.retain(|other, _| !is_identity(other));
            }
            *turn += 1;
            (me.turn, me.scope) = (*turn, *scope);
            if finds {
                me.reads.insert(*slot, (event.what.clone(), event.time));
            }
            settle(&mut left, again, event, |_, of| of == *slot);
        } else {
            *turn += 1;
            match event.what {
                What::Begin { .. } | What::End => {
                    settle(&mut left, again, event, |carrier, _| carrier == event.carrier);
                }
                What::Attach { .. } | What::Exit { .. } => settle(&mut left, again, event, |_, _| true),
                _ => {}
            }
        }
        left.push(event.clone());
    }
    if let Some(last) = events.last() {
        for (target, process) in &mut processes {
            let end = Event {
                target: *target,
                what: What::End,
                ..last.clone()
            };
            settle(&mut left, &mut process.again, &end, |_, _| true);
        }
    }
    (left, counted)
}

/// Tells what was counted of these, before `event`.
fn settle(
    left: &mut Vec<Event>,
    again: &mut BTreeMap<(Carrier, Slot), u64>,
    event: &Event,
    of: impl Fn(Carrier, Slot) -> bool,
) {
    let is_read = matches!(event.what, What::Read { .. });
    again.retain(|(carrier, slot), times| {
        let is_told = of(*carrier, *slot) && (!is_read || *carrier == event.carrier);
        if is_told {
            left.push(Event {
                carrier: *carrier,
                what: What::Agreed {
                    slot: *slot,
                    times: *times,
                },
                ..event.clone()
            });
        }
        !is_told
    });
}

fn stands_under_a_name(event: &Event) -> bool {
    event.what.clone().stack_mut().is_some_and(|stack| {
        [Named::Mint, Named::Policy]
            .iter()
            .any(|named| stack.outermost(*named).is_some())
    })
}

/// Whether two reads differ in nothing but where they were made.
fn finds_the_same(told: &What, now: &What) -> bool {
    let (mut told, mut now) = (told.clone(), now.clone());
    if let (Some(told), Some(now)) = (told.stack_mut(), now.stack_mut()) {
        *told = Arc::clone(now);
    }
    told == now
}

/// What follows from events: how reads were judged, and all else.
fn judge(events: &[Event], settings: &Settings) -> (BTreeMap<(Slot, ReadResult), u64>, Vec<Fact>) {
    let mut engine = Engine::new(settings.clone());
    let mut facts = Vec::new();
    for event in events {
        engine.apply(event, &mut facts);
    }
    engine.finish(&mut facts);
    let mut reads = BTreeMap::new();
    facts.retain_mut(|fact| match &mut fact.what {
        FactKind::Read(slot, result, times) => {
            *reads.entry((*slot, *result)).or_default() += *times;
            false
        }
        // One for every foreign read that is told.
        FactKind::BleedAge(_) => false,
        FactKind::Finding(finding) if finding.mint.as_ref().is_some_and(|mint| mint.announced.is_some()) => {
            // Before the first announcement, what decided may have been counted: the same read, made sooner.
            finding.read = None;
            finding.bind = None;
            true
        }
        _ => true,
    });
    (reads, facts)
}

/// Every read made three times.
fn thrice(events: &[Event]) -> Vec<Event> {
    let mut all = Vec::new();
    for event in events {
        let is_read = matches!(event.what, What::Read { .. });
        all.extend((0..if is_read { 3 } else { 1 }).map(|later| Event {
            time: event.time + later,
            ..event.clone()
        }));
    }
    all
}

/// What the kernel side tells if every read is made three times.
pub(in crate::correlate) fn told_of_three(events: &[Event], settings: &Settings) -> Vec<Event> {
    told(&thrice(events), settings).0
}

/// Every read made three times: what follows is the same if the kernel side counts what it may. Returns how many it counts.
///
/// As long as nothing is forgotten, that is: what goes first is what was not told of for longest.
#[track_caller]
pub(in crate::correlate) fn changes_nothing(events: &[Event], settings: &Settings) -> u64 {
    let all = thrice(events);
    let (few, counted) = told(&all, settings);
    let ((reads, facts), (few_reads, few_facts)) = (judge(&all, settings), judge(&few, settings));
    assert_eq!(reads, few_reads);
    for (at, (fact, of_few)) in facts.iter().zip(&few_facts).enumerate() {
        assert_eq!(fact, of_few, "fact {at}");
    }
    assert_eq!(facts.len(), few_facts.len());
    counted
}

const DIGEST: Slot = Slot(2);
const PRINCIPAL: Slot = Slot(3);

/// A program of the simulator that mints nothing, in which some reads are followed by reads of other variables, and some announce.
fn woven(steps: &[(u8, u8, u8)], more: &[(u8, Index)]) -> (Vec<Event>, Settings) {
    let simulated = Simulator::run(steps).world;
    let mut events = simulated.events;
    events.retain(|event| !stands_under_a_name(event));
    let introduced = events
        .iter()
        .rposition(|event| matches!(event.what, What::Variable { .. }))
        .expect("variables are introduced");
    for (slot, name, role) in [
        (DIGEST, "digest", Role::Digest),
        (PRINCIPAL, "principal", Role::Identity),
    ] {
        let what = What::Variable {
            slot,
            name: Arc::from(name),
            role,
            default: None,
            empty: Arc::default(),
        };
        let event = Event {
            what,
            ..events[introduced].clone()
        };
        events.insert(introduced + 1 + usize::from(slot == PRINCIPAL), event);
    }
    for (choice, at) in more {
        let at = at.index(events.len());
        let event = events[at].clone();
        let What::Read {
            scope,
            entered,
            ref found,
            ref request,
            ref stack,
            ..
        } = event.what
        else {
            continue;
        };
        let announces = |said| What::Announced {
            scope,
            entered,
            request: request.clone(),
            said,
            stack: Arc::clone(stack),
        };
        let reads = |slot, value| What::Read {
            slot,
            scope,
            entered,
            found: Found::Value(text(value)),
            call_default: None,
            request: request.clone(),
            stack: Arc::clone(stack),
        };
        let task = text("task");
        let whats = match choice % 16 {
            0 => vec![announces(Announcement::TaskMinted {
                task,
                owner: Said::Nothing,
            })],
            1 => vec![announces(Announcement::TaskMinted {
                task,
                owner: Said::Is(text(&format!("r{}", choice / 16))),
            })],
            2 => vec![announces(Announcement::PolicyCheck {
                principal: Said::Empty,
            })],
            3..8 => vec![reads(PRINCIPAL, "bob"), event.what.clone()],
            8..12 if matches!(found, Found::Value(_)) => vec![reads(DIGEST, "sha256:1"), event.what.clone()],
            _ => vec![event.what.clone()],
        };
        for (n, what) in whats.into_iter().enumerate() {
            let event = Event {
                what,
                ..event.clone()
            };
            events.insert(at + 1 + n, event);
        }
    }
    (events, simulated.settings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_only_counted_changes_nothing(
        steps in vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..150),
        more in vec((any::<u8>(), any::<Index>()), 0..40),
    ) {
        let (events, settings) = woven(&steps, &more);
        changes_nothing(&events, &settings);
    }
}

#[test]
fn two_reads_in_three_are_only_counted() {
    let reads = |events: &[Event]| {
        let is_read = |event: &&Event| matches!(event.what, What::Read { .. });
        events.iter().filter(is_read).count() as u64
    };
    let steps: Vec<_> = (0..=255_u8).map(|n| (n, n.wrapping_mul(31), n / 3)).collect();
    let (events, settings) = woven(&steps, &[]);
    let (counted, reads) = (changes_nothing(&events, &settings), reads(&events));
    assert!(
        reads > 20 && counted > reads,
        "{counted} repetitions of {reads} reads were counted"
    );
}
