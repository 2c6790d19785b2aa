//! Rules and queries in a shorter time: what takes minutes on a server takes seconds in a test.

/// Puts two seconds in the place of each minute, and two minutes in the place of each hour. Names that end like a time stay.
pub fn shrunk(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(word) {
        let (before, after) = rest.split_at(start);
        let (token, after) = after.split_at(after.find(|c| !word(c)).unwrap_or(after.len()));
        out.push_str(before);
        let scaled = ["ms", "hm"].into_iter().find_map(|units| {
            let (from, to) = units.split_at(1);
            let number: u64 = token.strip_suffix(from)?.parse().ok()?;
            Some(format!("{}{to}", 2 * number))
        });
        out.push_str(scaled.as_deref().unwrap_or(token));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_shorter_and_names_stay() {
        assert_eq!(
            shrunk("for: 5m\nx:y_1m:rate5m[1h:2m] * 120 offset 10m"),
            "for: 10s\nx:y_1m:rate5m[2m:4s] * 120 offset 20s"
        );
    }
}
