//! The inventory of handoff sites: what comes along at each, what the work reads and binds there, and whose identity that is.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use super::{finding::Site, life::Life, privacy::clean};
use crate::correlate::{
    event::{self, Primitive},
    fact::{Carried, FactKind, HopFact, HopWhat, LifeWhat, Place, ReadResult},
    finding::{Finding, Kind, names},
    ledger::PollOutcome,
    life,
};

/// Sites that are kept. A program has a few dozen; one that makes code as it runs must not fill our memory.
const MAX_SITES: usize = 10_000;

/// How dangerous a site is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// Work read another request's identity there.
    Bleeds,
    /// Work left an identity behind in a pool's thread.
    Squats,
    /// Work missed its request's identity, or what it bound was missed afterwards.
    Loses,
    /// Nothing comes along; nobody has missed it yet.
    Exposed,
    /// It cannot be known what comes along.
    Unknown,
    /// The context comes along.
    Carries,
}

/// Whose identity the work gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gets {
    /// That of the request that it works for.
    Own,
    /// That of another request.
    Foreign,
    /// That of the request that started its thread.
    Inherited,
    /// None.
    Nobody,
    /// That is not known.
    Unknown,
}

/// Who gets what the work binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reaches {
    /// The next request that runs on the thread.
    NextRequest,
    /// Whoever submitted the work.
    Submitter,
    /// Nobody: it ends with the work.
    Nobody,
}

names!(Danger {
    Bleeds => "bleeds",
    Squats => "squats",
    Loses => "loses",
    Exposed => "exposed",
    Unknown => "unknown",
    Carries => "carries",
});
names!(Gets { Own => "own", Foreign => "foreign", Inherited => "inherited", Nobody => "nobody", Unknown => "unknown" });
names!(Reaches { NextRequest => "next_request", Submitter => "submitter", Nobody => "nobody" });

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: Arc<str>,
    primitive: Primitive,
    site: Option<event::Site>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    taken: u64,
    data: u64,
    carried: BTreeMap<Carried, u64>,
    reads: BTreeMap<Arc<str>, BTreeMap<ReadResult, u64>>,
    binds: BTreeMap<Arc<str>, BTreeMap<Place, u64>>,
    findings: BTreeMap<Kind, u64>,
}

/// What became of tasks that came about in one way.
#[derive(Clone, Debug, Default)]
struct Tasks {
    minted: u64,
    polls: BTreeMap<PollOutcome, u64>,
}

/// A way in which tasks come about, as it leaves the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The service.
    pub service: String,
    /// The way.
    pub life: Life,
    /// Tasks that came about so.
    pub count: u64,
    /// Requests for them, by how these were answered.
    pub polls: BTreeMap<&'static str, u64>,
}

/// All sites.
#[derive(Clone, Debug, Default)]
pub struct Hops {
    rows: BTreeMap<Key, Row>,
    tasks: BTreeMap<(Arc<str>, life::Life), Tasks>,
    /// What happened at sites beyond those that are kept.
    overflow: u64,
}

/// One site of one service, as it leaves the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The service.
    pub service: String,
    /// Where; none when the handoff was not seen.
    pub site: Option<Site>,
    /// How.
    pub primitive: &'static str,
    /// How dangerous.
    pub danger: &'static str,
    /// Times that work was handed over and taken.
    pub count: u64,
    /// Times that something was put into a queue that is no work.
    pub data: u64,
    /// What the worker carried when it took it.
    pub carried: BTreeMap<&'static str, u64>,
    /// Reads by slot and result.
    pub reads: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Binds by slot and place.
    pub binds: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Findings by kind.
    pub findings: BTreeMap<&'static str, u64>,
    /// Whose identity the work gets there.
    pub gets: Vec<&'static str>,
    /// Who gets what it binds.
    pub binds_reach: Vec<&'static str>,
}

