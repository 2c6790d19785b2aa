//! `bleedtrace vars`: the context variables that are in use.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use serde::Serialize;
use tracer_common::config::{UseKey, Uses};

use super::{
    args::{Color, TierArgs, VarsArgs, WatchArgs, WireArgs},
    error::{Error, exit},
    output::Output,
    requirements::check_machine,
    session::{Observer, Reached, Session, Wants},
    table,
};
use crate::{
    config::Watch,
    report::vars::{VarLine, Vars},
    target::follow::{Follower, Notice},
};

/// Runs the command.
pub fn run(args: &VarsArgs, color: Color) -> Result<u8, Error> {
    args.target.check("vars")?;
    let watch = WatchArgs {
        config: args.config.clone(),
        ..WatchArgs::default()
    };
    let mut config = watch.resolve(&TierArgs::full(WireArgs {
        wire: Some(false),
        tasks: Some(false),
    }))?;
    // No variable is followed: all of them are counted.
    config.watch = Watch::default();
    for service in &mut config.services {
        service.watch = Watch::default();
    }
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let wants = Wants {
        uses: true,
        ..args.target.wants()
    };
    let mut seen = InUse {
        output,
        reached: Reached::default(),
        services: HashMap::new(),
        vars: Vars::default(),
        uses: BTreeMap::new(),
        lost: 0,
    };
    Session::open(config, wants)?.run(&args.target, args.target.duration, &mut seen)?;
    let lines = seen.vars.lines(&seen.uses);
    let summary = Summary {
        kind: "summary",
        variables: lines.len(),
        targets: seen.reached.targets,
        lost: seen.lost + seen.vars.nameless(&seen.uses),
    };
    seen.output
        .list(|| text(&lines, &summary), &json(&lines, &summary))?;
    seen.reached.or_error()?;
    Ok(exit::CLEAN)
}

/// What was seen.
struct InUse {
    output: Output,
    reached: Reached,
    services: HashMap<u32, Arc<str>>,
    vars: Vars,
    uses: BTreeMap<UseKey, Uses>,
    /// Uses, or what was told of them, that could not be counted.
    lost: u64,
}

impl InUse {
    fn locate(&mut self, follower: &Follower, again: bool) {
        for (pid, variables) in self.vars.homeless(again) {
            let addresses: Vec<u64> = variables.iter().map(|key| key.var).collect();
            let holders = follower.holders(pid, &addresses).unwrap_or_default();
            for holder in holders.found {
                for variable in variables.iter().filter(|key| key.var == holder.variable) {
                    self.vars.held_by(variable, &holder.module);
                }
            }
        }
    }
}

impl Observer for InUse {
    fn notice(&mut self, notice: Notice) {
        self.reached.notice(&notice, &mut self.output);
        match notice {
            Notice::Attached { pid, service, .. } => {
                self.services.insert(pid, service);
            }
            Notice::Used(used) => {
                if let Some(service) = self.services.get(&used.key.tgid) {
                    self.vars.used(service, &used);
                }
            }
            Notice::Failed { .. }
            | Notice::Unsupported { .. }
            | Notice::Missed
            | Notice::Ended { .. }
            | Notice::Remark { .. }
            | Notice::NotFollowed { .. }
            | Notice::InUse(_) => {}
        }
    }

    fn settled(&mut self, follower: &Follower) {
        self.locate(follower, false);
    }

    fn counters(&mut self, follower: &mut Follower) {
        self.locate(follower, true);
        let programs = &mut follower.registry.programs;
        programs.log();
        self.uses = programs.uses().collect();
        let stats: Vec<_> = programs.totals().into_values().map(|total| total.stats).collect();
        self.lost = stats.iter().map(|stats| stats.lost_map + stats.lost_ring).sum();
    }
}

#[derive(Serialize)]
struct Summary {
    #[serde(rename = "type")]
    kind: &'static str,
    variables: usize,
    targets: u64,
    lost: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Variable(&'a VarLine),
    Summary(&'a Summary),
}

fn json<'a>(lines: &'a [VarLine], summary: &'a Summary) -> Vec<Line<'a>> {
    let variables = lines.iter().map(Line::Variable);
    variables.chain([Line::Summary(summary)]).collect()
}

fn text(lines: &[VarLine], summary: &Summary) -> String {
    let mut text = if lines.is_empty() {
        "no context variable was used\n".to_owned()
    } else {
        let head = [
            "SERVICE", "VARIABLE", "MODULE", "READS", "BINDS", "VALUES", "MAY BE", "BECAUSE",
        ];
        table::render(&head, lines.iter().map(row))
    };
    if summary.lost > 0 {
        let _ = writeln!(
            text,
            "{} uses were lost: the list may be incomplete",
            summary.lost
        );
    }
    let watch: Vec<String> = lines
        .iter()
        .filter(|line| line.binds > 0)
        .filter_map(|line| Some(format!("--{} {}", line.suggested_role?, selector(line, lines))))
        .collect();
    if !watch.is_empty() {
        let _ = writeln!(text, "\nto watch them: bleedtrace trace {} ...", watch.join(" "));
    }
    text
}

/// What means this variable and no other.
fn selector(line: &VarLine, lines: &[VarLine]) -> String {
    let namesakes = lines.iter().filter(|other| other.name == line.name).count();
    match line.modules.first() {
        Some(module) if namesakes > 1 => format!("{module}:{}", line.name),
        _ => line.name.clone(),
    }
}

fn row(line: &VarLine) -> Vec<String> {
    vec![
        line.service.clone(),
        line.name.clone(),
        table::list(&line.modules),
        line.reads.to_string(),
        line.binds.to_string(),
        table::list(&line.value_types),
        line.suggested_role.unwrap_or("-").to_owned(),
        line.why.clone().unwrap_or_default(),
    ]
}
