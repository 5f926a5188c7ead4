//! Where a Redis is and who we are there: its URL, read by the `redis` crate. Does not connect.

use std::path::PathBuf;

use ::redis::{ConnectionAddr, IntoConnectionInfo};

use crate::link::Destination;
use crate::model::{Error, ErrorKind};

/// A socket to open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Tcp { host: String, port: u16, is_tls: bool },
    Unix(PathBuf),
}

impl Place {
    /// Another server that is reached in the same way; with an empty host, at the same one.
    pub(super) fn with(&self, other: &str, port: u16) -> Self {
        let (same, is_tls) = match self {
            Self::Tcp { host, is_tls, .. } => (host.as_str(), *is_tls),
            Self::Unix(_) => ("127.0.0.1", false),
        };
        Self::Tcp { host: if other.is_empty() { same } else { other }.into(), port, is_tls }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who we are at a server, and which database we look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

impl Login {
    /// What stands above a URL: header lines of these names.
    pub(super) fn given(to: &Destination, username: &str, password: &str) -> Self {
        let line = |name: &str| to.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
        Self { username: line(username), password: line(password), database: 0 }
    }
}

/// Everything a URL says.
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) login: Login,
}

impl Address {
    /// Reads the URL; `username` and `password` among the header lines stand above those in it.
    pub(super) fn of(destination: &Destination) -> Result<Self, Error> {
        Self::read(&destination.url, Login::given(destination, "username", "password"))
    }

    /// Reads a URL; what is given stands above it.
    pub(super) fn read(url: &str, given: Login) -> Result<Self, Error> {
        // Never the URL itself: it may hold a password.
        let bad = |why: &str| {
            let expected = "expected redis://user:password@host:port/db, rediss://… or unix:///path?db=0";
            Error::new(ErrorKind::InvalidOption, format!("the url is none of a Redis: {why}; {expected}"))
        };
        let (url, is_tls) = without_tls(url);
        let info = url.as_str().into_connection_info().map_err(|error| bad(&error.to_string()))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp { host: host.clone(), port: *port, is_tls },
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(bad("an unknown kind of address")),
        };
        let settings = info.redis_settings();
        let username = given.username.or_else(|| settings.username().map(Into::into));
        let password = given.password.or_else(|| settings.password().map(Into::into));
        Ok(Self { place, login: Login { username, password, database: settings.db() } })
    }
}

/// TLS is ours: the crate reads what is left.
fn without_tls(url: &str) -> (String, bool) {
    for (secure, plain) in [("rediss://", "redis://"), ("valkeys://", "redis://")] {
        if let Some(rest) = url.strip_prefix(secure) {
            return (format!("{plain}{rest}"), true);
        }
    }
    (url.into(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address, Error> {
        Address::of(&Destination { url: url.into(), headers: Vec::new() })
    }

    #[test]
    fn a_url_names_socket_user_password_and_database() {
        let address = read("redis://me:p%40ss@example.org:6380/3").expect("legal");
        assert_eq!(address.place, Place::Tcp { host: "example.org".into(), port: 6380, is_tls: false });
        let login = address.login;
        assert_eq!(login.username.as_deref(), Some("me"));
        assert_eq!((login.password.as_deref(), login.database), (Some("p@ss"), 3));
        let address = read("rediss://:secret@[::1]").expect("legal");
        assert_eq!(address.place, Place::Tcp { host: "::1".into(), port: 6379, is_tls: true });
        assert_eq!((address.login.username, address.login.password.as_deref()), (None, Some("secret")));
        let address = read("unix:///run/redis.sock?db=2&user=me&pass=x").expect("legal");
        assert_eq!(address.place, Place::Unix("/run/redis.sock".into()));
        assert_eq!((address.login.username.as_deref(), address.login.database), (Some("me"), 2));
    }

    #[test]
    fn credentials_given_beside_the_url_stand_above_it() {
        let headers = vec![("username".into(), "you".into()), ("password".into(), "new".into())];
        let login = Address::of(&Destination { url: "redis://me:old@h".into(), headers }).expect("legal").login;
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("you"), Some("new")));
    }

    #[test]
    fn a_url_of_something_else_is_refused_and_not_repeated() {
        for url in ["http://user:secret@host", "", "redis://:secret@host/database", "ws://:secret@x"] {
            let error = read(url).err().expect("refused");
            assert!(error.kind() == ErrorKind::InvalidOption && !error.to_string().contains("secret"), "{error}");
        }
    }
}