impl Hops {
    /// Takes a fact of a service. `name` tells the names of its slots.
    pub fn fold(&mut self, service: &Arc<str>, fact: &FactKind, name: impl Fn(event::Slot) -> Arc<str>) {
        match fact {
            FactKind::Hop(fact) => {
                let HopFact {
                    primitive,
                    site,
                    what,
                } = &**fact;
                let Some(row) = self.row(service, *primitive, site.as_ref()) else {
                    return;
                };
                match *what {
                    HopWhat::Taken(carried) => {
                        row.taken += 1;
                        *row.carried.entry(carried).or_default() += 1;
                    }
                    HopWhat::Read(slot, result) => {
                        *row.reads
                            .entry(name(slot))
                            .or_default()
                            .entry(result)
                            .or_default() += 1;
                    }
                    HopWhat::Bound(slot, place) => {
                        *row.binds.entry(name(slot)).or_default().entry(place).or_default() += 1;
                    }
                    HopWhat::Data => row.data += 1,
                }
            }
            FactKind::Finding(finding) => self.finding(service, finding),
            FactKind::Life(fact) => {
                let key = (Arc::clone(service), fact.life.clone());
                if self.tasks.len() >= MAX_SITES && !self.tasks.contains_key(&key) {
                    self.overflow += 1;
                    return;
                }
                let tasks = self.tasks.entry(key).or_default();
                match fact.what {
                    LifeWhat::Minted => tasks.minted += 1,
                    LifeWhat::Polled(outcome) => *tasks.polls.entry(outcome).or_default() += 1,
                }
            }
            _ => {}
        }
    }

    fn finding(&mut self, service: &Arc<str>, finding: &Finding) {
        let Some(hop) = &finding.hop else { return };
        if let Some(row) = self.row(service, hop.primitive, hop.site.as_ref()) {
            *row.findings.entry(finding.kind).or_default() += 1;
        }
    }

    fn row(
        &mut self,
        service: &Arc<str>,
        primitive: Primitive,
        site: Option<&event::Site>,
    ) -> Option<&mut Row> {
        let key = Key {
            service: Arc::clone(service),
            primitive,
            site: site.cloned(),
        };
        if self.rows.len() >= MAX_SITES && !self.rows.contains_key(&key) {
            self.overflow += 1;
            return None;
        }
        Some(self.rows.entry(key).or_default())
    }

    /// What happened at sites beyond those that are kept.
    pub const fn overflow(&self) -> u64 {
        self.overflow
    }

    /// One line for each way in which tasks come about, the most usual first.
    pub fn tasks(&self) -> Vec<TaskLine> {
        let line = |((service, life), tasks): (&(Arc<str>, life::Life), &Tasks)| TaskLine {
            kind: "task",
            service: clean(service),
            life: Life::from(life),
            count: tasks.minted,
            polls: tasks
                .polls
                .iter()
                .map(|(outcome, count)| (outcome.name(), *count))
                .collect(),
        };
        let mut lines: Vec<_> = self.tasks.iter().map(line).collect();
        lines.sort_by_key(|line| Reverse(line.count));
        lines
    }

    /// One line for each site, the most dangerous first, then by how often it hands over.
    pub fn lines(&self) -> Vec<HopLine> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|(key, row)| (row.danger(key.primitive), key, row))
            .collect();
        rows.sort_by_key(|(danger, key, row)| (*danger, Reverse(row.taken + row.data), *key));
        rows.into_iter()
            .map(|(danger, key, row)| row.line(key, danger))
            .collect()
    }
}

