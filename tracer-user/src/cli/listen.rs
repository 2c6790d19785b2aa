//! The flags that say where metrics, health and findings are served, and for whom.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;

use super::{error::Error, session};
use crate::{
    report::{
        clock::Clock,
        http::{self, Listen, ListenError, Served},
        metrics::Metrics,
        store::Store,
    },
    target::user::Database,
};

/// Where to listen, and for whom.
#[derive(Debug, Default, Args)]
pub struct ListenArgs {
    /// Serve /metrics, /healthz, /readyz, /findings, /targets and a status page at this address, like 127.0.0.1:9464.
    #[arg(long, value_name = "ADDR", env = "BLEEDTRACE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// For whom.
    #[command(flatten)]
    pub options: ListenOptions,
}

/// For whom to listen.
#[derive(Debug, Default, Args)]
pub struct ListenOptions {
    /// Let --listen be an address that other machines reach.
    #[arg(long)]
    pub listen_anywhere: bool,
    /// File with a token that whoever asks for metrics, findings or targets has to send.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_LISTEN_TOKEN_FILE")]
    pub listen_token_file: Option<PathBuf>,
    /// PEM file with the certificates for TLS.
    #[arg(
        long,
        value_name = "FILE",
        requires = "listen_key",
        env = "BLEEDTRACE_LISTEN_CERT"
    )]
    pub listen_cert: Option<PathBuf>,
    /// PEM file with the key of the certificate.
    #[arg(
        long,
        value_name = "FILE",
        requires = "listen_cert",
        env = "BLEEDTRACE_LISTEN_KEY"
    )]
    pub listen_key: Option<PathBuf>,
}

impl ListenArgs {
    /// Serves from now on, if that is asked for. Says where, for people.
    pub fn serve(
        &self,
        metrics: &Arc<Metrics>,
        store: &Arc<Store>,
        clock: Clock,
    ) -> Result<Option<String>, Error> {
        if let Some(address) = self.listen {
            return self.options.serve(address, metrics, store, clock).map(Some);
        }
        let options = &self.options;
        if options.listen_anywhere || options.listen_token_file.is_some() || options.listen_cert.is_some() {
            return Err(Error::usage(
                "nothing is served without --listen",
                "give an address with --listen, like 127.0.0.1:9464",
            ));
        }
        Ok(None)
    }
}

impl ListenOptions {
    /// Whether it may be served at this address.
    pub fn allows(&self, address: SocketAddr) -> Result<(), Error> {
        http::reaches(address, self.listen_anywhere).map_err(|error| listen_error(&error))
    }

    /// Serves at an address from now on. Says where, for people.
    pub fn serve(
        &self,
        address: SocketAddr,
        metrics: &Arc<Metrics>,
        store: &Arc<Store>,
        clock: Clock,
    ) -> Result<String, Error> {
        let tls = self.listen_cert.clone().zip(self.listen_key.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listen = Listen {
            address,
            anywhere: self.listen_anywhere,
            token_file: self.listen_token_file.clone(),
            tls,
            viewers: viewers(),
        };
        let served = Served {
            metrics: Arc::clone(metrics),
            store: Arc::clone(store),
            clock,
            now: session::now,
        };
        let local = http::serve(&listen, served).map_err(|error| listen_error(&error))?;
        let mut text = format!("metrics at {scheme}://{local}/metrics, status at {scheme}://{local}/");
        if !local.ip().is_loopback() {
            if listen.token_file.is_none() {
                text += "; findings and targets are not shown there: that takes --listen-token-file";
            } else if listen.tls.is_none() {
                text += "; the token is sent in the clear: --listen-cert and --listen-key change that";
            }
        }
        Ok(text)
    }
}

/// Who may see findings without a token: root, the agent's own user, and who called sudo.
fn viewers() -> Vec<u32> {
    let own = rustix::process::geteuid().as_raw();
    let caller = (own == 0)
        .then(|| Database::read().caller_of_sudo(|name| std::env::var(name).ok()))
        .flatten();
    [0, own].into_iter().chain(caller.map(|user| user.uid)).collect()
}

fn listen_error(error: &ListenError) -> Error {
    let text = error.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "give another address with --listen"));
    Error::usage(message, hint)
}
