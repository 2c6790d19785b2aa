//! Properties: no false finding and none missed, whatever the interleaving; no false one when events are lost.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::{
    agreed::told_of_three,
    simulator::{Simulator, Step, Truth},
};
use crate::correlate::{
    Settings,
    announcement::{Announcement, Said},
    event::{
        Brings, Carrier, Doing, Event, ItemKey, Primitive, QueueKey, Role, Scope, Slot, TargetId, What, Work,
    },
    fact::{FactKind, Table},
    finding::Finding,
    settings::Bounds,
    testing::{LOOP, at, checking, findings, judge, minting, none, object, said, text},
    value::{Found, Held},
};

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..most)
}

fn fits(truth: &Truth, finding: &Finding) -> bool {
    truth.kind == finding.kind
        && truth.times.contains(&finding.time)
        && truth.expected.as_ref().is_none_or(|prefix| {
            finding
                .expected
                .as_ref()
                .is_some_and(|value| said(value).starts_with(prefix.as_str()))
        })
}

/// Removes each finding's truth; fails on a finding that has none.
fn false_findings(found: &[Finding], truths: &mut Vec<Truth>) -> Result<(), TestCaseError> {
    for finding in found {
        let Some(n) = truths.iter().position(|t| fits(t, finding)) else {
            return Err(TestCaseError::fail(format!(
                "is not so, or said twice: {finding:#?}"
            )));
        };
        truths.remove(n);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn finds_all_and_nothing_else(steps in steps(150)) {
        let sim = Simulator::run(&steps);
        let mut truths = sim.truths.clone();
        false_findings(&sim.world.findings(), &mut truths)?;
        prop_assert!(truths.is_empty(), "missed: {truths:?}");
    }

    #[test]
    fn finds_nothing_false_when_events_are_lost(
        steps in steps(150),
        losses in vec((any::<prop::sample::Index>(), 1_usize..12), 1..12),
    ) {
        let sim = Simulator::run(&steps);
        let all = &sim.world.events;
        let mut lost = vec![false; all.len()];
        for (at, many) in losses {
            let at = at.index(all.len());
            for (event, lost) in all.iter().zip(&mut lost).skip(at).take(many) {
                *lost = !matches!(event.what, What::Attach { .. } | What::Variable { .. });
            }
        }
        let mut left = Vec::new();
        let mut missing = 0;
        for (event, lost) in all.iter().zip(lost) {
            if lost {
                missing += 1;
                continue;
            }
            if missing > 0 {
                left.push(Event { carrier: Carrier(LOOP), what: What::Gap { lost: missing }, ..event.clone() });
                missing = 0;
            }
            left.push(event.clone());
        }
        // At the end of a run the kernel side's own counters tell what no later event can.
        if let (true, Some(last)) = (missing > 0, all.last()) {
            left.push(Event { carrier: Carrier(LOOP), what: What::Gap { lost: missing }, ..last.clone() });
        }
        let mut truths = sim.truths.clone();
        false_findings(&findings(&left, Settings::default()), &mut truths)?;
    }

    #[test]
    fn forgetting_invents_nothing(steps in steps(200)) {
        let sim = Simulator::run(&steps);
        let bounds = Bounds { carriers: 3, submits: 2, returns: 2, requests: 2 };
        let settings = Settings { bounds, ..Settings::default() };
        for events in [told_of_three(&sim.world.events, &settings), sim.world.events] {
            for fact in judge(&events, settings.clone()) {
                if let FactKind::Entries(table, many) = fact.what {
                    let bound = match table {
                        Table::Submits => 4,
                        Table::Carriers => 3,
                        Table::Returns | Table::Requests | Table::Scopes => 2,
                        Table::Streams | Table::OpenRequests | Table::Tasks => 0,
                    };
                    prop_assert!(many <= bound, "{table:?} has {many}");
                }
            }
            let mut truths = sim.truths.clone();
            false_findings(&findings(&events, settings.clone()), &mut truths)?;
        }
    }

    #[test]
    fn survives_anything_the_same_way_twice(events in vec(event(), 0..120)) {
        let facts = judge(&events, Settings::default());
        prop_assert_eq!(facts, judge(&events, Settings::default()));
    }
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let party = || {
        prop_oneof![
            Just(Said::Nothing),
            Just(Said::Empty),
            Just(Said::Is(text("acme")))
        ]
    };
    prop_oneof![
        party().prop_map(|owner| Announcement::TaskMinted {
            task: text("t"),
            owner
        }),
        party().prop_map(|principal| Announcement::TaskServed {
            task: text("t"),
            principal
        }),
        party().prop_map(|principal| Announcement::PolicyCheck { principal }),
        party().prop_map(|digest| Announcement::DigestPinned { digest }),
        party().prop_map(|digest| Announcement::DigestVerified {
            digest,
            task: Some(text("t"))
        }),
        Just(Announcement::Malformed),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        Just(Found::Unreadable),
        Just(Found::Unset),
        Just(Found::Value(none())),
        (0_u64..3).prop_map(|n| Found::Value(object(n))),
        (0..3).prop_map(|n| Found::Value(text(["", "acme", "globex"][n as usize]))),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    vec(found(), 0..4)
}

fn scope() -> impl Strategy<Value = Scope> {
    (0_u64..4).prop_map(Scope)
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![9 => 0_u8..3, 1 => Just(255)].prop_map(Slot)
}

fn stack() -> impl Strategy<Value = Arc<crate::correlate::event::Stack>> {
    prop_oneof![
        Just(Arc::default()),
        Just(at("f")),
        (0_u64..3, 0_u64..4).prop_map(|(activation, offset)| minting(activation, offset)),
        Just(checking()),
    ]
}

fn handed() -> impl Strategy<Value = What> {
    let work = prop_oneof![
        Just(Work::Item),
        Just(Work::Data),
        Just(Work::ContextThread),
        Just(Work::InContext),
        Just(Work::Batch),
        Just(Work::Piece),
        any::<bool>().prop_map(|pool| Work::Thread { pool }),
    ];
    let brings = prop_oneof![
        Just(Brings::Nothing),
        Just(Brings::Unknown),
        scope().prop_map(Brings::Scope)
    ];
    (0_u64..4, work, brings, scope(), held(), stack()).prop_map(|(item, work, brings, scope, held, stack)| {
        What::Submit {
            queue: QueueKey(7),
            item: ItemKey(item),
            work,
            primitive: Primitive::Submit,
            brings,
            scope,
            held,
            stack,
        }
    })
}

fn lifecycle() -> impl Strategy<Value = What> {
    let doing = prop_oneof![
        Just(Doing::UnseenItem),
        Just(Doing::Waiting),
        Just(Doing::Thread),
        Just(Doing::Loop)
    ];
    prop_oneof![
        any::<bool>().prop_map(|from_start| What::Attach { from_start }),
        (doing, scope(), held()).prop_map(|(doing, scope, held)| What::Existing { doing, scope, held }),
        (slot(), found()).prop_map(|(slot, found)| What::Variable {
            empty: Arc::default(),
            slot,
            name: Arc::from("tenant"),
            role: if slot.0 == 1 {
                Role::Request
            } else {
                Role::Identity
            },
            default: match found {
                Found::Value(value) => Some(value),
                _ => None,
            },
        }),
        (0_u32..4).prop_map(|parent| What::Begin {
            parent: Carrier(parent)
        }),
        Just(What::End),
        scope().prop_map(|scope| What::ScopeEnd { scope }),
        Just(What::Gap { lost: 1 }),
        Just(What::Exit { detached: false }),
    ]
}

fn access() -> impl Strategy<Value = What> {
    prop_oneof![
        (slot(), scope(), any::<bool>(), found(), stack()).prop_map(
            |(slot, scope, entered, found, stack)| {
                What::Read {
                    slot,
                    scope,
                    entered,
                    found,
                    call_default: None,
                    request: None,
                    stack,
                }
            }
        ),
        (slot(), scope(), any::<bool>(), found(), stack()).prop_map(
            |(slot, scope, entered, value, stack)| {
                What::Bind {
                    slot,
                    scope,
                    entered,
                    value,
                    request: None,
                    stack,
                }
            }
        ),
        (slot(), scope(), any::<bool>(), found(), stack()).prop_map(
            |(slot, scope, entered, restored, stack)| What::Unbind {
                slot,
                scope,
                entered,
                restored,
                stack
            }
        ),
        (scope(), stack()).prop_map(|(scope, stack)| What::Random {
            scope,
            request: Some(text("r")),
            stack
        }),
        (scope(), stack()).prop_map(|(scope, stack)| What::Coroutine {
            scope,
            request: Some(text("r")),
            stack
        }),
        (scope(), any::<bool>(), announcement(), stack()).prop_map(|(scope, entered, said, stack)| {
            What::Announced {
                scope,
                entered,
                request: None,
                said,
                stack,
            }
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let queue = || (0_u64..2, scope(), held());
    let idle = queue().prop_map(|(q, scope, held)| What::Idle {
        queue: QueueKey(q),
        scope,
        held,
    });
    let take = (0_u64..4, queue()).prop_map(|(item, (q, scope, held))| What::Take {
        item: ItemKey(item),
        queue: QueueKey(q),
        scope,
        held,
    });
    let what = prop_oneof![1 => lifecycle(), 2 => handed(), 2 => idle, 2 => take, 5 => access()];
    let time = prop_oneof![Just(0), 0_u64..4_000_000_000, any::<u64>()];
    (time, 0_u32..2, 0_u32..4, what).prop_map(|(time, target, carrier, what)| Event {
        time,
        target: TargetId(target),
        carrier: Carrier(carrier),
        what,
    })
}
