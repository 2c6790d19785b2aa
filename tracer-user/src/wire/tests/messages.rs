//! Messages one by one: how bodies are framed, what is missing, and who answers whom.

use std::fmt::Write as _;

use crate::wire::{
    Wire,
    chunk::{Chunk, Transport},
    fact::{Fact, Outcome, Side},
    reason::Reason,
    testing::{call, cut, facts, ok, post, rules, said, sent, stream},
};

const MINT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"taskId":"t-1","status":"working","ttlMs":60000,"resultType":"task"}}"#;
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work","arguments":{}}}"#;
const GET: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t-1"}}"#;

fn outcomes(facts: &[Fact]) -> Vec<&Outcome> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Response(response) => response.request.is_some().then_some(&response.outcome),
            _ => None,
        })
        .collect()
}

fn reasons(facts: &[Fact]) -> Vec<Reason> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Unparsed(_, reason) => Some(*reason),
            _ => None,
        })
        .collect()
}

fn minted(facts: &[Fact]) -> usize {
    let minted = |outcome: &&&Outcome| matches!(outcome, Outcome::Minted { .. });
    outcomes(facts).iter().filter(minted).count()
}

/// The facts of a response to a call of a tool.
fn answered(response: &[u8]) -> Vec<Fact> {
    facts(&[call(&post("", CALL)), sent(response)])
}

fn chunked(body: &str, sizes: usize) -> Vec<u8> {
    let mut out =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n".to_vec();
    for part in body.as_bytes().chunks(sizes) {
        out.extend(format!("{:x};name=value\r\n", part.len()).bytes());
        out.extend(part);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\nTrailer: x\r\n\r\n");
    out
}

#[test]
fn bodies_of_every_framing() {
    for response in [
        ok(MINT),
        chunked(MINT, 7),
        chunked(MINT, 5000),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\n{}",
            String::from_utf8(ok(MINT)).unwrap()
        )
        .into_bytes(),
    ] {
        let said = answered(&response);
        assert_eq!((minted(&said), reasons(&said)), (1, vec![]), "{said:?}");
    }
    let close = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{MINT}");
    let mut wire = Wire::new(rules());
    let mut said = Vec::new();
    wire.apply(&call(&post("", CALL)), &mut said);
    wire.apply(&sent(close.as_bytes()), &mut said);
    assert_eq!(minted(&said), 0);
    wire.close(stream(Transport::Socket, 7), &mut said);
    assert_eq!(minted(&said), 1, "the end of the connection ends the body");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"a"}},
                    {"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{"taskId":"b"}}]"#;
    let both = r#"[{"jsonrpc":"2.0","id":2,"result":{"taskId":"b","status":"working"}},
                   {"jsonrpc":"2.0","id":1,"result":{"taskId":"a","status":"working"}}]"#;
    let mut asked = post("Authorization: a\r\n", CALL);
    asked.extend(b"HEAD / HTTP/1.1\r\n\r\n");
    asked.extend(post("Authorization: b\r\n", GET));
    asked.extend(post("", batch));
    let mut answers = ok(MINT);
    answers.extend(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n");
    answers.extend(ok(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Task t-1 not found"}}"#,
    ));
    answers.extend(ok(both));
    let said = facts(&[call(&asked), sent(&answers)]);
    assert_eq!(reasons(&said), []);
    let outcomes = outcomes(&said);
    assert!(matches!(outcomes[0], Outcome::Minted { .. }));
    assert_eq!(*outcomes[1], Outcome::Refused { unknown: true });
    assert!(matches!(
        outcomes[2..],
        [Outcome::State { .. }, Outcome::State { .. }]
    ));
}

