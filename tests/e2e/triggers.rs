//! The user's own triggers, on rows that are merged: they run, and what they write into tracked tables is not counted
//! twice.

use driftless::TableOptions;
use driftless_tests::Replicas;

fn replicas(count: usize, schema: &str, tracked: &[&str]) -> Replicas {
    Replicas::new(count, schema, tracked, &TableOptions::default())
}

const SEARCHED: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, nick TEXT UNIQUE);
CREATE VIRTUAL TABLE found USING fts5 (title, body, content='notes');
CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
END;
CREATE TRIGGER notes_ad AFTER DELETE ON notes BEGIN
  INSERT INTO found (found, rowid, title, body) VALUES ('delete', OLD.rowid, OLD.title, OLD.body);
END;
CREATE TRIGGER notes_au AFTER UPDATE ON notes BEGIN
  INSERT INTO found (found, rowid, title, body) VALUES ('delete', OLD.rowid, OLD.title, OLD.body);
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
END;
";

#[test]
fn a_full_text_index_kept_by_triggers_finds_merged_rows_on_every_replica() {
    let mut nodes = replicas(3, SEARCHED, &["notes"]);
    let search =
        "SELECT id FROM notes WHERE rowid IN (SELECT rowid FROM found WHERE found MATCH '%') ORDER BY id";
    let check = |nodes: &Replicas, word: &str, expected: &[&str]| {
        for node in 0..3 {
            nodes.sql(node, "INSERT INTO found (found, rank) VALUES ('integrity-check', 1)");
            assert_eq!(nodes.query(node, &search.replace('%', word)), expected, "{word} on {node}");
        }
    };
    nodes.sql(
        0,
        "INSERT INTO notes VALUES ('a', 'heron', 'stands in water', 'h'), ('b', 'heron too', 'flies', NULL)",
    );
    nodes.sql(1, "INSERT INTO notes VALUES ('c', 'kingfisher', 'dives into water', 'k')");
    nodes.meet();
    check(&nodes, "water", &["'a'", "'c'"]);
    check(&nodes, "heron", &["'a'", "'b'"]);

    nodes.sql(0, "UPDATE notes SET body = 'waits' WHERE id = 'a'; DELETE FROM notes WHERE id = 'b'");
    nodes.sql(2, "UPDATE notes SET title = 'a grey heron' WHERE id = 'a'");
    nodes.meet();
    check(&nodes, "water", &["'c'"]);
    check(&nodes, "grey AND waits", &["'a'"]);

    // Two rows trade a UNIQUE value, so that both leave the table and come back; one is parked and found no more.
    nodes.sql(1, "UPDATE notes SET nick = NULL; UPDATE notes SET nick = 'k' WHERE id = 'a'; UPDATE notes SET nick = 'h' WHERE id = 'c'");
    nodes.meet();
    check(&nodes, "grey", &["'a'"]);
    check(&nodes, "kingfisher", &["'c'"]);
    nodes.sql(0, "INSERT INTO notes VALUES ('d', 'osprey', '', 'o')");
    nodes.sql(1, "INSERT INTO notes VALUES ('e', 'osprey', '', 'o')");
    nodes.meet();
    check(&nodes, "osprey", &["'d'"]);
    nodes.sql(2, "DELETE FROM notes WHERE id = 'd'");
    nodes.meet();
    check(&nodes, "osprey", &["'e'"]);
    assert_eq!(nodes.warning("notes"), None);
}

#[test]
fn a_trigger_that_sets_the_time_of_a_change_sets_it_for_its_author_alone() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, v, changed REAL DEFAULT 0);
        CREATE TRIGGER touch AFTER UPDATE OF v ON t BEGIN
          UPDATE t SET changed = julianday('now') + abs(random() % 1000) WHERE k = NEW.k;
        END;
        CREATE TRIGGER made AFTER INSERT ON t BEGIN UPDATE t SET changed = random() WHERE k = NEW.k; END;";
    let mut nodes = replicas(3, schema, &["t"]);
    nodes.sql(0, "INSERT INTO t (k, v) VALUES ('a', 1), ('b', 2)");
    nodes.meet();
    nodes.sql(1, "UPDATE t SET v = 3 WHERE k = 'a'");
    nodes.sql(
        2,
        "UPDATE t SET v = 4 WHERE k = 'b'; DELETE FROM t WHERE k = 'a'; INSERT INTO t (k, v) VALUES ('c', 5)",
    );
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, v FROM t ORDER BY k"), ["'a', 3", "'b', 4", "'c', 5"]);
    assert!(
        nodes
            .warning("t")
            .is_some_and(|warning| warning.contains("triggers write into the tracked table 't'"))
    );
}

