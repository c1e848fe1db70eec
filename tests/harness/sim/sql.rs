//! What apps write at random, and how they change their schema.

use fastrand::Rng;
use rusqlite::Connection;

use super::scenario::Change;
use super::schema::{REVIVED, REVIVED_AT, literal, one_in, pick, quote};

/// A table as it is in a file.
pub(super) struct Seen {
    pub(super) name: String,
    /// Name, declared type, whether it is part of the key.
    pub(super) columns: Vec<(String, String, bool)>,
    /// Whether its foreign keys form a circle, so that a foreign key's action on its rows can come back to this
    /// table.
    in_circle: bool,
}

/// The tables that are written at random: no witnesses.
pub(super) fn look(connection: &Connection) -> Vec<Seen> {
    let names = texts(
        connection,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'
         AND name NOT GLOB '_driftless_*' AND name NOT IN ('mirror', 'the new one', 'the old one', 'left', 'right', 'tally', 'page', 'form')
         ORDER BY name",
    );
    names
        .into_iter()
        .map(|name| {
            let mut statement = connection
                .prepare("SELECT name, type, pk > 0 FROM pragma_table_xinfo(?1) WHERE hidden = 0")
                .expect("the columns");
            let columns = statement
                .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .and_then(|columns| columns.collect())
                .expect("the columns");
            let in_circle = is_in_circle(connection, &name);
            Seen { name, columns, in_circle }
        })
        .collect()
}

