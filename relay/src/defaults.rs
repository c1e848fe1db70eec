//! Every default, with its unit and its reason.

use std::time::Duration;

/// Where the relay listens: this machine only, since there are no access tokens yet.
pub const LISTEN: &str = "127.0.0.1:7420";
/// Where the relay keeps its data.
pub const DATA: &str = "./driftless-relay-data";

/// How many engines may be connected at once. Each costs a file descriptor and some ten kilobytes.
pub const MAX_CONNECTIONS: usize = 10_000;
/// How many sockets may be before or in their HTTP request at once. One more is closed unanswered.
pub const MAX_HANDSHAKES: usize = 1_024;
/// How long an HTTP request may take to arrive.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an engine may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a ping is sent. Proxies cut connections that are idle for a minute.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// After how long without a byte a connection counts as dead: three pings.
pub const SILENT_AFTER: Duration = Duration::from_secs(45);
/// After how long without taking a byte, while something waits for it, a reader counts as too slow.
pub const SLOW_READER_AFTER: Duration = Duration::from_secs(30);
/// How long the farewell of a closing connection may take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a graceful shutdown waits for connections to end before it cuts them.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Decoded input of one connection that waits to be stored, in bytes. When it is full the socket is not read.
pub const MAX_INPUT_BYTES: usize = 8 << 20;
/// Output of one connection that waits for its socket, in bytes. When it is full the log is not read for it.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Answers of one connection that wait for its socket, in bytes. When it is full the socket is not read.
pub const MAX_REPLY_BYTES: usize = 1 << 20;
/// How much is read from the log at once, in bytes: large enough to be worth a request, small enough not to make
/// others wait.
pub const PAGE_BYTES: usize = 1 << 20;
/// The newest changesets that a room keeps in memory for its members, in bytes.
pub const ROOM_CACHE_BYTES: usize = 2 << 20;

/// How often in a row one connection may let the others know something of itself before it has to wait; of what waits only
/// the latest is passed on.
pub const PRESENCE_BURST: u32 = 10;
/// After how long it may once more: five a second, smooth enough for a cursor that moves.
pub const PRESENCE_INTERVAL: Duration = Duration::from_millis(200);

/// The largest snapshot, in bytes.
pub const MAX_SNAPSHOT_BYTES: u64 = 4 << 30;
/// All unfinished snapshots together, in bytes.
pub const MAX_UNFINISHED_UPLOAD_BYTES: u64 = 8 << 30;
