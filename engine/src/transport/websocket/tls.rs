//! TLS of a WebSocket server: its configuration from PEM texts, and who its clients are.

use std::sync::Arc;

use ::ring::digest;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use crate::model::{Error, ErrorKind};
use crate::transport::tls::{certificates, invalid, private_key, provider, roots};

/// What a server shows and asks for, as PEM texts.
#[derive(Clone, Default)]
pub struct ServerTls {
    /// The certificate and its chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// Who signs client certificates.
    pub ca: Option<String>,
    /// Refuse clients without a certificate signed by `ca`.
    pub request_cert: bool,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("request_cert", &self.request_cert).finish_non_exhaustive()
    }
}

/// Who a client has proven to be by its certificate: the certificate's SHA-256.
pub(super) fn client_identity<S>(stream: &tokio_rustls::server::TlsStream<S>) -> Option<String> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let digest = digest::digest(&digest::SHA256, certificate);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("tls:SHA256:{hex}"))
}

impl ServerTls {
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(invalid)?;
        let builder = match (&self.ca, self.request_cert) {
            (Some(ca), true) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider());
                builder.with_client_cert_verifier(verifier.build().map_err(invalid)?)
            }
            (None, true) => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    "tls.requestCert needs tls.ca: who signs client certificates",
                ));
            }
            _ => builder.with_no_client_auth(),
        };
        let config =
            builder.with_single_cert(certificates(&self.cert, "tls.cert")?, private_key(&self.key, "tls.key")?);
        Ok(TlsAcceptor::from(Arc::new(config.map_err(invalid)?)))
    }
}
