//! Connections of other servers in the addon: descriptors, carried bytes, carried messages. Convert, call, convert.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use alkpubsub_engine::link::Peer;
use alkpubsub_engine::model::CloseReason;
use alkpubsub_engine::transport::carried::{Carrier, Fed, Load, MAX_LOAD_ITEMS, Task, split_messages};
use alkpubsub_engine::transport::websocket::{Doorway, LocalEnd, Visitor};
use napi::bindgen_prelude::{Buffer, Function};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Error, Result, Status};
use napi_derive::napi;

use crate::convert::{DoorOptions, PeerOptions, VisitorOptions};
use crate::hub::NativeHub;
use crate::inbox::Wake;
use crate::port::close_reason;
use crate::runtime;
use crate::text::{JsText, Numbers, TextOut, push_utf16};

/// What a hub has for connections of other servers.
pub(crate) struct Door {
    doorway: Doorway,
    bytes: Arc<Carrier>,
    messages: Arc<Carrier>,
    max_message_bytes: usize,
}

impl Door {
    /// Nobody carries any more.
    pub(crate) fn close(&self) {
        self.bytes.close();
        self.messages.close();
    }
}

/// Numbers before the first item of a load: how many there are, and whether more loads wait.
const LOAD_HEAD: usize = 2;
/// Numbers per item: side, task, first, end, and bytes or close code.
const LOAD_ITEM: usize = 5;
/// Tasks; the order of ts/port.ts.
const SEND: u32 = 0;
const RESUME: u32 = 1;
const END: u32 = 2;
const RELEASE: u32 = 3;
/// Between two messages of a load: no JSON text holds it raw (RFC 8259, section 7).
const SEPARATOR: char = '\0';

#[napi]
impl NativeHub {
    /// Takes connections of other servers from now on; the callbacks say that there is something to carry.
    #[napi(catch_unwind, ts_args_type = "options: DoorOptions, onBytes: () => void, onMessages: () => void")]
    pub fn open_door(
        &self,
        options: DoorOptions,
        on_bytes: Function<'_, (), ()>,
        on_messages: Function<'_, (), ()>,
    ) -> Result<()> {
        let config = options.listen_config(self.config());
        let max_message_bytes = config.limits.max_message_bytes;
        let (bytes, messages) = (carrier(on_bytes)?, carrier(on_messages)?);
        let doorway = Doorway::new(config, Arc::new(self.hub().clone()), runtime::handle().clone());
        self.set_door(Door { doorway, bytes, messages, max_message_bytes })
    }

    /// Takes over the socket behind a descriptor; false where that cannot be done, and nothing has happened.
    #[cfg(unix)]
    #[napi(catch_unwind)]
    pub fn adopt(&self, descriptor: i32, is_ours: bool, request: &[u8]) -> Result<bool> {
        use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
        if descriptor < 0 {
            return Ok(false);
        }
        let socket = if is_ours {
            // SAFETY: the runtime has made this descriptor for us and does not know it any more.
            unsafe { OwnedFd::from_raw_fd(descriptor) }
        } else {
            // SAFETY: the runtime's socket is open during this call; the duplicate is closed on exec.
            match unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned() {
                Ok(socket) => socket,
                Err(_) => return Ok(false),
            }
        };
        Ok(self.door()?.doorway.adopt(socket, request.into()).is_ok())
    }

    #[cfg(not(unix))]
    #[napi(catch_unwind)]
    pub fn adopt(&self, _descriptor: i32, _is_ours: bool, _request: &[u8]) -> Result<bool> {
        Ok(false)
    }

    /// Takes a connection whose bytes JavaScript carries; its number.
    #[napi(catch_unwind)]
    pub fn carry(&self, visitor: VisitorOptions, request: &[u8]) -> Result<u32> {
        let door = self.door()?;
        let (stream, id) = door.bytes.stream();
        door.doorway.carry(stream, visitor.visitor(), request.into());
        Ok(id)
    }

