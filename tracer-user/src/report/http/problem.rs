//! Answers that say what is wrong, in the form that errors have everywhere here.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// What is wrong with a request, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: String,
    hint: &'static str,
}

impl Problem {
    /// The request makes no sense.
    pub(super) fn wrong(error: impl Into<String>, hint: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: error.into(),
            hint,
        }
    }

    /// It has not the token.
    pub(super) fn unauthorized() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error: "this needs the token that --listen-token-file holds".to_owned(),
            hint: "send it as `Authorization: Bearer TOKEN`, or as a password",
        }
    }

    /// There is no token, and whoever asks is not known, or is not one who may know.
    pub(super) fn forbidden() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            error: "this is shown to root and to the user who started the agent, on this machine".to_owned(),
            hint: "ask as one of them, or start the agent with --listen-token-file and send the token",
        }
    }

    /// There is nothing here.
    pub(super) fn unknown() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            error: "there is nothing at this path".to_owned(),
            hint: "try /, /metrics, /healthz, /readyz, /findings or /targets",
        }
    }

    /// Too much is being sent at once.
    pub(super) fn busy() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "too many answers are on their way already".to_owned(),
            hint: "read the others first, and ask again",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = json!({ "error": self.error, "hint": self.hint }).to_string() + "\n";
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], text).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            for scheme in ["Bearer", "Basic realm=\"bleedtrace\", charset=\"UTF-8\""] {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
