//! The settings of a relay, in one struct.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::defaults;
use crate::error::Error;
use crate::log::UploadLimits;

/// The settings of a [`Relay`](crate::Relay).
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any that is free. Must be a loopback address. Default: 127.0.0.1:7420.
    pub listen: SocketAddr,
    /// Where changesets are kept. Default: the folder `./driftless-relay-data`.
    pub storage: Storage,
    /// What bounds peers.
    pub limits: Limits,
}

/// Where changesets are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In SQLite, in this folder, which is made if it is not there. No other relay can use it meanwhile.
    Folder(PathBuf),
    /// In memory: everything is gone with the relay. For tests.
    Memory,
}

/// What bounds peers. The defaults and their reasons are in [`defaults`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many engines may be connected at once. One more is told to come back later (4508).
    pub connections: usize,
    /// How many sockets may be in their HTTP request at once. One more is closed unanswered.
    pub handshakes: usize,
    /// How long a hello may take to come.
    pub hello_timeout: Duration,
    /// How often a ping is sent.
    pub ping_interval: Duration,
    /// After how long without a byte from the peer the connection is closed (4504).
    pub silent_after: Duration,
    /// After how long without the peer taking a byte, while some wait for it, it is closed (4503).
    pub slow_reader_after: Duration,
    /// How long a farewell may take.
    pub close_timeout: Duration,
    /// How long [`Relay::shutdown`](crate::Relay::shutdown) waits for connections to end.
    pub shutdown_timeout: Duration,
    /// Input of one connection that waits to be stored, in bytes. Above it the socket is not read. One frame
    /// may exceed it.
    pub input_bytes: usize,
    /// Deliveries of one connection that wait for its socket, in bytes. Above it the log is not read for it. One
    /// page, or one frame if that is larger, may exceed it.
    pub output_bytes: usize,
    /// Replies of one connection that wait for its socket, in bytes. Above it nothing more is read or answered.
    pub reply_bytes: usize,
    /// How much is read from the log at once, in bytes.
    pub page_bytes: usize,
    /// What a room keeps in memory of the newest changesets, in bytes.
    pub room_cache_bytes: usize,
    /// Snapshots that are being uploaded.
    pub uploads: UploadLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: defaults::LISTEN.parse().expect("the default address is an address"),
            storage: Storage::Folder(PathBuf::from(defaults::DATA)),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: defaults::MAX_CONNECTIONS,
            handshakes: defaults::MAX_HANDSHAKES,
            hello_timeout: defaults::HELLO_TIMEOUT,
            ping_interval: defaults::PING_INTERVAL,
            silent_after: defaults::SILENT_AFTER,
            slow_reader_after: defaults::SLOW_READER_AFTER,
            close_timeout: defaults::CLOSE_TIMEOUT,
            shutdown_timeout: defaults::SHUTDOWN_TIMEOUT,
            input_bytes: defaults::MAX_INPUT_BYTES,
            output_bytes: defaults::MAX_OUTPUT_BYTES,
            reply_bytes: defaults::MAX_REPLY_BYTES,
            page_bytes: defaults::PAGE_BYTES,
            room_cache_bytes: defaults::ROOM_CACHE_BYTES,
            uploads: UploadLimits::default(),
        }
    }
}

impl Config {
    /// Refuses settings that cannot work: [`Error::NotLoopback`], [`Error::Setting`].
    pub fn check(&self) -> Result<(), Error> {
        let limits = &self.limits;
        if !self.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(self.listen));
        }
        let numbers = [limits.connections, limits.handshakes, limits.input_bytes, limits.output_bytes];
        if numbers.contains(&0) || limits.reply_bytes == 0 || limits.page_bytes == 0 {
            return Err(Error::Setting("a limit of zero would let nobody in".to_owned()));
        }
        if limits.ping_interval >= limits.silent_after {
            let (ping, silent) = (limits.ping_interval, limits.silent_after);
            return Err(Error::Setting(format!(
                "a ping every {ping:?} cannot keep connections alive that are closed after {silent:?} of silence"
            )));
        }
        Ok(())
    }
}
