//! `driftless track`, `driftless set-kind` and `driftless untrack`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use driftless::{ColumnKind, Config, Engine, Error, Refusal, Selection, TableOptions, Tracked};
use serde_json::json;

use crate::output;

#[derive(Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["tables", "all"])))]
pub(crate) struct TrackArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// The tables to track; or --all
    tables: Vec<String>,
    /// Track every table that can be, and from now on every one that is made later. Those that cannot be are named with
    /// the reason (exit code 9). Left out are what migration tools, sessions and caches keep, and what was untracked by
    /// its name: `track FILE TABLE` tracks those
    #[arg(long)]
    all: bool,
    /// With --all: end that rule. Tables that are made later are not tracked by themselves; those that are stay so
    #[arg(long, requires = "all", conflicts_with_all = ["allow_integer_key", "deletes_win", "counter", "text"])]
    off: bool,
    /// Allow INTEGER PRIMARY KEY tables. Two machines that both let SQLite draw the id will create the same one, online
    /// too, and the two rows will be merged into one; AUTOINCREMENT does not help. Only for ids that your app draws so
    /// that no two machines draw the same; else use UUID keys
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
    pub(crate) json: bool,
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
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct RenameColumnArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// A table that is tracked
    table: String,
    /// The column's name before. The table may have another column of that name now, if the one of the new name came later
    old: String,
    /// Its name from now on
    new: String,
    /// Answer "no" to the question that `status` asks: it is a different column. Nothing else changes
    #[arg(long)]
    no: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn kind(name: &str) -> Result<ColumnKind, String> {
    name.parse()
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["tables", "all"])))]
pub(crate) struct UntrackArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// The tables to cease tracking; or --all. `track --all` leaves them out until they are tracked by their names
    tables: Vec<String>,
    /// Cease to track every table, those that are made later too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What whoever clones should know of the tables that `track --all` leaves out.
pub(crate) const BOOKKEEPING_STAYS: &str = "tables of migration tools, sessions and caches are no part of a space: tell your app's migration tool that the \
     tables are there already, before it makes them again (migrate --fake, alembic stamp head and the like)";

/// The exit code where tables were left out because they cannot be tracked as they are.
const LEFT_OUT: u8 = 9;

pub(crate) fn track(args: &TrackArgs) -> anyhow::Result<ExitCode> {
    if args.off {
        return end_rule(args).map(|()| ExitCode::SUCCESS);
    }
    let names: Vec<&str> = args.tables.iter().map(String::as_str).collect();
    let selection = if args.all { Selection::All } else { Selection::Named(&names) };
    let tracked = driftless::track(&args.file, selection, options(args))?;
    warn(args, &tracked);
    let captured = capture(&args.file)?;
    let is_shape = |(_, refusal): &(String, Refusal)| refusal.is_shape();
    let code = if tracked.left_out.iter().any(is_shape) { LEFT_OUT } else { 0 };
    if args.json {
        let left_out: Vec<_> = tracked
            .left_out
            .iter()
            .map(|(table, refusal)| {
                json!({ "table": table, "reason": refusal.to_string(), "shape": refusal.is_shape() })
            })
            .collect();
        output::json(&json!({
            "tracked": tracked.tables,
            "left_out": left_out,
            "captured": captured,
            "tracks_all": driftless::status(&args.file)?.tracks_all,
            "switched_to_wal": tracked.switched_to_wal,
        }))?;
        return Ok(code.into());
    }
    if tracked.tables.is_empty() {
        output::line("no table was tracked")?;
        return Ok(code.into());
    }
    let tables = output::count(tracked.tables.len() as u64, "table");
    output::line(&format!("tracking {tables}: {}", output::names(&tracked.tables)))?;
    if args.all {
        output::line(
            "tables that are made later are tracked too; `driftless track FILE --all --off` ends that",
        )?;
    }
    if !captured {
        output::line("the engine that has the file goes on capturing the rows that are there")?;
    }
    Ok(code.into())
}