    /// Takes a WebSocket whose messages JavaScript carries; its number.
    #[napi(catch_unwind)]
    pub fn welcome(&self, peer: PeerOptions) -> Result<u32> {
        let door = self.door()?;
        let (reader, writer, id) = door.messages.messages(door.max_message_bytes);
        door.doorway.welcome(reader, writer, peer.peer());
        Ok(id)
    }

    /// Bytes came on a carried connection.
    #[napi(catch_unwind)]
    pub fn feed(&self, id: u32, bytes: &[u8]) -> Result<u32> {
        Ok(fed(self.door()?.bytes.feed(id, bytes)))
    }

    /// A carried connection has ended its side, or is gone.
    #[napi(catch_unwind)]
    pub fn hang_up(&self, id: u32, is_gone: bool) -> Result<()> {
        let bytes = &self.door()?.bytes;
        if is_gone {
            bytes.lose(id)
        } else {
            bytes.end(id, None)
        }
        Ok(())
    }

    /// A text message came on a carried WebSocket.
    #[napi(catch_unwind, ts_args_type = "id: number, text: string")]
    pub fn receive(&self, id: u32, text: JsText) -> Result<u32> {
        let mut buffer = Vec::new();
        let text = text.read(&mut buffer)?.to_owned();
        Ok(fed(self.door()?.messages.receive(id, text)))
    }

    /// A binary message came on a carried WebSocket.
    #[napi(catch_unwind)]
    pub fn receive_bytes(&self, id: u32, bytes: &[u8]) -> Result<u32> {
        Ok(fed(self.door()?.messages.feed(id, bytes)))
    }

    /// A carried WebSocket has closed.
    #[napi(catch_unwind)]
    pub fn depart(&self, id: u32, code: Option<u32>, reason: String) -> Result<()> {
        let messages = &self.door()?.messages;
        match code {
            Some(code) => messages.end(id, Some(close_reason(code, reason))),
            None => messages.lose(id),
        }
        Ok(())
    }

    /// What carried connections have sent: pairs of number and bytes.
    #[napi(catch_unwind, ts_args_type = "pairs: Uint32Array, count: number")]
    pub fn bytes_sent(&self, mut pairs: Numbers, count: u32) -> Result<()> {
        sent(&self.door()?.bytes, pairs.as_mut(), count);
        Ok(())
    }

    /// The same of carried WebSockets.
    #[napi(catch_unwind, ts_args_type = "pairs: Uint32Array, count: number")]
    pub fn messages_sent(&self, mut pairs: Numbers, count: u32) -> Result<()> {
        sent(&self.door()?.messages, pairs.as_mut(), count);
        Ok(())
    }

    /// The next load for carried connections: bytes, and in `meta` what is to be done with which of them.
    #[napi(catch_unwind, ts_args_type = "meta: Uint32Array")]
    pub fn take_bytes(&self, mut meta: Numbers) -> Result<Buffer> {
        let meta = checked(meta.as_mut())?;
        let (load, has_more) = self.door()?.bytes.take();
        write_head(meta, &load, has_more);
        for (slot, (id, task)) in items(meta, &load) {
            let (kind, range) = match task {
                Task::Send(range) => (SEND, range.clone()),
                other => (kind_of(other), 0..0),
            };
            slot.copy_from_slice(&[*id, kind, range.start as u32, range.end as u32, 0]);
        }
        Ok(load.bytes.into())
    }

    /// The next load for carried WebSockets: messages with U+0000 between them, and in `meta` what is to be done with which of them.
    #[napi(catch_unwind, ts_args_type = "meta: Uint32Array", ts_return_type = "string")]
    pub fn take_messages(&self, mut meta: Numbers) -> Result<TextOut> {
        let meta = checked(meta.as_mut())?;
        let (load, has_more) = self.door()?.messages.take();
        write_head(meta, &load, has_more);
        let mut texts = Texts::default();
        let mut last = (0..0, 0..0);
        for (slot, (id, task)) in items(meta, &load) {
            let (range, extra) = match task {
                Task::Send(bytes) => {
                    if *bytes != last.0 {
                        last = (bytes.clone(), texts.add(&load.bytes[bytes.clone()]));
                    }
                    (last.1.clone(), bytes.len() as u32)
                }
                Task::End(CloseReason { code, reason }) => (texts.push(reason), code.0.into()),
                _ => (0..0, 0),
            };
            slot.copy_from_slice(&[*id, kind_of(task), range.start, range.end, extra]);
        }
        Ok(texts.into_text())
    }
}

