//! A relay of Iroh on loopback, for tests and for the example `iroh_relay`: plain or over TLS with a root of its own, for everybody or for who
//! brings a token. Does not do anything that a relay of the library's does not do.
#![allow(dead_code, reason = "each user of this uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use iroh_relay::server::{
    Access, AccessControl, CertConfig, ClientRequest, QuicConfig, RelayConfig, Server, ServerConfig, SpawnError,
    TlsConfig,
};
use tokio_rustls::rustls;

/// What kind of relay.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kind {
    /// Where it listens on loopback; 0 takes any free port.
    pub(crate) port: u16,
    /// Clients need it.
    pub(crate) token: Option<String>,
    /// Its certificate is checked against the root that `Relay::root` has.
    pub(crate) has_tls: bool,
    /// Other machines reach it as well.
    pub(crate) host: Option<Ipv4Addr>,
    /// With TLS: the UDP port where it tells endpoints their addresses.
    pub(crate) quic_port: Option<u16>,
}

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    server: Server,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    /// PEM of the authority that has signed its certificate.
    pub(crate) root: Option<String>,
}

impl Relay {
    pub(crate) async fn spawn(kind: Kind) -> Result<Self, SpawnError> {
        let host = kind.host.unwrap_or(Ipv4Addr::LOCALHOST);
        let mut relay = RelayConfig::new((host, kind.port));
        if let Some(token) = kind.token {
            relay.access = Arc::new(WithToken(token));
        }
        let mut root = None;
        if kind.has_tls {
            let (config, pem) = tls(host);
            relay.tls = Some(TlsConfig::new((host, kind.port), CertConfig::Manual { server_config: config }));
            relay.http_bind_addr = (host, 0).into();
            root = Some(pem);
        }
        let mut config = ServerConfig::default();
        if let (Some(port), Some(TlsConfig { cert: CertConfig::Manual { server_config }, .. })) =
            (kind.quic_port, &relay.tls)
        {
            let mut quic = QuicConfig::new((host, port));
            quic.server_config = Some(server_config.clone());
            config.quic = Some(quic);
        }
        config.relay = Some(relay);
        let server = Server::spawn(config).await?;
        let (scheme, address) = match server.https_addr() {
            Some(address) => ("https", address),
            None => ("http", server.http_addr().expect("it has a relay")),
        };
        Ok(Self { server, url: format!("{scheme}://{address}"), address, root })
    }

    /// Bytes that went through it.
    pub(crate) fn relayed(&self) -> u64 {
        self.server.metrics().server.bytes_sent.get()
    }

    /// Ends it; its port is free afterwards.
    pub(crate) async fn stop(self) {
        self.server.shutdown().await.expect("it ends");
    }
}

/// Lets in who brings the token.
#[derive(Debug)]
struct WithToken(String);

impl AccessControl for WithToken {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        if request.auth_token().as_deref() == Some(&self.0) {
            return Access::Allow;
        }
        Access::Deny { reason: Some("wrong token".into()) }
    }
}

/// A certificate for the address, signed by a root that nobody knows; and that root.
fn tls(host: Ipv4Addr) -> (rustls::ServerConfig, String) {
    let made = "ring makes keys and signs";
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect(made);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate().expect(made);
    let root = params.self_signed(&root_key).expect(made).pem();
    let issuer = rcgen::Issuer::new(params, root_key);
    let key = rcgen::KeyPair::generate().expect(made);
    let params = rcgen::CertificateParams::new(vec![host.to_string(), "localhost".into()]).expect("legal names");
    let certificate = params.signed_by(&key, &issuer).expect(made);
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key of its own");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("certificate and key belong together");
    (config, root)
}
