//! The halves of streams of the application's own. Does not open streams; `raw.rs` does.
//!
//! Invariants: a half that is given up ends at once, whatever waits on it; nothing that waits is woken by anything but its bytes, its end
//! or the end of the connection.

use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;
use iroh::endpoint::{ReadError, ReadExactError, ReadToEndError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::{Mutex, Notify};

use super::raw::IrohConnection;
use crate::model::{Error, ErrorKind};

/// The sending half of a stream.
#[derive(Debug, Clone)]
pub struct IrohSend {
    stream: Arc<Mutex<SendStream>>,
    giving_up: Arc<GivingUp>,
    _connection: IrohConnection,
}

/// The receiving half of a stream.
#[derive(Debug, Clone)]
pub struct IrohRecv {
    stream: Arc<Mutex<RecvStream>>,
    giving_up: Arc<GivingUp>,
    _connection: IrohConnection,
}

/// Whether this side has given a half up: what waits on it holds its lock.
#[derive(Debug, Default)]
struct GivingUp {
    code: OnceLock<u32>,
    told: Notify,
}

impl GivingUp {
    fn begin(&self, code: u32) {
        let _first_code_stands = self.code.set(code);
        self.told.notify_waiters();
    }

    /// Does the work unless the half is given up before or meanwhile.
    async fn unless<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let told = self.told.notified();
        if let Some(code) = self.code.get() {
            return Err(given_up(*code));
        }
        tokio::select! {
            biased;
            () = told => Err(given_up(self.code.get().copied().unwrap_or_default())),
            done = work => done,
        }
    }
}

impl IrohSend {
    pub(super) fn new(stream: SendStream, connection: IrohConnection) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), giving_up: Arc::default(), _connection: connection }
    }

    /// Sends all of it. Given up before it is done, a part may have been sent.
    ///
    /// # Errors
    /// `StreamEnded` when the peer has stopped the stream or this side has reset it, `ConnectionLost`.
    pub async fn write_all(&self, bytes: Bytes) -> Result<(), Error> {
        let write = async { self.stream.lock().await.write_chunk(bytes).await.map_err(|error| not_written(&error)) };
        self.giving_up.unless(write).await
    }

    /// Ends the stream and waits until the peer has got all of it, or says that it wants no more.
    ///
    /// # Errors
    /// `StreamEnded` when the peer has stopped the stream with a code, or this side has reset it; `ConnectionLost`.
    pub async fn finish(&self) -> Result<(), Error> {
        self.giving_up
            .unless(async {
                let mut stream = self.stream.lock().await;
                let _ended_before = stream.finish();
                let stopped = stream.stopped();
                drop(stream);
                match stopped.await {
                    Ok(None) => Ok(()),
                    // What a peer says that forgets a stream without having read its end.
                    Ok(Some(code)) if code.into_inner() == 0 => Ok(()),
                    Ok(Some(code)) => Err(not_written(&WriteError::Stopped(code))),
                    Err(error) => Err(Error::new(ErrorKind::ConnectionLost, error.to_string())),
                }
            })
            .await
    }

    /// Gives the stream up: the peer hears the code, and what has not arrived may be lost. Nothing after its end.
    pub async fn reset(&self, code: u32) {
        self.giving_up.begin(code);
        let _ended_before = self.stream.lock().await.reset(VarInt::from_u32(code));
    }
}

impl IrohRecv {
    pub(super) fn new(stream: RecvStream, connection: IrohConnection) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), giving_up: Arc::default(), _connection: connection }
    }

    /// Exactly so many bytes. Given up before it is done, what had come is lost.
    ///
    /// # Errors
    /// `StreamEnded` when fewer came, the peer has reset the stream or this side has stopped it; `ConnectionLost`.
    pub async fn read_exact(&self, count: usize) -> Result<Vec<u8>, Error> {
        let read = async {
            let mut bytes = vec![0; count];
            match self.stream.lock().await.read_exact(&mut bytes).await {
                Ok(()) => Ok(bytes),
                Err(ReadExactError::FinishedEarly(came)) => {
                    Err(Error::new(ErrorKind::StreamEnded, format!("the stream ended after {came} of {count} bytes")))
                }
                Err(ReadExactError::ReadError(error)) => Err(not_read(&error)),
            }
        };
        self.giving_up.unless(read).await
    }

    /// What comes next, at most so many bytes; `None` at the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// `StreamEnded` when the peer has reset the stream or this side has stopped it; `ConnectionLost`.
    pub async fn read(&self, max: usize) -> Result<Option<Bytes>, Error> {
        let read = async { self.stream.lock().await.read_chunk(max).await.map_err(|error| not_read(&error)) };
        self.giving_up.unless(read).await
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// `MessageTooLarge` when more than `max` bytes come, and as `read`.
    pub async fn read_to_end(&self, max: usize) -> Result<Vec<u8>, Error> {
        let read = async {
            self.stream.lock().await.read_to_end(max).await.map_err(|error| match error {
                ReadToEndError::TooLong => {
                    Error::new(ErrorKind::MessageTooLarge, format!("more than {max} bytes came"))
                }
                ReadToEndError::Read(error) => not_read(&error),
            })
        };
        self.giving_up.unless(read).await
    }

    /// Wants no more: the peer hears the code when it writes. Nothing after the end.
    pub async fn stop(&self, code: u32) {
        self.giving_up.begin(code);
        let _ended_before = self.stream.lock().await.stop(VarInt::from_u32(code));
    }
}

fn given_up(code: u32) -> Error {
    Error::new(ErrorKind::StreamEnded, format!("this side has given the stream up with code {code}"))
}

fn not_written(error: &WriteError) -> Error {
    match error {
        WriteError::Stopped(code) => {
            Error::new(ErrorKind::StreamEnded, format!("the peer has stopped the stream with code {code}"))
        }
        WriteError::ClosedStream => Error::new(ErrorKind::StreamEnded, "the stream was finished before"),
        other => Error::new(ErrorKind::ConnectionLost, other.to_string()),
    }
}

fn not_read(error: &ReadError) -> Error {
    match error {
        ReadError::Reset(code) => {
            Error::new(ErrorKind::StreamEnded, format!("the peer has reset the stream with code {code}"))
        }
        ReadError::ClosedStream => Error::new(ErrorKind::StreamEnded, "the stream is over and was read to its end"),
        other => Error::new(ErrorKind::ConnectionLost, other.to_string()),
    }
}
