//! The `driftless` command: keeps a SQLite file in agreement with others, beside an app in any language.

mod clone;
mod conflicts;
mod forget;
mod output;
mod parked;
mod status;
mod sync;
mod track;
mod verify;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use driftless::Error;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AFTER_HELP: &str = "\
Two files in agreement, in four lines (and `driftless-relay` running in another window):

  driftless track app.db --all
  driftless sync  app.db ws://127.0.0.1:7420/demo &
  driftless clone ws://127.0.0.1:7420/demo copy.db
  driftless sync  copy.db ws://127.0.0.1:7420/demo &

From then on write to either file with plain SQL, through any SQLite library.

Results go to stdout, everything else to stderr; RUST_LOG=driftless=debug says more. Every command takes
--json (sync with --once): it prints one JSON value to stdout then, and if it fails
{\"error\": {\"exit_code\": …, \"message\": …}}, with the message on stderr as well.

Exit codes: 0 done, 1 something failed, 2 wrong usage, 3 the file, its folder or a table is not fit
for it, 4 another engine has the file, 5 no connection to the relay, 6 the relay or the space refuses,
7 verify found differences that are not repaired, 8 the file was removed, or replaced by something
that cannot be used, while it was open, 9 `track --all` left tables out because of their shape,
10 to 12 what `status --check` found, 13 the file has lost what Driftless kept in it (a backup from
before `track` took its place), or `verify` found that no table is tracked.";

#[derive(Parser)]
#[command(name = "driftless", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Keeps many copies of a SQLite database in agreement with no primary.
#[derive(Subcommand)]
enum Command {
    /// Begin to track tables: their rows travel from now on, those that are there included. Switches the file to WAL
    Track(track::TrackArgs),
    /// Change what becomes of a column that is written in several places at once, for the whole space
    SetKind(track::SetKindArgs),
    /// Tell that a migration renamed a column while it made the table anew, for all replicas; renames it in this file if that has not
    /// been done. Or, with --no, that it did not, where `status` asks. A rename by ALTER TABLE is known without it
    RenameColumn(track::RenameColumnArgs),
    /// Give a table, or a column of it, up for the whole space, after it was dropped: new copies no longer get it
    Forget(forget::ForgetArgs),
    /// Cease to track tables; what others write is kept and shows when they are tracked again
    Untrack(track::UntrackArgs),
    /// Keep a file in agreement with a space on a relay, until interrupted (or once)
    Sync(sync::SyncArgs),
    /// Show how a file is doing; works while a sync runs
    Status(status::StatusArgs),
    /// List the columns in which several values stand, with who wrote them; works while a sync runs
    Conflicts(Read),
    /// List the rows that a constraint keeps out of their table, with the reason; works while a sync runs
    Parked(Read),
    /// Prove that all is there: documents against tables, and with an address against the space; --repair repairs it
    Verify(verify::VerifyArgs),
    /// Make a new file with a space's tables and rows
    Clone(clone::CloneArgs),
}

/// A file to read from.
#[derive(Args)]
struct Read {
    /// The SQLite database
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("driftless=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let command = Cli::parse().command;
    let done = match &command {
        Command::Verify(args) => return finish(&command, verify::run(args)),
        Command::Track(args) => return finish(&command, track::track(args)),
        Command::Status(args) => return finish(&command, status::run(args)),
        Command::Clone(args) => return finish(&command, clone::run(args)),
        Command::SetKind(args) => track::set_kind(args),
        Command::RenameColumn(args) => track::rename_column(args),
        Command::Forget(args) => forget::run(args),
        Command::Untrack(args) => track::untrack(args),
        Command::Sync(args) => sync::run(args),
        Command::Conflicts(args) => conflicts::run(&args.file, args.json),
        Command::Parked(args) => parked::run(&args.file, args.json),
    };
    finish(&command, done.map(|()| ExitCode::SUCCESS))
}

impl Command {
    /// Whether its result is JSON.
    fn prints_json(&self) -> bool {
        match self {
            Self::Track(args) => args.json,
            Self::Sync(args) => args.json,
            Self::Status(args) => args.json,
            Self::Conflicts(args) | Self::Parked(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Clone(args) => args.json,
            Self::SetKind(args) => args.json,
            Self::RenameColumn(args) => args.json,
            Self::Forget(args) => args.json,
            Self::Untrack(args) => args.json,
        }
    }

    /// The file that it works on.
    fn file(&self) -> &Path {
        match self {
            Self::Track(args) => &args.file,
            Self::SetKind(args) => &args.file,
            Self::RenameColumn(args) => &args.file,
            Self::Forget(args) => &args.file,
            Self::Untrack(args) => &args.file,
            Self::Sync(args) => &args.file,
            Self::Status(args) => &args.file,
            Self::Conflicts(args) | Self::Parked(args) => &args.file,
            Self::Verify(args) => &args.file,
            Self::Clone(args) => args.file.as_deref().unwrap_or(Path::new("a copy")),
        }
    }
}

fn finish(command: &Command, done: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match done {
        Ok(code) => return code,
        Err(error) if output::is_broken_pipe(&error) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    let text = match error.downcast_ref::<Error>() {
        // Errors of the library that do not name the file; they say their causes themselves.
        Some(error @ (Error::Sqlite { .. } | Error::Damaged { .. } | Error::Stopped)) => {
            format!("'{}': {error}", command.file().display())
        }
        Some(error) => match command {
            Command::Verify(args) => verify::explain(args, error),
            _ => error.to_string(),
        },
        None => format!("{error:#}"),
    };
    let code = exit_code(&error);
    eprintln!("driftless: {text}");
    if command.prints_json() {
        // If nobody reads stdout any more, the message is still on stderr.
        let _ = output::json(&json!({ "error": { "exit_code": code, "message": text } }));
    }
    ExitCode::from(code)
}

/// The exit code when nothing of the file travels, though its user counts on that.
const NOTHING_TRACKED: u8 = 13;

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::BadUrl { .. }) => 2,
        Some(
            Error::NoSuchFile(_)
            | Error::NoSuchFolder { .. }
            | Error::FileExists(_)
            | Error::LogLeft(_)
            | Error::NotADatabase(_)
            | Error::HardLinked(_)
            | Error::NotInitialized(_)
            | Error::ReadOnly(_)
            | Error::NewerFormat { .. }
            | Error::OlderFormat { .. }
            | Error::NotTrackable { .. }
            | Error::NotTracked(_)
            | Error::NoSuchColumn(_)
            | Error::KindRefused { .. }
            | Error::CannotRename { .. }
            | Error::NothingAsked { .. }
            | Error::CannotForget { .. }
            | Error::NothingCloned(_)
            | Error::Contradiction { .. },
        ) => 3,
        Some(Error::TrackingLost { .. }) => NOTHING_TRACKED,
        Some(Error::Locked { .. }) => 4,
        Some(Error::Offline { .. } | Error::TimedOut(_)) => 5,
        Some(Error::FileReplaced { .. } | Error::FileAway { .. }) => 8,
        Some(
            Error::Refused { .. } | Error::WrongSpace { .. } | Error::OtherSpace { .. } | Error::SyncEnded(_),
        ) => 6,
        _ => 1,
    }
}
