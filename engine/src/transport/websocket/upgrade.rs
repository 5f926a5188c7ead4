//! Reads one request for a WebSocket and answers it: who is upgraded, who is refused and how that is said. Does not listen.
//!
//! Refusals come before the upgrade: 400 ill-formed, 408 too slow, 431 too large, 404 wrong path, 426 no WebSocket request, 401 and 403 as
//! whoever decides says, 403 foreign origin, 503 no room. Pages cannot read a status: whose origin is allowed gets the upgrade, and then
//! a close code.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::head::{self, HeadError};
use super::server::{REFUSAL_GRACE, Server};
use crate::link::{Admission, Peer, Refusal};

use crate::model::{CloseCode, Error, ErrorKind};
use crate::trace;
use crate::wire::frame::Framing;

/// Our end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalEnd {
    /// An address of this machine.
    Address(IpAddr),
    /// A socket of the file system.
    Unix,
    /// Nobody knows.
    Unknown,
}

impl LocalEnd {
    fn is_loopback(self) -> bool {
        matches!(self, Self::Address(ip) if ip.to_canonical().is_loopback())
    }

    /// Only processes of this machine reach it.
    fn is_local(self) -> bool {
        self == Self::Unix || self.is_loopback()
    }
}

/// A connection whose request is to be read.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) from: Option<SocketAddr>,
    pub(super) at: LocalEnd,
    pub(super) identity: Option<String>,
    /// What was read of it already.
    pub(super) given: Vec<u8>,
}

/// A request that was answered with 101.
pub(super) struct Upgraded {
    pub(super) peer: Peer,
    /// What came behind the request.
    pub(super) early: Vec<u8>,
    pub(super) admission: Admission,
}

/// How somebody is told that the answer is no.
#[derive(Debug, Clone, Copy)]
pub(super) struct Denial {
    status: StatusCode,
    pub(super) code: CloseCode,
    pub(super) why: &'static str,
}

impl Denial {
    pub(super) const LATE: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        code: CloseCode::TIMED_OUT,
        why: "nobody decided in time whether you may come in",
    };

    pub(super) fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotIdentified => Self {
                status: StatusCode::UNAUTHORIZED,
                code: CloseCode::NOT_IDENTIFIED,
                why: "the hub does not know who you are",
            },
            Refusal::Forbidden => {
                Self { status: StatusCode::FORBIDDEN, code: CloseCode::REFUSED, why: "the hub does not let you in" }
            }
            Refusal::Unavailable => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: CloseCode::INTERNAL,
                why: "the hub cannot decide now whether you may come in",
            },
        }
    }
}

const NO_ROOM: &str = "too many connections";

impl Server {
    /// Reads the request and answers it; nothing if it was refused.
    pub(super) async fn upgrade<S>(&self, io: &mut S, arrival: Arrival) -> Result<Option<Upgraded>, HeadError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.config.limits.handshake;
        let Arrival { from, at, identity, given } = arrival;
        let parsed = match timeout_at(deadline, head::read_head(io, given)).await {
            Ok(Ok((bytes, early))) => head::parse_request(&bytes).map(|request| (request, early)),
            Ok(Err(error)) => Err(error),
            Err(_) => return refuse(io, StatusCode::REQUEST_TIMEOUT, "no request came in time").await,
        };
        let (request, early) = match parsed {
            Ok(parsed) => parsed,
            Err(HeadError::TooLarge) => {
                return refuse(io, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large").await;
            }
            Err(HeadError::Malformed(what)) => return refuse(io, StatusCode::BAD_REQUEST, &what).await,
            Err(error) => return Err(error),
        };
        let answer = match self.check(&request, at) {
            Ok(answer) => answer,
            Err((status, why)) => return refuse(io, status, why).await,
        };
        let peer = peer_of(&request, from, identity);
        let denial = match timeout_at(deadline, self.acceptor.authorize(peer.clone())).await {
            // Others may have come in while that was decided.
            Ok(Ok(_)) if !self.acceptor.has_room() => {
                return refuse(io, StatusCode::SERVICE_UNAVAILABLE, NO_ROOM).await;
            }
            Ok(Ok(admission)) => {
                write_head(io, &answer).await?;
                return Ok(Some(Upgraded { peer, early, admission }));
            }
            Ok(Err(refusal)) => Denial::of(refusal),
            Err(_) => Denial::LATE,
        };
        if request.headers().contains_key("origin") {
            turn_away(io, &answer, denial).await
        } else {
            refuse(io, denial.status, denial.why).await
        }
    }

