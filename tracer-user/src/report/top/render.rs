//! Draws a snapshot on a screen of any size.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Clear, Paragraph, Row as Drawn, Table, TableState, Wrap},
};
use unicode_width::UnicodeWidthStr as _;

use super::{
    detail, lines,
    rows::{Row, Tone},
    snapshot::Snapshot,
    ui::{Over, Ui},
    view::View,
};

/// Below that, nothing can be shown.
const NARROWEST: u16 = 20;
const LOWEST: u16 = 6;

/// What is done with colour, and where the rows stood when they were last drawn.
#[derive(Debug, Default)]
pub struct Renderer {
    colour: bool,
    tables: [TableState; View::ALL.len()],
    /// The first line of the last page of what was looked at closely.
    pub bottom: u16,
}

impl Renderer {
    /// Nothing was drawn yet.
    pub fn new(colour: bool) -> Self {
        Self {
            colour,
            ..Self::default()
        }
    }

    /// Draws what there is, or that there is nothing yet.
    pub fn draw(&mut self, frame: &mut Frame<'_>, latest: Option<&Snapshot>, ui: &Ui) {
        let area = frame.area();
        if area.width < NARROWEST || area.height < LOWEST {
            frame.render_widget(Paragraph::new("too small").wrap(Wrap { trim: true }), area);
            return;
        }
        let Some(snapshot) = ui.paused.as_deref().or(latest) else {
            let text = ["", "", "bleedtrace: loading the kernel side ..."].join("\n");
            frame.render_widget(Paragraph::new(text), area);
            return;
        };
        let most = if area.height < 12 { 1 } else { 3 };
        let (tone, verdict) = lines::verdict(snapshot);
        let mut verdict = lines::fold(&verdict, area.width);
        if verdict.len() > most {
            verdict.truncate(most);
            verdict[most - 1] = cut(&format!("{} \u{2026}", verdict[most - 1]), area.width);
        }
        let bold = self.style(tone).add_modifier(Modifier::BOLD);
        let [head, silence, tabs, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(verdict.len() as u16),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(snapshot, ui, area.width), head);
        frame.render_widget(Paragraph::new(verdict.join("\n")).style(bold), silence);
        frame.render_widget(titles(snapshot, ui, area.width), tabs);
        self.body(frame, body, snapshot, ui);
        frame.render_widget(self.foot(ui, area.width), foot);
        if ui.over == Over::Help {
            help(frame, body);
        }
    }

    fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        match tone {
            Tone::Plain => style,
            Tone::Dim => style.add_modifier(Modifier::DIM),
            Tone::Critical => self.in_colour(style.add_modifier(Modifier::BOLD), Color::Red),
            Tone::Warning => self.in_colour(style, Color::Yellow),
            Tone::Good => self.in_colour(style, Color::Green),
        }
    }

    const fn in_colour(&self, style: Style, colour: Color) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    fn head(&self, snapshot: &Snapshot, ui: &Ui, width: u16) -> Line<'static> {
        let processes: u64 = snapshot.services.iter().map(|line| line.processes).sum();
        let state = if ui.ending {
            " [ending]"
        } else if ui.paused.is_some() {
            " [paused]"
        } else if snapshot.ended {
            " [ended]"
        } else {
            ""
        };
        let mut text = format!("bleedtrace  {}", lines::age(snapshot.seconds));
        for part in [
            format!("  {processes} traced"),
            format!("  {} events/s", lines::rate(snapshot.events_per_second)),
            format!("  {}", snapshot.time.get(..19).unwrap_or_default()),
        ] {
            if text.width() + part.width() + state.width() <= usize::from(width) {
                text += &part;
            }
        }
        Line::from(vec![
            Span::styled(text, Style::new().add_modifier(Modifier::BOLD)),
            Span::styled(state, self.style(Tone::Warning).add_modifier(Modifier::BOLD)),
        ])
    }

    fn body(&mut self, frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, ui: &Ui) {
        let (rows, chosen) = ui.rows(snapshot);
        if let (Over::Detail(line), Some(row)) = (&ui.over, chosen.and_then(|at| rows.get(at))) {
            let text = detail::text(snapshot, ui.view, row, area.width);
            let text: Vec<_> = text
                .lines()
                .flat_map(|line| lines::fold(line, area.width))
                .collect();
            let most = text.len().saturating_sub(usize::from(area.height));
            self.bottom = u16::try_from(most).unwrap_or(u16::MAX);
            let shown = text.into_iter().skip(usize::from(*line).min(most)).map(Line::raw);
            frame.render_widget(Paragraph::new(shown.collect::<Text<'_>>()), area);
            return;
        }
        let table = if ui.view == View::Tracer {
            // The first line stands above already.
            let trust: Vec<_> = lines::trust(snapshot)
                .into_iter()
                .skip(1)
                .flat_map(|(tone, text)| {
                    lines::fold(&text, area.width)
                        .into_iter()
                        .map(move |line| (tone, line))
                })
                .map(|(tone, line)| Line::styled(line, self.style(tone)))
                .collect();
            let needed = (trust.len() as u16).min(area.height / 2);
            let trust = Paragraph::new(trust);
            let [above, below] =
                Layout::vertical([Constraint::Length(needed), Constraint::Fill(1)]).areas(area);
            frame.render_widget(trust, above);
            below
        } else {
            area
        };
        if rows.is_empty() {
            let text = if ui.filter.is_empty() {
                ui.view.empty().to_owned()
            } else {
                format!("nothing here holds \u{201c}{}\u{201d}", ui.filter)
            };
            let text = Paragraph::new(text)
                .style(self.style(Tone::Dim))
                .wrap(Wrap { trim: true });
            frame.render_widget(text, table);
            return;
        }
        self.table(frame, table, &rows, chosen, ui);
    }

    fn table(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[Row], chosen: Option<usize>, ui: &Ui) {
        let columns = ui.view.columns();
        let longest: Vec<_> = (0..columns.len())
            .map(|at| {
                rows.iter()
                    .map(|row| row.cells[at].text.width())
                    .max()
                    .unwrap_or(0)
            })
            .map(|longest| u16::try_from(longest).unwrap_or(u16::MAX / 16))
            .collect();
        let fit = ui.view.fit(area.width, &longest);
        let sort = ui.sort();
        let titles = fit.iter().map(|(at, _)| {
            let mark = match (sort.column == Some(*at), sort.reversed) {
                (false, _) => "",
                (true, false) => "\u{25be}",
                (true, true) => "\u{25b4}",
            };
            aligned(format!("{}{mark}", columns[*at].title), columns[*at].right)
        });
        let head = Drawn::new(titles).style(self.style(Tone::Dim).add_modifier(Modifier::UNDERLINED));
        let drawn = rows.iter().map(|row| {
            Drawn::new(fit.iter().map(|(at, width)| {
                let cell = &row.cells[*at];
                aligned(cut(&cell.text, *width), columns[*at].right).style(self.style(cell.tone))
            }))
        });
        // A few characters between columns where there is room for them.
        let used: u16 = fit.iter().map(|(_, width)| width).sum();
        let gaps = (fit.len() as u16).saturating_sub(1).max(1);
        let gap = (area.width.saturating_sub(used) / gaps).clamp(1, 3);
        let table = Table::new(drawn, fit.iter().map(|(_, width)| Constraint::Length(*width)))
            .header(head)
            .column_spacing(gap)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let state = &mut self.tables[ui.view.index()];
        state.select(chosen);
        frame.render_stateful_widget(table, area, state);
    }

    fn foot(&self, ui: &Ui, width: u16) -> Line<'static> {
        if ui.over == Over::Typing {
            let prompt = format!("/{}\u{2588}  Enter keeps, Esc clears", ui.filter);
            return Line::raw(prompt);
        }
        let mut keys: Vec<&str> = match ui.over {
            Over::Detail(_) => vec!["Esc back", "j/k scroll", "n/N next, previous", "? help"],
            _ => vec![
                "q quit",
                "? help",
                "Enter details",
                "Tab view",
                "/ search",
                "s sort",
                "p pause",
            ],
        };
        let filter =
            (!ui.filter.is_empty()).then(|| format!("holds \u{201c}{}\u{201d} (Esc: all)", ui.filter));
        let sort = ui.sort();
        let sorted = sort.column.map(|at| {
            let title = ui.view.columns()[at].title;
            format!("by {title}{}", if sort.reversed { " reversed" } else { "" })
        });
        keys.splice(0..0, filter.as_deref().into_iter().chain(sorted.as_deref()));
        let mut text = String::new();
        for key in keys {
            let gap = if text.is_empty() { "" } else { "  " };
            if text.width() + gap.width() + key.width() <= usize::from(width) {
                text = text + gap + key;
            }
        }
        Line::styled(text, self.style(Tone::Dim))
    }
}

