//! What was written into a text column → an update of its text document.

use driftless_protocol::{RowKey, Value, WriterId};
use rusqlite::Transaction;

use crate::error::Result;
use crate::row_doc::resolve::{Column, RowState};
use crate::schema::Tracked;
use crate::store::{bases, texts};
use crate::text_doc;

/// Fills in what the table is known to show of a row's texts. `value` gives what it shows now.
pub(super) fn fill<'g>(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key: &RowKey,
    state: &mut RowState<'_>,
    has_bases: bool,
    value: impl Fn(&str) -> Option<&'g [u8]>,
) -> Result<()> {
    texts::fill(tx, tracked.id, key.as_bytes(), state, value)?;
    if has_bases {
        let columns: Vec<String> = state.texts().map(str::to_owned).collect();
        for column in columns {
            if let Some(base) = bases::text(tx, tracked.id, key.as_bytes(), &column)? {
                state.fill_text(&column, base);
            }
        }
    }
    Ok(())
}

/// Brings a column's text document to `new`, which the table shows. `shown` is the column as the table was known to
/// show it before. Returns the update for others; `None` if the document says so already.
pub(super) fn write(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key: &RowKey,
    column: &str,
    shown: Option<&Column<'_>>,
    new: &str,
    writer: WriterId,
) -> Result<Option<Vec<u8>>> {
    let plain = shown.filter(|column| !column.shown.in_text).and_then(|column| match &column.shown.value {
        Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    });
    let Some(stored) = texts::get(tx, tracked.id, key.as_bytes(), column)? else {
        // The first content is nobody's in particular: two that begin the same text apart begin one. A text that was a
        // plain value before begins as that.
        let (_, mut document) = text_doc::seed(&tracked.name, key, column, plain.unwrap_or(new));
        if let Some(edited) = text_doc::write(&[&document], writer, new)? {
            document = text_doc::compact(&[&document, &edited.update])?;
        }
        let id = texts::create(tx, tracked.id, key.as_bytes(), column, &document)?;
        texts::set_digest(tx, id, new)?;
        return Ok((!new.is_empty() || plain.is_some()).then_some(document));
    };
    let parts = stored.parts();
    // What others have written meanwhile, without the table showing it, is not taken back.
    let base = bases::text(tx, tracked.id, key.as_bytes(), column)?;
    let target = match base {
        Some(base) => text_doc::rebase(&base, new, &text_doc::content(&parts)?)?,
        None => new.to_owned(),
    };
    let Some(written) = text_doc::write(&parts, writer, &target)? else { return Ok(None) };
    let id = if stored.is_full(written.update.len()) {
        let parts: Vec<&[u8]> = parts.into_iter().chain([&written.update[..]]).collect();
        texts::replace(tx, &stored, &text_doc::compact(&parts)?)?
    } else {
        texts::append(tx, &stored, &written.update)?
    };
    texts::set_digest(tx, id, &target)?;
    Ok(Some(written.update))
}
