//! What happens at a site is told of the work that was handed over there, and only to who asked.

use crate::correlate::{
    event::{Brings, Primitive, Site, Work},
    fact::{Carried, FactKind, HopFact, HopWhat, Place, ReadResult},
    testing::{LOOP, TENANT, World, text},
};

/// What is told, with the function of the site.
fn told(world: &World) -> Vec<(Option<String>, Primitive, HopWhat)> {
    let site = |site: Option<Site>| site.map(|site| site.function.to_string());
    let facts = world.facts().into_iter();
    facts
        .filter_map(|fact| match fact {
            FactKind::Hop(hop) => {
                let HopFact {
                    primitive,
                    site: at,
                    what,
                } = *hop;
                Some((site(at), primitive, what))
            }
            _ => None,
        })
        .collect()
}

fn asked() -> World {
    let mut w = World::new();
    w.settings.inventory = true;
    w
}

/// A request's item that binds, reads, and leaves its bind for the next one's.
fn two_items(w: &mut World) {
    w.worker(2);
    for name in ["acme", "globex"] {
        w.request();
        w.bind(LOOP, TENANT, text(name), "handler");
        w.read(LOOP, "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker");
        w.bind(2, TENANT, text(name), "worker");
        w.idle(2);
        w.leave(LOOP);
    }
}

#[test]
fn nothing_is_told_to_who_did_not_ask() {
    let mut w = World::new();
    two_items(&mut w);
    assert!(told(&w).is_empty());
}

#[test]
fn each_item_is_told_at_its_site() {
    let mut w = asked();
    two_items(&mut w);
    let what: Vec<HopWhat> = told(&w).iter().map(|(_, _, what)| *what).collect();
    assert_eq!(
        what,
        [
            HopWhat::Taken(Carried::None),
            HopWhat::Read(TENANT, ReadResult::Empty),
            HopWhat::Bound(TENANT, Place::WorkerBase),
            HopWhat::Taken(Carried::Foreign),
            HopWhat::Read(TENANT, ReadResult::Foreign),
            HopWhat::Bound(TENANT, Place::WorkerBase),
        ]
    );
    assert!(
        told(&w)
            .iter()
            .all(|(site, primitive, _)| site.is_some() && *primitive == Primitive::RunInExecutor)
    );
}

#[test]
fn a_thread_is_told_unless_it_turns_out_a_worker() {
    let mut bare = asked();
    bare.start(LOOP, 2, false);
    bare.read(2, "thread");
    assert_eq!(
        told(&bare).iter().map(|(_, _, what)| *what).collect::<Vec<_>>(),
        [
            HopWhat::Taken(Carried::None),
            HopWhat::Read(TENANT, ReadResult::Empty)
        ]
    );
    let mut worker = asked();
    worker.start(LOOP, 2, false);
    worker.idle(2);
    assert!(told(&worker).is_empty());
}

#[test]
fn data_is_told_where_it_is_put() {
    let mut w = asked();
    w.hand(LOOP, Work::Data, Primitive::Unknown, Brings::Nothing);
    assert_eq!(
        told(&w).iter().map(|(_, _, what)| *what).collect::<Vec<_>>(),
        [HopWhat::Data]
    );
}
