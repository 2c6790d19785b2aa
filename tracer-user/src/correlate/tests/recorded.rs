//! Whatever the engine is told: recorded and replayed it is judged alike, and the recording does not give a value away.
//!
//! Every test of the engine goes through here as well.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::simulator::Simulator;

use crate::{
    correlate::{
        engine::Engine,
        event::{Event, What},
        fact::{Fact, FactKind},
        sealed::Kind,
        settings::{EmptyValue, Settings},
        slots::Slots,
        testing::{LOOP, TENANT, World, none, object, text},
        value::{Content, Found, Prefix, Sameness, Value},
    },
    recording::{
        entry::{Attached, Entry, Header},
        reader::{Ending, Reader},
        seal::Sealer,
        tests::{framed, raw, written},
    },
    report::{
        clock::Clock,
        finding::{Container, ExportedFinding, Runtime, TargetInfo},
        privacy::Privacy,
    },
    wire::rules::Rules,
};

const HIDDEN: bool = false;

fn privacy(reveal: bool) -> Privacy {
    Privacy::new(reveal, [5; 32])
}

fn judge<'a>(events: impl Iterator<Item = &'a Event>, settings: Settings, served: bool) -> Vec<Fact> {
    let mut engine = Engine::new(settings);
    let mut facts = Vec::new();
    for event in events {
        if served {
            engine.serves(event.target, "service");
        }
        engine.apply(event, &mut facts);
    }
    engine.finish(&mut facts);
    facts
}

/// A fact as it leaves the agent.
fn told(facts: &[Fact], privacy: &Privacy) -> Vec<String> {
    let target = TargetInfo {
        service: "service".into(),
        pid: 1,
        runtime: Runtime::Cpython,
        version: "3.12".into(),
        container: Container::default(),
        tier: crate::config::Tier::Full,
    };
    let told = facts.iter().map(|fact| match &fact.what {
        FactKind::Finding(finding) => {
            let exported = ExportedFinding::new(finding, &target, Clock::default(), privacy);
            serde_json::to_string(&exported).unwrap()
        }
        FactKind::Life(_) => "life".to_owned(),
        what => format!("{what:?}"),
    });
    told.collect()
}

fn seal(events: &[Event], rules: Option<Rules>, reveal: bool) -> Vec<Event> {
    let mut sealer = Sealer::new(privacy(reveal), rules);
    let mut sealed = events.to_vec();
    for event in &mut sealed {
        sealer.seal(event);
    }
    sealed
}

/// Events as they are recorded.
pub(super) fn sealed_events(events: &[Event], rules: Option<Rules>) -> Vec<Event> {
    seal(events, rules, HIDDEN)
}

/// Records and replays.
fn replayed(
    events: &[Event],
    settings: &Settings,
    served: bool,
    reveal: bool,
) -> (Vec<u8>, Vec<Fact>, Vec<Fact>) {
    let sealed = seal(events, settings.wire.clone(), reveal);
    let live = judge(sealed.iter(), settings.clone(), served);
    let entries = sealed.iter().cloned().map(|event| Entry::Event(Box::new(event)));
    let entries: Vec<_> = entries.chain([Entry::End(None)]).collect();
    let bytes = written(&Header::default(), &entries);
    let (_, mut reader) = Reader::open(&bytes[..]).unwrap();
    let mut read = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if let Entry::Event(event) = entry {
            read.push(*event);
        }
    }
    assert_eq!(reader.ending(), Some(&Ending::Whole));
    assert_eq!(read, sealed);
    let elsewhere = Settings {
        wire: settings.wire.as_ref().map(|_| Rules::new(&[0; 32], &[""; 0])),
        ..settings.clone()
    };
    let facts = judge(read.iter(), elsewhere, served);
    (bytes, live, facts)
}

