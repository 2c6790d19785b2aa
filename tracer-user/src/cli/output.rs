//! Where findings and the summary go, and in which form.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
};

use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::{
    args::{Color, Format, OutputArgs},
    error::Error,
    private_file,
};
use crate::report::{finding::ExportedFinding, json, summary::Summary, text::Text};

/// Columns that text is broken into, whatever the terminal says of its width.
const NARROWEST: usize = 32;
const COLUMNS: usize = 100;

/// Writes the output of a trace.
pub struct Output {
    to: Box<dyn Write>,
    form: Form,
    /// Nothing is written before the end.
    late: bool,
    failed: Option<io::Error>,
}

enum Form {
    Text(Text),
    Json,
    Silent,
}

impl Output {
    /// Opens the output: a file, else stdout, or stderr when stdout belongs to a command.
    pub fn open(args: &OutputArgs, of_command: bool, color: Color) -> Result<Self, Error> {
        let (to, terminal): (Box<dyn Write>, bool) = match &args.file {
            Some(path) => {
                // With --reveal there are identities in it. What is there already, a device for one, is written to as it is.
                let opened = private_file::create_or_open(path, File::options().write(true).truncate(true));
                let file = opened.map_err(|error| {
                    Error::usage(
                        format!("failed to create output file {}: {error}", path.display()),
                        "give a path that can be written with --output",
                    )
                })?;
                (Box::new(BufWriter::new(file)), false)
            }
            None if of_command => (Box::new(io::stderr()), io::stderr().is_terminal()),
            None => (Box::new(BufWriter::new(io::stdout())), io::stdout().is_terminal()),
        };
        let coloured = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        // Of a terminal that does not know its width nothing is assumed.
        let columns = if terminal { columns(of_command) } else { None };
        let text = Text::new(coloured);
        let form = match args.format {
            Format::Text => Form::Text(match columns {
                Some(columns) => text.in_columns(columns.clamp(NARROWEST, COLUMNS)),
                None => text,
            }),
            Format::Json => Form::Json,
        };
        Ok(Self {
            to,
            form,
            late: false,
            failed: None,
        })
    }

    /// Nothing is written: somebody else says what there is to say.
    pub fn silent() -> Self {
        Self {
            to: Box::new(io::sink()),
            form: Form::Silent,
            late: false,
            failed: None,
        }
    }

    /// The same, silent up to the end: what happens meanwhile is shown elsewhere.
    #[must_use]
    pub fn at_the_end(self) -> Self {
        Self { late: true, ..self }
    }

    /// Writes a finding.
    pub fn finding(&mut self, finding: &ExportedFinding) {
        let text = match &mut self.form {
            Form::Text(text) => text.finding(finding),
            Form::Json => json::finding(finding).ok().map(|line| line + "\n"),
            Form::Silent => None,
        };
        if let Some(text) = text.filter(|_| !self.late) {
            self.write(&text);
        }
    }

    /// Says something that is for people only.
    pub fn say(&mut self, line: &str) {
        if matches!(self.form, Form::Text(_)) && !self.late {
            self.write(&format!("{line}\n"));
        }
    }

    /// Writes the summary and closes the output.
    pub fn finish(mut self, summary: &Summary) -> io::Result<()> {
        let text = match &self.form {
            Form::Text(text) => text.summary(summary),
            Form::Json => json::summary(summary)? + "\n",
            Form::Silent => String::new(),
        };
        self.write(&text);
        self.close()
    }

    /// Writes a list, as text or as one object a line, and closes the output.
    pub fn list<T: Serialize>(mut self, text: impl FnOnce() -> String, lines: &[T]) -> Result<(), Error> {
        if let Form::Text(_) = self.form {
            self.write(&text());
        } else {
            for line in lines {
                let line = serde_json::to_string(line).map_err(|error| write_error(&error.into()))?;
                self.write(&(line + "\n"));
            }
        }
        self.close().map_err(|error| write_error(&error))
    }

    /// The first error of all, unless it is that the reader went away.
    fn close(self) -> io::Result<()> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// A reader that went away must not end the trace: its exit code still counts.
    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = self
                .to
                .write_all(text.as_bytes())
                .and_then(|()| self.to.flush())
                .err();
        }
    }
}

/// How wide the terminal is that stderr or stdout goes to.
fn columns(on_stderr: bool) -> Option<usize> {
    let size = if on_stderr {
        tcgetwinsize(io::stderr())
    } else {
        tcgetwinsize(io::stdout())
    };
    size.ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}

/// The output could not be written.
pub fn write_error(error: &io::Error) -> Error {
    Error::usage(
        format!("failed to write the output: {error}"),
        "check the disk and who reads the output",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tally::Tally;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn finish(kind: io::ErrorKind) -> io::Result<()> {
        let output = Output {
            to: Box::new(Failing(kind)),
            form: Form::Json,
            late: false,
            failed: None,
        };
        output.finish(&Tally::default().finish(None))
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_disk_is() {
        assert!(finish(io::ErrorKind::BrokenPipe).is_ok());
        assert_eq!(
            finish(io::ErrorKind::StorageFull).map_err(|error| error.kind()),
            Err(io::ErrorKind::StorageFull)
        );
    }
}
