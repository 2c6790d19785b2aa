//! Shows snapshots, and takes keys, each on a thread of its own: the one that reads the ring waits for neither.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ratatui::crossterm::{
    event::{self, Event},
    terminal::disable_raw_mode,
};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use signal_hook::consts::{SIGCONT, SIGINT, SIGTERM};

use super::screen::Screen;
use crate::report::top::{
    render::Renderer,
    snapshot::Snapshot,
    ui::{Action, Ui},
};

/// How long a key may wait before it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take until we are stopped.
const STOP: Duration = Duration::from_millis(300);
/// A picture that takes longer than this comes over a slow line: the next one waits as long again.
const SLOW: Duration = Duration::from_millis(250);

/// The live view, as long as it is on the screen.
pub struct Live {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    latest: Mutex<Option<Arc<Snapshot>>>,
    ui: Mutex<Ui>,
    /// What is not on the screen yet need not come there.
    hurry: Arc<AtomicBool>,
    /// A person wants it to end, or has to, because nobody can see anything.
    quit: AtomicBool,
    suspend: AtomicBool,
    over: AtomicBool,
    /// What is traced is let go: nobody passes a request to end on any more.
    done: AtomicBool,
    told: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl Live {
    /// Takes the terminal over.
    pub fn start(colour: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for (signal, flag) in [
            (SIGCONT, &shared.continued),
            (SIGTERM, &shared.told),
            (SIGINT, &shared.told),
        ] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        let screen = Screen::take(Arc::clone(&shared.hurry))?;
        let (wake, woken) = mpsc::sync_channel(1);
        let drawing = Drawing {
            shared: Arc::clone(&shared),
            screen,
            renderer: Renderer::new(colour),
            woken,
        };
        let keys = Keys {
            shared: Arc::clone(&shared),
            wake: wake.clone(),
        };
        Ok(Self {
            shared,
            wake,
            threads: vec![
                thread::Builder::new()
                    .name("screen".to_owned())
                    .spawn(move || drawing.run())?,
                thread::Builder::new()
                    .name("keys".to_owned())
                    .spawn(move || keys.run())?,
            ],
        })
    }

    /// How snapshots come to be shown. Waits for nobody.
    pub fn show(&self) -> impl FnMut(Snapshot) + use<> {
        let (shared, wake) = (Arc::clone(&self.shared), self.wake.clone());
        move |snapshot| {
            *lock(&shared.latest) = Some(Arc::new(snapshot));
            let _ = wake.try_send(());
        }
    }

    /// Waits until a person has seen enough of what is not going to change.
    pub fn wait_for_quit(&self) {
        self.shared.done.store(true, Ordering::SeqCst);
        while !self.shared.quit.load(Ordering::SeqCst) && !self.shared.told.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.hurry.store(true, Ordering::SeqCst);
        let _ = self.wake.try_send(());
        for thread in self.threads.drain(..) {
            // What it died of was said.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// As a person who asks for an end by a signal: what is traced is let go, and a command is told.
    fn end(&self) {
        self.quit.store(true, Ordering::SeqCst);
        lock(&self.ui).ending = true;
        if !self.done.load(Ordering::SeqCst) {
            let _ = kill_process(getpid(), Signal::TERM);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

struct Keys {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

impl Keys {
    fn run(self) {
        let _end = EndOnPanic(&self.shared);
        while !self.shared.is_over() {
            if self.shared.suspend.load(Ordering::SeqCst) {
                thread::sleep(LOOK);
                continue;
            }
            match event::poll(LOOK).and_then(|any| any.then(event::read).transpose()) {
                Ok(Some(event)) => self.take(&event),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "no more keys can be read from the terminal");
                    self.shared.end();
                    break;
                }
            }
            if self.shared.continued.load(Ordering::SeqCst) {
                self.wake();
            }
        }
    }

    fn take(&self, event: &Event) {
        let action = match event {
            Event::Key(key) => {
                let latest = lock(&self.shared.latest).clone();
                lock(&self.shared.ui).key(*key, latest.as_ref())
            }
            Event::Resize(..) => Action::Draw,
            _ => Action::None,
        };
        match action {
            Action::None => {}
            Action::Draw => self.wake(),
            Action::Quit => {
                self.shared.end();
                self.wake();
            }
            Action::Suspend => {
                self.shared.suspend.store(true, Ordering::SeqCst);
                self.shared.hurry.store(true, Ordering::SeqCst);
                self.wake();
            }
        }
    }

    fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

struct Drawing {
    shared: Arc<Shared>,
    screen: Screen,
    renderer: Renderer,
    woken: mpsc::Receiver<()>,
}

impl Drawing {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = EndOnPanic(&shared);
        if let Err(error) = self.draw_on() {
            tracing::warn!(%error, "the terminal cannot be written to any more");
            shared.end();
        }
        if let Err(error) = self.screen.leave() {
            tracing::warn!(%error, "the terminal could not be given back as it was");
        }
    }

    fn draw_on(&mut self) -> io::Result<()> {
        while !self.shared.is_over() {
            if self.shared.suspend.load(Ordering::SeqCst) {
                self.suspend()?;
            } else if self.shared.continued.swap(false, Ordering::SeqCst) {
                // Somebody else has stopped us, and may have used the terminal meanwhile.
                disable_raw_mode()?;
                self.screen.enter()?;
            }
            let start = Instant::now();
            self.draw()?;
            let took = start.elapsed();
            if took > SLOW && !self.shared.is_over() {
                thread::sleep(took.min(Duration::from_secs(1)));
            }
            match self.woken.recv_timeout(Duration::from_secs(1)) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        let latest = lock(&self.shared.latest).clone();
        let ui = lock(&self.shared.ui).clone();
        let renderer = &mut self.renderer;
        if let Some(terminal) = self.screen.terminal() {
            terminal.draw(|frame| renderer.draw(frame, latest.as_deref(), &ui))?;
            lock(&self.shared.ui).bottom(renderer.bottom);
        }
        Ok(())
    }

    /// Gives the terminal back, stops, with whoever was started from here, and takes it over again.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen.leave()?;
        self.shared.hurry.store(self.shared.is_over(), Ordering::SeqCst);
        self.shared.continued.store(false, Ordering::SeqCst);
        kill_current_process_group(Signal::TSTP)?;
        // It takes a moment until we are stopped. Where there is no shell to continue us, the kernel does not stop us at all.
        let start = Instant::now();
        while !self.shared.continued.load(Ordering::SeqCst) && start.elapsed() < STOP {
            thread::sleep(Duration::from_millis(10));
        }
        self.shared.continued.store(false, Ordering::SeqCst);
        self.screen.enter()?;
        self.shared.suspend.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// A view that fails must not leave a tracer behind that nobody sees.
struct EndOnPanic<'a>(&'a Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