/// What follows from the events is what follows from their recording, here and elsewhere.
pub(in crate::correlate) fn is_judged_alike(
    events: &[Event],
    settings: &Settings,
    facts: &[Fact],
    served: bool,
) {
    for reveal in [true, HIDDEN] {
        let (_, live, replayed) = replayed(events, settings, served, reveal);
        assert_eq!(live, replayed);
        let nobodys = Privacy::new(HIDDEN, [0; 32]);
        similar(&told(facts, &privacy(reveal)), &told(&replayed, &nobodys));
    }
}

#[track_caller]
fn similar(expected: &[String], found: &[String]) {
    for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected, found, "fact {at}");
    }
    assert_eq!(expected.len(), found.len());
}

fn bytes(shown: &[u8]) -> Value {
    Value {
        content: Content::Bytes(Prefix {
            shown: shown.into(),
            len: shown.len() as u64,
            whole: true,
        }),
        ..text("")
    }
}

fn number(negative: bool, digits: &[u32]) -> Value {
    Value {
        content: Content::Int {
            negative,
            digits: Prefix {
                shown: digits.into(),
                len: digits.len() as u64,
                whole: true,
            },
        },
        ..text("")
    }
}

fn long(shown: &str, at: u64) -> Value {
    Value {
        object: at,
        content: Content::Str(Prefix {
            shown: shown.into(),
            len: 900,
            whole: false,
        }),
        ..text("")
    }
}

fn typed(name: &str, items: Option<u64>) -> Value {
    Value {
        type_name: Some(name.into()),
        items,
        ..object(8)
    }
}

fn values() -> Vec<Value> {
    vec![
        none(),
        text(""),
        text("\"\""),
        text("{}"),
        text("0"),
        text("-7"),
        text("anonymous"),
        text("acme"),
        text("<Nobody>"),
        bytes(b""),
        bytes(b"acme"),
        number(false, &[]),
        number(false, &[0]),
        number(true, &[7]),
        number(false, &[7]),
        number(false, &[5, 1]),
        long("acme", 1),
        long("acme", 2),
        object(8),
        object(9),
        typed("Nobody", None),
        typed("app.Nobody", None),
        typed("dict", Some(0)),
        typed("dict", Some(1)),
    ]
}

fn sealed(sealer: &mut Sealer, what: What) -> What {
    let mut world = World::new();
    world.emit(LOOP, what);
    let mut event = world.events.pop().unwrap();
    sealer.seal(&mut event);
    event.what
}

