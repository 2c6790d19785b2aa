//! The HTTP server behind `--listen`: `/metrics`, and a `/` that says so.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::Semaphore;

use super::metrics::Metrics;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 32;
/// Time that a client has to send its request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Time that a connection may last, kept-alive requests included.
const CONNECTION_TIME: Duration = Duration::from_secs(600);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Whoever reaches the address could read the metrics.
    #[error(
        "{0} is not a loopback address\nhint: listen on 127.0.0.1 and put a reverse proxy with authentication in front"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be used.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread or no runtime for it.
    #[error("cannot start the thread that serves metrics: {0}")]
    Start(#[source] io::Error),
}

/// Serves the metrics from a thread of its own until the process ends. Returns the address that it listens on.
pub fn serve(addr: SocketAddr, metrics: Arc<Metrics>) -> Result<SocketAddr, ListenError> {
    if !addr.ip().is_loopback() {
        return Err(ListenError::NotLoopback(addr));
    }
    let listen = |source| ListenError::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ListenError::Start)?;
    thread::Builder::new()
        .name("bleedtrace-http".to_owned())
        .spawn(move || {
            let Err(error) = runtime.block_on(accept(listener, router(metrics)));
            tracing::error!(%error, %local, "the metrics server ended");
        })
        .map_err(ListenError::Start)?;
    Ok(local)
}

fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(async || "bleedtrace: metrics are at /metrics\n"))
        .route("/metrics", get(render))
        .with_state(metrics)
}

async fn render(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics.render(),
    )
}

async fn accept(listener: TcpListener, router: Router) -> io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or a client that gave up: the next one may do better.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(CONNECTION_TIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection broke"),
                Err(_) => tracing::debug!("a connection lasted too long"),
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;
    use crate::report::clock::Clock;

    fn get(addr: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn start() -> SocketAddr {
        serve(
            "127.0.0.1:0".parse().unwrap(),
            Arc::new(Metrics::new(Clock::default())),
        )
        .unwrap()
    }

    #[test]
    fn metrics_are_served() {
        let addr = start();
        let answer = get(addr, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        assert!(answer.contains("\nbleedtrace_build_info{"), "{answer}");
        assert!(get(addr, "/").contains("metrics are at /metrics"));
        assert!(get(addr, "/targets").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_head_that_is_too_long_is_refused() {
        let mut stream = TcpStream::connect(start()).unwrap();
        let head = format!(
            "GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "y".repeat(4 * HEAD_BYTES)
        );
        // The server may close before it has read everything.
        let _ = stream.write_all(head.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }

    #[test]
    fn only_loopback_and_only_free_addresses() {
        let metrics = Arc::new(Metrics::new(Clock::default()));
        let error = serve("0.0.0.0:0".parse().unwrap(), Arc::clone(&metrics))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("0.0.0.0:0 is not a loopback address\nhint: "),
            "{error}"
        );
        let taken = start();
        let error = serve(taken, metrics).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {taken}: ")),
            "{error}"
        );
    }
}
