//! What is done about what differs. Nothing here decides a value: rows are listed to be captured or shown, and the
//! engine's own turn does the rest.

use driftless_protocol::{RowKey, Value};
use rusqlite::Transaction;

use crate::env::now;
use crate::error::Result;
use crate::replica::Replica;
use crate::store::dirty::Why;
use crate::store::tables::{self, State};
use crate::store::{Bind, backlog, claims, conflicts, documents, inbox, outbox, parked, quote, texts};

/// One remedy.
#[derive(Debug, Clone)]
pub(super) enum Remedy {
    /// A row of a table says what its document does not: somebody wrote it, so it is captured.
    Look { table: i64, key: Vec<Value<'static>> },
    /// A document says what its table, or a list of ours, does not: it is shown again.
    Show { table: i64, key: RowKey },
    /// A row is listed, as parked or in conflict, that has no document.
    Unlist { table: i64, key: Vec<u8> },
    /// A document that cannot be read: it is dropped, and the row found anew.
    Forget { table: i64, key: Value<'static> },
    /// Row keys without documents, and documents without keys.
    Tidy,
    /// Judge all that is parked.
    JudgeAgain,
    /// A changeset in the inbox that cannot be read: it comes again.
    DropWaiting(i64),
    /// A snapshot that cannot be read: it comes again.
    DropSnapshots,
    /// The outbox is not what it was: the relay takes a snapshot instead.
    EmptyOutbox,
    /// An index of the user's is not what its table is.
    Reindex(String),
    /// What is set aside is tried again.
    TryAgain,
    /// This file can no longer number its changesets: it becomes a new replica.
    StartOver,
}

/// Applies remedies and lets the engine do its part. Returns what was done.
pub(super) fn apply(replica: &mut Replica, remedies: &[Remedy]) -> Result<Vec<String>> {
    let mut done = Done::default();
    replica.mend(|tx| {
        for remedy in remedies {
            one(tx, remedy, &mut done)?;
        }
        Ok(remedies.iter().any(|remedy| matches!(remedy, Remedy::StartOver)))
    })?;
    replica.capture_settled()?;
    if remedies.iter().any(|remedy| matches!(remedy, Remedy::TryAgain)) {
        done.healed = replica.try_again()? as u64;
    }
    Ok(done.sentences())
}

#[derive(Debug, Default)]
struct Done {
    captured: u64,
    shown: u64,
    unlisted: u64,
    dropped: u64,
    healed: u64,
    others: Vec<String>,
}

impl Done {
    fn sentences(self) -> Vec<String> {
        let counted = [
            (self.captured, "captured what the tables say of rows: "),
            (self.shown, "showed again what documents say of rows: "),
            (self.healed, "applied what was set aside: "),
            (self.unlisted, "took rows without documents off our lists: "),
            (
                self.dropped,
                "dropped documents that cannot be read, and made them anew from the tables; verify with the relay's \
                 address brings back what only others had: ",
            ),
        ];
        let counted = counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what}{n}"));
        let mut others = self.others;
        others.dedup();
        counted.chain(others).collect()
    }
}

impl Done {
    fn say(&mut self, what: &str) {
        self.others.push(what.to_owned());
    }
}

fn one(tx: &Transaction<'_>, remedy: &Remedy, done: &mut Done) -> Result<()> {
    match remedy {
        Remedy::Look { table, key } => {
            done.captured += 1;
            backlog::look_at(tx, *table, key, Why::Again, now())
        }
        Remedy::Show { table, key } => {
            done.shown += 1;
            backlog::refresh(tx, *table, key)
        }
        Remedy::Unlist { table, key } => {
            done.unlisted += 1;
            unlist(tx, *table, key)
        }
        Remedy::Forget { table, key } => {
            done.dropped += 1;
            forget(tx, *table, key)
        }
        Remedy::Tidy => {
            done.say("took row keys without documents, and documents without row keys, away");
            documents::tidy(tx)
        }
        Remedy::JudgeAgain => {
            done.say("judged the rows that are parked, and their tables, again");
            judge_again(tx)
        }
        Remedy::DropWaiting(id) => {
            done.say("dropped changesets from the inbox that cannot be read: they come again");
            inbox::forget_stored(tx, *id)
        }
        Remedy::DropSnapshots => {
            done.say("dropped a snapshot that cannot be read: it comes again");
            inbox::forget_snapshots(tx)
        }
        Remedy::EmptyOutbox => {
            done.say(
                "emptied the outbox, which had gaps or damage: the next sync sends the documents themselves",
            );
            outbox::clear(tx)
        }
        Remedy::Reindex(index) => {
            match tx.execute_batch(&format!("REINDEX {}", quote(index))) {
                Ok(()) => done.say(&format!("made the index {index} anew")),
                Err(error) => done.say(&format!("the index {index} cannot be made anew: {error}")),
            }
            Ok(())
        }
        Remedy::TryAgain => Ok(()),
        Remedy::StartOver => {
            done.say("became a new replica: all rows are captured anew, and all documents come again");
            Ok(())
        }
    }
}

/// Takes a row off the lists of rows that are in conflict, parked, or hold UNIQUE values while they are.
fn unlist(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<()> {
    conflicts::remove(tx, table, key)?;
    parked::remove_as(tx, table, key)?;
    claims::remove_as(tx, table, key)
}

/// Drops a row's document and those of its texts.
fn forget(tx: &Transaction<'_>, table: i64, key: &Value<'static>) -> Result<()> {
    if let Value::Blob(key) = key {
        texts::forget(tx, table, key)?;
    }
    documents::forget(tx, table, Bind(key))
}

/// Has all that is parked judged, believing nothing of what is noted about it.
fn judge_again(tx: &Transaction<'_>) -> Result<()> {
    parked::forget_waits(tx)?;
    backlog::refresh_parked(tx)?;
    for entry in tables::all(tx)?.into_iter().filter(|entry| entry.state == State::Tracked) {
        tables::set_unjudged(tx, entry.id)?;
    }
    // What rows hold that wait for their parents is worked out anew with them.
    claims::clear(tx)
}
