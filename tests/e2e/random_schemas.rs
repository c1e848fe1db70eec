//! Whatever the schema: each seed makes one up, of tables with keys, constraints, references, kinds and triggers of every
//! form, and three replicas write at random, change their schema one after the other, and exchange what they wrote late,
//! twice and in any order. No turn fails, every constraint holds in every file at every step, and when all have everything
//! and the same schema, they show and park the same.
//!
//! With DRIFTLESS_LOG set, a failure prints everything that was run.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;

use driftless::sim::Replica;
use driftless::{Config, TableOptions, VerifyOptions};
use driftless_tests::{connect, create_database, each_seed, query};
use fastrand::Rng;
use rusqlite::Connection;

const NODES: usize = 3;

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn one_in(rng: &mut Rng, n: u8) -> bool {
    rng.u8(..n) == 0
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value for a column of that declared type: few, so that they clash and refer to each other.
fn literal(rng: &mut Rng, declared: &str) -> String {
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

struct Schema {
    sql: String,
    tracked: Vec<(String, TableOptions)>,
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

fn schema(rng: &mut Rng) -> Schema {
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
    let (mut sql, mut tracked) = (String::new(), Vec::new());
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
        let mut options = if alias { TableOptions::integer_key() } else { TableOptions::default() };
        if rng.bool() {
            parts.push("n INTEGER DEFAULT 0".to_owned());
            options = options.counter("n");
        }
        if one_in(rng, 3) {
            parts.push("body TEXT".to_owned());
            options = options.text("body");
        }
        if one_in(rng, 4) {
            options = options.deletes_win();
        }
        let stamped = one_in(rng, 4);
        if stamped {
            parts.push("stamp INTEGER".to_owned());
        }
        if one_in(rng, 3) {
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
                   UPDATE {on} SET stamp = abs(random() % 1000) WHERE {same};
                 END;"
            );
        }
        tracked.push((name.to_owned(), options));
    }
    triggers(rng, &names[..count], sql.contains("CONFLICT"), &mut tracked, &mut after);
    sql.push_str(&after);
    Schema { sql, tracked }
}

/// Triggers that write elsewhere.
fn triggers(
    rng: &mut Rng,
    names: &[&str],
    clauses: bool,
    tracked: &mut Vec<(String, TableOptions)>,
    sql: &mut String,
) {
    let any = |rng: &mut Rng| quote(names[rng.usize(..names.len())]);
    if one_in(rng, 3) {
        let counter = tracked.iter().find(|(_, options)| options.kinds.iter().any(|(name, _)| name == "n"));
        if let Some((counter, _)) = counter {
            let (of, into) = (any(rng), quote(counter));
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
               INSERT {or}INTO log (id, what) VALUES (hex(randomblob(4)), NEW.k);
             END;"
        );
        tracked.push(("log".to_owned(), TableOptions::default()));
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

/// A table as it is in a file.
struct Seen {
    name: String,
    /// Name, declared type, whether it is part of the key.
    columns: Vec<(String, String, bool)>,
}

fn look(connection: &Connection) -> Vec<Seen> {
    let names = texts(
        connection,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'
         AND name NOT GLOB '_driftless_*' AND name <> 'mirror' ORDER BY name",
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
            Seen { name, columns }
        })
        .collect()
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).expect("the schema");
    let found = statement.query_map([], |row| row.get(0)).expect("the schema");
    found.map(|text| text.expect("text")).collect()
}

/// A random statement; many fail, as they would in an app.
fn statement(rng: &mut Rng, tables: &[Seen]) -> String {
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
            let filter = if one_in(rng, 6) { "1".to_owned() } else { key(rng) };
            format!("UPDATE {or}{name} SET {} WHERE {filter}", sets.join(", "))
        }
        11 => format!("DELETE FROM {name}{}", if one_in(rng, 4) { "" } else { " WHERE k = (SELECT max(k))" }),
        _ => format!("DELETE FROM {name} WHERE {}", key(rng)),
    }
}

/// A random change of the schema. `(table, old, new)`: a rename to be told.
#[derive(Clone)]
enum Change {
    Sql(String),
    Rename(String, String, String),
}

fn change(rng: &mut Rng, tables: &[Seen], number: usize) -> Change {
    let table = &tables[rng.usize(..tables.len())];
    let name = quote(&table.name);
    let column = &table.columns[rng.usize(..table.columns.len())].0;
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
        1 | 2 if table.name != "log" && !["n", "stamp", "c0"].contains(&&**column) => {
            Change::Sql(format!("ALTER TABLE {name} DROP COLUMN {}", quote(column)))
        }
        3 => Change::Rename(table.name.clone(), column.clone(), format!("m{number}")),
        4 => Change::Sql(format!("CREATE UNIQUE INDEX i{number} ON {name} ({})", quote(column))),
        5 => Change::Sql(format!("DROP INDEX \"{} of {}\"", pick(rng, &["x", "g", "r0"]), rng.u8(..4))),
        _ => Change::Sql(format!("ALTER TABLE {name} RENAME TO \"new {number}\"")),
    }
}

