//! Two replicas that wrote the same row while they were apart.

use driftless::{Config, Conflict, ReplicaId, TableOptions, Value, sim};
use driftless_tests::{Circle, Commands, Courier, Node, TestRelay, agree, later, query, sql};
use tempfile::TempDir;

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, stars INTEGER);
INSERT INTO notes VALUES ('n', 'title', 'body', 1), ('m', 'other', 'text', 2);
";

/// Two replicas in agreement about [`NOTES`], and cut off from each other.
struct Pair {
    a: Node,
    b: Node,
    relay: TestRelay,
    _folder: TempDir,
}

impl Pair {
    fn apart(statements: &str, options: TableOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let [a, b] = ["a.db", "b.db"].map(|name| {
            let path = folder.path().join(name);
            driftless_tests::create_database(&path, statements);
            let node = Node::open(&path);
            node.track_all(options.clone());
            node
        });
        let mut pair = Self { a, b, relay, _folder: folder };
        pair.meet();
        pair.part();
        pair
    }

    fn part(&mut self) {
        self.a.go_offline();
        self.b.go_offline();
    }

    fn meet(&mut self) {
        let url = self.relay.url("notes");
        self.a.go_online(&url);
        self.b.go_online(&url);
        agree(&[&self.a, &self.b]);
    }

    fn shown(&self, select: &str) -> String {
        let [a, b] = [&self.a, &self.b].map(|node| query(node.path(), select).join("; "));
        assert_eq!(a, b, "{select}");
        a
    }

    fn conflicts(&self) -> Vec<Conflict> {
        self.a.conflicts() // `agree` has compared them with the other's
    }

    fn replica(&self, node: &Node) -> ReplicaId {
        node.status().replica
    }
}

#[test]
fn of_two_values_in_one_column_the_later_shows_and_the_other_is_kept_with_author_and_time() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("UPDATE notes SET title = 'by a' WHERE id = 'n'");
    later();
    pair.b.sql("UPDATE notes SET title = 'by b' WHERE id = 'n'");
    pair.meet();

    assert_eq!(pair.shown("SELECT title FROM notes WHERE id = 'n'"), "'by b'");
    let conflicts = pair.conflicts();
    let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
    assert_eq!((&*conflict.table, &*conflict.key, &*conflict.column), ("notes", "'n'", "title"));
    assert_eq!(conflict.shown.value, Value::text("by b"));
    assert_eq!(conflict.shown.replica, Some(pair.replica(&pair.b)));
    let [kept] = &conflict.kept[..] else { panic!("{conflict:#?}") };
    assert_eq!(kept.value, Value::text("by a"));
    assert_eq!(kept.replica, Some(pair.replica(&pair.a)));
    assert!(kept.at.is_some() && kept.at < conflict.shown.at, "{conflict:#?}");
    assert_eq!((pair.a.status().conflicts, pair.b.status().conflicts), (1, 1));
    // What an app reads through its own connection.
    let view =
        "SELECT \"column\", value, shown, written_at IS NOT NULL, length(replica) FROM driftless_conflicts
                ORDER BY shown";
    assert_eq!(pair.shown(view), "'title', 'by a', 0, 1, 32; 'title', 'by b', 1, 1, 32");
}

#[test]
fn an_ordinary_update_settles_a_conflict_on_both() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("UPDATE notes SET title = 'by a', stars = 5 WHERE id = 'n'");
    pair.b.sql("UPDATE notes SET title = 'by b', stars = 6 WHERE id = 'n'");
    pair.meet();
    assert_eq!(pair.conflicts().len(), 2);

    pair.a.sql("UPDATE notes SET title = 'by both' WHERE id = 'n'");
    agree(&[&pair.a, &pair.b]);
    let left: Vec<String> = pair.conflicts().into_iter().map(|conflict| conflict.column).collect();
    assert_eq!(left, ["stars"], "what nobody wrote again is still in conflict");
    assert_eq!(pair.shown("SELECT title FROM notes WHERE id = 'n'"), "'by both'");

    pair.b.sql("UPDATE notes SET stars = 7 WHERE id = 'n'");
    agree(&[&pair.a, &pair.b]);
    assert_eq!(pair.conflicts(), []);
}

