//! Where a Redis is and who we are there: its URL, read by the `redis` crate. Does not connect.

use std::path::PathBuf;

use ::redis::{ConnectionAddr, IntoConnectionInfo};

use crate::link::Destination;
use crate::model::{Error, ErrorKind};

/// A socket to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, is_tls: bool },
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Everything a URL says.
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

impl Address {
    /// Reads the URL; `username` and `password` among the header lines stand above those in it.
    pub(super) fn of(destination: &Destination) -> Result<Self, Error> {
        // Never the URL itself: it may hold a password.
        let bad = |why: &str| {
            let expected = "expected redis://user:password@host:port/db, rediss://… or unix:///path?db=0";
            Error::new(ErrorKind::InvalidOption, format!("the url is none of a Redis: {why}; {expected}"))
        };
        let (url, is_tls) = without_tls(&destination.url);
        let info = url.as_str().into_connection_info().map_err(|error| bad(&error.to_string()))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp { host: host.clone(), port: *port, is_tls },
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(bad("an unknown kind of address")),
        };
        let settings = info.redis_settings();
        let given =
            |name: &str| destination.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
        Ok(Self {
            place,
            username: given("username").or_else(|| settings.username().map(Into::into)),
            password: given("password").or_else(|| settings.password().map(Into::into)),
            database: settings.db(),
        })
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
        assert_eq!(address.username.as_deref(), Some("me"));
        assert_eq!((address.password.as_deref(), address.database), (Some("p@ss"), 3));
        let address = read("rediss://:secret@[::1]").expect("legal");
        assert_eq!(address.place, Place::Tcp { host: "::1".into(), port: 6379, is_tls: true });
        assert_eq!((address.username, address.password.as_deref()), (None, Some("secret")));
        let address = read("unix:///run/redis.sock?db=2&user=me&pass=x").expect("legal");
        assert_eq!(address.place, Place::Unix("/run/redis.sock".into()));
        assert_eq!((address.username.as_deref(), address.database), (Some("me"), 2));
    }

    #[test]
    fn credentials_given_beside_the_url_stand_above_it() {
        let headers = vec![("username".into(), "you".into()), ("password".into(), "new".into())];
        let address = Address::of(&Destination { url: "redis://me:old@h".into(), headers }).expect("legal");
        assert_eq!((address.username.as_deref(), address.password.as_deref()), (Some("you"), Some("new")));
    }

    #[test]
    fn a_url_of_something_else_is_refused_and_not_repeated() {
        for url in ["http://user:secret@host", "", "redis://:secret@host/database", "ws://:secret@x"] {
            let error = read(url).err().expect("refused");
            assert!(error.kind() == ErrorKind::InvalidOption && !error.to_string().contains("secret"), "{error}");
        }
    }
}
