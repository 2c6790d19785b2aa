//! The views, and their columns.

use crate::correlate::finding::names;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// What was found.
    #[default]
    Findings,
    /// Who is traced.
    Services,
    /// Where work is handed over.
    Hops,
    /// Threads that hold an identity for whoever comes next.
    Threads,
    /// What tracing costs, what it lost, and whether its silence means anything.
    Tracer,
}

names!(View {
    Findings => "Findings",
    Services => "Services",
    Hops => "Hops",
    Threads => "Threads",
    Tracer => "Tracer",
});

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What stands above it.
    pub title: &'static str,
    /// Characters that it takes at most; one column of each view takes what is left, too.
    pub width: u16,
    /// It takes what is left.
    pub fills: bool,
    /// Numbers stand to the right.
    pub right: bool,
    /// Where there is no room for all, those with the highest go first.
    pub rank: u8,
}

const fn text(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        title,
        width,
        fills: false,
        right: false,
        rank,
    }
}

const fn number(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        right: true,
        ..text(title, width, rank)
    }
}

const fn rest(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        fills: true,
        ..text(title, width, rank)
    }
}

const FINDINGS: &[Column] = &[
    text("KIND", 18, 0),
    number("COUNT", 7, 1),
    number("SURE", 7, 6),
    text("VARIABLE", 16, 3),
    text("SERVICE", 16, 5),
    rest("WHERE", 16, 2),
    text("LAST", 8, 4),
];
const SERVICES: &[Column] = &[
    rest("SERVICE", 14, 0),
    text("STATE", 11, 3),
    number("PROC", 5, 5),
    number("EVENTS/S", 9, 6),
    number("HANDOFFS", 9, 4),
    number("OWN", 8, 8),
    number("FOREIGN", 8, 2),
    number("EMPTY", 8, 7),
    number("SQUAT", 6, 6),
    number("FINDINGS", 8, 1),
];
const HOPS: &[Column] = &[
    text("DANGER", 8, 0),
    text("BY", 16, 4),
    number("TIMES", 8, 2),
    rest("SITE", 16, 1),
    text("RUNS AS", 16, 3),
    number("FINDINGS", 8, 5),
    text("SERVICE", 16, 6),
];
const THREADS: &[Column] = &[
    text("SERVICE", 16, 4),
    number("PID", 8, 3),
    number("THREAD", 8, 0),
    text("VARIABLE", 14, 2),
    text("HOLDS", 22, 6),
    number("FOR", 8, 1),
    number("TIMES", 7, 7),
    rest("LEFT BY", 16, 5),
];
const TRACER: &[Column] = &[
    rest("PROBE", 14, 0),
    number("HITS", 9, 2),
    number("HITS/S", 9, 3),
    number("NS/HIT", 8, 4),
    number("CPU %", 7, 1),
    number("LOST", 8, 1),
];

impl View {
    /// The view that this key shows.
    pub fn of_digit(digit: char) -> Option<Self> {
        let number = digit.to_digit(10)?.checked_sub(1)?;
        Self::ALL.get(number as usize).copied()
    }

    /// The next one, and after the last the first.
    #[must_use]
    pub fn next(self) -> Self {
        Self::ALL[(self.index() + 1) % Self::ALL.len()]
    }

    /// The one before, and before the first the last.
    #[must_use]
    pub fn previous(self) -> Self {
        Self::ALL[(self.index() + Self::ALL.len() - 1) % Self::ALL.len()]
    }

    /// Its number, from 0.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its columns.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Findings => FINDINGS,
            Self::Services => SERVICES,
            Self::Hops => HOPS,
            Self::Threads => THREADS,
            Self::Tracer => TRACER,
        }
    }

    /// The columns that fit into so many characters, by their number, each with what it gets. `longest` says of each how much there is
    /// to show.
    pub fn fit(self, width: u16, longest: &[u16]) -> Vec<(usize, u16)> {
        let columns = self.columns();
        // One that is marked as what rows are sorted by needs a character more.
        let title = |at: usize| columns[at].title.len() as u16 + 1;
        let wanted = |at: usize| title(at).max(longest[at]);
        let least = |at: usize| wanted(at).min(columns[at].width);
        let mut kept: Vec<usize> = (0..columns.len()).collect();
        let needs = |kept: &[usize]| -> u16 {
            let gaps = kept.len().saturating_sub(1) as u16;
            kept.iter().map(|at| least(*at)).sum::<u16>() + gaps
        };
        while kept.len() > 1 && needs(&kept) > width {
            let last = (0..kept.len())
                .max_by_key(|at| columns[kept[*at]].rank)
                .unwrap_or(0);
            kept.remove(last);
        }
        let mut left = width.saturating_sub(needs(&kept));
        let mut widths: Vec<_> = kept.into_iter().map(|at| (at, least(at).min(width))).collect();
        // What is left goes to the one that takes it, as far as it has use for it; then to whatever else was cut.
        for fills in [true, false] {
            for (at, gets) in &mut widths {
                let more = wanted(*at).saturating_sub(*gets).min(left);
                if columns[*at].fills == fills {
                    *gets += more;
                    left -= more;
                }
            }
        }
        widths
    }

    /// What is said where there is nothing.
    pub const fn empty(self) -> &'static str {
        match self {
            Self::Findings => "nothing was found so far; what that is worth stands above",
            Self::Services => "no process was seen so far",
            Self::Hops => "no work was handed over so far",
            Self::Threads => "no thread of a pool holds an identity now",
            Self::Tracer => "no probe was hit so far",
        }
    }
}