/// Three files and what is under way between them.
struct World {
    nodes: Vec<Option<Replica>>,
    users: Vec<Connection>,
    read: [[u64; NODES]; NODES],
    late: Vec<Vec<bytes::Bytes>>,
    changes: Vec<Change>,
    changed: [usize; NODES],
}

thread_local! {
    /// Everything that was run, for people.
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

fn log(line: &str) {
    LOG.with_borrow_mut(|log| {
        log.push_str(line);
        log.push('\n');
    });
}

fn open(rng: &mut Rng, path: &Path) -> Replica {
    let mut config = Config::default();
    // Small turns, so that transactions are captured in parts.
    config.turn_rows = [2, 7, 20_000][rng.usize(..3)];
    config.changeset_bytes = [64, 4096, 256 << 10][rng.usize(..3)];
    config.turn_gap = std::time::Duration::ZERO;
    Replica::open(path, config).expect("opened")
}

impl World {
    fn node(&mut self, at: usize) -> &mut Replica {
        self.nodes[at].as_mut().expect("open")
    }

    fn run(&self, at: usize, sql: &str) -> bool {
        let done = self.users[at].execute_batch(sql);
        log(&format!("{at}: {sql}; -- {done:?}"));
        done.is_ok()
    }

    fn write(&self, at: usize, rng: &mut Rng) {
        let tables = look(&self.users[at]);
        self.run(at, &format!("PRAGMA foreign_keys = {}", rng.bool()));
        let whole = rng.bool();
        if whole {
            self.run(at, "BEGIN");
        }
        for _ in 0..rng.u8(1..6) {
            let undone = whole && one_in(rng, 5);
            if undone {
                self.run(at, "SAVEPOINT s");
            }
            self.run(at, &statement(rng, &tables));
            if undone {
                self.run(at, "ROLLBACK TO s");
            }
        }
        if whole && !self.run(at, "COMMIT") {
            self.run(at, "ROLLBACK");
        }
    }

    /// Makes the next change of the schema at one, or leads with a new one. Returns whether it was done.
    fn alter(&mut self, at: usize, rng: &mut Rng) -> bool {
        let next = self.changes.get(self.changed[at]).cloned();
        let leads = next.is_none();
        let change = next.unwrap_or_else(|| change(rng, &look(&self.users[at]), self.changes.len()));
        let path = self.node(at).path().to_owned();
        let done = match &change {
            Change::Sql(sql) => self.run(at, sql),
            Change::Rename(table, old, new) if leads || rng.bool() => {
                let told = driftless::rename_column(&path, table, old, new);
                log(&format!("{at}: rename-column {table} {old} {new}; -- {told:?}"));
                told.is_ok()
            }
            Change::Rename(table, old, new) => self.run(
                at,
                &format!("ALTER TABLE {} RENAME COLUMN {} TO {}", quote(table), quote(old), quote(new)),
            ),
        };
        if done {
            self.changed[at] += 1;
            if leads {
                self.changes.push(change);
            }
        }
        done
    }

    fn exchange(&mut self, to: usize, from: usize, rng: &mut Rng, settling: bool) {
        self.node(from).turn(Vec::new()).unwrap_or_else(|error| panic!("{from} captures: {error:?}"));
        let after = if one_in(rng, 6) { 0 } else { self.read[to][from] };
        let mut news = self.node(from).changesets_after(after).expect("changesets");
        let last = after + news.len() as u64;
        self.read[to][from] = last.max(self.read[to][from]);
        news.append(&mut self.late[to]);
        if !settling {
            if one_in(rng, 3) {
                rng.shuffle(&mut news);
            }
            let kept = if one_in(rng, 3) { rng.usize(..=news.len()) } else { news.len() };
            self.late[to] = news.split_off(kept);
        }
        log(&format!("-- {to} gets {} of {from}", news.len()));
        self.node(to).turn(news).unwrap_or_else(|error| panic!("{to} applies: {error:?}"));
        self.assert_sound(to);
    }

    #[track_caller]
    fn assert_sound(&self, at: usize) {
        let path = self.nodes[at].as_ref().expect("open").path();
        assert_eq!(query(path, "PRAGMA foreign_key_check"), [""; 0], "{at}");
        assert_eq!(query(path, "PRAGMA integrity_check"), ["'ok'"], "{at}");
    }

    fn written(&self) -> u64 {
        self.read.iter().flatten().sum()
    }

    fn settle(&mut self, rng: &mut Rng) {
        for to in 0..NODES {
            for from in 0..NODES {
                if from != to {
                    self.exchange(to, from, rng, true);
                }
            }
        }
    }
}

/// What a file shows, lists as parked, and lists as conflicts.
fn shown(path: &Path) -> [Vec<String>; 3] {
    let connection = connect(path);
    let mut rows = Vec::new();
    for Seen { name, .. } in look(&connection) {
        let all = query(path, &format!("SELECT * FROM {}", quote(&name)));
        rows.extend(all.into_iter().map(|row| format!("{name}: {row}")));
    }
    let parked = driftless::parked(path).expect("parked").into_iter();
    let mut parked: Vec<String> =
        parked.map(|row| format!("{} [{}] {:?}", row.table, row.key, row.row)).collect();
    let conflicts = driftless::conflicts(path).expect("conflicts").into_iter();
    let mut conflicts: Vec<String> = conflicts.map(|conflict| format!("{conflict:?}")).collect();
    rows.sort();
    parked.sort();
    conflicts.sort();
    [rows, parked, conflicts]
}

fn history(mut rng: Rng) {
    let schema = schema(&mut rng);
    log(&schema.sql);
    let folder = tempfile::tempdir().expect("a folder");
    let nodes: Vec<_> = (0..NODES)
        .map(|n| {
            let path = folder.path().join(format!("{n}.db"));
            create_database(&path, &schema.sql);
            let mut replica = open(&mut rng, &path);
            for (name, options) in &schema.tracked {
                replica.track(&[name], options.clone()).expect("tracked");
            }
            Some(replica)
        })
        .collect();
    let users = nodes.iter().flatten().map(|node| connect(node.path())).collect();
    let mut world = World {
        nodes,
        users,
        read: Default::default(),
        late: vec![Vec::new(); NODES],
        changes: Vec::new(),
        changed: [0; NODES],
    };
    for _ in 0..rng.usize(8..40) {
        for to in 0..NODES {
            if rng.bool() {
                world.write(to, &mut rng);
            }
            if one_in(&mut rng, 12) {
                world.alter(to, &mut rng);
            }
            if one_in(&mut rng, 20) {
                log(&format!("-- {to} is opened anew"));
                let path = world.node(to).path().to_owned();
                world.nodes[to] = None;
                world.nodes[to] = Some(open(&mut rng, &path));
            }
            for from in 0..NODES {
                if from != to && one_in(&mut rng, 4) {
                    world.exchange(to, from, &mut rng, false);
                }
            }
        }
    }
    log("-- the same schema everywhere");
    for at in 0..NODES {
        while world.changed[at] < world.changes.len() {
            if !world.alter(at, &mut rng) {
                // An index that does not hold here, or a default that breaks a CHECK: without rows they do.
                world.run(at, "PRAGMA foreign_keys = 0");
                for table in look(&world.users[at]) {
                    world.run(at, &format!("DELETE FROM {}", quote(&table.name)));
                }
                assert!(world.alter(at, &mut rng), "the schema cannot be changed at {at}");
            }
            world.node(at).turn(Vec::new()).expect("captured");
        }
    }
    // Everybody hears of everything, and of what comes of that.
    for _ in 0..3 {
        world.settle(&mut rng);
    }
    let written = world.written();
    world.settle(&mut rng);
    assert_eq!(world.written(), written, "merging is no writing");
    let vectors: Vec<_> = (0..NODES).map(|at| world.node(at).vector().expect("a vector")).collect();
    assert!(vectors.iter().all(|vector| *vector == vectors[0]), "{vectors:?}");
    let paths: Vec<_> = (0..NODES).map(|at| world.node(at).path().to_owned()).collect();
    world.nodes.clear();
    let all: Vec<_> = paths.iter().map(|path| shown(path)).collect();
    for (at, other) in all.iter().enumerate().skip(1) {
        for (what, (one, other)) in ["rows", "parked", "conflicts"].iter().zip(all[0].iter().zip(other)) {
            let lacks = |one: &[String], other: &[String]| {
                one.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>()
            };
            let (first, second) = (lacks(one, other), lacks(other, one));
            assert!(
                one == other,
                "{what}: only in 0: {first:#?}\nonly in {at}: {second:#?}\nparked in 0: {:#?}\nparked in {at}: {:#?}",
                reasons(&paths[0]),
                reasons(&paths[at])
            );
        }
    }
    for (path, vector) in paths.iter().zip(&vectors) {
        let verified = driftless::verify(path, &VerifyOptions::default()).expect("verified");
        assert!(verified.is_well(), "{}: {:#?}", path.display(), verified.checks);
        assert_eq!(driftless::status(path).expect("a status").vector, *vector, "verifying is no writing");
    }
}

fn reasons(path: &Path) -> Vec<String> {
    query(path, "SELECT \"table\", \"key\", reason FROM driftless_parked ORDER BY 1, 2")
}

#[test]
fn replicas_with_any_schema_that_holds_agree_whatever_they_write() {
    let count = std::env::var("DRIFTLESS_SEEDS").map_or(40, |count| count.parse().expect("a number"));
    each_seed(0..count, |rng| {
        LOG.take();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history(rng)));
        if let Err(panic) = run {
            if std::env::var_os("DRIFTLESS_LOG").is_some() {
                eprintln!("{}", LOG.take());
            }
            std::panic::resume_unwind(panic);
        }
    });
}
