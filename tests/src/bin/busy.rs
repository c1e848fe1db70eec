//! What an app notices of the sidecar on its file: transactions that fail, and how soon an edit shows on the other side.
//!
//! ```text
//! cargo run --release -p driftless-tests --bin busy                     every line of the table, some minutes
//! cargo run --release -p driftless-tests --bin busy -- --seconds 10     sooner, and rougher
//! DRIFTLESS_COMMANDS=old/target/release cargo run --release …           the same, of commands built elsewhere
//! ```
//!
//! Two files, a sidecar on each, a relay on loopback: real processes all. The app is a process of its own (this program,
//! run again) with SQLite's defaults, WAL and a busy timeout of 5 seconds. Each of its transactions reads a row, computes
//! for a while as an ORM does, and writes the row. A deferred transaction (plain BEGIN, what most frameworks use) fails
//! at its write if anybody committed since its read, and at once, whatever the timeout. One that fails is not repeated: the
//! app goes on with the next.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use driftless_tests::{Commands, Process};
use rusqlite::{Connection, TransactionBehavior, params};

/// Rows of the table; each side writes any of them.
const ROWS: usize = 100;
/// An edit that has not arrived by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints how many of an app's transactions fail beside a sidecar, and how soon an edit is visible on another replica.
#[derive(Parser)]
struct Arguments {
    /// How long each line of the table is measured, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How long a transaction computes between its read and its write, in microseconds
    #[arg(long, default_value_t = 200)]
    think: u64,
    /// Only lines whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the files are made: the disk decides how long a commit takes
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Be the app on this file, and print its counts
    #[arg(long, hide = true)]
    app: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "deferred")]
    begin: Begin,
    #[arg(long, hide = true, default_value = "tight")]
    pace: Pace,
}

/// How the app begins its transactions.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Begin {
    Deferred,
    Immediate,
}

/// How often the app writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pace {
    /// One transaction right after the other.
    Tight,
    /// Each is followed by 2 ms of rest: an import, a queue that is worked off.
    Two,
    /// The same with 5 ms.
    Five,
    /// Twenty a second: each is followed by 50 ms of rest.
    Twenty,
    /// Twenty a second on average, at random moments, as the requests of many users come.
    Random,
}

