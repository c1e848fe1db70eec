//! One WebSocket: what waits to be sent, in three bounded queues, and the reading and writing of it in one place.
//!
//! *Replies* (welcome, acknowledgements, heads, pings) go before *deliveries*. The driver looks at the sizes of
//! both before it makes more: with too many replies waiting it stops answering, with too many deliveries it stops
//! reading the log. So a peer that does not read costs its own bounds and no more. *Presences* of others take turns with
//! deliveries, and are filled up only when the last have gone out: at most one waits for each of those who are there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use driftless_protocol::CloseCode;
use driftless_protocol::message::MAX_FRAME_BYTES;
use futures_util::{Sink, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Utf8Bytes};

/// The longest reason of a close frame, in bytes (RFC 6455, 5.5: 125 with its code).
const MAX_REASON_BYTES: usize = 123;

/// How long a peer that sent nonsense must be silent before it counts as done.
const SILENCE: Duration = Duration::from_millis(250);

/// The relay's end of a WebSocket.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    ws: WebSocketStream<Metered<S>>,
    replies: VecDeque<Message>,
    reply_bytes: usize,
    deliveries: VecDeque<Bytes>,
    delivery_bytes: usize,
    presences: VecDeque<Bytes>,
    /// Whose turn it is where both wait.
    presence_is_next: bool,
    /// Something was handed to the WebSocket and perhaps lies in its buffer.
    unflushed: bool,
    /// Something came that could not be understood; what follows it cannot be either.
    broken: bool,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