fn sealed_value(sealer: &mut Sealer, value: &Value) -> Value {
    let what = What::Unbind {
        slot: TENANT,
        scope: crate::correlate::event::Scope(1),
        entered: false,
        restored: Found::Value(value.clone()),
        stack: crate::correlate::testing::at("f"),
    };
    match sealed(sealer, what) {
        What::Unbind {
            restored: Found::Value(value),
            ..
        } => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sealed_values_compare_and_show_as_the_values_do() {
    let privacy = privacy(true);
    let mut sealer = Sealer::new(privacy.clone(), None);
    let nobodys = Privacy::new(HIDDEN, [0; 32]);
    let mut outcomes = [0; 3];
    for a in values() {
        let of_a = sealed_value(&mut sealer, &a);
        assert!(matches!(of_a.content, Content::Sealed(_)));
        assert_eq!(privacy.render(&a), nobodys.render(&of_a));
        assert_eq!((a.is_none(), a.is_opaque()), (of_a.is_none(), of_a.is_opaque()));
        for b in values() {
            let sameness = a.compare(&b);
            assert_eq!(
                sameness,
                of_a.compare(&sealed_value(&mut sealer, &b)),
                "{a:?} {b:?}"
            );
            outcomes[match sameness {
                Sameness::Same => 0,
                Sameness::Different => 1,
                Sameness::Unknown => 2,
            }] += 1;
        }
    }
    assert!(outcomes.iter().all(|many| *many > 0), "{outcomes:?}");
}

#[test]
fn what_counts_as_nothing_does_so_when_it_is_sealed() {
    let mut counted = 0;
    for empty in [
        "",
        "\"\"",
        "b\"\"",
        "{}",
        "[]",
        "0",
        "-7",
        "7",
        "anonymous",
        "<Nobody>",
        "1073741829",
        "x",
    ] {
        let mut sealer = Sealer::new(privacy(HIDDEN), None);
        let variable = What::Variable {
            slot: TENANT,
            name: "tenant".into(),
            role: crate::correlate::event::Role::Identity,
            default: Some(text("unset")),
            empty: Arc::new([EmptyValue(empty.into())]),
        };
        let of = |what: &What| {
            let What::Variable {
                slot,
                name,
                role,
                default,
                empty,
            } = what
            else {
                panic!("{what:?}")
            };
            let mut slots = Slots::default();
            slots.add(*slot, name, *role, default.as_ref(), empty);
            slots
        };
        let (clear, hidden) = (of(&variable), of(&sealed(&mut sealer, variable)));
        for value in values().into_iter().chain([text("unset")]) {
            let nothing = clear.is_nothing(TENANT, &value, None);
            let value_hidden = sealed_value(&mut sealer, &value);
            assert_eq!(
                nothing,
                hidden.is_nothing(TENANT, &value_hidden, None),
                "{empty} {value:?}"
            );
            counted += u32::from(nothing);
        }
    }
    assert!(counted > 30, "{counted}");
}

#[test]
fn a_recording_gives_no_value_away() {
    let mut world = World::new();
    world.bind(LOOP, TENANT, text("acme-the-tenant"), "f");
    world.read(LOOP, "f");
    let find = |bytes: &[u8]| {
        let (_, mut reader) = Reader::open(bytes).unwrap();
        let mut all = String::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            // Debug hides what is shown.
            all.push_str(&String::from_utf8_lossy(&postcard::to_stdvec(&entry).unwrap()));
        }
        all.contains("acme-the-tenant")
    };
    let settings = Settings::default();
    assert!(!find(&replayed(&world.events, &settings, false, HIDDEN).0));
    assert!(
        find(&replayed(&world.events, &settings, false, true).0),
        "revealed"
    );
    let clear = Entry::Event(Box::new(world.events.pop().unwrap()));
    assert!(
        postcard::to_stdvec(&clear).is_err(),
        "what is not sealed is not written"
    );
}

#[test]
fn processes_have_their_names_in_a_recording() {
    let attached = Entry::Attached(Box::new(Attached {
        id: crate::correlate::event::TargetId(3),
        pid: 7,
        service: "proxy".into(),
        version: "3.12".into(),
        probes: vec![("context_get".to_owned(), true), ("queue_get".to_owned(), false)],
        missing: vec!["thread_start".to_owned()],
        found: Some((1, 2, 3)),
        container: Container {
            id: Some("0123456789ab".into()),
            pod: None,
        },
    }));
    let Entry::Attached(inner) = attached.clone() else {
        panic!("just made")
    };
    let notice = (*inner).into();
    assert_eq!(Entry::of(&notice), Some(attached));
    assert_eq!(Kind::None as u8, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Its checksums are right, and nothing else.
    #[test]
    fn a_hostile_recording_is_survived(
        steps in vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..60),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let events = sealed_events(&Simulator::run(&steps).world.events, None);
        let entries: Vec<_> = events
            .into_iter()
            .map(|event| Entry::Event(Box::new(event)))
            .collect();
        let mut raw = raw(&entries);
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        let bytes = framed(&Header::default(), &[raw]);
        let (_, mut reader) = Reader::open(&bytes[..]).unwrap();
        let settings = Settings {
            tasks: true,
            inventory: true,
            wire: Some(Rules::new(&[0; 32], &[""; 0])),
            ..Settings::default()
        };
        let mut engine = Engine::new(settings);
        let mut facts = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            if let Entry::Event(event) = entry {
                engine.serves(event.target, "service");
                engine.apply(&event, &mut facts);
            }
        }
        engine.finish(&mut facts);
        let _ = told(&facts, &privacy(HIDDEN));
        let cut = matches!(reader.ending(), Some(Ending::Cut | Ending::Damaged { .. } | Ending::Whole));
        prop_assert!(cut);
    }
}