impl Pace {
    fn rest(self) -> Duration {
        let mean = Duration::from_millis(50);
        match self {
            Pace::Tight => Duration::ZERO,
            Pace::Two => Duration::from_millis(2),
            Pace::Five => Duration::from_millis(5),
            Pace::Twenty => mean,
            Pace::Random => mean.mul_f64(-(1.0 - fastrand::f64()).ln()),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.app {
        Some(file) => be_the_app(file, &arguments),
        None => measure(&arguments),
    }
}

/// Writes until the time is over, then prints how many transactions were begun and how many failed.
fn be_the_app(file: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let mut connection = connect(file)?;
    let behavior = match arguments.begin {
        Begin::Deferred => TransactionBehavior::Deferred,
        Begin::Immediate => TransactionBehavior::Immediate,
    };
    let (begun, whole) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let (mut count, mut failed) = (0u64, 0u64);
    while begun.elapsed() < whole {
        count += 1;
        match transaction(&mut connection, behavior, Duration::from_micros(arguments.think)) {
            Ok(()) => {}
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => failed += 1,
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(arguments.pace.rest());
    }
    println!("{count} {failed}");
    Ok(())
}

fn transaction(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    think: Duration,
) -> rusqlite::Result<()> {
    let row = fastrand::usize(..ROWS);
    let tx = connection.transaction_with_behavior(behavior)?;
    let n: i64 =
        tx.query_row("SELECT n FROM notes WHERE id = ?1", [format!("row {row}")], |row| row.get(0))?;
    let begun = Instant::now();
    while begun.elapsed() < think {
        std::hint::spin_loop();
    }
    tx.execute("UPDATE notes SET n = ?2 WHERE id = ?1", params![format!("row {row}"), n + 1])?;
    tx.commit()
}

fn connect(file: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    Ok(connection)
}

/// Two files in one space. What runs ends when this is dropped.
struct Pair {
    files: [PathBuf; 2],
    sidecars: Vec<Process>,
    _relay: Process,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new(folder: Option<&Path>) -> anyhow::Result<Self> {
        let commands = Commands::get();
        let folder = match folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }
        .context("no folder for the files")?;
        let files = ["a.db", "b.db"].map(|name| folder.path().join(name));
        let connection = connect(&files[0])?;
        connection.execute_batch("CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL);")?;
        for row in 0..ROWS {
            connection.execute("INSERT INTO notes VALUES (?1, 0)", [format!("row {row}")])?;
        }
        connection.execute("INSERT INTO notes VALUES ('watched', 0)", [])?;
        drop(connection);
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let (relay, port) = commands.relay(&folder.path().join("relay"), 0);
        let url = format!("ws://127.0.0.1:{port}/busy");
        commands.succeed(["track", &text(&files[0])?, "--all"]);
        commands.succeed(["sync", &text(&files[0])?, &url, "--once"]);
        commands.succeed(["clone", &url, &text(&files[1])?]);
        let sidecars = files.iter().map(|file| commands.sync(file, &url)).collect();
        Ok(Self { files, sidecars, _relay: relay, _folder: folder })
    }

    /// CPU time of both sidecars so far; zero where the system does not tell.
    fn cpu(&self) -> f64 {
        self.sidecars.iter().map(|sidecar| cpu_of(sidecar.id())).sum()
    }
}

fn cpu_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime are the 14th and 15th field of all, in hundredths of a second.
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn start_app(file: &Path, begin: Begin, pace: Pace, arguments: &Arguments) -> anyhow::Result<Child> {
    let word = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    Command::new(std::env::current_exe()?)
        .args(["--begin", &word(&|| begin.to_possible_value())])
        .args(["--pace", &word(&|| pace.to_possible_value())])
        .args(["--seconds", &arguments.seconds.to_string(), "--think", &arguments.think.to_string()])
        .arg("--app")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .context("the app does not start")
}

/// How many transactions an app began, and how many of them failed.
fn counts(app: Child) -> anyhow::Result<(u64, u64)> {
    let output = app.wait_with_output()?;
    ensure!(output.status.success(), "the app ended with {}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.split_whitespace().map(str::parse);
    let (count, failed) = numbers.next().zip(numbers.next()).context("the app says two numbers")?;
    Ok((count?, failed?))
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    println!("{:<58} {:>9} {:>8} {:>12}", "the app's transactions", "a second", "failed", "per 1,000");
    let paces = [
        (Pace::Tight, "tight loop"),
        (Pace::Two, "2 ms of rest"),
        (Pace::Five, "5 ms of rest"),
        (Pace::Twenty, "20 a second"),
        (Pace::Random, "20 at random"),
    ];
    for (begin, kind) in [(Begin::Deferred, "deferred"), (Begin::Immediate, "immediate")] {
        for (pace, often) in paces {
            for (apps, beside) in [(0, "no sidecar"), (1, "sidecar"), (2, "sidecar, both sides write")] {
                let name = format!("{kind}, {often}, {beside}");
                if name.contains(&arguments.only) {
                    failures(&name, begin, pace, apps, arguments)?;
                }
            }
        }
    }
    println!(
        "\n{:<58} {:>9} {:>8} {:>12} {:>8}",
        "an edit is visible on the other side", "edits", "p50 ms", "p99 ms", "CPU s"
    );
    for (pace, name) in [
        (None, "visible: quiet files"),
        (Some(Pace::Twenty), "visible: apps on both sides, 20 a second"),
        (Some(Pace::Tight), "visible: apps on both sides, tight loop"),
    ] {
        if name.contains(&arguments.only) {
            latency(name, pace, arguments)?;
        }
    }
    Ok(())
}

/// `apps`: how many apps write. With 0, one app writes and no sidecar runs.
fn failures(name: &str, begin: Begin, pace: Pace, apps: usize, arguments: &Arguments) -> anyhow::Result<()> {
    let mut pair = Pair::new(arguments.folder.as_deref())?;
    if apps == 0 {
        pair.sidecars.clear();
    }
    let apps: Vec<Child> = pair.files[..apps.max(1)]
        .iter()
        .map(|file| start_app(file, begin, pace, arguments))
        .collect::<anyhow::Result<_>>()?;
    for app in apps {
        let (count, failed) = counts(app)?;
        let (rate, share) =
            (count as f64 / arguments.seconds as f64, 1000.0 * failed as f64 / count.max(1) as f64);
        println!("{name:<58} {rate:>9.1} {failed:>8} {share:>12.2}");
    }
    Ok(())
}

/// Edits one row of the first file again and again and watches for it in the second.
fn latency(name: &str, pace: Option<Pace>, arguments: &Arguments) -> anyhow::Result<()> {
    let pair = Pair::new(arguments.folder.as_deref())?;
    let apps: Vec<Child> = match pace {
        Some(pace) => pair
            .files
            .iter()
            .map(|file| start_app(file, Begin::Immediate, pace, arguments))
            .collect::<anyhow::Result<_>>()?,
        None => Vec::new(),
    };
    let (mut from, to) = (connect(&pair.files[0])?, connect(&pair.files[1])?);
    // SQLite's own timeout looks too rarely to find the lock free beside an app in a tight loop.
    from.busy_handler(Some(|looks| {
        std::thread::sleep(Duration::from_millis(1));
        looks < 60_000
    }))?;
    let (begun, whole, cpu) = (Instant::now(), Duration::from_secs(arguments.seconds), pair.cpu());
    let mut taken = Vec::new();
    while begun.elapsed() < whole {
        std::thread::sleep(Duration::from_millis(fastrand::u64(200..400)));
        let n = taken.len() as i64 + 1;
        from.execute("UPDATE notes SET n = ?1 WHERE id = 'watched'", [n])?;
        let edited = Instant::now();
        while to.query_row("SELECT n FROM notes WHERE id = 'watched'", [], |row| row.get::<_, i64>(0))? != n {
            ensure!(edited.elapsed() < PATIENCE, "edit {n} never arrived");
            std::thread::sleep(Duration::from_micros(300));
        }
        taken.push(edited.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu = pair.cpu() - cpu;
    for app in apps {
        counts(app)?;
    }
    taken.sort_by(f64::total_cmp);
    let at =
        |share: f64| taken.get(((taken.len() as f64 * share) as usize).min(taken.len().saturating_sub(1)));
    let (half, most) = (at(0.5).context("no edit was made")?, at(0.99).context("no edit was made")?);
    println!("{name:<58} {:>9} {half:>8.1} {most:>12.1} {cpu:>8.2}", taken.len());
    Ok(())
}
