//! What reading the wire costs a server: its throughput and its processor time, traced and untraced.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Setup, installed, is_main};

use super::{
    child::{interrupt, wait_for},
    notes,
    statistics::Spread,
};
use crate::workspace;

const SERVED: &str = "xtask/src/bench/served.py";
/// How long one measurement takes, after a moment of warming up.
const MEASURED: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_millis(700);
/// Connections that ask at once.
const CONNECTIONS: usize = 8;

/// How the server is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Traced,
    /// The wire is read, too.
    Wire,
    /// The wire is read, and tasks are followed, as is usual with it.
    Tasks,
}

const MODES: [Mode; 4] = [Mode::Off, Mode::Traced, Mode::Wire, Mode::Tasks];

/// Of one measurement.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Answers in a second.
    answers: f64,
    /// Microseconds of processor time that the server took for an answer.
    processor: f64,
}

/// Prints the figures and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let mut text = format!(
        "A FastAPI service under uvicorn, asked by {CONNECTIONS} connections for as much as it can answer, {} s at a time: untraced, with `trace --identity`, \
with `--wire --tasks=false`, and with `--wire`, {rounds} rounds of the four in turn. Ratios are to the untraced run of the same round, of answers and of the service's own \
processor time for an answer, what probes take included; goal: with the wire at least 0.95 of the answers. The service, the tracer and who asks share two processors.\n\n\
| CPython, loop | untraced, answers/s | traced, answers | wire, answers | wire and tasks, answers | untraced, µs an answer | traced, time | wire, time | wire and tasks, time |\n\
|---|---|---|---|---|---|---|---|---|\n",
        MEASURED.as_secs()
    );
    for interpreter in installed().into_iter().filter(|interpreter| is_main(interpreter)) {
        let setup = Setup::new(&bleedtrace, interpreter).with_requirements("loops");
        let setup = setup.context("the packages of requirements/loops.txt cannot be had")?;
        for event_loop in ["asyncio", "uvloop"] {
            let figures = measure(&setup, event_loop, rounds)?;
            let row = row(&figures);
            let row = format!("| 3.{}, {event_loop} | {row} |\n", interpreter.minor);
            print!("{row}");
            text.push_str(&row);
        }
    }
    notes::replace("What reading the wire costs a server", &text)
}

fn row(rounds: &[[Figures; 4]]) -> String {
    let ratio = |of: fn(&Figures) -> f64, mode: usize| {
        Spread::of(rounds.iter().map(|round| of(&round[mode]) / of(&round[0])))
    };
    let answers: fn(&Figures) -> f64 = |figures| figures.answers;
    let processor: fn(&Figures) -> f64 = |figures| figures.processor;
    let first = |of: fn(&Figures) -> f64| Spread::of(rounds.iter().map(|round| of(&round[0])));
    let of = |of: fn(&Figures) -> f64| {
        format!(
            "{} | {} | {} | {}",
            first(of),
            ratio(of, 1),
            ratio(of, 2),
            ratio(of, 3)
        )
    };
    format!("{} | {}", of(answers), of(processor))
}

fn measure(setup: &Setup, event_loop: &str, rounds: u32) -> Result<Vec<[Figures; 4]>> {
    let mut server = Server::start(&setup.interpreter.python, event_loop)?;
    let mut figures = Vec::new();
    for round in 0..=rounds {
        let mut one = Vec::new();
        for mode in MODES {
            let tracer = trace(&setup.bleedtrace, mode, &server.child)?;
            one.push(server.ask()?);
            if let Some(mut tracer) = tracer {
                interrupt(&mut tracer)?;
            }
        }
        // The first round warms up.
        if round > 0 {
            figures.push([one[0], one[1], one[2], one[3]]);
        }
    }
    Ok(figures)
}

fn trace(bleedtrace: &Path, mode: Mode, server: &Child) -> Result<Option<Child>> {
    let mut command = Command::new(bleedtrace);
    command.args(["trace", "--identity", "tenant", "--pid"]);
    command.arg(server.id().to_string());
    match mode {
        Mode::Off => return Ok(None),
        Mode::Traced => {}
        Mode::Wire => {
            command.args(["--wire", "--tasks=false"]);
        }
        Mode::Tasks => {
            command.arg("--wire");
        }
    }
    wait_for(&mut command, "attached to").map(Some)
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &Path, event_loop: &str) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(workspace::root().join(SERVED)).arg(event_loop);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let port = line.trim().parse();
        let port = port.context("the service says on which port it listens")?;
        Ok(Self { child, port })
    }

    /// Asks for a while.
    fn ask(&mut self) -> Result<Figures> {
        let (answers, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let port = self.port;
        thread::scope(|scope| -> Result<Figures> {
            let asking: Vec<_> = (0..CONNECTIONS)
                .map(|number| {
                    let (answers, stop) = (&answers, &stop);
                    scope.spawn(move || ask(port, number, answers, stop))
                })
                .collect();
            thread::sleep(WARM);
            let (start, first, before) = (
                Instant::now(),
                answers.load(Ordering::Relaxed),
                processor(&self.child)?,
            );
            thread::sleep(MEASURED);
            let answered = (answers.load(Ordering::Relaxed) - first) as f64;
            let (seconds, used) = (start.elapsed().as_secs_f64(), processor(&self.child)? - before);
            stop.store(true, Ordering::Relaxed);
            for one in asking {
                one.join().expect("who asks does not panic")?;
            }
            ensure!(answered > 0.0, "the service did not answer");
            Ok(Figures {
                answers: answered / seconds,
                processor: used / answered * 1e6,
            })
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time that a process took.
fn processor(process: &Child) -> Result<f64> {
    let mut seconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds: f64 = text.split(' ').next().context("a number")?.parse()?;
        seconds += nanoseconds / 1e9;
    }
    Ok(seconds)
}

/// One connection that asks again as soon as it was answered.
fn ask(port: u16, number: usize, answers: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let body = format!(
        r#"{{"id":{number},"name":"order of tenant {number}","lines":["{}"]}}"#,
        "a line of the order\",\"".repeat(8)
    );
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: localhost\r\nX-Tenant: tenant {number}\r\nAuthorization: Bearer token-{number}\r\n\
Accept: application/json\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes())?;
        answer.clear();
        while !is_whole(&answer)? {
            let read = stream.read(&mut buffer)?;
            ensure!(read > 0, "the service closed a connection");
            answer.extend_from_slice(&buffer[..read]);
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether an answer has come to its end.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "the service answered {text}");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .context("the service says how long its answer is")?;
    Ok(answer.len() >= head + 4 + length.parse::<usize>()?)
}
