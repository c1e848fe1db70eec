//! Titles, which are registers: of those that were written apart one shows, and whoever writes next settles that, as far as
//! Driftless is concerned. A page that saves while somebody types would settle it between two letters. So what is written over
//! without having been seen is put aside, where it waits for a person to choose.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;

use crate::refused::Refused;

/// A title as somebody has typed it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TypedTitle {
    title: Option<String>,
    /// What it was made of: what the page had from here, and then what the page has sent since without an answer, which may
    /// have come here or not. Empty: it takes the place of whatever there is.
    title_bases: Vec<String>,
}

impl TypedTitle {
    /// What is to be written where the title is `now`, and the titles in `apart` stand beside it; and whether `now` was
    /// written by somebody who had not seen what this was made of.
    fn comes_to(&self, now: &str, apart: &[Version]) -> Option<(String, bool)> {
        let (title, bases) = (self.title.as_ref()?, &self.title_bases);
        if bases.is_empty() || bases.iter().any(|base| base == now) {
            return Some((title.clone(), false));
        }
        if bases.iter().any(|base| apart.iter().any(|version| version.title == *base)) {
            return Some((title.clone(), true));
        }
        let base = bases.iter().rev().find(|base| is_within(base, now)).unwrap_or(&bases[0]);
        Some((driftless::merge_text(base, title, now), false))
    }
}

/// A title that stands, or stood, beside the one that shows.
#[derive(Debug)]
struct Version {
    title: String,
    at: Option<i64>,
    replica: Option<String>,
}

/// Writes a title as it was typed, in place of `now`. What others wrote apart is kept beside it.
pub(crate) fn write(tx: &Connection, note: &str, now: &str, typed: &TypedTitle) -> Result<()> {
    let mut apart = versions(tx, note, false)?;
    let Some((written, unseen)) = typed.comes_to(now, &apart) else { return Ok(()) };
    if written == now {
        return Ok(());
    }
    if unseen {
        apart.push(shown(tx, note, now)?);
    }
    for version in &apart {
        let longer =
            |other: &Version| other.title != version.title && is_within(&version.title, &other.title);
        // What was typed on since is no version of its own.
        if is_within(&version.title, &written) || apart.iter().any(longer) {
            forget(tx, note, &version.title)?;
        } else {
            put_aside(tx, note, version)?;
        }
    }
    tx.execute("UPDATE notes SET title = ?2 WHERE id = ?1", (note, written))?;
    Ok(())
}

/// Somebody has chosen this title, with those in `seen` before their eyes: these are done with. `None`: with all.
pub(crate) fn choose(tx: &Connection, note: &str, title: &str, seen: Option<&[String]>) -> Result<()> {
    let now: Option<String> =
        tx.query_row("SELECT title FROM notes WHERE id = ?1", [note], |row| row.get(0)).optional()?;
    let now = now.ok_or(Refused::NotFound("note"))?;
    let mut apart = versions(tx, note, false)?;
    apart.push(shown(tx, note, &now)?);
    for version in apart {
        match version.title == title || seen.is_none_or(|seen| seen.contains(&version.title)) {
            true => forget(tx, note, &version.title)?,
            false => put_aside(tx, note, &version)?,
        }
    }
    Ok(())
}

fn put_aside(tx: &Connection, note: &str, Version { title, at, replica }: &Version) -> Result<()> {
    tx.execute(
        "INSERT INTO other_titles (note, title, at, replica) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        (note, title, at, replica),
    )?;
    Ok(())
}

fn forget(tx: &Connection, note: &str, title: &str) -> Result<()> {
    tx.execute("DELETE FROM other_titles WHERE note = ?1 AND title = ?2", (note, title))?;
    Ok(())
}

/// The title that shows, with who wrote it, which is known while it is in conflict.
fn shown(db: &Connection, note: &str, now: &str) -> Result<Version> {
    let known = versions(db, note, true)?.into_iter().find(|version| version.title == now);
    Ok(known.unwrap_or(Version { title: now.to_owned(), at: None, replica: None }))
}

fn versions(db: &Connection, note: &str, shown: bool) -> Result<Vec<Version>> {
    let mut statement = db.prepare_cached(
        "SELECT CAST(value AS TEXT), at, replica FROM apart
         WHERE note = ?1 AND \"column\" = 'title' AND shown = ?2 AND value IS NOT NULL",
    )?;
    let versions = statement.query_map((note, shown), |row| {
        Ok(Version { title: row.get(0)?, at: row.get(1)?, replica: row.get(2)? })
    })?;
    Ok(versions.collect::<rusqlite::Result<_>>()?)
}

