//! Frames between two Iroh endpoints without JavaScript: what is left of it is what JavaScript costs. Only in builds with the feature `bench`.

use std::sync::Arc;
use std::time::Instant;

use alkpubsub_engine::model::Error as EngineError;
use alkpubsub_engine::transport::iroh::{IrohConnection, IrohRecv, IrohSend};
use napi::Result;
use napi::bindgen_prelude::Function;
use napi_derive::napi;

use crate::iroh::{NativeEndpoint, Outcome, invalid};
use crate::iroh_connection::{NativeOperation, Product, operate};

const ALPN: &str = "bench/1";
/// Frames are written together up to so many bytes, as links of the engine do.
const WRITE_BYTES: usize = 128 << 10;
const READ_BYTES: usize = 1 << 20;

/// Sends `count` frames of `bytes` as fast as they are taken.
#[napi(
    catch_unwind,
    ts_args_type = "endpoint: NativeEndpoint, to: string, bytes: number, count: number, onDone: (outcome: Outcome) => void"
)]
pub(crate) fn bench_iroh_send(
    endpoint: &NativeEndpoint,
    to: String,
    bytes: u32,
    count: u32,
    on_done: Function<'_, Outcome, ()>,
) -> Result<NativeOperation> {
    let endpoint = endpoint.bound()?;
    let id = endpoint.learn(&to).map_err(invalid)?;
    operate(on_done, async move {
        let connection = endpoint.connect(id, ALPN.into()).await?;
        let (send, recv) = connection.open_bi().await?;
        let frame = frame(bytes as usize);
        let mut left = count as usize;
        while left > 0 {
            let some = left.min((WRITE_BYTES / frame.len()).max(1));
            send.write_all(frame.repeat(some).into()).await?;
            left -= some;
        }
        send.finish().await?;
        recv.read_to_end(0).await?;
        connection.close(0, "");
        Ok(Product::Nothing)
    })
}

/// Takes the frames of one sender; the milliseconds from the first to the last, as text.
#[napi(catch_unwind, ts_args_type = "endpoint: NativeEndpoint, count: number, onDone: (outcome: Outcome) => void")]
pub(crate) fn bench_iroh_receive(
    endpoint: &NativeEndpoint,
    count: u32,
    on_done: Function<'_, Outcome, ()>,
) -> Result<NativeOperation> {
    let arrivals = endpoint.bound()?.arrivals(&[ALPN.into()]).map_err(invalid)?;
    operate(on_done, async move {
        let Some(connection) = arrivals.next().await else { return Ok(Product::Nothing) };
        let (send, recv) = connection.accept_bi().await?;
        let (mut frames, mut start, mut rest) = (0, None, Vec::new());
        while let Some(chunk) = recv.read(READ_BYTES).await? {
            start.get_or_insert_with(Instant::now);
            rest.extend_from_slice(&chunk);
            frames += take_frames(&mut rest);
        }
        let elapsed = start.map_or(0.0, |start| start.elapsed().as_secs_f64() * 1000.0);
        send.finish().await?;
        connection.closed().await;
        let all = if frames == count as usize { elapsed } else { f64::NAN };
        Ok(Product::Bytes(all.to_string().into()))
    })
}

/// Sends one frame after the other and waits for each to come back; the microseconds of each, as text.
#[napi(
    catch_unwind,
    ts_args_type = "endpoint: NativeEndpoint, to: string, bytes: number, count: number, onDone: (outcome: Outcome) => void"
)]
pub(crate) fn bench_iroh_trips(
    endpoint: &NativeEndpoint,
    to: String,
    bytes: u32,
    count: u32,
    on_done: Function<'_, Outcome, ()>,
) -> Result<NativeOperation> {
    let endpoint = endpoint.bound()?;
    let id = endpoint.learn(&to).map_err(invalid)?;
    operate(on_done, async move {
        let connection = endpoint.connect(id, ALPN.into()).await?;
        let (send, recv) = connection.open_bi().await?;
        let frame = frame(bytes as usize);
        let mut trips = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            send.write_all(frame.clone().into()).await?;
            recv.read_exact(frame.len()).await?;
            trips.push((start.elapsed().as_secs_f64() * 1e6).to_string());
        }
        connection.close(0, "");
        Ok(Product::Bytes(trips.join(" ").into()))
    })
}

/// Sends back what comes, until the connection is over.
#[napi(catch_unwind, ts_args_type = "endpoint: NativeEndpoint, onDone: (outcome: Outcome) => void")]
pub(crate) fn bench_iroh_echo(
    endpoint: &NativeEndpoint,
    on_done: Function<'_, Outcome, ()>,
) -> Result<NativeOperation> {
    let arrivals = Arc::new(endpoint.bound()?.arrivals(&[ALPN.into()]).map_err(invalid)?);
    operate(on_done, async move {
        while let Some(connection) = arrivals.next().await {
            let _over = echo(&connection).await;
        }
        Ok(Product::Nothing)
    })
}

async fn echo(connection: &IrohConnection) -> std::result::Result<(), EngineError> {
    let (send, recv): (IrohSend, IrohRecv) = connection.accept_bi().await?;
    while let Some(chunk) = recv.read(READ_BYTES).await? {
        send.write_all(chunk).await?;
    }
    Ok(())
}

fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = (bytes as u32).to_be_bytes().to_vec();
    frame.resize(4 + bytes, b'x');
    frame
}

/// Takes whole frames out; how many.
fn take_frames(bytes: &mut Vec<u8>) -> usize {
    let (mut at, mut frames) = (0, 0);
    while let Some(header) = bytes.get(at..at + 4) {
        let len = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if bytes.len() < at + 4 + len {
            break;
        }
        at += 4 + len;
        frames += 1;
    }
    bytes.drain(..at);
    frames
}