fn is_in_circle(connection: &Connection, table: &str) -> bool {
    connection
        .query_row(
            "WITH RECURSIVE refers(name) AS (
                 SELECT lower(\"table\") FROM pragma_foreign_key_list(?1)
                 UNION SELECT lower(f.\"table\") FROM refers, pragma_foreign_key_list(refers.name) AS f)
             SELECT EXISTS (SELECT 1 FROM refers WHERE name = lower(?1))",
            [table],
            |row| row.get(0),
        )
        .expect("the foreign keys")
}

/// Whether the row of the counters that comes and goes is there.
pub(super) fn is_revived(app: &Connection) -> bool {
    app.query_row("SELECT EXISTS (SELECT 1 FROM tally WHERE id = ?1)", [REVIVED], |row| row.get(0))
        .unwrap_or(false)
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).expect("the schema");
    let found = statement.query_map([], |row| row.get(0)).expect("the schema");
    found.map(|text| text.expect("text")).collect()
}

/// A random statement; many fail, as they would in an app.
pub(super) fn statement(rng: &mut Rng, tables: &[Seen]) -> String {
    let table = &tables[rng.usize(..tables.len())];
    let name = quote(&table.name);
    let or = pick(rng, &["", "", "OR REPLACE ", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ROLLBACK "]);
    let value = |rng: &mut Rng, at: usize| -> String {
        let (column, declared, _) = &table.columns[at];
        match &**column {
            "n" if rng.bool() => "n + 1".to_owned(),
            "body" if rng.bool() => format!("coalesce(body, '') || {}", literal(rng, "TEXT")),
            _ => literal(rng, declared),
        }
    };
    let key = |rng: &mut Rng| {
        let of_key = table.columns.iter().filter(|(.., key)| *key);
        let terms = of_key.map(|(name, declared, _)| format!("{} = {}", quote(name), literal(rng, declared)));
        terms.collect::<Vec<_>>().join(" AND ")
    };
    match rng.u8(..14) {
        0..6 => {
            let some: Vec<_> = table.columns.iter().filter(|(.., key)| *key || !one_in(rng, 5)).collect();
            let columns: Vec<String> = some.iter().map(|(name, ..)| quote(name)).collect();
            let values: Vec<String> = some.iter().map(|(_, declared, _)| literal(rng, declared)).collect();
            let (columns, values) = (columns.join(", "), values.join(", "));
            let at = rng.usize(..table.columns.len());
            let upsert = match rng.u8(..6) {
                0 => " ON CONFLICT DO NOTHING".to_owned(),
                1 => {
                    format!(" ON CONFLICT DO UPDATE SET {} = {}", quote(&table.columns[at].0), value(rng, at))
                }
                _ => String::new(),
            };
            let or = if upsert.is_empty() { or } else { "" };
            format!("INSERT {or}INTO {name} ({columns}) VALUES ({values}){upsert}")
        }
        6..11 => {
            let sets: Vec<String> = (0..rng.usize(1..3))
                .map(|_| {
                    let at = rng.usize(..table.columns.len());
                    format!("{} = {}", quote(&table.columns[at].0), value(rng, at))
                })
                .collect();
            // An UPDATE OR REPLACE that removes a row whose going sets to NULL what the updated row has leaves a wrong index
            // behind, in SQLite itself; and so does a plain one under a constraint that says ON CONFLICT REPLACE.
            let or = if ["", "OR REPLACE "].contains(&or) && table.in_circle { "OR ABORT " } else { or };
            let filter = if one_in(rng, 6) { "1".to_owned() } else { key(rng) };
            format!("UPDATE {or}{name} SET {} WHERE {filter}", sets.join(", "))
        }
        11 if one_in(rng, 4) => format!("DELETE FROM {name}"),
        11 => format!("DELETE FROM {name} WHERE k = (SELECT max(k) FROM {name})"),
        _ => format!("DELETE FROM {name} WHERE {}", key(rng)),
    }
}

/// A write of the form: of all that is in it, or of one column.
pub(super) fn form(rng: &mut Rng, number: u32) -> String {
    let columns: &[&str] = if rng.bool() { &["a", "b", "c"] } else { &[pick(rng, &["a", "b", "c"])] };
    let sets: Vec<String> = columns.iter().map(|column| format!("{column} = {number}")).collect();
    format!("UPDATE form SET {}", sets.join(", "))
}

/// Writes of the witnesses, in the middle of whatever transaction they stand in. `number` is not used twice in a run;
/// `revived`: whether the row that comes and goes is there.
pub(super) fn witness(rng: &mut Rng, number: u32, revived: bool) -> Vec<String> {
    let mut sql = Vec::new();
    if one_in(rng, 2) {
        for table in ["left", "right"] {
            sql.push(format!("INSERT INTO \"{table}\" VALUES ('{number}', {number})"));
        }
        let middle = sql.len() - 1;
        if rng.bool() {
            sql.insert(middle, tally(rng, revived));
        }
    } else if rng.bool() {
        sql.push(tally(rng, revived));
    }
    if one_in(rng, 3) {
        let (at, id) = (rng.u32(..1000), pick(rng, &["a", "b"]));
        // Every letter is typed once, so that it can be told what was typed and what was deleted. Some of them take two
        // units of UTF-16.
        let letter = if rng.bool() { 0x4e00 } else { 0x20000 } + number % 20_000;
        let typed = if one_in(rng, 3) { None } else { char::from_u32(letter) };
        let at = format!("{at} % (length(body) + 1)");
        sql.push(match typed {
            Some(letter) => format!(
                "UPDATE page SET body = substr(body, 1, {at}) || '{letter}' || substr(body, {at} + 1) WHERE id = '{id}'"
            ),
            None => format!(
                "UPDATE page SET body = substr(body, 1, {at}) || substr(body, {at} + 2) WHERE id = '{id}'"
            ),
        });
    }
    sql
}

fn tally(rng: &mut Rng, revived: bool) -> String {
    if rng.bool() {
        return match (revived, rng.bool()) {
            (true, true) => format!("DELETE FROM tally WHERE id = '{REVIVED}'"),
            (true, false) => format!("UPDATE tally SET n = n + {} WHERE id = '{REVIVED}'", rng.u8(1..4)),
            // One whose delete nobody has captured yet would not come back, but be set to less.
            (false, _) => format!(
                "INSERT OR IGNORE INTO tally SELECT '{REVIVED}', {REVIVED_AT} WHERE NOT EXISTS (
                     SELECT 1 FROM _driftless_dirty WHERE tbl IN
                         (SELECT id FROM _driftless_tables WHERE name = 'tally'))
                 AND NOT EXISTS (SELECT 1 FROM _driftless_backlog) AND 3 = (
                     SELECT count(*) FROM sqlite_master m JOIN _driftless_tables t ON m.type = 'trigger' AND m.name IN
                         ('_driftless_' || t.id || '_insert', '_driftless_' || t.id || '_update', '_driftless_' || t.id || '_delete')
                     WHERE t.name = 'tally')"
            ),
        };
    }
    let by = pick(rng, &["+ 1", "- 1", "+ 1000", "- 30", "+ 7"]);
    format!("UPDATE tally SET n = n {by} WHERE id = '{}'", pick(rng, &["a", "b"]))
}

/// A transaction, or some statements without one.
pub(super) fn transaction(rng: &mut Rng, tables: &[Seen], number: u32, revived: bool) -> Vec<String> {
    let mut sql = vec![format!("PRAGMA foreign_keys = {}", u8::from(rng.bool()))];
    let whole = rng.bool();
    if whole {
        sql.push(pick(rng, &["BEGIN", "BEGIN IMMEDIATE"]).to_owned());
    }
    for _ in 0..rng.u8(1..6) {
        let undone = whole && one_in(rng, 5);
        if undone {
            sql.push("SAVEPOINT s".to_owned());
        }
        sql.push(statement(rng, tables));
        if undone {
            sql.push("ROLLBACK TO s".to_owned());
        }
    }
    if whole && rng.bool() {
        let at = rng.usize(2..=sql.len());
        sql.splice(at..at, witness(rng, number, revived));
    }
    if whole {
        sql.push(if one_in(rng, 12) { "ROLLBACK" } else { "COMMIT" }.to_owned());
    }
    sql
}

/// Which of our triggers a tool drops: none named for all.
pub(super) fn some_triggers(rng: &mut Rng) -> Vec<String> {
    let kinds =
        ["insert", "update", "delete", "replace_insert", "replace_update", "rowid_insert", "rowid_update"];
    if rng.bool() {
        return Vec::new();
    }
    (0..rng.usize(1..3)).map(|_| pick(rng, &kinds).to_owned()).collect()
}

/// What an app does in a table that it makes anew, in the middle of that.
pub(super) fn on_the_way(rng: &mut Rng, tables: &[Seen], table: &str, number: u32) -> Vec<String> {
    let own: Vec<&Seen> = tables.iter().filter(|seen| seen.name == table).collect();
    let mut sql: Vec<String> = (0..rng.u8(0..5))
        .map(|_| match own[..] {
            [own] if !one_in(rng, 4) => statement(rng, std::slice::from_ref(own)),
            _ => statement(rng, tables),
        })
        .collect();
    if one_in(rng, 3) {
        sql.extend(witness(rng, number, false));
    }
    sql
}

/// A random change of the schema.
pub(super) fn change(rng: &mut Rng, tables: &[Seen], number: usize) -> Change {
    let table = &tables[rng.usize(..tables.len())];
    let name = quote(&table.name);
    let (column, ..) = &table.columns[rng.usize(..table.columns.len())];
    match rng.u8(..7) {
        0 => {
            let column = pick(
                rng,
                &[
                    "TEXT",
                    "INTEGER DEFAULT 3",
                    "TEXT NOT NULL DEFAULT 'a'",
                    "INTEGER CHECK (% < 4)",
                    "INTEGER DEFAULT 3 CHECK (% < 4)",
                ],
            );
            let added = format!("a{number}");
            Change::Sql(format!("ALTER TABLE {name} ADD COLUMN {added} {}", column.replace('%', &added)))
        }
        // SQLite lets a column go that triggers of the app write to, and then no write succeeds any more.
        1 | 2 if !["n", "stamp", "c0", "what", "id"].contains(&&**column) && !column.starts_with('m') => {
            Change::Sql(format!("ALTER TABLE {name} DROP COLUMN {}", quote(column)))
        }
        3 => Change::Rename { table: table.name.clone(), old: column.clone(), new: format!("m{number}") },
        4 => Change::Sql(format!("CREATE UNIQUE INDEX i{number} ON {name} ({})", quote(column))),
        5 => Change::Sql(format!("DROP INDEX \"{} of {}\"", pick(rng, &["x", "g", "r0"]), rng.u8(..4))),
        _ => Change::Sql(format!("ALTER TABLE {name} RENAME TO \"new {number}\"")),
    }
}
