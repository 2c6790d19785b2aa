//! Text in lines of at most 100 columns, or as many as a terminal has.

pub const COLUMNS: usize = 100;

/// Breaks text between words. The first line starts with `first`, the others with `rest`; every line ends with a newline.
/// A word that is longer than a line stands on a line of its own.
pub fn wrap(text: &str, first: &str, rest: &str) -> String {
    wrap_to(COLUMNS, text, first, rest)
}

/// The same, in lines of so many columns.
pub fn wrap_to(columns: usize, text: &str, first: &str, rest: &str) -> String {
    let mut out = String::from(first);
    let mut column = first.chars().count();
    let mut fresh = true;
    // Not at every whitespace: what is shown of a value keeps its spaces.
    for word in text.split(' ') {
        let width = word.chars().count();
        if !fresh && column + 1 + width > columns {
            out.push('\n');
            out += rest;
            column = rest.chars().count();
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += width;
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_columns() {
        let long = "word ".repeat(60) + &"x".repeat(140) + " end";
        let wrapped = wrap(&long, "- ", "  ");
        assert!(wrapped.starts_with("- word"));
        for line in wrapped.lines().filter(|line| !line.contains('x')) {
            assert!(line.len() <= COLUMNS && !line.ends_with(' '), "{line:?}");
        }
        assert_eq!(wrapped.split_whitespace().count(), 63);
    }

    #[test]
    fn spaces_of_values_are_kept() {
        assert_eq!(wrap("found \"a  b\"", "", ""), "found \"a  b\"\n");
    }
}
