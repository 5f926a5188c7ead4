//! TLS that transports share: a client's configuration from PEM texts. One provider, ring.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::{Error, ErrorKind};

/// What a client trusts and shows, as PEM texts.
#[derive(Clone, Default)]
pub struct ClientTls {
    /// Trusted roots instead of the system's.
    pub ca: Option<String>,
    /// A client certificate and its chain.
    pub cert: Option<String>,
    /// Its private key.
    pub key: Option<String>,
    /// The name expected in the server's certificate instead of the host's.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

impl ClientTls {
    pub(super) fn connector(&self) -> Result<TlsConnector, Error> {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(invalid)?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider())))
        } else {
            builder.with_root_certificates(self.ca.as_deref().map_or_else(system_roots, roots)?)
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert, "tls.cert")?, private_key(key, "tls.key")?)
                .map_err(invalid)?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(Error::new(ErrorKind::InvalidOption, "tls.cert and tls.key go together")),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|error| Error::with_source(ErrorKind::InvalidOption, format!("server name {name:?}"), error))
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::InvalidOption, "tls", error)
}

pub(super) fn certificates(pem: &str, option: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::new(ErrorKind::InvalidOption, format!("{option} holds no PEM certificate"))),
        Err(error) => Err(Error::with_source(ErrorKind::InvalidOption, option, error)),
    }
}

pub(super) fn private_key(pem: &str, option: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| Error::with_source(ErrorKind::InvalidOption, option, error))
}

pub(super) fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, "tls.ca")? {
        store.add(certificate).map_err(invalid)?;
    }
    Ok(store)
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let message = "the system has no trusted certificates (Debian: package ca-certificates); or give tls.ca";
        return Err(Error::new(ErrorKind::Tls, message));
    }
    Ok(store)
}

/// Whether a certificate is to blame, ours or the server's: trying again cannot help. With TLS 1.3 the server says what it thinks of ours
/// after the handshake.
pub(super) fn is_certificate_error(error: &std::io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(InvalidCertificate(_) | NoCertificatesPresented) => true,
        Some(AlertReceived(alert)) => matches!(
            alert,
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
        ),
        _ => false,
    }
}

/// Checks signatures and nothing else: who asked for `insecure` gets encryption without identity.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
