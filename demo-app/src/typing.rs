//! Texts that somebody types while others write them too: what a page saves is merged with what they are by now. Titles and
//! bodies differ: a title is a register, of which one value shows, a body is a text.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use serde::Deserialize;

use crate::refused::Refused;

/// A title as somebody has typed it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TypedTitle {
    pub(crate) title: Option<String>,
    /// What the title may be for this one to take its place: what the page had from here, and what it has sent since without
    /// an answer. If it is something else, the two are merged. Empty: whatever it is.
    pub(crate) title_bases: Vec<String>,
    /// What the title was when the person came to it. Who wrote it apart from them began with that, if with anything.
    pub(crate) title_began: Option<String>,
    /// Which versions stood beside the title then, in conflict with it: to write it settles these, and no others.
    pub(crate) title_seen: Vec<String>,
}

impl TypedTitle {
    /// What it comes to where others wrote it too: it is `now`, and the versions `beside` it are in conflict with that. Whoever
    /// writes a register settles its conflicts, also one that came in between two letters; so the words of versions that
    /// the person has not seen go into what is written.
    pub(crate) fn merged(&self, now: &str, beside: &[String]) -> Option<String> {
        let (title, bases) = (self.title.as_ref()?, &self.title_bases);
        let Some(base) = bases.first() else { return Some(title.clone()) };
        let began = self.title_began.as_ref().unwrap_or(base);
        // What the page saved last stands aside: what shows was written apart from it.
        let begun_with = if beside.contains(base) { began } else { base };
        let of_page = |version: &str| bases.iter().any(|base| base == version);
        let mut merged = match of_page(now) {
            true => title.clone(),
            false => driftless::merge_text(begun_with, title, now),
        };
        for version in beside.iter().filter(|version| !of_page(version) && !self.title_seen.contains(version))
        {
            merged = driftless::merge_text(began, version, &merged);
        }
        Some(merged)
    }
}

/// The titles that stand beside the one that shows, since they were written apart.
pub(crate) fn titles_beside(db: &Connection, id: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "SELECT CAST(value AS TEXT) FROM driftless_conflicts
         WHERE \"table\" = 'notes' AND \"key\" = quote(?1) AND \"column\" = 'title' AND NOT shown",
    )?;
    let versions = statement.query_map([id], |row| row.get::<_, Option<String>>(0))?;
    Ok(versions.filter_map(rusqlite::Result::transpose).collect::<rusqlite::Result<_>>()?)
}

/// What somebody made of a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    /// With which text it began.
    pub(crate) base: String,
    pub(crate) text: String,
    /// Whose save this is, and its number: the same again if the answer was lost, whatever was typed since.
    pub(crate) page: String,
    pub(crate) save: i64,
    /// Which attempt at it: one that was overtaken by a later one is not to undo what came with that.
    pub(crate) attempt: i64,
}

/// Writes it, merged with what the body is by now. Returns what that comes to.
pub(crate) fn write_body(db: &mut Connection, id: &str, written: &Written) -> Result<String> {
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

    /// What "Party on Friday" comes to.
    fn typed(bases: &[&str], seen: &[&str], now: &str, beside: &[&str]) -> String {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let typed = TypedTitle {
            title: Some("Party on Friday".into()),
            title_bases: owned(bases),
            title_began: Some("Party".into()),
            title_seen: owned(seen),
        };
        typed.merged(now, &owned(beside)).expect("a title")
    }

    #[test]
    fn a_title_that_was_changed_since_the_page_began_is_merged_with_it() {
        assert_eq!(typed(&["Party"], &[], "Party", &[]), "Party on Friday");
        assert_eq!(typed(&["Party"], &[], "Big Party", &[]), "Big Party on Friday");
        // An answer that was lost: what is there is what this page has sent.
        assert_eq!(typed(&["Party", "Party on Thursday"], &[], "Party on Thursday", &[]), "Party on Friday");
        assert_eq!(typed(&[], &[], "Something else", &[]), "Party on Friday");
        assert_eq!(TypedTitle::default().merged("Party", &[]), None);
    }

    #[test]
    fn who_types_on_in_a_title_settles_no_version_that_came_in_meanwhile() {
        assert_eq!(typed(&["Party on"], &[], "Party on", &[]), "Party on Friday");
        let theirs = "Party at home";
        for (what, merged) in [
            ("the page's own gave way", typed(&["Party on"], &[], theirs, &["Party on"])),
            ("theirs gave way", typed(&["Party on"], &[], "Party on", &[theirs])),
            (
                "the page's own gave way, and its answer was lost",
                typed(&["Party", "Party on"], &[], theirs, &["Party on"]),
            ),
        ] {
            assert!(
                ["Party", " on Friday", " at home"].iter().all(|part| merged.contains(part)),
                "{what}: {merged}"
            );
        }
        let shown_theirs = typed(&[theirs], &[], theirs, &["Party for Ann"]);
        assert_eq!(
            shown_theirs, "Party for Ann on Friday",
            "what the page was shown since is settled by what it made of it"
        );
        assert_eq!(
            typed(&["Party on"], &[theirs], "Party on", &[theirs]),
            "Party on Friday",
            "seen, and written over"
        );
    }

    #[test]
    fn a_body_is_merged_onto_what_it_is_by_now() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "one three");
        write_body(&mut db, &id, &written("one three", "one three four", 0, 1)).expect("written");
        let body = write_body(&mut db, &id, &written("one three", "one two three", 0, 1)).expect("written");
        assert_eq!(body, "one two three four");
        let missing = write_body(&mut db, "nobody", &written("", "x", 0, 1)).expect_err("no such note");
        assert!(matches!(missing.downcast_ref(), Some(Refused::NotFound("note"))));
    }

    #[test]
    fn a_save_whose_answer_was_lost_is_merged_once_though_more_was_typed_since() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "Hi");
        write_body(&mut db, &id, &written("Hi", "Hi Ann", 1, 1)).expect("written");
        write_body(&mut db, &id, &written("Hi", "Hi Ann and", 1, 2)).expect("written");
        let body = write_body(&mut db, &id, &written("Hi Ann and", "Hi Ann and Ben", 2, 3)).expect("written");
        assert_eq!(body, "Hi Ann and Ben");
    }

    #[test]
    fn a_save_that_is_overtaken_by_a_later_attempt_takes_nothing_back() {
        let (_folder, mut db) = tables();
        let id = note(&db, "", "Hi");
        write_body(&mut db, &id, &written("Hi", "Hi Ann and", 1, 2)).expect("written");
        let body = write_body(&mut db, &id, &written("Hi", "Hi Ann", 1, 1)).expect("passed over");
        assert_eq!(body, "Hi Ann and");
    }
}
