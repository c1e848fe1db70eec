//! What the scenarios are made of: a relay in this process, database files with engines on them, the built
//! commands, the stock `sqlite3` shell, and the comparison of tables value for value.
//!
//! Helpers panic with a sentence when something fails that the scenario does not ask about: they are for tests.

mod binaries;
mod courier;
pub mod crash;
mod database;
mod music_shop;
mod node;
mod nodes;
pub mod planted;
mod proxy;
mod relay;
mod replicas;
mod seeds;
mod shell;
pub mod sim;

pub use binaries::{Commands, Outcome, Process};
pub use courier::Courier;
pub use database::{Tables, assert_same_tables, connect, create_database, query, sql, tables};
pub use music_shop::{MusicShop, chinook};
pub use node::{Node, agree, settle_in};
pub use nodes::Nodes;
pub use proxy::{Fault, Proxy};
pub use relay::{TestRelay, free_port};
pub use replicas::Replicas;
pub use seeds::{each_seed, seed};
pub use shell::{dump, has_shell, shell};

use std::time::Duration;

/// Waits until the clock that the triggers read has moved on, so that the next write is the later one.
pub fn later() {
    let now = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis()
    };
    let begun = now();
    // The clock itself is waited for.
    while now() <= begun + 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How long anything may take before a test gives up. Nothing waits for this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds` answers with something. For what no event tells of; panics after [`PATIENCE`], naming
/// `what`.
pub fn eventually<T>(what: &str, holds: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, String::new, holds)
}

/// Like [`eventually`], with more to say when it was in vain.
fn eventually_or<T>(what: &str, more: impl Fn() -> String, mut holds: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what} {}", more());
        std::thread::sleep(Duration::from_millis(5));
    }
}
