//! Schemas made up at random: tables with keys, constraints, references, kinds and triggers of every form. Beside them stand
//! a few plain tables, the *witnesses*, which tell at once whether a transaction came whole, whether what was added to a
//! counter was counted, and whether what was typed into a text is there once.

use std::fmt::Write as _;

use fastrand::Rng;

use super::scenario::TableSpec;

/// Two tables of which each transaction writes both or neither.
pub(super) const LEFT: &str = "left";
pub(super) const RIGHT: &str = "right";
/// A table with a counter, of which rows are never inserted or deleted.
pub(super) const TALLY: &str = "tally";
/// But for this one, which comes and goes, with that number each time; to it is only added. It shows that number and what
/// was added since, as far as whoever brought it back had not seen it.
pub(super) const REVIVED: &str = "c";
pub(super) const REVIVED_AT: i64 = 10_000;
/// A table with a text, likewise. Each letter in it counts as a word of its own: of a word with a letter more, the engine may
/// take a whole part for rewritten.
pub(super) const PAGE: &str = "page";
const FORM: &str = "form";

const WITNESSES: &str = "
CREATE TABLE \"left\" (token TEXT NOT NULL PRIMARY KEY, who INTEGER);
CREATE TABLE \"right\" (token TEXT NOT NULL PRIMARY KEY, who INTEGER);
CREATE TABLE tally (id TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0);
INSERT INTO tally VALUES ('a', 0), ('b', 100), ('c', 10000);
CREATE TABLE page (id TEXT NOT NULL PRIMARY KEY, body TEXT);
INSERT INTO page VALUES ('a', ''), ('b', '가나다라마');
";

/// A table whose one row apps may write all the time, with values that are never the same. What stands in it depends on the
/// most that the writers know of one another.
pub(super) fn form() -> (&'static str, TableSpec) {
    let sql = "CREATE TABLE form (id TEXT NOT NULL PRIMARY KEY, a, b, c);\nINSERT INTO form VALUES ('1', 0, 0, 0);\n";
    (sql, plain(FORM))
}

fn plain(name: &str) -> TableSpec {
    TableSpec {
        name: name.to_owned(),
        integer_key: false,
        deletes_win: false,
        counters: Vec::new(),
        texts: Vec::new(),
    }
}

/// The witnesses as they are tracked.
fn witnesses() -> [TableSpec; 4] {
    [
        plain(LEFT),
        plain(RIGHT),
        TableSpec { counters: vec!["n".to_owned()], ..plain(TALLY) },
        TableSpec { texts: vec!["body".to_owned()], ..plain(PAGE) },
    ]
}

pub(super) fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

