//! `bleedtrace completions` and `bleedtrace man`: what shells and `man` want to know of the program.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_mangen::{Man, roff::Roff, roff::roman};

use super::{
    args::{Cli, CompletionsArgs, ManArgs},
    error::{Error, exit},
    output::write_error,
};

/// What the program's own page says beside what its arguments say.
const SECTIONS: [(&str, &[&str]); 3] = [
    (
        "EXIT STATUS",
        &[
            "0: clean: handoffs were seen, nothing was lost, nothing was wrong; or done.",
            "1: there are findings (--fail-on chooses which ones count).",
            "2: wrong usage or configuration.",
            "3: the machine or the process cannot be traced.",
            "4: no verdict: nothing was proven, and the reason is named.",
            "Of a command that was traced, its own exit code, when none of 1 to 4 applies.",
        ],
    ),
    (
        "EXAMPLES",
        &[
            "sudo bleedtrace doctor",
            "sudo bleedtrace trace --pid 4242 --identity tenant",
            "sudo bleedtrace record -o run.bleed -- python3 app.py",
            "bleedtrace replay run.bleed --format json",
        ],
    ),
    (
        "SEE ALSO",
        &[
            "Every command has a page of its own: bleedtrace-trace(1), and so on; or bleedtrace COMMAND --help.",
        ],
    ),
];

/// Prints a script for a shell.
pub fn completions(args: &CompletionsArgs) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bleedtrace", &mut script);
    print(&script)
}

/// Prints a manual page.
pub fn man(args: &ManArgs) -> Result<u8, Error> {
    page(args.command.as_deref()).and_then(|page| print(&page))
}

fn page(command: Option<&str>) -> Result<Vec<u8>, Error> {
    let mut all = Cli::command();
    all.build();
    let mut page = Vec::new();
    let Some(name) = command else {
        let rendered = Man::new(all).render(&mut page).and_then(|()| {
            let mut more = Roff::new();
            for (title, lines) in SECTIONS {
                more.control("SH", [title]);
                for line in lines {
                    more.control("TP", []);
                    more.text([roman(*line)]);
                }
            }
            more.to_writer(&mut page)
        });
        rendered.map_err(|error| write_error(&error))?;
        return Ok(page);
    };
    let visible = || all.get_subcommands().filter(|command| !command.is_hide_set());
    let Some(found) = visible().find(|command| command.get_name() == name) else {
        let names: Vec<_> = visible().map(clap::Command::get_name).collect();
        return Err(Error::usage(
            format!("no command `{name}`"),
            format!("there are {}", names.join(", ")),
        ));
    };
    Man::new(found.clone())
        .source(concat!("bleedtrace ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|error| write_error(&error))?;
    Ok(page)
}

/// A reader that went away has seen enough.
fn print(text: &[u8]) -> Result<u8, Error> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(write_error(&error)),
        _ => Ok(exit::CLEAN),
    }
}
