//! Iroh in the addon: endpoints, hubs that accept at them, spokes that dial through them. Convert, call, convert.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alkpubsub_engine::hub::Hub;
use alkpubsub_engine::model::{Error as EngineError, ErrorKind};
use alkpubsub_engine::transport::iroh::{
    ALPN, AcceptConfig, DialConfig, EndpointConfig, IrohConnector, IrohEndpoint, IrohWaiter, Relay, Relays, Screening,
    Speaks, WaitConfig, key_in_file, parse_address, parse_id, parse_secret_key,
};
use napi::bindgen_prelude::{Buffer, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use crate::convert::SpokeOptions;
use crate::error::code;
use crate::hub::{Address, NativeHub};
use crate::iroh_connection::{NativeOperation, Product, operate};
use crate::iroh_facts::address_of;
use crate::iroh_incoming::{Incoming, answer_of, screening};
use crate::runtime::{self, EndsWithEnvironment, end_with_environment};
use crate::spoke::NativeSpoke;

/// A relay and what it wants to see.
#[napi(object)]
pub struct RelayOptions {
    pub url: String,
    pub token: Option<String>,
    pub quic_port: Option<u32>,
}

/// How to make an endpoint.
#[napi(object)]
pub struct EndpointOptions {
    pub secret_key: Option<Buffer>,
    pub key_file: Option<String>,
    pub bind: Vec<String>,
    pub is_relay_only: bool,
    /// `none`, `default` or `own`.
    pub relays: String,
    pub own_relays: Vec<RelayOptions>,
    pub relay_roots: Option<String>,
    pub idle_timeout_ms: Option<f64>,
    pub incoming_timeout_ms: Option<f64>,
}

/// What came of something that took time: nothing, or an error.
#[napi(object)]
pub struct Outcome {
    pub code: Option<String>,
    pub message: Option<String>,
}

pub(crate) type Done = ThreadsafeFunction<Outcome, (), Outcome, Status, false, true, 0>;

pub(crate) fn done(callback: Function<'_, Outcome, ()>) -> Result<Done> {
    callback
        .build_threadsafe_function::<Outcome>()
        .weak::<true>()
        .callee_handled::<false>()
        .max_queue_size::<0>()
        .build()
}

pub(crate) fn settle(done: &Done, result: std::result::Result<(), EngineError>) {
    let (code, message) = result.err().map(|error| (code(error.kind()).to_owned(), error.to_string())).unzip();
    // An environment that has ended waits for nothing.
    let _status = done.call(Outcome { code, message }, ThreadsafeFunctionCallMode::NonBlocking);
}

enum Stage {
    Unbound,
    Bound(IrohEndpoint),
    Closed,
}

struct EndpointShared {
    stage: Mutex<Stage>,
}

impl EndpointShared {
    fn endpoint(&self) -> Option<IrohEndpoint> {
        match &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Bound(endpoint) => Some(endpoint.clone()),
            _ => None,
        }
    }

    /// Takes the endpoint that was bound; one that was closed meanwhile is given back.
    fn put(&self, endpoint: IrohEndpoint) -> Option<IrohEndpoint> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Closed) {
            return Some(endpoint);
        }
        *stage = Stage::Bound(endpoint);
        None
    }

    fn take(&self) -> Option<IrohEndpoint> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *stage, Stage::Closed) {
            Stage::Bound(endpoint) => Some(endpoint),
            _ => None,
        }
    }
}

impl EndsWithEnvironment for EndpointShared {
    fn environment_ends(&self) {
        if let Some(endpoint) = self.take() {
            runtime::handle().spawn(async move { endpoint.close().await });
        }
    }
}

/// An endpoint. The object may be collected: what it stands for lives until it is closed, or its environment ends.
#[napi]
pub struct NativeEndpoint {
    shared: Arc<EndpointShared>,
    screening: Option<Arc<Screening>>,
}

