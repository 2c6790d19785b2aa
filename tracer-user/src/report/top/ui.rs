//! What a person looks at, and what keys do to it.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    rows::{self, Row, Sort},
    snapshot::Snapshot,
    view::View,
};

/// Rows by which Page Up and Page Down move.
const PAGE: isize = 10;
/// Characters that a search may have.
const FILTER: usize = 64;

/// What a key asks for beyond what it changes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// To look at it again.
    Draw,
    /// To end.
    Quit,
    /// To let the shell have the terminal for a while.
    Suspend,
}

/// What lies over the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// Nothing.
    #[default]
    Nothing,
    /// All that is known of the chosen row, from this line on.
    Detail(u16),
    /// What keys do.
    Help,
    /// What is searched for is being typed.
    Typing,
}

/// What a person looks at.
#[derive(Clone, Debug, Default)]
pub struct Ui {
    /// The view.
    pub view: View,
    /// What lies over it.
    pub over: Over,
    /// What its rows must hold.
    pub filter: String,
    /// What is looked at while more happens.
    pub paused: Option<Arc<Snapshot>>,
    /// An end was asked for and takes a while.
    pub ending: bool,
    places: [Place; View::ALL.len()],
}

/// Where one stands in a view.
#[derive(Clone, Debug, Default)]
struct Place {
    sort: Sort,
    at: usize,
    /// The row that stands there: it is stayed with, wherever it moves to.
    key: Option<String>,
}

impl Ui {
    /// The order of the rows.
    pub fn sort(&self) -> Sort {
        self.place().sort
    }

    /// The rows, and the number of the chosen one.
    pub fn rows(&self, snapshot: &Snapshot) -> (Vec<Row>, Option<usize>) {
        let rows = rows::shown(snapshot, self.view, self.sort(), &self.filter);
        let place = self.place();
        let known = place.key.as_ref();
        let at = known.and_then(|key| rows.iter().position(|row| row.key == *key));
        let at = at.unwrap_or(place.at).min(rows.len().saturating_sub(1));
        let chosen = (!rows.is_empty()).then_some(at);
        (rows, chosen)
    }

    /// Does what a key asks for. `latest` is what would be shown if nothing were paused.
    pub fn key(&mut self, key: KeyEvent, latest: Option<&Arc<Snapshot>>) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                KeyCode::Char('z') => Action::Suspend,
                KeyCode::Char('l') => Action::Draw,
                _ => Action::None,
            };
        }
        match self.over {
            Over::Typing => self.type_in(key.code),
            Over::Help => {
                self.over = Over::Nothing;
                Action::Draw
            }
            Over::Detail(line) => self.in_detail(key.code, line, latest),
            Over::Nothing => self.in_rows(key.code, latest),
        }
    }

    /// Nothing lies below this line of what is looked at closely.
    pub fn bottom(&mut self, last: u16) {
        if let Over::Detail(line) = &mut self.over {
            *line = (*line).min(last);
        }
    }

    fn in_rows(&mut self, key: KeyCode, latest: Option<&Arc<Snapshot>>) -> Action {
        match key {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Action::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.view = self.view.next(),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.view = self.view.previous(),
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('S') => {
                let sort = &mut self.place_mut().sort;
                sort.reversed = !sort.reversed;
            }
            KeyCode::Char('/') => self.over = Over::Typing,
            KeyCode::Char('?') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Char('p' | ' ') => {
                self.paused = match self.paused {
                    Some(_) => None,
                    None => latest.cloned(),
                };
            }
            KeyCode::Enter => {
                // What is looked at closely must be chosen for good.
                self.move_by(0, latest);
                if self.place().key.is_some() {
                    self.over = Over::Detail(0);
                }
            }
            KeyCode::Char(digit @ '1'..='9') => match View::of_digit(digit) {
                Some(view) => self.view = view,
                None => return Action::None,
            },
            other => match steps(other) {
                Some(by) => self.move_by(by, latest),
                None => return Action::None,
            },
        }
        Action::Draw
    }

    fn in_detail(&mut self, key: KeyCode, line: u16, latest: Option<&Arc<Snapshot>>) -> Action {
        match key {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => {
                self.over = Over::Nothing;
            }
            // The next row, without going back to all of them.
            KeyCode::Right | KeyCode::Char('l' | 'n') => {
                self.move_by(1, latest);
                self.over = Over::Detail(0);
            }
            KeyCode::Left | KeyCode::Char('h' | 'N') => {
                self.move_by(-1, latest);
                self.over = Over::Detail(0);
            }
            other => match steps(other) {
                Some(by) => {
                    let by = by.clamp(isize::from(-i16::MAX), isize::from(i16::MAX)) as i16;
                    self.over = Over::Detail(line.saturating_add_signed(by));
                }
                None => return Action::None,
            },
        }
        Action::Draw
    }

    fn type_in(&mut self, key: KeyCode) -> Action {
        match key {
            KeyCode::Enter => self.over = Over::Nothing,
            KeyCode::Esc => {
                self.filter.clear();
                self.over = Over::Nothing;
            }
            KeyCode::Backspace if self.filter.pop().is_none() => self.over = Over::Nothing,
            KeyCode::Char(c) if !c.is_control() && self.filter.chars().count() < FILTER => {
                self.filter.push(c);
            }
            _ => {}
        }
        Action::Draw
    }

    fn sort_by_next(&mut self) {
        let columns = self.view.columns().len();
        let sort = &mut self.place_mut().sort;
        sort.column = match sort.column {
            None => Some(0),
            Some(last) if last + 1 >= columns => None,
            Some(column) => Some(column + 1),
        };
    }

    fn move_by(&mut self, by: isize, latest: Option<&Arc<Snapshot>>) {
        let Some(snapshot) = self.paused.clone().or_else(|| latest.cloned()) else {
            return;
        };
        let (rows, chosen) = self.rows(&snapshot);
        let at = chosen
            .unwrap_or(0)
            .saturating_add_signed(by)
            .min(rows.len().saturating_sub(1));
        let key = rows.get(at).map(|row| row.key.clone());
        let place = self.place_mut();
        (place.at, place.key) = (at, key);
    }

    fn place(&self) -> &Place {
        &self.places[self.view.index()]
    }

    fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.view.index()]
    }
}

/// By how many rows a key moves.
fn steps(key: KeyCode) -> Option<isize> {
    Some(match key {
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::PageDown => PAGE,
        KeyCode::PageUp => -PAGE,
        KeyCode::Home | KeyCode::Char('g') => isize::MIN,
        KeyCode::End | KeyCode::Char('G') => isize::MAX,
        _ => return None,
    })
}
