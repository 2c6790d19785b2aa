//! Reading an endpoint and its samples, with nothing but a socket.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// A port that nobody listens on.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // Below those that the kernel gives to whoever connects: it cannot be gone before it is used. Others that test start elsewhere.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = 20_000..32_000;
    let start = process::id().wrapping_mul(97);
    for _ in range.clone() {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % range.len() as u32;
        let port = range.start + number as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// The body that `http://ADDRESS/PATH` answers with, if all is well.
pub fn get(address: &str, path: &str) -> io::Result<String> {
    match ask(address, path)? {
        (200, body) => Ok(body),
        (status, body) => Err(io::Error::other(format!("{status}\n{body}"))),
    }
}

/// The status and the body that `http://ADDRESS/PATH` answers with.
pub fn ask(address: &str, path: &str) -> io::Result<(u16, String)> {
    ask_within(address, path, Duration::from_secs(10))
}

/// The same, of what may take longer to answer.
pub fn ask_within(address: &str, path: &str, patience: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The sum of the samples of a family that carry these labels; none when there is no such sample.
pub fn sample(text: &str, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let carries = |line: &str| {
        labels
            .iter()
            .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
    };
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(family))
        .filter(|rest| rest.starts_with(['{', ' ']) && carries(rest))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The samples of a family, summed by the value of one of its labels.
pub fn by_label(text: &str, family: &str, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for rest in text.lines().filter_map(|line| line.strip_prefix(family)) {
        let Some((labels, number)) = rest.strip_prefix('{').and_then(|rest| rest.rsplit_once("} ")) else {
            continue;
        };
        let value = labels
            .split("\",")
            .filter_map(|one| one.trim_end_matches('"').split_once("=\""))
            .find_map(|(name, value)| (name == label).then_some(value));
        if let (Some(value), Ok(number)) = (value, number.parse::<f64>()) {
            *sums.entry(value.to_owned()).or_default() += number as u64;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::{by_label, sample};

    const TEXT: &str = "# HELP a_total A.\na_total{kind=\"x\",slot=\"t\"} 2\na_total{kind=\"y\",slot=\"t\"} 3\na_total_more 9\nb 1\n";

    #[test]
    fn samples_are_summed_by_label() {
        assert_eq!(sample(TEXT, "a_total", &[]), Some(5.0));
        assert_eq!(sample(TEXT, "a_total", &[("kind", "y")]), Some(3.0));
        assert_eq!(sample(TEXT, "b", &[]), Some(1.0));
        assert_eq!(sample(TEXT, "a_total", &[("kind", "z")]), None);
    }

    #[test]
    fn samples_are_summed_by_the_value_of_a_label() {
        let found = by_label(TEXT, "a_total", "kind");
        assert_eq!(found, [("x".to_owned(), 2), ("y".to_owned(), 3)].into());
        assert_eq!(by_label(TEXT, "a_total", "slot"), [("t".to_owned(), 5)].into());
        assert!(by_label(TEXT, "b", "kind").is_empty());
    }
}
