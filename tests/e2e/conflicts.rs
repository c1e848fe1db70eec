//! What is told of a column in which several values stand: by the API, the view and the command. Which value shows is a matter of
//! `what_happens`.

use driftless::{Config, Conflict, TableOptions, Value};
use driftless_tests::{Commands, Replicas, later};

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, stars INTEGER);
INSERT INTO notes VALUES ('n', 'title', 'body', 1), ('m', 'other', 'text', 2);
";

/// Two files in agreement about [`NOTES`].
fn replicas() -> Replicas {
    Replicas::new(2, NOTES, &["notes"], &TableOptions::default())
}

fn conflicts(replicas: &Replicas, number: usize) -> Vec<Conflict> {
    driftless::conflicts(replicas.path(number)).expect("they can be read")
}

#[test]
fn of_two_values_in_one_column_the_later_shows_and_the_other_is_kept_with_author_and_time() {
    let mut replicas = replicas();
    replicas.write(0, "UPDATE notes SET title = 'by a' WHERE id = 'n'");
    later();
    replicas.write(1, "UPDATE notes SET title = 'by b' WHERE id = 'n'");
    replicas.meet();

    assert_eq!(replicas.query_all("SELECT title FROM notes WHERE id = 'n'"), ["'by b'"]);
    let listed = conflicts(&replicas, 0);
    assert_eq!(listed, conflicts(&replicas, 1));
    let [conflict] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!((&*conflict.table, &*conflict.key, &*conflict.column), ("notes", "'n'", "title"));
    assert_eq!(conflict.shown.value, Value::text("by b"));
    assert_eq!(conflict.shown.replica, Some(replicas.status(1).replica));
    let [kept] = &conflict.kept[..] else { panic!("{conflict:#?}") };
    assert_eq!(kept.value, Value::text("by a"));
    assert_eq!(kept.replica, Some(replicas.status(0).replica));
    assert!(kept.at.is_some() && kept.at < conflict.shown.at, "{conflict:#?}");
    assert_eq!((replicas.status(0).conflicts, replicas.status(1).conflicts), (1, 1));
    // What an app reads through its own connection.
    let view =
        "SELECT \"column\", value, shown, written_at IS NOT NULL, length(replica) FROM driftless_conflicts
                ORDER BY shown";
    assert_eq!(replicas.query_all(view), ["'title', 'by a', 0, 1, 32", "'title', 'by b', 1, 1, 32"]);
}

/// It said that such values had been there before the table was tracked.
#[test]
fn a_value_that_a_migration_wrote_into_a_new_column_is_said_to_be_found_and_not_to_be_older_than_track() {
    let mut replicas = replicas();
    replicas.write(0, "UPDATE notes SET title = 'new' WHERE id = 'n'");
    for number in [0, 1] {
        replicas.close(number);
        // Another column, in which something stands that nobody was seen to write.
        replicas.sql(
            number,
            "ALTER TABLE notes ADD COLUMN head TEXT DEFAULT 'none'; DROP TRIGGER _driftless_2_update;
             UPDATE notes SET head = title",
        );
        replicas.reopen(number);
    }
    replicas.settle();
    let conflicts = conflicts(&replicas, 0);
    let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
    assert_eq!((&*conflict.column, conflict.shown.at, conflict.kept[0].at), ("head", None, None));
    let said = Commands::get().succeed(["conflicts", replicas.path(0).to_str().expect("text")]);
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
    let mut config = Config::default();
    config.turn_rows = 1;
    let options = TableOptions::default();
    let mut replicas = Replicas::with_config(&config, 2, NOTES, &["notes"], &options);
    replicas.sql(0, "UPDATE notes SET stars = 9 WHERE id = 'n'; UPDATE notes SET stars = 9 WHERE id = 'm'");
    assert!(replicas.node(0).one_turn().expect("a turn"), "it has captured 'n', and 'm' is left");
    replicas.sql(0, "UPDATE notes SET stars = 1 WHERE id = 'n'; UPDATE notes SET stars = 2 WHERE id = 'm'");
    later();
    replicas.sql(1, "UPDATE notes SET stars = 5");
    replicas.carry();

    assert_eq!(replicas.query_all("SELECT stars FROM notes"), ["5", "5"]);
    for number in [0, 1] {
        let conflicts = conflicts(&replicas, number);
        let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
        assert_eq!((&*conflict.key, &conflict.kept[0].value), ("'n'", &Value::Integer(1)));
    }
}

/// The column was shown under a name that no statement can use.
#[test]
fn a_conflict_in_a_column_that_the_table_does_not_have_says_where_it_can_be_settled() {
    let mut replicas = replicas();
    replicas.sql(0, "UPDATE notes SET title = 'by a' WHERE id = 'n'");
    replicas.sql(1, "UPDATE notes SET title = 'by b' WHERE id = 'n'");
    replicas.meet();
    replicas.sql(1, "ALTER TABLE notes DROP COLUMN title");
    replicas.capture(1);
    let say_so = [0, 1].map(|node| {
        let path = replicas.path(node).to_str().expect("text");
        let conflicts = driftless::conflicts(path).expect("they can be read");
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        let said = Commands::get().succeed(["conflicts", path]);
        assert_eq!(said.contains("run the app's migration first"), !conflict.has_column, "{said}");
        conflict.has_column
    });
    assert_eq!(say_so, [true, false]);
}
