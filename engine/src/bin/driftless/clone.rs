//! `driftless clone`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use driftless::{Config, SyncConfig};
use serde_json::json;

use crate::output;

#[derive(Args)]
pub(crate) struct CloneArgs {
    /// Where the space is: ws://host:port/<space> or wss://…
    url: String,
    /// The file to make; it must not exist
    pub(crate) file: PathBuf,
    /// A token that grants access, where the relay asks for one
    #[arg(long)]
    token: Option<String>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CloneArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let progress = output::Progress::begin(format!("cloning {}", args.url));
    let sync = SyncConfig::new(&args.url).token(args.token.clone());
    let tables = driftless::clone(&args.file, sync, Config::default(), Duration::from_secs(args.timeout))?;
    drop(progress);
    if args.json {
        // Documents of deleted rows count among them.
        let documents: u64 = driftless::status(&args.file)?.tables.iter().map(|table| table.documents).sum();
        let file = args.file.display().to_string();
        return output::json(&json!({ "file": file, "tables": tables, "documents": documents }));
    }
    if tables.is_empty() {
        eprintln!(
            "driftless: nobody has put a table into this space yet. Sync a file that tracks some; they appear here once \
             they are tracked: or remove {} and clone again",
            args.file.display()
        );
    }
    if !tables.is_empty() {
        eprintln!("driftless: {}", crate::track::BOOKKEEPING_STAYS);
    }
    output::line(&format!(
        "cloned {} into {} in {}",
        output::count(tables.len() as u64, "table"),
        args.file.display(),
        output::duration(begun.elapsed())
    ))
}
