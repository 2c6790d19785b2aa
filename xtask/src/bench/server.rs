//! A server that is asked for as much as it can answer.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::workspace;

const SERVED: &str = "xtask/src/bench/served.py";
const SERVED_MCP: &str = "xtask/src/bench/served_mcp.py";
const UPSTREAM: &str = "xtask/src/bench/upstream.py";
/// Requests in a row that are measured.
pub const BATCH: usize = 500;
/// Requests before them, to warm up.
pub const WARM: usize = 100;
/// Connections on which the server is asked, each for the next as soon as it was answered.
pub const CONNECTIONS: usize = 8;

/// The text of a request, by the number of the connection.
pub type Request = fn(usize) -> String;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// FastAPI under uvicorn, on this event loop.
    FastApi(&'static str),
    /// A server of MCP's SDK, under uvicorn.
    Mcp,
}

/// Of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Answers in a second.
    pub answers: f64,
    /// Seconds until all but one in a hundred were answered.
    pub tail: f64,
    /// Microseconds of processor time that the server took for an answer.
    pub processor: f64,
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

/// A service, and who asks it.
pub struct Server {
    service: Service,
    connections: Vec<Connection>,
    _upstream: Option<Service>,
}

impl Server {
    /// Starts it, and what it asks itself.
    pub fn start(python: &Path, served: Served, request: Request) -> Result<Self> {
        let (service, upstream) = match served {
            Served::FastApi(event_loop) => {
                let upstream = Service::start(python, UPSTREAM, &[])?;
                let arguments = [event_loop, &upstream.port.to_string()];
                (Service::start(python, SERVED, &arguments)?, Some(upstream))
            }
            Served::Mcp => (Service::start(python, SERVED_MCP, &[])?, None),
        };
        let connections = (0..CONNECTIONS).map(|number| Connection::open(service.port, request(number)));
        Ok(Self {
            connections: connections.collect::<Result<_>>()?,
            service,
            _upstream: upstream,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.service.child.id()
    }

    /// Asks so many times, or a few more: as often on every connection.
    pub fn ask(&mut self, times: usize) -> Result<Figures> {
        let (start, before) = (Instant::now(), processor(self.pid())?);
        let each = times.div_ceil(CONNECTIONS);
        let mut waited = thread::scope(|scope| {
            let asking: Vec<_> = self
                .connections
                .iter_mut()
                .map(|connection| scope.spawn(move || connection.answers(each)))
                .collect();
            let mut waited = Vec::new();
            for asking in asking {
                waited.extend(
                    asking
                        .join()
                        .map_err(|_| anyhow!("who asks the service gave up"))??,
                );
            }
            anyhow::Ok(waited)
        })?;
        let took = start.elapsed().as_secs_f64();
        waited.sort_by(f64::total_cmp);
        let answers = waited.len() as f64;
        let tail = waited.get(waited.len() * 99 / 100);
        Ok(Figures {
            answers: answers / took,
            tail: *tail.context("it was asked")?,
            processor: (processor(self.pid())? - before) / answers * 1e6,
        })
    }
}

/// Seconds of processor time that a process took.
pub fn processor(process: u32) -> Result<f64> {
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

    /// Asks for the next answer as soon as there is one; gives the seconds that each of them took.
    fn answers(&mut self, times: usize) -> Result<Vec<f64>> {
        let mut waited = Vec::with_capacity(times);
        for _ in 0..times {
            let start = Instant::now();
            self.stream.write_all(self.request.as_bytes())?;
            self.answer()?;
            waited.push(start.elapsed().as_secs_f64());
        }
        Ok(waited)
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
pub fn one(number: usize) -> String {
    let body = format!(
        r#"{{"id":{number},"name":"order of tenant {number}","lines":["{}"]}}"#,
        "a line of the order\",\"".repeat(8)
    );
    let head = head("POST /orders", number);
    let length = body.len();
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Asks for orders that another service keeps.
pub fn forwarded(number: usize) -> String {
    let head = head(&format!("GET /orders?first={number}"), number);
    format!("{head}\r\n")
}

/// Asks for some work, with ten reads and a handoff.
pub fn work(number: usize) -> String {
    format!("{}\r\n", head("GET /work", number))
}

/// Calls a tool that does the same.
pub fn tool(number: usize) -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work","arguments":{}}}"#;
    let head = head("POST /mcp", number);
    let length = body.len();
    format!(
        "{head}MCP-Protocol-Version: 2025-06-18\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn head(line: &str, number: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX-Tenant: tenant {number}\r\nAuthorization: Bearer token-{number}\r\n\
Accept: application/json, text/event-stream\r\nUser-Agent: bench\r\n"
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