#[test]
fn different_columns_of_one_row_both_stay() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("UPDATE notes SET title = 'by a' WHERE id = 'n'");
    pair.b.sql("UPDATE notes SET body = 'by b', stars = NULL WHERE id = 'n'");
    pair.meet();
    assert_eq!(pair.shown("SELECT * FROM notes WHERE id = 'n'"), "'n', 'by a', 'by b', NULL");
    assert_eq!(pair.conflicts(), []);
}

#[test]
fn equal_values_are_no_conflict() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    for node in [&pair.a, &pair.b] {
        node.sql(
            "UPDATE notes SET title = 'the same' WHERE id = 'n'; INSERT INTO notes VALUES ('x', 'y', 'z', 0)",
        );
    }
    pair.meet();
    assert_eq!(pair.conflicts(), []);
    // Equal only to people: the integer 5 and the real 5.0 are two values where a column takes both.
    assert_eq!(pair.shown("SELECT count(*) FROM notes"), "3");
}

#[test]
fn an_edit_wins_over_a_delete_whoever_was_later() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("DELETE FROM notes WHERE id = 'n'");
    pair.b.sql("DELETE FROM notes WHERE id = 'm'");
    later();
    pair.b.sql("UPDATE notes SET stars = 9 WHERE id = 'n'");
    pair.a.sql("UPDATE notes SET stars = 8 WHERE id = 'm'");
    pair.meet();
    assert_eq!(
        pair.shown("SELECT * FROM notes ORDER BY id"),
        "'m', 'other', 'text', 8; 'n', 'title', 'body', 9",
        "and the rows come back whole"
    );
    // A delete by somebody who has seen the edit is a delete.
    pair.a.sql("DELETE FROM notes");
    agree(&[&pair.a, &pair.b]);
    assert_eq!(pair.shown("SELECT count(*) FROM notes"), "0");
}

#[test]
fn an_edit_wins_over_a_delete_that_was_later_too() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("UPDATE notes SET stars = 9 WHERE id = 'n'");
    later();
    pair.b.sql("DELETE FROM notes WHERE id = 'n'");
    pair.meet();
    assert_eq!(pair.shown("SELECT stars FROM notes WHERE id = 'n'"), "9");
}

#[test]
fn a_delete_wins_where_the_table_says_so() {
    let mut pair = Pair::apart(NOTES, TableOptions::default().deletes_win());
    pair.a.sql("DELETE FROM notes WHERE id = 'n'");
    later();
    pair.b.sql("UPDATE notes SET stars = 9 WHERE id = 'n'");
    pair.meet();
    assert_eq!(pair.shown("SELECT id FROM notes"), "'m'");
    assert_eq!(pair.conflicts(), []);
}

#[test]
fn two_inserts_under_one_key_become_one_row_and_what_differs_is_in_conflict() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("INSERT INTO notes VALUES ('x', 'same', 'by a', 1)");
    later();
    pair.b.sql("INSERT INTO notes VALUES ('x', 'same', 'by b', 1)");
    pair.meet();
    assert_eq!(pair.shown("SELECT * FROM notes WHERE id = 'x'"), "'x', 'same', 'by b', 1");
    let conflicts = pair.conflicts();
    assert_eq!(conflicts.iter().map(|c| &*c.column).collect::<Vec<_>>(), ["body"]);
}

#[test]
fn a_clock_years_ahead_does_not_undo_what_was_written_having_seen_its_value() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    // As a's triggers would have marked it with a clock that runs in the year 2100: written by hand before the
    // engine looks, so the engine is closed meanwhile.
    pair.a.close();
    pair.a.sql(
        "UPDATE notes SET title = 'from 2100' WHERE id = 'n';
         UPDATE _driftless_dirty SET at = 4102444800000",
    );
    pair.a.reopen();
    pair.meet();
    assert_eq!(pair.shown("SELECT title FROM notes WHERE id = 'n'"), "'from 2100'");

    pair.b.sql("UPDATE notes SET title = 'from today' WHERE id = 'n'");
    agree(&[&pair.a, &pair.b]);
    assert_eq!(pair.shown("SELECT title FROM notes WHERE id = 'n'"), "'from today'");
    assert_eq!(pair.conflicts(), []);
}