impl Row {
    fn any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.findings.contains_key(kind))
    }

    fn bound(&self, place: Place) -> bool {
        self.binds.values().any(|places| places.contains_key(&place))
    }

    fn danger(&self, primitive: Primitive) -> Danger {
        let carries = |carried: Carried| self.carried.contains_key(&carried);
        if self.any(&[Kind::Bleed, Kind::MisattributedTask]) {
            Danger::Bleeds
        } else if self.any(&[Kind::Squat]) || carries(Carried::Foreign) || carries(Carried::Inherited) {
            Danger::Squats
        } else if !self.findings.is_empty() {
            Danger::Loses
        } else if self.taken == 0 || primitive == Primitive::Unknown {
            Danger::Unknown
        } else if carries(Carried::None) || carries(Carried::Own) {
            Danger::Exposed
        } else {
            Danger::Carries
        }
    }

    fn gets(&self) -> BTreeSet<Gets> {
        let of_carried = self.carried.keys().map(|carried| match carried {
            Carried::Foreign => Gets::Foreign,
            Carried::Inherited => Gets::Inherited,
            Carried::Own | Carried::Copied => Gets::Own,
            Carried::None => Gets::Nobody,
        });
        let results = self.reads.values().flat_map(BTreeMap::keys);
        let of_reads = results.map(|result| match result {
            ReadResult::Own => Gets::Own,
            ReadResult::Foreign => Gets::Foreign,
            ReadResult::Empty => Gets::Nobody,
            ReadResult::Unreadable | ReadResult::Unjudged => Gets::Unknown,
        });
        let mut gets: BTreeSet<Gets> = of_carried.chain(of_reads).collect();
        if gets.is_empty() {
            gets.insert(Gets::Unknown);
        }
        gets
    }

    fn reaches(&self, primitive: Primitive) -> BTreeSet<Reaches> {
        let mut reaches = BTreeSet::new();
        let squats = self.any(&[Kind::Squat]);
        if squats {
            reaches.insert(Reaches::NextRequest);
        }
        // asgiref binds again, where it was called from, what the work bound in its copy.
        let comes_back = primitive == Primitive::Asgiref;
        if comes_back && self.bound(Place::WorkerEntered) {
            reaches.insert(Reaches::Submitter);
        }
        if (self.bound(Place::WorkerEntered) && !comes_back)
            || self.any(&[Kind::BlackHoleReturn])
            || (self.bound(Place::WorkerBase) && !squats)
        {
            reaches.insert(Reaches::Nobody);
        }
        reaches
    }

    fn line(&self, key: &Key, danger: Danger) -> HopLine {
        HopLine {
            kind: "hop",
            service: clean(&key.service),
            site: key.site.as_ref().map(Site::from),
            primitive: key.primitive.name(),
            danger: danger.name(),
            count: self.taken,
            data: self.data,
            carried: self.carried.iter().map(|(c, n)| (c.name(), *n)).collect(),
            reads: by_slot(&self.reads, ReadResult::name),
            binds: by_slot(&self.binds, Place::name),
            findings: self.findings.iter().map(|(k, n)| (k.name(), *n)).collect(),
            gets: self.gets().into_iter().map(Gets::name).collect(),
            binds_reach: self
                .reaches(key.primitive)
                .into_iter()
                .map(Reaches::name)
                .collect(),
        }
    }
}