#[napi]
impl NativeEndpoint {
    /// Begins to bind; `onDone` hears how that went. With `onIncoming` somebody is let in only when `answerIncoming` says so; it is called when
    /// there is something to `takeIncoming`.
    #[napi(
        constructor,
        catch_unwind,
        ts_args_type = "options: EndpointOptions, onDone: (outcome: Outcome) => void, onIncoming?: () => void"
    )]
    pub fn new(
        env: &Env,
        options: EndpointOptions,
        on_done: Function<'_, Outcome, ()>,
        on_incoming: Option<Function<'_, (), ()>>,
    ) -> Result<Self> {
        let shared = Arc::new(EndpointShared { stage: Mutex::new(Stage::Unbound) });
        let weak: std::sync::Weak<dyn EndsWithEnvironment> = Arc::downgrade(&shared) as _;
        end_with_environment(env, weak)?;
        let on_done = done(on_done)?;
        let screening = on_incoming.map(|wake| screening(wake, options.incoming_timeout_ms)).transpose()?;
        runtime::handle().spawn(live(options, screening.clone(), Arc::clone(&shared), on_done));
        Ok(Self { shared, screening })
    }

    /// Who has come in since the last time and is to be let in or not.
    #[napi(catch_unwind)]
    pub fn take_incoming(&self) -> Vec<Incoming> {
        self.screening.iter().flat_map(|it| it.take()).map(Incoming::from).collect()
    }

    /// What the application says: `admitted`, `refused`, or that it could not decide.
    #[napi(catch_unwind)]
    pub fn answer_incoming(&self, token: u32, answer: String) {
        if let Some(screening) = &self.screening {
            screening.answer(token, answer_of(&answer));
        }
    }

    /// 64 lower-case hex digits.
    #[napi(catch_unwind)]
    pub fn id(&self) -> Result<String> {
        Ok(self.bound()?.id().to_string())
    }

    /// The addresses of its sockets.
    #[napi(catch_unwind)]
    pub fn sockets(&self) -> Result<Vec<String>> {
        Ok(self.bound()?.sockets().iter().map(ToString::to_string).collect())
    }

    /// Where another endpoint is reached.
    #[napi(catch_unwind)]
    pub fn add_address(&self, id: String, sockets: Vec<String>, relays: Vec<String>) -> Result<()> {
        self.bound()?.know(address_of(&id, &sockets, &relays)?);
        Ok(())
    }

    /// Nobody but `allow`, if it is given, and never `deny`.
    #[napi(catch_unwind)]
    pub fn set_access(&self, allow: Option<Vec<String>>, deny: Vec<String>) -> Result<()> {
        let parse = |ids: Vec<String>| ids.iter().map(|id| parse_id(id).map_err(invalid)).collect::<Result<Vec<_>>>();
        self.bound()?.set_access(allow.map(parse).transpose()?, parse(deny)?);
        Ok(())
    }

    /// Closes it and everything that goes through it; `onDone` hears when that is done.
    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn close(&self, on_done: Function<'_, Outcome, ()>) -> Result<()> {
        let on_done = done(on_done)?;
        let endpoint = self.shared.take();
        runtime::handle().spawn(async move {
            if let Some(endpoint) = endpoint {
                endpoint.close().await;
            }
            settle(&on_done, Ok(()));
        });
        Ok(())
    }
}

impl NativeEndpoint {
    pub(crate) fn bound(&self) -> Result<IrohEndpoint> {
        let closed = || Error::new(Status::GenericFailure, "ERR_CLOSED: the endpoint is closed");
        self.shared.endpoint().ok_or_else(closed)
    }
}

/// Binds, and keeps what environments look for until the endpoint is closed.
async fn live(options: EndpointOptions, screening: Option<Arc<Screening>>, shared: Arc<EndpointShared>, on_done: Done) {
    let bound = match endpoint_config(options) {
        Ok(config) => IrohEndpoint::bind(EndpointConfig { screening, ..config }).await,
        Err(error) => Err(error),
    };
    let endpoint = match bound {
        Ok(endpoint) => endpoint,
        Err(error) => return settle(&on_done, Err(error)),
    };
    if let Some(unwanted) = shared.put(endpoint.clone()) {
        unwanted.close().await;
    }
    settle(&on_done, Ok(()));
    drop(on_done);
    endpoint.closed().await;
}

fn endpoint_config(options: EndpointOptions) -> std::result::Result<EndpointConfig, EngineError> {
    let secret_key = match (options.secret_key, options.key_file) {
        (Some(bytes), _) => Some(parse_secret_key(&bytes)?),
        (None, Some(path)) => Some(key_in_file(Path::new(&path))?),
        (None, None) => None,
    };
    let bind = options.bind.iter().map(|text| {
        text.parse().map_err(|_| {
            EngineError::new(
                ErrorKind::InvalidOption,
                format!("bind {text:?}: expected an address such as 127.0.0.1:0"),
            )
        })
    });
    let own = options.own_relays.into_iter().map(|RelayOptions { url, token, quic_port }| {
        // TypeScript has checked that it is a port.
        Relay { url, token, quic_port: quic_port.map(|port| port as u16) }
    });
    let defaults = EndpointConfig::default();
    Ok(EndpointConfig {
        secret_key,
        bind: bind.collect::<std::result::Result<_, _>>()?,
        is_relay_only: options.is_relay_only,
        relays: match &*options.relays {
            "default" => Relays::Default,
            "own" => Relays::Own(own.collect()),
            _ => Relays::None,
        },
        relay_roots: options.relay_roots,
        idle: options.idle_timeout_ms.map_or(defaults.idle, |given| Duration::from_millis(given as u64)),
        screening: None,
    })
}

