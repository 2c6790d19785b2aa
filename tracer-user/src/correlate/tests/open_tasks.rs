//! More open tasks than are remembered: what was forgotten is counted, and nothing is said of it.

use crate::{
    correlate::{
        engine::Engine,
        event::{Bytes, Handle, TargetId, What},
        fact::{Fact, FactKind, Table},
        finding::Kind,
        ledger::PollOutcome,
        settings::Settings,
        testing::{LOOP, World},
    },
    wire::{
        chunk::{Direction, Transport},
        rules::{Bounds, Rules},
    },
};

/// A server that answers one request after the other on one connection, and an engine that watches it.
struct Server {
    world: World,
    engine: Engine,
    said: Vec<Fact>,
}

impl Server {
    /// Watched by what remembers so many tasks.
    fn new(tasks: usize) -> Self {
        let bounds = Bounds {
            tasks,
            ..Bounds::default()
        };
        let mut engine = Engine::new(Settings {
            wire: Some(Rules {
                bounds,
                ..Rules::new(&[3; 32], &[""; 0])
            }),
            ..Settings::default()
        });
        engine.serves(TargetId(1), "service");
        Self {
            world: World::new(),
            engine,
            said: Vec::new(),
        }
    }

    fn wire(&mut self, direction: Direction, start: &str, body: &str) {
        let text = format!(
            "{start}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = Bytes {
            stream: Handle {
                transport: Transport::Socket,
                number: 1,
                generation: 0,
            },
            direction,
            offset: 0,
            total: text.len() as u64,
            last: true,
            lost_before: false,
            bytes: text.as_bytes().into(),
            context: None,
        };
        self.world.emit(LOOP, What::Wire(Box::new(bytes)));
        for event in std::mem::take(&mut self.world.events) {
            self.engine.apply(&event, &mut self.said);
        }
    }

    fn ask(&mut self, who: &str, method: &str, params: &str, answer: &str) {
        let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        self.wire(
            Direction::In,
            &format!("POST /mcp HTTP/1.1\r\nx-api-key: {who}"),
            &request,
        );
        let response = format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#);
        self.wire(Direction::Out, "HTTP/1.1 200 OK", &response);
    }

    fn mint(&mut self, who: &str, task: usize) {
        let answer = format!(r#""result":{{"resultType":"task","taskId":"{task}"}}"#);
        self.ask(who, "tools/call", r#"{"name":"work"}"#, &answer);
    }

    fn poll(&mut self, who: &str, task: usize, served: bool) {
        let answer = if served {
            format!(r#""result":{{"resultType":"complete","taskId":"{task}"}}"#)
        } else {
            r#""error":{"code":-32602,"message":"Task not found"}"#.to_owned()
        };
        self.ask(who, "tasks/get", &format!(r#"{{"taskId":"{task}"}}"#), &answer);
    }

    /// What was said since the last time.
    fn said(&mut self) -> Vec<FactKind> {
        std::mem::take(&mut self.said)
            .into_iter()
            .map(|fact| fact.what)
            .collect()
    }
}

fn forgotten(said: &[FactKind]) -> u64 {
    said.iter()
        .map(|what| match what {
            FactKind::Evicted(Table::Tasks, entries) => *entries,
            _ => 0,
        })
        .sum()
}

fn findings(said: &[FactKind]) -> Vec<Kind> {
    said.iter()
        .filter_map(|what| match what {
            FactKind::Finding(finding) => Some(finding.kind),
            _ => None,
        })
        .collect()
}

fn polls(said: &[FactKind]) -> Vec<PollOutcome> {
    said.iter()
        .filter_map(|what| match what {
            FactKind::Poll(outcome) => Some(*outcome),
            _ => None,
        })
        .collect()
}

#[test]
fn a_hundred_thousand_open_tasks_are_known_and_what_was_forgotten_is_not_judged() {
    let mut server = Server::new(100_000);
    for task in 0..100_000 {
        server.mint("acme", task);
    }
    assert_eq!(forgotten(&server.said()), 0);
    // Each is known: whoever else asks for the first or the last is a stranger.
    for task in [0, 99_999] {
        server.poll("globex", task, true);
        server.poll("acme", task, false);
    }
    let said = server.said();
    assert_eq!(findings(&said), [Kind::ForeignPoll, Kind::OwnerRefused].repeat(2));

    // There is no room for more, and the oldest go.
    for task in 100_000..101_000 {
        server.mint("acme", task);
    }
    assert_eq!(forgotten(&server.said()), 1_000);
    for task in 10..20 {
        server.poll("globex", task, true);
        server.poll("acme", task, false);
        server.poll("acme", task, true);
    }
    let said = server.said();
    assert_eq!(findings(&said), [], "nobody knows any more whose they are");
    assert_eq!(
        polls(&said),
        [PollOutcome::Served, PollOutcome::Refused, PollOutcome::Served].repeat(10)
    );
    server.poll("globex", 100_999, true);
    assert_eq!(findings(&server.said()), [Kind::ForeignPoll]);
}
