//! The relay's one port: accepting, HTTP, the upgrade to a WebSocket, and the end of it all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use driftless_protocol::SpaceName;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Storage};
use crate::connection::socket::Socket;
use crate::connection::{self, Shared};
use crate::error::Error;
use crate::log::memory::MemoryStore;
use crate::log::sqlite::SqliteStore;
use crate::log::{LogStore, UploadId};
use crate::room::registry::Registry;

/// A running relay. Dropping it ends it at once, like [`Relay::kill`].
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    /// One for each engine connected.
    connections: Arc<Semaphore>,
    next_upload: AtomicU64,
    tasks: TaskTracker,
    /// Cuts every connection.
    cut: CancellationToken,
}

impl Relay {
    /// Opens the log, binds the address, and serves until [`shutdown`](Self::shutdown) or drop.
    ///
    /// Must be called within a tokio runtime with time and I/O enabled. Fails with [`Error`]; nothing runs then.
    pub async fn start(config: Config) -> Result<Self, Error> {
        config.check()?;
        // The address first: who starts a second relay by mistake learns that the port is taken, and nothing of
        // the first one's data is touched.
        let address = config.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let uploads = config.limits.uploads;
        let store: Arc<dyn LogStore> = match config.storage {
            Storage::Memory => Arc::new(MemoryStore::new(uploads)),
            Storage::Folder(folder) => {
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&folder, uploads)).await;
                Arc::new(opened.map_err(|_| Error::Setting("opening the log panicked".to_owned()))??)
            }
        };
        let limits = config.limits;
        let registry = Registry::new(Arc::clone(&store), limits.room_cache_bytes, limits.page_bytes);
        let handshakes = Arc::new(Semaphore::new(limits.handshakes));
        let inner = Arc::new(Inner {
            connections: Arc::new(Semaphore::new(limits.connections)),
            shared: Shared {
                store,
                registry: Arc::new(registry),
                limits,
                draining: CancellationToken::new(),
            },
            next_upload: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inner), handshakes));
        Ok(Self { address, inner, accepting })
    }

    /// Where it listens, with the actual port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many engines are connected.
    pub fn connections(&self) -> usize {
        self.inner.shared.limits.connections - self.inner.connections.available_permits()
    }

    /// Ends in good order: takes no new connections and no more input, stores and acknowledges what has come,
    /// says 1001 to every engine, and closes the log. Connections that have not ended after
    /// [`Limits::shutdown_timeout`](crate::Limits::shutdown_timeout) are cut.
    ///
    /// Dropping the future half-way ends the relay at once.
    pub async fn shutdown(mut self) {
        let inner = Arc::clone(&self.inner);
        self.accepting.abort();
        // Until the task has ended it holds the listener, and another relay could not have the port.
        let _aborted = (&mut self.accepting).await;
        inner.shared.draining.cancel();
        inner.tasks.close();
        if tokio::time::timeout(inner.shared.limits.shutdown_timeout, inner.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.connections(), "connections did not end in time and are cut");
            inner.cut.cancel();
            inner.tasks.wait().await;
        }
        inner.shared.store.close().await;
    }

    /// Ends at once, as a crash would: nothing more is stored, acknowledged or said. What was acknowledged is on
    /// disk. Blocks for as long as the write that is under way; the data folder is free afterwards.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.inner.cut.cancel();
        self.inner.shared.store.kill();
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>, handshakes: Arc<Semaphore>) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .fallback(space)
        .layer(axum::middleware::map_response(last_response))
        .with_state(Arc::clone(&inner));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // The peer went away, or there are no file descriptors left: then trying again at once is no use.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            tracing::warn!(%peer, "too many sockets are in their HTTP request; one is closed");
            continue;
        };
        let (router, cut) = (router.clone(), inner.cut.clone());
        let draining = inner.shared.draining.clone();
        inner.tasks.spawn(async move {
            cut.run_until_cancelled_owned(http(stream, router, permit, draining)).await;
        });
    }
}