pub(crate) fn invalid(error: EngineError) -> Error {
    Error::new(Status::InvalidArg, format!("{}: {error}", code(error.kind())))
}

/// An id in the form in which ids are printed and compared.
#[napi(catch_unwind)]
pub(crate) fn endpoint_id(text: String) -> Result<String> {
    Ok(parse_id(&text).map_err(invalid)?.to_string())
}

#[napi]
impl NativeHub {
    /// Accepts connections at an endpoint, from `begin` on.
    #[napi(catch_unwind)]
    pub fn accept_iroh(&self, endpoint: &NativeEndpoint, alpn: Option<String>, anyone: bool) -> Result<()> {
        let endpoint = endpoint.bound()?;
        let hub = self.config();
        let config = AcceptConfig {
            alpn: alpn.unwrap_or_else(|| ALPN.into()),
            anyone,
            is_guarded: hub.authorize,
            max_message: hub.limits.max_message_bytes,
            max_inbound: hub.limits.max_inbound_bytes,
            handshake: hub.limits.handshake,
            max_waiting: hub.limits.max_connections,
        };
        let caller = self.caller();
        self.add_start(Box::new(move |hub, opening| {
            let accepting = match endpoint.take_for(config, Arc::new(hub.clone())) {
                Ok(accepting) => accepting,
                Err(error) => return hub.fail(crate::notice::failure_of(&error)),
            };
            let _only_one = caller.set(accepting.caller());
            // Beside a listener the address is that one's: this one the endpoint has as well.
            let socket = endpoint.sockets().first().copied().filter(|_| !opening.is_shared());
            let url = format!("iroh:{}", endpoint.id());
            opening.bound(hub, socket.map(|it| Address { host: it.ip().to_string(), port: it.port(), url }));
            let told = hub.clone();
            // The protocol is the hub's as long as this task is.
            let waiting = runtime::handle().spawn(async move {
                endpoint.closed().await;
                drop(accepting);
                tell_closed(&told);
            });
            hub.own(waiting.abort_handle());
        }));
        Ok(())
    }
}

#[napi]
impl NativeHub {
    /// Calls a spoke that waits at its endpoint; `onDone` hears how that went. Only while the hub is open.
    #[napi(catch_unwind, ts_args_type = "id: string, onDone: (outcome: Outcome) => void")]
    pub fn call_iroh(&self, id: String, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let to = parse_address(&id).map_err(invalid)?;
        let missing =
            || Error::new(Status::InvalidArg, "ERR_INVALID_OPTION: the hub has no Iroh endpoint to dial from");
        let caller = self.caller().get().cloned().ok_or_else(missing)?;
        operate(on_done, async move { caller.call(to).await.map(|()| Product::Nothing) })
    }
}

fn tell_closed(hub: &Hub) {
    use alkpubsub_engine::link::Accept;
    let message = "the endpoint was closed; the hub has no Iroh connections any more";
    hub.report(EngineError::new(ErrorKind::Closed, message));
}

/// A spoke that dials a hub through an endpoint.
#[napi(catch_unwind)]
pub(crate) fn iroh_spoke(
    options: SpokeOptions,
    endpoint: &NativeEndpoint,
    hub_id: String,
    alpn: Option<String>,
) -> Result<NativeSpoke> {
    let speaks = speaks(options.peer.as_deref());
    let config = options.spoke_config();
    let endpoint = endpoint.bound()?;
    let hub = endpoint.learn(&hub_id).map_err(invalid)?;
    let alpn = alpn.unwrap_or_else(|| ALPN.into());
    let dial = DialConfig { hub, alpn, speaks, max_message: config.limits.max_message_bytes };
    Ok(NativeSpoke::over(Arc::new(IrohConnector::new(endpoint, dial)), config))
}

/// A spoke that waits until a hub dials it: the one that is named, or any.
#[napi(catch_unwind)]
pub(crate) fn iroh_waiting_spoke(
    options: SpokeOptions,
    endpoint: &NativeEndpoint,
    hub_id: Option<String>,
    alpn: Option<String>,
) -> Result<NativeSpoke> {
    let speaks = speaks(options.peer.as_deref());
    let config = options.spoke_config();
    let hub = hub_id.map(|id| parse_address(&id).map_err(invalid)).transpose()?.map(|it| it.id);
    let alpn = alpn.unwrap_or_else(|| ALPN.into());
    let wait = WaitConfig { hub, alpn, speaks, max_message: config.limits.max_message_bytes };
    let waiter = IrohWaiter::new(endpoint.bound()?, wait).map_err(invalid)?;
    Ok(NativeSpoke::over(Arc::new(waiter), config))
}

fn speaks(peer: Option<&str>) -> Speaks {
    match peer {
        Some("native") => Speaks::Native,
        Some("plain") => Speaks::Plain,
        _ => Speaks::Both,
    }
}