/// Whether `whole` is `part` with something typed into it, at one place.
fn is_within(part: &str, whole: &str) -> bool {
    let same = |(one, other): &(char, char)| one == other;
    let head = part.chars().zip(whole.chars()).take_while(same).count();
    let tail = part.chars().rev().zip(whole.chars().rev()).take_while(same).count();
    let letters = part.chars().count();
    letters <= whole.chars().count() && head + tail >= letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::tests::{note, tables};

    fn typed(title: &str, bases: &[&str]) -> TypedTitle {
        TypedTitle {
            title: Some(title.into()),
            title_bases: bases.iter().map(|base| (*base).into()).collect(),
        }
    }

    /// What shows, and what is put aside.
    fn titles(db: &Connection) -> (String, Vec<String>) {
        let title = db.query_row("SELECT title FROM notes", [], |row| row.get(0)).expect("a title");
        let mut statement = db.prepare("SELECT title FROM other_titles ORDER BY title").expect("the titles");
        let aside = statement.query_map([], |row| row.get(0)).expect("rows");
        (title, aside.collect::<rusqlite::Result<_>>().expect("texts"))
    }

    /// A note that shows `title`, with others put aside.
    fn with(title: &str, aside: &[&str]) -> (tempfile::TempDir, Connection, String) {
        let (folder, db) = tables();
        let id = note(&db, title, "");
        for title in aside {
            put_aside(&db, &id, &Version { title: (*title).into(), at: None, replica: None })
                .expect("put aside");
        }
        (folder, db, id)
    }

    #[test]
    fn a_title_that_was_changed_since_the_page_began_is_merged_with_it() {
        let comes_to = |bases: &[&str], now: &str| {
            typed("Party on Friday", bases).comes_to(now, &[]).expect("a title").0
        };
        assert_eq!(comes_to(&["Party"], "Party"), "Party on Friday");
        assert_eq!(comes_to(&["Party"], "Big Party"), "Big Party on Friday");
        assert_eq!(comes_to(&[], "Something else"), "Party on Friday");
        assert!(TypedTitle::default().comes_to("Party", &[]).is_none());
    }

    #[test]
    fn what_was_sent_and_not_answered_is_not_in_the_title_twice() {
        let comes_to = |now: &str| {
            typed("Party on Friday", &["Party", "Party o", "Party on"]).comes_to(now, &[]).expect("a title").0
        };
        assert_eq!(comes_to("Party on"), "Party on Friday");
        assert_eq!(comes_to("Big Party on"), "Big Party on Friday");
        assert_eq!(comes_to("Big Party"), "Big Party on Friday");
    }

    #[test]
    fn who_types_on_in_a_title_leaves_what_others_wrote_apart_to_be_chosen() {
        // The page's own gave way, and is what was typed on: it is whole again, and theirs waits.
        let (_folder, db, id) = with("Party at home", &["Party on"]);
        write(&db, &id, "Party at home", &typed("Party on Friday", &["Party on"])).expect("written");
        assert_eq!(titles(&db), ("Party on Friday".into(), vec!["Party at home".into()]));
        // Theirs had given way.
        let (_folder, db, id) = with("Party on", &["Party at home"]);
        write(&db, &id, "Party on", &typed("Party on Friday", &["Party on"])).expect("written");
        assert_eq!(titles(&db), ("Party on Friday".into(), vec!["Party at home".into()]));
        // However long both go on, what they write does not multiply.
        write(&db, &id, "Party on Friday", &typed("Party at home and here", &["Party at home"]))
            .expect("written");
        assert_eq!(titles(&db), ("Party at home and here".into(), vec!["Party on Friday".into()]));
    }

    #[test]
    fn what_somebody_typed_on_in_is_no_version_of_its_own_and_anything_else_is() {
        for (part, whole, within) in [
            ("Party", "Party on Friday", true),
            ("Party Friday", "Party on Friday", true),
            ("Party", "Party", true),
            ("Party o", "Party", false),
            ("Part one", "Party for one or two", false),
            ("aaa", "aaaa", true),
        ] {
            assert_eq!(is_within(part, whole), within, "{part} in {whole}");
        }
    }

    #[test]
    fn a_choice_is_between_those_that_were_seen() {
        let (_folder, db, id) = with("one", &["two", "three"]);
        let seen = ["one".to_owned(), "two".to_owned()];
        choose(&db, &id, "two", Some(&seen)).expect("chosen");
        assert_eq!(titles(&db).1, ["three"]);
        choose(&db, &id, "two", Some(&["two".to_owned(), "three".to_owned()])).expect("chosen");
        assert_eq!(titles(&db).1, ["one"], "it showed, and was not before their eyes");
        choose(&db, &id, "two", None).expect("chosen");
        assert_eq!(titles(&db).1, [""; 0]);
        let missing = choose(&db, "nobody", "two", None).expect_err("no such note");
        assert!(matches!(missing.downcast_ref(), Some(Refused::NotFound("note"))));
    }
}