fn by_slot<K: Copy + Ord>(
    counts: &BTreeMap<Arc<str>, BTreeMap<K, u64>>,
    name: impl Fn(K) -> &'static str,
) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
    counts
        .iter()
        .map(|(slot, counts)| {
            let counts = counts.iter().map(|(key, count)| (name(*key), *count));
            (clean(slot), counts.collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        correlate::event::Slot,
        report::{hops_text, samples},
    };

    const TENANT: Slot = Slot(0);

    fn hop(primitive: Primitive, line: u32, what: HopWhat) -> FactKind {
        FactKind::Hop(Box::new(HopFact {
            primitive,
            site: Some(samples::site("charge", line)),
            what,
        }))
    }

    fn all(facts: &[FactKind]) -> Hops {
        let mut hops = Hops::default();
        for fact in facts {
            hops.fold(&Arc::from("shop"), fact, |_| Arc::from("tenant"));
        }
        hops
    }

    fn finding(kind: Kind, line: u32) -> FactKind {
        let mut finding = samples::finding(kind);
        let hop = finding.hop.as_mut().expect("a hop");
        hop.primitive = Primitive::RunInExecutor;
        hop.site = Some(samples::site("charge", line));
        FactKind::Finding(Box::new(finding))
    }

    #[test]
    fn the_most_dangerous_site_comes_first() {
        use Primitive::{RunInExecutor, Submit, ToThread, Unknown};
        let hops = all(&[
            hop(ToThread, 1, HopWhat::Taken(Carried::Copied)),
            hop(ToThread, 1, HopWhat::Read(TENANT, ReadResult::Own)),
            hop(Unknown, 2, HopWhat::Data),
            hop(Submit, 3, HopWhat::Taken(Carried::None)),
            hop(RunInExecutor, 4, HopWhat::Taken(Carried::None)),
            hop(RunInExecutor, 4, HopWhat::Read(TENANT, ReadResult::Empty)),
            finding(Kind::BlackHoleRead, 4),
            hop(RunInExecutor, 5, HopWhat::Taken(Carried::None)),
            hop(RunInExecutor, 5, HopWhat::Bound(TENANT, Place::WorkerBase)),
            finding(Kind::Squat, 5),
            hop(RunInExecutor, 6, HopWhat::Taken(Carried::Foreign)),
            hop(RunInExecutor, 6, HopWhat::Read(TENANT, ReadResult::Foreign)),
            finding(Kind::Bleed, 6),
        ]);
        let lines = hops.lines();
        let order: Vec<_> = lines
            .iter()
            .map(|line| (line.danger, line.site.as_ref().map_or(0, |site| site.line)))
            .collect();
        assert_eq!(
            order,
            [
                ("bleeds", 6),
                ("squats", 5),
                ("loses", 4),
                ("exposed", 3),
                ("unknown", 2),
                ("carries", 1)
            ]
        );
        assert_eq!(lines[0].gets, ["foreign"]);
        assert_eq!(lines[1].binds_reach, ["next_request"]);
        assert_eq!(lines[2].gets, ["nobody"]);
        assert_eq!(lines[4].gets, ["unknown"]);
        assert_eq!((lines[4].count, lines[4].data), (0, 1));
        assert_eq!(lines[5].gets, ["own"]);
        insta::assert_snapshot!(hops_text::block(&lines[1]), @r"
        SQUATS   charge (/srv/proxy.py:5) by run_in_executor, 1 time, in shop
          carried   none 1
          binds     tenant: worker_base 1
          runs as   nobody
          its binds stay for the next request on that thread
          findings  squat 1
        ");
        insta::assert_snapshot!(hops_text::block(&lines[4]), @r"
        UNKNOWN  charge (/srv/proxy.py:2) puts what is no work into a queue, 1 time, in shop
          runs as   nobody knows whom
        ");
    }

    #[test]
    fn what_is_bound_in_a_copy_ends_with_it() {
        let hops = all(&[
            hop(Primitive::ToThread, 1, HopWhat::Taken(Carried::Copied)),
            hop(
                Primitive::ToThread,
                1,
                HopWhat::Bound(TENANT, Place::WorkerEntered),
            ),
        ]);
        assert_eq!(hops.lines()[0].binds_reach, ["nobody"]);
        assert_eq!(hops.lines()[0].danger, "carries");
        let hops = all(&[
            hop(Primitive::Asgiref, 1, HopWhat::Taken(Carried::Copied)),
            hop(
                Primitive::Asgiref,
                1,
                HopWhat::Bound(TENANT, Place::WorkerEntered),
            ),
        ]);
        assert_eq!(hops.lines()[0].binds_reach, ["submitter"]);
    }

    #[test]
    fn sites_are_bounded() {
        let mut hops = Hops::default();
        for line in 0..MAX_SITES as u32 + 5 {
            let fact = hop(Primitive::Submit, line, HopWhat::Taken(Carried::None));
            hops.fold(&Arc::from("shop"), &fact, |_| Arc::from("tenant"));
        }
        assert_eq!((hops.lines().len(), hops.overflow()), (MAX_SITES, 5));
    }
}
