//! `driftless sync`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use driftless::{
    Config, Engine, Error, FeedEvent, Health, Origin, Status, SyncConfig, SyncHandle, SyncState,
};
use serde_json::json;

use crate::output;

/// How long stopping may take, sending included. What is cut off then goes on when the file is next opened.
const LAST: Duration = Duration::from_secs(10);
/// How long to go on sending when told to stop.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct SyncArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// Where the space is: ws://host:port/<space> or wss://…
    url: String,
    /// Exit as soon as both sides agree
    #[arg(long)]
    once: bool,
    /// With --once: give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "once")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// A token that grants access, where the relay asks for one
    #[arg(long)]
    token: Option<String>,
    /// The space may have another name than the one that this file was last synced with, and is made if it does not exist. Else
    /// such an address is taken for mistyped
    #[arg(long)]
    new_space: bool,
    /// With --once: print JSON
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &SyncArgs) -> anyhow::Result<()> {
    let config = SyncConfig::new(&args.url).token(args.token.clone()).new_space(args.new_space);
    config.check()?;
    let mut settings = Config::default();
    // Once the engine has made its tables again, nobody can tell that they were lost.
    settings.refuse_lost = true;
    let engine = Engine::open(&args.file, settings)?;
    let sync = engine.sync(config)?;
    if args.once { once(args, engine, sync) } else { until_interrupted(args, engine, sync) }
}

fn once(args: &SyncArgs, engine: Engine, sync: SyncHandle) -> anyhow::Result<()> {
    let begun = Instant::now();
    let what = format!("syncing {} with {}", args.file.display(), args.url);
    let progress = output::Progress::begin(what.clone());
    agree(args, &engine, &sync, |rows, unsent| {
        progress.say(format!("{what}: {rows} here, {unsent} to send"))
    })?;
    sync.stop();
    let status = engine.status()?;
    engine.close();
    drop(progress);
    if args.json { tell_agreed_as_json(args, &status) } else { tell_agreed(args, &status, begun.elapsed()) }
}

