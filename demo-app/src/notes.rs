//! The notes, in plain SQL on the app's own connection. Nothing here knows that there are other copies; what does is in
//! [`crate::titles`], [`crate::bodies`] and [`crate::collisions`].

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::refused::Refused;
use crate::titles::{self, TypedTitle};

/// What the list shows, and how much of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Query {
    q: String,
    notebook: String,
    tag: String,
    archived: u8,
    limit: Option<u32>,
    offset: u32,
}

/// A note as the list shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    id: String,
    title: String,
    excerpt: String,
    colour: String,
    pinned: bool,
    archived: bool,
    likes: i64,
    notebook: Option<String>,
    tags: Json,
    items: Json,
    edited: i64,
    conflicts: i64,
}

/// Notes that fit, pinned ones first, then those that changed last; with words to look for, those that fit best.
pub(crate) fn list(db: &Connection, query: &Query) -> Result<(i64, Vec<Listed>)> {
    let words = words(&query.q);
    // Without words everything fits, and the excerpt is the beginning of the note; else it is the place that was found.
    let (found, fits, excerpt, place) = match words {
        None => (
            "seen s JOIN notes n ON n.id = s.note",
            ":words IS NULL",
            "substr(n.body, 1, 160)",
            "row_number() OVER (ORDER BY n.pinned DESC, s.changed DESC)",
        ),
        Some(_) => (
            "search f JOIN seen s ON s.number = f.rowid JOIN notes n ON n.id = s.note",
            "search MATCH :words",
            "snippet(search, 1, '', '', '…', 24)",
            "rank",
        ),
    };
    let filter = format!(
        "{fits} AND n.archived = :archived AND (:notebook = '' OR n.notebook = :notebook)
         AND (:tag = '' OR EXISTS (SELECT 1 FROM tags t WHERE t.note = n.id AND t.tag = :tag))"
    );
    let archived = i64::from(query.archived != 0);
    let total = db.prepare_cached(&format!("SELECT count(*) FROM {found} WHERE {filter}"))?.query_row(
        rusqlite::named_params! {":words": words, ":archived": archived, ":notebook": query.notebook, ":tag": query.tag},
        |row| row.get(0),
    )?;
    // First which, then what of them: the rest need not be looked at for a hundred of five thousand.
    let sql = format!(
        "WITH page AS MATERIALIZED (
             SELECT n.id, {excerpt} AS excerpt, s.changed, {place} AS place
             FROM {found} WHERE {filter} ORDER BY place LIMIT :limit OFFSET :offset)
         SELECT n.id, n.title, p.excerpt, n.colour, n.pinned, n.archived, n.likes, n.notebook, p.changed,
                (SELECT json_group_array(tag) FROM tags t WHERE t.note = n.id),
                (SELECT count(*) FROM items i WHERE i.note = n.id AND i.done),
                (SELECT count(*) FROM items i WHERE i.note = n.id),
                (SELECT count(DISTINCT \"column\") FROM apart a WHERE a.note = n.id)
         FROM page p JOIN notes n USING (id) ORDER BY p.place"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(
        rusqlite::named_params! {
            ":words": words, ":archived": archived, ":notebook": query.notebook, ":tag": query.tag,
            ":limit": query.limit.unwrap_or(100).min(1000), ":offset": query.offset,
        },
        listed,
    )?;
    Ok((total, rows.collect::<rusqlite::Result<_>>()?))
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let tags: String = row.get(9)?;
    let (done, total): (i64, i64) = (row.get(10)?, row.get(11)?);
    Ok(Listed {
        id: row.get(0)?,
        title: row.get(1)?,
        excerpt: row.get(2)?,
        colour: row.get(3)?,
        pinned: row.get(4)?,
        archived: row.get(5)?,
        likes: row.get(6)?,
        notebook: row.get(7)?,
        tags: serde_json::from_str(&tags).unwrap_or_default(),
        items: json!({"done": done, "total": total}),
        edited: milliseconds(row.get(8)?),
        conflicts: row.get(12)?,
    })
}

/// Words to look for, each as the beginning of one, as FTS5 wants them; `None` without any.
fn words(typed: &str) -> Option<String> {
    let words: Vec<String> =
        typed.split_whitespace().map(|word| format!("\"{}\"*", word.replace('"', "\"\""))).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn milliseconds(julian_day: f64) -> i64 {
    ((julian_day - 2_440_587.5) * 86_400_000.0) as i64
}

/// All of a note but its conflicts.
pub(crate) fn get(db: &Connection, id: &str) -> Result<Json> {
    let note = db
        .prepare_cached(
            "SELECT n.title, n.body, n.colour, n.pinned, n.archived, n.likes, n.notebook, n.created, s.changed,
                    (SELECT json_group_array(tag) FROM tags t WHERE t.note = n.id)
             FROM notes n JOIN seen s ON s.note = n.id WHERE n.id = ?1",
        )?
        .query_row([id], |row| {
            Ok(json!({
                "id": id,
                "title": row.get::<_, String>(0)?, "body": row.get::<_, String>(1)?,
                "colour": row.get::<_, String>(2)?, "pinned": row.get::<_, bool>(3)?,
                "archived": row.get::<_, bool>(4)?, "likes": row.get::<_, i64>(5)?,
                "notebook": row.get::<_, Option<String>>(6)?, "created": row.get::<_, i64>(7)?,
                "edited": milliseconds(row.get(8)?),
                "tags": serde_json::from_str::<Json>(&row.get::<_, String>(9)?).unwrap_or_default(),
            }))
        })
        .optional()?;
    let mut note = note.ok_or(Refused::NotFound("note"))?;
    let mut items = db
        .prepare_cached("SELECT id, text, done, position FROM items WHERE note = ?1 ORDER BY position, id")?;
    let items = items.query_map([id], |row| {
        Ok(json!({
            "id": row.get::<_, String>(0)?, "text": row.get::<_, String>(1)?,
            "done": row.get::<_, bool>(2)?, "position": row.get::<_, f64>(3)?,
        }))
    })?;
    note["items"] = items.collect::<rusqlite::Result<Vec<_>>>()?.into();
    Ok(note)
}

/// What a new note has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NewNote {
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) notebook: Option<String>,
}

