//! The highest number that an AUTOINCREMENT table ever had. SQLite keeps it for the rows that are inserted into this file; of a
//! row that was deleted elsewhere before this file ever had it, only the document tells. Without it, SQLite would hand out the
//! number of such a row once more, which AUTOINCREMENT is there to prevent. See <https://sqlite.org/autoinc.html>.

use driftless_protocol::Value;
use rusqlite::Transaction;

use crate::error::{Doing, Result};
use crate::schema::Tracked;

/// Sees to it that SQLite hands out no number up to that of a row that was deleted.
pub(super) fn raise(tx: &Transaction<'_>, tracked: &Tracked, key_values: &[Value<'_>]) -> Result<()> {
    let is_counted = tracked.table.integer_key && tracked.table.counts_keys;
    let (true, [Value::Integer(number)]) = (is_counted, key_values) else { return Ok(()) };
    // SQLite looks at it for AUTOINCREMENT tables alone, and makes it with the first of them: where it is not there, the word
    // stands in the table's statement for something else.
    let Ok(mut known) =
        tx.prepare_cached("UPDATE main.sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1")
    else {
        return Ok(());
    };
    let doing = "raising the sequence of a table";
    if known.execute((&tracked.table.spelled, number)).doing(doing)? == 0 {
        tx.prepare_cached("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?1, ?2)")
            .and_then(|mut first| first.execute((&tracked.table.spelled, number)))
            .doing(doing)?;
    }
    Ok(())
}