    fn check(&self, request: &Request<()>, at: LocalEnd) -> Result<Response<()>, (StatusCode, &'static str)> {
        let lines = |name: &str| request.headers().get_all(name).iter().count();
        // Source: RFC 9112, 3.2. Of two origins, one that may connect would hide the other.
        if lines("host") != 1 || lines("origin") > 1 {
            return Err((StatusCode::BAD_REQUEST, "one Host is needed, and at most one Origin"));
        }
        if self.config.path.as_deref().is_some_and(|path| path != request.uri().path()) {
            return Err((StatusCode::NOT_FOUND, "no such path"));
        }
        let is_upgrade =
            head::tokens(request.headers(), "upgrade").iter().any(|token| token.eq_ignore_ascii_case("websocket"));
        if !is_upgrade {
            return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint"));
        }
        let mut answer = tungstenite::handshake::server::create_response(request)
            .map_err(|_| (StatusCode::BAD_REQUEST, "not a WebSocket handshake of version 13"))?;
        if !self.is_origin_allowed(request.headers(), at) {
            return Err((
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; see allowedOrigins and allowedHosts",
            ));
        }
        if !self.may_be_reached(at) {
            return Err((StatusCode::FORBIDDEN, "nobody would be asked who you are; see authorize and anyone"));
        }
        if !self.acceptor.has_room() {
            return Err((StatusCode::SERVICE_UNAVAILABLE, NO_ROOM));
        }
        let protocols = head::tokens(request.headers(), "sec-websocket-protocol");
        if let Some(first) = protocols.first().and_then(|first| first.parse().ok()) {
            answer.headers_mut().insert("sec-websocket-protocol", first);
        }
        Ok(answer)
    }

    /// Only browsers send `Origin`. Their pages may connect to the host they came from; on loopback that host must have a loopback name,
    /// so that a foreign name which resolves here (DNS rebinding) does not count as the same host.
    fn is_origin_allowed(&self, headers: &HeaderMap, at: LocalEnd) -> bool {
        let Some(origin) = headers.get("origin") else {
            return true;
        };
        let (Ok(origin), Some(Ok(host))) = (origin.to_str(), headers.get("host").map(|host| host.to_str())) else {
            return false;
        };
        if self.config.allowed_origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let Some((_, origin_host)) = origin.split_once("://") else {
            return false;
        };
        origin_host.eq_ignore_ascii_case(host) && (!at.is_loopback() || self.is_known_loopback(host))
    }

    /// A hub that lets everybody in is for this machine alone, unless it was told otherwise. Where we bind ourselves this was asked before.
    fn may_be_reached(&self, at: LocalEnd) -> bool {
        let may = self.config.anyone || self.config.is_guarded || at.is_local();
        if !may && !self.has_warned.swap(true, Ordering::Relaxed) {
            let message = "a server that the hub is attached to can be reached from other machines and nobody would be asked who they are: give authorize, bind the server to 127.0.0.1, or say anyone: true";
            self.acceptor.report(Error::new(ErrorKind::NoAuthorize, message));
        }
        may
    }

    fn is_known_loopback(&self, host: &str) -> bool {
        let name = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)).unwrap_or_default();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost"
            || name.ends_with(".localhost")
            || address.is_ok_and(|ip| ip.is_loopback())
            || self.config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
    }
}

fn peer_of(request: &Request<()>, from: Option<SocketAddr>, identity: Option<String>) -> Peer {
    let headers = request.headers().iter();
    Peer {
        transport: "websocket",
        remote_address: from,
        // A request to a proxy names a host besides; that is no business of whoever reads the path.
        url: Some(request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned()),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        protocols: head::tokens(request.headers(), "sec-websocket-protocol"),
        identity,
    }
}

/// Upgrades and closes at once, for pages: they see the code of a close and never a status. What they sent already is read and dropped, so
/// that the frame arrives.
async fn turn_away<S, T>(io: &mut S, answer: &Response<()>, denial: Denial) -> Result<Option<T>, HeadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    debug!(target: trace::WEBSOCKET, code = denial.code.0, why = denial.why, "turned away");
    write_head(io, answer).await?;
    let mut frame = Vec::new();
    Framing::WebSocketServer.write_close(&mut frame, denial.code, denial.why, [0; 4]);
    io.write_all(&frame).await?;
    io.shutdown().await?;
    let rest = async {
        let mut scratch = [0; 1024];
        while io.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
    };
    let _gone_or_late = timeout(REFUSAL_GRACE, rest).await;
    Ok(None)
}

async fn refuse<S, T>(io: &mut S, status: StatusCode, why: &str) -> Result<Option<T>, HeadError>
where
    S: AsyncWrite + Unpin,
{
    debug!(target: trace::WEBSOCKET, status = status.as_u16(), why, "refused");
    let upgrade =
        if status == StatusCode::UPGRADE_REQUIRED { "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {status}\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    Ok(None)
}

async fn write_head<S: AsyncWrite + Unpin>(io: &mut S, answer: &http::Response<()>) -> Result<(), HeadError> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    io.write_all(&bytes).await?;
    io.flush().await?;
    Ok(())
}
