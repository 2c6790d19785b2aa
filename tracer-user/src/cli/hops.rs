//! `bleedtrace hops`: every site that hands work over, and what happens to identities there.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use serde::Serialize;

use super::{
    args::{Color, HopsArgs, TierArgs},
    error::{Error, exit},
    output::Output,
    requirements::{check_machine, privacy},
    session::{Observer, Reached, Session, Wants, at_attach},
};
use crate::{
    correlate::{
        event::{Event, Slot, TargetId, What},
        fact::{Fact, FactKind},
    },
    report::{
        hops::{HopLine, Hops, TaskLine},
        hops_text,
        privacy::clean,
    },
    target::follow::{Follower, Notice},
};

/// Runs the command.
pub fn run(args: &HopsArgs, color: Color) -> Result<u8, Error> {
    args.target.check("hops")?;
    let config = args.watch.resolve(&TierArgs::full(args.wire.clone()))?;
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let privacy = privacy(&config)?;
    let wants = Wants {
        inventory: true,
        wire: Some(privacy.derived_key(b"wire")),
        ..args.target.wants()
    };
    let mut seen = Inventory {
        output,
        reached: Reached::default(),
        targets: HashMap::new(),
        hops: Hops::default(),
        watched: BTreeSet::new(),
        in_use: BTreeSet::new(),
        lost: 0,
    };
    Session::open(config, wants)?.run(&args.target, args.target.duration, &mut seen)?;
    let (lines, tasks) = (seen.hops.lines(), seen.hops.tasks());
    let summary = Summary {
        kind: "summary",
        sites: lines.len(),
        handoffs: lines.iter().map(|line| line.count).sum(),
        data: lines.iter().map(|line| line.data).sum(),
        watched: seen.watched,
        in_use: seen.in_use,
        targets: seen.reached.targets,
        lost: seen.lost + seen.hops.overflow(),
    };
    seen.output
        .list(|| text(&lines, &tasks, &summary), &json(&lines, &tasks, &summary))?;
    seen.reached.or_error()?;
    Ok(exit::CLEAN)
}

/// What was seen.
struct Inventory {
    output: Output,
    reached: Reached,
    targets: HashMap<TargetId, Known>,
    hops: Hops,
    watched: BTreeSet<String>,
    in_use: BTreeSet<String>,
    lost: u64,
}

struct Known {
    service: Arc<str>,
    slots: HashMap<Slot, Arc<str>>,
}

impl Observer for Inventory {
    fn notice(&mut self, notice: Notice) {
        self.reached.notice(&notice, &mut self.output);
        match notice {
            Notice::Attached {
                id, service, found, ..
            } => {
                if let Some(found) = found {
                    self.output.say(&at_attach(found));
                }
                let slots = HashMap::new();
                self.targets.insert(id, Known { service, slots });
            }
            Notice::InUse(names) => self.in_use.extend(names.iter().map(|name| clean(name))),
            Notice::Failed { .. }
            | Notice::Unsupported { .. }
            | Notice::Missed
            | Notice::Ended { .. }
            | Notice::Remark { .. }
            | Notice::NotFollowed { .. }
            | Notice::Used(_) => {}
        }
    }

    fn event(&mut self, event: &Event) {
        if let What::Variable { slot, name, .. } = &event.what
            && let Some(target) = self.targets.get_mut(&event.target)
        {
            target.slots.insert(*slot, Arc::clone(name));
            self.watched.insert(clean(name));
        }
    }

    fn fact(&mut self, fact: &Fact) {
        let Some(target) = self.targets.get(&fact.target) else {
            return;
        };
        if let FactKind::Gap(lost) = &fact.what {
            self.lost += lost;
        }
        let name = |slot| target.slots.get(&slot).cloned().unwrap_or_else(|| Arc::from("?"));
        self.hops.fold(&target.service, &fact.what, name);
    }

    fn counters(&mut self, follower: &mut Follower) {
        follower.registry.programs.log();
    }
}

#[derive(Serialize)]
struct Summary {
    #[serde(rename = "type")]
    kind: &'static str,
    sites: usize,
    handoffs: u64,
    data: u64,
    watched: BTreeSet<String>,
    in_use: BTreeSet<String>,
    targets: u64,
    lost: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Hop(&'a HopLine),
    Task(&'a TaskLine),
    Summary(&'a Summary),
}

fn json<'a>(lines: &'a [HopLine], tasks: &'a [TaskLine], summary: &'a Summary) -> Vec<Line<'a>> {
    lines
        .iter()
        .map(Line::Hop)
        .chain(tasks.iter().map(Line::Task))
        .chain([Line::Summary(summary)])
        .collect()
}

fn text(lines: &[HopLine], tasks: &[TaskLine], summary: &Summary) -> String {
    let sites = lines.iter().map(|line| hops_text::block(line) + "\n");
    let tasks = tasks.iter().map(|line| hops_text::tasks(line) + "\n");
    let mut text: String = sites.chain(tasks).collect();
    let watched: Vec<&str> = summary.watched.iter().map(String::as_str).collect();
    let watched = if watched.is_empty() {
        let in_use: Vec<&str> = summary.in_use.iter().map(String::as_str).collect();
        format!(
            "none of the watched variables was seen; in use: {}",
            if in_use.is_empty() {
                "none".to_owned()
            } else {
                in_use.join(", ")
            }
        )
    } else {
        format!("watched: {}", watched.join(", "))
    };
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let _ = writeln!(
        text,
        "{}, {}; {watched}",
        plural(summary.sites as u64, "site"),
        plural(summary.handoffs, "handoff"),
    );
    if summary.lost > 0 {
        let _ = writeln!(
            text,
            "{} events were lost: the list may be incomplete",
            summary.lost
        );
    }
    text
}
