//! The HTTP server behind `--listen`: metrics for scrapers, health for supervisors, findings and targets for those who may see them.
//!
//! It has a thread of its own and shares nothing with the pipeline but [`Metrics`] and [`Store`]: however it is treated, nothing that is
//! traced is affected.

mod accept;
mod access;
mod body;
mod page;
mod peer;
mod problem;
mod query;
mod routes;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
};

use self::{access::Access, routes::Shown};
pub use self::{access::TokenError, tls::TlsError};
use super::{clock::Clock, metrics::Metrics, store::Store};
use crate::privilege;

/// Threads that look up whose connections are.
const LOOKUPS: usize = 2;

/// Where to listen, and for whom.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// It may be one that others than this machine reach.
    pub anywhere: bool,
    /// A file with the token that everything but health is for.
    pub token_file: Option<PathBuf>,
    /// Files with the certificates and the key of TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Users of this machine who may see findings and targets without a token.
    pub viewers: Vec<u32>,
}

/// What is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Findings, targets and health.
    pub store: Arc<Store>,
    /// Turns the monotonic clock into the wall clock's.
    pub clock: Clock,
    /// The monotonic clock.
    pub now: fn() -> u64,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Whoever reaches the address could read the metrics.
    #[error(
        "{0} is not a loopback address\nhint: add --listen-anywhere if others may read the metrics; give --listen-token-file and --listen-cert, too"
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
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The certificate or the key is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread or no runtime for it.
    #[error("cannot start the thread that serves HTTP: {0}")]
    Start(#[source] io::Error),
}

/// Whether it may be served at this address: where other machines reach, only if that was said.
pub fn reaches(address: SocketAddr, anywhere: bool) -> Result<(), ListenError> {
    if address.ip().is_loopback() || anywhere {
        Ok(())
    } else {
        Err(ListenError::NotLoopback(address))
    }
}

/// Serves from a thread of its own until the process ends. Returns the address that it listens on.
pub fn serve(listen: &Listen, served: Served) -> Result<SocketAddr, ListenError> {
    let addr = listen.address;
    reaches(addr, listen.anywhere)?;
    let access = Access::new(listen)?;
    let tls = tls::acceptor(listen.tls.as_ref())?;
    let failed = |source| ListenError::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS)
        .build()
        .map_err(ListenError::Start)?;
    let metrics = Arc::clone(&served.metrics);
    let router = routes::router(Shown::new(served), access);
    thread::Builder::new()
        .name("bleedtrace-http".to_owned())
        .spawn(move || {
            privilege::drop_all();
            let Err(error) = runtime.block_on(accept::accept(listener, tls, &router, &metrics));
            tracing::error!(%error, %local, "the HTTP server ended");
        })
        .map_err(ListenError::Start)?;
    Ok(local)
}
