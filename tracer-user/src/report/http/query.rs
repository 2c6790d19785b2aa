//! Which findings a request asks for.

use axum::{extract::Query, http::Uri};
use jiff::Timestamp;
use serde::Deserialize;

use super::{super::store::Filter, problem::Problem};
use crate::{config::nearest::nearest, correlate::finding::Kind};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    kind: Option<String>,
    service: Option<String>,
    since: Option<String>,
}

/// The filter that a request's query amounts to.
pub(super) fn filter(uri: &Uri) -> Result<Filter, Problem> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(uri)
        .map_err(|error| Problem::wrong(error.body_text(), "filter by kind, service and since"))?;
    let kinds = parameters.kind.as_deref().unwrap_or_default().split(',');
    Ok(Filter {
        kinds: kinds
            .filter(|name| !name.is_empty())
            .map(kind)
            .collect::<Result<_, _>>()?,
        service: parameters.service,
        since: parameters.since.as_deref().map(since).transpose()?,
    })
}

fn kind(name: &str) -> Result<Kind, Problem> {
    let known = Kind::ALL.iter().find(|kind| kind.name() == name);
    known.copied().ok_or_else(|| {
        let like = nearest(name, Kind::ALL.iter().map(|kind| kind.name()));
        let like = like.map_or_else(String::new, |like| format!("; is {like} meant?"));
        Problem::wrong(
            format!("there is no kind of finding called {name:?}{like}"),
            "`bleedtrace explain` lists the kinds; several may be given with commas",
        )
    })
}

/// A time, in nanoseconds since 1970: RFC 3339, or seconds since 1970.
fn since(text: &str) -> Result<u64, Problem> {
    let timestamp = match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds),
        Err(_) => text.parse::<Timestamp>(),
    };
    let nanos = timestamp
        .ok()
        .and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    nanos.ok_or_else(|| {
        Problem::wrong(
            format!("since is no time after 1970: {text:?}"),
            "give it like 2026-01-31T12:00:00Z, or in seconds since 1970; + is %2B here",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Filter, String> {
        filter(&format!("/findings{query}").parse().unwrap()).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn filters() {
        assert_eq!(of(""), Ok(Filter::default()));
        assert_eq!(
            of("?kind=&service=a%20b").unwrap().service.as_deref(),
            Some("a b")
        );
        let both = of("?kind=squat,bleed&since=2026-01-31T13:00:00%2B01:00").unwrap();
        assert_eq!(both.kinds, [Kind::Bleed, Kind::Squat].into());
        assert_eq!(both.since, Some(1_769_860_800_000_000_000));
        assert_eq!(of("?since=1769860800").unwrap().since, both.since);
        assert_eq!(
            of("?since=2026-01-31T12:00:00.000001Z").unwrap().since,
            Some(1_769_860_800_000_001_000)
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (query, words) in [
            ("?kind=blead", "is bleed meant?"),
            ("?kind=%3Cscript%3E", "<script>"),
            ("?since=yesterday", "yesterday"),
            ("?since=-5", "-5"),
            ("?since=99999999999999999999", "99999999999999999999"),
            ("?since=9999-12-31T00:00:00Z", "9999"),
            ("?colour=red", "colour"),
            ("?kind=bleed&kind=squat", "kind"),
        ] {
            let error = of(query).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
    }
}