pub(crate) fn add(db: &Connection, note: &NewNote) -> Result<String> {
    // Version 7: ids of notes that are made one after the other lie beside each other in the file.
    let id = Uuid::now_v7().to_string();
    db.prepare_cached(
        "INSERT INTO notes (id, title, body, notebook, created)
         VALUES (?1, ?2, ?3, ?4, CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))",
    )?
    .execute((&id, &note.title, &note.body, &note.notebook))?;
    Ok(id)
}

/// The colours a note can have; see web/colours.js.
const COLOURS: [&str; 6] = ["plain", "amber", "rose", "violet", "sky", "sage"];

/// What of a note is to be changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Changes {
    #[serde(flatten)]
    title: TypedTitle,
    colour: Option<String>,
    pinned: Option<bool>,
    archived: Option<bool>,
    /// `null` takes it out of its notebook.
    #[serde(deserialize_with = "present")]
    notebook: Option<Option<String>>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

pub(crate) fn change(db: &mut Connection, id: &str, changes: &Changes) -> Result<()> {
    if changes.colour.as_ref().is_some_and(|colour| !COLOURS.contains(&&**colour)) {
        return Err(Refused::Invalid("there is no such colour").into());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now: Option<String> =
        tx.query_row("SELECT title FROM notes WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    let now = now.ok_or(Refused::NotFound("note"))?;
    titles::write(&tx, id, &now, &changes.title)?;
    // Only what is different is written: else every save would stand against what others wrote meanwhile.
    let set = |column: &str, value: &dyn rusqlite::ToSql| {
        let sql = format!("UPDATE notes SET {column} = ?2 WHERE id = ?1 AND {column} IS NOT ?2");
        tx.prepare_cached(&sql)?.execute(rusqlite::params![id, value]).map(|_| ())
    };
    changes.colour.iter().try_for_each(|colour| set("colour", colour))?;
    changes.pinned.iter().try_for_each(|pinned| set("pinned", pinned))?;
    changes.archived.iter().try_for_each(|archived| set("archived", archived))?;
    changes.notebook.iter().try_for_each(|notebook| set("notebook", notebook))?;
    Ok(tx.commit()?)
}

pub(crate) fn delete(db: &Connection, id: &str) -> Result<()> {
    found(db.execute("DELETE FROM notes WHERE id = ?1", [id])?, "note")
}

pub(crate) fn like(db: &Connection, id: &str) -> Result<()> {
    found(db.execute("UPDATE notes SET likes = likes + 1 WHERE id = ?1", [id])?, "note")
}

fn found(rows: usize, what: &'static str) -> Result<()> {
    if rows == 0 { Err(Refused::NotFound(what).into()) } else { Ok(()) }
}

pub(crate) fn tag(db: &Connection, note: &str, tag: &str) -> Result<()> {
    if tag.trim().is_empty() {
        return Err(Refused::Invalid("a tag needs a name").into());
    }
    let sql = "INSERT INTO tags SELECT id, ?2 FROM notes WHERE id = ?1 ON CONFLICT DO NOTHING";
    db.execute(sql, (note, tag.trim()))?;
    Ok(())
}

pub(crate) fn untag(db: &Connection, note: &str, tag: &str) -> Result<()> {
    db.execute("DELETE FROM tags WHERE note = ?1 AND tag = ?2", (note, tag))?;
    Ok(())
}

pub(crate) fn add_item(db: &Connection, note: &str, text: &str) -> Result<()> {
    let sql = "INSERT INTO items (id, note, text, position)
               SELECT ?1, id, ?3, 1 + (SELECT coalesce(max(position), 0) FROM items WHERE note = ?2)
               FROM notes WHERE id = ?2";
    found(db.execute(sql, (Uuid::now_v7().to_string(), note, text))?, "note")
}

/// What of an item is to be changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ItemChanges {
    text: Option<String>,
    done: Option<bool>,
    position: Option<f64>,
}

pub(crate) fn change_item(db: &Connection, id: &str, changes: &ItemChanges) -> Result<()> {
    let sql = "UPDATE items SET text = coalesce(?2, text), done = coalesce(?3, done), position = coalesce(?4, position)
               WHERE id = ?1";
    found(db.execute(sql, (id, &changes.text, changes.done, changes.position))?, "item")
}

pub(crate) fn delete_item(db: &Connection, id: &str) -> Result<()> {
    found(db.execute("DELETE FROM items WHERE id = ?1", [id])?, "item")
}

/// Whose an item is; `None` if it is gone.
pub(crate) fn note_of_item(db: &Connection, id: &str) -> Option<String> {
    db.query_row("SELECT note FROM items WHERE id = ?1", [id], |row| row.get(0)).ok()
}

pub(crate) fn add_notebook(db: &Connection, name: &str) -> Result<String> {
    let id = Uuid::now_v7().to_string();
    named(db, name, "INSERT INTO notebooks (id, name) VALUES (?1, ?2)", &id)?;
    Ok(id)
}

pub(crate) fn rename_notebook(db: &Connection, id: &str, name: &str) -> Result<()> {
    let renamed = named(db, name, "UPDATE notebooks SET name = ?2 WHERE id = ?1", id)?;
    found(renamed, "notebook")
}

pub(crate) fn named(db: &Connection, name: &str, sql: &str, id: &str) -> Result<usize> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Refused::Invalid("a notebook needs a name").into());
    }
    db.execute(sql, (id, name)).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => Refused::Taken(name.to_owned()).into(),
        _ => error.into(),
    })
}