#[test]
fn rows_that_both_found_when_they_tracked_the_same_table_are_not_in_conflict() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    assert_eq!(pair.conflicts(), []);
    // And an edit of one meets no ghost of what the other found.
    pair.a.sql("UPDATE notes SET title = 'edited'");
    pair.meet();
    assert_eq!(pair.conflicts(), []);
    assert_eq!(pair.shown("SELECT DISTINCT title FROM notes"), "'edited'");
}

/// It said that such values had been there before the table was tracked.
#[test]
fn a_value_that_a_migration_wrote_into_a_new_column_is_said_to_be_found_and_not_to_be_older_than_track() {
    let mut pair = Pair::apart(NOTES, TableOptions::default());
    pair.a.sql("UPDATE notes SET title = 'new' WHERE id = 'n'");
    pair.a.engine().capture().expect("captured");
    for node in [&mut pair.a, &mut pair.b] {
        node.close();
        // Another column, in which something stands that nobody was seen to write.
        node.sql("ALTER TABLE notes ADD COLUMN head TEXT DEFAULT 'none'; DROP TRIGGER _driftless_2_update");
        node.sql("UPDATE notes SET head = title");
        node.reopen();
    }
    pair.meet();
    let conflicts = pair.conflicts();
    let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
    assert_eq!((&*conflict.column, conflict.shown.at, conflict.kept[0].at), ("head", None, None));
    let said = Commands::get().succeed(["conflicts", pair.a.path().to_str().expect("text")]);
    for value in ["'new'", "'title'"] {
        let found = format!("{value}   found in the table, written at an unknown time");
        assert!(said.contains(&found), "{said}");
    }
    assert!(!said.contains("before"), "{said}");
}

/// The simulator's oracle took all rows for captured where an engine had begun to capture them, and missed a write of what was
/// never seen to change (seed 190767065176677).
#[test]
fn a_value_that_is_put_back_is_written_only_if_the_change_was_captured_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = ["a.db", "b.db"].map(|name| {
        let path = folder.path().join(name);
        driftless_tests::create_database(&path, NOTES);
        let mut config = Config::default();
        config.turn_rows = 1;
        let mut replica = sim::Replica::open(&path, config).expect("opened");
        replica.track(&["notes"], TableOptions::default()).expect("tracked");
        replica
    });
    let mut courier = Courier::new();
    courier.carry(&mut [&mut a, &mut b]);

    sql(a.path(), "UPDATE notes SET stars = 9 WHERE id = 'n'; UPDATE notes SET stars = 9 WHERE id = 'm'");
    assert!(a.one_turn().expect("a turn"), "it has captured 'n', and 'm' is left");
    sql(a.path(), "UPDATE notes SET stars = 1 WHERE id = 'n'; UPDATE notes SET stars = 2 WHERE id = 'm'");
    later();
    sql(b.path(), "UPDATE notes SET stars = 5");
    courier.carry(&mut [&mut a, &mut b]);

    for path in [a.path(), b.path()] {
        assert_eq!(query(path, "SELECT stars FROM notes"), ["5", "5"]);
        let conflicts = driftless::conflicts(path).expect("they can be read");
        let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
        assert_eq!((&*conflict.key, &conflict.kept[0].value), ("'n'", &Value::Integer(1)));
    }
}

/// The column was shown under a name that no statement can use.
#[test]
fn a_conflict_in_a_column_that_the_table_does_not_have_says_where_it_can_be_settled() {
    let mut circle = Circle::new(2, NOTES, &["notes"], &TableOptions::default());
    circle.sql(0, "UPDATE notes SET title = 'by a' WHERE id = 'n'");
    circle.sql(1, "UPDATE notes SET title = 'by b' WHERE id = 'n'");
    circle.meet();
    circle.sql(1, "ALTER TABLE notes DROP COLUMN title");
    circle.capture(1);
    let say_so = [0, 1].map(|node| {
        let path = circle.path(node).to_str().expect("text");
        let conflicts = driftless::conflicts(path).expect("they can be read");
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        let said = Commands::get().succeed(["conflicts", path]);
        assert_eq!(said.contains("run the app's migration first"), !conflict.has_column, "{said}");
        conflict.has_column
    });
    assert_eq!(say_so, [true, false]);
}
