//! What was written into a text column → an update of its text document.

use driftless_protocol::{RowKey, Value, WriterId};
use rusqlite::Transaction;

use crate::document;
use crate::document::row::resolve::RowState;
use crate::error::Result;
use crate::schema::Tracked;
use crate::store::texts::Stored;
use crate::store::{backlog, bases, texts};

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

/// What a table was known to show of a text before it was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before<'a> {
    /// What its document holds, or nothing yet.
    Document,
    /// This, which is no document's: the column was written as a plain value, or had its default.
    Plain(&'a str),
    /// This, and not what others have written in a column that has just appeared here.
    Fresh(&'a str),
    /// Nothing: the text was found, apart from what others have written.
    Apart,
}

/// What the table was known to show of a text.
pub(super) fn before<'a>(
    tx: &Transaction<'_>,
    tracked: &'a Tracked,
    key: &RowKey,
    state: Option<&'a RowState<'a>>,
    column: &str,
    apart: bool,
) -> Result<Before<'a>> {
    if apart {
        return Ok(Before::Apart);
    }
    let shown = state.and_then(|state| state.column(column));
    let default = || {
        let known = tracked.table.columns.iter().find(|known| known.name == column)?;
        utf8(known.default.as_ref()?)
    };
    let is_fresh = shown.is_some() && tracked.fresh.iter().any(|fresh| fresh == column);
    if is_fresh && backlog::is_to_refresh(tx, tracked.id, key.as_bytes())? {
        return Ok(Before::Fresh(default().unwrap_or_default()));
    }
    let plain = match shown {
        Some(shown) if shown.shown.in_text => None,
        Some(shown) => utf8(&shown.shown.value),
        // The column came to a row that was there and had its DEFAULT: everybody goes on from that.
        None if state.is_some_and(|state| state.alive) => default(),
        None => None,
    };
    Ok(plain.map_or(Before::Document, Before::Plain))
}

fn utf8<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Brings a column's text document to `new`, which the table shows. Returns the updates for others, in order; none if
/// the document says so already.
pub(super) fn write(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key: &RowKey,
    column: &str,
    before: Before<'_>,
    new: &str,
    writer: WriterId,
) -> Result<Vec<Vec<u8>>> {
    let (table, key_bytes) = (tracked.id, key.as_bytes());
    let plain = match before {
        Before::Plain(plain) => Some(plain),
        Before::Document | Before::Fresh(_) | Before::Apart => None,
    };
    let Some(mut stored) = texts::get(tx, table, key_bytes, column)? else {
        // A text that was a plain value before begins as that.
        let document = begun(tracked, key, column, plain.unwrap_or(new), (writer, new))?;
        let id = texts::create(tx, table, key_bytes, column, &document)?;
        texts::set_digest(tx, id, new)?;
        return Ok((!new.is_empty() || plain.is_some()).then_some(document).into_iter().collect());
    };
    if let Before::Apart = before {
        // As whoever found the same text first began it: theirs and ours are one, and what others wrote stays.
        let (_, seed) = document::text::seed(&tracked.name, key, column, new);
        let Some(merged) = document::text::merge(&stored.parts(), &seed)? else { return Ok(Vec::new()) };
        put(tx, &stored, &merged.update, &merged.content)?;
        return Ok(vec![merged.update]);
    }
    let base = bases::text(tx, table, key_bytes, column)?;
    let mut updates = Vec::new();
    let target = match (before, &base, plain) {
        // What others have written meanwhile, without the table showing it, is not taken back.
        (Before::Fresh(base), ..) => rebase(base, new, &stored)?,
        (_, Some(base), plain) => rebase(plain.unwrap_or(base), new, &stored)?,
        // What the document holds is from before the column was a plain value, or kept beside that. It begins again as
        // that value, by nobody in particular as above.
        (_, None, Some(plain)) => {
            if let Some(begun) = document::text::restart(&tracked.name, key, column, &stored.parts(), plain)?
            {
                put(tx, &stored, &begun, plain)?;
                updates.push(begun);
                match texts::get(tx, table, key_bytes, column)? {
                    Some(again) => stored = again,
                    None => return Ok(updates),
                }
            }
            new.to_owned()
        }
        (_, None, None) => new.to_owned(),
    };
    if base.is_some() {
        bases::renew_text(tx, table, key_bytes, column, new)?;
    }
    if let Some(written) = document::text::write(&stored.parts(), writer, &target)? {
        put(tx, &stored, &written.update, &target)?;
        updates.push(written.update);
    }
    Ok(updates)
}

/// A text document that begins as `first` and was edited to `new` then. The first content is nobody's in particular: two that
/// begin the same text apart begin one.
fn begun(
    tracked: &Tracked,
    key: &RowKey,
    column: &str,
    first: &str,
    (writer, new): (WriterId, &str),
) -> Result<Vec<u8>> {
    let (_, document) = document::text::seed(&tracked.name, key, column, first);
    match document::text::write(&[&document], writer, new)? {
        Some(edited) => Ok(document::text::compact(&[&document, &edited.update])?),
        None => Ok(document),
    }
}

fn rebase(base: &str, new: &str, stored: &Stored) -> Result<String> {
    Ok(document::text::rebase(base, new, &document::text::content(&stored.parts())?)?)
}

/// Stores an update of a document, which then holds `content`.
fn put(tx: &Transaction<'_>, stored: &Stored, update: &[u8], content: &str) -> Result<()> {
    let id = if stored.is_full(update.len()) {
        let parts: Vec<&[u8]> = stored.parts().into_iter().chain([update]).collect();
        texts::replace(tx, stored, &document::text::compact(&parts)?)?
    } else {
        texts::append(tx, stored, update)?
    };
    texts::set_digest(tx, id, content)
}
