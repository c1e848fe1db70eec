//! Schemas of which one or another once went wrong: rows were parked in some files and not in others, or every turn failed.

use crate::case::{Who::*, case};

/// Our `OR ABORT` took the place of the trigger's `OR REPLACE`, and the second merged update of a row was parked.
#[test]
fn an_index_that_triggers_keep_with_insert_or_replace_follows_merged_updates() {
    let mut case = case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
         CREATE TABLE search (id TEXT PRIMARY KEY, words TEXT);
         CREATE TRIGGER added AFTER INSERT ON notes BEGIN
           INSERT OR REPLACE INTO search VALUES (NEW.id, lower(NEW.title));
         END;
         CREATE TRIGGER changed AFTER UPDATE ON notes BEGIN
           INSERT OR REPLACE INTO search VALUES (NEW.id, lower(NEW.title));
         END;
         INSERT INTO notes VALUES ('n', '')",
    )
    .leaves("search");
    for title in ["One", "Two", "Three"] {
        case = case
            .a(&format!("UPDATE notes SET title = '{title}'"))
            .meet()
            .shows("notes", &[&*format!("'n', '{title}'")])
            .shows("search", &[&*format!("'n', '{}'", title.to_lowercase())]);
    }
    case.holds();
}

/// A trigger of ours named every column of the table, so that SQLite let go of none.
#[test]
fn a_column_beside_a_unique_index_on_an_expression_can_be_dropped() {
    let rows = ["'b', 'y', 'w'", "'c', 'X', 'w'"];
    case(
        "CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT, v TEXT, w TEXT);
         CREATE UNIQUE INDEX low ON t (lower(u), \"w\");
         INSERT INTO t VALUES ('a', 'x', 'gone', 'w'), ('b', 'y', 'gone', 'w')",
    )
    .schemas_differ()
    .a("ALTER TABLE t DROP COLUMN v; INSERT OR REPLACE INTO t VALUES ('c', 'X', 'w')")
    .b("ALTER TABLE t DROP COLUMN v")
    .meet()
    .shows_at(A, "t", &rows)
    .shows_at(B, "t", &rows)
    .holds();
}

/// REPLACE makes the DEFAULT of a NULL where NULL is not allowed, after our triggers have looked for whom it evicts: the
/// evicted row was gone in its author's file alone.
#[test]
fn a_row_that_replace_evicts_through_a_default_is_deleted_everywhere() {
    case(
        "CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT NOT NULL DEFAULT 'it''s' UNIQUE);
         CREATE TABLE e (k TEXT PRIMARY KEY, u TEXT NOT NULL DEFAULT 'X', n INTEGER NOT NULL DEFAULT -1);
         CREATE UNIQUE INDEX low ON e (lower(u), n);
         INSERT INTO t (k) VALUES ('a'); INSERT INTO e VALUES ('a', 'x', -1), ('b', 'y', -1)",
    )
    .b("INSERT OR REPLACE INTO t VALUES ('b', NULL); INSERT OR REPLACE INTO e VALUES ('c', NULL, NULL)")
    .a("UPDATE OR REPLACE e SET n = NULL WHERE k = 'b'")
    .meet()
    .shows("t", &["'b', 'it's'"])
    .shows("e", &["'b', 'y', -1", "'c', 'X', -1"])
    .holds();
}

/// A row is looked at in a table of another name, in which such a CHECK named nothing: every turn failed.
#[test]
fn a_check_that_names_its_table_holds_nothing_up() {
    case(
        "CREATE TABLE \"my t\" (k TEXT PRIMARY KEY, u TEXT UNIQUE, n INTEGER CHECK (\"my t\".n < 8 AND [My T] . n > 0),
           g TEXT GENERATED ALWAYS AS (u || '!') STORED UNIQUE)",
    )
    .a("INSERT INTO \"my t\" (k, u, n) VALUES ('a', 'x', 1)")
    .b("INSERT INTO \"my t\" (k, u, n) VALUES ('b', 'x', 2), ('c', 'y', 3)")
    .meet()
    .shows("SELECT k FROM \"my t\" ORDER BY k", &["'a'", "'c'"])
    .parks("my t", "'b'", "UNIQUE")
    .holds();
}

