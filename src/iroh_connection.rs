//! Connections and streams of the application's own over Iroh in the addon. Convert, call, convert.
//!
//! What takes time is an operation: its callback says that it is over, its object has the result and gives it up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use alkpubsub_engine::model::Error as EngineError;
use alkpubsub_engine::transport::iroh::{Arrivals, ConnectionEnd, EndpointAddr, IrohConnection, IrohRecv, IrohSend};
use napi::bindgen_prelude::{Buffer, Function};
use napi::{Error, Result, Status};
use napi_derive::napi;
use tokio::task::AbortHandle;

use crate::iroh::{NativeEndpoint, Outcome, done, invalid, settle};
use crate::iroh_facts::{ConnectionStats, EndpointAddresses, Path};
use crate::runtime;

/// What came of an operation.
pub(crate) enum Product {
    Nothing,
    Bytes(Vec<u8>),
    Connection(IrohConnection),
    Streams(NativeStreams),
    Closed(ConnectionEnd),
    Address(EndpointAddr),
}

/// How far something has come.
enum Progress {
    UnderWay,
    /// The callback is called, or will be.
    Over(Option<Box<Product>>),
    GivenUp,
}

/// Something under way.
#[napi]
pub struct NativeOperation {
    progress: Arc<Mutex<Progress>>,
    task: AbortHandle,
}

/// How a connection ended.
#[napi(object, js_name = "ConnectionEnd")]
pub struct NativeConnectionEnd {
    pub code: Option<f64>,
    pub reason: String,
}

impl From<ConnectionEnd> for NativeConnectionEnd {
    fn from(ConnectionEnd { code, reason }: ConnectionEnd) -> Self {
        Self { code: code.map(|code| code as f64), reason }
    }
}

pub(crate) fn operate(
    on_done: Function<'_, Outcome, ()>,
    work: impl Future<Output = std::result::Result<Product, EngineError>> + Send + 'static,
) -> Result<NativeOperation> {
    let on_done = done(on_done)?;
    let progress = Arc::new(Mutex::new(Progress::UnderWay));
    let place = Arc::clone(&progress);
    let task = runtime::handle().spawn(async move {
        let mut work = pin!(work);
        // Under the lock: what has been brought is not given up any more, and nothing is brought that was. Else bytes would be lost, or a connection
        // that nobody could close.
        let result = poll_fn(|cx| {
            let mut progress = place.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*progress, Progress::GivenUp) {
                return Poll::Ready(None);
            }
            let result = ready!(work.as_mut().poll(cx));
            let (product, result) = result.map_or_else(|error| (None, Err(error)), |product| (Some(product), Ok(())));
            *progress = Progress::Over(product.map(Box::new));
            Poll::Ready(Some(result))
        });
        if let Some(result) = result.await {
            settle(&on_done, result);
        }
    });
    Ok(NativeOperation { progress, task: task.abort_handle() })
}

#[napi]
impl NativeOperation {
    /// Gives it up: the callback is not called any more. False: too late, it is over and the callback comes.
    #[napi(catch_unwind)]
    pub fn cancel(&self) -> bool {
        let mut progress = self.progress();
        if matches!(*progress, Progress::Over(_)) {
            return false;
        }
        *progress = Progress::GivenUp;
        drop(progress);
        self.task.abort();
        true
    }

    #[napi(catch_unwind)]
    pub fn take_bytes(&self) -> Option<Buffer> {
        match self.take() {
            Some(Product::Bytes(bytes)) => Some(bytes.into()),
            _ => None,
        }
    }

    #[napi(catch_unwind)]
    pub fn take_connection(&self) -> Option<NativeConnection> {
        match self.take() {
            Some(Product::Connection(connection)) => Some(NativeConnection { connection }),
            _ => None,
        }
    }

    #[napi(catch_unwind)]
    pub fn take_streams(&self) -> Option<NativeStreams> {
        match self.take() {
            Some(Product::Streams(streams)) => Some(streams),
            _ => None,
        }
    }

    #[napi(catch_unwind)]
    pub fn take_end(&self) -> Option<NativeConnectionEnd> {
        match self.take() {
            Some(Product::Closed(end)) => Some(end.into()),
            _ => None,
        }
    }

    #[napi(catch_unwind)]
    pub fn take_address(&self) -> Option<EndpointAddresses> {
        match self.take() {
            Some(Product::Address(address)) => Some(EndpointAddresses::from(&address)),
            _ => None,
        }
    }
}

impl NativeOperation {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Product> {
        match &mut *self.progress() {
            Progress::Over(product) => product.take().map(|product| *product),
            Progress::UnderWay | Progress::GivenUp => None,
        }
    }
}

/// Connections that come in by some protocols.
#[napi]
pub struct NativeArrivals {
    arrivals: Arc<Arrivals>,
}

#[napi]
impl NativeArrivals {
    /// The next one; without a connection when the endpoint is closed.
    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn next(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let arrivals = Arc::clone(&self.arrivals);
        operate(on_done, async move { Ok(arrivals.next().await.map_or(Product::Nothing, Product::Connection)) })
    }
}

#[napi]
impl NativeEndpoint {
    /// Connects to an endpoint: its id, or a ticket.
    #[napi(catch_unwind, ts_args_type = "id: string, alpn: string, onDone: (outcome: Outcome) => void")]
    pub fn connect(&self, id: String, alpn: String, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let endpoint = self.bound()?;
        let id = endpoint.learn(&id).map_err(invalid)?;
        operate(on_done, async move { endpoint.connect(id, alpn).await.map(Product::Connection) })
    }

