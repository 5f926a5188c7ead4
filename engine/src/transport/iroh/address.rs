//! Where endpoints are reached: tickets, and what changes about an endpoint's own addresses. Does not look anything up.

use iroh::{EndpointAddr, EndpointId, Watcher};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::sync::Mutex;

use super::endpoint::IrohEndpoint;
use super::id::parse_id;
use crate::model::{Error, ErrorKind};

/// Characters of a ticket at most: some hundred addresses. Source: none, a guess.
const MAX_TICKET: usize = 8192;
/// What a ticket begins with. Source: the crate that reads them.
const TICKET_PREFIX: &str = "endpoint";

/// Reads whom to reach: an id in any of its forms, or a ticket, which says where as well.
///
/// # Errors
/// `InvalidId`.
pub fn parse_address(text: &str) -> Result<EndpointAddr, Error> {
    match parse_id(text) {
        Ok(id) => Ok(id.into()),
        Err(_) if text.starts_with(TICKET_PREFIX) => parse_ticket(text),
        Err(error) => Err(error),
    }
}

/// Reads a ticket.
///
/// # Errors
/// `InvalidId`.
pub fn parse_ticket(text: &str) -> Result<EndpointAddr, Error> {
    let invalid = |why: String| {
        let shown: String = text.chars().take(40).collect();
        Error::new(ErrorKind::InvalidId, format!("{shown:?}… is no ticket of an endpoint: {why}"))
    };
    if text.len() > MAX_TICKET {
        return Err(invalid(format!("it has {} characters, more than {MAX_TICKET}", text.len())));
    }
    let ticket: EndpointTicket = text.parse().map_err(|error: iroh_tickets::ParseError| invalid(error.to_string()))?;
    Ok(ticket.into())
}

/// Writes a ticket: who an endpoint is and where it is reached, for others to read.
#[must_use]
pub fn ticket(address: EndpointAddr) -> String {
    EndpointTicket::new(address).to_string()
}

/// Tells each change of where an endpoint is reached. Whoever does not ask misses what is out of date by then.
#[derive(Debug)]
pub struct AddressWatch {
    endpoint: IrohEndpoint,
    told: Mutex<Option<EndpointAddr>>,
}

impl AddressWatch {
    /// Where it is reached now, at first; then where as soon as that is something else. `None` once the endpoint is closed. Cancel safe.
    pub async fn next(&self) -> Option<EndpointAddr> {
        let mut told = self.told.lock().await;
        let changed = async {
            let mut watcher = self.endpoint.quic().watch_addr();
            loop {
                let now = watcher.get();
                if told.as_ref() != Some(&now) {
                    return Some(now);
                }
                watcher.updated().await.ok()?;
            }
        };
        let now = tokio::select! {
            biased;
            () = self.endpoint.closed() => None,
            now = changed => now,
        }?;
        *told = Some(now.clone());
        Some(now)
    }
}

impl IrohEndpoint {
    /// Watches where it is reached.
    #[must_use]
    pub fn watch_address(&self) -> AddressWatch {
        AddressWatch { endpoint: self.clone(), told: Mutex::default() }
    }

    /// Keeps where another endpoint is reached, if the text says so, and gives its id.
    ///
    /// # Errors
    /// `InvalidId`.
    pub fn learn(&self, text: &str) -> Result<EndpointId, Error> {
        let address = parse_address(text)?;
        let id = address.id;
        self.know(address);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use iroh::{SecretKey, TransportAddr};

    use super::*;

    #[test]
    fn a_ticket_says_who_and_where_and_an_id_who() {
        let id = SecretKey::generate().public();
        let url = "https://relay.example".parse().expect("a URL");
        let address = EndpointAddr::new(id).with_ip_addr("127.0.0.1:4433".parse().expect("an address"));
        let address = address.with_relay_url(url);
        let text = ticket(address.clone());
        assert!(text.starts_with(TICKET_PREFIX), "{text}");
        assert_eq!(parse_address(&text).expect("a ticket"), address);
        assert_eq!(parse_address(&id.to_string()).expect("an id"), EndpointAddr::new(id));
        assert_eq!(parse_address(&id.to_z32()).expect("an id").id, id);
    }

    #[test]
    fn what_is_almost_a_ticket_is_none() {
        let id = SecretKey::generate().public();
        let text = ticket(EndpointAddr::new(id));
        let many = (1..=2000).map(|port| TransportAddr::Ip(([127, 0, 0, 1], port).into()));
        let almost = [
            text[..text.len() - 2].to_owned(),
            format!("{}1", &text[..text.len() - 1]),
            format!("blob{}", &text[8..]),
            TICKET_PREFIX.to_owned(),
            format!("{TICKET_PREFIX}é"),
            ticket(EndpointAddr::from_parts(id, many)),
        ];
        for text in almost {
            assert_eq!(parse_address(&text).expect_err(&text).kind(), ErrorKind::InvalidId, "{text:?}");
        }
    }
}
