//! New files from a space: what of a database's schema a clone has, what it leaves out and says so, and what the text of
//! others can do to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless::{Cloned, Config, Error, ObjectKind, Selection, SpaceObject, SyncConfig, TableOptions};
use driftless_tests::{
    Commands, Node, PATIENCE, TestRelay, agree, connect, create_database, eventually, query, sql,
};
use rusqlite::functions::FunctionFlags;
use serde_json::Value as Json;
use tempfile::TempDir;

/// A relay and a folder for files.
struct Desk {
    folder: TempDir,
    relay: TestRelay,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), relay: TestRelay::in_memory() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    fn url(&self) -> String {
        self.relay.url("space")
    }

    /// A file of these statements with all its tables tracked, online.
    fn node(&self, name: &str, statements: &str) -> Node {
        let mut node = Node::create(self.path(name), statements);
        node.go_online(&self.url());
        node.sync_now();
        node
    }

    fn clone(&self, name: &str) -> Cloned {
        self.try_clone(name, |_| false).expect("cloned")
    }

    fn try_clone(&self, name: &str, wanted: impl FnMut(&SpaceObject) -> bool) -> Result<Cloned, Error> {
        driftless::clone_space_with(
            self.path(name),
            SyncConfig::new(self.url()),
            Config::default(),
            PATIENCE,
            wanted,
        )
    }

    fn online(&self, name: &str) -> Node {
        let mut node = Node::open(self.path(name));
        node.go_online(&self.url());
        node
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// What was left out, as `kind name: reason`.
fn left_out(cloned: &Cloned) -> Vec<String> {
    cloned
        .left_out
        .iter()
        .map(|left| format!("{} {}: {}", left.kind.name(), left.name, left.reason))
        .collect()
}

/// The statements of a kind of object, by name.
fn statements(path: &Path, kind: &str) -> Vec<String> {
    let sql = format!(
        "SELECT sql FROM sqlite_master WHERE type = '{kind}' AND sql IS NOT NULL AND name NOT LIKE '%driftless%' ORDER BY name"
    );
    query(path, &sql)
}

/// In a clone SQLite handed out once more the number of a row that had been deleted before the clone was made; in a copy, of
/// one that it never had.
#[test]
fn the_number_of_a_deleted_row_is_not_handed_out_again_where_keys_are_autoincrement() {
    let desk = Desk::new();
    let tasks = "CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT)";
    let add = "INSERT INTO tasks (title) VALUES ('here')";
    let first = desk.node("first", tasks);
    first.sql("INSERT INTO tasks (title) VALUES ('one'), ('two'), ('three')");
    first.sync_now();
    desk.clone("early");
    for statement in [add, "DELETE FROM tasks WHERE id >= 3"] {
        first.sql(statement);
        first.sync_now();
    }
    desk.clone("late");
    let early = desk.online("early");
    early.sync_now();
    for (name, expected) in [("early", "5"), ("late", "5")] {
        sql(&desk.path(name), add);
        assert_eq!(query(&desk.path(name), "SELECT max(id) FROM tasks"), [expected], "{name}");
    }
}

const EVERYTHING: &str = "
CREATE TABLE sheet (id TEXT PRIMARY KEY, \"first
name\" TEXT, \"a, b\" TEXT, \"a\" TEXT);
CREATE TABLE tag (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
CREATE TABLE post (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL DEFAULT 'untitled', body TEXT, author TEXT REFERENCES person,
  made TEXT DEFAULT (strftime('%Y', 'now')), salt TEXT DEFAULT (hex(zeroblob(2))), gone INT);
CREATE TABLE person (id TEXT PRIMARY KEY, boss TEXT REFERENCES person (id) ON DELETE SET NULL, best TEXT REFERENCES post DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE pair (a TEXT, b INTEGER, v, PRIMARY KEY (b DESC, a COLLATE NOCASE)) WITHOUT ROWID;
CREATE TABLE firm (id TEXT PRIMARY KEY, n INTEGER NOT NULL, any_thing ANY) STRICT;
CREATE TABLE price (id TEXT PRIMARY KEY, cents REAL CHECK (floor(cents) = cents AND log2(cents + 1) >= 0),
  usd REAL AS (round(cents / pow(10, 2), 2)), twice REAL GENERATED ALWAYS AS (cents * 2) STORED, UNIQUE (usd, id));
CREATE TABLE \"order\" (\"group\" TEXT PRIMARY KEY, \"select\" TEXT, [a b] TEXT, `c\"d` TEXT, \"it's; -- not /* a\" TEXT);
CREATE TABLE \"naïve ☃ \"\"quoted\"\"\" (\"ключ\" TEXT PRIMARY KEY, \"値\" TEXT);
CREATE TABLE \"two
lines; and (\" (id TEXT PRIMARY KEY, v TEXT);
CREATE TABLE \" \" (\" \" TEXT PRIMARY KEY, \"  \" TEXT);
CREATE TABLE remarks -- ends here; or
  (id TEXT PRIMARY KEY, /* ');
  */ v TEXT DEFAULT ';
' -- the last;
  );
CREATE TABLE keyless (v TEXT);
CREATE INDEX live ON post (title) -- only posts that live;
  WHERE gone IS NULL;
CREATE UNIQUE INDEX once ON post (lower(title), author DESC) WHERE author IS NOT NULL;
CREATE INDEX by_body ON post (body COLLATE NOCASE DESC, substr(title, 1, 3));
CREATE INDEX rounded ON price (ceil(cents / 7), mod(cents, 7));
CREATE INDEX \"an index; with
everything\" ON \"order\" (\"it's; -- not /* a\", [a b]);
CREATE VIEW titles AS SELECT p.title, a.id AS \"who; is it\" FROM post p LEFT JOIN person a ON a.id = p.author;
CREATE VIEW of_view AS SELECT * FROM titles;
CREATE VIRTUAL TABLE found USING fts5 (title, body, content='post');
CREATE VIRTUAL TABLE heap USING fts5 (words);
CREATE VIRTUAL TABLE old USING fts4 (content=\"post\", body);
CREATE TRIGGER post_ai AFTER INSERT ON post BEGIN
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
  INSERT INTO heap VALUES (NEW.title);
END;
CREATE TRIGGER post_au AFTER UPDATE OF title ON post WHEN NEW.title <> OLD.title BEGIN
  INSERT INTO found (found, rowid, title, body) VALUES ('delete', OLD.rowid, OLD.title, OLD.body);
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
END;
CREATE TRIGGER titles_ii INSTEAD OF INSERT ON titles BEGIN
  INSERT INTO post (id, title) VALUES (hex(randomblob(8)), NEW.title);
END;
PRAGMA user_version = 42;
PRAGMA application_id = -7;
";

const ROWS: &str = "
INSERT INTO sheet VALUES ('s', 'of two lines', 'with a comma', 'without');
PRAGMA foreign_keys = OFF;
INSERT INTO tag (name) VALUES ('red'), ('green');
DELETE FROM tag WHERE name = 'red';
INSERT INTO post (id, title, body, author) VALUES ('p1', 'A heron', 'stands in water', 'ann'), ('p2', 'Nothing', NULL, NULL);
INSERT INTO person VALUES ('ann', 'ann', 'p1'), ('bob', 'ann', 'p2');
INSERT INTO pair VALUES ('x', 1, 2.5), ('y', 1, x'00ff');
INSERT INTO firm VALUES ('f', 7, '7');
INSERT INTO price (id, cents) VALUES ('a', 250), ('b', 1);
INSERT INTO \"order\" VALUES ('g', 's', 'ab', 'cd', ';');
INSERT INTO \"naïve ☃ \"\"quoted\"\"\" VALUES ('ж', '値');
INSERT INTO \"two
lines; and (\" VALUES ('1', 'v');
INSERT INTO \" \" VALUES ('', ' ');
INSERT INTO remarks (id) VALUES ('r');
INSERT INTO keyless VALUES ('stays');
";

const TABLES: [&str; 13] = [
    "sheet",
    "tag",
    "post",
    "person",
    "pair",
    "firm",
    "price",
    "order",
    "naïve ☃ \"quoted\"",
    "two\nlines; and (",
    " ",
    "remarks",
    "wide",
];

/// A file with all of that, and in it indexes that need what only its app has. In the space, and no engine on it.
fn put_everything(desk: &Desk) -> PathBuf {
    let (commands, path) = (Commands::get(), desk.path("a"));
    let columns: Vec<String> = (0..800).map(|n| format!("column_{n} TEXT DEFAULT 'd{n}'")).collect();
    let wide = format!("CREATE TABLE wide (id TEXT PRIMARY KEY, {});", columns.join(", "));
    create_database(
        &path,
        &format!("{EVERYTHING}{wide}{ROWS} INSERT INTO wide (id, column_7) VALUES ('w', 'x')"),
    );
    let tracked = commands.driftless(["track", text(&path), "--all", "--allow-integer-key", "--json"]);
    assert_eq!(tracked.code, Some(9), "one has no primary key: {tracked:?}");
    let tracked: Json = serde_json::from_str(&tracked.stdout).expect("JSON");
    let left_out: Vec<&str> = tracked["left_out"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|left| left["table"].as_str())
        .collect();
    assert_eq!(left_out, ["keyless", "found", "heap", "old"]);
    let app = connect(&path);
    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_UTF8;
    app.create_scalar_function("of_the_app", 1, flags, |_| Ok(1)).expect("a function");
    app.create_collation("german", |a, b| a.cmp(b)).expect("a collation");
    app.execute_batch(
        "CREATE INDEX by_function ON firm (of_the_app(n)); CREATE INDEX sorted ON remarks (v COLLATE german);
         CREATE INDEX later ON pair (v)",
    )
    .expect("indexes");
    drop(app);
    commands.succeed(["sync", text(&path), &desk.url(), "--once"]);
    path
}

#[test]
fn a_clone_of_a_database_with_every_construct_has_all_that_can_be_made_and_lists_the_rest() {
    let (desk, commands) = (Desk::new(), Commands::get());
    let (a, b) = (put_everything(&desk), desk.path("b"));
    let cloned: Json =
        serde_json::from_str(&commands.succeed(["clone", &desk.url(), text(&b), "--json"])).expect("JSON");
    let names = |list: &Json, of: &str| -> Vec<String> {
        let mut names: Vec<String> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one[of].as_str().expect("text").to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(cloned["tables"].as_array().map(Vec::len), Some(TABLES.len()));
    assert_eq!(
        names(&cloned["left_out"], "name"),
        [
            "by_function",
            "found",
            "heap",
            "of_view",
            "old",
            "post_ai",
            "post_au",
            "sorted",
            "titles",
            "titles_ii"
        ]
    );
    let reasons = names(&cloned["left_out"], "reason");
    assert!(reasons.iter().any(|reason| reason.contains("no such function: of_the_app")), "{reasons:?}");
    assert!(
        reasons.iter().any(|reason| reason.contains("no such collation sequence: german")),
        "{reasons:?}"
    );
    for table in TABLES {
        let all = format!("SELECT * FROM \"{}\" ORDER BY 1, 2", table.replace('"', "\"\""));
        let rows = query(&a, &all);
        assert!(!rows.is_empty(), "{table}");
        assert_eq!(query(&b, &all), rows, "{table}");
        let statement = format!("SELECT sql FROM sqlite_master WHERE name = '{}'", table.replace('\'', "''"));
        assert_eq!(query(&b, &statement), query(&a, &statement), "{table}");
    }
    let mut indexes = statements(&a, "index");
    indexes.retain(|index| !index.contains("of_the_app") && !index.contains("german"));
    assert_eq!(indexes.len(), 6, "{indexes:?}");
    assert_eq!(statements(&b, "index"), indexes);
    assert_eq!(
        (query(&b, "PRAGMA user_version"), query(&b, "PRAGMA application_id")),
        (vec!["42".into()], vec!["-7".into()])
    );
    assert!(
        query(&b, "SELECT name FROM sqlite_master WHERE name IN ('keyless', 'titles', 'found')").is_empty()
    );
    // The clone is a file like any other.
    sql(&b, "INSERT INTO tag (name) VALUES ('blue'); UPDATE price SET cents = 300 WHERE id = 'a'");
    commands.succeed(["sync", text(&b), &desk.url(), "--once"]);
    commands.succeed(["sync", text(&a), &desk.url(), "--once"]);
    assert_eq!(query(&a, "SELECT name FROM tag ORDER BY name"), ["'blue'", "'green'"]);
    commands.succeed(["verify", text(&b), &desk.url()]);
}

#[test]
fn views_triggers_and_full_text_tables_are_shown_and_made_where_they_are_asked_for() {
    let (desk, commands) = (Desk::new(), Commands::get());
    let (a, b) = (put_everything(&desk), desk.path("b"));
    let shown = commands.succeed(["clone", &desk.url(), text(&b), "--show"]);
    assert!(
        shown.contains("CREATE TRIGGER post_ai AFTER INSERT ON post BEGIN")
            && shown.contains("PRAGMA user_version = 42;")
    );
    assert!(!b.exists());
    let outcome = commands.driftless([
        "clone",
        &desk.url(),
        text(&b),
        "--include",
        "views,virtual-tables",
        "--include",
        "triggers",
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stderr.contains("trigger 'post_ai' is to be made:\nCREATE TRIGGER post_ai"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("'heap' was made and is empty"), "{outcome:?}");
    assert!(outcome.stderr.contains("left out index 'by_function' of table 'firm'"), "{outcome:?}");
    for kind in ["view", "trigger"] {
        assert_eq!(statements(&b, kind), statements(&a, kind));
    }
    let search = |word: &str| query(&b, &format!("SELECT title FROM found WHERE found MATCH '{word}'"));
    assert_eq!(search("water"), ["'A heron'"]);
    assert_eq!(query(&b, "SELECT docid FROM old WHERE old MATCH 'water'").len(), 1);
    sql(&b, "INSERT INTO titles (title) VALUES ('An osprey')");
    assert_eq!(search("osprey"), ["'An osprey'"]);
    assert_eq!(query(&b, "SELECT \"who; is it\" FROM of_view WHERE title = 'A heron'"), ["'ann'"]);
    // Triggers run on merged rows too.
    sql(&a, "INSERT INTO post (id, title) VALUES ('p3', 'A bittern')");
    commands.succeed(["sync", text(&a), &desk.url(), "--once"]);
    commands.succeed(["sync", text(&b), &desk.url(), "--once"]);
    assert_eq!(search("bittern"), ["'A bittern'"]);
}

/// Says something of a table, or of another thing, as a file that does not play by the rules could.
fn define(node: &Node, name: &str, statement: &str, kind: Option<&str>) {
    let key = kind.map_or_else(|| name.to_owned(), |kind| format!("\u{1}{kind}\u{1}{name}"));
    let user = connect(node.path());
    user.execute(
        "INSERT INTO _driftless_definitions (name, type, spelled, sql) VALUES (?1, ?2, ?3, ?4)",
        (&key, kind, kind.map(|_| name), statement),
    )
    .expect("a definition");
    user.execute("INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (1, 1, ?1)", [&key]).expect("a mark");
}

#[test]
fn one_bad_definition_blocks_no_other_and_does_nothing() {
    let desk = Desk::new();
    let node =
        desk.node("a", "CREATE TABLE good (id TEXT PRIMARY KEY, v); INSERT INTO good VALUES ('1', 'x')");
    define(&node, "b_empty", "", None);
    define(&node, "c_two", "CREATE TABLE c_two (id TEXT PRIMARY KEY); DROP TABLE good", None);
    define(&node, "d_other", "CREATE TABLE good2 (id TEXT PRIMARY KEY)", None);
    define(&node, "e_keyless", "CREATE TABLE e_keyless (v)", None);
    define(&node, "f_function", "CREATE TABLE f_function (id TEXT PRIMARY KEY CHECK (of_the_app(id)))", None);
    define(&node, "_driftless_x", "CREATE TABLE _driftless_x (id TEXT PRIMARY KEY)", None);
    define(
        &node,
        "g",
        "CREATE TRIGGER g AFTER INSERT ON good BEGIN DELETE FROM _driftless_rows; END",
        Some("trigger"),
    );
    define(
        &node,
        "h",
        "CREATE TRIGGER h AFTER INSERT ON good BEGIN INSERT INTO nowhere VALUES (1); END",
        Some("trigger"),
    );
    define(&node, "user_version", "7; DROP TABLE good", Some("pragma"));
    node.sync_now();
    let cloned = desk.try_clone("b", |_| true).expect("cloned");
    assert_eq!(cloned.tables, ["good"]);
    assert_eq!(cloned.objects, []);
    let left_out = left_out(&cloned);
    for (name, reason) in [
        ("table _driftless_x", "belongs to"),
        ("table b_empty", ""),
        ("table c_two", ""),
        ("table d_other", "not authorized"),
        ("table e_keyless", "no PRIMARY KEY"),
        ("table f_function", "no such function: of_the_app"),
        ("trigger g", "Driftless's own"),
        ("trigger h", "no such table: main.nowhere"),
    ] {
        let found = left_out.iter().find(|left| left.starts_with(name));
        assert!(found.is_some_and(|left| left.contains(reason)), "{name}: {left_out:#?}");
    }
    assert_eq!(left_out.len(), 8, "{left_out:#?}");
    let b = desk.path("b");
    assert_eq!(query(&b, "SELECT * FROM good"), ["'1', 'x'"]);
    assert_eq!(
        query(&b, "SELECT name FROM sqlite_master WHERE name NOT LIKE '%driftless%' AND sql IS NOT NULL"),
        ["'good'"]
    );
    assert_eq!(query(&b, "PRAGMA user_version"), ["0"]);
}

#[test]
fn a_space_of_which_nothing_can_be_made_leaves_no_file_and_says_why() {
    let desk = Desk::new();
    let path = desk.path("a");
    create_database(&path, "");
    connect(&path)
        .create_scalar_function("of_the_app", 1, FunctionFlags::SQLITE_UTF8, |_| Ok(1))
        .expect("a function");
    let mut node = Node::open(&path);
    define(&node, "t", "CREATE TABLE t (id TEXT PRIMARY KEY CHECK (of_the_app(id)))", None);
    node.go_online(&desk.url());
    node.sync_now();
    let outcome = Commands::get().driftless(["clone", &desk.url(), text(&desk.path("b"))]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("left out table 't': no such function: of_the_app"), "{outcome:?}");
    let left: Vec<_> = std::fs::read_dir(desk.folder.path()).expect("the folder").flatten().collect();
    assert!(left.iter().all(|file| !file.file_name().to_string_lossy().starts_with("b.db")), "{left:?}");
}

/// The second file's index had the name of an index or of a table of the first's, and no clone could be made.
#[test]
fn indexes_that_have_one_name_in_two_files_both_hold_in_a_clone() {
    let desk = Desk::new();
    let a = desk.node(
        "a",
        "CREATE TABLE n (id TEXT PRIMARY KEY, v); CREATE INDEX by_v ON n (v); CREATE INDEX o ON n (v, id)",
    );
    let b = desk.node("b", "CREATE TABLE o (id TEXT PRIMARY KEY, v); CREATE UNIQUE INDEX BY_V ON o (v)");
    a.sync_now();
    b.sync_now();
    let cloned = desk.clone("c");
    assert_eq!((cloned.tables.len(), left_out(&cloned)), (2, vec![]));
    let renamed: Vec<(&str, &str)> =
        cloned.renamed_indexes.iter().map(|index| (&*index.index, &*index.name)).collect();
    assert_eq!(renamed, [("o", "o_n"), ("BY_V", "BY_V_o")]);
    let c = connect(&desk.path("c"));
    c.execute_batch("INSERT INTO o VALUES ('1', 'x')").expect("a row");
    let twice = c.execute("INSERT INTO o VALUES ('2', 'x')", []).expect_err("UNIQUE holds");
    assert!(twice.to_string().contains("UNIQUE constraint failed: o.v"), "{twice}");
    // Its own names are nothing that the clone says of the space.
    drop(c);
    let c = desk.online("c");
    c.sync_now();
    let again = desk.clone("d");
    assert_eq!(again.renamed_indexes, cloned.renamed_indexes);
}

/// The clone made one of them and did not say a word about the other.
#[test]
fn of_two_tables_with_one_name_a_clone_makes_one_and_names_the_other() {
    let desk = Desk::new();
    let notes = "CREATE TABLE notes (id TEXT PRIMARY KEY, v)";
    let (a, b) = (desk.node("a", notes), desk.node("b", notes));
    sql(a.path(), "ALTER TABLE notes RENAME TO memos; INSERT INTO memos VALUES ('1', 'of notes')");
    a.sync_now();
    sql(b.path(), "CREATE TABLE memos (id TEXT PRIMARY KEY, z); INSERT INTO memos VALUES ('1', 'of memos')");
    driftless::track(b.path(), Selection::All, TableOptions::default()).expect("tracked");
    b.sync_now();
    let shown = Commands::get().driftless(["clone", "--show", &desk.url()]);
    assert!(shown.stderr.contains("two tables are called 'memos', and a clone makes the first"), "{shown:?}");
    let cloned = desk.clone("c");
    assert_eq!(cloned.tables, ["memos"]);
    let left = left_out(&cloned);
    assert!(
        left.len() == 1
            && left[0]
                .starts_with("table memos: the space has two tables that are called so, known to it as"),
        "{left:?}"
    );
    sql(a.path(), "ALTER TABLE memos RENAME TO older_memos");
    a.sync_now();
    let cloned = desk.clone("d");
    assert_eq!((cloned.tables.len(), left_out(&cloned)), (2, vec![]));
    assert_eq!(query(&desk.path("d"), "SELECT v FROM older_memos"), ["'of notes'"]);
    assert_eq!(query(&desk.path("d"), "SELECT z FROM memos"), ["'of memos'"]);
}

/// A clone took its tables for others by what they are called: it had no row of the renamed one, or those of the other.
#[test]
fn a_clone_has_the_rows_of_tables_whose_names_others_have_now() {
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (id TEXT PRIMARY KEY, v); INSERT INTO {name} VALUES ('1', 'was {name}');"
        )
    };
    let child = "CREATE TABLE c (id TEXT PRIMARY KEY, p REFERENCES p (id)); INSERT INTO c VALUES ('1', '1');";
    for (migration, between) in [
        (
            vec![
                "ALTER TABLE p RENAME TO r",
                "CREATE TABLE p (id TEXT PRIMARY KEY, n); INSERT INTO p VALUES ('z', 'new')",
            ],
            true,
        ),
        (
            vec![
                "ALTER TABLE p RENAME TO r; CREATE TABLE p (id TEXT PRIMARY KEY, n); INSERT INTO p VALUES ('z', 'new')",
            ],
            false,
        ),
        (
            vec![
                "BEGIN; ALTER TABLE p RENAME TO x; ALTER TABLE q RENAME TO p; ALTER TABLE x RENAME TO q; COMMIT",
            ],
            false,
        ),
        (
            vec![
                "BEGIN; ALTER TABLE p RENAME TO x; ALTER TABLE q RENAME TO p; ALTER TABLE r RENAME TO q; ALTER TABLE x RENAME TO r; COMMIT",
            ],
            false,
        ),
    ] {
        let desk = Desk::new();
        let mut schema = table("p") + &table("q") + child;
        if migration[0].contains("TABLE r ") {
            schema += &table("r");
        }
        let a = desk.node("a", &schema);
        for statements in &migration {
            sql(a.path(), statements);
            if between {
                a.sync_now();
            }
        }
        driftless::track(a.path(), Selection::All, TableOptions::default()).expect("tracked");
        a.sync_now();
        let cloned = desk.clone("b");
        assert_eq!(left_out(&cloned), Vec::<String>::new());
        let b = desk.online("b");
        sql(b.path(), "INSERT INTO p (id) VALUES ('b')");
        b.sync_now();
        a.sync_now();
        for name in &cloned.tables {
            let rows = format!("SELECT * FROM {name} ORDER BY id");
            assert_eq!(query(b.path(), &rows), query(a.path(), &rows), "{name} after {migration:?}");
        }
        assert_eq!(query(b.path(), "SELECT count(*) FROM c"), ["1"]);
        let states: Vec<String> =
            b.status().tables.iter().map(|table| format!("{} {}", table.table, table.state)).collect();
        assert!(states.iter().all(|state| state.ends_with(" tracked")), "{states:?}");
    }
}

#[test]
fn a_clone_has_the_indexes_that_its_space_s_files_have_now() {
    let desk = Desk::new();
    let a = desk.node(
        "a",
        "CREATE TABLE t (id TEXT PRIMARY KEY, v, w); CREATE INDEX before ON t (v); CREATE INDEX stays ON t (w)",
    );
    a.sql("DROP INDEX before; CREATE INDEX after ON t (v, w)");
    a.sync_now();
    desk.clone("b");
    assert_eq!(statements(&desk.path("b"), "index"), statements(a.path(), "index"));
    // A file that lacks an index, without ever having dropped it, takes it from nobody: not even when its table changes.
    let app = connect(a.path());
    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_UTF8;
    app.create_scalar_function("of_the_app", 1, flags, |_| Ok(1)).expect("a function");
    app.execute_batch("CREATE INDEX special ON t (of_the_app(v))").expect("an index");
    a.sync_now();
    assert_eq!(left_out(&desk.clone("c")), ["index special: no such function: of_the_app"]);
    let c = desk.online("c");
    c.sql("ALTER TABLE t ADD COLUMN more TEXT; CREATE INDEX of_c ON t (more)");
    c.sync_now();
    let last = desk.clone("d");
    assert_eq!(left_out(&last), ["index special: no such function: of_the_app"]);
    let names = query(
        &desk.path("d"),
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = 't' ORDER BY 1",
    );
    assert_eq!(names, ["'after'", "'of_c'", "'stays'"]);
}

#[test]
fn the_app_s_version_of_the_schema_travels_to_clones_and_no_old_copy_sets_it_back() {
    let desk = Desk::new();
    let version = |name: &str| query(&desk.path(name), "PRAGMA user_version; ")[0].clone();
    let a = desk.node("a", "CREATE TABLE t (id TEXT PRIMARY KEY, v); PRAGMA user_version = 7");
    desk.clone("b");
    assert_eq!(version("b"), "7");
    // b is left behind at 7; a's app is updated.
    a.sql("PRAGMA user_version = 8");
    a.sync_now();
    let b = desk.online("b");
    b.sql("INSERT INTO t VALUES ('1', 'x')");
    agree(&[&a, &b]);
    assert_eq!(version("b"), "7", "a file that merely syncs is the app's to migrate");
    // So is one that comes along with an older version, and one that never had any.
    let old = desk.node("old", "CREATE TABLE t (id TEXT PRIMARY KEY, v); PRAGMA user_version = 3");
    let none = desk.node("none", "CREATE TABLE t (id TEXT PRIMARY KEY, v)");
    agree(&[&a, &b, &old, &none]);
    desk.clone("c");
    assert_eq!(version("c"), "8");
    // b's app is updated past a's.
    b.sql("PRAGMA user_version = 9");
    b.sync_now();
    desk.clone("d");
    assert_eq!(version("d"), "9");
}

#[test]
fn views_and_triggers_follow_the_files_that_have_them_and_a_clone_without_them_removes_none() {
    let desk = Desk::new();
    let a = desk.node(
        "a",
        "CREATE TABLE t (id TEXT PRIMARY KEY, v); CREATE VIEW one AS SELECT id FROM t; CREATE VIEW two AS SELECT v FROM t",
    );
    desk.clone("b");
    let b = desk.online("b");
    b.sql("ALTER TABLE t ADD COLUMN w TEXT");
    b.sync_now();
    a.sql("ALTER TABLE t ADD COLUMN w TEXT; DROP VIEW two; DROP VIEW one; CREATE VIEW one AS SELECT id, v FROM t");
    agree(&[&a, &b]);
    let mut asked = Vec::new();
    let cloned = desk
        .try_clone("c", |object| {
            asked.push(object.sql.clone());
            object.kind == ObjectKind::View
        })
        .expect("cloned");
    assert_eq!(asked, ["CREATE VIEW one AS SELECT id, v FROM t"]);
    assert_eq!((cloned.objects.len(), cloned.objects[0].name.as_str()), (1, "one"));
    assert_eq!(query(&desk.path("c"), "SELECT count(*) FROM one"), ["0"]);
}

/// A constraint of another's, over a blob of 450 MB, made the engine take 2.6 GB for each row.
#[test]
fn a_row_for_which_a_constraint_would_build_a_huge_value_is_parked_alone() {
    let desk = Desk::new();
    let hostile = "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT,
                     CHECK (v <> 'bad' OR length(hex(zeroblob(450000000))) > 0));
                   CREATE TABLE u (id TEXT PRIMARY KEY)";
    let b = desk.node("b", hostile);
    let a =
        desk.node("a", "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); CREATE TABLE u (id TEXT PRIMARY KEY)");
    a.sql("INSERT INTO t VALUES ('1', 'good'), ('2', 'bad'), ('3', 'good'); INSERT INTO u VALUES ('x')");
    a.sync_now();
    b.sync_now();
    assert_eq!(query(b.path(), "SELECT id FROM t ORDER BY id"), ["'1'", "'3'"]);
    assert_eq!(query(b.path(), "SELECT id FROM u"), ["'x'"]);
    assert_eq!(
        query(b.path(), "SELECT \"key\", reason FROM driftless_parked"),
        ["''2'', 'string or blob too big'"]
    );
}

#[test]
fn rows_that_take_too_long_to_write_are_parked_alone_and_come_back_when_the_cause_is_gone() {
    let desk = Desk::new();
    let schema =
        "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, u TEXT UNIQUE); CREATE TABLE u (id TEXT PRIMARY KEY)";
    let endless = "CREATE TRIGGER endless AFTER INSERT ON t WHEN NEW.v = 'slow' BEGIN
                     SELECT count(*) FROM (WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n);
                   END";
    let a = desk.node("a", schema);
    create_database(&desk.path("b"), &format!("{schema}; {endless}"));
    let mut config = Config::default();
    config.row_time = Duration::from_millis(200);
    let mut b = Node::open_with(desk.path("b"), config);
    b.track_all(TableOptions::default());
    b.go_online(&desk.url());
    a.sql("INSERT INTO t VALUES ('1', 'good', 'x'), ('2', 'slow', 'y'), ('3', 'slow', NULL), ('4', 'good', 'z'); INSERT INTO u VALUES ('x')");
    a.sync_now();
    b.sync_now();
    assert_eq!(query(b.path(), "SELECT id FROM t ORDER BY id"), ["'1'", "'4'"]);
    assert_eq!(query(b.path(), "SELECT id FROM u"), ["'x'"]);
    assert_eq!(
        query(b.path(), "SELECT \"key\", rule FROM driftless_parked"),
        ["''2'', 'TIME'", "''3'', 'TIME'"]
    );
    // The app goes on writing beside them, and the row shows once nothing keeps it out.
    b.sql("INSERT INTO t VALUES ('5', 'good', 'w')");
    b.sync_now();
    b.sql("DROP TRIGGER endless");
    eventually("the rows to come back", || {
        (query(b.path(), "SELECT count(*) FROM t") == ["5"]).then_some(())
    });
    agree(&[&a, &b]);
}