/// The place of a socket among those in their HTTP request. The handler of a WebSocket takes it along until the
/// socket has a place among the connections.
#[derive(Debug, Clone)]
struct Handshake {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Serves one HTTP request on a new socket.
async fn http(stream: TcpStream, router: Router, permit: OwnedSemaphorePermit, draining: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let handshake = Handshake { _permit: Arc::new(permit) };
    let router = router.layer(axum::Extension(handshake));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(crate::defaults::HTTP_TIMEOUT);
    http.max_buf_size(16 << 10);
    let served =
        http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    let served = tokio::time::timeout(3 * crate::defaults::HTTP_TIMEOUT, served);
    if let Some(Ok(Err(error))) = draining.run_until_cancelled_owned(served).await {
        tracing::debug!(%error, "an HTTP request failed");
    }
}

/// Ends the connection after its one response, so that neither slow nor idle sockets pile up.
async fn last_response(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn ready(State(inner): State<Arc<Inner>>) -> Response {
    match tokio::time::timeout(Duration::from_secs(5), inner.shared.store.ready()).await {
        Ok(Ok(())) => "ok".into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the log does not answer\n").into_response(),
    }
}

/// Says in the response which space the request opened.
const SPACE_HEADER: header::HeaderName = header::HeaderName::from_static("driftless-space");

/// `GET /<space>`: the upgrade to a WebSocket.
async fn space(State(inner): State<Arc<Inner>>, mut request: Request) -> Response {
    let handshake = request.extensions_mut().remove::<Handshake>();
    let name = match request.uri().path().trim_start_matches('/').parse::<SpaceName>() {
        Ok(name) => name,
        Err(error) => return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    };
    let accept = match upgrade_key(request.method(), request.headers()) {
        Ok(key) => derive_accept_key(key),
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(accept) = HeaderValue::from_str(&accept) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let opened = HeaderValue::from_str(name.as_str());
    let upgrade = hyper::upgrade::on(&mut request);
    let task = Arc::clone(&inner);
    inner.tasks.spawn(async move {
        let serve = async {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = Socket::new(TokioIo::new(upgraded)).await;
            let shared = task.shared.clone();
            let Ok(_place) = Arc::clone(&task.connections).try_acquire_owned() else {
                tracing::warn!(space = %name, "too many connections; one is turned away");
                return connection::turn_away(socket, shared.limits.close_timeout).await;
            };
            drop(handshake);
            let upload = UploadId(task.next_upload.fetch_add(1, Ordering::Relaxed));
            connection::serve(shared, name, upload, socket).await;
        };
        task.cut.run_until_cancelled(serve).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Ok(opened) = opened {
        headers.insert(SPACE_HEADER, opened);
    }
    response
}

/// A refusal of a request that does not become a WebSocket.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, sentence) = self;
        let mut response = (status, format!("{sentence}\n")).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// The key of a well-formed opening handshake (RFC 6455, 4.2.1).
fn upgrade_key<'a>(method: &Method, headers: &'a HeaderMap) -> Result<&'a [u8], Refusal> {
    if method != Method::GET {
        return Err(Refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "a space is opened with GET and a WebSocket upgrade",
        ));
    }
    if !names(headers, header::UPGRADE, "websocket") || !names(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "this is a Driftless relay: it speaks WebSocket with engines, as in `driftless sync app.db ws://...`",
        ));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return Err(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "this relay speaks version 13 of the WebSocket protocol",
        ));
    }
    // Browsers send it always, engines never. Without tokens, any web page that somebody on this machine opens
    // could otherwise read and write every space through their browser.
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal(StatusCode::FORBIDDEN, "web pages cannot connect to this relay"));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    match (keys.next().map(HeaderValue::as_bytes), keys.next()) {
        (Some(key), None) if is_key(key) => Ok(key),
        _ => Err(Refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64")),
    }
}

/// Whether a header that lists tokens names this one.
fn names(headers: &HeaderMap, header: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(token))
}

/// Whether this is base64 of 16 bytes: 22 digits, of the last of which four bits stay empty, and two signs.
fn is_key(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit) && b"AQgw".contains(&key[21])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64_of_sixteen_bytes_is_a_key() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25j!Q=="] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
