//! A TCP proxy between engine and relay that does to connections what networks do, drawn from a seed: it delays and
//! splits, cuts off, closes one direction while the other goes on, swallows everything, resets, refuses, and flips a
//! bit. Without TLS only TCP's checksum can notice a flipped bit, and it misses some.
//!
//! The seed decides what happens to the first connection, the second, and so on. It does not decide which engine
//! makes which of them, nor when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::{eventually, free_port};

/// How long a direction swallows what comes before the connection is reset.
const STALL: std::ops::Range<u64> = 200..1_500;
/// How long nobody listens where connections are refused.
const REFUSAL: Duration = Duration::from_millis(60);

/// What may befall one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The bytes end in the middle, properly.
    Truncate,
    /// This direction ends, the other goes on.
    HalfClose,
    /// Everything is swallowed for a while, and nobody is told.
    Stall,
    /// Both directions end with a reset.
    Reset,
    /// One bit comes out wrong, and all goes on.
    Flip,
    /// Nobody listens for a while.
    Refuse,
}

/// A running proxy, smooth at first. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Last: what it runs ends with it.
    _runtime: Runtime,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    relay: SocketAddr,
    rough: AtomicBool,
    listens: AtomicBool,
    flips: AtomicBool,
    /// Whether nothing is taken on any connection, those that are there and those that come.
    stalled: watch::Sender<bool>,
    connections: AtomicU64,
    befell: Mutex<BTreeMap<Fault, u64>>,
}

impl Proxy {
    /// Listens on a port of its own and hands everything on to `relay`.
    pub fn new(relay: SocketAddr, seed: u64) -> Self {
        eprintln!("the proxy's seed is {seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = Arc::new(Shared {
            seed,
            relay,
            rough: AtomicBool::new(false),
            listens: AtomicBool::new(true),
            flips: AtomicBool::new(true),
            stalled: watch::Sender::new(false),
            connections: AtomicU64::new(0),
            befell: Mutex::default(),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = runtime.block_on(async { listen(address) }).expect("the port is free");
        runtime.spawn(serve(Arc::clone(&shared), address, listener));
        Self { address, shared, _runtime: runtime }
    }

    /// Where a space is, through the proxy.
    pub fn url(&self, space: &str) -> String {
        format!("ws://{}/{space}", self.address)
    }

    /// From now on things go wrong.
    pub fn rough(&self) {
        self.shared.rough.store(true, Ordering::SeqCst);
    }

    /// The same, but no bit is flipped.
    pub fn rough_but_true(&self) {
        self.shared.flips.store(false, Ordering::SeqCst);
        self.rough();
    }

    /// From now on nothing goes wrong any more. What has gone wrong stays so: connections that were cut off or had a bit
    /// flipped are not repaired, and a stall ends with a reset.
    pub fn smooth(&self) {
        self.shared.rough.store(false, Ordering::SeqCst);
        eventually("the proxy to listen", || self.shared.listens.load(Ordering::SeqCst).then_some(()));
    }

    /// Takes nothing more on any connection, until told otherwise; then what was stalled is reset.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.send_replace(stalled);
    }