/// The notes that were in it stay, in none.
pub(crate) fn delete_notebook(db: &mut Connection, id: &str) -> Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("UPDATE notes SET notebook = NULL WHERE notebook = ?1", [id])?;
    found(tx.execute("DELETE FROM notebooks WHERE id = ?1", [id])?, "notebook")?;
    Ok(tx.commit()?)
}

pub(crate) fn notebooks(db: &Connection) -> Result<Vec<Json>> {
    let sql = "SELECT b.id, b.name, (SELECT count(*) FROM notes n WHERE n.notebook = b.id AND NOT n.archived)
               FROM notebooks b ORDER BY b.name COLLATE NOCASE";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(json!({"id": row.get::<_, String>(0)?, "name": row.get::<_, String>(1)?, "notes": row.get::<_, i64>(2)?}))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn tags(db: &Connection) -> Result<Vec<Json>> {
    let mut statement = db.prepare_cached(
        "SELECT tag, count(*) FROM tags GROUP BY tag ORDER BY count(*) DESC, tag LIMIT 100",
    )?;
    let rows = statement
        .query_map([], |row| Ok(json!({"tag": row.get::<_, String>(0)?, "notes": row.get::<_, i64>(1)?})))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file as [`crate::node`] makes it, with no engine on it.
    pub(crate) fn tables() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.db");
        let db = Connection::open(&path).expect("a database");
        db.execute_batch(include_str!("../schema.sql")).expect("the tables");
        driftless::track(&path, driftless::Selection::Named(&["notes"]), driftless::TableOptions::default())
            .expect("tracked");
        (folder, db)
    }

    pub(crate) fn note(db: &Connection, title: &str, body: &str) -> String {
        add(db, &NewNote { title: title.into(), body: body.into(), notebook: None }).expect("a note")
    }

    fn titles(db: &Connection, q: &str) -> Vec<String> {
        let (total, notes) = list(db, &Query { q: q.into(), ..Query::default() }).expect("a list");
        assert_eq!(total, notes.len() as i64);
        notes.into_iter().map(|note| note.title).collect()
    }

    #[test]
    fn search_finds_beginnings_of_words_in_titles_and_bodies_whatever_is_typed() {
        let (_folder, db) = tables();
        let id = note(&db, "Shopping", "milk and bread");
        note(&db, "Letters", "to Milka");
        assert_eq!(titles(&db, "bre"), ["Shopping"]);
        assert_eq!(titles(&db, "milk").len(), 2);
        assert_eq!(titles(&db, "shop milk"), ["Shopping"]);
        for odd in ["\"", "AND", "mi* OR", "(", "title:", "  "] {
            titles(&db, odd);
        }
        db.execute("UPDATE notes SET body = 'milk and butter' WHERE id = ?1", [&id]).expect("written");
        assert_eq!(titles(&db, "bread"), [""; 0]);
        delete(&db, &id).expect("deleted");
        assert_eq!(titles(&db, "butter"), [""; 0]);
    }

    #[test]
    fn a_save_writes_only_the_columns_that_are_different() {
        let (_folder, mut db) = tables();
        let id = note(&db, "a title", "");
        db.execute_batch("CREATE TABLE log (what); CREATE TRIGGER t AFTER UPDATE OF colour ON notes BEGIN INSERT INTO log VALUES (1); END")
            .expect("a trigger");
        let changes = json!({"title": "another", "title_bases": ["a title"], "colour": "plain"});
        let changes = serde_json::from_value(changes).expect("as a page sends it");
        change(&mut db, &id, &changes).expect("changed");
        let logged: i64 = db.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("a count");
        assert_eq!((titles(&db, "another").len(), logged), (1, 0));
    }

    #[test]
    fn a_name_that_is_taken_is_refused_and_the_notes_of_a_deleted_notebook_stay() {
        let (_folder, mut db) = tables();
        let notebook = add_notebook(&db, "Recipes").expect("a notebook");
        assert!(matches!(
            add_notebook(&db, " Recipes ").expect_err("taken").downcast_ref(),
            Some(Refused::Taken(_))
        ));
        let new = NewNote { title: "Soup".into(), notebook: Some(notebook.clone()), ..NewNote::default() };
        add(&db, &new).expect("a note");
        delete_notebook(&mut db, &notebook).expect("deleted");
        assert_eq!(titles(&db, ""), ["Soup"]);
    }
}