fn titles(snapshot: &Snapshot, ui: &Ui, width: u16) -> Line<'static> {
    let counted = |view: View| match view {
        View::Findings => Some(snapshot.findings.len()),
        View::Services => Some(snapshot.services.len()),
        View::Hops => Some(snapshot.hops.len()),
        View::Threads => Some(snapshot.squatting.len()),
        View::Tracer => None,
    };
    let long = |view: View| match counted(view) {
        Some(count) => format!(" {} {} {count} ", view.index() + 1, view.name()),
        None => format!(" {} {} ", view.index() + 1, view.name()),
    };
    let middle = |view: View| format!(" {} {} ", view.index() + 1, view.name());
    let short = |view: View| {
        let number = view.index() + 1;
        if view == ui.view {
            format!(" {number} {} ", view.name())
        } else {
            format!(" {number} ")
        }
    };
    let forms: [&dyn Fn(View) -> String; 3] = [&long, &middle, &short];
    let fits = |form: &&dyn Fn(View) -> String| {
        View::ALL.iter().map(|view| form(*view).width()).sum::<usize>() <= usize::from(width)
    };
    let form = forms.into_iter().find(fits).unwrap_or(&short);
    let spans = View::ALL.iter().map(|view| {
        let style = if *view == ui.view {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        } else {
            Style::new()
        };
        Span::styled(form(*view), style)
    });
    spans.collect()
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    frame.render_widget(Clear, area);
    let lines: Vec<_> = HELP
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!("{keys:<13}"), Style::new().add_modifier(Modifier::BOLD)),
                Span::raw(*what),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

const HELP: &[(&str, &str)] = &[
    ("1-5, Tab", "another view; Left, Right too"),
    ("j k, arrows", "another row; g G, Page Up and Down"),
    ("Enter", "all that is known of the row"),
    ("/", "only rows that hold a text"),
    ("s", "sort by the next column"),
    ("S", "the other way round"),
    ("p, space", "hold the picture; tracing goes on"),
    ("Ctrl-Z", "back to the shell; `fg` comes back"),
    ("q, Esc", "end; so does Ctrl-C"),
];

fn aligned(text: String, right: bool) -> Text<'static> {
    let text = Text::from(text);
    if right { text.right_aligned() } else { text }
}

/// What fits, with a mark where something does not.
fn cut(text: &str, width: u16) -> String {
    let room = usize::from(width);
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used + wide >= room {
            break;
        }
        out.push(c);
        used += wide;
    }
    out.push('\u{2026}');
    out
}
