//! How a TCP socket is set for events that are written as they come. Does not open or read it.

use std::io;

use socket2::SockRef;

/// Bytes that the kernel takes beyond what the peer has room for. Without it, and when the kernel has given a socket megabytes, a reader
/// that keeps reading looks for a long time like one that has stopped: the socket takes nothing before a third of them is gone.
/// Source: none, a guess: two passes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// Small writes leave at once, and a socket says soon that its peer reads.
pub(super) fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}
