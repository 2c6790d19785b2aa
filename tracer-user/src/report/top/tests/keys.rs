use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{SECOND, busy};
use crate::report::top::{
    snapshot::Snapshot,
    ui::{Action, Over, Ui},
    view::View,
};

struct Person {
    ui: Ui,
    latest: Arc<Snapshot>,
}

impl Person {
    fn new() -> Self {
        Self {
            ui: Ui::default(),
            latest: Arc::new(busy().snapshot(2 * SECOND)),
        }
    }

    fn press(&mut self, code: KeyCode) -> Action {
        self.ui
            .key(KeyEvent::new(code, KeyModifiers::NONE), Some(&self.latest))
    }

    fn types(&mut self, text: &str) -> Action {
        let mut action = Action::None;
        for c in text.chars() {
            action = self.press(KeyCode::Char(c));
        }
        action
    }

    fn control(&mut self, c: char) -> Action {
        let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        self.ui.key(key, Some(&self.latest))
    }

    /// The first cells of the rows.
    fn sees(&self) -> Vec<String> {
        let (rows, _) = self.ui.rows(&self.latest);
        rows.into_iter()
            .map(|mut row| row.cells.swap_remove(0).text)
            .collect()
    }

    fn chosen(&self) -> Option<String> {
        let (rows, chosen) = self.ui.rows(&self.latest);
        Some(rows[chosen?].cells[0].text.clone())
    }
}

#[test]
fn it_ends_by_the_keys_that_people_try() {
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(Person::new().press(code), Action::Quit, "{code:?}");
    }
    let mut person = Person::new();
    assert_eq!(person.control('c'), Action::Quit);
    assert_eq!(person.control('z'), Action::Suspend);
    // While something is typed, too.
    person.types("/q");
    assert_eq!(person.ui.over, Over::Typing);
    assert_eq!(person.control('c'), Action::Quit);
}

#[test]
fn digits_and_tab_change_the_view() {
    let mut person = Person::new();
    for (digit, view) in ('1'..='5').zip(View::ALL) {
        person.press(KeyCode::Char(digit));
        assert_eq!(person.ui.view, *view);
    }
    assert_eq!(person.press(KeyCode::Char('6')), Action::None);
    person.press(KeyCode::Tab);
    assert_eq!(person.ui.view, View::Findings);
    person.press(KeyCode::BackTab);
    assert_eq!(person.ui.view, View::Tracer);
}

#[test]
fn the_worst_comes_first_and_one_moves_from_row_to_row() {
    let mut person = Person::new();
    assert_eq!(person.sees(), ["bleed", "squat"]);
    assert_eq!(person.chosen().as_deref(), Some("bleed"));
    person.press(KeyCode::Down);
    assert_eq!(person.chosen().as_deref(), Some("squat"));
    person.types("j");
    assert_eq!(person.chosen().as_deref(), Some("squat"));
    person.types("g");
    assert_eq!(person.chosen().as_deref(), Some("bleed"));
    person.press(KeyCode::PageDown);
    assert_eq!(person.chosen().as_deref(), Some("squat"));
}

#[test]
fn the_chosen_row_is_stayed_with_wherever_it_moves() {
    let mut person = Person::new();
    person.types("j");
    person.types("S");
    assert_eq!(person.sees(), ["squat", "bleed"]);
    assert_eq!(person.chosen().as_deref(), Some("squat"));
    // When it is gone, one stands where it was.
    person.types("/bleed");
    person.press(KeyCode::Enter);
    assert_eq!(person.chosen().as_deref(), Some("bleed"));
}

#[test]
fn s_sorts_by_one_column_after_the_other_and_then_as_before() {
    let mut person = Person::new();
    person.types("2");
    assert_eq!(person.sees(), ["proxy", "billing", "gevent-app (99)"]);
    person.types("s");
    assert_eq!(person.sees(), ["billing", "gevent-app (99)", "proxy"]);
    let columns = View::Services.columns().len();
    for _ in 0..columns - 1 {
        person.types("s");
    }
    assert_eq!(person.ui.sort().column, Some(columns - 1));
    assert_eq!(person.sees()[0], "proxy");
    person.types("s");
    assert_eq!(person.ui.sort().column, None);
    assert_eq!(person.sees(), ["proxy", "billing", "gevent-app (99)"]);
}

#[test]
fn a_search_keeps_rows_that_hold_a_text_anywhere() {
    let mut person = Person::new();
    person.types("2/BILL");
    assert_eq!(person.sees(), ["billing"]);
    person.press(KeyCode::Backspace);
    person.press(KeyCode::Enter);
    assert_eq!((person.sees().len(), &*person.ui.filter), (1, "BIL"));
    // It ends the search, not the program.
    assert_eq!(person.press(KeyCode::Esc), Action::Draw);
    assert_eq!(person.sees().len(), 3);
    person.types("/nobody");
    assert_eq!((person.sees().len(), person.chosen()), (0, None));
    person.press(KeyCode::Enter);
    assert_eq!(person.press(KeyCode::Enter), Action::Draw);
    assert_eq!(person.ui.over, Over::Nothing);
}

#[test]
fn what_is_held_does_not_change_while_more_happens() {
    let mut person = Person::new();
    person.types("p");
    let held = person.ui.paused.clone().expect("held");
    person.latest = Arc::new(super::Run::new().snapshot(9 * SECOND));
    assert!(Arc::ptr_eq(&held, person.ui.paused.as_ref().expect("still")));
    person.press(KeyCode::Down);
    person.press(KeyCode::Enter);
    assert_eq!(person.ui.over, Over::Detail(0));
    person.press(KeyCode::Esc);
    person.types(" ");
    assert!(person.ui.paused.is_none());
}

#[test]
fn details_scroll_and_go_from_row_to_row() {
    let mut person = Person::new();
    person.press(KeyCode::Enter);
    person.types("jj");
    assert_eq!(person.ui.over, Over::Detail(2));
    person.types("G");
    person.ui.bottom(9);
    person.types("k");
    assert_eq!(person.ui.over, Over::Detail(8));
    person.types("n");
    assert_eq!(
        (person.ui.over.clone(), person.chosen().as_deref()),
        (Over::Detail(0), Some("squat"))
    );
    assert_eq!(person.press(KeyCode::Esc), Action::Draw);
    assert_eq!(person.ui.over, Over::Nothing);
    person.types("?");
    assert_eq!(person.types("q"), Action::Draw);
    assert_eq!(person.ui.over, Over::Nothing);
}
