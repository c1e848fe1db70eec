//! The command `driftless-relay`: arguments, signals, exit codes.
//!
//! Exit codes: 0 stopped in good order, 1 failed, 2 invalid arguments.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use driftless_relay::{Config, Error, Limits, Relay, Storage, defaults};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the changesets of Driftless replicas on disk and passes them on.
///
/// Start it, then point any number of SQLite files at it; the last part of the URL names the space they share:
///
///     driftless-relay --data /var/lib/driftless &
///     driftless sync app.db ws://127.0.0.1:7420/notes
///
/// A space is made when the first engine comes for it. What an engine was told is stored is on disk.
#[derive(Debug, Parser)]
#[command(name = "driftless-relay", version, verbatim_doc_comment, after_help = AFTER_HELP)]
struct Args {
    /// Address to listen on. Port 0 takes any free one; the line on stdout says which.
    ///
    /// Only addresses of this machine are allowed as long as there are no access tokens.
    #[arg(long, env = "DRIFTLESS_RELAY_LISTEN", value_name = "HOST:PORT", default_value = defaults::LISTEN, value_parser = address)]
    listen: SocketAddr,

    /// Folder for relay.db, where everything is kept. Made if it is not there. One relay at a time can use it.
    #[arg(long, env = "DRIFTLESS_RELAY_DATA", value_name = "DIR", default_value = defaults::DATA)]
    data: PathBuf,

    /// How many engines may be connected at once. One more is told to come back later.
    #[arg(long, env = "DRIFTLESS_RELAY_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = defaults::MAX_CONNECTIONS)]
    max_connections: usize,
}

const AFTER_HELP: &str = "\
HTTP on the same port:
  GET /healthz   200 while the process lives
  GET /readyz    200 while the log can be read and written, 503 otherwise

Once it listens it prints one line to stdout:
  listening on ws://127.0.0.1:7420 (data in DIR)

Logs go to stderr; RUST_LOG sets what is logged, as in RUST_LOG=driftless_relay=debug. SIGTERM and SIGINT stop it
in good order: what has come is stored and acknowledged first. A second signal stops it at once.

Exit codes: 0 stopped in good order, 1 failed, 2 invalid arguments.";

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("not an address and port: {error}"))?;
    found.next().ok_or_else(|| "no such address".to_owned())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("driftless-relay: {error:#}");
            let usage = error.downcast_ref::<Error>().is_some_and(Error::is_usage);
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let Args { listen, data, max_connections } = args;
    let limits = Limits { connections: max_connections, ..Limits::default() };
    // Before the relay starts, so that no signal is missed.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let relay = Relay::start(Config { listen, storage: Storage::Folder(data.clone()), limits }).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on ws://{} (data in {})", relay.local_addr(), data.display())
        .and_then(|()| stdout.flush())
        .context("cannot say where it listens")?;
    signals.next().await;
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        () = relay.shutdown() => {}
        () = signals.next() => {
            // What was acknowledged is on disk.
            tracing::warn!("stopped at once");
            std::process::exit(1);
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT; elsewhere Ctrl-C.
struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