#[test]
fn what_was_sent_to_an_upstream_is_the_clients_side() {
    let said = facts(&[sent(&post("", CALL)), call(&ok(MINT))]);
    assert_eq!(minted(&said), 1);
    for fact in &said {
        match fact {
            Fact::Request(request) => assert_eq!(request.side, Side::Client),
            Fact::Response(response) => assert_eq!(response.side, Side::Client),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn handles_are_known_by_where_they_stand() {
    let minted_by = |result: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        minted(&answered(&ok(&body)))
    };
    assert_eq!(minted_by(r#"{"resultType":"task","taskId":"t"}"#), 1);
    assert_eq!(minted_by(r#"{"resultType" : "task", "task\u0049d" : "t"}"#), 1);
    assert_eq!(minted_by(r#"{"task":{"taskId":"t","status":"working"}}"#), 1);
    assert_eq!(
        minted_by(r#"{"content":[{"resultType":"task","taskId":"t"}]}"#),
        0
    );
    assert_eq!(minted_by(r#"{"result":{"resultType":"task","taskId":"t"}}"#), 0);
    assert_eq!(minted_by(r#"{"task":{"taskId":"t"}}"#), 0, "somebody else's task");
    assert_eq!(minted_by(r#"{"task":"resultType","taskId":7}"#), 0);
    assert_eq!(
        minted_by(r#"{"resultType":"complete","taskId":"t","status":"working"}"#),
        0
    );
    let poll = facts(&[call(&post("", GET)), sent(&ok(MINT))]);
    assert!(
        matches!(outcomes(&poll)[..], [Outcome::State { .. }]),
        "a poll mints nothing"
    );
}

#[test]
fn compressed_bodies_are_skipped_and_counted() {
    let gzip = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let again = post("", CALL);
    let said = facts(&[call(&post("", CALL)), sent(gzip), call(&again), sent(&ok(MINT))]);
    assert_eq!(reasons(&said), [Reason::Encoded]);
    assert_eq!(minted(&said), 1, "the next exchange is read again");
}

#[test]
fn a_body_that_is_cut_says_what_came_early() {
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"work","arguments":{{"x":"{}"}}}}}}"#,
        "y".repeat(9000)
    );
    let asked = post("Authorization: a\r\n", &long);
    let said = facts(&[cut(call(&asked), 1024), sent(&ok(MINT))]);
    assert_eq!(minted(&said), 1);
    let Fact::Request(request) = &said[0] else {
        panic!("{said:?}")
    };
    assert_eq!(request.tool.as_deref(), Some("work"));
    // Clients of the older generation write the id last: of a single request it is not needed.
    let late = format!(
        r#"{{"method":"tools/call","params":{{"name":"work","arguments":{{"x":"{}"}}}},"jsonrpc":"2.0","id":1}}"#,
        "y".repeat(9000)
    );
    let said = facts(&[cut(call(&post("", &late)), 1024), sent(&ok(MINT))]);
    assert_eq!(minted(&said), 1);
    // A handle whose kind is not known is none.
    let tail = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"taskId":"t","status":"working","x":"{}","resultType":"task"}}}}"#,
        "y".repeat(9000)
    );
    let answer = ok(&tail);
    let said = facts(&[call(&post("", CALL)), cut(sent(&answer), 1024)]);
    assert_eq!((minted(&said), reasons(&said)), (0, vec![Reason::Cut]));
    assert_eq!(outcomes(&said), [&Outcome::Unclear]);
    // What comes before the handle is long: it may be there, or not. What a tool has made is no handle.
    let meta = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"_meta":{{"x":"{}"}},"#,
        "y".repeat(9000)
    );
    let (handle, made) = (r#""taskId":"t","resultType":"task"}}"#, r#""content":[]}}"#);
    for rest in [handle, made] {
        let long = ok(&format!("{meta}{rest}"));
        let said = facts(&[call(&post("", CALL)), cut(sent(&long), 1024)]);
        assert_eq!((minted(&said), reasons(&said)), (0, vec![Reason::Cut]), "{rest}");
    }
    let text = "y".repeat(9000);
    let long = ok(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#
    ));
    let said = facts(&[call(&post("", CALL)), cut(sent(&long), 1024)]);
    assert_eq!((minted(&said), reasons(&said)), (0, vec![]));
    // A poll's answer tells whose state it is before it tells the state.
    let said = facts(&[call(&post("", GET)), cut(sent(&answer), 1024)]);
    assert!(matches!(outcomes(&said)[..], [Outcome::State { .. }]));
}

#[test]
fn a_value_that_is_cut_is_not_taken_for_a_whole_one() {
    for at in 0..CALL.len() {
        let mut body = CALL.to_owned();
        body.push_str(&" ".repeat(50));
        let asked = post("", &body);
        let head = asked.len() - body.len();
        for fact in facts(&[cut(call(&asked), head + at)]) {
            if let Fact::Request(request) = fact {
                let id = request.id.map(|id| format!("{id:?}"));
                assert!(id.is_none_or(|id| id == "Number(1)"));
                assert!(request.tool.as_ref().is_none_or(|tool| &**tool == "work"));
            }
        }
    }
    let asked = post("", r#"{"jsonrpc":"2.0","method":"tasks/get","id":1234}"#);
    let said = facts(&[cut(call(&asked), asked.len() - 3)]);
    assert!(
        matches!(&said[..], [Fact::Request(request)] if request.id.is_none()),
        "{said:?}"
    );
}

#[test]
fn after_a_gap_the_next_message_is_read() {
    let long_head = post(&format!("Cookie: {}\r\n", "c".repeat(3000)), CALL);
    let said = facts(&[
        cut(call(&long_head), 1024),
        call(b"x".repeat(100).as_slice()),
        sent(&ok(MINT)),
        call(&post("", CALL)),
        sent(&ok(MINT)),
    ]);
    assert_eq!(reasons(&said), [Reason::HeadCut]);
    assert_eq!(minted(&said), 1);
    let unknown = said
        .iter()
        .filter(|fact| matches!(fact, Fact::Response(r) if r.request.is_none()));
    assert_eq!(unknown.count(), 1, "a handle for somebody who was not seen");
    let asked = post("", CALL);
    let said = facts(&[call(b"} the end of a body"), call(&asked), sent(&ok(MINT))]);
    assert_eq!((minted(&said), reasons(&said)), (1, vec![Reason::NoStart]));
}

#[test]
fn a_lost_call_leaves_nobody_with_anothers_answer() {
    let first = post("Authorization: a\r\n", CALL);
    let second = post("Authorization: b\r\n", &CALL.replace("\"id\":1", "\"id\":2"));
    let lost = Chunk {
        lost_before: true,
        ..call(&second)
    };
    // The first answer comes late, when only the second request is waited for.
    let said = facts(&[call(&first), lost.clone(), sent(&ok(MINT))]);
    assert_eq!(minted(&said), 0, "{said:?}");
    let late = MINT.replace("\"id\":1", "\"id\":2");
    let said = facts(&[call(&first), lost, sent(&ok(&late))]);
    assert_eq!(minted(&said), 1);
}

#[test]
fn events_are_answers_to_the_requests_that_wait() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = |text: &str| {
        let event = format!("event: message\r\nid: 9\r\ndata: {text}\r\n\r\n");
        format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    let note = event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);
    let ask = event(r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}"#);
    let answer = event(MINT);
    let asked = post("Mcp-Session-Id: s\r\n", CALL);
    let exchange = [
        call(&asked),
        sent(head.as_bytes()),
        sent(&note),
        sent(&ask),
        sent(&answer),
    ];
    let said = facts(&exchange);
    assert_eq!((minted(&said), reasons(&said)), (1, vec![]));
    // The connection ends before the answer, which comes on the session's other one.
    let other = |chunk: Chunk<'static>| Chunk {
        stream: stream(Transport::Socket, 8),
        ..chunk
    };
    let get = b"GET /mcp HTTP/1.1\r\nMcp-Session-Id: s\r\n\r\n";
    let stranger = b"GET /mcp HTTP/1.1\r\nMcp-Session-Id: other\r\n\r\n";
    for (get, minted_then) in [(&get[..], 1), (&stranger[..], 0)] {
        let mut wire = Wire::new(rules());
        let mut said = Vec::new();
        wire.apply(&call(&asked), &mut said);
        wire.apply(&sent(head.as_bytes()), &mut said);
        wire.apply(&sent(b"0\r\n\r\n"), &mut said);
        wire.apply(&other(call(get)), &mut said);
        let head = sent(head.as_bytes());
        wire.apply(
            &Chunk {
                stream: stream(Transport::Socket, 8),
                ..head
            },
            &mut said,
        );
        let answer = sent(&answer);
        wire.apply(
            &Chunk {
                stream: stream(Transport::Socket, 8),
                ..answer
            },
            &mut said,
        );
        assert_eq!(minted(&said), minted_then, "{said:?}");
    }
}

#[test]
fn an_event_that_is_cut_does_not_spoil_the_next() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let long = format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":\"{}\"}}\n\n",
        "x".repeat(5000)
    );
    let answer = format!("data: {MINT}\n\n");
    let said = facts(&[
        call(&post("", CALL)),
        sent(head),
        cut(sent(long.as_bytes()), 1024),
        sent(b": the rest of a long event, up to here\n\n"),
        sent(answer.as_bytes()),
    ]);
    assert_eq!(minted(&said), 1, "{said:?}");
}

#[test]
fn statuses_answer_what_nothing_else_does() {
    let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno";
    let said = facts(&[call(&post("", GET)), sent(refused)]);
    assert_eq!(outcomes(&said), [&Outcome::Failed(401)]);
    let error =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#;
    let body = String::from_utf8(ok(error))
        .unwrap()
        .replace("200 OK", "404 Not Found");
    let said = facts(&[call(&post("", GET)), sent(body.as_bytes())]);
    assert_eq!(outcomes(&said), [&Outcome::Failed(404)]);
}

#[test]
fn errors_that_say_that_there_is_no_such_task() {
    let refused = |error: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        outcomes(&facts(&[call(&post("", GET)), sent(&ok(&body))]))[0].clone()
    };
    let unknown = Outcome::Refused { unknown: true };
    assert_eq!(refused(r#"{"code":-32602,"message":"x"}"#), unknown);
    assert_eq!(refused(r#"{"code":-32000,"message":"Unknown task"}"#), unknown);
    assert_ne!(
        refused(r#"{"code":-32603,"message":"database not found"}"#),
        unknown
    );
    assert_ne!(refused("null"), unknown);
}

#[test]
fn other_protocols_are_left_alone() {
    let upgrade = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let said = facts(&[
        call(upgrade),
        sent(switched),
        sent(&ok(MINT)),
        sent(b"\x81\x05hello"),
    ]);
    assert_eq!(reasons(&said), [Reason::Upgraded]);
    let rest =
        b"POST /api HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"id\": 1}";
    assert_eq!(facts(&[call(rest), sent(&ok(r#"{"id":1,"result":{}}"#))]), []);
    assert_eq!(
        reasons(&facts(&[call(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")])),
        [Reason::NoStart]
    );
}

#[test]
fn who_asks_comes_from_every_configured_header() {
    let by = |headers: &str| match &facts(&[call(&post(headers, GET))])[..] {
        [Fact::Request(request)] => request.credential,
        other => panic!("{other:?}"),
    };
    assert_eq!(by(""), None);
    let one = by("x-tenant-key: 1\r\n");
    assert!(one.is_some() && one != by("X-API-Key: 1\r\n") && one != by("X-Tenant-Key: 2\r\n"));
    assert_eq!(one, by("X-TENANT-KEY:   1  \r\nUser-Agent: other\r\n"));
}

#[test]
fn lines_are_messages() {
    let on = |chunk: Chunk<'static>| Chunk {
        stream: stream(Transport::Stdio, 0),
        ..chunk
    };
    let line = |text: &str| -> &'static [u8] { format!("{text}\n").leak().as_bytes() };
    let said_of = |chunks: &[Chunk<'_>]| facts(chunks);
    let said = said_of(&[on(call(line(CALL))), on(sent(line(MINT)))]);
    assert_eq!((minted(&said), reasons(&said)), (1, vec![]));
    // A server's own question is answered on the same pipe, with an id of its own.
    let asks = line(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#);
    let answers = line(r#"{"jsonrpc":"2.0","id":1,"result":{"role":"user"}}"#);
    let said = said_of(&[
        on(call(line(CALL))),
        on(sent(asks)),
        on(call(answers)),
        on(sent(line(MINT))),
    ]);
    assert_eq!(
        (minted(&said), reasons(&said)),
        (1, vec![]),
        "{:?}",
        super::super::testing::said(&said)
    );
    // What is cut does not spoil what follows.
    let long = line(&CALL.replace("{}}}", &format!("{{\"x\":\"{}\"}}}}}}", "y".repeat(9000))));
    let next = line(&GET.replace("\"id\":1", "\"id\":2"));
    let said = said_of(&[on(cut(call(long), 1024)), on(call(next))]);
    assert_eq!(said.len(), 2, "{said:?}");
    // Of two requests by one id nobody knows which is answered.
    let said = said_of(&[on(call(line(CALL))), on(call(line(GET))), on(sent(line(MINT)))]);
    assert_eq!(minted(&said), 0);
}

#[test]
fn nothing_secret_is_shown_or_kept() {
    let secrets = [
        "s3cr3t-token",
        "s3cr3t-key",
        "s3cr3t-tenant",
        "s3cr3t-session",
        "s3cr3t-task",
    ];
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"s3cr3t-task"}}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"taskId":"s3cr3t-task","status":"working"}}"#;
    let headers = "Authorization: Bearer s3cr3t-token\r\nX-API-Key: s3cr3t-key\r\nX-Tenant-Key: s3cr3t-tenant\r\nMcp-Session-Id: s3cr3t-session\r\n";
    let (asked, answered) = (post(headers, body), ok(answer));
    let mut wire = Wire::new(rules());
    let mut shown = String::new();
    let mut facts = Vec::new();
    // Byte by byte, so that every state in between is looked at.
    for chunk in asked.chunks(1).map(call).chain(answered.chunks(1).map(sent)) {
        wire.apply(&chunk, &mut facts);
        write!(shown, "{chunk:?} {wire:?} {wire:#?}").unwrap();
    }
    write!(shown, "{facts:?} {:?}", said(&facts)).unwrap();
    assert_eq!(outcomes(&facts).len(), 1);
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}");
    }
    // Nor as bytes: in a Debug list of numbers, or in hexadecimal.
    for secret in secrets {
        let numbers = format!("{:?}", secret.as_bytes());
        assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{secret}");
    }
}

#[test]
fn what_a_client_answers_is_no_request() {
    for answer in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"role":"user"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    ] {
        let accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(facts(&[call(&post("", answer)), sent(accepted)]), []);
    }
}

#[test]
fn a_process_that_ends_leaves_nothing_behind() {
    let mut wire = Wire::new(rules());
    let mut said = Vec::new();
    let line = format!("{CALL}\n");
    let pipe = stream(Transport::Stdio, 0);
    let asked = Chunk {
        stream: pipe,
        ..call(line.as_bytes())
    };
    wire.apply(&asked, &mut said);
    wire.exit(pipe.process, &mut said);
    // The number of the process is another's now: what it writes answers nothing.
    let answer = format!("{MINT}\n");
    let answer = Chunk {
        stream: pipe,
        ..sent(answer.as_bytes())
    };
    wire.apply(&answer, &mut said);
    assert_eq!(minted(&said), 0);
}

#[test]
fn what_no_header_says_shows_in_the_body() {
    let unsaid = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("Content-Type: application/json\r\n", "")
            .replace("content-type: application/json\r\n", "")
            .into_bytes()
    };
    let said = facts(&[call(&unsaid(post("", CALL))), sent(&unsaid(ok(MINT)))]);
    assert_eq!((minted(&said), reasons(&said)), (1, vec![]));
    let said = facts(&[call(&unsaid(post("", "a=b"))), sent(&unsaid(ok("done")))]);
    assert_eq!(said, []);
}

#[test]
fn bytes_that_a_call_did_not_move_after_all_are_got_over() {
    // A call that sends is told when it is made: what it could not send is told again with the next.
    let answer = ok(MINT);
    let next = post("", &CALL.replace("\"id\":1", "\"id\":2"));
    let late = ok(&MINT.replace("\"id\":1", "\"id\":2"));
    for sent_first in [0, 10, 80, answer.len() - 1] {
        let said = facts(&[
            call(&post("", CALL)),
            sent(&answer),
            sent(&answer[sent_first..]),
            call(&next),
            sent(&late),
        ]);
        assert_eq!(minted(&said), 2, "{sent_first}: {said:?}");
    }
}
