//! Events in, facts out.

use std::collections::BTreeMap;

use super::{
    event::{Event, TargetId, What},
    fact::Fact,
    reporter::Out,
    settings::Settings,
    target::Target,
    witness::Witness,
};

/// Judges the events of any number of targets.
pub struct Engine {
    settings: Settings,
    targets: BTreeMap<TargetId, Target>,
    /// What is known of the wire, if it is read.
    witness: Option<Witness>,
    /// Number of the last finding.
    findings: u64,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            witness: settings.wire.clone().map(Witness::new),
            settings,
            targets: BTreeMap::new(),
            findings: 0,
        }
    }

    /// Number of the last finding.
    pub const fn findings(&self) -> u64 {
        self.findings
    }

    /// The next finding's number follows this one.
    pub const fn number_after(&mut self, findings: u64) {
        self.findings = findings;
    }

    /// What the operator decided.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A target is part of a service. Those of one service know the same tasks.
    pub fn serves(&mut self, target: TargetId, service: &str) {
        if let Some(witness) = &mut self.witness {
            witness.serves(target, service);
        }
    }

    /// Looks at the next event, and adds what follows from it.
    pub fn apply(&mut self, event: &Event, facts: &mut Vec<Fact>) {
        let mut out = Out {
            target: event.target,
            facts,
            findings: &mut self.findings,
            inventory: self.settings.inventory,
        };
        match &event.what {
            What::Attach { from_start } => {
                let target = Target::new(&self.settings, event.carrier, *from_start);
                if let Some(former) = self.targets.insert(event.target, target) {
                    former.close(&mut out);
                }
            }
            What::Exit { .. } => {
                if let Some(target) = self.targets.remove(&event.target) {
                    target.close(&mut out);
                }
                if let Some(witness) = &mut self.witness {
                    witness.exit(event.target);
                }
            }
            _ => {
                let target = self
                    .targets
                    .entry(event.target)
                    .or_insert_with(|| Target::new(&self.settings, event.carrier, false));
                target.seen_on_wire = self.witness.as_ref().is_some_and(|witness| witness.sees(event));
                target.apply(event, &mut out);
                if let Some(witness) = &mut self.witness {
                    witness.look(event, target, &mut out);
                }
            }
        }
    }

    /// The run is over: adds what was still pending.
    pub fn finish(&mut self, facts: &mut Vec<Fact>) {
        for (id, target) in std::mem::take(&mut self.targets) {
            target.close(&mut Out {
                target: id,
                facts,
                findings: &mut self.findings,
                inventory: self.settings.inventory,
            });
        }
    }
}
