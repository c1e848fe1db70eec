//! Offline notes: two people side by side, each with a SQLite file, and a relay between them; or one node for a real relay.
//!
//! `notes` is plain SQL and would be the same without Driftless; `titles`, `bodies` and `collisions` are for what others
//! write meanwhile. `node` is a file with its engine, which is where Driftless comes in: a page of code. `http` and `guard`
//! are the page's way in.

mod bodies;
mod collisions;
mod guard;
mod http;
mod node;
mod notes;
mod refused;
mod samples;
mod titles;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_relay::{Relay, Storage};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use node::{Node, Person};

/// Offline notes in a web page.
///
/// Without options it starts two people's notes, each with its own SQLite file, and a relay between them, and opens a page
/// that shows both: switch them off, write in both, switch them on.
///
/// With --db and --relay it is one person's notes. Run it so twice, with one relay (`driftless-relay`; from another
/// machine through a tunnel), and they share their notes:
///
///   driftless-notes --db ada.db --relay ws://127.0.0.1:7420/notes --name Ada
#[derive(Debug, Parser)]
#[command(name = "driftless-notes", version)]
struct Arguments {
    /// One person's notes, in this file; it is made if it is not there.
    #[arg(long, value_name = "FILE", requires = "relay")]
    db: Option<PathBuf>,
    /// The relay and the space to share them in, as ws://HOST:PORT/SPACE.
    #[arg(long, value_name = "URL", requires = "db")]
    relay: Option<String>,
    /// Whose notes they are: what others see beside them.
    #[arg(long, value_name = "NAME", default_value = "Me", requires = "db")]
    name: String,
    /// Where to serve the page. Whoever can reach it can read and write the notes, so keep it on this machine.
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 7430)))]
    listen: SocketAddr,
    /// Where the two people's files and the relay's are. Without it: `driftless-notes` in the system's temporary folder.
    #[arg(long, value_name = "FOLDER", conflicts_with = "db")]
    folder: Option<PathBuf>,
    /// Write so many sample notes first, one of them 200 KB long, to see how it feels with many.
    #[arg(long, value_name = "N")]
    samples: Option<u32>,
    /// Do not open a browser.
    #[arg(long)]
    no_browser: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, none of them twice: SQLite's tell what they say again, with a number.
fn in_words(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.last().is_none_or(|last| !cause.ends_with(last.as_str())) {
            said.push(cause);
        }
    }
    said.join(": ")
}

fn run(arguments: &Arguments) -> Result<()> {
    // Only the page and the relay are async; files are opened, and closed, outside of it.
    let runtime = tokio::runtime::Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind(arguments.listen)).with_context(|| {
        format!("cannot serve the page at {}; choose another place with --listen", arguments.listen)
    })?;
    let address = listener.local_addr()?;
    let (nodes, relay) = match (&arguments.db, &arguments.relay) {
        (Some(db), Some(url)) => {
            let person = Person::new(&arguments.name, "#2f6fed");
            (vec![Node::open(db, url, person, true)?], None)
        }
        _ => two_people(arguments, &runtime)?,
    };
    if let (Some(count), Some(node)) = (arguments.samples, nodes.first()) {
        node.with_notes(|db| samples::many(db, count))?;
    }
    let nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
    for node in &nodes {
        println!("{}: {}", node.person().name, node.path().display());
    }
    if let Some(relay) = &relay {
        println!("relay: ws://{}/notes", relay.local_addr());
    }
    let page = format!("http://{address}/");
    println!("open {page}    (Ctrl-C ends it; the notes stay)");
    if !address.ip().is_loopback() {
        println!("careful: everybody who can reach {address} can read and write these notes");
    }
    if !arguments.no_browser && open::that_detached(&page).is_err() {
        println!("no browser could be opened: open the address yourself");
    }
    let app = http::router(&nodes, address);
    runtime.block_on(async {
        tokio::select! {
            served = axum::serve(listener, app) => served,
            () = ended() => Ok(()),
        }
    })?;
    for node in &nodes {
        node.go_offline();
    }
    if let Some(relay) = relay {
        runtime.block_on(relay.shutdown());
    }
    Ok(())
}

/// Ada's notes, Ben's notes, and the relay between them. What they wrote the last time is still there.
fn two_people(arguments: &Arguments, runtime: &Runtime) -> Result<(Vec<Node>, Option<Relay>)> {
    let folder = arguments.folder.clone().unwrap_or_else(|| std::env::temp_dir().join("driftless-notes"));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder '{}'", folder.display()))?;
    let relay = runtime.block_on(start_relay(folder.join("relay"))).with_context(|| {
        format!(
            "cannot start a relay in '{}' (are these notes open already? Another --folder has others)",
            folder.display()
        )
    })?;
    let url = format!("ws://{}/notes", relay.local_addr());
    let ada = Node::open(&folder.join("ada.db"), &url, Person::new("Ada", "#2f6fed"), false)?;
    let ben = Node::open(&folder.join("ben.db"), &url, Person::new("Ben", "#c2571a"), false)?;
    ada.with_notes(samples::welcome)?;
    Ok((vec![ada, ben], Some(relay)))
}

async fn start_relay(folder: PathBuf) -> Result<Relay> {
    let config = driftless_relay::Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        storage: Storage::Folder(folder),
        ..driftless_relay::Config::default()
    };
    Ok(Relay::start(config).await?)
}

async fn ended() {
    // Without a signal handler the process ends by the signal, as it would anyway; nothing is lost by that.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "not a database, but long enough to be looked at").expect("written");
        let db = rusqlite::Connection::open(file.path()).expect("opens, and is not read yet");
        let asked = db.query_row("SELECT * FROM sqlite_master", [], |_| Ok(()));
        let error = anyhow::Error::from(asked.expect_err("refused")).context("the file 'x'");
        assert_eq!(in_words(&error), "the file 'x': file is not a database");
    }
}
