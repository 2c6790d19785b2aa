//! TLS, by rustls.

use std::{io, path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
    },
};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file holds no certificate.
    #[error("cannot read certificates from {}: {error}\nhint: give a PEM file with --listen-cert, the server's own certificate first", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The file holds no key.
    #[error("cannot read a private key from {}: {error}\nhint: give a PEM file with --listen-key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The two do not go together.
    #[error("cannot use the certificate {} with the key {}: {error}\nhint: give the key that the certificate was made for", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

/// What speaks TLS with these files, if there are any.
pub(super) fn acceptor(files: Option<&(PathBuf, PathBuf)>) -> Result<Option<TlsAcceptor>, TlsError> {
    let Some((certificate, key)) = files else {
        return Ok(None);
    };
    let no_certificate = |error| TlsError::Certificate {
        path: certificate.clone(),
        error,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(no_certificate)?;
    if certificates.is_empty() {
        let nothing = io::Error::new(io::ErrorKind::InvalidData, "there is none in it");
        return Err(no_certificate(pem::Error::Io(nothing)));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key {
        path: key.clone(),
        error,
    })?;
    let mismatch = |error| TlsError::Mismatch {
        certificate: certificate.clone(),
        key: key.clone(),
        error,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
