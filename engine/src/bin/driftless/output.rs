//! Printing: values, times and sizes for people and for JSON; progress on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driftless::Value;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

/// Prints a line to stdout. Fails when nobody reads it any more.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Prints JSON, indented.
pub(crate) fn json(value: &Json) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Whether stdout was closed by its reader, as `head` does: no error to speak of.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A value for people: an SQL literal, cut where it grows long, on one line.
pub(crate) fn short(value: &Value<'_>) -> String {
    const MOST: usize = 60;
    // Only so much of a large value is turned into text at all.
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(4 * MOST)].to_vec();
    let text = match value {
        Value::Text(text) => Value::Text(cut(text).into()).to_string(),
        Value::Blob(blob) => Value::Blob(cut(blob).into()).to_string(),
        other => other.to_string(),
    };
    let text = text.replace(['\n', '\r', '\t'], " ");
    let length = value.payload_len();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({length} bytes)", &text[..end]),
        None => text,
    }
}

/// A name for people: quoted if it contains spaces, line breaks or other characters that could be misread.
pub(crate) fn name(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.$#".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { format!("{name:?}") }
}

/// A text as one word of a shell command.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Names with commas between.
pub(crate) fn names(names: &[String]) -> String {
    names.iter().map(|each| name(each)).collect::<Vec<_>>().join(", ")
}

/// Tables with a reason each, as one line a reason. In the order of the first of each.
pub(crate) fn by_reason<'a>(tables: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (table, reason) in tables {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, tables)) => tables.push(name(table)),
            None => reasons.push((reason, vec![name(table)])),
        }
    }
    let line = |(reason, tables): (String, Vec<String>)| match &*tables {
        [table] => format!("table {table}: {reason}"),
        _ => format!("{} tables ({}), each for the same reason: {reason}", tables.len(), tables.join(", ")),
    };
    reasons.into_iter().map(line).collect()
}

/// `1 row`, `2 rows`.
pub(crate) fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("{n} {one}") } else { format!("{n} {one}s") }
}

/// A duration for people, in one unit.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

/// How long ago a time was, in milliseconds since 1970; nothing for one in the future.
pub(crate) fn since(millis: i64) -> Duration {
    Duration::from_millis(now().saturating_sub(millis).try_into().unwrap_or(0))
}

/// How long ago, for people.
pub(crate) fn ago(millis: i64) -> String {
    match u64::try_from(now().saturating_sub(millis)) {
        Ok(past) => format!("{} ago", duration(Duration::from_millis(past))),
        Err(_) => "in the future, by that clock".to_owned(),
    }
}

/// A size for people.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// How often progress is printed if stderr is not a terminal.
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Whether progress is drawn as it goes on, on a terminal.
pub(crate) fn is_drawn() -> bool {
    io::stderr().is_terminal()
}

/// Tells that something goes on: drawn on a terminal, a line on stderr now and then elsewhere. Ends when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    message: Arc<Mutex<String>>,
    /// Dropped to end the thread that tells.
    _telling: Option<mpsc::Sender<()>>,
}

impl Progress {
    /// Begins, saying `message`.
    pub(crate) fn begin(message: String) -> Self {
        let message = Arc::new(Mutex::new(message));
        let said = message.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if is_drawn() {
            let bar = ProgressBar::new_spinner().with_message(said);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            return Self { bar, message, _telling: None };
        }
        let (telling, ended) = mpsc::channel::<()>();
        let (told, begun) = (message.clone(), Instant::now());
        std::thread::spawn(move || {
            while ended.recv_timeout(TOLD_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                let message = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                eprintln!("driftless: {message} ({})", duration(begun.elapsed()));
            }
        });
        Self { bar: ProgressBar::hidden(), message, _telling: Some(telling) }
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message.clone());
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
