//! What reading the wire costs a server: its throughput and its processor time, traced and untraced.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Running, Setup, Trace, installed, is_main};

use super::{notes, statistics::Spread};
use crate::workspace;

const SERVED: &str = "xtask/src/bench/served.py";
const UPSTREAM: &str = "xtask/src/bench/upstream.py";
/// Requests in a row that are measured, and before them, to warm up.
const BATCH: usize = 500;
const WARM: usize = 100;
/// Connections on which the server is asked, each for the next as soon as it was answered.
const CONNECTIONS: usize = 8;
/// Turns of each way in a round: the machine's speed may change from one second to the next.
const TURNS: u32 = 3;

/// The text of a request, by the number of the connection.
type Request = fn(usize) -> String;

/// What the server is asked for: the least that such a service does, and what another service has to be asked for.
const ASKED: [(&str, Request); 2] = [("one order", one), ("a gateway", forwarded)];

/// A way of watching the server.
struct Way {
    name: &'static str,
    /// Which process is traced, if any.
    traced: Traced,
    options: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Traced {
    Nobody,
    /// Another process of the same interpreter: the server is hit, and passed over at once.
    Neighbour,
    Server,
}

const WAYS: [Way; 5] = [
    Way {
        name: "untraced",
        traced: Traced::Nobody,
        options: &[],
    },
    Way {
        name: "a neighbour",
        traced: Traced::Neighbour,
        options: &["--wire", "--tasks=false"],
    },
    Way {
        name: "traced",
        traced: Traced::Server,
        options: &[],
    },
    Way {
        name: "wire",
        traced: Traced::Server,
        options: &["--wire", "--tasks=false"],
    },
    Way {
        name: "wire and tasks",
        traced: Traced::Server,
        options: &["--wire"],
    },
];

/// Of one batch.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Answers in a second.
    answers: f64,
    /// Microseconds of processor time that the server took for an answer.
    processor: f64,
}

/// Of the same batch, for an answer, if the server is traced.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    hits: f64,
    /// Microseconds of processor time that the tracer took.
    tracer: f64,
}

/// A batch each way.
type Turn = [(Figures, Probes); WAYS.len()];

/// Prints the figures and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let turns = rounds * TURNS;
    let mut text = format!(
        "A FastAPI service under uvicorn, asked {BATCH} times by {CONNECTIONS} connections for as much as it can answer: untraced, while \
`trace --wire` watches another process of the same interpreter (*a neighbour*: every probe is hit, and passed over at once, so that \
nothing that is traced can cost less), with `trace --identity` (*traced*), with `--wire --tasks=false`, and with `--wire`, {turns} turns of the \
five; a ratio is to the untraced batch of the same turn. *One order* is the least that such a service does: it takes one in, and \
says a few words of it; a *gateway* asks another service, with httpx, and checks what that answers. *Answers* are those in a second (goal with the wire: at \
least 0.95), *time* is the service's own processor time for one, with what probes take. Then, for an answer: how often probes are \
hit, and what the tracer takes elsewhere. The service, the tracer and who asks share two processors; where \
a machine's own host takes turns away from it, answers tell less than times, and times less than hits.\n\n\
| CPython, loop, asked for | untraced, answers/s | µs an answer | way | answers | time | hits | tracer, µs |\n\
|---|---|---|---|---|---|---|---|\n"
    );
    for interpreter in installed().into_iter().filter(|interpreter| is_main(interpreter)) {
        let setup = Setup::new(&bleedtrace, interpreter).with_requirements("loops");
        let setup = setup.context("the packages of requirements/loops.txt cannot be had")?;
        for event_loop in ["asyncio", "uvloop"] {
            for (what, request) in ASKED {
                let name = format!("3.{}, {event_loop}, {what}", interpreter.minor);
                let rows = rows(&name, &measure(&setup, event_loop, request, turns)?);
                print!("{rows}");
                text.push_str(&rows);
            }
        }
    }
    notes::replace("What reading the wire costs a server", &text)
}

/// A line for each way of tracing.
fn rows(name: &str, turns: &[Turn]) -> String {
    let untraced = |of: fn(&Figures) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[0].0)));
    let answers = |figures: &Figures| figures.answers;
    let processor = |figures: &Figures| figures.processor;
    let line = |way: usize| {
        let ratio =
            |of: fn(&Figures) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[way].0) / of(&turn[0].0)));
        let probes = |of: fn(&Probes) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[way].1))).median;
        format!(
            "| {name} | {} | {} | {} | {} | {} | {:.1} | {:.0} |\n",
            untraced(answers),
            untraced(processor),
            WAYS[way].name,
            ratio(answers),
            ratio(processor),
            probes(|probes| probes.hits),
            probes(|probes| probes.tracer)
        )
    };
    (1..WAYS.len()).map(line).collect()
}

