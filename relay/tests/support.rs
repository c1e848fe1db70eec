//! Changesets to send, and an engine that is nothing but a WebSocket.

use std::time::Duration;

use bytes::Bytes;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::message::{Hello, Welcome};
use driftless_protocol::{
    Changeset, ChangesetHeader, ClientMessage, CloseCode, Collation, Part, RelayMessage, ReplicaId, RowKey,
    Seq, SnapshotHeader, SnapshotPart, SpaceId, SpaceName, StateVector, Value,
};
use driftless_relay::{Config, Relay, Storage};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn replica(n: u8) -> ReplicaId {
    ReplicaId::from_bytes([n; 16]).expect("not nil")
}

pub(crate) fn space_id(n: u8) -> SpaceId {
    SpaceId::from_bytes([n; 16]).expect("not nil")
}

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).expect("not zero")
}

pub(crate) fn space(name: &str) -> SpaceName {
    name.parse().expect("a space name")
}

pub(crate) fn vector(entries: &[(u8, u64)]) -> StateVector {
    entries.iter().map(|&(r, s)| (replica(r), seq(s))).collect()
}

/// A changeset; another `content` gives another checksum.
pub(crate) fn changeset_of(r: u8, s: u64, content: i64) -> Changeset {
    let header = header(r, s, content);
    Changeset::seal(header, &BodyBuilder::new().finish())
}

pub(crate) fn changeset(r: u8, s: u64) -> Changeset {
    changeset_of(r, s, 0)
}

fn header(r: u8, s: u64, time: i64) -> ChangesetHeader {
    let after = StateVector::new();
    ChangesetHeader { replica: replica(r), seq: seq(s), part: Part::Whole, after, time }
}

/// A changeset of about `bytes` bytes that do not compress.
pub(crate) fn large_changeset(r: u8, s: u64, bytes: usize) -> Changeset {
    Changeset::seal(header(r, s, 0), &noise(s, bytes))
}

fn noise(seed: u64, bytes: usize) -> driftless_protocol::changeset::Body {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(bytes / 8)
    .flatten()
    .collect();
    let value = Value::Integer(1);
    let key = RowKey::encode([(&value, Collation::Binary)]).expect("a key");
    let mut body = BodyBuilder::new();
    body.row("t", &key, &noise);
    body.finish()
}

/// Part `index` of `parts` of the snapshot `id`.
pub(crate) fn part(id: u8, index: u32, parts: u32, counts: &[(u8, u64)]) -> SnapshotPart {
    let header =
        SnapshotHeader { snapshot: [id; 16], index, last: index + 1 == parts, vector: vector(counts) };
    SnapshotPart::seal(header, &noise(u64::from(index) + 1, 800))
}

pub(crate) fn hello(r: u8, have: &[(u8, u64)]) -> Hello {
    Hello { space: None, propose: Some(space_id(1)), replica: replica(r), vector: vector(have), token: None }
}

pub(crate) fn memory() -> Config {
    Config { listen: loopback(), storage: Storage::Memory, ..Config::default() }
}

pub(crate) fn on_disk(folder: &std::path::Path) -> Config {
    Config { storage: Storage::Folder(folder.to_owned()), ..memory() }
}

pub(crate) fn loopback() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

pub(crate) async fn start(config: Config) -> Relay {
    Relay::start(config).await.expect("the relay starts")
}

/// An engine that is nothing but a WebSocket.
pub(crate) struct Client {
    pub(crate) ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a client heard.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(RelayMessage),
    Closed(CloseCode, String),
    /// The connection ended without a close frame.
    Cut,
}

impl Client {
    pub(crate) async fn connect(relay: &Relay, space: &str) -> Self {
        let url = format!("ws://{}/{space}", relay.local_addr());
        let mut config = WebSocketConfig::default();
        config.max_message_size = None;
        config.max_frame_size = None;
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (ws, _) = connecting.await.expect("the relay upgrades");
        Self { ws }
    }

    /// Connects and says hello as replica `r` with what it has.
    pub(crate) async fn join(relay: &Relay, space: &str, r: u8, have: &[(u8, u64)]) -> (Self, Welcome) {
        let mut client = Self::connect(relay, space).await;
        client.send(ClientMessage::Hello(hello(r, have))).await;
        match client.hear().await {
            Heard::Message(RelayMessage::Welcome(welcome)) => (client, welcome),
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, message: ClientMessage) {
        self.send_raw(Message::Binary(message.encode())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.ws.send(message).await.expect("the relay takes it");
    }

    pub(crate) async fn push(&mut self, changeset: Changeset) {
        self.send(ClientMessage::Changeset(changeset)).await;
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        let hearing = async {
            loop {
                match self.ws.next().await {
                    Some(Ok(Message::Binary(frame))) => {
                        return Heard::Message(RelayMessage::decode(frame).expect("a frame of the protocol"));
                    }
                    Some(Ok(Message::Close(Some(close)))) => {
                        let code = CloseCode::from_number(close.code.into());
                        return Heard::Closed(code, close.reason.to_string());
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(other)) => panic!("the relay says {other:?}"),
                    Some(Err(_)) | None => return Heard::Cut,
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.expect("the relay says something")
    }

    /// The next message, which must be a changeset.
    pub(crate) async fn hear_changeset(&mut self) -> (ReplicaId, u64, Bytes) {
        match self.hear().await {
            Heard::Message(RelayMessage::Changeset(changeset)) => {
                let header = &changeset.header;
                (header.replica, header.seq.get(), changeset.bytes().clone())
            }
            other => panic!("no changeset but {other:?}"),
        }
    }

    pub(crate) async fn hear_stored(&mut self) -> u64 {
        match self.hear().await {
            Heard::Message(RelayMessage::Stored(seq)) => seq.get(),
            other => panic!("no acknowledgement but {other:?}"),
        }
    }

    /// Waits until everything up to `to` is acknowledged.
    pub(crate) async fn hear_stored_up_to(&mut self, to: u64) {
        while self.hear_stored().await < to {}
    }

    pub(crate) async fn ask_heads(&mut self, nonce: u64) -> StateVector {
        self.send(ClientMessage::AskHeads(nonce)).await;
        match self.hear().await {
            Heard::Message(RelayMessage::Heads { nonce: answered, heads }) if answered == nonce => heads,
            other => panic!("no heads but {other:?}"),
        }
    }

    /// The code and sentence with which the relay closes, whatever it says before.
    pub(crate) async fn hear_close(&mut self) -> (CloseCode, String) {
        loop {
            match self.hear().await {
                Heard::Closed(code, reason) => return (code, reason),
                Heard::Cut => panic!("cut without a close frame"),
                Heard::Message(_) => {}
            }
        }
    }
}
