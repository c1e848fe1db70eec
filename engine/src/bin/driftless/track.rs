//! `driftless track`, `driftless set-kind` and `driftless untrack`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use driftless::{ColumnKind, Config, Engine, Error, Selection, TableOptions};
use serde_json::json;

use crate::output;

#[derive(Args)]
pub(crate) struct TrackArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// The tables to track; or --all
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tables: Vec<String>,
    /// Track every table that can be; those that cannot are named with the reason
    #[arg(long)]
    all: bool,
    /// Allow INTEGER PRIMARY KEY tables: only if no two replicas make the same key while they are apart
    #[arg(long)]
    allow_integer_key: bool,
    /// Let a delete win over an edit made at the same time (else the edit wins and the row stays)
    #[arg(long)]
    deletes_win: bool,
    /// A column of which everything that is added anywhere counts; TABLE.COL where several tables are named, or --all
    #[arg(long, value_name = "COL")]
    counter: Vec<String>,
    /// A column whose texts are merged; TABLE.COL where several tables are named, or --all
    #[arg(long, value_name = "COL")]
    text: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct SetKindArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// A table that is tracked
    table: String,
    /// One of its columns
    column: String,
    /// What it is to be: register, text or counter
    #[arg(value_parser = kind)]
    kind: ColumnKind,
}

#[derive(Args)]
pub(crate) struct RenameColumnArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// A table that is tracked
    table: String,
    /// The column's name before
    old: String,
    /// Its name from now on
    new: String,
}

fn kind(name: &str) -> Result<ColumnKind, String> {
    name.parse()
}

#[derive(Args)]
pub(crate) struct UntrackArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// The tables to cease tracking
    #[arg(required = true)]
    tables: Vec<String>,
}

pub(crate) fn track(args: &TrackArgs) -> anyhow::Result<()> {
    let mut options =
        if args.allow_integer_key { TableOptions::integer_key() } else { TableOptions::default() };
    if args.deletes_win {
        options = options.deletes_win();
    }
    options = args.counter.iter().fold(options, TableOptions::counter);
    options = args.text.iter().fold(options, TableOptions::text);
    let names: Vec<&str> = args.tables.iter().map(String::as_str).collect();
    let selection = if args.all { Selection::All } else { Selection::Named(&names) };
    let tracked = driftless::track(&args.file, selection, options)?;
    for (table, refusal) in &tracked.left_out {
        eprintln!("driftless: left out '{table}': {refusal}");
    }
    let captured = capture(&args.file)?;
    if args.json {
        let left_out: Vec<_> = tracked
            .left_out
            .iter()
            .map(|(table, refusal)| json!({ "table": table, "reason": refusal.to_string() }))
            .collect();
        return output::json(
            &json!({ "tracked": tracked.tables, "left_out": left_out, "captured": captured }),
        );
    }
    if tracked.tables.is_empty() {
        return output::line("no table was tracked");
    }
    let tables = output::count(tracked.tables.len() as u64, "table");
    output::line(&format!("tracking {tables}: {}", tracked.tables.join(", ")))?;
    if !captured {
        output::line("the engine that has the file goes on capturing the rows that are there")?;
    }
    Ok(())
}

pub(crate) fn set_kind(args: &SetKindArgs) -> anyhow::Result<()> {
    driftless::status(&args.file)?;
    // What was written before is captured as what it was then.
    capture(&args.file)?;
    driftless::set_kind(&args.file, &args.table, &args.column, args.kind)?;
    capture(&args.file)?;
    output::line(&format!("'{}' of '{}' is now a {}", args.column, args.table, args.kind))
}

pub(crate) fn rename_column(args: &RenameColumnArgs) -> anyhow::Result<()> {
    driftless::status(&args.file)?;
    // What was written before is captured under the name that it had.
    capture(&args.file)?;
    driftless::rename_column(&args.file, &args.table, &args.old, &args.new)?;
    capture(&args.file)?;
    output::line(&format!("'{}' of '{}' is called '{}' from now on", args.old, args.table, args.new))
}

pub(crate) fn untrack(args: &UntrackArgs) -> anyhow::Result<()> {
    let names: Vec<&str> = args.tables.iter().map(String::as_str).collect();
    // Nothing that was written before is to be forgotten.
    driftless::status(&args.file)?;
    capture(&args.file)?;
    let untracked = driftless::untrack(&args.file, &names)?;
    output::line(&format!("no longer tracking {}", untracked.join(", ")))
}

/// Captures what there is to capture, or waits until the running engine has. Returns whether all is captured; `false`
/// when the running engine did not get on with it for a while.
pub(crate) fn capture(file: &Path) -> anyhow::Result<bool> {
    /// How long the running engine may make no progress before it is left to itself.
    const PATIENCE: Duration = Duration::from_secs(10);
    let engine = match Engine::open(file, Config::default()) {
        Ok(engine) => Some(engine),
        Err(Error::Locked { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let progress = output::Progress::begin("capturing the rows that are there".to_owned());
    let (mut last, mut since) = (u64::MAX, Instant::now());
    let done = loop {
        let pending: u64 = driftless::status(file)?.tables.iter().map(|table| table.pending).sum();
        if pending == 0 {
            break true;
        }
        if pending != last {
            (last, since) = (pending, Instant::now());
            progress.say(format!("capturing the rows that are there: {pending} to go"));
        }
        if engine.is_none() && since.elapsed() > PATIENCE {
            break false;
        }
        match &engine {
            Some(engine) if pending < 50_000 => engine.capture()?,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    if let Some(engine) = engine {
        engine.capture()?;
        engine.close();
    }
    drop(progress);
    Ok(done)
}
