//! Bodies, which are texts: what a page saves is merged, by the letter, with what the body is by now.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use serde::Deserialize;

use crate::refused::Refused;

/// What somebody made of a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    /// With which text it began.
    base: String,
    text: String,
    /// Whose save this is, and its number: the same again if the answer was lost, whatever was typed since.
    page: String,
    save: i64,
    /// Which attempt at it: one that was overtaken by a later one is not to undo what came with that.
    attempt: i64,
}

/// Writes it, merged with what the body is by now. Returns what that comes to.
pub(crate) fn write(db: &mut Connection, id: &str, written: &Written) -> Result<String> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now: Option<String> =
        tx.query_row("SELECT body FROM notes WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    let now = now.ok_or(Refused::NotFound("note"))?;
    let Written { base, text, page, save, attempt } = written;
    // Saved already, with an answer that was lost? Then what is new since then is all that there is to merge.
    let saved: Option<(String, i64)> = tx
        .query_row(
            "SELECT text, attempt FROM last_saves WHERE page = ?1 AND save = ?2",
            (page, save),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let begun_with = match &saved {
        Some((_, later)) if later > attempt => return Ok(now),
        Some((text, _)) => text,
        None => base,
    };
    let merged = driftless::merge_text(begun_with, text, &now);
    if merged != now {
        tx.execute("UPDATE notes SET body = ?2 WHERE id = ?1", (id, &merged))?;
    }
    if !page.is_empty() {
        tx.execute(
            "INSERT OR REPLACE INTO last_saves (page, save, attempt, text) VALUES (?1, ?2, ?3, ?4)",
            (page, save, attempt, text),
        )?;
        tx.execute("DELETE FROM last_saves WHERE number <= (SELECT max(number) FROM last_saves) - 100", [])?;
    }
    tx.commit()?;
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::tests::{note, tables};

    fn written(base: &str, text: &str, save: i64, attempt: i64) -> Written {
        let page = if save == 0 { "" } else { "a page" };
        Written { base: base.into(), text: text.into(), page: page.into(), save, attempt }
    }

    #[test]
    fn a_body_is_merged_onto_what_it_is_by_now() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "one three");
        write(&mut db, &id, &written("one three", "one three four", 0, 1)).expect("written");
        let body = write(&mut db, &id, &written("one three", "one two three", 0, 1)).expect("written");
        assert_eq!(body, "one two three four");
        let missing = write(&mut db, "nobody", &written("", "x", 0, 1)).expect_err("no such note");
        assert!(matches!(missing.downcast_ref(), Some(Refused::NotFound("note"))));
    }

    #[test]
    fn a_save_whose_answer_was_lost_is_merged_once_though_more_was_typed_since() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "Hi");
        write(&mut db, &id, &written("Hi", "Hi Ann", 1, 1)).expect("written");
        write(&mut db, &id, &written("Hi", "Hi Ann and", 1, 2)).expect("written");
        let body = write(&mut db, &id, &written("Hi Ann and", "Hi Ann and Ben", 2, 3)).expect("written");
        assert_eq!(body, "Hi Ann and Ben");
    }

    #[test]
    fn a_save_that_is_overtaken_by_a_later_attempt_takes_nothing_back() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "Hi");
        write(&mut db, &id, &written("Hi", "Hi Ann and", 1, 2)).expect("written");
        let body = write(&mut db, &id, &written("Hi", "Hi Ann", 1, 1)).expect("passed over");
        assert_eq!(body, "Hi Ann and");
    }
}
