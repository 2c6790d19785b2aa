//! What is served at which path.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Serialize;

use super::{
    Served,
    access::{self, Access},
    body::Budget,
    page,
    problem::Problem,
    query,
};
use crate::report::store::{Condition, Filter, Group};

/// How long rendered metrics are good for: whoever asks all the time costs no more than this.
const METRICS_AGE: Duration = Duration::from_millis(200);

const JSON: &str = "application/json";

/// What every answer says to browsers: nothing is fetched but our own style, nothing is kept, nobody frames it.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What is shown, and what it may take.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    served: Served,
    budget: Budget,
    metrics: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Shown {
    pub(super) fn new(served: Served) -> Self {
        Self {
            served,
            budget: Budget::new(),
            metrics: Arc::default(),
        }
    }

    fn answer(&self, status: StatusCode, kind: &'static str, text: Vec<u8>) -> Result<Response, Problem> {
        let body = self.budget.charge(text)?;
        Ok((status, [(header::CONTENT_TYPE, kind)], body).into_response())
    }

    fn json(&self, status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
        self.answer(status, JSON, json(value))
    }
}

#[derive(Serialize)]
struct Findings<'a> {
    findings: Vec<&'a Group>,
    dropped: u64,
}

#[derive(Serialize)]
struct Told<'a> {
    status: &'a str,
    #[serde(flatten)]
    condition: &'a Condition,
}

/// The paths.
pub(super) fn router(shown: Shown, access: Access) -> Router {
    let details = Router::new()
        .route("/", get(status))
        .route("/findings", get(findings))
        .route("/targets", get(targets))
        .route_layer(from_fn_with_state(access.clone(), access::details));
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(access, access::metrics));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/style.css", get(style))
        .merge(details)
        .merge(metrics)
        .fallback(async || Problem::unknown())
        .layer(map_response(guarded))
        .with_state(shown)
}

async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(shown): State<Shown>) -> Result<Response, Problem> {
    let mut kept = shown.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    let text = match &*kept {
        Some((since, text)) if since.elapsed() < METRICS_AGE => text.clone(),
        _ => {
            // The old text goes before room for the new one is asked for.
            *kept = None;
            let health = shown.served.store.health((shown.served.now)());
            if let Some(seconds) = health.drained_seconds_ago {
                shown.served.metrics.drained_ago(seconds);
            }
            let text = shown.budget.charge(shown.served.metrics.render().into_bytes())?;
            *kept = Some((Instant::now(), text.clone()));
            text
        }
    };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn healthz(State(shown): State<Shown>) -> Response {
    tell("stalled", &shown.served.store.health((shown.served.now)()))
}

async fn readyz(State(shown): State<Shown>) -> Response {
    tell("not_ready", &shown.served.store.readiness((shown.served.now)()))
}

/// Small, and not charged to anybody: whoever fills the room for answers must not make the agent look ill.
fn tell(otherwise: &str, condition: &Condition) -> Response {
    let (status, word) = if condition.is_well() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    };
    let told = Told {
        status: word,
        condition,
    };
    (status, [(header::CONTENT_TYPE, JSON)], json(&told)).into_response()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Nothing that is shown has a map with other keys than text, which is all that JSON refuses.
    let mut text = serde_json::to_vec(value).expect("what is shown can be written as JSON");
    text.push(b'\n');
    text
}

async fn findings(State(shown): State<Shown>, uri: Uri) -> Result<Response, Problem> {
    let listed = shown.served.store.findings(&query::filter(&uri)?);
    let findings = Findings {
        findings: listed.groups.iter().map(|group| &**group).collect(),
        dropped: listed.dropped,
    };
    shown.json(StatusCode::OK, &findings)
}

async fn targets(State(shown): State<Shown>) -> Result<Response, Problem> {
    shown.json(StatusCode::OK, &shown.served.store.targets())
}

async fn status(State(shown): State<Shown>) -> Result<Response, Problem> {
    let Served {
        store, clock, now, ..
    } = &shown.served;
    let now = now();
    let page = page::Page {
        time: clock.rfc3339(now),
        health: store.health(now),
        readiness: store.readiness(now),
        targets: store.targets(),
        findings: store.findings(&Filter::default()),
    };
    shown.answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        page.html().into_bytes(),
    )
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response()
}
