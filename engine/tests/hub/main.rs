//! A hub as its peers and its application see it, over TCP with an independent WebSocket peer, and over the memory transport.

mod bad_input;
mod bounds;
mod closing;
mod connections;
mod hearing;
mod http;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod tls;

use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

async fn flush(net: &Net, token: u32) {
    net.hub.flush(token);
    net.app.flushed(token).await;
}

/// A subscriber that does not read, with little room in its kernel.
async fn deaf(net: &Net, topic: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let address = net.address().parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the hub listens");
    let request = upgrade(&net.address(), "/", "");
    stream.write_all(request.as_bytes()).await.expect("the hub reads");
    read_head(&mut stream).await;
    let before = net.hub.subscriber_count(topic);
    stream.write_all(&masked(0x81, subscribe(topic).as_bytes())).await.expect("the hub reads");
    until("the subscription", || net.hub.subscriber_count(topic) == before + 1).await;
    stream
}
