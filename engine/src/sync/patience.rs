//! Whether the other end of a connection still answers what was asked.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// How fast the slowest line takes what is sent, in bytes a second.
const SLOWEST: f64 = 8192.0;

/// Whether the relay still answers: a message can get lost on a connection that goes on, when a flipped bit makes a pong of
/// it, or a longer frame that swallows what comes after it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The number of the last ping.
    pings: u64,
    /// Since when something waits for a message and none has come, and the first ping after that.
    waiting: Option<(Instant, u64)>,
    /// When that ping came back: what was sent before it has been read.
    read: Option<Instant>,
}

impl Patience {
    /// The next ping.
    pub(super) fn ping(&mut self) -> Message {
        self.pings += 1;
        Message::Ping(self.pings.to_be_bytes().to_vec().into())
    }

    pub(super) fn on_pong(&mut self, payload: &[u8]) {
        let number = payload.try_into().map_or(0, u64::from_be_bytes);
        if self.waiting.is_some_and(|(_, first)| number >= first) {
            self.read.get_or_insert_with(Instant::now);
        }
    }

    /// A message came, or nothing waits for one.
    pub(super) fn renew(&mut self) {
        self.waiting = None;
        self.read = None;
    }

    /// Something waits for a message. Whether it has for too long, with so many bytes on their way.
    pub(super) fn is_over(&mut self, silence: Duration, in_flight: usize) -> bool {
        let (since, _) = *self.waiting.get_or_insert((Instant::now(), self.pings + 1));
        match self.read {
            Some(read) => read.elapsed() > silence,
            None => since.elapsed() > 4 * silence + Duration::from_secs_f64(in_flight as f64 / SLOWEST),
        }
    }
}
