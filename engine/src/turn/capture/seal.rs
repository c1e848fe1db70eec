//! Bodies → changesets of ours, numbered, in the outbox.

use driftless_protocol::changeset::{Body, BodyBuilder};
use driftless_protocol::{Changeset, ChangesetHeader, Part, RowKey};
use rusqlite::Transaction;

use super::Author;
use crate::document;
use crate::error::{Error, Result};
use crate::schema::tracking::following;
use crate::store::{documents, identity, outbox, progress, tables, texts, writers};

/// Puts whole documents into changesets of ours: for others that lack some of what is in them. Rows that have none are left
/// out.
pub(crate) fn publish<'r>(
    tx: &Transaction<'_>,
    author: Author,
    rows: impl IntoIterator<Item = (&'r str, &'r RowKey)>,
    bytes: usize,
    now: i64,
) -> Result<()> {
    let mut body = BodyBuilder::new();
    for (writer, replica) in writers::all(tx)? {
        body.author(writer, replica);
    }
    for (name, key) in rows {
        let Some(entry) = tables::find(tx, name)? else { continue };
        let Some(stored) = documents::get(tx, entry.id, key.as_bytes())? else { continue };
        body.row(name, key, &stored.body);
        for (column, text) in texts::of_row(tx, entry.id, key.as_bytes())? {
            body.text(name, key, &column, &document::text::compact(&text.parts())?);
        }
        if body.size() >= bytes {
            seal(tx, author, vec![std::mem::take(&mut body).finish()], true, now)?;
        }
    }
    if body.rows() > 0 {
        seal(tx, author, vec![body.finish()], true, now)?;
    }
    Ok(())
}

/// Numbers the bodies as changesets of ours and puts them into the outbox. `ends`: the log is drained, so that the
/// last one ends whole transactions.
pub(super) fn seal(
    tx: &Transaction<'_>,
    author: Author,
    mut bodies: Vec<Body>,
    ends: bool,
    now: i64,
) -> Result<()> {
    let mut open = identity::group_open(tx)?;
    let was_open = open;
    if bodies.is_empty() && open && ends {
        // What was left changed nothing, but receivers wait for a last part.
        bodies.push(BodyBuilder::new().finish());
    }
    let count = bodies.len();
    let mut last = progress::vector(tx)?.get(author.replica);
    for (n, body) in bodies.into_iter().enumerate() {
        let part = match (open, ends && n + 1 == count) {
            (false, true) => Part::Whole,
            (true, true) => Part::Last,
            (_, false) => Part::More,
        };
        open = part == Part::More;
        let full = || Error::Damaged { table: "_driftless_progress", what: "there is no seq left".into() };
        let seq = following(last).ok_or_else(full)?;
        last = seq.get();
        let after = progress::take_unannounced(tx, author.replica)?;
        let header = ChangesetHeader { replica: author.replica, seq, part, after, time: now };
        let changeset = Changeset::seal(header, &body);
        tracing::debug!(
            seq = last,
            rows_bytes = body.len(),
            bytes = changeset.bytes().len(),
            ?part,
            "captured"
        );
        outbox::push(tx, &changeset)?;
        progress::raise(tx, author.replica, last)?;
    }
    if open != was_open {
        identity::set_group_open(tx, open)?;
    }
    Ok(())
}
