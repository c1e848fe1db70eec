//! Where writes met that cannot both stand: what the views `driftless_conflicts` and `driftless_parked` list, and how it is
//! settled, with an UPDATE, an INSERT or a DELETE.

use anyhow::Result;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use serde_json::{Value as Json, json};

use crate::notes::named;
use crate::refused::Refused;
use crate::titles;

/// The columns of notes, or of one, of which several values stand: the one that shows, and those that are kept, with who wrote
/// them and when.
pub(crate) fn conflicts(db: &Connection, note: Option<&str>) -> Result<Vec<Json>> {
    let mut statement = db.prepare_cached(
        "SELECT a.note, a.\"column\", n.title, a.value, a.shown, a.at, p.name, p.colour
         FROM apart a LEFT JOIN notes n ON n.id = a.note LEFT JOIN people p ON replace(p.replica, '-', '') = a.replica
         WHERE ?1 IS NULL OR a.note = ?1 ORDER BY a.note, a.\"column\", a.shown DESC, a.at DESC, a.value",
    )?;
    let mut rows = statement.query([note])?;
    let mut conflicts: Vec<Json> = Vec::new();
    while let Some(row) = rows.next()? {
        let (note, column, title): (String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let version = json!({
            "value": in_json(row.get_ref(3)?), "at": row.get::<_, Option<i64>>(5)?,
            "who": row.get::<_, Option<String>>(6)?, "colour": row.get::<_, Option<String>>(7)?,
        });
        if conflicts.last().is_none_or(|last| last["note"] != note || last["column"] != column) {
            // A title that nobody wrote apart from the others may show: then it is not among these rows.
            let shown = json!({"value": title});
            conflicts
                .push(json!({"note": note, "column": column, "title": title, "shown": shown, "kept": []}));
        }
        let Some(conflict) = conflicts.last_mut() else { continue };
        if row.get(4)? {
            conflict["shown"] = version;
        } else if let Some(kept) = conflict["kept"].as_array_mut()
            && !kept.iter().any(|other| other["value"] == version["value"])
        {
            kept.push(version);
        }
    }
    Ok(conflicts)
}

/// How many columns of notes these are.
pub(crate) fn count(db: &Connection) -> Result<i64> {
    let mut statement =
        db.prepare_cached("SELECT count(*) FROM (SELECT DISTINCT note, \"column\" FROM apart)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn in_json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
    }
}

/// Settles a conflict: the value stands, in place of all that stood beside it, or, if it is a title, of those that were `seen`.
pub(crate) fn choose(
    db: &mut Connection,
    note: &str,
    column: &str,
    value: &Json,
    seen: Option<&[Json]>,
) -> Result<()> {
    if !["title", "colour", "pinned", "archived", "notebook"].contains(&column) {
        return Err(Refused::Invalid("no such column is ever in conflict").into());
    }
    let value = match value {
        Json::Null => SqlValue::Null,
        Json::String(text) => text.clone().into(),
        Json::Bool(yes) => i64::from(*yes).into(),
        other => other.as_i64().ok_or(Refused::Invalid("such a value cannot be chosen"))?.into(),
    };
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let ("title", SqlValue::Text(title)) = (column, &value) {
        let seen: Option<Vec<String>> =
            seen.map(|seen| seen.iter().filter_map(Json::as_str).map(str::to_owned).collect());
        titles::choose(&tx, note, title, seen.as_deref())?;
    }
    let sql = format!("UPDATE notes SET {column} = ?2 WHERE id = ?1 AND {column} IS NOT ?2");
    if tx.execute(&sql, (note, &value))? == 0 {
        // It is what shows already: to write it again would be no write. This says that it is to stand.
        tx.execute(
            "DELETE FROM driftless_conflicts WHERE \"table\" = 'notes' AND \"key\" = quote(?1) AND \"column\" = ?2",
            (note, column),
        )?;
    }
    Ok(tx.commit()?)
}

/// What waits because it breaks a rule together with what others wrote, and what can be done about it.
pub(crate) fn parked(db: &Connection) -> Result<Vec<Json>> {
    let mut statement =
        db.prepare("SELECT \"table\", \"key\", reason, clash, \"row\" FROM driftless_parked")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let mut parked = Vec::new();
    for row in rows {
        let (table, key, reason, clash, row): (String, String, String, Option<String>, Option<String>) = row?;
        let row: Json = row.and_then(|row| serde_json::from_str(&row).ok()).unwrap_or_default();
        let name = row["name"].as_str().unwrap_or_default();
        let id = key.trim_matches('\'');
        let repair = match &*table {
            "notebooks" => json!([
                {"label": "Rename it", "method": "POST", "path": format!("api/parked/{id}/rename"), "body": {"name": free_name(db, name)?}},
                {"label": format!("Put its notes into the other '{name}'"), "method": "POST", "path": format!("api/parked/{id}/merge"), "body": {}},
            ]),
            _ => json!([]),
        };
        let name = if name.is_empty() { row["text"].as_str().unwrap_or(id) } else { name };
        parked.push(
            json!({"table": table, "key": id, "name": name, "reason": reason, "clash": clash, "repair": repair}),
        );
    }
    Ok(parked)
}

fn free_name(db: &Connection, name: &str) -> Result<String> {
    for number in 2.. {
        let name = format!("{name} {number}");
        if db.query_row("SELECT NOT EXISTS (SELECT 1 FROM notebooks WHERE name = ?1)", [&name], |row| {
            row.get(0)
        })? {
            return Ok(name);
        }
    }
    unreachable!("there are more numbers than notebooks")
}

/// A notebook that waits gets another name: it is inserted anew under its key.
pub(crate) fn rename_parked(db: &Connection, id: &str, name: &str) -> Result<()> {
    name_of_parked(db, id)?;
    named(db, name, "INSERT OR ABORT INTO notebooks (id, name) VALUES (?1, ?2)", id).map(|_| ())
}

/// The notes of a notebook that waits go to the one that has its name, and it is deleted: inserted anew, and deleted.
pub(crate) fn merge_parked(db: &mut Connection, id: &str) -> Result<()> {
    let name = name_of_parked(db, id)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let other: Option<String> =
        tx.query_row("SELECT id FROM notebooks WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    let other = other.ok_or(Refused::NotFound("notebook"))?;
    tx.execute("UPDATE notes SET notebook = ?2 WHERE notebook = ?1", (id, other))?;
    tx.execute("INSERT INTO notebooks (id, name) VALUES (?1, ?1)", [id])?;
    tx.execute("DELETE FROM notebooks WHERE id = ?1", [id])?;
    Ok(tx.commit()?)
}

/// Somebody else may have repaired it just now.
fn name_of_parked(db: &Connection, id: &str) -> Result<String> {
    let parked = parked(db)?;
    let waiting = parked.iter().find(|row| row["table"] == "notebooks" && row["key"] == id);
    let name = waiting.and_then(|row| row["name"].as_str());
    Ok(name.ok_or(Refused::Invalid("this notebook does not wait any more"))?.to_owned())
}
