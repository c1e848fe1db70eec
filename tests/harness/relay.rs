//! A relay in this process, that can be stopped, killed and started again at the same address.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use driftless_relay::{Config, Error, Relay, Storage};
use tokio::runtime::Runtime;

use crate::eventually;

/// A relay on a port of its own, on a runtime of its own.
#[derive(Debug)]
pub struct TestRelay {
    runtime: Runtime,
    relay: Option<Relay>,
    address: SocketAddr,
    storage: Storage,
}

impl TestRelay {
    /// A relay that keeps everything in memory: stopping it loses all.
    pub fn in_memory() -> Self {
        Self::start(Storage::Memory)
    }

    /// A relay that keeps everything in this folder.
    pub fn on_disk(folder: &Path) -> Self {
        Self::start(Storage::Folder(folder.to_owned()))
    }

    fn start(storage: Storage) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut relay = Self { runtime, relay: None, address, storage };
        relay.restart();
        relay
    }

    /// Where a space is.
    pub fn url(&self, space: &str) -> String {
        format!("ws://{}/{space}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many engines are connected.
    pub fn connections(&self) -> usize {
        self.relay.as_ref().map_or(0, Relay::connections)
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.shutdown());
        }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(relay) = self.relay.take() {
            let _inside = self.runtime.enter();
            relay.kill();
        }
    }

    /// Starts it again at the same address; in good order, if it was running.
    pub fn restart(&mut self) {
        self.stop();
        let config = Config { listen: self.address, storage: self.storage.clone(), ..Config::default() };
        // A relay that was killed lets go of its port only when its runtime gets to it.
        let relay =
            eventually("the port to be free", || match self.runtime.block_on(Relay::start(config.clone())) {
                Ok(relay) => Some(relay),
                Err(Error::Listen { .. }) => None,
                Err(error) => panic!("the relay starts: {error}"),
            });
        self.address = relay.local_addr();
        self.relay = Some(relay);
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on. Not one of those that the system hands out by itself (port 0): while the relay is
/// down, a client that tries to reach it could be given the very port, and would talk to itself.
pub fn free_port() -> u16 {
    let free = |&port: &u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(12_000..32_000)).find(free).expect("it does not end")
}
