//! The life of a task, as a person would draw it: request, handoff, read, mint, polls.

use serde::Serialize;

use super::{
    finding::{ExportedFinding, Party, Site},
    privacy::clean,
};
use crate::correlate::{event, finding::Kind, life};

/// How a task came about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Life {
    /// The handoff in which the last identity read before the mint was made.
    pub hop: Option<Handoff>,
    /// That read.
    pub read: Option<LastRead>,
    /// Where the task was minted; null where only the wire shows it.
    pub mint: Option<Site>,
    /// Whose it is.
    pub attribution: &'static str,
}

/// A handoff in a task's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Handoff {
    /// How.
    pub primitive: &'static str,
    /// Where.
    pub site: Option<Site>,
}

/// The read that decided whose a task is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LastRead {
    /// The variable.
    pub slot: String,
    /// What came of it.
    pub result: &'static str,
    /// Where.
    pub site: Option<Site>,
}

impl From<&life::Life> for Life {
    fn from(life: &life::Life) -> Self {
        let site = |site: &Option<event::Site>| site.as_ref().map(Site::from);
        Self {
            hop: life.hop.as_ref().map(|(primitive, at)| Handoff {
                primitive: primitive.name(),
                site: site(at),
            }),
            read: life.read.as_ref().map(|read| LastRead {
                slot: clean(&read.variable),
                result: read.result.name(),
                site: site(&read.site),
            }),
            mint: site(&life.mint),
            attribution: life.attribution.name(),
        }
    }
}

impl LastRead {
    fn found(&self) -> &'static str {
        match self.result {
            "own" => "its own",
            "foreign" => "somebody else's",
            "empty" => "nothing",
            _ => "what nobody can judge",
        }
    }
}

impl Life {
    /// The places that it names.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut Site> {
        let hop = self.hop.iter_mut().filter_map(|hop| hop.site.as_mut());
        let read = self.read.iter_mut().filter_map(|read| read.site.as_mut());
        hop.chain(read).chain(&mut self.mint)
    }

    /// The steps from the handoff to the mint, one a line.
    pub fn steps(&self) -> Vec<String> {
        let hop = self
            .hop
            .as_ref()
            .map(|hop| format!("{}{}", hop.primitive, at(hop.site.as_ref())));
        let read = self
            .read
            .as_ref()
            .map(|read| format!("read {}: {}{}", read.slot, read.found(), at(read.site.as_ref())));
        let mint = format!("mint{}, {}", at(self.mint.as_ref()), self.whose());
        hop.into_iter().chain(read).chain([mint]).collect()
    }

    /// The same: each step's name, its place, and a sentence.
    pub fn told(&self) -> Vec<(&'static str, Option<Site>, String)> {
        let hop = self.hop.as_ref().map(|hop| {
            let text = format!("Work is handed over by {}.", hop.primitive);
            ("handoff", hop.site.clone(), text)
        });
        let read = self.read.as_ref().map(|read| {
            let text = format!("{} is read: {}.", read.slot, read.found());
            ("read", read.site.clone(), text)
        });
        let mint = format!("The task is created, {}.", self.whose());
        let mint = ("task created", self.mint.clone(), mint);
        hop.into_iter().chain(read).chain([mint]).collect()
    }

    fn whose(&self) -> &'static str {
        match self.attribution {
            "attributed" => "for its request",
            "unattributed" => "for nobody",
            "misattributed" => "for somebody else",
            _ => "for nobody knows whom",
        }
    }
}

/// The life of the task whose owner a finding is about, one step a line; nothing if it is about none.
pub fn drawn(finding: &ExportedFinding) -> Vec<String> {
    let of_owner = matches!(
        finding.kind,
        Kind::UnattributedTask | Kind::MisattributedTask | Kind::ForeignPoll | Kind::OwnerRefused
    );
    let Some(task) = finding.task.as_ref().filter(|_| of_owner) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    if let (Some(owner), Some(poller)) = (&task.owner, &task.poller) {
        steps.push(format!("request of {}", who(owner)));
        steps.extend(task.life.as_ref().map(Life::steps).unwrap_or_default());
        let outcome = if finding.kind == Kind::ForeignPoll {
            "shown"
        } else {
            "refused"
        };
        steps.push(format!("poll of {}: {outcome}", who(poller)));
    } else {
        let expected = finding.expected.as_ref();
        let of = expected.map_or_else(String::new, |identity| format!(" of {identity}"));
        steps.push(format!("request{of}"));
        let life = Life {
            hop: finding.hop.as_ref().map(|hop| Handoff {
                primitive: hop.primitive,
                site: hop.site.clone(),
            }),
            read: finding.read.as_ref().map(|read| LastRead {
                slot: finding.slot.clone(),
                result: match (finding.kind, &finding.found) {
                    (Kind::UnattributedTask, _) | (_, None) => "empty",
                    _ => "foreign",
                },
                site: read.site.clone(),
            }),
            mint: task.site.clone(),
            attribution: match finding.kind {
                Kind::MisattributedTask => "misattributed",
                _ => "unattributed",
            },
        };
        steps.extend(life.steps());
    }
    let last = steps.len().saturating_sub(1);
    let draw = |(number, step): (usize, String)| match number {
        0 => step,
        _ if number == last => format!("\u{2514} {step}"),
        _ => format!("\u{251c} {step}"),
    };
    steps.into_iter().enumerate().map(draw).collect()
}

fn who(party: &Party) -> String {
    match (&party.identity, &party.credential) {
        (Some(identity), _) => identity.to_string(),
        (None, Some(credential)) => format!("credential #{credential}"),
        (None, None) => "nobody that is known".to_owned(),
    }
}

fn at(site: Option<&Site>) -> String {
    site.map_or_else(String::new, |site| format!(" at {site}"))
}