fn carrier(wake: Function<'_, (), ()>) -> Result<Arc<Carrier>> {
    let wake: Wake = wake
        .build_threadsafe_function::<()>()
        .weak::<true>()
        .callee_handled::<false>()
        .max_queue_size::<0>()
        .build()?;
    Ok(Carrier::new(move || {
        wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }))
}

/// The answers of `feed` and its kin; the order of ts/port.ts.
fn fed(fed: Fed) -> u32 {
    match fed {
        Fed::More => 0,
        Fed::Pause => 1,
        Fed::TooMuch => 2,
        Fed::Gone => 3,
    }
}

fn sent(carrier: &Carrier, pairs: &[u32], count: u32) {
    pairs.chunks_exact(2).take(count as usize).for_each(|pair| carrier.sent(pair[0], pair[1] as usize));
}

fn checked(meta: &mut [u32]) -> Result<&mut [u32]> {
    if meta.len() < LOAD_HEAD + LOAD_ITEM * (MAX_LOAD_ITEMS + 1) {
        return Err(Error::new(Status::InvalidArg, "meta is too short"));
    }
    Ok(meta)
}

fn write_head(meta: &mut [u32], load: &Load, has_more: bool) {
    meta[0] = load.items.len() as u32;
    meta[1] = u32::from(has_more);
}

fn items<'a>(meta: &'a mut [u32], load: &'a Load) -> impl Iterator<Item = (&'a mut [u32], &'a (u32, Task))> {
    meta[LOAD_HEAD..].chunks_exact_mut(LOAD_ITEM).zip(&load.items)
}

fn kind_of(task: &Task) -> u32 {
    match task {
        Task::Send(_) => SEND,
        Task::Resume => RESUME,
        Task::End(_) => END,
        Task::Release => RELEASE,
    }
}

/// The messages of a load, one behind the other.
#[derive(Default)]
struct Texts {
    text: String,
    count: u32,
}

impl Texts {
    fn push(&mut self, message: &str) -> std::ops::Range<u32> {
        if self.count > 0 {
            self.text.push(SEPARATOR);
        }
        // Reasons are anybody's text.
        self.text.extend(message.chars().filter(|character| *character != SEPARATOR));
        self.count += 1;
        self.count - 1..self.count
    }

    fn add(&mut self, frames: &[u8]) -> std::ops::Range<u32> {
        let first = self.count;
        split_messages(frames, |message| {
            if self.count > 0 {
                self.text.push(SEPARATOR);
            }
            self.text.push_str(message);
            self.count += 1;
        });
        first..self.count
    }

    fn into_text(self) -> TextOut {
        if self.text.is_ascii() {
            return TextOut::Ascii(self.text);
        }
        let mut units = Vec::with_capacity(self.text.len() + 1);
        push_utf16(&mut units, &self.text);
        TextOut::Wide(units)
    }
}

impl VisitorOptions {
    fn visitor(self) -> Visitor {
        let ip = |text: Option<&String>| text.and_then(|text| text.parse::<IpAddr>().ok());
        let from = ip(self.remote_address.as_ref()).zip(self.remote_port).map(|(ip, port)| SocketAddr::new(ip, port));
        let at = match ip(self.local_address.as_ref()) {
            Some(ip) => LocalEnd::Address(ip),
            None if self.is_unix => LocalEnd::Unix,
            None => LocalEnd::Unknown,
        };
        Visitor { from, at, identity: self.identity }
    }
}

impl PeerOptions {
    fn peer(self) -> Peer {
        Peer {
            transport: "websocket",
            remote_address: self.remote_address.and_then(|text| text.parse().ok()),
            url: self.url,
            headers: crate::convert::headers(&self.headers),
            protocols: self.protocols,
            identity: None,
        }
    }
}
