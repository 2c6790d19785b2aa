//! The terminal: taken over, and given back as it was, whatever happens.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        Command as _,
        cursor::{Hide, Show},
        style::ResetColor,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::termios::{QueueSelector, tcflush};

use super::patient::{self, Patient};

/// How long it may take to give a terminal back that takes nothing.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Ends an escape sequence of which only a part was sent.
const CANCEL: char = '\u{18}';

/// The terminal, while it is ours.
pub struct Screen {
    terminal: Option<Terminal<CrosstermBackend<Patient>>>,
    tty: File,
    hurry: Arc<AtomicBool>,
    ours: Arc<AtomicBool>,
    torn: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over that is our standard output. `hurry` drops what it does not take in time.
    pub fn take(hurry: Arc<AtomicBool>) -> io::Result<Self> {
        let tty = open()?;
        let ours = Arc::new(AtomicBool::new(false));
        restore_on_panic(&tty, &ours, &hurry)?;
        let mut screen = Self {
            terminal: None,
            tty,
            hurry,
            ours,
            torn: Arc::default(),
        };
        screen.enter()?;
        Ok(screen)
    }

    /// What is drawn on; none while it is given back.
    pub const fn terminal(&mut self) -> Option<&mut Terminal<CrosstermBackend<Patient>>> {
        self.terminal.as_mut()
    }

    /// Takes it over once more, as it is now, and draws everything anew.
    pub fn enter(&mut self) -> io::Result<()> {
        self.terminal = None;
        enable_raw_mode()?;
        self.ours.store(true, Ordering::SeqCst);
        let text = ansi(|text| {
            EnterAlternateScreen.write_ansi(text)?;
            Hide.write_ansi(text)
        });
        self.say(&text)?;
        let patient = Patient::new(
            self.tty.try_clone()?,
            Arc::clone(&self.hurry),
            Arc::clone(&self.torn),
        );
        self.terminal = Some(Terminal::new(CrosstermBackend::new(patient))?);
        Ok(())
    }

    /// Gives it back.
    pub fn leave(&mut self) -> io::Result<()> {
        self.terminal = None;
        let torn = self.torn.swap(false, Ordering::Relaxed);
        if self.ours.swap(false, Ordering::SeqCst) {
            if torn {
                // What the terminal has not taken yet is of no use any more.
                let _ = tcflush(self.tty.as_fd(), QueueSelector::OFlush);
            }
            give_back(&self.tty)?;
        }
        Ok(())
    }

    fn say(&self, text: &str) -> io::Result<()> {
        let hurry = || self.hurry.load(Ordering::Relaxed);
        patient::send(&self.tty, text.as_bytes(), || !hurry())?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.leave();
    }
}

/// The terminal once more, so that what is done to how it is written to concerns nobody else who has it.
fn open() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC);
    options.open("/proc/self/fd/1").or_else(|_| {
        // It is another user's: then as it was handed to us, at the price of waiting for it where it is slow.
        let ours = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(File::from(ours))
    })
}

fn ansi(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    // A string takes everything.
    let _ = write(&mut text);
    text
}

fn give_back(tty: &File) -> io::Result<()> {
    let text = ansi(|text| {
        text.push(CANCEL);
        ResetColor.write_ansi(text)?;
        Show.write_ansi(text)?;
        LeaveAlternateScreen.write_ansi(text)
    });
    let start = Instant::now();
    let sent = patient::send(tty, text.as_bytes(), || start.elapsed() < LAST_WORDS);
    disable_raw_mode()?;
    sent.map(drop)
}

/// What a panic says is to be read, on a terminal that works.
fn restore_on_panic(tty: &File, ours: &Arc<AtomicBool>, hurry: &Arc<AtomicBool>) -> io::Result<()> {
    static ONCE: Once = Once::new();
    let (tty, ours, hurry) = (tty.try_clone()?, Arc::clone(ours), Arc::clone(hurry));
    ONCE.call_once(move || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            hurry.store(true, Ordering::SeqCst);
            if ours.swap(false, Ordering::SeqCst) {
                let _ = give_back(&tty);
            }
            let _ = io::stderr().flush();
            before(panic);
        }));
    });
    Ok(())
}