#[test]
fn what_a_trigger_writes_into_another_tracked_table_is_written_once() {
    let schema = "
        CREATE TABLE post (k TEXT PRIMARY KEY, likes INTEGER DEFAULT 0, nick TEXT UNIQUE);
        CREATE TABLE liked (k TEXT PRIMARY KEY, post TEXT REFERENCES post);
        CREATE TABLE log (k TEXT PRIMARY KEY, what TEXT);
        CREATE TRIGGER liked_ai AFTER INSERT ON liked BEGIN
          UPDATE post SET likes = likes + 1 WHERE k = NEW.post;
          INSERT INTO log VALUES (hex(randomblob(8)), 'liked ' || NEW.post);
        END;
        CREATE TRIGGER liked_ad AFTER DELETE ON liked BEGIN
          UPDATE post SET likes = likes - 1 WHERE k = OLD.post;
          DELETE FROM log WHERE what = 'liked ' || OLD.post;
        END;";
    let mut nodes = replicas(3, schema, &["post", "liked", "log"]);
    nodes.sql(
        0,
        "INSERT INTO post (k, nick) VALUES ('p', 'x'), ('q', 'y'); INSERT INTO liked VALUES ('l1', 'p')",
    );
    nodes.meet();
    assert_eq!(nodes.query(2, "SELECT k, likes FROM post ORDER BY k"), ["'p', 1", "'q', 0"]);
    assert_eq!(nodes.query(2, "SELECT count(*) FROM log"), ["1"]);
    nodes.sql(1, "INSERT INTO liked VALUES ('l2', 'p'), ('l3', 'q')");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, likes FROM post ORDER BY k"), ["'p', 2", "'q', 1"]);
    nodes.sql(2, "DELETE FROM liked WHERE k = 'l2'");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, likes FROM post ORDER BY k"), ["'p', 1", "'q', 1"]);
    assert_eq!(nodes.query(0, "SELECT what FROM log"), ["'liked q'"]);
    // What the trigger of a new like does to its post is an edit, and wins over the delete of the post.
    nodes.sql(0, "DELETE FROM liked WHERE k = 'l3'; DELETE FROM post WHERE k = 'q'");
    nodes.sql(1, "INSERT INTO liked VALUES ('l4', 'q')");
    nodes.meet();
    assert_eq!(nodes.query(2, "SELECT k FROM liked ORDER BY k"), ["'l1'", "'l4'"]);
    assert!(
        nodes.warning("liked").is_some_and(|warning| warning.contains("'post'") && warning.contains("'log'"))
    );
}

/// One row that only the application can write ended every turn, for all tables.
#[test]
fn an_index_over_a_function_of_the_apps_parks_rows_and_holds_nothing_up() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE u (k TEXT PRIMARY KEY, v);
                  INSERT INTO t VALUES ('a', 1)";
    let mut nodes = replicas(2, schema, &["t", "u"]);
    let app = driftless_tests::connect(nodes.path(0));
    let deterministic = rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC
        | rusqlite::functions::FunctionFlags::SQLITE_UTF8;
    app.create_scalar_function("of_the_app", 1, deterministic, |_| Ok(1)).expect("a function");
    app.execute_batch("CREATE INDEX i ON t (of_the_app(v))").expect("an index");
    nodes.sql(1, "INSERT INTO t VALUES ('b', 2); INSERT INTO u VALUES ('c', 3); DELETE FROM t WHERE k = 'a'");
    nodes.fetch(0, 1);
    assert_eq!(nodes.query(0, "SELECT k FROM u"), ["'c'"]);
    let warning = nodes.warning("t").expect("a warning");
    assert!(warning.contains("of_the_app"), "{warning}");
    app.execute_batch("DROP INDEX i").expect("dropped");
    nodes.capture(0);
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT k FROM t"), ["'b'"]);
}