/// One that ignored the delete was asked again for ever; one that rolled it back, likewise; one that raised left the row in
/// the file where it had come first.
#[test]
fn a_row_that_a_trigger_does_not_let_go_leaves_its_table_all_the_same() {
    const ROWS: &str = "SELECT k, dead FROM c ORDER BY k";
    for raise in ["RAISE(IGNORE)", "RAISE(ABORT, 'no')", "RAISE(FAIL, 'no')", "RAISE(ROLLBACK, 'no')"] {
        case(&format!(
            "CREATE TABLE p (k TEXT PRIMARY KEY);
             CREATE TABLE c (k TEXT PRIMARY KEY, p TEXT REFERENCES p, u TEXT UNIQUE, dead INTEGER DEFAULT 0);
             CREATE TABLE may (what TEXT);
             CREATE TRIGGER soft BEFORE DELETE ON c WHEN NOT EXISTS (SELECT 1 FROM may) BEGIN
               UPDATE c SET dead = 1 WHERE k = OLD.k; SELECT {raise};
             END;
             INSERT INTO p VALUES ('p'), ('q')"
        ))
        .leaves("may")
        .schemas_differ()
        .a("INSERT INTO c (k, p, u) VALUES ('1', 'p', 'x'), ('4', 'q', 'z')")
        .b("DELETE FROM p WHERE k = 'p'")
        .c("INSERT INTO c (k, p, u) VALUES ('2', 'q', 'y')")
        .meet()
        .shows(ROWS, &["'2', 0", "'4', 0"])
        .parks("c", "'1'", "FOREIGN KEY")
        .a("INSERT INTO c (k, p, u) VALUES ('3', 'q', 'v')")
        .meet()
        .parks("c", "'1'", "FOREIGN KEY")
        // Both have it; then the one with the smaller key takes its value.
        .b("UPDATE c SET u = 'v2' WHERE k = '3'")
        .c("UPDATE c SET u = 'v2' WHERE k = '2'")
        .meet()
        .shows(ROWS, &["'2', 0", "'4', 0"])
        .parks("c", "'1'", "FOREIGN KEY")
        .parks("c", "'3'", "UNIQUE")
        // A delete that its author's file allowed.
        .a("INSERT INTO may VALUES ('delete'); DELETE FROM c WHERE k = '4'")
        .meet()
        .shows(ROWS, &["'2', 0"])
        .parks("c", "'1'", "FOREIGN KEY")
        .parks("c", "'3'", "UNIQUE")
        .c("INSERT INTO p VALUES ('p')")
        .meet()
        .shows(ROWS, &["'1', 0", "'2', 0"])
        .parks("c", "'3'", "UNIQUE")
        .holds_of_three();
    }
}

/// A row that waited for its parent was put back past a trigger that ignored it, and was nowhere.
#[test]
fn a_row_that_a_trigger_ignores_when_it_comes_back_is_still_parked() {
    const KEYS: &str = "SELECT k FROM t ORDER BY k";
    case(
        "CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES t);
         CREATE TABLE stop (k TEXT);
         CREATE TRIGGER none BEFORE INSERT ON t WHEN NEW.k IN (SELECT k FROM stop) BEGIN SELECT RAISE(IGNORE); END;
         INSERT INTO t VALUES ('a', NULL)",
    )
    .leaves("stop")
    .schemas_differ()
    .a("INSERT INTO t VALUES ('b', 'a')")
    .b("DELETE FROM t WHERE k = 'a'")
    .meet()
    .parks("t", "'b'", "FOREIGN KEY")
    .b("INSERT INTO stop VALUES ('b')")
    .a("INSERT INTO t VALUES ('a', NULL)")
    .meet()
    .shows_at(A, KEYS, &["'a'", "'b'"])
    .shows_at(B, KEYS, &["'a'"])
    .parks_at(B, "t", "'b'", "trigger")
    .holds();
}

/// A row that a trigger makes for a merged row is undone. While it was there it had no parent, and its UNIQUE value was kept for
/// it, so that nobody could have it in that file any more.
#[test]
fn a_row_that_is_undone_holds_no_unique_value() {
    case(
        "CREATE TABLE p (k TEXT PRIMARY KEY);
         CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES p);
         CREATE TABLE log (id TEXT PRIMARY KEY, what TEXT UNIQUE, t TEXT REFERENCES t);
         CREATE TRIGGER logs AFTER INSERT ON t BEGIN
           INSERT OR IGNORE INTO log VALUES ('1 ' || NEW.k, 'made ' || NEW.k, NEW.k);
         END;
         INSERT INTO p VALUES ('p')",
    )
    .a("INSERT INTO t VALUES ('a', 'p'); DELETE FROM log")
    .b("DELETE FROM p")
    .meet()
    .shows("SELECT count(*) FROM _driftless_claims", &["0"])
    .parks("t", "'a'", "FOREIGN KEY")
    .a("INSERT INTO log VALUES ('2', 'made a', NULL)")
    .meet()
    .shows("log", &["'2', 'made a', NULL"])
    .parks("t", "'a'", "FOREIGN KEY")
    .holds();
}