/// Ends the rule that `track --all` made. Its JSON has the keys of the other JSON of `track`.
fn end_rule(args: &TrackArgs) -> anyhow::Result<()> {
    driftless::end_track_all(&args.file)?;
    if !args.json {
        return output::line(
            "tables that are made from now on are not tracked by themselves; those that are stay so",
        );
    }
    let status = driftless::status(&args.file)?;
    output::json(&json!({
        "tracked": [],
        "left_out": [],
        "captured": status.waits.to_capture == 0,
        "tracks_all": status.tracks_all,
        "switched_to_wal": false,
    }))
}

fn options(args: &TrackArgs) -> TableOptions {
    let mut options =
        if args.allow_integer_key { TableOptions::integer_key() } else { TableOptions::default() };
    if args.deletes_win {
        options = options.deletes_win();
    }
    options = args.counter.iter().fold(options, TableOptions::counter);
    args.text.iter().fold(options, TableOptions::text)
}

/// Says what was left out, and what of the rest its user should know.
fn warn(args: &TrackArgs, tracked: &Tracked) {
    for line in output::by_reason(tracked.left_out.iter().map(|(table, why)| (&**table, why.to_string()))) {
        eprintln!("driftless: left out {line}");
    }
    for line in output::by_reason(tracked.doubtful.iter().map(|(table, why)| (&**table, why.to_string()))) {
        eprintln!("driftless: tracked as you asked, but it may be better not to: {line}");
    }
    if tracked.switched_to_wal {
        eprintln!(
            "driftless: '{}' is switched to WAL mode, for your app too; an app that sets another journal_mode keeps the \
             engine from working",
            args.file.display()
        );
    }
}

pub(crate) fn set_kind(args: &SetKindArgs) -> anyhow::Result<()> {
    driftless::status(&args.file)?;
    // What was written before is captured as what it was then.
    let mut captured = capture(&args.file)?;
    driftless::set_kind(&args.file, &args.table, &args.column, args.kind)?;
    captured &= capture(&args.file)?;
    if args.json {
        return output::json(&json!({
            "table": args.table,
            "column": args.column,
            "kind": args.kind,
            "captured": captured,
        }));
    }
    output::line(&format!("'{}' of '{}' is now a {}", args.column, args.table, args.kind))
}

pub(crate) fn rename_column(args: &RenameColumnArgs) -> anyhow::Result<()> {
    driftless::status(&args.file)?;
    // What was written before is captured under the name that it had.
    let mut captured = capture(&args.file)?;
    if args.no {
        driftless::deny_rename(&args.file, &args.table, &args.old, &args.new)?;
    } else {
        driftless::rename_column(&args.file, &args.table, &args.old, &args.new)?;
    }
    captured &= capture(&args.file)?;
    if args.json {
        return output::json(&json!({
            "table": args.table,
            "old": args.old,
            "new": args.new,
            "renamed": !args.no,
            "captured": captured,
        }));
    }
    if args.no {
        return output::line(&format!(
            "'{}' of '{}' is another column than '{}'; nothing is asked about it any more",
            args.new, args.table, args.old
        ));
    }
    output::line(&format!("'{}' of '{}' is called '{}' from now on", args.old, args.table, args.new))
}

pub(crate) fn untrack(args: &UntrackArgs) -> anyhow::Result<()> {
    // Nothing that was written before is to be forgotten.
    driftless::status(&args.file)?;
    if !capture(&args.file)? {
        anyhow::bail!(
            "nothing was untracked: an engine has '{0}' and does not get on with capturing what was written, which would be lost to \
             the other files; see what keeps it with `driftless status {1}`, and try again",
            args.file.display(),
            output::shell_word(&args.file.to_string_lossy()),
        );
    }
    let untracked = if args.all {
        driftless::untrack_all(&args.file)?
    } else {
        let names: Vec<&str> = args.tables.iter().map(String::as_str).collect();
        driftless::untrack(&args.file, &names)?
    };
    if args.json {
        return output::json(&json!({
            "untracked": untracked,
            "captured": true,
            "tracks_all": driftless::status(&args.file)?.tracks_all,
        }));
    }
    if untracked.is_empty() {
        return output::line("no table was tracked");
    }
    output::line(&format!("no longer tracking {}", output::names(&untracked)))
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
        let status = match &engine {
            Some(engine) => engine.status()?,
            None => driftless::status(file)?,
        };
        let pending = status.waits.to_capture;
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
