//! A relay of Iroh, for tests, examples and measurements in JavaScript.
//!
//! Usage: `cargo run -p alkpubsub-engine --features iroh --example iroh_relay -- [--host IP] [--port N] [--tls [--quic-port N]]
//! [--token T]`. Prints one
//! line of JSON, `{"url", "root"}`, and runs until its standard input ends; each line that comes meanwhile is answered with
//! `{"relayed": bytes}`.

use std::io::Write;

use tokio::io::{AsyncBufReadExt, BufReader};

#[path = "../tests/support/iroh_relay.rs"]
mod iroh_relay;

use iroh_relay::{Kind, Relay};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let relay = Relay::spawn(kind()?).await?;
    say(&serde_json::json!({ "url": relay.url, "root": relay.root }))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        say(&serde_json::json!({ "relayed": relay.relayed() }))?;
    }
    relay.stop().await;
    Ok(())
}

fn kind() -> Result<Kind, Box<dyn std::error::Error>> {
    let mut kind = Kind::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match &*name {
            "--host" => kind.host = Some(value()?.parse()?),
            "--port" => kind.port = value()?.parse()?,
            "--token" => kind.token = Some(value()?),
            "--quic-port" => kind.quic_port = Some(value()?.parse()?),
            "--tls" => kind.has_tls = true,
            other => return Err(format!("{other}: known are --host, --port, --tls, --quic-port and --token").into()),
        }
    }
    Ok(kind)
}

fn say(line: &serde_json::Value) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