fn measure(setup: &Setup, event_loop: &str, request: Request, turns: u32) -> Result<Vec<Turn>> {
    let start = || Server::start(&setup.interpreter.python, event_loop, request);
    let (mut server, mut neighbour) = (start()?, start()?);
    server.ask(BATCH)?;
    // What it loads only when it is asked is there now, too.
    neighbour.ask(WARM)?;
    (0..turns)
        .map(|_| turn(setup, &mut server, neighbour.pid()))
        .collect()
}

fn turn(setup: &Setup, server: &mut Server, neighbour: u32) -> Result<Turn> {
    let mut turn = Turn::default();
    for ((figures, probes), way) in turn.iter_mut().zip(WAYS) {
        let traced = match way.traced {
            Traced::Nobody => None,
            Traced::Neighbour => Some(neighbour),
            Traced::Server => Some(server.pid()),
        };
        let trace = |process| Trace::new(setup, "tenant").flags(way.options).attach(process);
        let tracer = traced.map(trace);
        server.ask(WARM)?;
        let before = tracer.as_ref().map(taken).transpose()?;
        *figures = server.ask(BATCH)?;
        let after = tracer.as_ref().map(taken).transpose()?;
        if let Some(tracer) = tracer {
            tracer.program.signal("INT");
            let hits = tracer.end().summary["overhead"]["probe_hits"].as_f64();
            *probes = Probes {
                hits: hits.context("the tracer counts")? / (WARM + BATCH) as f64,
                tracer: (after.unwrap_or_default() - before.unwrap_or_default()) * 1e6 / BATCH as f64,
            };
        }
    }
    Ok(turn)
}

/// Seconds of processor time that a tracer took so far.
fn taken(tracer: &Running) -> Result<f64> {
    processor(tracer.program.pid())
}

/// A process that listens on a port.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(python: &Path, script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(workspace::root().join(script)).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let port = line.trim().parse();
        let port = port.with_context(|| format!("{script} says on which port it listens"))?;
        Ok(Self { child, port })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Server {
    service: Service,
    connections: Vec<Connection>,
    _upstream: Service,
}

impl Server {
    fn start(python: &Path, event_loop: &str, request: Request) -> Result<Self> {
        let upstream = Service::start(python, UPSTREAM, &[])?;
        let service = Service::start(python, SERVED, &[event_loop, &upstream.port.to_string()])?;
        let connections = (0..CONNECTIONS).map(|number| Connection::open(service.port, request(number)));
        Ok(Self {
            connections: connections.collect::<Result<_>>()?,
            service,
            _upstream: upstream,
        })
    }

    fn pid(&self) -> u32 {
        self.service.child.id()
    }

    /// Asks so many times.
    fn ask(&mut self, times: usize) -> Result<Figures> {
        let (start, before) = (Instant::now(), processor(self.pid())?);
        for connection in &mut self.connections {
            connection.ask()?;
        }
        for number in 0..times {
            let connection = &mut self.connections[number % CONNECTIONS];
            connection.answer()?;
            if number + CONNECTIONS < times {
                connection.ask()?;
            }
        }
        let answers = times as f64;
        Ok(Figures {
            answers: answers / start.elapsed().as_secs_f64(),
            processor: (processor(self.pid())? - before) / answers * 1e6,
        })
    }
}

/// Seconds of processor time that a process took.
fn processor(process: u32) -> Result<f64> {
    let mut seconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds: f64 = text.split(' ').next().context("a number")?.parse()?;
        seconds += nanoseconds / 1e9;
    }
    Ok(seconds)
}

/// A connection on which the same is asked again and again.
struct Connection {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Connection {
    fn open(port: u16, request: String) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request,
            answer: Vec::new(),
        })
    }

    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.request.as_bytes())?;
        Ok(())
    }

    fn answer(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        self.answer.clear();
        while !is_whole(&self.answer)? {
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the service closed a connection");
            self.answer.extend_from_slice(&buffer[..read]);
        }
        Ok(())
    }
}

/// Hands in an order.
fn one(number: usize) -> String {
    let body = format!(
        r#"{{"id":{number},"name":"order of tenant {number}","lines":["{}"]}}"#,
        "a line of the order\",\"".repeat(8)
    );
    let head = head("POST /orders", number);
    let length = body.len();
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Asks for orders that another service keeps.
fn forwarded(number: usize) -> String {
    let head = head(&format!("GET /orders?first={number}"), number);
    format!("{head}\r\n")
}

fn head(line: &str, number: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nX-Tenant: tenant {number}\r\nAuthorization: Bearer token-{number}\r\n\
Accept: application/json\r\nUser-Agent: bench\r\n"
    )
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
