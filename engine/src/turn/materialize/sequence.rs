//! The highest key that an AUTOINCREMENT table ever had. SQLite keeps it for rows that were inserted into this file. A row that was
//! deleted elsewhere before this file had it is known by its document alone, so its key is counted here: AUTOINCREMENT promises
//! that no key is handed out twice. See <https://sqlite.org/autoinc.html>.

use driftless_protocol::Value;
use rusqlite::Transaction;

use crate::error::{Doing, Result};
use crate::schema::Tracked;
use crate::store::sql;

/// Raises SQLite's counter for the table to the key of a deleted row, if it is lower.
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
        sql::exec(
            tx,
            doing,
            "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?1, ?2)",
            (&tracked.table.spelled, number),
        )?;
    }
    Ok(())
}
