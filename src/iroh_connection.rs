//! Connections and streams of the application's own over Iroh in the addon. Convert, call, convert.
//!
//! What takes time is an operation: its callback says that it is over, its object has the result and gives it up.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use alkpubsub_engine::model::Error as EngineError;
use alkpubsub_engine::transport::iroh::{Arrivals, IrohConnection, IrohRecv, IrohSend, parse_id};
use napi::Result;
use napi::bindgen_prelude::{Buffer, Function};
use napi_derive::napi;
use tokio::task::AbortHandle;

use crate::iroh::{NativeEndpoint, Outcome, done, invalid, settle};
use crate::runtime;

/// What came of an operation.
enum Product {
    Nothing,
    Bytes(Vec<u8>),
    Connection(IrohConnection),
    Streams(IrohSend, IrohRecv),
    Closed(Option<u64>, String),
}

/// Something under way.
#[napi]
pub struct NativeOperation {
    product: Arc<Mutex<Option<Product>>>,
    task: AbortHandle,
}

/// How a connection ended.
#[napi(object)]
pub struct ConnectionEnd {
    pub code: Option<f64>,
    pub reason: String,
}

fn operate(
    on_done: Function<'_, Outcome, ()>,
    work: impl Future<Output = std::result::Result<Product, EngineError>> + Send + 'static,
) -> Result<NativeOperation> {
    let on_done = done(on_done)?;
    let product = Arc::new(Mutex::new(None));
    let place = Arc::clone(&product);
    let task = runtime::handle().spawn(async move {
        let result = work.await.map(|product| {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(product);
        });
        settle(&on_done, result);
    });
    Ok(NativeOperation { product, task: task.abort_handle() })
}

#[napi]
impl NativeOperation {
    /// Gives it up: the callback is not called any more.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.task.abort();
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
            Some(Product::Streams(send, recv)) => Some(NativeStreams { send, recv }),
            _ => None,
        }
    }

    #[napi(catch_unwind)]
    pub fn take_end(&self) -> Option<ConnectionEnd> {
        match self.take() {
            Some(Product::Closed(code, reason)) => Some(ConnectionEnd { code: code.map(|code| code as f64), reason }),
            _ => None,
        }
    }
}

impl NativeOperation {
    fn take(&self) -> Option<Product> {
        self.product.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    /// Connects to an endpoint.
    #[napi(catch_unwind, ts_args_type = "id: string, alpn: string, onDone: (outcome: Outcome) => void")]
    pub fn connect(&self, id: String, alpn: String, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let (endpoint, id) = (self.bound()?, parse_id(&id).map_err(invalid)?);
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
        operate(on_done, async move { connection.open_bi().await.map(|(send, recv)| Product::Streams(send, recv)) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn accept_bi(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let connection = self.connection.clone();
        operate(on_done, async move { connection.accept_bi().await.map(|(send, recv)| Product::Streams(send, recv)) })
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
        operate(on_done, async move {
            let (code, reason) = connection.closed().await;
            Ok(Product::Closed(code, reason))
        })
    }
}

/// Both halves of a stream.
#[napi]
pub struct NativeStreams {
    send: IrohSend,
    recv: IrohRecv,
}

#[napi]
impl NativeStreams {
    #[napi(catch_unwind, ts_args_type = "bytes: Uint8Array, onDone: (outcome: Outcome) => void")]
    pub fn write_all(&self, bytes: Buffer, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let (send, bytes) = (self.send.clone(), bytes.to_vec());
        operate(on_done, async move { send.write_all(bytes.into()).await.map(|()| Product::Nothing) })
    }

    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn finish(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let send = self.send.clone();
        operate(on_done, async move { send.finish().await.map(|()| Product::Nothing) })
    }

    #[napi(catch_unwind, ts_args_type = "count: number, onDone: (outcome: Outcome) => void")]
    pub fn read_exact(&self, count: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv.clone();
        operate(on_done, async move { recv.read_exact(count as usize).await.map(Product::Bytes) })
    }

    #[napi(catch_unwind, ts_args_type = "max: number, onDone: (outcome: Outcome) => void")]
    pub fn read(&self, max: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv.clone();
        operate(on_done, async move {
            let read = recv.read(max as usize).await?;
            Ok(read.map_or(Product::Nothing, |bytes| Product::Bytes(bytes.into())))
        })
    }

    #[napi(catch_unwind, ts_args_type = "max: number, onDone: (outcome: Outcome) => void")]
    pub fn read_to_end(&self, max: u32, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let recv = self.recv.clone();
        operate(on_done, async move { recv.read_to_end(max as usize).await.map(Product::Bytes) })
    }
}
