//! The reports that a run leaves behind, and the baseline of findings that it accepts.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{error::Error, output::write_error, private_file};
use crate::{
    correlate::{
        event::{Event, Slot, What},
        fact::FactKind,
    },
    report::{
        clock::Clock,
        document::{
            Collector, Document, Form,
            baseline::Baseline,
            fingerprint::Trait,
            source_root::{SourceRoot, SourceRoots},
        },
        finding::ExportedFinding,
        privacy::clean,
        summary::Summary,
    },
};

/// Faults that a baseline is written of.
const FAULTS: usize = 10_000;
/// What to do about a name that says no form.
const ENDINGS: &str = "end it in .html, .sarif, .xml (JUnit), .md, .json or .txt";

/// Arguments that say how findings are known again, and which are accepted.
#[derive(Debug, Default, Args)]
pub struct FaultArgs {
    /// In reports and baselines, call the files below PREFIX what they are called in the repository; may be given again.
    #[arg(long, value_name = "PREFIX=REPLACEMENT")]
    pub source_root: Vec<SourceRoot>,
    /// Accept the findings in this file: they are shown as accepted, and fail nothing.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_BASELINE")]
    pub baseline: Option<PathBuf>,
    /// Write the findings of this run to a file for --baseline; the exit code is the same as without.
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
}

/// The reports of a run. By default there are none.
#[derive(Default)]
pub struct ReportFiles {
    roots: SourceRoots,
    baseline: Baseline,
    written: Option<(PathBuf, BTreeSet<Trait>)>,
    files: Vec<(PathBuf, Form, File)>,
    on_stdout: Option<Form>,
    collector: Option<Collector>,
    recording: Option<String>,
}

impl ReportFiles {
    /// Reports in these files, each in the form that is said, or that its name ends in. They are made at once: that one cannot be
    /// written is better known before the run than after it.
    pub fn open(paths: &[PathBuf], form: Option<Form>, faults: &FaultArgs) -> Result<Self, Error> {
        let baseline = match &faults.baseline {
            Some(path) => Baseline::read(path).map_err(|error| {
                Error::usage(
                    format!("cannot use the baseline {}: {error}", path.display()),
                    error.hint(),
                )
            })?,
            None => Baseline::default(),
        };
        let mut files = Vec::new();
        for path in paths {
            let Some(form) = form.or_else(|| Form::of(path)) else {
                return Err(Error::usage(
                    format!(
                        "the name {} does not say in which form the report is to be",
                        path.display()
                    ),
                    ENDINGS,
                ));
            };
            files.push((path.clone(), form, open(path)?));
        }
        Ok(Self {
            roots: SourceRoots::new(faults.source_root.clone()),
            baseline,
            written: faults.write_baseline.clone().map(|path| (path, BTreeSet::new())),
            files,
            ..Self::default()
        })
    }

    /// A report on stdout, too.
    pub fn on_stdout(&mut self, form: Form) {
        self.on_stdout = Some(form);
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.files.is_empty() || self.on_stdout.is_some()
    }

    /// The run begins; of a recording, if it has a name.
    pub fn start(&mut self, clock: Clock, recording: Option<&Path>) {
        if self.any() {
            self.collector = Some(Collector::new(clock, self.roots.clone()));
        }
        let name = recording.and_then(Path::file_name);
        self.recording = name.map(|name| name.to_string_lossy().into_owned());
    }

    /// Something happened in a process of this service.
    pub fn event(&mut self, event: &Event, service: Option<&str>) {
        let Some(collector) = &mut self.collector else {
            return;
        };
        collector.event(event.time);
        if let (What::Variable { name, role, .. }, Some(service)) = (&event.what, service) {
            collector.watching(service, name, role.name());
        }
    }

    /// What the engine told of a service.
    pub fn fact(&mut self, service: &Arc<str>, fact: &FactKind, name: impl Fn(Slot) -> Arc<str>) {
        if let Some(collector) = &mut self.collector {
            collector.fact(service, fact, name);
        }
    }

    /// A finding, and why it is accepted, if it is so already. Returns why it is.
    pub fn finding(&mut self, finding: &ExportedFinding, allowed: Option<String>) -> Option<String> {
        if self.collector.is_none() && self.written.is_none() && self.baseline.is_empty() {
            return allowed;
        }
        let renamed = finding.clone().renamed(|file| self.roots.rename(file));
        let known_by = Trait::of(&renamed);
        if let (Some((_, faults)), None) = (&mut self.written, &allowed)
            && faults.len() < FAULTS
            && !faults.contains(&known_by)
        {
            faults.insert(known_by.clone());
        }
        let accepted = allowed.or_else(|| self.baseline.accepts(&known_by.fingerprint()).map(str::to_owned));
        if let Some(collector) = &mut self.collector {
            let told = match &accepted {
                Some(reason) => renamed.allowed(reason),
                None => renamed,
            };
            collector.finding(&told, &known_by);
        }
        accepted
    }

    /// The run is over: writes everything. What could be written is written, whatever goes wrong with the rest.
    pub fn finish(mut self, summary: &Summary) -> Result<(), Error> {
        let mut result = Ok(());
        if let Some(collector) = self.collector.take() {
            let document = collector.finish(summary.clone(), self.recording.as_deref(), &self.baseline);
            for (path, form, file) in std::mem::take(&mut self.files) {
                let text = form.write(&document);
                let written = text
                    .and_then(|text| private_file::replace(file, &text))
                    .map_err(|error| {
                        Error::usage(
                            format!("failed to write the report {}: {error}", path.display()),
                            "check the disk that it is on",
                        )
                    });
                result = result.and(written);
            }
            if let Some(form) = self.on_stdout {
                result = result.and(print(form, &document));
            }
        }
        if let Some((path, faults)) = self.written.take() {
            result = result.and(self.write_baseline(&path, &faults));
        }
        result
    }

    fn write_baseline(&self, path: &Path, faults: &BTreeSet<Trait>) -> Result<(), Error> {
        if faults.len() == FAULTS {
            tracing::warn!("there are more kinds of fault than the {FAULTS} that a baseline can hold");
        }
        let written = self.baseline.written(faults);
        // A baseline is read by everybody who works on the program.
        written
            .and_then(|text| {
                private_file::replace(
                    private_file::create_or_open_shared(path, File::options().write(true))?,
                    &text,
                )
            })
            .map_err(|error| {
                Error::usage(
                    format!("failed to write the baseline {}: {error}", path.display()),
                    "give a path that can be written with --write-baseline",
                )
            })
    }
}

/// What is there already stays as it is until there is something to write.
fn open(path: &Path) -> Result<File, Error> {
    private_file::create_or_open(path, File::options().write(true)).map_err(|error| {
        Error::usage(
            format!(
                "failed to create the report {}: {error}",
                clean(&path.to_string_lossy())
            ),
            "give a path that can be written",
        )
    })
}

/// A reader that went away has seen enough.
fn print(form: Form, document: &Document) -> Result<(), Error> {
    let text = form.write(document).map_err(|error| write_error(&error))?;
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(write_error(&error)),
        _ => Ok(()),
    }
}