    /// Accepts connections of these protocols from now on.
    #[napi(catch_unwind)]
    pub fn arrivals(&self, alpns: Vec<String>) -> Result<NativeArrivals> {
        Ok(NativeArrivals { arrivals: Arc::new(self.bound()?.arrivals(&alpns).map_err(invalid)?) })
    }
}

/// A connection.
#[napi]
pub struct NativeConnection {
    connection: IrohConnection,
}

#[napi]
impl NativeConnection {
    #[napi(catch_unwind)]
    pub fn remote_id(&self) -> String {
        self.connection.remote_id().to_string()
    }

    #[napi(catch_unwind)]
    pub fn alpn(&self) -> String {
        self.connection.alpn()
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn open_bi(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        operate(on_done, async move { connection.open_bi().await.map(both) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn accept_bi(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        operate(on_done, async move { connection.accept_bi().await.map(both) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn open_uni(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        let opened = |send| Product::Streams(NativeStreams { send: Some(send), recv: None });
        operate(on_done, async move { connection.open_uni().await.map(opened) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn accept_uni(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        let accepted = |recv| Product::Streams(NativeStreams { send: None, recv: Some(recv) });
        operate(on_done, async move { connection.accept_uni().await.map(accepted) })
    }

    #[napi(catch_unwind)]
    pub fn max_datagram_size(&self) -> Option<u32> {
        self.connection.max_datagram_size().map(|size| size as u32)
    }

    #[napi(catch_unwind, ts_args_type = "bytes: Uint8Array, onDone: (outcome: Outcome) => void")]
    pub fn send_datagram(&self, bytes: Buffer, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let (connection, bytes) = (self.connection.clone(), bytes.to_vec());
        operate(on_done, async move { connection.send_datagram(bytes.into()).await.map(|()| Product::Nothing) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn read_datagram(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        operate(on_done, async move { connection.read_datagram().await.map(|bytes| Product::Bytes(bytes.into())) })
    }

    #[napi(catch_unwind)]
    pub fn close(&self, code: u32, reason: String) {
        self.connection.close(code, &reason);
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn closed(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        operate(on_done, async move { Ok(Product::Closed(connection.closed().await)) })
    }

    #[napi(catch_unwind)]
    pub fn close_reason(&self) -> Option<NativeConnectionEnd> {
        self.connection.close_reason().map(NativeConnectionEnd::from)
    }

    #[napi(catch_unwind)]
    pub fn paths(&self) -> Vec<Path> {
        self.connection.paths().into_iter().map(Path::from).collect()
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> ConnectionStats {
        self.connection.facts().into()
    }
}

fn both((send, recv): (IrohSend, IrohRecv)) -> Product {
    Product::Streams(NativeStreams { send: Some(send), recv: Some(recv) })
}

/// A stream: both halves, or the one that there is. Held together, because a half that is dropped tells the peer so.
#[napi]
pub struct NativeStreams {
    send: Option<IrohSend>,
    recv: Option<IrohRecv>,
}

impl NativeStreams {
    fn send(&self) -> Result<IrohSend> {
        self.send.clone().ok_or_else(|| missing_half("the peer alone writes this stream"))
    }

    fn recv(&self) -> Result<IrohRecv> {
        self.recv.clone().ok_or_else(|| missing_half("this side alone writes this stream"))
    }
}

fn missing_half(why: &str) -> Error {
    Error::new(Status::GenericFailure, format!("ERR_INTERNAL: {why}"))
}

#[napi]
impl NativeStreams {
    #[napi(catch_unwind, ts_args_type = "bytes: Uint8Array, onDone: (outcome: Outcome) => void")]
    pub fn write_all(&self, bytes: Buffer, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let (send, bytes) = (self.send()?, bytes.to_vec());
        operate(on_done, async move { send.write_all(bytes.into()).await.map(|()| Product::Nothing) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn finish(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let send = self.send()?;
        operate(on_done, async move { send.finish().await.map(|()| Product::Nothing) })
    }

    #[napi(catch_unwind)]
    pub fn reset(&self, code: u32) -> Result<()> {
        let send = self.send()?;
        runtime::handle().spawn(async move { send.reset(code).await });
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn stop(&self, code: u32) -> Result<()> {
        let recv = self.recv()?;
        runtime::handle().spawn(async move { recv.stop(code).await });
        Ok(())
    }

    #[napi(catch_unwind, ts_args_type = "count: number, onDone: (outcome: Outcome) => void")]
    pub fn read_exact(&self, count: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv()?;
        operate(on_done, async move { recv.read_exact(count as usize).await.map(Product::Bytes) })
    }

    #[napi(catch_unwind, ts_args_type = "max: number, onDone: (outcome: Outcome) => void")]
    pub fn read(&self, max: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv()?;
        operate(on_done, async move {
            let read = recv.read(max as usize).await?;
            Ok(read.map_or(Product::Nothing, |bytes| Product::Bytes(bytes.into())))
        })
    }

    #[napi(catch_unwind, ts_args_type = "max: number, onDone: (outcome: Outcome) => void")]
    pub fn read_to_end(&self, max: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv()?;
        operate(on_done, async move { recv.read_to_end(max as usize).await.map(Product::Bytes) })
    }
}