/// What a turn of the socket brought.
#[derive(Debug)]
pub(crate) enum Turn {
    /// A frame went to the system, or all of them: there may be room again.
    Wrote,
    /// A message came.
    Message(Message),
    /// The peer said farewell, or the connection broke.
    Ended,
    /// What came is not a WebSocket message, or too large a one.
    Refused(CloseCode, &'static str),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes over a connection whose HTTP upgrade is done.
    pub(crate) async fn new(io: S) -> Self {
        let (read, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let io = Metered { io, read: Arc::clone(&read), written: Arc::clone(&written) };
        let buffer = 16 << 10;
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = buffer;
        config.write_buffer_size = buffer;
        // A frame goes in only when the buffer has been written out, so the buffer holds at most one frame more.
        config.max_write_buffer_size = MAX_FRAME_BYTES + 4 * buffer;
        config.max_message_size = Some(MAX_FRAME_BYTES);
        config.max_frame_size = Some(MAX_FRAME_BYTES);
        Self {
            ws: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            replies: VecDeque::new(),
            reply_bytes: 0,
            deliveries: VecDeque::new(),
            delivery_bytes: 0,
            presences: VecDeque::new(),
            presence_is_next: true,
            unflushed: false,
            broken: false,
            read,
            written,
        }
    }

    pub(crate) fn reply(&mut self, frame: Bytes) {
        self.push_reply(Message::Binary(frame));
    }

    pub(crate) fn ping(&mut self) {
        self.push_reply(Message::Ping(Bytes::new()));
    }

    pub(crate) fn deliver(&mut self, frame: Bytes) {
        self.delivery_bytes += frame.len();
        self.deliveries.push_back(frame);
    }

    pub(crate) fn tell_presences(&mut self, frames: Vec<Bytes>) {
        self.presences.extend(frames);
    }

    fn push_reply(&mut self, message: Message) {
        self.reply_bytes += message.len();
        self.replies.push_back(message);
    }

    /// Replies that wait, in bytes.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// Deliveries that wait, in bytes.
    pub(crate) fn delivery_bytes(&self) -> usize {
        self.delivery_bytes
    }

    /// Whether a reply waits.
    pub(crate) fn replies_wait(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Whether the presence of somebody waits.
    pub(crate) fn presences_wait(&self) -> bool {
        !self.presences.is_empty()
    }

    /// Whether anything waits for the peer to take it.
    pub(crate) fn waits_to_write(&self) -> bool {
        self.unflushed || self.any_queued()
    }

    fn any_queued(&self) -> bool {
        !(self.replies.is_empty() && self.deliveries.is_empty() && self.presences.is_empty())
    }

    /// How many bytes the peer has sent and taken so far: whether it lives, and whether it reads.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }

    /// Writes what waits and, if `reading`, reads the next message. Can be dropped at any time without loss.
    pub(crate) async fn turn(&mut self, reading: bool) -> Turn {
        std::future::poll_fn(|cx| self.poll_turn(cx, reading)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Turn> {
        // Reading comes first: it queues the answers to pings, which writing then sends.
        if reading && let Poll::Ready(message) = self.ws.poll_next_unpin(cx) {
            return Poll::Ready(match message {
                None | Some(Ok(Message::Close(_))) => Turn::Ended,
                Some(Ok(message)) => Turn::Message(message),
                Some(Err(error)) => {
                    self.broken = true;
                    refusal(&error)
                }
            });
        }
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Turn::Wrote),
            Poll::Ready(Err(_)) => Poll::Ready(Turn::Ended),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ready when something went out, and pending when nothing waits.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        let mut sent = false;
        while self.any_queued() {
            match Pin::new(&mut self.ws).poll_ready(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if sent => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
            if let Some(reply) = self.replies.pop_front() {
                self.reply_bytes -= reply.len();
                Pin::new(&mut self.ws).start_send(reply)?;
            } else if let Some(frame) = self.next_frame() {
                Pin::new(&mut self.ws).start_send(Message::Binary(frame))?;
            }
            (self.unflushed, sent) = (true, true);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.ws).poll_flush(cx))?;
            self.unflushed = false;
            return Poll::Ready(Ok(()));
        }
        if sent { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The next delivery or presence, in turns: a long log does not hide who is there, nor a crowd hold up the log.
    fn next_frame(&mut self) -> Option<Bytes> {
        if (self.presence_is_next || self.deliveries.is_empty())
            && let Some(presence) = self.presences.pop_front()
        {
            self.presence_is_next = false;
            return Some(presence);
        }
        self.presence_is_next = true;
        let frame = self.deliveries.pop_front()?;
        self.delivery_bytes -= frame.len();
        Some(frame)
    }

    /// Sends the replies that wait and a close frame, and waits for the peer to answer it, for `patience` at most.
    /// Deliveries that wait are given up: the peer asks for them again by its vector.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &str, patience: Duration) {
        self.deliveries.clear();
        self.delivery_bytes = 0;
        self.presences.clear();
        let reason = Utf8Bytes::from(sentence(reason));
        self.push_reply(Message::Close(Some(CloseFrame { code: WireCode::from(code.number()), reason })));
        let farewell = async {
            while self.waits_to_write() {
                if matches!(self.turn(false).await, Turn::Ended) {
                    return;
                }
            }
            while !self.broken && matches!(self.turn(true).await, Turn::Message(_) | Turn::Wrote) {}
            if !self.broken {
                return;
            }
            // Bytes that nobody reads would make the system reset the connection, and the peer would never see
            // the close frame. So what it still sends is read, unseen, until it stops.
            let io = self.ws.get_mut();
            let _broken = io.shutdown().await;
            let mut rest = vec![0; 16 << 10];
            while let Ok(Ok(1..)) = timeout(SILENCE, io.read(&mut rest)).await {}
        };
        // When the peer does not take it in time, the connection is cut.
        let _late = timeout(patience, farewell).await;
    }

    /// Answers the peer's farewell.
    pub(crate) async fn end(mut self, patience: Duration) {
        let _late = timeout(patience, async { while let Some(Ok(_)) = self.ws.next().await {} }).await;
    }
}

fn refusal(error: &WsError) -> Turn {
    match error {
        WsError::Capacity(_) => Turn::Refused(CloseCode::TooLarge, "a frame larger than this relay takes"),
        // The other process died, or the network did: nothing that it said was wrong.
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Turn::Ended,
        WsError::Protocol(_) | WsError::Utf8(_) => {
            Turn::Refused(CloseCode::Malformed, "this does not follow the WebSocket protocol")
        }
        _ => Turn::Ended,
    }
}

/// As much of `reason` as fits a close frame.
fn sentence(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

/// Counts the bytes that pass. Whether a peer lives and reads shows in bytes even inside one large frame, where
/// messages would show nothing for minutes.
#[derive(Debug)]
struct Metered<S> {
    io: S,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            self.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = sentence(&"ü".repeat(100));
        assert_eq!(cut, "ü".repeat(61));
        assert_eq!(sentence("short"), "short");
    }
}
