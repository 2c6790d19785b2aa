//! A leak as a person would draw it: who carried what, step by step, from the bind to the read.

mod steps;

use serde::Serialize;

use crate::{
    correlate::finding::Kind,
    report::finding::{ExportedFinding, Site},
};

/// A leak.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// What carried the identity, or should have.
    pub carriers: Vec<Carrier>,
    /// What happened, in this order.
    pub steps: Vec<Step>,
    /// What lasted from one step to another.
    pub spans: Vec<Span>,
}

/// A thread, or an asyncio task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carrier {
    /// What it is.
    pub name: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// On which carrier.
    pub carrier: usize,
    /// In a word or two.
    pub title: &'static str,
    /// In a sentence.
    pub text: String,
    /// Where.
    pub site: Option<Site>,
    /// When, if that is known.
    pub when: Option<String>,
    /// How it is meant.
    pub tone: Tone,
}

/// How a step is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// The request that things go wrong for.
    Own,
    /// Somebody else's identity.
    Foreign,
    /// What goes wrong.
    Wrong,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The step that it began with.
    pub from: usize,
    /// The step that it ended with; none if it goes on.
    pub to: Option<usize>,
    /// What it is.
    pub what: Lasting,
}

/// What lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasting {
    /// A piece of work runs on a carrier.
    Work,
    /// An identity stays on a carrier.
    Residue,
    /// Work goes from one carrier to another.
    Handoff,
}

/// Puts the steps of a leak together.
struct Drawing<'a> {
    finding: &'a ExportedFinding,
    leak: Leak,
}

impl Leak {
    /// Of a finding.
    pub fn of(finding: &ExportedFinding) -> Self {
        let mut drawing = Drawing {
            finding,
            leak: Self::default(),
        };
        drawing.draw();
        let Self {
            steps,
            mut spans,
            carriers,
        } = drawing.leak;
        spans.retain(|span| span.to.is_none_or(|to| to < steps.len()));
        Self {
            carriers,
            steps,
            spans,
        }
    }
}

impl Drawing<'_> {
    fn draw(&mut self) {
        match self.finding.kind {
            Kind::Bleed => self.bleed(),
            Kind::Squat => {
                self.hand_over("A request");
                self.bind("The work binds", Tone::Own);
                self.stays();
            }
            Kind::BlackHoleRead => {
                self.hand_over(&self.holder());
                self.read();
            }
            Kind::BlackHoleReturn => {
                self.hand_over("The request");
                self.bind("The work binds", Tone::Own);
                self.read();
            }
            Kind::UnattributedTask | Kind::MisattributedTask => {
                if self.finding.bind.is_some() {
                    self.earlier_bind();
                }
                self.hand_over(&self.holder());
                self.read();
                self.mint();
            }
            Kind::DriftBlindness => {
                self.hand_over("The request");
                self.bind("The work pins", Tone::Own);
                self.read();
                self.mint();
            }
            Kind::EmptyCheck => {
                self.hand_over(&self.holder());
                self.check();
                self.read();
            }
            Kind::ForeignPoll | Kind::OwnerRefused => self.poll(),
        }
    }

    fn step(
        &mut self,
        carrier: String,
        title: &'static str,
        tone: Tone,
        site: Option<Site>,
        when: Option<String>,
        text: String,
    ) {
        let known = self.leak.carriers.iter().position(|known| known.name == carrier);
        let carrier = known.unwrap_or_else(|| {
            self.leak.carriers.push(Carrier { name: carrier });
            self.leak.carriers.len() - 1
        });
        self.leak.steps.push(Step {
            carrier,
            title,
            text,
            site,
            when,
            tone,
        });
    }

    fn span(&mut self, from: usize, to: Option<usize>, what: Lasting) {
        self.leak.spans.push(Span { from, to, what });
    }

    fn slot(&self) -> &str {
        if self.finding.slot.is_empty() {
            "the identity"
        } else {
            &self.finding.slot
        }
    }

    fn found(&self) -> String {
        self.finding
            .found
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string)
    }

    fn expected(&self) -> String {
        let expected = self.finding.expected.as_ref();
        expected.map_or_else(|| "nothing of its own".to_owned(), ToString::to_string)
    }
}