pub(super) fn one_in(rng: &mut Rng, n: u8) -> bool {
    rng.u8(..n) == 0
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value for a column of that declared type: few, so that they clash and refer to each other.
pub(super) fn literal(rng: &mut Rng, declared: &str) -> String {
    let values: &[&str] = match declared {
        "TEXT" => &["'a'", "'A'", "'b'", "'c'", "'d '"],
        "INTEGER" => &["1", "2", "3", "4"],
        "REAL" => &["1", "2.5"],
        "BLOB" => &["x'01'", "x'02'", "x'03'"],
        _ => &["1", "1.0", "'1'", "x'01'", "'a'"],
    };
    if one_in(rng, 8) { "NULL".to_owned() } else { pick(rng, values).to_owned() }
}

/// A column as it is made up.
struct Made {
    name: String,
    declared: &'static str,
    collation: &'static str,
    /// Whether others may refer to it.
    unique: bool,
}

/// A schema, and what to track of it.
pub(super) struct Schema {
    pub(super) sql: String,
    pub(super) tables: Vec<TableSpec>,
}

const ACTIONS: [&str; 5] = ["", " CASCADE", " SET NULL", " NO ACTION", " RESTRICT"];

fn actions(rng: &mut Rng) -> String {
    let mut sql = String::new();
    for event in ["DELETE", "UPDATE"] {
        let action = pick(rng, &ACTIONS);
        if !action.is_empty() {
            let _ = write!(sql, " ON {event}{action}");
        }
    }
    if rng.bool() {
        sql.push_str(" DEFERRABLE INITIALLY DEFERRED");
    }
    sql
}

/// A schema with witnesses. `simple`: without triggers and generated columns.
pub(super) fn schema(rng: &mut Rng, simple: bool) -> Schema {
    let names = ["t0", "t 1", "o\"dd", "select"];
    let count = rng.usize(2..=4);
    // The keys first, since tables refer to later ones, too.
    let keys: Vec<Vec<Made>> = (0..count)
        .map(|_| {
            let column = |name: &str, declared, collation| Made {
                name: name.to_owned(),
                declared,
                collation,
                unique: true,
            };
            match rng.u8(..7) {
                0 | 1 => vec![column("k", "TEXT", "")],
                2 => vec![column("k", "TEXT", " COLLATE NOCASE")],
                3 => vec![column("k", "INTEGER", "")],
                4 => vec![column("k", "BLOB", "")],
                _ => vec![column("k", "INTEGER", ""), column("k2", "TEXT", "")],
            }
        })
        .collect();
    let uniques: Vec<Option<Made>> = (0..count)
        .map(|_| {
            rng.bool().then(|| Made {
                name: "u".to_owned(),
                declared: pick(rng, &["TEXT", "INTEGER"]),
                collation: pick(rng, &["", "", " COLLATE NOCASE", " COLLATE RTRIM"]),
                unique: rng.bool(),
            })
        })
        .collect();
    let mut sql = WITNESSES.to_owned();
    let mut tables = witnesses().to_vec();
    let mut after = String::new();
    for at in 0..count {
        let name = names[at];
        let strict = one_in(rng, 4);
        let mut parts = Vec::new();
        let mut plain: Vec<(String, &str)> = Vec::new();
        let alias = keys[at].len() == 1 && keys[at][0].declared == "INTEGER";
        for key in &keys[at] {
            let single = if keys[at].len() == 1 { " PRIMARY KEY" } else { "" };
            // A row with NULL in its key stays in its file, and so would what it refers to.
            let null = if alias { "" } else { " NOT NULL" };
            parts.push(format!("{} {}{null}{}{single}", key.name, key.declared, key.collation));
        }
        if let Some(unique) = &uniques[at] {
            // Declared or by an index.
            let how = if unique.unique && rng.bool() { " UNIQUE" } else { "" };
            let how = match (how, rng.u8(..4)) {
                (" UNIQUE", 0) => " UNIQUE ON CONFLICT REPLACE",
                (how, _) => how,
            };
            let null = match (unique.declared, rng.u8(..4)) {
                ("TEXT", 0) => " NOT NULL DEFAULT 'b'",
                ("INTEGER", 0) => " NOT NULL DEFAULT 2",
                _ => "",
            };
            parts.push(format!("u {}{}{null}{how}", unique.declared, unique.collation));
            if unique.unique && how.is_empty() {
                let _ = writeln!(after, "CREATE UNIQUE INDEX \"u of {at}\" ON {} (u);", quote(name));
            }
            plain.push(("u".to_owned(), unique.declared));
        }
        for n in 0..rng.usize(1..4) {
            let any = if strict { "ANY" } else { "" };
            let declared = pick(rng, &["TEXT", "INTEGER", "REAL", any]);
            let column = format!("c{n}");
            let rule = match (declared, rng.u8(..9)) {
                (_, 0) => " NOT NULL".to_owned(),
                ("TEXT", 1) => " NOT NULL DEFAULT ''".to_owned(),
                ("INTEGER", 1) => " NOT NULL DEFAULT 1".to_owned(),
                ("TEXT", 2) => " DEFAULT 'b' COLLATE NOCASE".to_owned(),
                ("INTEGER", 2) => " DEFAULT 2".to_owned(),
                ("INTEGER", 3) => format!(" CHECK ({column} < 4)"),
                ("TEXT", 3) => format!(" CHECK ({}.{column} <> 'c')", quote(name)),
                (_, 4) => " UNIQUE".to_owned(),
                _ => String::new(),
            };
            parts.push(format!("{column} {declared}{rule}"));
            plain.push((column, declared));
        }
        let mut spec = TableSpec {
            name: name.to_owned(),
            integer_key: alias,
            deletes_win: false,
            counters: Vec::new(),
            texts: Vec::new(),
        };
        if rng.bool() {
            parts.push("n INTEGER DEFAULT 0".to_owned());
            spec.counters.push("n".to_owned());
        }
        if one_in(rng, 3) {
            parts.push("body TEXT".to_owned());
            spec.texts.push("body".to_owned());
        }
        if one_in(rng, 4) {
            spec.deletes_win = true;
        }
        let stamped = !simple && one_in(rng, 4);
        if stamped {
            parts.push("stamp INTEGER".to_owned());
        }
        if !simple && one_in(rng, 3) {
            let (of, _) = &plain[rng.usize(..plain.len())];
            let how = pick(rng, &["STORED", "VIRTUAL"]);
            parts.push(format!("g TEXT GENERATED ALWAYS AS (lower({of}) || 'x') {how}"));
            if one_in(rng, 3) {
                let _ = writeln!(after, "CREATE UNIQUE INDEX \"g of {at}\" ON {} (g);", quote(name));
            }
        }
        // References, to any table, itself too.
        let mut clauses = Vec::new();
        if keys[at].len() > 1 {
            clauses.push("PRIMARY KEY (k2, k)".to_owned());
        }
        for n in 0..rng.usize(..3) {
            let to = rng.usize(..count);
            let parent = quote(names[to]);
            let actions = actions(rng);
            match &uniques[to] {
                Some(unique) if unique.unique && rng.bool() => {
                    let collation = if rng.bool() { unique.collation } else { "" };
                    parts.push(format!(
                        "r{n} {}{collation} REFERENCES {parent} (u){actions}",
                        unique.declared
                    ));
                    plain.push((format!("r{n}"), unique.declared));
                }
                _ if keys[to].len() == 1 => {
                    let key = &keys[to][0];
                    let collation = if rng.bool() { key.collation } else { "" };
                    parts.push(format!("r{n} {}{collation} REFERENCES {parent}{actions}", key.declared));
                    plain.push((format!("r{n}"), key.declared));
                }
                _ => {
                    parts.push(format!("r{n}a TEXT"));
                    parts.push(format!("r{n}b INTEGER"));
                    plain.push((format!("r{n}a"), "TEXT"));
                    plain.push((format!("r{n}b"), "INTEGER"));
                    clauses.push(format!("FOREIGN KEY (r{n}a, r{n}b) REFERENCES {parent} (k2, k){actions}"));
                }
            }
            if rng.bool() {
                let last = &plain[plain.len() - 1].0;
                let _ = writeln!(after, "CREATE INDEX \"r{n} of {at}\" ON {} ({last});", quote(name));
            }
        }
        let two = |rng: &mut Rng| {
            let one = rng.usize(..plain.len());
            (plain[one].clone(), plain[(one + 1) % plain.len()].clone())
        };
        if one_in(rng, 3) {
            let ((a, _), (b, _)) = two(rng);
            if a != b {
                clauses.push(format!("UNIQUE ({a}, {b})"));
            }
        }
        if one_in(rng, 3) {
            let ((a, _), (b, _)) = two(rng);
            clauses.push(format!("CHECK ({a} IS NULL OR {b} IS NULL OR {a} <> {b} OR {a} IN (1, 'a'))"));
        }
        if one_in(rng, 3) {
            let ((a, _), (b, _)) = two(rng);
            let on = quote(name);
            let index = match rng.u8(..4) {
                0 => format!("(lower({a}) || 'x')"),
                1 => format!("({a} COLLATE NOCASE) WHERE {b} IS NOT NULL"),
                2 => format!("({a}, {b} DESC)"),
                _ => format!("(coalesce({a}, 'none'), lower({b})) WHERE {a} IS NOT 2"),
            };
            let _ = writeln!(after, "CREATE UNIQUE INDEX \"x of {at}\" ON {on} {index};");
        }
        parts.extend(clauses);
        let table_options = match (strict, !alias && one_in(rng, 3)) {
            (true, true) => " STRICT, WITHOUT ROWID",
            (true, false) => " STRICT",
            (false, true) => " WITHOUT ROWID",
            (false, false) => "",
        };
        let on = quote(name);
        let _ = writeln!(sql, "CREATE TABLE {on} ({}){table_options};", parts.join(", "));
        let same = keys[at].iter().map(|key| format!("{0} = NEW.{0}", key.name)).collect::<Vec<_>>();
        let same = same.join(" AND ");
        if stamped {
            let when = pick(rng, &["", " WHEN NEW.stamp IS OLD.stamp"]);
            let _ = writeln!(
                after,
                "CREATE TRIGGER \"stamp {at}\" AFTER UPDATE ON {on}{when} BEGIN
                   UPDATE {on} SET stamp = unixepoch('subsec') * 1000 % 1000 WHERE {same};
                 END;"
            );
        }
        tables.push(spec);
    }
    if !simple {
        triggers(rng, &names[..count], sql.contains("CONFLICT"), &mut tables, &mut after);
    }
    sql.push_str(&after);
    Schema { sql, tables }
}

/// Triggers that write elsewhere.
fn triggers(rng: &mut Rng, names: &[&str], clauses: bool, tables: &mut Vec<TableSpec>, sql: &mut String) {
    let any = |rng: &mut Rng| quote(names[rng.usize(..names.len())]);
    if one_in(rng, 3) {
        let counter = tables.iter().find(|spec| spec.name != TALLY && !spec.counters.is_empty());
        if let Some(counter) = counter {
            let (of, into) = (any(rng), quote(&counter.name));
            let _ = writeln!(
                sql,
                "CREATE TRIGGER counts AFTER INSERT ON {of} BEGIN UPDATE {into} SET n = n + 1; END;"
            );
        }
    }
    if one_in(rng, 3) {
        let of = any(rng);
        let unique = pick(rng, &["", " UNIQUE"]);
        let or = pick(rng, &["", "OR REPLACE ", "OR IGNORE "]);
        let _ = writeln!(
            sql,
            "CREATE TABLE log (id TEXT NOT NULL PRIMARY KEY, what{unique});
             CREATE TRIGGER logs AFTER INSERT ON {of} BEGIN
               INSERT {or}INTO log (id, what) VALUES (unixepoch('subsec') || '/' || (SELECT count(*) FROM log), NEW.k);
             END;"
        );
        let plain = witnesses()[0].clone();
        tables.push(TableSpec { name: "log".to_owned(), ..plain });
    }
    if rng.bool() {
        let of = any(rng);
        // Where a table's constraint has a conflict clause of its own, the engine's is in the place of the trigger's.
        let or = if clauses || rng.bool() {
            "DELETE FROM mirror WHERE k = NEW.k; INSERT"
        } else {
            "INSERT OR REPLACE"
        };
        let _ = writeln!(
            sql,
            "CREATE TABLE mirror (k PRIMARY KEY, v);
             CREATE TRIGGER mirror_i AFTER INSERT ON {of} BEGIN
               {or} INTO mirror (k, v) VALUES (NEW.k, NEW.c0);
             END;
             CREATE TRIGGER mirror_u AFTER UPDATE ON {of} BEGIN
               {or} INTO mirror (k, v) VALUES (NEW.k, NEW.c0);
             END;
             CREATE TRIGGER mirror_d AFTER DELETE ON {of} BEGIN DELETE FROM mirror WHERE k = OLD.k; END;"
        );
    }
}
