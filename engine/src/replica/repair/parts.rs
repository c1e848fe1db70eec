//! Parts of the side tables that can be made again from the rest of the file, or come again from the relay.

use std::path::Path;

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::lost::start_over;
use crate::env::now;
use crate::error::Result;
use crate::schema::{introspect, lifecycle};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{Bind, backlog, claims, conflicts, documents, inbox, outbox, parked, quote, texts};

/// A part that can be rebuilt, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A row's documents, of which one cannot be read: they are dropped. The row is captured anew, as one that has no document.
    /// `key` is the row's key as it is stored, which need not be a key.
    Documents { table: i64, key: Value<'static> },
    /// Which document belongs to which row: keys and documents that have no counterpart are dropped.
    RowKeys,
    /// The rows in conflict, the parked rows, and the UNIQUE values that these hold: all are judged again, from the documents.
    Lists,
    /// The rows that wait to be captured or shown: every row is compared with its document, and every document shown.
    Logs,
    /// The table that shows the definitions of the space: filled from their documents.
    Definitions,
    /// Changesets and snapshots that wait to be applied: those that cannot be read are dropped, and come again.
    Inbox { unreadable: Vec<i64>, snapshots: bool },
    /// The changesets that are not sent: dropped. The next sync sends the documents themselves.
    Outbox,
    /// An index of the user's, made again from its table.
    Index(String),
    /// Everything but the user's tables: the file becomes a new replica, captures its rows anew and takes all documents from the relay.
    Everything,
}

/// Rebuilds a part. Returns what was done, in words.
pub(crate) fn rebuild(tx: &Transaction<'_>, path: &Path, part: &Part) -> Result<String> {
    let done = match part {
        Part::Documents { table, key } => {
            if let Value::Blob(key) = key {
                texts::forget(tx, *table, key)?;
            }
            documents::forget(tx, *table, Bind(key))?;
            "dropped documents that cannot be read, and made them anew from the tables; verify with the relay's address \
             brings back what only others had"
        }
        Part::RowKeys => {
            documents::drop_unmatched(tx)?;
            "dropped row keys without documents, and documents without row keys"
        }
        Part::Lists => {
            rebuild_lists(tx)?;
            "made the lists of conflicts and of parked rows again"
        }
        Part::Logs => {
            compare_everything(tx)?;
            "compared all rows with their documents"
        }
        Part::Definitions => {
            backlog::refresh_table(tx, DEFINITIONS)?;
            "showed the definitions of the space again"
        }
        Part::Inbox { unreadable, snapshots } => {
            unreadable.iter().try_for_each(|id| inbox::forget_stored(tx, *id))?;
            if *snapshots {
                inbox::forget_snapshots(tx)?;
            }
            "dropped changesets and snapshots from the inbox that cannot be read: they come again"
        }
        Part::Outbox => {
            outbox::clear(tx)?;
            "emptied the outbox, which had gaps or damage: the next sync sends the documents themselves"
        }
        Part::Index(index) => {
            return Ok(match tx.execute_batch(&format!("REINDEX {}", quote(index))) {
                Ok(()) => format!("made the index {index} again"),
                Err(error) => format!("the index {index} cannot be made again: {error}"),
            });
        }
        Part::Everything => {
            start_over(tx, path)?;
            "became a new replica: all rows are captured anew, and all documents come again"
        }
    };
    Ok(done.to_owned())
}

fn rebuild_lists(tx: &Transaction<'_>) -> Result<()> {
    conflicts::clear(tx)?;
    claims::clear(tx)?;
    parked::forget_without_document(tx)?;
    parked::forget_waits(tx)?;
    for entry in tracked(tx)? {
        backlog::refresh_table(tx, entry.id)?;
        tables::set_unjudged(tx, entry.id)?;
    }
    Ok(())
}

fn compare_everything(tx: &Transaction<'_>) -> Result<()> {
    for entry in tracked(tx)?.into_iter().filter(|entry| entry.id != DEFINITIONS) {
        if let Some(Ok(table)) = introspect::table(tx, &entry.spelled)? {
            lifecycle::look_again(tx, entry.id, &table, now())?;
        }
    }
    Ok(())
}

fn tracked(tx: &Transaction<'_>) -> Result<Vec<Entry>> {
    Ok(tables::all(tx)?.into_iter().filter(|entry| entry.state == State::Tracked).collect())
}