    /// How often what befell connections.
    pub fn befell(&self) -> BTreeMap<Fault, u64> {
        self.shared.befell.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections came.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn befalls(&self, fault: Fault) {
        *self.befell.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

async fn serve(shared: Arc<Shared>, address: SocketAddr, mut listener: TcpListener) {
    loop {
        let Ok((engine, _)) = listener.accept().await else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut dice = Rng::with_seed(shared.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        if shared.rough.load(Ordering::SeqCst) && dice.u8(..8) == 0 {
            shared.befalls(Fault::Refuse);
            reset(&engine);
            shared.listens.store(false, Ordering::SeqCst);
            drop((engine, listener));
            tokio::time::sleep(REFUSAL).await;
            listener = listen(address).expect("the port is still ours");
            shared.listens.store(true, Ordering::SeqCst);
            continue;
        }
        tokio::spawn(carry(Arc::clone(&shared), engine, dice));
    }
}

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The other direction goes on.
    Properly,
    /// Both are closed.
    Closed,
    /// Both are reset.
    Reset,
}

/// One connection, from its beginning to its end.
async fn carry(shared: Arc<Shared>, mut engine: TcpStream, mut dice: Rng) {
    let Ok(mut relay) = TcpStream::connect(shared.relay).await else { return reset(&engine) };
    for socket in [&engine, &relay] {
        let _ = socket.set_nodelay(true); // it may be gone already
    }
    let (up, down) = (Plan::draw(&mut dice), Plan::draw(&mut dice));
    let ended = {
        let ((from_engine, to_engine), (from_relay, to_relay)) = (engine.split(), relay.split());
        let mut up = std::pin::pin!(direction(&shared, from_engine, to_relay, up, dice.fork()));
        let mut down = std::pin::pin!(direction(&shared, from_relay, to_engine, down, dice.fork()));
        let first = tokio::select! {
            ended = &mut up => (ended, true),
            ended = &mut down => (ended, false),
        };
        match first {
            (Ended::Properly, true) => down.await,
            (Ended::Properly, false) => up.await,
            (ended, _) => ended,
        }
    };
    if ended == Ended::Reset {
        reset(&engine);
        reset(&relay);
    }
}

/// Has a socket end without a farewell.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger(); // it may be gone already
}

/// What one direction of a connection is in for.
#[derive(Debug)]
struct Plan {
    /// Before each read, up to so many milliseconds.
    delay: u64,
    /// What was read at once is written in pieces of up to so many bytes.
    piece: usize,
    /// What befalls it, after so many bytes.
    fault: Option<(Fault, u64)>,
}

impl Plan {
    fn draw(dice: &mut Rng) -> Self {
        let fault = match dice.u8(..12) {
            0 | 1 => Some(Fault::Truncate),
            2 => Some(Fault::HalfClose),
            3 => Some(Fault::Stall),
            4 | 5 => Some(Fault::Reset),
            6..=8 => Some(Fault::Flip),
            _ => None,
        };
        // As often within the handshake as within the first hello, changesets, and much later.
        let magnitude = dice.u32(4..16);
        let after = dice.u64(1 << magnitude..2 << magnitude);
        let piece = [7, 100, 5_000][dice.usize(..3)];
        Self { delay: dice.u64(..5), piece, fault: fault.map(|fault| (fault, after)) }
    }
}

/// Carries one direction until it ends.
async fn direction(
    shared: &Shared,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut plan: Plan,
    mut dice: Rng,
) -> Ended {
    let mut stalled = shared.stalled.subscribe();
    let mut buffer = vec![0; 4 << 10];
    let mut passed = 0;
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) if to.shutdown().await.is_ok() => return Ended::Properly,
            Ok(0) => return Ended::Closed,
            Ok(read) => read,
            Err(_) => return Ended::Reset,
        };
        if *stalled.borrow_and_update() {
            let _ended = stalled.wait_for(|stalled| !stalled).await; // or the proxy has
            return Ended::Reset;
        }
        let rough = shared.rough.load(Ordering::SeqCst);
        if rough {
            tokio::time::sleep(Duration::from_millis(dice.u64(..=plan.delay))).await;
        }
        let mut rest = &mut buffer[..read];
        while !rest.is_empty() {
            let most = if rough { dice.usize(1..=plan.piece) } else { rest.len() };
            let (piece, after) = rest.split_at_mut(most.min(rest.len()));
            rest = after;
            let end = passed + piece.len() as u64;
            let due = plan.fault.take_if(|(fault, at)| {
                let may = *fault != Fault::Flip || shared.flips.load(Ordering::SeqCst);
                rough && may && *at < end
            });
            let Some((fault, at)) = due else {
                if to.write_all(piece).await.is_err() {
                    return Ended::Reset;
                }
                passed = end;
                continue;
            };
            shared.befalls(fault);
            let at = at.saturating_sub(passed) as usize;
            passed = end;
            if fault == Fault::Flip {
                piece[at] ^= 1 << dice.u8(..8);
                if to.write_all(piece).await.is_err() {
                    return Ended::Reset;
                }
                continue;
            }
            let _ = to.write_all(&piece[..at]).await; // it ends anyway
            match fault {
                Fault::Truncate => return Ended::Closed,
                Fault::HalfClose => {
                    let _ = to.shutdown().await; // as above
                    swallow(&mut from, std::future::pending()).await;
                    return Ended::Properly;
                }
                Fault::Stall => {
                    let time = Duration::from_millis(dice.u64(STALL));
                    swallow(&mut from, tokio::time::sleep(time)).await;
                    return Ended::Reset;
                }
                Fault::Reset | Fault::Flip | Fault::Refuse => return Ended::Reset,
            }
        }
    }
}

/// Reads what comes and forgets it, until it ends or `until` does.
async fn swallow(from: &mut ReadHalf<'_>, until: impl Future<Output = ()>) {
    let mut buffer = vec![0; 4 << 10];
    let forget = async { while let Ok(1..) = from.read(&mut buffer).await {} };
    tokio::select! {
        () = forget => {}
        () = until => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Sends `len` bytes through a rough proxy again and again, a connection each time, until everything has befallen
    /// one. What comes out is what went in, or less, or one bit other than that.
    #[test]
    fn each_fault_befalls_connections_and_does_what_it_says() {
        let sink = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy::new(sink.local_addr().expect("an address"), 7);
        proxy.rough();
        let sent: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        let received = std::thread::spawn(move || {
            sink.incoming()
                .map(|socket| {
                    let mut all = Vec::new();
                    let mut socket = socket.expect("a connection");
                    let ended = socket.read_to_end(&mut all).map_err(|error| error.kind());
                    (all, ended)
                })
                .take(60)
                .collect::<Vec<_>>()
        });
        while !received.is_finished() {
            let Ok(mut socket) = std::net::TcpStream::connect(proxy.address) else { continue };
            let _ = socket.write_all(&sent); // it may be cut off
            let _ = socket.shutdown(std::net::Shutdown::Write); // as above
            let _ = socket.read(&mut [0]); // as above
        }
        let received = received.join().expect("the sink");
        let (mut whole, mut cut, mut reset, mut flipped) = (0, 0, 0, 0);
        for (all, ended) in received {
            let bits = |(one, other): (&u8, &u8)| (one ^ other).count_ones();
            match (sent.iter().zip(&all).map(bits).sum(), ended) {
                (1, _) => flipped += 1,
                (0, Err(_)) => reset += 1,
                (0, Ok(_)) if all.len() == sent.len() => whole += 1,
                (0, Ok(_)) => cut += 1,
                (bits, _) => panic!("{bits} bits came out wrong"),
            }
        }
        assert!(whole > 5 && cut > 5 && reset > 2 && flipped > 5, "{whole}, {cut}, {reset}, {flipped}");
        assert_eq!(proxy.befell().len(), 6, "{:?}", proxy.befell());
    }
}
