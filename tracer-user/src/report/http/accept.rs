//! Taking connections, and not letting those that do nothing keep others out.

use std::{collections::VecDeque, convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{super::metrics::Metrics, peer::Connection};

/// Connections at once. A further one takes the place of the oldest.
pub(super) const CONNECTIONS: usize = 256;
/// Time that a connection has, even when others wait for its place: enough for a scrape.
const GRACE: Duration = Duration::from_millis(250);
/// Time that a client has for its part of TLS, and to send a request's head; also the time that it may be silent between requests.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
pub(super) const HEAD_BYTES: usize = 16 * 1024;
/// Time that a connection may last, kept-alive requests included.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// Pause after a connection could not be accepted, for lack of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections for ever.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: &Router,
    metrics: &Arc<Metrics>,
) -> io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open: VecDeque<(Instant, AbortHandle)> = VecDeque::new();
    loop {
        open.retain(|(_, connection)| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some((since, oldest)) = open.pop_front()
        {
            sleep_until(since + GRACE).await;
            if !oldest.is_finished() {
                oldest.abort();
                metrics.connection_shed();
            }
        }
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that gave up: the next one may do better.
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let router = router.clone().layer(Extension(Connection::new(peer, local)));
        let tls = tls.clone();
        let talk = async move {
            match tls {
                None => talk(stream, router).await,
                Some(tls) => match timeout(HEAD_TIME, tls.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, router).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a client does not speak TLS"),
                    Err(_) => tracing::debug!("a client was slow to speak TLS"),
                },
            }
        };
        let connection = tokio::spawn(async move {
            if timeout(CONNECTION_TIME, talk).await.is_err() {
                tracing::debug!("a connection lasted too long");
            }
        });
        open.push_back((Instant::now(), connection.abort_handle()));
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection broke");
    }
}