/// Waits until both sides agree. `tell` is told now and then how many rows are here, and how many changesets are to be sent.
fn agree(
    args: &SyncArgs,
    engine: &Engine,
    sync: &SyncHandle,
    tell: impl Fn(String, String),
) -> anyhow::Result<()> {
    let (health, mut busy) = (engine.health(), Busy::default());
    let synced = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| sync.sync_now(Duration::from_secs(args.timeout)));
        // Where nothing is drawn, nobody sees the numbers before the first line.
        let first = if output::is_drawn() { Duration::from_secs(1) } else { output::TOLD_EVERY / 2 };
        let mut next = Instant::now() + first;
        while !syncing.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            let now = health.borrow().clone();
            busy.tell(&args.file, &now);
            let asked = Instant::now();
            if asked >= next
                && let Ok(status) = driftless::status(&args.file)
            {
                let rows = status.tables.iter().map(|table| table.documents).sum();
                tell(output::count(rows, "row"), output::count(status.unsent.changesets, "changeset"));
                // Large files take a while to look at: most of the time is left for the work.
                next = Instant::now() + first.max(20 * asked.elapsed());
            }
        }
        syncing.join()
    });
    match synced {
        Ok(synced) => Ok(synced?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn tell_agreed_as_json(args: &SyncArgs, status: &Status) -> anyhow::Result<()> {
    output::json(&json!({
        "file": args.file.display().to_string(),
        "url": args.url,
        "agree": true,
        "tracked": crate::status::tracked(status).count(),
        "space": status.space.map(|space| space.to_string()),
        "conflicts": status.conflicts,
        "parked": parked(status),
        "quarantined": status.quarantined,
        "untracked": status.untracked.iter().map(|untracked| &untracked.table).collect::<Vec<_>>(),
    }))
}

fn tell_agreed(args: &SyncArgs, status: &Status, took: Duration) -> anyhow::Result<()> {
    let took = output::duration(took);
    if tell_nothing_tracked(&args.file, status) {
        output::line(&format!("{} has met {} ({took})", args.file.display(), args.url))?;
    } else {
        output::line(&format!("{} and {} agree ({took})", args.file.display(), args.url))?;
    }
    tell_untracked(status);
    if parked(status) > 0 {
        let rows = output::count(parked(status), "row");
        output::line(&format!("parked: {rows}; see: driftless parked {}", args.file.display()))?;
    }
    if status.quarantined > 0 {
        let aside = output::count(status.quarantined, "changeset");
        output::line(&format!("set aside: {aside} that could not be applied; see `driftless status`"))?;
    }
    if status.conflicts > 0 {
        let columns = output::count(status.conflicts, "column");
        output::line(&format!("in conflict: {columns}; list them with `driftless conflicts`"))?;
    }
    Ok(())
}

/// How many rows are parked.
fn parked(status: &Status) -> u64 {
    status.tables.iter().map(|table| table.parked).sum()
}

fn until_interrupted(args: &SyncArgs, engine: Engine, sync: SyncHandle) -> anyhow::Result<()> {
    let mut feed = engine.changes()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = engine.status()?;
    tell_nothing_tracked(&args.file, &status);
    tell_untracked(&status);
    drop(status);
    let outcome = runtime.block_on(async {
        let mut interrupted = std::pin::pin!(interrupt());
        let (mut state, mut health) = (sync.watch(), engine.health());
        state.mark_changed();
        let mut tally = Tally::default();
        let mut busy = Busy::default();
        loop {
            tokio::select! {
                signal = &mut interrupted => break signal.map_err(anyhow::Error::from),
                changed = state.changed() => {
                    let now = state.borrow_and_update().clone();
                    if changed.is_err() || !tell(&args.url, &now) {
                        break Err(match now {
                            SyncState::Refused(reason) => Error::SyncEnded(reason),
                            _ => Error::Stopped,
                        }
                        .into());
                    }
                }
                Ok(()) = health.changed() => {
                    let now = health.borrow_and_update().clone();
                    match now {
                        Health::Stopped(_) => break Err(Error::Stopped.into()),
                        Health::Ailing(why) => eprintln!("driftless: '{}': {why}; trying again", args.file.display()),
                        now => busy.tell(&args.file, &now),
                    }
                }
                event = feed.next() => tally.add(event),
                () = tally.due() => tally.print(),
            }
        }
    });
    let outcome = outcome.map_err(|error| why_ended(&engine, error));
    end_within(LAST);
    if outcome.is_ok() && sync.state() == SyncState::Online {
        // What was written just before the signal still goes out, if the relay is there.
        let _ = sync.sync_now(FAREWELL);
    }
    sync.stop();
    engine.close();
    outcome
}

/// Says that no table is tracked, if none is. Returns whether it did.
fn tell_nothing_tracked(file: &Path, status: &Status) -> bool {
    let nothing = crate::status::nothing_tracked(file, status);
    if let Some(sentence) = &nothing {
        eprintln!("driftless: {sentence}");
    }
    nothing.is_some()
}

/// Names the tables of which nothing travels.
fn tell_untracked(status: &Status) {
    for line in crate::status::untracked(status) {
        eprintln!("driftless: not tracked: {line}");
    }
}

/// The error that ended the engine, if one did; else what is known otherwise.
fn why_ended(engine: &Engine, otherwise: anyhow::Error) -> anyhow::Error {
    if !matches!(otherwise.downcast_ref(), Some(Error::SyncEnded(_) | Error::Stopped)) {
        return otherwise;
    }
    match engine.capture() {
        Err(
            error @ (Error::FileReplaced { .. }
            | Error::FileAway { .. }
            | Error::TrackingLost { .. }
            | Error::Locked { .. }
            | Error::NewerFormat { .. }),
        ) => error.into(),
        _ => otherwise,
    }
}

/// Says how the connection is. Returns whether it goes on.
fn tell(url: &str, state: &SyncState) -> bool {
    match state {
        SyncState::Online => eprintln!("driftless: online with {url}"),
        SyncState::Offline { why, retry_in } => {
            eprintln!("driftless: offline: {why}; trying again in {}", output::duration(*retry_in));
        }
        SyncState::Refused(_) | SyncState::Stopped => return false,
        _ => {}
    }
    true
}

/// Whether the file is busy, so that it is said when that begins, each time it has lasted twice as long, and when it ends.
#[derive(Default)]
struct Busy {
    /// How long the file had been busy when that was last said.
    said: Option<Duration>,
}

impl Busy {
    fn tell(&mut self, file: &Path, now: &Health) {
        let file = file.display();
        match (now, self.said) {
            (Health::Busy(lasted), said) if said.is_none_or(|said| *lasted >= said * 2) => {
                self.said = Some(*lasted);
                eprintln!(
                    "driftless: '{file}' is busy: another program has held its write lock for {}; waiting for it. Nothing \
                     is lost, and changes go on when that program commits or rolls back its transaction",
                    output::duration(*lasted)
                );
            }
            (Health::Well, Some(_)) => {
                self.said = None;
                eprintln!("driftless: '{file}' is no longer busy");
            }
            _ => {}
        }
    }
}

/// Ends the process if it is still there after so long, whatever its threads do: from here on no signal would.
fn end_within(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        eprintln!(
            "driftless: stopping took more than {}: ended all the same, nothing committed is lost",
            output::duration(time)
        );
        std::process::exit(1);
    });
}

async fn interrupt() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Rows that changed, summed up so that a busy file prints a line a second and not one a row.
#[derive(Default)]
struct Tally {
    sent: u64,
    received: u64,
    since: Option<Instant>,
}

impl Tally {
    fn add(&mut self, event: Option<FeedEvent>) {
        if let Some(FeedEvent::Changed(changes)) = event {
            match changes.origin {
                Origin::Local => self.sent += changes.rows.len() as u64,
                Origin::Remote => self.received += changes.rows.len() as u64,
            }
            self.since.get_or_insert_with(Instant::now);
        }
    }

    async fn due(&self) {
        match self.since {
            Some(since) => tokio::time::sleep_until((since + Duration::from_secs(1)).into()).await,
            None => std::future::pending().await,
        }
    }

    fn print(&mut self) {
        let (sent, received) = (output::count(self.sent, "row"), output::count(self.received, "row"));
        eprintln!("driftless: {sent} captured, {received} received");
        *self = Self::default();
    }
}
