use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};

use std::sync::Arc;

use super::{Run, SECOND, busy, finding};
use crate::{
    correlate::{
        event::{Primitive, Slot},
        fact::{Carried, FactKind, HopWhat, ReadResult},
        finding::Kind,
    },
    report::top::{render::Renderer, snapshot::Snapshot, text, ui::Ui},
};

fn terminal(width: u16, height: u16, keys: &str, snapshot: &Snapshot, colour: bool) -> Terminal<TestBackend> {
    let latest = Arc::new(snapshot.clone());
    let mut ui = Ui::default();
    for c in keys.chars() {
        let code = if c == '\n' {
            KeyCode::Enter
        } else {
            KeyCode::Char(c)
        };
        ui.key(KeyEvent::new(code, KeyModifiers::NONE), Some(&latest));
    }
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    let mut renderer = Renderer::new(colour);
    terminal
        .draw(|frame| renderer.draw(frame, Some(&latest), &ui))
        .expect("it can be drawn on");
    terminal
}

fn screen(width: u16, height: u16, keys: &str, snapshot: &Snapshot) -> String {
    terminal(width, height, keys, snapshot, true)
        .backend()
        .to_string()
}

#[test]
fn every_view_at_its_ease() {
    let snapshot = busy().snapshot(2 * SECOND);
    insta::assert_snapshot!("findings", screen(100, 10, "1", &snapshot));
    insta::assert_snapshot!("services", screen(100, 10, "2", &snapshot));
    insta::assert_snapshot!("hops", screen(100, 10, "3", &snapshot));
    insta::assert_snapshot!("threads", screen(100, 10, "4", &snapshot));
    insta::assert_snapshot!("tracer", screen(100, 12, "5", &snapshot));
    insta::assert_snapshot!("detail_of_a_finding", screen(100, 30, "1\n", &snapshot));
    insta::assert_snapshot!("detail_of_a_service", screen(80, 18, "2\n", &snapshot));
    insta::assert_snapshot!("detail_of_a_thread", screen(80, 18, "4\n", &snapshot));
    insta::assert_snapshot!("help", screen(80, 16, "?", &snapshot));
}

#[test]
fn where_there_is_little_room() {
    let snapshot = busy().snapshot(2 * SECOND);
    insta::assert_snapshot!("findings_40", screen(40, 12, "1", &snapshot));
    insta::assert_snapshot!("services_40", screen(40, 12, "2", &snapshot));
    insta::assert_snapshot!("hops_40", screen(40, 12, "3", &snapshot));
    insta::assert_snapshot!("tracer_40", screen(40, 14, "5", &snapshot));
    insta::assert_snapshot!("detail_40", screen(40, 16, "1\n", &snapshot));
    insta::assert_snapshot!("typing_40", screen(40, 8, "/blee", &snapshot));
    insta::assert_snapshot!("findings_24", screen(24, 7, "1", &snapshot));
}

#[test]
fn no_size_is_too_small_to_live_with() {
    let snapshot = busy().snapshot(2 * SECOND);
    for keys in ["1", "2", "3", "4", "5", "1\n", "4\n", "?", "/x"] {
        for width in 1..60 {
            for height in [1, 2, 5, 6, 7, 20] {
                screen(width, height, keys, &snapshot);
            }
        }
    }
    assert!(screen(12, 3, "1", &snapshot).contains("too small"));
}

#[test]
fn where_nothing_was_seen_silence_is_not_taken_for_proof() {
    let mut run = Run::new();
    insta::assert_snapshot!("nothing", screen(80, 8, "1", &run.snapshot(SECOND)));
    run.attach(1, "proxy", 4242);
    let shown = screen(80, 8, "1", &run.snapshot(SECOND));
    assert!(shown.contains("that proves nothing yet"), "{shown}");
}

#[test]
fn what_is_proven_is_said_to_be() {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    run.hop(1, Primitive::ToThread, 12, HopWhat::Taken(Carried::Copied));
    run.hop(
        1,
        Primitive::ToThread,
        12,
        HopWhat::Read(Slot(0), ReadResult::Own),
    );
    run.fact(1, FactKind::Judged(Slot(0)));
    let shown = screen(80, 8, "1", &run.snapshot(SECOND));
    assert!(shown.contains("clean so far: 1 handoff seen"), "{shown}");
    run.fact(1, FactKind::Gap(3));
    let shown = screen(80, 8, "1", &run.snapshot(SECOND));
    assert!(
        shown.contains("proves nothing yet: 3 events were lost"),
        "{shown}"
    );
}

#[test]
fn what_a_target_says_cannot_steer_a_terminal() {
    let mut run = Run::new();
    run.attach(1, "evil\u{1b}[2J\u{7}\u{202e}\u{9b}2J", 4242);
    let mut hostile = finding(Kind::Bleed, 1, 1, 9);
    hostile.slot_name = "t\u{1b}]0;owned\u{7}\r\n".into();
    if let Some(read) = &mut hostile.read
        && let Some(site) = &mut read.site
    {
        site.function = "f\u{1b}[31m\t\u{200b}".into();
        site.file = "/srv/\u{1b}c.py".into();
    }
    run.finding(1, "evil\u{1b}[2J", 4242, hostile);
    let snapshot = run.snapshot(2 * SECOND);
    for keys in ["1", "2", "3", "4", "5", "1\n", "2\n"] {
        let shown = screen(120, 30, keys, &snapshot);
        let steers = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{200b}'].contains(&c);
        assert!(!shown.contains(steers), "{keys}: {shown:?}");
    }
    let shown = screen(120, 30, "1", &snapshot);
    assert!(shown.contains(r"t\u{1b}]0;owned"), "{shown}");
    let plain = text::whole(&snapshot, |_, rows| format!("{rows:?}"));
    assert!(
        !plain.contains(|c: char| c.is_control() && c != '\n'),
        "{plain:?}"
    );
}

#[test]
fn wide_characters_take_their_room() {
    let mut run = Run::new();
    run.attach(1, "決済サービスの名前がとても長い場合", 4242);
    let shown = screen(30, 8, "2", &run.snapshot(SECOND));
    assert!(shown.contains('決') && shown.contains('\u{2026}'), "{shown}");
    insta::assert_snapshot!("wide", screen(60, 8, "2", &run.snapshot(SECOND)));
}

#[test]
fn without_colour_there_is_none() {
    let snapshot = busy().snapshot(2 * SECOND);
    let colours = |colour: bool| {
        let terminal = terminal(100, 12, "1", &snapshot, colour);
        let cells = terminal.backend().buffer().content().to_vec();
        let coloured = cells
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        let bold = cells.iter().filter(|cell| cell.modifier.contains(Modifier::BOLD));
        (coloured.count(), bold.count())
    };
    assert_eq!(colours(false).0, 0);
    assert!(colours(true).0 > 0);
    // What matters stands out all the same.
    assert_eq!(colours(false).1, colours(true).1);
}

#[test]
fn one_look_as_plain_text() {
    let table = |head: &[&str], rows: Vec<Vec<String>>| {
        let lines = rows.into_iter().map(|row| row.join(" | ") + "\n");
        head.join(" | ") + "\n" + &lines.collect::<String>()
    };
    insta::assert_snapshot!("plain", text::whole(&busy().snapshot(2 * SECOND), table));
}
